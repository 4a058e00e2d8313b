"""What a teacher predicts of some rows, as samples on disk: asked once, for any number of students and runs.

    kept = Lessons(folder, rows, vocab_size, samples=64)
    kept.complete(teacher, temperature=1.0)      # goes on where it was stopped
    batch = TaughtRows(rows, kept).batch([0, 5, 7])

Each token has 64 ids drawn from the teacher's predictions, and their entropy: 132 bytes (260 above 65,536 words) and
not the 197 KB of 49,152 probabilities. Why samples and not the likeliest tokens: `lmworks.objectives.distillation`.

A folder holds `lessons.json`, what the samples depend on, whose hash is its name; and `00000.npy` and so on, each some
rows, whole or not there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lmworks.basics import progress
from lmworks.basics.arrays import Float
from lmworks.basics.errors import ConfigError
from lmworks.basics.files import alone, cache_folder, says_why, write_json, written_whole
from lmworks.language_model import LanguageModel
from lmworks.models.network import evaluating
from lmworks.models.runner import Runner
from lmworks.objectives.distillation import drawn
from lmworks.tokens.batch import Batch, Row, Taught, stack
from lmworks.tokens.labels import IGNORE
from lmworks.tokens.rows import Rows

FORMAT, META = 1, "lessons.json"
PART_TOKENS = 16_384
"""Tokens of a part, about: what is lost at most where the teacher is stopped."""
AT_ONCE = 64
"""Tokens whose probabilities are held at once: 64 x 49,152 in float64 are 25 MB, three times."""


class Lessons:
    """Samples of a teacher's predictions for the supervised tokens of some rows, in their order."""

    def __init__(self, folder: Path, rows: Sequence[Row], vocab_size: int, samples: int) -> None:
        self.folder, self.rows, self.samples, self.vocab_size = folder, rows, samples, vocab_size
        kind = "<u2" if vocab_size <= 2**16 else "<u4"
        self.dtype = np.dtype([("entropy", "<f4"), ("ids", kind, (samples,))])
        self.tokens = 0
        """Predictions that are kept."""
        self._places: list[tuple[int, slice]] = []
        """Of each row, its part and where it lies there."""
        self._sizes: list[int] = []
        """Tokens of each part."""
        for row in rows:
            count = sum(sum(piece.supervised[1:]) for piece in row)
            if not self._sizes or self._sizes[-1] >= PART_TOKENS:
                self._sizes.append(0)
            self._places.append((len(self._sizes) - 1, slice(self._sizes[-1], self._sizes[-1] + count)))
            self._sizes[-1] += count
            self.tokens += count

    @property
    def bytes(self) -> int:
        """What they take."""
        return self.tokens * self.dtype.itemsize

    def must_fit(self, most: float) -> None:
        """ConfigError, before the teacher is asked, where they take more than `most` bytes, or than the disk has."""
        if self.bytes > most:
            raise ConfigError(
                f"{{at}}cache_mb is {most / 1e6:,.0f}, and what the teacher says of {self.tokens:,} tokens takes "
                f"{self.bytes / 1e6:,.0f} MB; raise it, or lower {{at}}tokens or {{at}}samples"
            )
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        missing = self.bytes - sum(one.stat().st_size for one in self.folder.glob("*.npy"))
        free = shutil.disk_usage(self.folder.parent).free
        if missing > free:
            raise ConfigError(
                f"{self.folder}: what the teacher says of {self.tokens:,} tokens takes {missing / 1e6:,.0f} MB, and "
                f"{free / 1e6:,.0f} MB are free; free some space, or lower {{at}}tokens or {{at}}samples"
            )

    def complete(self, teacher: LanguageModel, temperature: float, seed: int = 0) -> int:
        """Ask the teacher for each part that is not there, or is damaged; how many tokens it was asked for.

        What is drawn for a part depends on `seed` and its number alone. LmworksError where the disk is full: the parts
        that are there stay, and no part of one.
        """
        asked = 0
        lock = self.folder.with_name(f"{self.folder.name}.lock")
        with (
            alone(lock, "waiting for another run, which asks the same teacher"),
            progress.task("teacher predicts", self.tokens, "tokens") as advance,
        ):
            for number, size in enumerate(self._sizes):
                if not self._whole(number):
                    generator = torch.Generator().manual_seed(seed * 1_000_003 + number)
                    rows = [row for row, (part, _) in zip(self.rows, self._places, strict=True) if part == number]
                    made = np.concatenate([self._asked(teacher, row, temperature, generator) for row in rows])
                    with written_whole(self._path(number)) as temporary, temporary.open("wb") as file:
                        np.save(file, made)
                    asked += size
                advance(size)
        return asked

    def of(self, row: int) -> np.ndarray:
        """The samples of a row's supervised tokens, in their order: records of `entropy` and `ids`."""
        part, place = self._places[row]
        found: np.ndarray = self._parts[part][place]
        return found

    @cached_property
    def _parts(self) -> list[np.ndarray]:
        return [np.load(self._path(number), mmap_mode="r") for number in range(len(self._sizes))]

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:05}.npy"

    def _whole(self, number: int) -> bool:
        """Is a part there, with a record for each of its tokens?"""
        try:
            found = np.load(self._path(number), mmap_mode="r")
        except (OSError, ValueError, EOFError):
            return False
        return found.dtype == self.dtype and found.shape == (self._sizes[number],)

    @torch.inference_mode()
    def _asked(self, teacher: LanguageModel, row: Row, temperature: float, generator: torch.Generator) -> np.ndarray:
        """What the teacher says of a row; each of its documents is read alone."""
        made = []
        with evaluating(teacher.network):
            for piece in row:
                tokens = torch.tensor([piece.tokens[:-1]], device=teacher.network.device)
                states = teacher.runner.hidden(tokens)[0]
                states = states[torch.tensor(piece.supervised[1:], device=states.device)]
                for logits in logits_in_parts(teacher.runner, states, self.vocab_size):
                    ids, entropy = drawn(logits, self.samples, temperature, generator)
                    one = np.empty(len(ids), self.dtype)
                    one["ids"], one["entropy"] = ids.numpy(), entropy.numpy()
                    made.append(one)
        return np.concatenate(made)


class TaughtRows(Rows):
    """Packed rows, and with each what a teacher says of it."""

    def __init__(self, rows: Sequence[Row], lessons: Lessons) -> None:
        self.rows, self.lessons = rows, lessons

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, places: Sequence[int]) -> Batch:
        """Some rows as tensors."""
        batch = stack([self.rows[place] for place in places])
        records = np.concatenate([self.lessons.of(place) for place in places])
        ids = torch.zeros(*batch.labels.shape, self.lessons.samples, dtype=torch.int32)
        entropy = torch.zeros(batch.labels.shape)
        at = batch.labels != IGNORE
        ids[at] = torch.from_numpy(records["ids"].astype(np.int32))
        entropy[at] = torch.from_numpy(records["entropy"].astype(np.float32))
        return replace(batch, taught=Taught(ids, entropy))


def logits_in_parts(
    runner: Runner, states: Float[Tensor, "rows dim"], vocab_size: int
) -> Iterator[Float[Tensor, "some vocab"]]:
    """The logits of the first `vocab_size` tokens, a few rows at a time."""
    return (runner.logits(part)[:, :vocab_size].cpu() for part in states.split(AT_ONCE))


def lessons_folder(depends_on: Mapping[str, Any], rows: Sequence[Row], most: float) -> Path:
    """The folder of the cache for lessons that depend on this, and on the rows' tokens.

    Folders that were not used for longest go where all of them take more than `most` bytes.
    """
    said = {"format": FORMAT, **depends_on, "rows": _digest(rows)}
    text = json.dumps(said, sort_keys=True)
    home = cache_folder("lessons")
    folder = home / hashlib.sha256(text.encode()).hexdigest()[:24]
    with says_why(folder):
        folder.mkdir(exist_ok=True)
        write_json(folder / META, said)
        os.utime(folder)
    others = sorted((one for one in home.iterdir() if one.is_dir()), key=lambda one: one.stat().st_mtime, reverse=True)
    total = 0
    for one in others:
        with contextlib.suppress(OSError):
            total += sum(file.stat().st_size for file in one.iterdir())
        if total > most and one != folder:
            shutil.rmtree(one, ignore_errors=True)
    return folder


def _digest(rows: Sequence[Row]) -> str:
    """SHA-256 of the rows' tokens, and of which of them are learnt."""
    whole = hashlib.sha256()
    for row in rows:
        for piece in row:
            whole.update(np.array([len(piece.tokens), *piece.tokens], "<u4").tobytes())
            whole.update(bytes(piece.supervised))
    return whole.hexdigest()
