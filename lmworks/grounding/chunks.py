"""Chunks: whole sentences of a document, as many as fit into some tokens, with its title and headings in front.

    for chunk in chunks_of(document, count=lengths, longest=160): print(chunk.start, chunk.heading, chunk.text)

The text of a chunk is verbatim: `document.text[chunk.start : chunk.end]`.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePosixPath

from lmworks.text.document import Document
from lmworks.text.formats.plain_text import SOURCE_CODE
from lmworks.text.images.decoding import SUFFIXES
from lmworks.text.images.naming import NAMED
from lmworks.text.metadata import front_matter_end
from lmworks.text.sentences import sentence_spans

Count = Callable[[Sequence[str]], Sequence[int]]
"""How many tokens each text has."""
Span = tuple[int, int]

_HEADING = re.compile(r"(#{1,6})[ \t]+(\S)(.*)")
_HEADING_LINE = re.compile(
    r"^#{1,6}[ \t]+\S.*$"
    r"|^\S.*\n[ \t]*(?:={3,}|-{3,})[ \t]*(?=\n\s*?\n|\s*\Z)",
    re.MULTILINE,
)
_FENCED = re.compile(r"^[ \t]*(`{3,}|~{3,})[^`\n]*\n.*?(?:^[ \t]*\1[`~]*[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)
LONGEST_TITLE = 120
"""Characters of a title or heading that are kept."""


@dataclass(frozen=True)
class Chunk:
    """A piece of a document."""

    start: int
    """Where it begins in the document's text, in characters."""
    end: int
    """Where it ends."""
    title: str
    """What the document is called."""
    heading: str
    """The headings above it, outermost first: "Install > On a Mac"; empty without any."""
    text: str
    """The piece itself, verbatim."""

    @property
    def whole(self) -> str:
        """Title, headings and text, as they are indexed."""
        return "\n".join(part for part in (self.title, self.heading, self.text) if part)


def chunks_of(document: Document, count: Count, longest: int) -> list[Chunk]:
    """The document's chunks, in order; a heading begins a new one. A sentence that is longer is cut between words."""
    text, is_code, own = document.text, _code(document), _own_title(document)
    title = own or _name(document.source)
    above: dict[int, str] = {}
    front = front_matter_end(text)  # says what the document is, and no sentence goes on from it
    headings = dict(_headings(text, front, is_code))  # apart from sentences: a full stop ends none ("2. Notice")
    between = pairwise([(0, 0), (front, front), *headings, (len(text), len(text))])
    sentences = (one for (_, start), (end, _) in between for one in _sentences(text, start, end))
    spans = sorted([*sentences, *headings])
    tokens = count([text[start:end] for start, end in spans])
    found: list[Chunk] = []
    held: list[Span] = []
    size = 0

    def close() -> None:
        nonlocal size
        if held:
            start, end = held[0][0], held[-1][1]
            found.append(Chunk(start, end, title, " > ".join(above.values()), text[start:end]))
        held.clear()
        size = 0

    for (start, end), length in zip(spans, tokens, strict=True):
        if held and held[0][0] < front <= start:
            close()
        if (start, end) in headings:
            close()
            level, words = headings[start, end]
            if level == 1 and not found and own in ("", words):
                title = words
            else:
                above = {at: name for at, name in above.items() if at < level} | {level: words}
            continue
        parts = [(start, end)] if length <= longest else list(_cut(text, start, end, count, longest))
        for part in parts:
            here = length if len(parts) == 1 else longest
            if held and size + here > longest:
                close()
            held.append(part)
            size += here
    close()
    return found


def _own_title(document: Document) -> str:
    """The title that a record or a front matter says, and the image that it names; empty without either."""
    values = (value for name in NAMED for value in document.metadata.get(name, ()))
    image = next((one for one in values if PurePosixPath(one).suffix.lower() in SUFFIXES), "")
    title = " ".join(" ".join(document.metadata.get("title", ())[:1]).split())[:LONGEST_TITLE]
    return f"{title} ({image})" if title and image else title or image


def _name(source: str) -> str:
    """What a document is called that says nothing of itself: its file's name, or the record's."""
    _, record, name = source.rpartition("#")
    return (name if record and not name.isdigit() else PurePosixPath(source).stem.replace("_", " "))[:LONGEST_TITLE]


def _code(document: Document) -> Callable[[int], bool]:
    """Whether a place of the document's text is code, where `#` begins a comment: between fences, or in a program."""
    if PurePosixPath(document.source).suffix.lower() in SOURCE_CODE.suffixes:
        return lambda place: True
    fenced = [one.span() for one in _FENCED.finditer(document.text)]
    starts = [start for start, _ in fenced]

    def is_code(place: int) -> bool:
        before = bisect_right(starts, place)
        return bool(before) and place < fenced[before - 1][1]

    return is_code


def _headings(text: str, front: int, is_code: Callable[[int], bool]) -> Iterator[tuple[Span, tuple[int, str]]]:
    """The Markdown headings after the front matter, in order: where each stands, its level and its words."""
    for line in _HEADING_LINE.finditer(text, front):
        start, end = line.span()
        if is_code(start):
            continue
        if marked := _HEADING.fullmatch(line.group()):
            # Not by the pattern, which would try every blank of a long run of them up to its end.
            words = marked[2] + marked[3].rstrip("#").rstrip()
            yield (start, end), (len(marked[1]), words[:LONGEST_TITLE])
        elif _begins_a_paragraph(text, start):
            words, rule = line.group().split("\n")
            yield (start, end), (1 if "=" in rule else 2, words.rstrip()[:LONGEST_TITLE])


def _sentences(text: str, start: int, end: int) -> Iterator[Span]:
    return ((start + first, start + last) for first, last in sentence_spans(text[start:end]))


def _begins_a_paragraph(text: str, start: int) -> bool:
    """Whether the line before this one is blank, or there is none."""
    return not text[text.rfind("\n", 0, max(start - 1, 0)) + 1 : start].strip()


def _cut(text: str, start: int, end: int, count: Count, longest: int) -> Iterator[Span]:
    """Pieces of a long sentence (a list without full stops, a script without spaces) of at most that many tokens, cut
    between words where there are any."""
    words = [(start + one.start(), start + one.end()) for one in re.finditer(r"\S+\s*", text[start:end])]
    short = max(longest // 8, 1)  # no character is more than four tokens
    parts: list[Span] = []
    for first, last in words:
        if last - first <= short:
            parts.append((first, last))
        else:
            parts += _halves(text, first, last, count, longest)
    tokens = count([text[first:last] for first, last in parts])
    begin, size = start, 0
    for (first, _), length in zip(parts, tokens, strict=True):
        if size and size + length > longest:
            yield begin, first
            begin, size = first, 0
        size += length
    yield begin, end


def _halves(text: str, start: int, end: int, count: Count, longest: int) -> Iterator[Span]:
    """A word, or parts of it of at most half as many tokens as a chunk may have, so that they fill one well."""
    waiting = [(start, end)]
    while waiting:
        first, last = waiting.pop()
        is_short = last - first <= max(longest // 8, 1)  # no character is more than four tokens
        if is_short or count([text[first:last]])[0] <= max(longest // 2, 1):
            yield first, last
        else:
            middle = (first + last) // 2
            waiting += [(middle, last), (first, middle)]
