"""The settings of an answer, as controls that every part of the page shares."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

from nicegui import ui

from lmworks.basics.errors import ConfigError
from lmworks.generation.strategies import Greedy, Sample, Strategy

WAYS = {
    "extract": "quoted from the documents",
    "write": "written from the documents",
    "off": "by the model itself",
}
"""How a question is answered where the server has documents."""
SHOWN = ("temperature", "top_p", "min_p", "top_k", "repetition_penalty", "seed")
"""Settings with a control of their own."""
MORE = [
    name
    for name, field in Sample.model_fields.items()
    if name not in SHOWN and {int, float} & {field.annotation, *get_args(field.annotation)}
]
"""The other settings that are numbers, those of any filter that is declared among them."""


class SettingsPanel:
    """How the next token is chosen and how long an answer may become; a model's own habits are for the API."""

    def __init__(self, changed: Callable[[], None], documents: bool = False) -> None:
        self._changed = changed
        self.way = ui.select(WAYS, value="extract" if documents else "off", label="Answers").classes("lm-wide")
        self.way.visible = documents
        ui.label("How the next token is chosen").classes("lm-heading")
        self.temperature = self._slider("Temperature", 0.7, 0, 2, 0.05, "0 always takes the likeliest")
        self.top_p = self._slider("Top-p", 0.95, 0.05, 1, 0.01, "the fewest tokens that reach this together; 1 for all")
        self.min_p = self._slider("Min-p", 0, 0, 0.5, 0.01, "at least this many times as likely as the best")
        self.top_k = self._number("Top-k", 0, 0, 1000, "the k likeliest; 0 for all")
        self.penalty = self._slider("Repetition penalty", 1, 1, 2, 0.05, "above 1, what occurred becomes less likely")
        self.seed = self._number("Seed", None, 0, 2**31 - 1, "same seed, same text; empty for a new one each time")
        with ui.expansion("More").classes("lm-wide"):
            self._more = {name: self._field(name) for name in MORE}
        ui.label("The answer").classes("lm-heading")
        self.longest = self._number("Most tokens", 256, 1, 8192, "the longest answer")
        self.probabilities = ui.switch("Probabilities", value=True).tooltip("Colour each token by its surprise")
        self.system = ui.textarea("Instructions").props("outlined dense autogrow").classes("lm-wide")

    def _slider(self, name: str, value: float, low: float, high: float, step: float, hint: str) -> ui.slider:
        with ui.row().classes("lm-wide lm-pair"):
            ui.label(name)
            shown = ui.label()
        slider = ui.slider(min=low, max=high, step=step, value=value, on_change=self._changed)
        slider.props(f'aria-label="{name}"').tooltip(hint)
        shown.bind_text_from(slider, "value", lambda now: f"{now:g}")
        return slider

    def _number(self, name: str, value: int | None, low: int, high: int, hint: str) -> ui.number:
        made = ui.number(name, value=value, min=low, max=high, precision=0, on_change=self._changed)
        return made.props("outlined dense").classes("lm-wide").tooltip(hint)

    def _field(self, name: str) -> ui.number:
        """A number for a setting of Sample; empty leaves it at its default."""
        whole = int in (Sample.model_fields[name].annotation, *get_args(Sample.model_fields[name].annotation))
        label = name.replace("_", " ").capitalize()
        made = ui.number(label, precision=0 if whole else None, on_change=self._changed)
        return (
            made.props("outlined dense clearable")
            .classes("lm-wide")
            .tooltip(Sample.model_fields[name].description or "")
        )

    def strategy(self) -> Strategy:
        """What the controls say. ConfigError for values that make no sense."""
        said = {
            name: int(one.value) if one.value == int(one.value) else one.value
            for name, one in self._more.items()
            if one.value is not None
        }
        said["repetition_penalty"] = float(self.penalty.value)
        if not self.temperature.value:
            return Greedy(**{name: value for name, value in said.items() if name in Greedy.model_fields})
        return Sample(
            temperature=float(self.temperature.value),
            top_p=None if self.top_p.value >= 1 else float(self.top_p.value),
            min_p=float(self.min_p.value) or None,
            top_k=int(self.top_k.value or 0) or None,
            seed=None if self.seed.value is None else int(self.seed.value),
            **said,
        )

    def most(self) -> int:
        """Tokens of the longest answer."""
        if not self.longest.value:
            raise ConfigError("give the most tokens that an answer may have")
        return int(self.longest.value)
