"""Train and held-out text: exact duplicates dropped first, then split by each document's own hash.

A document's side depends only on its text, not on its place or on other documents: text that is added
later never moves what was held out into the training set (pitfall 9).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from lmworks.basics.amounts import counted, size
from lmworks.basics.errors import ConfigError, DataError
from lmworks.text.document import Document

SHORTEST, LONGEST = 400, 4_000  # characters of the parts that a long document is cut into
PARTS = 100  # parts that it is cut into, within these bounds
PART_OF = "part of"
"""Metadata of a part that was made for a split: the source of the document."""


@dataclass(frozen=True)
class Split:
    """Two disjoint sets of documents; neither is empty."""

    train: list[Document]
    held_out: list[Document]
    duplicates: int
    """Documents left out because an earlier one has the same text."""

    @property
    def amounts(self) -> str:
        """How large both sides are: `train 51 documents, 328 KB, held out 6 documents, 46 KB`."""
        sides = (("train", self.train), ("held out", self.held_out))
        return ", ".join(
            f"{what} {counted(len(side), 'document')}, {size(sum(len(one.text.encode()) for one in side))}"
            for what, side in sides
        )


def split(documents: Iterable[Document], held_out: float = 0.1) -> Split:
    """Hold out about the share `held_out` (0 to 1) of the documents.

    A document that is more than half of all the text is cut into parts first, at the ends of paragraphs:
    held out or trained on as a whole, it would leave too little on the other side. Raises DataError where
    nothing can be held out, ConfigError for a share outside (0, 1).
    """
    if not 0 < held_out < 1:
        raise ConfigError(f"held_out is {held_out}; it is a share above 0 and below 1, 0.1 for a tenth")
    documents = list(documents)
    unique = _unique(documents)
    duplicates = len(documents) - len(unique)
    total = sum(len(document.text) for document in unique)
    cut = [
        part for document in unique for part in (_cut_up(document) if 2 * len(document.text) > total else [document])
    ]
    pieces = _unique(cut)  # a text may repeat itself, too
    if len(pieces) < 2:
        if pieces and pieces[0].messages is not None:
            raise DataError("there is one conversation, which is never cut to hold some of it out; give at least two")
        if total >= 2 * SHORTEST:
            raise DataError(
                f"the text repeats itself: in its {total:,} characters nothing can be held out that is not trained "
                "on as well; give another text, or two documents"
            )
        raise DataError(
            f"there is too little text to hold some of it out: {total:,} characters in "
            f"{len(pieces)} document; give at least {2 * SHORTEST}, or two documents"
        )
    pieces_by_place = sorted(pieces, key=place)
    count = sum(place(piece) < held_out for piece in pieces)
    count = min(max(count, 1), len(pieces) - 1)
    chosen = {piece.hash for piece in pieces_by_place[:count]}
    return Split(
        [piece for piece in pieces if piece.hash not in chosen],
        [piece for piece in pieces if piece.hash in chosen],
        duplicates,
    )


def _cut_up(document: Document) -> list[Document]:
    """Its parts, each of which says whose it is; the document where it has one part."""
    found = parts(document)
    return found if len(found) < 2 else [replace(one, metadata={PART_OF: (document.source,)}) for one in found]


def split_by_prompt(documents: Iterable[Document], held_out: float = 0.1) -> Split:
    """Hold out about the share `held_out` of the prompts of conversations, each with all of its answers.

    The prompt is all but the last turn; its side depends on its own hash alone. DataError where there are fewer than
    two, ConfigError for a share outside (0, 1).
    """
    if not 0 < held_out < 1:
        raise ConfigError(f"held_out is {held_out}; it is a share above 0 and below 1, 0.1 for a tenth")
    documents = list(documents)
    unique = _unique(documents)
    prompts = {one.hash: place(Document.conversation((one.messages or ())[:-1], one.source)) for one in unique}
    ordered = sorted(set(prompts.values()))
    if len(ordered) < 2:
        raise DataError(f"there are {len(ordered)} prompts, too few to hold some of them out; give at least two")
    count = min(max(sum(at < held_out for at in ordered), 1), len(ordered) - 1)
    last = ordered[count - 1]
    return Split(
        [one for one in unique if prompts[one.hash] > last],
        [one for one in unique if prompts[one.hash] <= last],
        len(documents) - len(unique),
    )


def split_ends(documents: Iterable[Document], held_out: float = 0.1) -> Split:
    """Hold out the last share `held_out` of each document's characters: for few and long ones.

    DataError for a document that is too short to be cut, ConfigError for a share outside (0, 1).
    """
    if not 0 < held_out < 1:
        raise ConfigError(f"held_out is {held_out}; it is a share above 0 and below 1, 0.1 for a tenth")
    documents = list(documents)
    unique = _unique(documents)
    sides: tuple[list[Document], list[Document]] = ([], [])
    for document in unique:
        cut = int(len(document.text) * (1 - held_out))
        texts = (document.text[:cut], document.text[cut:])
        if document.messages is not None or not all(text.strip() for text in texts):
            raise DataError(f"{document.source} has no end to hold out; hold out whole documents instead")
        for side, text, name in zip(sides, texts, ("beginning", "end"), strict=True):
            side.append(Document(text, f"{document.source}#{name}"))
    if not unique:
        raise DataError("there is no text to hold some of it out; give at least one document")
    return Split(*sides, len(documents) - len(unique))


def parts(document: Document, size: int | None = None) -> list[Document]:
    """A long document cut where a paragraph ends, else a line, else a word; joined, the parts are its text.

    The parts have up to 1.5 `size` characters, by default a hundredth of the text between SHORTEST and LONGEST.
    A conversation and a text of less than two parts stay whole.
    """
    text = document.text
    size = size or min(max(len(text) // PARTS, SHORTEST), LONGEST)
    if document.messages is not None or len(text) < 2 * SHORTEST:
        return [document]
    starts = [0]
    while len(text) - starts[-1] > size * 3 // 2:  # so that the last part is not a crumb
        starts.append(_cut(text, starts[-1] + size // 2, starts[-1] + size))
    return [
        Document(text[start:end], f"{document.source}#{number}")
        for number, (start, end) in enumerate(zip(starts, [*starts[1:], len(text)], strict=True), 1)
        if text[start:end].strip()
    ]


def ngrams_found(train: Iterable[Document], held_out: Iterable[Document], n: int = 13) -> list[list[bool]]:
    """For each held-out document, and each of its runs of `n` words in order, whether the training text has it.

    The training text is gone through once and not held in memory.
    """
    runs = [list(ngrams(document.text, n)) for document in held_out]
    wanted = {gram for document in runs for gram in document}
    found = {gram for document in train for gram in ngrams(document.text, n) if gram in wanted}
    return [[gram in found for gram in document] for document in runs]


def place(document: Document) -> float:
    """Where the document's hash lies between 0 and 1, and of a pair of answers its prompt's, so that no prompt is on
    both sides: held out is what lies below the share to hold out."""
    if document.rejected is not None:
        document = Document.conversation((document.messages or ())[:-1], document.source)
    return int(document.hash[:16], 16) / 2**64


def bound(places: Iterable[float], share: float) -> float:
    """Below which documents are held out: the share, or where all places lie on one side of it, between the outermost
    two there. At least two different places are needed."""
    found = sorted(set(places))
    if found[0] < share <= found[-1]:
        return share
    return sum(found[:2] if share <= found[0] else found[-2:]) / 2


def data_hash(documents: Iterable[Document]) -> str:
    """One SHA-256 for a set of documents, in hexadecimal: equal for the same texts in any order."""
    return hashlib.sha256("\n".join(sorted(document.hash for document in documents)).encode()).hexdigest()


def _unique(documents: Iterable[Document]) -> list[Document]:
    """The first of each text."""
    first: dict[str, Document] = {}
    for document in documents:
        first.setdefault(document.hash, document)
    return list(first.values())


def _cut(text: str, first: int, last: int) -> int:
    for mark in ("\n\n", "\n", " "):
        if (at := text.rfind(mark, first, last)) >= 0:
            return at + len(mark)
    return last


def ngrams(text: str, n: int) -> Iterator[int]:
    """A hash of each run of `n` words, letter case aside; the hashes hold within this process only."""
    words = words_of(text)
    return (hash(tuple(words[at : at + n])) for at in range(len(words) - n + 1))


def words_of(text: str) -> list[str]:
    """The words of a text, letter case and punctuation aside."""
    return re.findall(r"\w+", text.lower())
