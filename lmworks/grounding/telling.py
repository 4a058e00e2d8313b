"""How an answer from documents is shown: its text, and each citation with the place where it stands.

for line in lines_of(answer, index): print(line)
"""

from __future__ import annotations

import functools
from dataclasses import asdict
from pathlib import PurePath
from typing import Any, Protocol

from lmworks.basics.amounts import counted
from lmworks.grounding.answer import Citation, GroundedAnswer, percent_right
from lmworks.grounding.asking import Searchable
from lmworks.grounding.passage import Passage
from lmworks.grounding.places import PAGE_BREAK, Place, place_of
from lmworks.text.formats.pdf import PDF
from lmworks.text.formats.plain_text import SOURCE_CODE, TEXT
from lmworks.text.formats.rows import head_above

SHOWN = 12
"""Facts that are shown below a citation of a graph."""
FAR = 0.005
"""The confidence below which what comes nearest is not shown, as it is about something else: of 33 questions that the
short notes do not answer and that are refused (benchmarks/notes_questions.toml) 7 are below it, and of 12 that are
refused though the nearest passage holds the answer, none."""


class Texts(Protocol):
    """What knows the text of each file: an index."""

    def document(self, file: str) -> str | None:
        """The text of a file; None for one that is not there."""


class ReadOnce:
    """The same for many passages of few files: a text stays once it was read."""

    def __init__(self, texts: Texts) -> None:
        self.document = functools.cache(texts.document)


def lines_of(answer: GroundedAnswer, index: Searchable) -> list[str]:
    """For a terminal: the answer and what it stands on; or the refusal, why, and what comes nearest to an answer, where
    that may be one."""
    lines = [" ".join(answer.text.split()), ""]
    for one in answer.citations:
        differs = "differs: " if one.differs else ""
        lines += [f"[{one.number}] {differs}{where(one, index)}", *_shown(one, index, "    ")]
        lines += [f"    {fact.with_file()}" for fact in one.triples[:SHOWN]]
        if len(one.triples) > SHOWN:
            lines.append(f"    and {counted(len(one.triples) - SHOWN, 'fact')} more (--json)")
    if answer.probably_right is not None:
        lines += ["", f"likely    {percent_right(answer.probably_right)} of answers like this one are right"]
    if answer.refused:
        lines.append(f"why       {answer.reason}")
    if answer.nearest and not 0 < answer.confidence < FAR:
        unsupported = answer.why is not None and answer.why.kind == "unsupported"  # the documents may well answer
        lines += [
            f"{'instead' if unsupported else 'nearest':<10}{where(answer.nearest, index)}",
            *_shown(answer.nearest, index, "          "),
        ]
    return lines


def facts_of(answer: GroundedAnswer, index: Searchable) -> dict[str, Any]:
    """For programs: the answer with its citations, and not what else was found."""
    return {
        "text": answer.text,
        "refused": answer.refused,
        "confidence": answer.confidence,
        "probably_right": answer.probably_right,
        "threshold": answer.threshold,
        "false_refusals": answer.false_refusals,
        "reason": answer.reason,
        "why": answer.why and asdict(answer.why),
        "nearest": None if answer.nearest is None else _cited(answer.nearest, index),
        "citations": [_cited(one, index) for one in answer.citations],
    }


def _cited(one: Citation, index: Texts) -> dict[str, Any]:
    """A citation for programs, with the line of headers above a row of a table."""
    return placed(one, index) | {"header": header_above(one, index)}


def header_above(one: Citation, index: Texts) -> str:
    """The line that says the headers of the Markdown table in which a citation begins, verbatim; else nothing."""
    text = None if one.of_graph else index.document(one.file)
    if text is None or not one.text.startswith("|"):
        return ""
    return head_above(text, one.start or 0).partition("\n")[0].strip()


def placed(span: Citation | Passage, index: Texts) -> dict[str, Any]:
    """A citation or passage with its line or page: as text, and for programs. Facts of a graph and images have none."""
    nowhere = {"start": None, "end": None, "chunk": None, "place": span.document, "at": None}
    if is_image(span):
        return asdict(span) | nowhere | {"caption": span.text}
    if span.of_graph:
        return asdict(span) | nowhere
    place = spot(span, index)
    return asdict(span) | {"place": str(place), "at": asdict(place)}


def where(span: Citation | Passage, index: Texts) -> str:
    """File and place of a span; then title and headings. Of an image its file, and of facts, which have files of their
    own, the graph."""
    if is_image(span) or span.of_graph:
        return span.document
    first = span.heading.partition(" > ")[0]
    above = " > ".join(filter(None, (span.document if span.document != first else "", span.heading)))
    return f"{span.file}, {spot(span, index)}" + (f"  ({above})" if above else "")


def is_image(span: Citation | Passage) -> bool:
    """Whether it is an image, which a search found."""
    return span.kind == "image"


def spot(span: Citation | Passage, index: Texts) -> Place:
    """The page or the line of a span, as the file itself counts them; else its characters. Of a citation, where its
    answer begins: a sentence may go on for lines, or over a page."""
    text, suffix = index.document(span.file), PurePath(span.file).suffix.lower()
    start = (span.answer[0] if isinstance(span, Citation) and span.answer else span.start) or 0
    if text is not None and (PAGE_BREAK in text or suffix in (*TEXT.suffixes, *SOURCE_CODE.suffixes)):
        return place_of(text, start)
    if suffix in PDF.suffixes:
        return Place("page", 1)
    return Place("characters", span.start or 0, span.end)


def _shown(one: Citation, index: Texts, margin: str) -> list[str]:
    """The lines of a citation: a row of a table below its headers, as it says nothing without them."""
    header = " ".join(header_above(one, index).split())
    return [margin + line for line in (header, _marked(one)) if line]


def _marked(citation: Citation) -> str:
    """The cited sentences in one line, with the answer between » and « where it is a part of them."""
    before, answer, after = parts(citation)
    marked = f"{before}»{answer}«{after}" if before or after else answer
    return " ".join(marked.split())


def parts(citation: Citation) -> tuple[str, str, str]:
    """A citation's text: before the answer itself, the answer, after it."""
    if citation.start is None or citation.answer is None:
        return "", citation.text, ""
    first, last = (place - citation.start for place in citation.answer)
    return citation.text[:first], citation.text[first:last], citation.text[last:]
