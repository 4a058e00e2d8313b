"""From the figures of a sequence's models to what they say: matrices, transfer, forgetting, the frontier, a finding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from lmworks.basics.arrays import Float
from lmworks.basics.errors import ConfigError, ModelError
from lmworks.basics.files import write_json
from lmworks.evaluation import forgetting
from lmworks.evaluation.forgetting import CountedText, Resampled, at_equal_gain, estimate
from lmworks.evaluation.measurement import Measurement
from lmworks.jobs.forget_recipe import GENERAL, JOINT, NAIVE, SLIDER, ForgetRecipe
from lmworks.models.files.model_folder import read_json

KEPT, GAIN = 0.8, 0.8
"""A way is worth its trouble where it keeps at least this share of what naive training forgets, at at least this share
of naive training's gain, and forgets less than the slider at the same gain."""
SUMMARIES = {
    "mean over tasks": forgetting.average,
    "backward transfer": forgetting.backward_transfer,
    "forward transfer": forgetting.forward_transfer,
    "forgotten since learnt": forgetting.forgotten_since_learnt,
    "forgotten since the best": forgetting.forgotten_since_best,
}
Drawn = Float[np.ndarray, "seeds samples"]


@dataclass(frozen=True)
class Figures:
    """All texts under one model."""

    texts: dict[str, CountedText]
    moved: dict[str, Any] | None
    """KL(base, tuned) on the text that it learnt last, from the model before; None for what was not trained."""

    def write(self, path: Path, depends: Mapping[str, Any]) -> None:
        """Keep them, with what they depend on."""
        texts = {
            name: {"above": one.above.tolist(), "below": one.below.tolist(), "document": one.document.tolist()}
            for name, one in self.texts.items()
        }
        write_json(path, {"depends_on": dict(depends), "texts": texts, "moved": self.moved})

    @classmethod
    def read(cls, path: Path, depends: Mapping[str, Any], folder: Path) -> Self | None:
        """What is kept; None where nothing whole is. ConfigError for figures of another recipe or other texts."""
        try:
            kept = read_json(path)
            texts = {
                name: CountedText(*(np.array(one[key], float) for key in ("above", "below", "document")))
                for name, one in kept["texts"].items()
            }
            found, theirs = cls(texts, kept["moved"]), kept["depends_on"]
        except (ModelError, KeyError, TypeError, ValueError):
            return None
        for key, value in depends.items():
            if theirs.get(key) != value:
                raise ConfigError(
                    f"{path} was measured with other {key} than this recipe has; give another --out, or remove {folder}"
                )
        return found


@dataclass(frozen=True)
class SeedFigures:
    """One seed's figures."""

    rows: dict[str, list[Figures]]
    """By way: of the base and after each task; of joint training the end alone."""
    slider: dict[float, Figures]
    """By the share that is kept."""


@dataclass(frozen=True)
class Point:
    """Where a way ends on the frontier. Differences are positive where something was gained, or forgotten."""

    way: str
    share: float | None
    """What the slider keeps of the last task; None for other ways."""
    gained: Measurement
    """On the last task, beside the naively trained model before it."""
    forgotten: Measurement
    """Of the earlier tasks, beside when naive training had just learnt them, on average."""
    general: Measurement
    """Of the general text, beside the base."""
    gain_share: Measurement | None = None
    """Of what naive training gains; None where that may be nothing."""
    kept_share: Measurement | None = None
    """Of what naive training forgets; None where that may be nothing."""
    beside_slider: Measurement | None = None
    """What the slider forgets at the same gain, minus this: above 0 where the way is better."""
    moved: float | None = None
    """KL(base, tuned) on the last task's text, from the model before it, in bits a token: the mean over seeds."""

    def facts(self) -> dict[str, Any]:
        """Plain values."""
        return {
            name: value.to_json() if isinstance(value, Measurement) else value for name, value in vars(self).items()
        }


@dataclass(frozen=True)
class Forgetting:
    """What a sequence showed."""

    folder: Path
    recipe: ForgetRecipe
    matrices: dict[str, list[list[float]]]
    """By way, the mean over seeds of what the texts were measured at: of the base, and after each task (of joint
    training at its end); a column for each task, and the general text's last."""
    points: list[Point]
    summaries: dict[str, list[Measurement]]
    """By way: backward and forward transfer, both definitions of forgetting."""
    finding: str
    """What follows, in a sentence."""
    columns: list[str] = field(default_factory=list)
    """The matrices' columns."""

    def point(self, way: str, share: float | None = None) -> Point:
        """The point of a way, or of the slider at a share."""
        return next(one for one in self.points if (one.way, one.share) == (way, share))

    def facts(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "finding": self.finding,
            "points": [one.facts() for one in self.points],
            "summaries": {way: [one.to_json() for one in found] for way, found in self.summaries.items()},
            "columns": self.columns,
            "matrices": self.matrices,
            "measure": self.recipe.measure,
            "seeds": list(self.recipe.seeds),
            "folder": str(self.folder),
        }


def report(recipe: ForgetRecipe, folder: Path, found: Mapping[int, SeedFigures]) -> Forgetting:
    """Put the seeds together."""
    return _Report(recipe, folder, dict(found)).made()


@dataclass(frozen=True)
class _Report:
    recipe: ForgetRecipe
    folder: Path
    found: dict[int, SeedFigures]

    def made(self) -> Forgetting:
        """Means over the seeds, with intervals, of every way and task."""
        points = [self._point(way, None, self._rows(way)[:, :, -1]) for way in self._ways]
        points += [self._point(SLIDER, share, self._slid(share)) for share in sorted(self.recipe.slider)]
        columns = [*self.recipe.order, GENERAL]
        signs = np.array([1.0 if self.recipe.measure == "answers" and name != GENERAL else -1.0 for name in columns])
        matrices = {way: (self._rows(way)[:, 0].mean(0) * signs).tolist() for way in self._ways}
        whole = {way: self._rows(way)[..., : len(self.recipe.order)] for way in self._ways if way != JOINT}
        summaries = {
            way: [
                self._measured(name, formula(scores), name != "mean over tasks") for name, formula in SUMMARIES.items()
            ]
            for way, scores in whole.items()
        }
        return Forgetting(self.folder, self.recipe, matrices, points, summaries, finding(points), columns)

    @property
    def _ways(self) -> list[str]:
        return list(next(iter(self.found.values())).rows)

    @cached_property
    def _resampled(self) -> Resampled:
        base = next(iter(self.found.values())).rows[NAIVE][0]
        return Resampled({name: len(one.above) for name, one in base.texts.items()})

    def _scores(self, figures: Figures) -> Float[np.ndarray, "samples texts"]:
        names = [*self.recipe.order, GENERAL]
        return np.stack([self._resampled.scores(name, figures.texts[name]) for name in names], axis=-1)

    def _rows(self, way: str) -> Float[np.ndarray, "seeds samples stages texts"]:
        return np.stack(
            [np.stack([self._scores(one) for one in seed.rows[way]], axis=1) for seed in self.found.values()]
        )

    @cached_property
    def _naive(self) -> Float[np.ndarray, "seeds samples stages texts"]:
        return self._rows(NAIVE)

    def _slid(self, share: float) -> Float[np.ndarray, "seeds samples texts"]:
        return np.stack([self._scores(seed.slider[share]) for seed in self.found.values()])

    def _gained(self, end: Float[np.ndarray, "seeds samples texts"]) -> Drawn:
        last = len(self.recipe.order) - 1
        return end[..., last] - self._naive[:, :, -2, last]

    def _forgotten(self, end: Float[np.ndarray, "seeds samples texts"]) -> Drawn:
        earlier = range(len(self.recipe.order) - 1)
        learnt = np.stack([self._naive[:, :, at + 1, at] for at in earlier], axis=-1)
        return (learnt - end[..., : len(earlier)]).mean(-1)

    def _point(self, way: str, share: float | None, end: Float[np.ndarray, "seeds samples texts"]) -> Point:
        gained, forgotten = self._gained(end), self._forgotten(end)
        naive = self._naive[:, :, -1]
        slider = [self._slid(one) for one in sorted(self.recipe.slider)]
        curve = [np.stack([of(one) for one in slider], axis=-1) for of in (self._gained, self._forgotten)]
        better = at_equal_gain(gained, *curve) - forgotten
        moved = [seed.rows[way][-1].moved for seed in self.found.values()] if way not in (SLIDER, JOINT) else [None]
        values = [one["value"] for one in moved if one is not None]
        return Point(
            way,
            share,
            gained=self._measured("gained on the last task", gained),
            forgotten=self._measured("forgotten of earlier tasks", forgotten),
            general=self._measured("lost of the general text", self._naive[:, :, 0, -1] - end[..., -1], general=True),
            gain_share=self._share("share of the gain", gained, self._gained(naive)),
            kept_share=self._share("share kept", self._forgotten(naive) - forgotten, self._forgotten(naive)),
            beside_slider=None
            if way in (SLIDER, NAIVE)
            else self._measured("less forgotten than by the slider", better),
            moved=float(np.mean(values)) if values else None,
        )

    def _measured(self, name: str, values: Drawn, difference: bool = True, general: bool = False) -> Measurement:
        answers = self.recipe.measure == "answers" and not general
        return self._measurement(name, values, "" if answers else "bits/byte", difference)

    def _share(self, name: str, part: Drawn, whole: Drawn) -> Measurement | None:
        """A ratio of means with the interval of part - ratio x whole; None where the whole may be nothing."""
        under = self._measurement("whole", whole, "", True)
        if under.interval is None or under.interval[0] <= 0:
            return None
        mean = whole[:, 0].mean()
        ratio = part[:, 0].mean() / mean
        return self._measurement(name, ratio + (part - ratio * whole) / mean, "", False)

    def _measurement(self, name: str, values: Drawn, unit: str, difference: bool) -> Measurement:
        items = min(len(one.above) for one in next(iter(self.found.values())).rows[NAIVE][0].texts.values())
        made = estimate(values, items)
        return Measurement(
            name=name,
            value=made.value,
            unit=unit,
            interval=made.interval,
            n=items,
            seeds=tuple(self.found),
            difference=difference,
        )


def finding(points: list[Point]) -> str:
    """Which way is worth its trouble, by KEPT, GAIN and the slider."""
    naive = next(one for one in points if one.way == NAIVE)
    if naive.kept_share is None:
        if naive.forgotten.interval is None:
            return f"open: n {naive.forgotten.n} gives no interval; hold out more text (build.data.held_out)"
        return f"naive training forgets nothing that can be seen here ({naive.forgotten}); there is nothing to keep"
    tried = [one for one in points if one.beside_slider is not None and one.way != JOINT]
    judged = {one.way: _judged(one) for one in tried}
    if good := [one for one in tried if judged[one.way] == "yes"]:
        best = max(good, key=lambda one: one.beside_slider.value if one.beside_slider else 0.0)
        kept, gain = (one.value if one else 0.0 for one in (best.kept_share, best.gain_share))
        return (
            f"{best.way} keeps {kept:.0%} of what naive training forgets, at {gain:.0%} of its gain, and forgets less "
            "than the slider at equal gain"
        )
    if undecided := [way for way, verdict in judged.items() if verdict == "open"]:
        return f"open: more seeds or more text would tell whether {' or '.join(undecided)} beats the slider"
    return (
        f"the slider suffices: no way keeps {KEPT:.0%} at {GAIN:.0%} of the gain and forgets less than it at equal gain"
    )


def _judged(point: Point) -> str:
    """ "yes", "no" or "open"."""
    found = []
    for figure, least in ((point.kept_share, KEPT), (point.gain_share, GAIN), (point.beside_slider, 0.0)):
        if figure is None or figure.interval is None:
            found.append("open")
        else:
            low, high = figure.interval
            found.append("yes" if low > least else "no" if high < least else "open")
    return "no" if "no" in found else "open" if "open" in found else "yes"
