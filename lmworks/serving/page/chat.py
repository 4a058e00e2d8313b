"""The chat: a conversation whose answers grow token by token, each with its probability."""

from __future__ import annotations

import asyncio
import time

from nicegui import ui

from lmworks.basics.errors import LmworksError
from lmworks.generation.request import LogprobOptions, Prompt
from lmworks.grounding.answer import Answer, Way
from lmworks.grounding.follow_up import in_context
from lmworks.serving.api.documents import index_of, question_of
from lmworks.serving.api.work import Job, Work
from lmworks.serving.errors import Refused, late
from lmworks.serving.models import ServedModels
from lmworks.serving.page.cited import looked_up, show
from lmworks.serving.page.recorder import Recorder
from lmworks.serving.page.settings import SettingsPanel
from lmworks.serving.page.token_view import ShownTokens, TokenView
from lmworks.serving.record import Cited
from lmworks.serving.service import Service

OTHERS = 6
"""Likeliest tokens beside each that is written."""
OFTEN = 0.1
"""Seconds between two looks of an answer that grows."""
ENDS = {"length": " · the longest answer is reached", "window": " · the window is full"}
DOWN = "window.scrollTo({top: document.body.scrollHeight})"
CANCELLED = Refused(499, "stopped")


class Chat:
    """The messages and the input. A model without a chat template continues the text, a translator translates it."""

    def __init__(
        self, models: ServedModels, service: Service, settings: SettingsPanel, hint: str, recorder: Recorder
    ) -> None:
        self._models, self._name, self._settings, self._recorder = models, service.name, settings, recorder
        self._converses = not service.model.translates and service.model.tokenizer.chat_template is not None
        self._turns: list[dict[str, str]] = []
        self._before: str | None = None
        """What the documents were asked last."""
        self._work: Work | None = None
        self._asking: asyncio.Future[Answer] | None = None
        self._stopped = False
        self._column = ui.column().classes("lm-messages").props('role="log" aria-label="Conversation"')
        self._hint = hint
        self._greet()
        with ui.row().classes("lm-ask"):
            self.input = ui.textarea(placeholder="Write here; Enter sends").classes("lm-grow")
            self.input.props('outlined autogrow autofocus rows=1 aria-label="Message"')
            self.input.on("keydown.enter.exact.prevent", self.send)
            self.input.on("keydown.esc", self.stop)
            self._send = ui.button(icon="send", on_click=self.send).props('round aria-label="Send"')
            self._stop = ui.button(icon="stop", color="negative", on_click=self.stop).props('round aria-label="Stop"')
            new = ui.button(icon="restart_alt", on_click=self.clear).props('round flat aria-label="New conversation"')
            new.tooltip("New conversation")
        self._stop.visible = False
        ui.context.client.on_delete(self.stop)  # the visitor left and did not come back in time

    def _greet(self) -> None:
        """Say what can be done, while the conversation is empty."""
        with self._column:
            self._empty = ui.label(self._hint).classes("lm-hint")

    def clear(self) -> None:
        """Start a new conversation."""
        self.stop()
        self._turns, self._before = [], None
        self._column.clear()
        self._greet()
        self.input.run_method("focus")

    def stop(self) -> None:
        """No more of the answer that is being written; what is there stays."""
        self._stopped = True
        if self._work is not None:
            self._work.stop(CANCELLED)
        if self._asking is not None:
            self._asking.cancel()

    async def send(self) -> None:
        """Ask what the line says and show the answer as it comes."""
        text = (self.input.value or "").strip()
        if not text or self._stop.visible:
            return
        self._stopped, self._stop.visible, self._send.visible = False, True, False
        self.input.value, self._empty.visible = "", False
        with self._column:
            ui.label(text).classes("lm-message lm-asked")
            box = ui.column().classes("lm-message lm-answer")
        with box:
            written = TokenView(coloured=self._settings.probabilities.value)
            foot = ui.label().classes("lm-foot")
        ui.run_javascript(DOWN)
        try:
            if not self._models.named(self._name).loaded:
                foot.text = f"loading {self._name}"
            async with self._models.using(self._name) as service:
                if (way := self._settings.way.value) == "off":
                    await self._answer(service, text, written, foot)
                else:
                    await self._cite(service, text, way, written, foot, box)
        except (LmworksError, Refused, asyncio.CancelledError) as error:
            foot.text = "stopped" if self._stopped else str(error)
            foot.classes(replace="lm-foot" if self._stopped else "lm-foot lm-error")
            written.add([], False)
        finally:
            self._work = self._asking = None
            self._stop.visible, self._send.visible = False, True

    async def _cite(
        self, service: Service, text: str, way: Way, written: TokenView, foot: ui.label, box: ui.column
    ) -> None:
        """The answer of the documents, whole: nothing of it is shown before it is checked."""
        seconds, started = service.limits.seconds, time.monotonic()
        index = index_of(service)
        question = in_context(question_of(service, text, "the message"), self._before)
        foot.text = "looking into the documents"
        written.add([], True)
        self._asking = asyncio.ensure_future(service.worker.run(lambda: service.ask(question, way)))
        try:
            answer = await asyncio.wait_for(self._asking, seconds)
        except TimeoutError:
            raise late(seconds, "ask for less") from None
        shown = await service.worker.run(lambda: looked_up(index, answer))
        self._before = question
        self._recorder.cited(service.name, Cited(way, answer), time.monotonic() - started, text)
        written.delete()
        foot.text = "" if question == text else f"asked as: {question}"
        box.classes("lm-refused" if answer.refused else "")
        with box:
            show(self._models, service.name, shown)
        foot.move(box)  # below them
        _follow()

    async def _answer(self, service: Service, text: str, written: TokenView, foot: ui.label) -> None:
        shown = self._settings.probabilities.value
        options = LogprobOptions(OTHERS if shown else 0, written=shown)
        before = self._turns
        turns = [*before, {"role": "user", "content": text}]
        job = Job(self._prompt(turns), self._settings.strategy(), self._settings.most(), logprobs=options)
        written.add([], True)
        self._work = work = await Work.begin(service, [job])
        if self._stopped:
            self.stop()
        pieces, said, new, finish, looked = ShownTokens(service.texts), [], [], None, 0.0
        try:
            async for _, delta in work.deltas():
                said.append(delta.text)
                new += pieces.of(delta.tokens)
                finish = delta.finish or finish
                if time.monotonic() - looked > OFTEN:  # a slow browser must not fall behind, or it would stop late too
                    written.add(new, True)
                    foot.text = _rate(work)
                    _follow()
                    new, looked = [], time.monotonic()
        finally:
            if self._turns is before:  # no new conversation has begun
                self._turns = [*turns, {"role": "assistant", "content": "".join(said)}]
            self._recorder.written(work, text)
            written.add(new, False)
            _follow()
        foot.text = _rate(work) + ENDS.get(str(finish), "")

    def _prompt(self, turns: list[dict[str, str]]) -> Prompt:
        if not self._converses:
            return turns[-1]["content"]
        system = (self._settings.system.value or "").strip()
        return [*([{"role": "system", "content": system}] if system else []), *turns]


def _follow() -> None:
    """Go down with the text, unless the visitor reads further up."""
    ui.run_javascript(f"if (innerHeight + scrollY > document.body.scrollHeight - 120) {DOWN}")


def _rate(work: Work) -> str:
    [handle] = work.handles
    sequence, first = handle.sequence, handle.first
    text = f"{len(sequence.tokens):,} tokens"
    if first is None:
        return text
    seconds = (handle.ended or time.monotonic()) - first
    if len(sequence.tokens) > 8 and seconds > 0:
        text += f" · {(len(sequence.tokens) - 1) / seconds:,.0f} a second"
    return text + (f" · seed {sequence.request.seed}" if sequence.request.seed is not None else "")
