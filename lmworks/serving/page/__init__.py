"""The page at `/`: a chat that shows its probabilities, the next token under the sampling settings, a look inside.

    mount(app, models)             # once in a process: NiceGUI has one application

Everything is served from this process and nothing from elsewhere, so it works offline. It uses the engine as the API
does, with the same queue, limits and keys (`guard.py`), and its answers are in the log and in /metrics as the API's
are.
"""

from __future__ import annotations

import warnings
from pathlib import Path

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from lmworks.serving.errors import Refused
from lmworks.serving.models import ServedModels

HERE = Path(__file__).parent
OURS = ("/_nicegui",)
"""Beginnings of the paths that NiceGUI answers, besides `/` itself."""


def mount(app: FastAPI, models: ServedModels) -> None:
    """Put the page into an application whose routes are complete. Needs NiceGUI (extra `serve`)."""
    from nicegui import ui

    from lmworks.serving.page.layout import Layout
    from lmworks.serving.page.recorder import Recorder

    style = (HERE / "style.css").read_text(encoding="utf-8")

    recorder = Recorder(app.state.metrics, app.state.log)

    @ui.page("/", response_timeout=models.limits.seconds)  # a model may have to be loaded first
    async def visited(model: str | None = None) -> None:
        ui.add_css(style)
        try:
            async with models.using(model) as service:
                Layout(models, service, recorder)
        except Refused as refused:
            ui.label(str(refused)).classes("lm-hint")

    # NiceGUI looks at every object of the process for its server; PyTorch has some that warn when they are looked at.
    warnings.filterwarnings("ignore", category=FutureWarning, module="nicegui")
    ui.run_with(
        app,
        title=f"{models.title} · lmworks",
        favicon=ICON,
        dark=None,
        language="en-US",
        tailwind=False,
        reconnect_timeout=10,
        show_welcome_message=False,
    )
    mounted = app.routes[-1]
    mounted.app = _Only(app, mounted.app)  # type: ignore[attr-defined]


ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#1c5d99"/>'
    '<path d="M7 22h3V10H7zM13 22h3v-8h-3zM19 22h3v-5h-3z" fill="#fff"/></svg>'
)


class _Only:
    """NiceGUI for its own paths; an unknown address gets the API's error."""

    def __init__(self, app: FastAPI, page: ASGIApp) -> None:
        self._app, self._page = app, page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or raise HTTPException."""
        if scope["path"] != "/" and not scope["path"].startswith(OURS):
            known = any(route.matches(scope)[0] == Match.PARTIAL for route in self._app.routes)
            raise HTTPException(405 if known else 404)
        await self._page(scope, receive, send)
