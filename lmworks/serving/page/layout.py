"""The page's layout: what can be done in tabs, the settings beside them (on a narrow screen behind a button)."""

from __future__ import annotations

from urllib.parse import quote

from nicegui import ui
from nicegui.events import ValueChangeEventArguments

from lmworks.models.unread import peeked
from lmworks.serving.models import ServedModels
from lmworks.serving.page.chat import Chat
from lmworks.serving.page.inside import Inside
from lmworks.serving.page.next_token import NextToken
from lmworks.serving.page.recorder import Recorder
from lmworks.serving.page.settings import SettingsPanel
from lmworks.serving.service import Service

BLUE = "#1c5d99"


class Layout:
    """One visitor's page of one model. The service is there while the page is made: what is done on it later asks for
    the model by its name, which may have been put away by then."""

    def __init__(self, models: ServedModels, service: Service, recorder: Recorder) -> None:
        ui.colors(primary=BLUE)
        with ui.header().classes("lm-header"):
            if len(models.all) == 1:
                ui.label(service.name).classes("lm-name").tooltip(_facts(service))
            else:
                chosen = ui.select([one.name for one in models.all], value=service.name, on_change=_go)
                chosen.props('dense borderless dark aria-label="Model"').tooltip(_facts(service))
            with ui.tabs().props("dense inline-label no-caps") as tabs:
                if service.writes:
                    ui.tab("chat", "Chat", "chat")
                if _continues(service):
                    ui.tab("next", "Next token", "bar_chart")
                if not service.model.translates:
                    ui.tab("inside", "Inside", "visibility")
            toggle = ui.button(icon="tune").props('flat round color=white aria-label="Settings"')
        with ui.right_drawer(bordered=True).props("width=280 breakpoint=800").classes("lm-drawer") as drawer:
            settings = SettingsPanel(self._changed, documents=service.index is not None)
        toggle.on_click(drawer.toggle)
        self._next: NextToken | None = None
        first = "chat" if service.writes else "inside"
        with ui.tab_panels(tabs, value=first, keep_alive=True).classes("lm-panels").props("transition-duration=0"):
            if service.writes:
                with ui.tab_panel("chat"):
                    Chat(models, service, settings, _hint(service), recorder)
            if _continues(service):
                with ui.tab_panel("next"):
                    self._next = NextToken(models, service, settings)
            if not service.model.translates:
                with ui.tab_panel("inside"):
                    Inside(models, service)

    def _changed(self) -> None:
        if self._next is not None:
            self._next.show()


def _go(chosen: ValueChangeEventArguments) -> None:
    """The page of another model."""
    ui.navigate.to(f"/?model={quote(chosen.value, safe='')}")


def _continues(service: Service) -> bool:
    return service.writes and not service.model.translates


def _hint(service: Service) -> str:
    if service.index is not None:
        return (
            "Ask the documents: answers are quoted from them, and a number opens the passage. "
            "In the settings you can let the model answer by itself."
        )
    if service.model.translates:
        return "Write a source text; the model writes its target."
    if service.model.tokenizer.chat_template is None:
        return "This model has no chat template: it goes on with each text that you write."
    return "Ask something. The colour of a token is its surprise: point at it, or reach it with Tab and the arrow keys."


def _facts(service: Service) -> str:
    size = sum(one.numel() for one in peeked(service.model.network).values())  # unread ones stay so
    runner, context = service.model.runner.name, service.model.config.context
    return f"{size / 1e6:,.0f} million parameters, {runner}, window {context:,} tokens"
