"""Checks of a text to train on, raw or made by `lmworks corpus`: empty and damaged documents, the split (pitfall 9)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lmworks.basics.amounts import counted
from lmworks.basics.errors import DataError
from lmworks.checks.result import Difference, NotApplicableError, Outcome, check
from lmworks.models.files.model_folder import read_json
from lmworks.text.corpus.folder import REPORT, corpus_of, read_split
from lmworks.text.counterfactual import is_counterpart
from lmworks.text.document import Document
from lmworks.text.sources import Reading
from lmworks.text.splits import Split, bound, ngrams_found, place

DAMAGED = 1e-4
"""Share of a text's characters that may be damaged: one in 10,000 can be meant, as in a text about encodings."""

_NEXT = "[\u0080-\u00bf" + "".join(bytes([byte]).decode("cp1252", "ignore") for byte in range(0x80, 0xA0)) + "]"
_MOJIBAKE = re.compile(
    f"[\u00c2\u00c3]{_NEXT}|(?:[\u00c4-\u00df]{_NEXT}){{2,}}|[\u00e0-\u00ef]{_NEXT}{{2}}|[\u00f0-\u00f4]{_NEXT}{{3}}"
)
"""The first byte of a UTF-8 character and those after it, each read as a letter of Latin-1 or Windows-1252. Beyond Â
and Ã two such pairs are asked for: a single `É»` is how a quotation ends."""


@dataclass(frozen=True)
class Corpus:
    """A text in two parts."""

    reading: Reading
    """All of it."""
    parts: Split
    """As the folder has them, or as training would split the text."""
    report: dict[str, Any] | None
    """What `lmworks corpus` said of the folder; None for any other text."""


def open_corpus(reference: str) -> Corpus:
    """A folder that `lmworks corpus` made, or any data reference; DataError where there is nothing to read."""
    folder = corpus_of(reference)
    return Corpus(*read_split(reference), None if folder is None else read_json(folder / REPORT))


@check("no document is empty", of="text")
def filled(corpus: Corpus) -> Outcome:
    """Documents without a letter or a digit, and records without any text."""
    empty = [one.source for one in corpus.reading.documents if not any(map(str.isalnum, one.text))]
    count = len(empty) + corpus.reading.blank
    where = ", ".join(empty[:3]) or "records without any text"
    sentence = f"{counted(count, 'document')} without a letter or a digit: {where}"
    return Outcome(
        f"{counted(len(corpus.reading.documents), 'document')}",
        [Difference("the documents and those with a letter or digit", count, 0, "documents", where, sentence)],
    )


@check("the encoding is whole", of="text")
def encoding(corpus: Corpus) -> Outcome:
    """Characters that stand for lost ones (U+FFFD), and UTF-8 that was read as another encoding."""
    documents = corpus.reading.documents
    size = sum(len(one.text) for one in documents)
    return Outcome(
        f"{counted(size, 'character')}",
        [
            _share("text and text without U+FFFD", [(one.text.count("\ufffd"), one.source) for one in documents], size),
            _share(
                "text and text without mojibake (`Ã©` for `é`)",
                [(sum(map(len, mojibake(one.text))), one.source) for one in documents],
                size,
            ),
        ],
    )


def mojibake(text: str) -> list[str]:
    """The runs of a text that are UTF-8 read as Latin-1 or Windows-1252: read back as bytes, they are UTF-8."""
    return [run for run in _MOJIBAKE.findall(text) if _as_bytes(run) is not None]


def _as_bytes(run: str) -> str | None:
    try:
        return b"".join(_byte(letter) for letter in run).decode("utf-8")
    except UnicodeError:
        return None


def _byte(letter: str) -> bytes:
    return letter.encode("latin-1") if ord(letter) < 0x100 else letter.encode("cp1252")


@check("the split is the report's", 9, of="text")
def as_reported(corpus: Corpus) -> Outcome:
    """Documents, bytes and shared runs of words against corpus.json, and each document's side by its hash."""
    report, parts = corpus.report, corpus.parts
    if report is None:
        raise NotApplicableError(f"there is no {REPORT}: `lmworks corpus` did not make it")
    try:
        below, n = report["recipe"]["split"]["held_out"], report["overlap"]["n"]
        figures = {
            "training documents": (len(parts.train), report["train"]["documents"]),
            "training bytes": (_bytes(parts.train), report["train"]["bytes"]),
            "held-out documents": (len(parts.held_out), report["held_out"]["documents"]),
            "held-out bytes": (_bytes(parts.held_out), report["held_out"]["bytes"]),
            "shared runs of words": (
                sum(map(sum, ngrams_found(parts.train, parts.held_out, n))),
                report["overlap"]["found"],
            ),
        }
    except (KeyError, TypeError) as error:
        raise DataError(f"{REPORT} lacks {error}; make the corpus again") from None
    wrong = _on_the_wrong_side(parts, below)
    return Outcome(
        f"{len(figures)} counts of {REPORT}, and the sides of {len(parts.train) + len(parts.held_out):,} documents",
        [
            *(
                Difference(f"{what} ({here:,}) and the report's ({told:,})", abs(here - told), 0, what)
                for what, (here, told) in figures.items()
            ),
            Difference("the documents' sides and those of their hashes", len(wrong), 0, "sides", ", ".join(wrong[:3])),
        ],
    )


def _on_the_wrong_side(parts: Split, share: float) -> list[str]:
    """The sources of documents whose hash puts them on the other side. Counterparts stand with what they are of."""
    train = [one for one in parts.train if not is_counterpart(one)]
    below = bound([place(one) for one in (*train, *parts.held_out)], share)
    return [one.source for one in train if place(one) < below] + [
        one.source for one in parts.held_out if place(one) >= below
    ]


def _bytes(documents: Sequence[Document]) -> int:
    return sum(len(one.text.encode()) for one in documents)


def _share(what: str, counts: Sequence[tuple[int, str]], size: int) -> Difference:
    found, source = max(counts, default=(0, ""))
    share = sum(count for count, _ in counts) / max(size, 1)
    return Difference(what, share, DAMAGED, "of the characters", f"{source} ({found:,} there)" if found else "")
