"""Keyword search: BM25 over an inverted index that a storage keeps in segments of some thousand chunks.

    postings.change(writing, {7: ["hous", "build"]}, {})            # the terms of chunk 7
    counts = postings.counts_of(reading)
    scores = postings.scores(reading, ["hous"], counts)             # of every chunk number
    scores = postings.scores(reading, ["miet"], counts, {"miet": ["grundmiet"]})

Score of a term in a chunk: ln(1 + (N - n + 0.5) / (n + 0.5)) f (k1 + 1) / (f + k1 (1 - b + b L / mean L)), as Lucene
has it; N, n and the mean are counts of what is there, so that an index that was updated scores as one that was built.
Sources: Robertson and Zaragoza 2009; Kamphuis et al. 2020 (the variants of BM25).
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmworks.grounding.loops import add_term
from lmworks.grounding.storage import Key, Snapshot, Transaction

SEGMENT = 8192
"""Chunks of a segment: an update rewrites a term's part of one, and a query reads a term's parts of all."""
K1, B = 1.5, 0.75
MOST = 65_535
"""The highest count of a term in a chunk; higher ones are kept as this."""
ROW = np.dtype([("chunk", "<u2"), ("count", "<u2")])
_EMPTY = bytes(4 * SEGMENT)
"""Lengths of a segment that no chunk is in."""


class Counts(NamedTuple):
    """What scores take from all chunks together."""

    there: slice | NDArray[np.int64]
    """Numbers of the chunks that there are."""
    chunks: int
    """How many they are."""
    norms: NDArray[np.float64]
    """k1 (1 - b + b L / mean L) by chunk number."""
    mean: float
    """Terms of a chunk, on average."""


def change(index: Transaction, added: Mapping[int, Sequence[str]], removed: Mapping[int, Sequence[str]]) -> None:
    """Take out the terms of removed chunks and put in those of added ones."""
    new, old = _rows(added), _rows(removed)
    keys = sorted(new.keys() | old.keys())
    segments = index.lengths().keys()  # none is looked up of a segment that is new, which is all of them at first
    held, changed = index.rows(key for key in keys if key[1] in segments), {}
    for key in keys:
        if key not in held:  # most are new where an index is made
            changed[key] = new.get(key, b"")
            continue
        rows = np.frombuffer(held[key], ROW)
        if key in old:
            rows = rows[~np.isin(rows["chunk"], np.frombuffer(old[key], ROW)["chunk"])]
        if key in new:
            rows = np.concatenate([rows, np.frombuffer(new[key], ROW)])
            rows = rows[np.argsort(rows["chunk"], kind="stable")]
        changed[key] = rows.tobytes()
    index.set_rows(changed)
    _set_lengths(index, dict.fromkeys(removed, 0) | {chunk: len(terms) for chunk, terms in added.items()})


def _rows(terms_of: Mapping[int, Sequence[str]]) -> dict[Key, bytes]:
    """The rows of each term and segment."""
    numbers: defaultdict[str, int] = defaultdict(itertools.count().__next__)
    terms = np.fromiter(map(numbers.__getitem__, itertools.chain.from_iterable(terms_of.values())), np.int64)
    if not len(terms):
        return {}
    # A chunk's number and a term's in one whole number, sorted: what is alike stands in a row, term after term.
    chunks = np.repeat(np.array(list(terms_of)), [len(one) for one in terms_of.values()])
    width = int(chunks.max()) + 1
    both, counts = np.unique(terms * width + chunks, return_counts=True)
    term, chunk = np.divmod(both, width)
    rows = np.empty(len(both), ROW)
    rows["chunk"], rows["count"] = chunk % SEGMENT, np.minimum(counts, MOST)
    segment = chunk // SEGMENT
    starts = np.flatnonzero(np.diff(term, prepend=-1) | np.diff(segment, prepend=-1))
    names, packed, ends = list(numbers), rows.tobytes(), [*(starts[1:] * ROW.itemsize).tolist(), rows.nbytes]
    places = zip(term[starts].tolist(), segment[starts].tolist(), (starts * ROW.itemsize).tolist(), ends, strict=True)
    return {(names[number], at): packed[start:end] for number, at, start, end in places}


def _set_lengths(index: Transaction, sizes: Mapping[int, int]) -> None:
    """Terms of each chunk; 0 for one that is no more."""
    by_segment: dict[int, dict[int, int]] = {}
    for chunk, size in sizes.items():
        by_segment.setdefault(chunk // SEGMENT, {})[chunk % SEGMENT] = size
    held, changed = index.lengths(), {}
    for segment, each in by_segment.items():
        lengths = np.frombuffer(held.get(segment, _EMPTY), "<u4").copy()
        lengths[list(each)] = list(each.values())
        changed[segment] = lengths.tobytes()
    index.set_lengths(changed)


def lengths_of(index: Snapshot) -> NDArray[np.uint32]:
    """How many terms each chunk has, by its number; 0 for numbers that are free."""
    rows = index.lengths()
    last = max(rows, default=-1)
    return np.frombuffer(b"".join(rows.get(at, _EMPTY) for at in range(last + 1)), "<u4")


def counts_of(index: Snapshot) -> Counts:
    """Counts of an index as it is at this moment."""
    lengths = lengths_of(index)
    there = np.flatnonzero(lengths)
    mean = float(lengths[there].mean()) if len(there) else 1.0
    gapless = not len(there) or there[-1] + 1 == len(there)
    return Counts(
        slice(0, len(there)) if gapless else there,
        len(there),
        K1 * (1 - B + B * lengths.astype(np.float64) / mean),
        mean,
    )


def holding(index: Snapshot, term: str) -> int:
    """How many chunks hold a term."""
    return sum(len(rows) // ROW.itemsize for _, rows in index.postings(term))


def score_of(
    index: Snapshot, terms: Iterable[str], held: Sequence[str], counts: Counts, others: Mapping[str, Sequence[str]] = {}
) -> float:
    """BM25 of a text, given by its terms `held`, that the index does not hold: as `scores` has it for those it does."""
    norm, occurring, total = K1 * (1 - B + B * len(held) / counts.mean), Counter(held), 0.0
    for term, weight in sorted(Counter(terms).items()):
        if count := sum(occurring[one] for one in (term, *others.get(term, ()))):
            found = sum(len(rows) for _, rows in _held(index, term, others.get(term, ())))
            total += weight * _rarity(found, counts) * (K1 + 1) * count / (count + norm)
    return total


def scores(
    index: Snapshot, terms: Iterable[str], counts: Counts, others: Mapping[str, Sequence[str]] = {}
) -> NDArray[np.float64]:
    """BM25 of every chunk number, 0 for chunks that hold none of the terms. A term that is asked for twice counts
    twice; the `others` that there are of it count as if they were it."""
    total = np.zeros(len(counts.norms))
    for term, weight in sorted(Counter(terms).items()):  # in one order, so that sums are the same to the bit
        held = _held(index, term, others.get(term, ()))
        found = sum(len(rows) for _, rows in held)
        rarity = _rarity(found, counts)
        for start, rows in held:
            within = slice(start, start + SEGMENT)
            if rows["chunk"].max(initial=0) >= len(total[within]):  # compiled loops check no bounds
                raise IndexError(f"the rows of {term!r} are damaged")
            add_term(rows["chunk"], rows["count"], counts.norms[within], weight * rarity * (K1 + 1), total[within])
    return total


def _held(index: Snapshot, term: str, others: Sequence[str]) -> list[tuple[int, NDArray[np.void]]]:
    """The first chunk of each segment that holds one of these terms, and their rows together."""
    parts: dict[int, list[NDArray[np.void]]] = {}
    for one in (term, *others):
        for segment, rows in index.postings(one):
            parts.setdefault(segment * SEGMENT, []).append(np.frombuffer(rows, ROW))
    return [(start, _together(parts[start])) for start in sorted(parts)]


def _together(parts: Sequence[NDArray[np.void]]) -> NDArray[np.void]:
    """Rows of one segment, the counts of a chunk added."""
    if len(parts) == 1:
        return parts[0]
    rows = np.concatenate(parts)
    found, inverse = np.unique(rows["chunk"], return_inverse=True)
    summed = np.empty(len(found), ROW)
    summed["chunk"], summed["count"] = found, np.minimum(np.bincount(inverse, rows["count"]), MOST)
    return summed


def _rarity(holding: int, counts: Counts) -> float:
    return float(np.log1p((counts.chunks - holding + 0.5) / (holding + 0.5)))
