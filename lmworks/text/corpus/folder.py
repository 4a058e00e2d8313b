"""A text in two parts, to train on and held out: as `lmworks corpus` split it, or by the hash of each document.

    reading, parts = read_split("corpora/mine")    # its train/ and its held_out/
    reading, parts = read_split("notes", 0.2)      # a fifth of the documents

What a corpus holds out is below a bound of the same hash: its train/ split again by that hash would hold out next to
nothing. So a corpus keeps its own split, whether the folder is named or the train/ in it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from lmworks.basics.errors import DataError
from lmworks.text.sources import Reading, Refusal, read_answered
from lmworks.text.splits import Split, split, split_ends

REPORT = "corpus.json"
"""What `lmworks corpus` leaves beside train/ and held_out/."""


def read_split(
    reference: str,
    held_out: float = 0.1,
    hold_out: Literal["documents", "end"] = "documents",
    validation: str | None = None,
    refusal: Refusal | None = None,
) -> tuple[Reading, Split]:
    """All of a data reference, and its two parts.

    With `validation`, all of that reference is held out, and left out of what is trained on. A corpus has a split of
    its own. Anything else is split by `held_out` and `hold_out`. What `refusal` refuses is in neither part. DataError
    where there is nothing to read or to hold out.
    """
    if validation is not None:
        return _beside(*(read_answered(one, refusal) for one in (reference, validation)))
    folder = corpus_of(reference)
    if folder is None:
        reading = read_answered(reference, refusal)
        try:
            return reading, (split if hold_out == "documents" else split_ends)(reading.documents, held_out)
        except DataError as error:
            if not reading.skipped:
                raise
            first = reading.skipped[0]
            raise DataError(f"{error}; left out: {first.path}: {first.reason}") from None
    train, kept = (_side(folder, name, refusal) for name in ("train", "held_out"))
    both = Reading(
        train.documents + kept.documents, train.skipped + kept.skipped, folder.name, train.blank + kept.blank
    )
    if not kept.documents:  # of a small corpus nothing may be held out
        return both, split(train.documents, held_out)
    return both, Split(train.documents, kept.documents, 0)


def _beside(train: Reading, kept: Reading) -> tuple[Reading, Split]:
    """What is trained on, without duplicates and without what the other text has too; and that one, all of it."""
    seen = {document.hash for document in kept.documents}
    fresh = []
    for document in train.documents:
        if document.hash not in seen:
            seen.add(document.hash)
            fresh.append(document)
    if not fresh:
        raise DataError(f"{train.name} holds nothing to train on that {kept.name} does not hold too; give two texts")
    skipped, blank = train.skipped + kept.skipped, train.blank + kept.blank
    reading = Reading(train.documents + kept.documents, skipped, train.name, blank)
    return reading, Split(fresh, kept.documents, len(train.documents) - len(fresh))


def corpus_of(reference: str) -> Path | None:
    """The folder that `lmworks corpus` made, by its own name or that of its train/; None for any other text."""
    path = Path(reference)
    return next(
        (
            folder
            for folder in (path, path.parent if path.name == "train" else path)
            if (folder / REPORT).is_file() and (folder / "train").is_dir()
        ),
        None,
    )


def _side(folder: Path, name: str, refusal: Refusal | None) -> Reading:
    path = folder / name
    if not path.is_dir():
        raise DataError(f"{folder} has a {REPORT} and no folder {name}; make the corpus again")
    return read_answered(path, refusal) if any(path.iterdir()) else Reading([], [], name)
