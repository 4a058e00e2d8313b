"""The texts of a sequence: each task's split, and the files that joint training and retention read.

Joint training reads as much of each task as the sequence does; what is old is cut into pieces and the tasks take turns,
so that however little is read of it, each of them has its share.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lmworks.basics.errors import DataError
from lmworks.basics.files import directory_written_whole, write_json, written_whole
from lmworks.jobs.build_text import refusal_by
from lmworks.jobs.forget_recipe import GENERAL, ForgetRecipe
from lmworks.text.corpus.folder import REPORT, read_split
from lmworks.text.document import Document
from lmworks.text.sources import read
from lmworks.text.splits import Split, data_hash, parts

PIECE = 2_000
"""Characters of a piece of old text."""


@dataclass(frozen=True)
class SequenceTexts:
    """What is learnt and what is measured."""

    parts: dict[str, Split]
    """By task."""
    general: list[Document]

    @classmethod
    def of(cls, recipe: ForgetRecipe) -> SequenceTexts:
        """All texts. DataError where one cannot be had, or where a task trains on what measures another."""
        data, refusal = recipe.build.data, refusal_by(recipe.build.model.reference)
        found = cls(
            {name: read_split(task.text, data.held_out, refusal=refusal)[1] for name, task in recipe.tasks.items()},
            read(data.general).documents,
        )
        for name, split in found.parts.items():
            for other, documents in found.measured.items():
                measuring = {one.hash for one in documents} & {one.hash for one in split.train}
                if measuring:
                    raise DataError(
                        f"the task {name} trains on {len(measuring):,} of the documents that measure {other}; "
                        "give texts that do not overlap"
                    )
        return found

    @property
    def measured(self) -> dict[str, list[Document]]:
        """Held-out documents by task, and the general text."""
        return {name: split.held_out for name, split in self.parts.items()} | {GENERAL: self.general}

    @property
    def hashes(self) -> dict[str, list[str]]:
        """What figures depend on: the SHA-256 of what each task trains on, and of what measures it."""
        return {name: [data_hash(one.train), data_hash(one.held_out)] for name, one in self.parts.items()} | {
            GENERAL: [data_hash(self.general)]
        }


def write_old(path: Path, texts: Sequence[Sequence[Document]], seed: int) -> str:
    """Write texts in pieces, in random order and by turns, until the longest ends; returns the file's path."""
    shuffled = []
    for number, documents in enumerate(texts):
        pieces = [piece for one in documents for piece in parts(one, PIECE)]
        random.Random(f"{seed}/{number}").shuffle(pieces)
        shuffled.append(pieces)
    turns = max(map(len, shuffled))
    _write(path, (pieces[turn] for turn in range(turns) for pieces in shuffled if turn < len(pieces)))
    return str(path)


def write_joint(
    folder: Path, splits: Sequence[Split], tokens: int | None, length: Callable[[Document], int], seed: int
) -> str:
    """Write a corpus with all tasks, split as they are; returns the folder's path. With `tokens`, as much of each
    task, its documents again and again where they are few; otherwise each document once."""
    train: list[Document] = []
    for number, split in enumerate(splits):
        documents = list(split.train)
        random.Random(f"{seed}/{number}").shuffle(documents)
        read, at = 0, 0
        while at < len(documents) if tokens is None else read < tokens:
            train.append(documents[at % len(documents)])
            read += length(train[-1])
            at += 1
    with directory_written_whole(folder) as temporary:
        _write(temporary / "train" / "all.jsonl", train)
        _write(temporary / "held_out" / "all.jsonl", (one for split in splits for one in split.held_out))
        write_json(temporary / REPORT, {"made": "for joint training of a sequence of tasks"})
    return str(folder)


def _write(path: Path, documents: Iterable[Document]) -> None:
    with written_whole(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for one in documents:
            file.write(json.dumps(one.record, ensure_ascii=False) + "\n")
