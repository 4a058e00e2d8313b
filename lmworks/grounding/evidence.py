"""Evidence: a passage as it was read, the sentence of it that answers, and what of that sentence is the answer.

    for one in read_passages(reader, question, passages): print(one.rank, one.answer, one.sentence)

Every span is a place in the document's text, so that it can be cited verbatim.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import NamedTuple

from lmworks.grounding.answer import BestSpan, Citation, Reader
from lmworks.grounding.cells import named_by_both
from lmworks.grounding.passage import Passage
from lmworks.grounding.words import content, coverage, negated
from lmworks.text.formats.rows import rows_of
from lmworks.text.sentences import sentence_spans

Span = tuple[int, int]

# Where a list, a table, code or a line of a record begins: sentences there end with their line.
_LINE = re.compile(r"\n(?=[ \t]*(?:[-*+•>|]|\d+[.)]|```)|  |\t)")
# Lines that are indented by less than code is: items of a list without marks, or prose that goes on.
_UNMARKED = r"(?![\s\-*+•>|`]|\d+[.)]).+"
_INDENTED = re.compile(rf"^( {{2,3}}){_UNMARKED}(?:\n\1{_UNMARKED})*", re.MULTILINE)
_ITEM = re.compile(r"[ \t]*(?:[-*+•>|]|\d+[.)])")
_NUMBERED = re.compile(r"\**(?:\d{1,3}(?:\.\d{1,3})*[.)]|§\s*\d{1,3})\s+(?:[^\s.!?]+\s+){0,3}[^\s.!?]+\.\**")
"""A heading that stands before its text: "9. Subletting."."""
_SIGNATURE = re.compile(r"^-- ?$", re.MULTILINE)
"""What a mail's signature begins with (RFC 3676, section 4.3); the space may be lost."""
_LEANS = re.compile(
    r"(?:[A-Z][\w' -]{0,30},\s+|(?:And|But|So|Or|Yet|Then|In|At|On|From|By|For|Of|After|Before|Since|With|As|Like|"
    r"Under|During)\s+)?"
    r"(?:[Ii]ts?|[Tt]his|[Tt]hat|[Tt]hese|[Tt]hose|[Tt]hey|[Tt]heir|[Hh]e|[Ss]he|[Hh]is|[Hh]er|[Ss]uch|[Bb]oth|[Tt]here)\b"
)
"""A sentence that begins so ("This is", "Today, this is", "In these") says of what only with the one before it."""
_BOUND = re.compile(
    r"\b(?:at (?:most|least)|up to|(?:no )?(?:more|less|fewer|earlier|later) than|under|over|below|above|before|after|"
    r"until|only|except|without|not|never|no|about|around|nearly|almost|early|late|mid|(?:the\s+)?(?:end|beginning|start|"
    r"middle|first half|second half) of)[\s-]+(?:(?:the|an?)\s+)?$",
    re.IGNORECASE,
)
"""What says something else together with what follows it."""
_THAT = re.compile(r"\s+(?:that|which|who)\b")
"""What makes a figure after "the" one of its own: less than the 3.2 metres that coaches need."""
_MARK = r"(?:[.](?=[a-z0-9])|:(?=\d)|:?//|[@/_+]|-(?=[a-z])|(?<=[a-zA-Z])-(?=\d)|,(?=\d{3}(?!\d)))"
_LATIN = r"[0-9A-Za-z_\u00c0-\u024f]+"
_WHOLE = re.compile(rf"(?:[€$£]\s?)?{_LATIN}(?:{_MARK}{_LATIN})*")
"""What a reading may break: an address (lost@ferry.example), a name with marks, a price, "non-members"; no range, and
nothing in scripts without spaces."""
_LEADS = re.compile(r"[:?][\s>]*$")
"""What is said comes after it: a command, a list, the answer to a question."""
_CLAUSE = re.compile(r"[;:—]\s|\s[–-]\s")
_BAR = re.compile(r"(?<!\\)\|")
"""What parts the cells of a row: what one of them denies the others do not."""
_BLANK = re.compile(r"\n\s*\n|\n(?=-- ?(?:\n|\Z))")
"""What parts paragraphs, a signature too."""
_ASKS_FOR_A_VERSION = re.compile(r"\b(?:which|what)\s+(?:version|release)s?\b(?!\s+of\b)(?!.*\d[.]\d)", re.IGNORECASE)
_VERSION = re.compile(r"(?<![\w.])v?\d{1,4}(?:[.]\d{1,4}){1,3}(?![\w.])", re.IGNORECASE)
_WHO = re.compile(
    r"\A\W*(?:and\s+)?who(?:['’]s|\s+(?:is|was))\s+(?:(?:the|our|your|its|their)\s+)?(?P<office>[\w -]+?)"
    r"(?:\s+(?:of|for|at|in|on)\b.*)?\W*\Z",
    re.IGNORECASE,
)
_PERSON = r"[^\W\d_a-z][\w'’.-]*(?:\s+(?:(?:van|von|de|der|den|di|da|la|le)\s+)*[^\W\d_a-z][\w'’.-]*){0,3}"
LONGEST = 400
"""Characters of a sentence or paragraph that is shown whole; a longer sentence is cut at its line ends."""
NARROWEST = 50
"""Characters of the longest line where lines are wrapped."""
ROOM = 0.95
"""Of the longest line, what a line and the next one's first word must exceed where they are one sentence."""
RETRIEVAL = 2.0
"""What the whole range of a search's scores, 0 to 1, weighs beside a reader's score."""
DEFINES = 10.0
"""What a definition that is asked for weighs beside it,"""
STANDS_OVER = 5.0
"""and what stands below its term as a heading."""
ASKED_CELL = 3.0
"""What a cell weighs beside it whose row and column the question names both: readers find less in tables than in prose.
Chosen on two files of tables and prose that no figure is of, where anything from 2 to 6 is alike."""
DEFINED = 0.9
"""The probability that a text with the definition answers, at least; readers learn from few such questions."""


class Definition(NamedTuple):
    """What defines a term."""

    start: int
    """Where it begins in the passage's text, in characters."""
    end: int
    explicit: bool
    """A sentence or line says it; else it stands below the term as a heading."""


class Above(NamedTuple):
    """What stands above a passage and is read with it, whole lines."""

    table: str = ""
    """The headers of the table in which it begins."""
    heading: str = ""
    """The heading right before it, in which the answer may stand."""


@dataclass(frozen=True)
class Evidence:
    """What one passage says to the question."""

    passage: Passage
    reading: BestSpan
    """Its places are in the passage's text."""
    sentence: Span
    """The sentence that holds the answer, in the passage's text."""
    retrieval: float
    """The passage's score, moved to 0 ... 1 among those that were found."""
    defines: bool = False
    """Whether the sentence is the definition that is asked for."""
    named: float = 0.0
    """Of a cell of a table: how much of its row's label and its column's header the question says, 0 ... 1."""
    headers: str = ""
    """Of a row of a table: what its columns are called."""
    title: int = 0
    """How many characters of the passage's text are its heading, in which the answer stands; 0 where it does not."""

    @property
    def rank(self) -> float:
        """What the passages of one question are ordered by."""
        return self.reading.score + RETRIEVAL * self.retrieval + ASKED_CELL * self.named

    @property
    def answer(self) -> str:
        """The span that answers, verbatim."""
        return self.passage.text[self.reading.start : self.reading.end]

    @property
    def quote(self) -> str:
        """The sentence around it, verbatim."""
        return self.passage.text[slice(*self.sentence)]

    @property
    def paragraph(self) -> Span:
        """What a long answer is: the paragraph around the sentence, with the next one where it ends in a colon or asks
        something; the sentence where that is long, or a row of a table."""
        if self.defines or rows_of(self.quote):
            return self.sentence
        text, (start, end) = self.passage.text, self.sentence
        first = max((one.end() for one in _BLANK.finditer(text, 0, start)), default=0)
        after = _BLANK.search(text, end)
        last = after.start() if after else len(text)
        if after and _LEADS.search(text, first, last) and not _SIGNATURE.match(text, after.end()):
            following = _BLANK.search(text, after.end())
            last = following.start() if following else len(text)
        return (first, last) if last - first <= LONGEST else self.sentence

    @property
    def shown(self) -> Span:
        """The span that answers, with a bound right before it (at most, not, after); its whole clause where that denies
        something and the span alone does not."""
        text, (first, last), (start, end) = self.passage.text, self.sentence, (self.reading.start, self.reading.end)
        last = min(last, self.title or last)
        apart = _BAR if self.headers and text.startswith("|", first) else _CLAUSE
        first = max((one.end() for one in apart.finditer(text, first, start)), default=first)
        after = apart.search(text, end, last)
        last = after.start() if after else last
        if negated(text[first:last]) and not negated(text[start:end]):
            return first, last
        bound = _BOUND.search(text, first, start)
        if bound is None or (bound.group().rstrip().endswith("the") and _THAT.match(text, end, last)):
            return start, end
        return bound.start(), end

    def citation(self, number: int, whole: bool = False, decides: bool = False) -> Citation:
        """The sentence as a citation; `whole`: the paragraph, all of which is the answer, or of which the sentence
        `decides` the question. With the sentence before it where it leans on that."""
        one = self.passage
        start, end = self.paragraph if whole else self.sentence
        says = not whole and any(map(str.isalnum, self.answer))  # a reader that finds nothing may take a full stop
        span = self.shown if says else self.sentence if decides else (start, end)
        if _LEANS.match(one.text, start):
            start = max((begin for begin, _ in units(one.text) if begin < start), default=start)
        return Citation.of(number, one, start, end, span)


def units(text: str) -> list[Span]:
    """The sentences of a text; lines of a list, a table, code or a signature are sentences of their own."""
    signed = _SIGNATURE.search(text)
    said = text[: signed.start()] if signed else text
    width = max(map(len, said.split("\n")), default=0)
    items = [one.span() for one in _INDENTED.finditer(said) if _is_list(said, one)]
    found = [part for start, end in sentence_spans(said) for part in _lines(said, start, end, width, items)]
    below = re.compile(r"\S.*\S|\S").finditer(text, signed.end()) if signed else ()
    return [*_with_numbers(said, found), *(one.span() for one in below)]


def _with_numbers(text: str, spans: Sequence[Span]) -> Iterator[Span]:
    """The sentences, each with the numbered heading that stands before it."""
    held: int | None = None
    for (start, end), following in zip_longest(spans, spans[1:]):
        begin = start if held is None else held
        leads = following is not None and _leads(text, (start, end), following)
        held = begin if leads else None
        if not leads:
            yield begin, end


def _leads(text: str, heading: Span, following: Span) -> bool:
    """Whether a sentence is the numbered heading of the next one, and no short item of a list."""
    between = text[heading[1] : following[0]]
    return (
        _NUMBERED.fullmatch(text, *heading) is not None
        and not _BLANK.search(between)
        and not ("\n" in between and _ITEM.match(text, following[0]))
    )


def _lines(text: str, start: int, end: int, width: int, items: Sequence[Span]) -> Iterator[Span]:
    is_short = end - start <= LONGEST
    pattern = _LINE if is_short else re.compile(r"\n")
    after = {last for first, last in items if start < last < end and _ends_there(text, first, last)}
    cuts = [*sorted({*(start + one.start() for one in pattern.finditer(text[start:end])), *after}), end]
    begin = start
    for cut, following in zip(cuts, [*cuts[1:], end], strict=True):
        is_item = cut in after or any(first <= cut + 1 < last for first, last in items)
        goes_on = _wrapped(text, cut, width) or (is_short and _INDENTED.match(text, cut + 1) is not None)
        if cut < end and following - begin <= LONGEST and not is_item and goes_on:
            continue
        piece = text[begin:cut]
        if piece.strip():
            yield begin + len(piece) - len(piece.lstrip()), cut - len(piece) + len(piece.rstrip())
        begin = cut


def _ends_there(text: str, start: int, end: int) -> bool:
    """Whether the last of indented items ends with its line. (A single line may be the first of a paragraph.)"""
    return "\n" in text[start:end] and not text[end + 1 : end + 2].islower()


def _is_list(text: str, block: re.Match[str]) -> bool:
    """Whether indented lines are items without marks ("  200 g flour"), and do not go on from an item that has one, nor
    are prose: wide lines of which most begin in a small letter."""
    before = text[text.rfind("\n", 0, max(block.start() - 1, 0)) + 1 : block.start()]
    lines = block.group().split("\n")
    small = sum(line.lstrip()[0].islower() for line in lines)
    is_prose = 2 * small > len(lines) and (len(lines) == 1 or max(map(len, lines)) >= NARROWEST)
    return not _ITEM.match(before) and not is_prose


def _wrapped(text: str, at: int, width: int) -> bool:
    """Whether the line that ends here goes on in the next one, whose first word had no room left in it: indented prose,
    as manual pages have it. The first line of a text may lack its beginning; it goes on in a small letter."""
    after = re.match(r"\n[ \t]*(?![-*+•>|]|\d+[.)]|```)(\S+)", text[at : at + width + 1])
    if width < NARROWEST or after is None:
        return False
    first = text.rfind("\n", 0, at) + 1
    return at - first + 1 + len(after[1]) > ROOM * width if first else after[1][0].islower()


def read_passages(
    reader: Reader,
    question: str,
    passages: Sequence[Passage],
    definition: Callable[[Passage], Definition | None] = lambda passage: None,
    above: Callable[[Passage], Above] = lambda passage: Above(),
    unread: Callable[[Passage], int] = lambda passage: 0,
) -> list[Evidence]:
    """What each passage says, best first; passages of the same text are read once.

    `definition` finds in one what defines the term whose meaning is asked; `above` is what a passage is read with; what
    stands in it stays as it is read alone; `unread` is how many characters at its beginning answer nothing: the header
    of a mail. What is read there is read again without them; a passage that is nothing else is left out, unless all
    are."""
    passages = list(distinct(passages))
    passages = [one for one in passages if one.text[unread(one) :].strip()] or passages
    scores = [one.score for one in passages]
    low, high = min(scores, default=0.0), max(scores, default=0.0)
    tops, found = [above(one) for one in passages], []
    texts = [top.table + one.text for top, one in zip(tops, passages, strict=True)]
    below = [(at, top.heading) for at, top in enumerate(tops) if top.heading]
    headings = [passages[at].heading for at in (*range(len(passages)), *(at for at, _ in below))]
    read = reader.read(question, [*texts, *(heading + passages[at].text for at, heading in below)], headings)
    with_heading = {at: one for (at, _), one in zip(below, read[len(passages) :], strict=True)}
    for at, (one, top) in enumerate(zip(passages, tops, strict=True)):
        share = (one.score - low) / (high - low) if high > low else 1.0
        size, reading, defined = len(top.table), read[at], definition(one)
        if defined is not None:
            start, end, explicit = defined
            score = reading.score + (DEFINES if explicit else STANDS_OVER)
            sure = BestSpan(start, end, score, max(reading.answerable, DEFINED))
            found.append(Evidence(one, sure, (start, end), share, defines=True))
        elif (inside := _in_a_heading(question, top.heading, reading, with_heading.get(at))) is not None:
            found.append(_of_heading(question, one, top.heading, inside, share))
        else:
            inside = replace(reading, start=max(reading.start - size, 0), end=max(reading.end - size, 0))
            if inside.start < (skip := unread(one)) and one.text[skip:].strip():
                inside = _read_below(reader, question, one, skip)
            inside = _holder(question, one.text, _without_beginnings(one.text, _trimmed(one.text, inside)))
            named, headers = _in_a_table(question, top.table, one.text, inside)
            found.append(Evidence(one, inside, _around(one.text, inside), share, named=named, headers=headers))
    return sorted(found, key=lambda one: -one.rank)


def _read_below(reader: Reader, question: str, one: Passage, skip: int) -> BestSpan:
    """What a passage says without its beginning."""
    text = one.text[skip:]
    (read,) = reader.read(question, [text], [one.heading])
    inside = _trimmed(text, read)
    return replace(inside, start=inside.start + skip, end=inside.end + skip)


def _in_a_heading(question: str, heading: str, alone: BestSpan, read: BestSpan | None) -> BestSpan | None:
    """The part of a reading that lies in the heading in which it begins; the version there where one is asked for, as
    readers take anything else that it has. None where the passage alone answers better, or elsewhere, and where all
    that was read is the version that the question is about."""
    if read is None:
        return None
    version = _VERSION.search(heading) if _ASKS_FOR_A_VERSION.search(question) else None
    if version is not None:
        return replace(read, start=version.start(), end=version.end())
    size = len(heading.partition("\n")[0].rstrip())
    inside = replace(read, end=min(read.end, size))
    is_there = read.start < size and read.score > alone.score
    return inside if is_there and not _is_asked_about(question, heading[inside.start : inside.end]) else None


def _is_asked_about(question: str, answer: str) -> bool:
    """Whether an answer is a version that the question names, whole or by its first numbers."""
    version = _VERSION.fullmatch(answer.strip(" #[]()"))
    return version is not None and any(
        f"{version.group()}.".startswith(f"{one}.") for one in _VERSION.findall(question)
    )


def _of_heading(question: str, one: Passage, heading: str, read: BestSpan, share: float) -> Evidence:
    """An answer in the heading right above a passage. Its sentence goes on to that of the passage with most of the
    question's words, if the heading lacks some of them and both are not long."""
    text, size = heading + one.text, len(heading.partition("\n")[0].rstrip())
    asked, own = content(question, "english"), content(heading, "english")
    inside = _trimmed(text, read)
    spans = [(start, end) for start, end in units(text) if size <= start and end <= LONGEST]
    best = max(spans, key=lambda span: coverage(asked, [*own, *content(text[slice(*span)], "english")]), default=None)
    held = coverage(asked, [*own, *content(text[slice(*best)], "english")]) if best else 0.0
    sentence = (0, best[1]) if best and held > coverage(asked, own) else (0, size)
    passage = replace(one, text=text, start=one.start - len(heading))
    return Evidence(passage, inside, sentence, share, title=size)


def _in_a_table(question: str, head: str, text: str, reading: BestSpan) -> tuple[float, str]:
    """How much a question says of what names the cell of a table that holds a reading, and the headers of its row."""
    whole, start, end = head + text, len(head) + reading.start, len(head) + reading.end
    for row in rows_of(whole):
        if row and row[0].start <= start < end <= row[-1].end:
            cell = next((one for one in row if one.start <= start and end <= one.end), row[0])
            return named_by_both(question, whole, row, cell), " ".join(one.header for one in row)
    return 0.0, ""


def distinct(passages: Iterable[Passage]) -> Iterator[Passage]:
    """The passages without those whose text is that of a better one."""
    known: set[str] = set()
    for one in passages:
        words = " ".join(one.text.split())
        if words not in known:
            known.add(words)
            yield one


def _trimmed(text: str, reading: BestSpan) -> BestSpan:
    """A reading within the text and without white space around it; the whole text where it holds nothing."""
    start, end = max(0, reading.start), max(0, min(len(text), reading.end))
    piece = text[start:end]
    if not piece.strip():
        start, end, piece = 0, len(text), text
    start, end = start + len(piece) - len(piece.lstrip()), end - len(piece) + len(piece.rstrip())
    start, end = _whole_words(text, start, end)
    return replace(reading, start=start, end=end)


def _whole_words(text: str, start: int, end: int) -> Span:
    """A span that ends and begins where words do, those with marks inside among them; readers cut these."""
    first = text.rfind("\n", 0, start) + 1
    for one in _WHOLE.finditer(text, first):
        if one.start() >= end:
            break
        start, end = (
            (one.start() if one.start() < start < one.end() else start),
            (one.end() if one.start() < end < one.end() else end),
        )
    return start, end


def _holder(question: str, text: str, reading: BestSpan) -> BestSpan:
    """The reading; where the question is who holds an office, the name before that in brackets: "Lind (secretary)"."""
    asked = _WHO.match(question)
    if asked is None:
        return reading
    named = re.search(rf"(?P<who>{_PERSON})\s*\((?i:(?:the\s+)?{re.escape(asked['office'])})\)", text)
    return replace(reading, start=named.start("who"), end=named.end("who")) if named else reading


def _without_beginnings(text: str, reading: BestSpan) -> BestSpan:
    """A reading that crosses sentences, without the beginning of a last one and without other paragraphs: "seven weeks
    before it begins. The canteen"."""
    touched = [(start, end) for start, end in units(text) if start < reading.end and reading.start < end]
    while len(touched) > 1:
        (_, before), (start, end) = touched[-2:]
        if 2 * (reading.end - start) >= end - start and not _BLANK.search(text, before, start):
            break
        reading = replace(reading, end=before)
        touched.pop()
    return reading


def _around(text: str, reading: BestSpan) -> Span:
    """The sentences that a reading lies in."""
    touched = [(start, end) for start, end in units(text) if start < reading.end and reading.start < end]
    return (min(reading.start, touched[0][0]), max(reading.end, touched[-1][1])) if touched else (0, len(text))
