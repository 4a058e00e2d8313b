"""Checks for documents that are there twice: in a text, in the parts that its files are named for, in two texts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lmworks.basics.amounts import counted
from lmworks.checks.data import HasReading
from lmworks.checks.result import Difference, NotApplicableError, Outcome, check
from lmworks.evaluation.leaks import TOLERATED, shared_words
from lmworks.text.document import Document
from lmworks.text.sources import Reading

PARTS = {
    "train": ("train", "training"),
    "valid": ("valid", "validation", "val", "dev"),
    "test": ("test", "testing", "eval", "held_out", "heldout"),
}
"""The parts of a data set in the order in which they are used, and the words in a file's or a folder's name that say
which one it holds."""
ASIDE = "white space and letter case aside"


@dataclass(frozen=True)
class TwoTexts:
    """A text, and another that it is compared with: one of training and one of tests, say."""

    one: Reading
    other: Reading
    names: tuple[str, str]
    """As they were given."""


@check("no document is there twice", 9, of="text")
def once(text: HasReading) -> Outcome:
    """Documents that repeat an earlier one, white space and letter case aside."""
    documents = text.reading.documents
    repeated = _repeats(documents, documents)
    told = "1 document repeats an earlier one" if len(repeated) == 1 else f"{len(repeated):,} documents repeat others"
    return Outcome(
        f"{counted(len(documents), 'document')}, {ASIDE}",
        [_counted("the documents and different ones", repeated, told)],
    )


@check("files named as parts share no document", 9, of="text")
def parts_apart(text: HasReading) -> Outcome:
    """Documents of a file named for tests or validation that stand in one named for what is used before it."""
    by_part = {part: [one for one in text.reading.documents if part_of(one.source) == part] for part in PARTS}
    named = [(part, documents) for part, documents in by_part.items() if documents]
    if len(named) < 2:
        raise NotApplicableError("no two files are named as train, valid or test")
    differences = []
    for at, (part, documents) in enumerate(named):
        for earlier, others in named[:at]:
            repeated = _repeats(documents, others)
            differences.append(_difference((part, documents), earlier, repeated))
    return Outcome(", ".join(f"{part} {len(documents):,}" for part, documents in named) + " documents", differences)


@check("the texts share no document", 9, of="two texts")
def texts_apart(texts: TwoTexts) -> Outcome:
    """Documents of the second text that stand in the first, white space and letter case aside."""
    one, other = texts.one.documents, texts.other.documents
    repeated, (name, second) = _repeats(other, one), texts.names
    return Outcome(
        f"{len(one):,} documents and {len(other):,}, {ASIDE}", [_difference((second, other), name, repeated)]
    )


@check("the texts share few words in a row", 9, of="two texts")
def words_apart(texts: TwoTexts) -> Outcome:
    """Runs of 13 words of the second text, and its shorter documents, that stand in the first."""
    words = shared_words(texts.one.documents, texts.other.documents)
    name, second = texts.names
    return Outcome(
        f"{counted(words.runs, 'run')} of words and {words.short:,} short documents of {second}",
        [
            Difference(what, share, TOLERATED, unit, sentence=f"too much of {second} stands in {name}")
            for what, share, unit in words.shares
        ],
        words.said(f"{second}", name),
    )


def part_of(source: str) -> str | None:
    """The part that a document's file is named for, or the innermost folder that is named for one; None for neither."""
    for name in reversed(source.rpartition("#")[0].split("/") if "#" in source else source.split("/")):
        words = set(re.split(r"[^a-z]+", name.lower())) | {name.lower().partition(".")[0]}
        found = [part for part, of in PARTS.items() if not words.isdisjoint(of)]
        if len(found) == 1:
            return found[0]
    return None


def _repeats(documents: Sequence[Document], among: Sequence[Document]) -> list[str]:
    """Which of the documents stand among others before them, each with the one that it repeats."""
    first: dict[str, Document] = {}
    for one in among:
        first.setdefault(_plain(one), one)
    pairs = ((one, first.get(_plain(one), one)) for one in documents)
    return [f"{one.source} repeats {earlier.source}" for one, earlier in pairs if earlier is not one]


def _plain(document: Document) -> str:
    return " ".join(document.text.lower().split())


def _difference(of: tuple[str, Sequence[Document]], earlier: str, repeated: Sequence[str]) -> Difference:
    """How many documents of a part stand in an earlier one."""
    name, documents = of
    stand = "stands" if len(repeated) == 1 else "stand"
    told = f"{len(repeated):,} of {counted(len(documents), 'document')} of {name} {stand} in {earlier}"
    return _counted(f"the documents of {name} and of {earlier}", repeated, told)


def _counted(what: str, repeated: Sequence[str], told: str) -> Difference:
    first = "; ".join(repeated[:2])
    return Difference(what, len(repeated), 0, "documents", first, f"{told}: {first}")
