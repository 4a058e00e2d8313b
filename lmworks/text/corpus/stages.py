"""The stages of a corpus: each one pipeline of datatrove, run to its end before the next begins.

filter     read, clean, tell the language, judge the quality; a signature of each text that is left
exact      find equal signatures
unique     drop exact duplicates; MinHash signatures of the rest
buckets    find MinHash signatures that meet
clusters   join what met
split      drop near duplicates, write training and held-out files
overlap    runs of words that both sides share
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datatrove.data import Document as Record
from datatrove.pipeline.dedup import (
    ExactDedupConfig,
    ExactDedupFilter,
    ExactDedupSignature,
    ExactFindDedups,
    MinhashConfig,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.filters import FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter
from datatrove.utils.hashing import HashConfig

from lmworks.basics.errors import DataError
from lmworks.text.corpus.recipe import CorpusRecipe
from lmworks.text.corpus.steps import (
    C4,
    AssignSides,
    Clean,
    Language,
    LoadKept,
    Overlap,
    ReadSources,
    Redact,
    document_of,
    named,
    place_of,
    result_writer,
    writer,
)
from lmworks.text.corpus.words import WORDS
from lmworks.text.counterfactual import swaps_named
from lmworks.text.document import said
from lmworks.text.splits import bound

QUALITY = {
    "gopher_repetition": GopherRepetitionFilter,
    "gopher_quality": GopherQualityFilter,
    "c4": C4,
    "fineweb": FineWebQualityFilter,
}
DROPPING = ("clean", "redact", "language", *QUALITY, "exact", "near")
"""The steps that drop or change documents, in their order."""


@dataclass(frozen=True)
class Stage:
    """A pipeline with its name and in how many tasks it is cut."""

    name: str
    tasks: int
    steps: list[Any]


@dataclass(frozen=True)
class Stages:
    """Makes each stage of a recipe; `work` is the folder for everything that is not the result."""

    recipe: CorpusRecipe
    work: Path

    def filter(self) -> Stage:
        """From the sources to what is worth keeping."""
        recipe = self.recipe
        steps = [
            named(ReadSources(recipe, self.work / "skipped"), "read"),
            named(Clean(recipe.clean, self._dropped("clean")), "clean"),
        ]
        if recipe.redact.on:
            steps.append(named(Redact(recipe.redact), "redact"))
        if recipe.language.keep:
            steps.append(named(Language(recipe.language, self._dropped("language")), "language"))
        for name, kind in QUALITY.items():
            settings = getattr(recipe, name)
            if settings.enabled:
                choices = settings.model_dump(exclude={"enabled"})
                steps.append(named(kind(**choices, language=WORDS, exclusion_writer=self._dropped(name)), name))
        steps += [
            writer(self.work / "kept"),
            ExactDedupSignature(str(self.work / "exact-signatures"), _EXACT, recipe.tasks),
        ]
        return Stage("filter", recipe.tasks, steps)

    def exact(self) -> Stage:
        """Which texts are equal."""
        find = ExactFindDedups(str(self.work / "exact-signatures"), str(self.work / "exact-found"), _EXACT)
        return Stage("exact", self.recipe.tasks, [find])

    def unique(self) -> Stage:
        """One of each text."""
        (self.work / "exact-found").mkdir(exist_ok=True)  # not there when nothing was found
        drop = ExactDedupFilter(str(self.work / "exact-found"), _EXACT, self._dropped("exact"))
        steps = [LoadKept(self.work / "kept"), named(drop, "exact"), writer(self.work / "unique")]
        if self.recipe.near.enabled:
            steps.append(MinhashDedupSignature(str(self.work / "near-signatures"), self._minhash, WORDS))
        return Stage("unique", self.recipe.tasks, steps)

    def buckets(self) -> Stage:
        """Which signatures meet."""
        find = MinhashDedupBuckets(
            str(self.work / "near-signatures"), str(self.work / "near-buckets"), config=self._minhash
        )
        return Stage("buckets", self.recipe.near.buckets, [find])

    def clusters(self) -> Stage:
        """What belongs together, and which of it goes."""
        join = MinhashDedupCluster(
            str(self.work / "near-buckets"), str(self.work / "near-found"), config=self._minhash, save_cluster_id=True
        )
        return Stage("clusters", 1, [join])

    def split(self) -> Stage:
        """The result's files."""
        swaps = swaps_named(self.recipe.split.counterfactual)
        below = self._threshold()
        sides = AssignSides(below, swaps, frozenset() if swaps is None else self._held_out(below))
        steps = [*self._left(self._dropped("near")), named(sides, "split"), result_writer(self.work / "result")]
        return Stage("split", self.recipe.tasks, steps)

    def overlap(self) -> Stage:
        """What training and held-out text share."""
        measure = Overlap(self.work / "result", self.work / "overlap", self.recipe.split.ngrams)
        return Stage("overlap", self.recipe.tasks, [measure])

    def after_filter(self) -> Iterator[Callable[[], Stage]]:
        """The stages after the first; each is made when the one before is done."""
        yield from (self.exact, self.unique)
        if self.recipe.near.enabled:
            yield from (self.buckets, self.clusters)
        yield from (self.split, self.overlap)

    @property
    def _minhash(self) -> MinhashConfig:
        near = self.recipe.near
        return MinhashConfig(near.ngrams, near.buckets, near.hashes, hash_config=_HASH)

    def _dropped(self, name: str) -> Any:
        return writer(self.work / "dropped" / name)

    def _left(self, dropped: Any) -> list[Any]:
        steps: list[Any] = [LoadKept(self.work / "unique")]
        if self.recipe.near.enabled:
            drop = MinhashDedupFilter(str(self.work / "near-found"), dropped, load_cluster_ids=True)
            steps.append(named(drop, "near"))
        return steps

    def _each_left(self) -> Iterator[Record]:
        for rank in range(self.recipe.tasks):
            records: Any = None
            for step in self._left(None):
                records = step(records, rank, self.recipe.tasks)
            yield from records

    def _held_out(self, below: float) -> frozenset[str]:
        """The hashes of what is held out."""
        return frozenset(document_of(one).hash for one in self._each_left() if place_of(one) < below)

    def _threshold(self) -> float:
        """The share to hold out; where few documents are left, moved so that neither side is empty."""
        share = self.recipe.split.held_out
        found: set[float] = set()
        for record in self._each_left():
            found.add(place_of(record))
            if len(found) * min(share, 1 - share) > _PLENTY:
                return share
        if len(found) < 2:
            raise DataError(
                f"{len(found)} document is left after deduplication, and nothing of it can be held out; "
                f"give more text ({self.work / 'dropped'} holds what was dropped)"
            )
        return bound(found, share)


def clusters_of(work: Path, rank: int) -> dict[int, int]:
    """The cluster of near duplicates of each of a task's documents, by its number in `unique/`; kept ones only."""
    path = work / "near-found" / f"{rank:06d}.clusters"
    if not path.exists():
        return {}
    removed_path = path.with_suffix(".remove")
    removed = set(_numbers(removed_path)) if removed_path.exists() else set()
    numbers = _numbers(path)
    return {at: cluster for at, cluster in zip(numbers[::2], numbers[1::2], strict=True) if at not in removed}


def _numbers(path: Path) -> tuple[int, ...]:
    content = path.read_bytes()
    return struct.unpack(f"<{len(content) // 4}I", content)


def _text(record: Record) -> str:
    """What makes two documents equal: the text, for a conversation with its roles, for a pair both of its answers."""
    messages = record.metadata.get("messages")
    turns = [*(messages or ()), *record.metadata.get("rejected", ())]
    tools = [json.dumps(one) for one in record.metadata.get("tools", ())]
    return "\0".join([*(f"{turn['role']}\0{said(turn)}" for turn in turns), *tools]) if messages else record.text


_HASH = HashConfig(hash_fc="sha1")  # datatrove's xxhash needs xxhash below 4; SHA-1 is in every Python
_EXACT = ExactDedupConfig(_text, hash_config=_HASH)
_PLENTY = 40  # with 40 documents expected on either side, the chance that one is empty is e**-40
