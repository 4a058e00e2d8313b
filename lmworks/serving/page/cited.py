"""An answer from documents on the page: numbered chips that open the passage, the cited span marked in it."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from nicegui import ui

from lmworks.basics.errors import LmworksError
from lmworks.grounding.answer import Answer, Citation
from lmworks.grounding.index import Index
from lmworks.grounding.telling import parts, spot, where
from lmworks.serving.api.documents import AROUND, WholePassage, index_of, with_surroundings
from lmworks.serving.errors import Refused
from lmworks.serving.models import ServedModels

CHANGED = "This document has changed since the answer was given; ask again."


@dataclass(frozen=True)
class Shown:
    """An answer with what reading the documents adds; `looked_up` makes it."""

    answer: Answer
    places: Sequence[str]
    """Of each citation."""
    nearest: str
    """The nearest passage's place, of a refusal."""


def looked_up(index: Index, answer: Answer) -> Shown:
    """What the page shows; reads documents, so not for the event loop."""
    nearest = answer.passages[0] if answer.refused and answer.passages else None
    places = [spot(one, index) for one in answer.citations]
    return Shown(answer, places, "" if nearest is None else where(nearest, index))


def show(models: ServedModels, model: str, shown: Shown) -> None:
    """The answer with its chips and citations, or why there is none, into the element that is open."""
    answer = shown.answer
    if answer.refused:
        with ui.row().classes("lm-pair"):
            ui.icon("search_off")
            ui.label(answer.text).classes("lm-refusal")
        for line in (answer.reason, shown.nearest and f"nearest: {shown.nearest}"):
            if line:
                ui.label(line).classes("lm-foot")
        return
    cited = {one.number: one for one in answer.citations}
    with ui.element("div").classes("lm-text"):
        for at, part in enumerate(re.split(r" ?\[(\d+)\]", answer.text)):
            if at % 2 == 0:
                ui.html(html.escape(part), sanitize=False, tag="span")
            elif int(part) in cited:
                _chip(models, model, cited[int(part)])
            else:
                ui.html(f"[{part}]", sanitize=False, tag="span")
    for one, place in zip(answer.citations, shown.places, strict=True):
        with ui.row().classes("lm-citation"):
            _chip(models, model, one)
            with ui.column().classes("lm-cited"):
                ui.label(" ".join(one.text.split()))
                ui.label(f"{_title(one)} · {one.file}, {place}").classes("lm-foot")


def _chip(models: ServedModels, model: str, citation: Citation) -> None:
    chip = ui.button(str(citation.number), on_click=partial(_open, models, model, citation)).classes("lm-chip")
    chip.props(f'dense unelevated no-caps aria-label="Citation {citation.number}"')


def _title(citation: Citation) -> str:
    return " › ".join(filter(None, [citation.document, citation.heading]))


async def _open(models: ServedModels, model: str, citation: Citation) -> None:
    """Show the passage in a dialogue; Escape closes it."""
    try:
        async with models.using(model) as service:
            index = index_of(service)
            found = await service.worker.run(lambda: with_surroundings(index, citation.chunk, AROUND))
            place = await service.worker.run(lambda: spot(citation, index))
    except (LmworksError, Refused) as error:
        ui.notify(str(error))
        return
    with ui.dialog() as dialog, ui.card().classes("lm-source"):
        ui.label(_title(citation)).classes("lm-heading")
        ui.label(f"{citation.file}, {place}").classes("lm-foot")
        ui.html(_marked(found, citation), sanitize=False).classes("lm-passage")
        ui.button("Close", on_click=dialog.close).props("flat")
    dialog.on("hide", dialog.delete)
    dialog.open()


def _marked(found: WholePassage | None, citation: Citation) -> str:
    """The passage as HTML, everything in it escaped, and the span marked."""
    if found is not None and found.file == citation.file:
        text, begins = found.before + found.text + found.after, found.start - len(found.before)
        start, end = citation.start - begins, citation.end - begins
        if start >= 0 and text[start:end] == citation.text:
            opening, answer, closing = (html.escape(part) for part in parts(citation))
            span = f"<mark>{opening}<b>{answer}</b>{closing}</mark>"
            return f"{html.escape(text[:start])}{span}{html.escape(text[end:])}"
    return html.escape(CHANGED)
