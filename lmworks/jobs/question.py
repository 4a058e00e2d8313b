"""A question that a text's own headings suggest: what a build asks its result at the end.

question_of(parts.held_out, parts.train)     # 'What should I know about "Restoring a backup"?'
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import PurePath

from lmworks.text.document import Document
from lmworks.text.sources import PYTHON_REFERENCE

FITTING = {PYTHON_REFERENCE: "What are lists typically used to store?"}
"""For texts that are known."""
MARKED = re.compile(r" {0,3}#{1,4} +(\S.*?)[ #]*")
RULE = re.compile(r"([=\-~*^\"])\1{2,}")
ENGLISH = re.compile(r"\b(the|and|of)\b", re.IGNORECASE)
CODE_FENCE = ("```", "~~~")
PROSE = {"", ".md", ".markdown", ".txt", ".text", ".rst", ".adoc", ".org", ".html", ".htm"}
"""Kinds of files in which a line that opens with # is a heading and no comment."""


def question_of(reference: str, held_out: Sequence[Document], train: Sequence[Document]) -> str:
    """A question about a text, of what is held out where that suggests one: a user's own first turn, or a heading.

    Where no document has a heading, it is about the name of a file; a text that is not English gets its heading alone,
    with a question mark.
    """
    if reference in FITTING:
        return FITTING[reference]
    documents = [*held_out, *train]
    for document in documents:
        if document.messages is not None and (asked := _users_first(document)):
            return asked
    found = next(chain.from_iterable(map(headings, documents)), None)
    if found is None:
        found = PurePath(documents[0].source.partition("#")[0]).stem.replace("-", " ").replace("_", " ")
    return _asked(found, documents[0].text)


def headings(document: Document) -> Iterator[str]:
    """The document's headings of two to eight words, in order: Markdown's and underlined ones, without remarks in
    brackets at the end."""
    lines = document.text.splitlines()
    prose = PurePath(document.source.partition("#")[0]).suffix.lower() in PROSE
    inside_code = False
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        if line.lstrip().startswith(CODE_FENCE):
            inside_code = not inside_code
        elif not inside_code and prose:
            marked = MARKED.fullmatch(line)
            title = marked[1] if marked else line.strip() if RULE.fullmatch(below.strip()) else ""
            title = re.sub(r"[*_`]|\[([^\]]*)\]\([^)]*\)", r"\1", title).strip()
            title = re.sub(r" \([^()]*\)$", "", title)
            if 2 <= len(title.split()) <= 8 and sum(map(str.isalpha, title)) > len(title) / 2:
                yield title


def _users_first(document: Document) -> str:
    """What the user of a conversation asks first, where it is short."""
    asked = next((turn["content"] for turn in document.messages or () if turn["role"] == "user"), "")
    return asked if len(asked) <= 300 else ""


def _asked(heading: str, text: str) -> str:
    """A heading as a question."""
    if heading.endswith(("?", "？", "؟")):
        return heading
    words = len(text.split())
    if len(ENGLISH.findall(text)) < 0.03 * words:
        return f"{heading}?"
    how_to = re.match(r"how to (.+)", heading, re.IGNORECASE)
    return f"How do I {how_to[1]}?" if how_to else f'What should I know about "{heading}"?'
