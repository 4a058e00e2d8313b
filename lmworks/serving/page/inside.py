"""A look inside: which tokens a head attends to, and what each layer would say next (the logit lens)."""

from __future__ import annotations

import html
import json
import math
from typing import Any

from nicegui import ui

from lmworks.basics.errors import LmworksError
from lmworks.serving.api.inspection import InspectRequest, inspected
from lmworks.serving.errors import Refused
from lmworks.serving.models import ServedModels
from lmworks.serving.service import Service

EXAMPLE = "The cat chased the mouse because it was hungry."
MOST = 64
"""Tokens that are shown: more are too small to be read."""
Facts = dict[str, Any]


class Inside:
    """A text, a layer and a head."""

    def __init__(self, models: ServedModels, service: Service) -> None:
        self._models, self._name = models, service.name
        config = service.model.config
        with ui.row().classes("lm-ask"):
            self._text = ui.textarea("A text to look at", value=EXAMPLE).props("outlined autogrow rows=1")
            self._text.classes("lm-grow").on("keydown.enter.exact.prevent", self.look)
            self._layer = ui.number("Layer", value=config.layers // 2, min=0, max=config.layers - 1, precision=0)
            self._head = ui.number("Head", value=0, min=0, max=config.heads - 1, precision=0)
            for one in (self._layer, self._head):
                one.props("outlined").classes("lm-small")
            ui.button("Look", on_click=self.look)
        self._said = ui.label("Rows look at columns: how much weight a token gives to each before it.")
        self._said.classes("lm-hint")
        self._chart = ui.echart({}).classes("lm-square").props('role="img" aria-label="Attention"')
        self._lens = ui.html("", sanitize=False).classes("lm-lens")
        self._chart.visible = False

    async def look(self) -> None:
        """Run the network and show both."""
        layer, head = int(self._layer.value or 0), int(self._head.value or 0)
        try:
            asked = InspectRequest(prompt=self._text.value or "", attention=[layer], heads=[head], top=1)
            async with self._models.using(self._name) as service:
                facts = json.loads(await service.worker.run(lambda: inspected(service, asked)))
        except (LmworksError, Refused, ValueError) as error:
            self._said.text = str(error)
            return
        tokens = [_visible(one["token"]) for one in facts["tokens"]]
        if len(tokens) > MOST:
            self._said.text = f"the text has {len(tokens)} tokens, and at most {MOST} are shown here; shorten it"
            return
        self._said.text = f"Layer {layer}, head {head}: rows look at columns."
        self._chart.options.clear()
        self._chart.options.update(_heat(tokens, facts["attention"][0]["heads"][0]["weights"]))
        self._chart.update()
        self._chart.visible = True
        self._lens.content = _table(tokens, facts["layers"]) if "layers" in facts else ""


def _visible(text: str) -> str:
    return text.replace(" ", "·").replace("\n", "↵")


def _heat(tokens: list[str], weights: list[list[float]]) -> dict[str, object]:
    names = [f"{number} {token}" for number, token in enumerate(tokens)]  # the same word may come twice
    points = [[key, query, round(w, 3)] for query, row in enumerate(weights) for key, w in enumerate(row)]
    axis = {"type": "category", "data": names, "axisLabel": {"color": "#888", "interval": 0, "fontFamily": "monospace"}}
    return {
        "grid": {"left": 8, "right": 8, "top": 8, "bottom": 8, "containLabel": True},
        "tooltip": {"position": "top"},
        "xAxis": axis | {"axisLabel": axis["axisLabel"] | {"rotate": 60}},  # type: ignore[operator]
        "yAxis": axis | {"inverse": True},
        "visualMap": {"min": 0, "max": 1, "show": False, "inRange": {"color": ["#1c77c300", "#1c77c3"]}},
        "series": [{"type": "heatmap", "data": points}],
    }


def _table(tokens: list[str], layers: list[Facts]) -> str:
    """After each layer, last first, the likeliest next token at each place, the darker the likelier."""
    head = "".join(f"<th scope=col>{html.escape(token)}</th>" for token in tokens)
    rows = []
    for layer in reversed(layers):
        cells = []
        for (best,) in layer["top_logprobs"]:
            p = math.exp(best["logprob"])
            cells.append(f'<td style="--p:{p:.3f}" title="{100 * p:.1f} %">{html.escape(_visible(best["token"]))}</td>')
        rows.append(f"<tr><th scope=row>{layer['layer']}</th>{''.join(cells)}</tr>")
    return (
        "<h2>What each layer would say next</h2><div class=lm-scroll tabindex=0><table>"
        f"<thead><tr><th scope=col>layer</th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )
