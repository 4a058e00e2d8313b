"""The next token: its distribution under the model, and what temperature and filters make of it while they are moved.

Claims 6 (temperature) and 12 (top-k and top-p) of the lab, live.
"""

from __future__ import annotations

import torch
from nicegui import ui

from lmworks.basics.errors import ConfigError, LmworksError
from lmworks.generation.distribution import Logits, Probabilities
from lmworks.serving.errors import Refused
from lmworks.serving.lab.verdicts import verdicts
from lmworks.serving.models import ServedModels
from lmworks.serving.page.settings import SettingsPanel
from lmworks.serving.pytorch_worker import twin
from lmworks.serving.service import Service

BARS = 20
EXAMPLE = "My favourite animal is the"
CLAIMS = {6: "temperature", 12: "top-k and top-p"}


class NextToken:
    """A text and the distribution of what follows it."""

    def __init__(self, models: ServedModels, service: Service, settings: SettingsPanel) -> None:
        self._models, self._name, self._settings = models, service.name, settings
        self._named = service.texts.named
        self._ids: list[int] = []
        self._logits: Logits | None = None
        with ui.row().classes("lm-ask"):
            self._text = ui.textarea("A text to go on from", value=EXAMPLE).props("outlined autogrow rows=1")
            self._text.classes("lm-grow").on("keydown.enter.exact.prevent", self.read)
            ui.button("Read", on_click=self.read)
        self._said = ui.label("Read a text, then move the settings.").classes("lm-hint")
        self._chart = ui.echart(_options([], [], [])).classes("lm-chart")
        self._chart.props('role="img" aria-label="Probabilities of the next token"')
        self._chart.visible = False
        with ui.column().classes("lm-claims"):
            for address, line in verdicts(CLAIMS).items():
                ui.link(line, address)

    async def read(self) -> None:
        """Run the network once; the settings work on its logits."""
        text = self._text.value or ""
        try:
            async with self._models.using(self._name) as service:
                self._ids, self._logits = await service.worker.run(lambda: _read(service, text))
        except (LmworksError, Refused) as error:
            self._said.text = str(error)
            return
        self.show()

    def show(self) -> None:
        """The bars, as the settings are now."""
        if self._logits is None:
            return
        try:
            strategy = self._settings.strategy()
        except ConfigError as error:
            self._said.text = str(error)
            return
        before = torch.softmax(self._logits, 0)
        after = strategy.distribution(strategy.adjusted(self._logits, self._ids))
        after = after / after.sum()
        best = before.topk(min(BARS, len(before))).indices
        named = [self._visible(number) for number in best.tolist()]
        self._chart.options.clear()
        self._chart.options.update(_options(named, before[best].tolist(), after[best].tolist()))
        self._chart.update()
        self._chart.visible = True
        kept, steps = int((after > 0).sum()), ", then ".join(strategy.order) or "the likeliest"
        self._said.text = (
            f"{steps}: {kept:,} of {len(after):,} tokens can be chosen; "
            f"entropy {_bits(before):.2f} -> {_bits(after):.2f} bits"
        )

    def _visible(self, number: int) -> str:
        return self._named(number)[0].replace(" ", "·").replace("\n", "↵")


@torch.inference_mode()
def _read(service: Service, text: str) -> tuple[list[int], Logits]:
    """The tokens of a text and the logits after the last."""
    model = service.model
    if model.translates:
        raise ConfigError("an encoder-decoder's next token depends on a source and a target; use the chat")
    ids, most = model.encode_prompt(text), min(service.limits.inspected_tokens, model.config.context)
    if len(ids) > most:
        raise ConfigError(f"the text has {len(ids):,} tokens, and at most {most:,} are read here; shorten it")
    network = twin(model).network
    hidden = network.hidden(torch.tensor([ids], device=network.device))
    return ids, network.logits(hidden[0, -1]).float().cpu()


def _bits(p: Probabilities) -> float:
    return abs(float((p * p.clamp(min=1e-30).log2()).sum()))


def _options(names: list[str], before: list[float], after: list[float]) -> dict[str, object]:
    percent = [[round(100 * value, 2) for value in row] for row in (before, after)]
    return {
        "animationDurationUpdate": 150,
        "legend": {"top": 0, "data": ["the model", "with the settings"], "textStyle": {"color": "#888"}},
        "grid": {"left": 8, "right": 24, "top": 32, "bottom": 24, "containLabel": True},
        "tooltip": {"trigger": "axis", "axisPointer": {"type": "shadow"}},
        "xAxis": {"type": "value", "axisLabel": {"formatter": "{value} %", "color": "#888"}},
        "yAxis": {
            "type": "category",
            "data": names,
            "inverse": True,
            "axisLabel": {"color": "#888", "fontFamily": "monospace"},
        },
        "series": [
            {"name": "the model", "type": "bar", "data": percent[0], "itemStyle": {"color": "#9aa5b1"}},
            {"name": "with the settings", "type": "bar", "data": percent[1], "itemStyle": {"color": "#1c77c3"}},
        ],
    }
