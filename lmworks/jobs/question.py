"""A question that a text itself suggests: what a build asks its result at the end.

question_of(reference, parts.held_out, parts.train)     # "The ferry carries how many cars?"
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import PurePath

from lmworks.grounding.self_test.readable import asked_in
from lmworks.text.document import Document
from lmworks.text.sentences import sentence_spans
from lmworks.text.sources import PYTHON_REFERENCE

FITTING = {PYTHON_REFERENCE: "What are lists typically used to store?"}
"""For texts that are known."""
MARKED = re.compile(r" {0,3}#{1,4} +(\S.*?)[ #]*")
RULE = re.compile(r"([=\-~*^\"])\1{2,}")
ENGLISH = re.compile(r"\b(the|and|of)\b", re.IGNORECASE)
ASKING = ("?", "？", "؟")
HOW_TO = re.compile(r"how to (.+)", re.IGNORECASE)
LOOKED_AT = 100
"""Documents, and headings, at most."""
READ = 20_000
"""Characters of a document."""
CODE_FENCE = ("```", "~~~")
PROSE = {"", ".md", ".markdown", ".txt", ".text", ".rst", ".adoc", ".org", ".html", ".htm"}
"""Kinds of files in which a line that opens with # is a heading and no comment."""


def question_of(reference: str, held_out: Sequence[Document], train: Sequence[Document]) -> str:
    """A question about a text, of what is held out where that suggests one: a user's own first turn, a heading that
    asks, or a sentence as a question.

    Else it is about the first heading, or the name of a file; a text that is not English gets its heading alone, with a
    question mark.
    """
    if reference in FITTING:
        return FITTING[reference]
    documents = [*held_out, *train]
    for document in documents:
        if document.messages is not None and (asked := _users_first(document)):
            return asked
    found = list(islice(chain.from_iterable(map(headings, documents)), LOOKED_AT))
    asking = next((one for one in found if one.endswith(ASKING) or HOW_TO.match(one)), None)
    if asking is None and (asked := next(chain.from_iterable(map(_stated, documents[:LOOKED_AT])), "")):
        return asked
    name = PurePath(documents[0].source.partition("#")[0]).stem.replace("-", " ").replace("_", " ")
    return _asked(asking or (found[0] if found else name), documents[0].text)


def _stated(document: Document) -> Iterator[str]:
    """What the first sentences of an English text say, as questions."""
    if not _is_english(document.text):
        return
    text = document.text[:READ]
    for start, end in sentence_spans(text):
        yield from (one.text for one in asked_in(text[start:end], "english"))


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
    if heading.endswith(ASKING):
        return heading
    if not _is_english(text):
        return f"{heading}?"
    how_to = HOW_TO.match(heading)
    return f"How do I {how_to[1]}?" if how_to else f'What should I know about "{heading}"?'


def _is_english(text: str) -> bool:
    return len(ENGLISH.findall(text)) >= 0.03 * len(text.split())
