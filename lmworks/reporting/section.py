"""What a section of a report declares, and what it returns.

SPEED = Section(name="speed", place=20, title="Tokens a second here", measure=_measure, seconds=(10, 30))
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import Field

from lmworks.basics.config import Config
from lmworks.evaluation.measurement import OFF_IDEAL, Measurement
from lmworks.evaluation.tasks.run import told_by
from lmworks.lab.chart import Chart, Series
from lmworks.lab.scale import Scale
from lmworks.reporting.subject import Subject

Value = TypeVar("Value")
LEAST_SHOWN = 0.001
"""Smaller probabilities are told as being below it."""


class CardEntry(Config):
    """How a measurement stands in the front matter of a model card (Hugging Face's `model-index`)."""

    measurement: str
    """The name of the measurement."""

    task: str
    """text-generation, multiple-choice, ..."""

    dataset: str
    """The data set's address on the hub."""

    dataset_name: str
    """The same in words."""

    metric: str
    """accuracy, bits_per_byte, ..."""

    config: str | None = None
    """A part of the data set."""

    split: str | None = None
    """A part of that."""


class Found(Config):
    """What a section measured."""

    measurements: tuple[Measurement, ...]
    """Every figure."""

    note: str
    """How it was measured, in sentences."""

    key: str | tuple[str, ...] = ""
    """The name of the figure that the summary shows, or of several; the first unless given."""

    charts: tuple[Chart, ...] = ()
    """What is drawn; each number of it is one of a measurement."""

    card: tuple[CardEntry, ...] = ()
    """What of it stands in the front matter of the model card."""

    left_out: tuple[str, ...] = ()
    """Sentences on what could not be measured, and why."""

    adjusted: dict[str, float] = Field(default_factory=dict)
    """By the name of a figure, how probable a value at least as far from its ideal is by chance, adjusted for the
    number of figures that were tested so (Holm)."""

    def remark_on(self, figure: Measurement) -> str:
        """What is said beside one of its figures: the section's own test, too, where the ideal is excluded."""
        remark, chance = remark_on(figure), self.adjusted.get(figure.name)
        if remark not in OFF_IDEAL or chance is None:
            return remark
        return f"{remark}, Holm {chance:.2g}" if chance >= LEAST_SHOWN else f"{remark}, Holm below {LEAST_SHOWN:g}"

    @property
    def headlines(self) -> list[Measurement]:
        """The figures that the summary shows, one at least."""
        keys = (self.key,) if isinstance(self.key, str) else self.key
        return [one for one in self.measurements if one.name in keys] or [self.measurements[0]]


@dataclass(frozen=True)
class Section:
    """A part of the report. `declared("lmworks.reporting.sections", Section)` finds all of them."""

    name: str
    """What `--section` calls it."""

    place: int
    """Lower places come first."""

    title: str
    """Its heading."""

    says: str
    """What its figures mean and what they do not, in sentences."""

    measure: Callable[[Subject], Found]
    """LmworksError for what cannot be measured here: its sentence stands in the report."""

    seconds: tuple[float, float]
    """CPU seconds on SmolLM2 on the quick and the full scale: what the time left is reckoned by."""

    summary: Callable[[Found], str] = lambda found: ""
    """What its figures say as a whole, in a sentence beside the key figures."""

    needs: Callable[[Subject], str | None] = lambda subject: None
    """Why it cannot be measured, in a sentence; None where it can."""

    reads_training_text: bool = False
    """Whether another training text gives other results, and another model of that text beside this one."""

    reads_own_files: bool = False
    """Whether other questions of the user's, or other documents of the model, do."""

    def cost(self, scale: Scale) -> float:
        """CPU seconds that it takes on SmolLM2."""
        return self.seconds[scale == "full"]

    def settings(self, subject: Subject) -> dict[str, Any]:
        """What its results depend on besides the model: kept ones with others are measured again."""
        text = subject.trained_on_hash if self.reads_training_text else None
        own = {"own_files": subject.own_hashes} if self.reads_own_files else {}
        other = subject.beside if self.reads_training_text else None
        beside = {} if other is None else {"beside": [other.name, *told_by(other.model)]}
        return {"scale": subject.scale, "trained_on": text} | own | beside


def remark_on(figure: Measurement) -> str:
    """What is said beside a figure: of one whose ideal is what chance gives, whether anything else is seen."""
    return figure.balance if figure.balanced else figure.remark


def bars(title: str, unit: str, shown: dict[str, Measurement]) -> Chart:
    """A bar for each measurement, by what it is called."""
    ends = [one.interval or (one.value, one.value) for one in shown.values()]
    series = Series(
        name=unit,
        x=tuple(float(at) for at in range(len(shown))),
        y=tuple(one.value for one in shown.values()),
        low=tuple(low for low, _ in ends),
        high=tuple(high for _, high in ends),
    )
    return Chart(kind="bars", title=title, x_label="", y_label=unit, series=(series,), categories=tuple(shown))
