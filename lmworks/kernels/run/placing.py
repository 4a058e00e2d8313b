"""Which tokens a run has, where they are in their texts and what they see: the part of the frame that changes each
time."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from lmworks.basics.arrays import Float, Int
from lmworks.basics.errors import ConfigError
from lmworks.kernels.emit.attention_page import TILE_VECTORS
from lmworks.kernels.frame import Field
from lmworks.kernels.pages import PAGE, PagedCache, attended
from lmworks.kernels.run.spans import Span
from lmworks.kernels.run.turns import alike_to, turned
from lmworks.kernels.run.workspace import MOST_PARTS, Workspace
from lmworks.models.seen_vectors import SeenVectors

SPLIT = 4
"""Where a thread would have fewer chunks of attention of a text than this (a tile of tokens and a key head each),
threads share its pages too, each with a part of the result: unless the parts take more than MOST_PARTS bytes."""

BEYOND = TILE_VECTORS + 16
"""Positions after its own for which a query gets scores that nobody looks at: of its tile, and to the end of 16."""


class Cuts(NamedTuple):
    """How attention's work is cut for 1, 2, ... tokens of one text, for a run that decides by itself how many it reads
    (lmworks.models.lookup)."""

    table: Int[np.ndarray, "counts two"]
    """For each number of tokens: the tokens of a tile, and whether threads share the text's pages."""
    part_bytes: int
    """Of the parts of attention, at most."""
    chunks: int
    """Tiles times parts, at most."""

    @property
    def tokens(self) -> int:
        """The most tokens that it is for."""
        return len(self.table) - 1


class Placing:
    """Fills in the frame of a workspace."""

    def __init__(self, workspace: Workspace) -> None:
        config = workspace.weights.config
        self.workspace, self.config = workspace, config
        self._attended = attended(config)
        self._tile = max(1, TILE_VECTORS // (config.heads // self._attended.heads))
        self._rotates = config.rotates
        scaling = config.rope_scaling
        self.turns_with_length = scaling is not None and scaling.turns_with_length
        self.turns_alike_to = alike_to(config)
        self._rotation = np.zeros(0, np.float32), np.zeros(0, np.float32)
        rotations = 1 if config.window_theta is None else 2
        workspace.frame[Field.TURN_BYTES] = rotations * (config.rotary_dim or config.head_dim) // 2 * 4
        self._biased_to = 0
        """The longest text that BIASES are there for."""
        self._cuts = (0, 0), Cuts(np.ones((1, 2), np.int64), 0, 0)
        self.seen: SeenVectors | None = None
        """What stands for ids past the vocabulary."""
        self._read: list[Float[np.ndarray, " width"]] = []
        """The vectors that the frame names, which stay where they are for as long."""

    def check(self, smallest: int, largest: int) -> None:
        """ConfigError for an id that has no row: the kernels would read what lies after the table."""
        if self.seen is not None and 0 <= smallest <= largest:
            return  # an id past the vocabulary is looked for where it is placed
        if not 0 <= smallest <= largest < self.config.vocab_size:
            raise ConfigError(
                f"ids lie between {smallest} and {largest}, and the vocabulary has {self.config.vocab_size:,}; encode "
                "the text with this model's tokenizer"
            )

    def place_spans(
        self,
        spans: Sequence[Span],
        ids: Sequence[np.ndarray],
        cache: PagedCache,
        segments: Sequence[np.ndarray] | None = None,
    ) -> int:
        """`place`, for spans of rows with these ids, and segments where they have any but the first."""

        def cut(rows: Sequence[np.ndarray]) -> list[list[int]]:
            return [rows[span.row][span.start : span.start + span.count].tolist() for span in spans]

        chosen = None if segments is None else cut(segments)
        return self.place(cut(ids), [span.row for span in spans], cache, segments=chosen)

    def place(
        self,
        tokens: Sequence[Sequence[int]],
        rows: Sequence[int],
        cache: PagedCache,
        rounds: int = 1,
        cuts: Cuts | None = None,
        segments: Sequence[Sequence[int]] | None = None,
    ) -> int:
        """Tell the frame which tokens of which rows run, where they are and what they see; returns how many there are.

        With few calls, as each finds the processor's caches full of weights. Where the tape chooses tokens, with room
        for those of all rounds; where one row guesses by itself, for as many at once as there are `cuts` for.
        """
        counts, pasts = list(map(len, tokens)), [cache.sizes[row] for row in rows]
        ends = [past + count for past, count in zip(pasts, counts, strict=True)]
        longest, total = max(ends) + rounds - 1, sum(counts)
        spare = 0 if cuts is None else cuts.tokens - total
        self.workspace.make_room(total + spare)
        self._check_length(longest)
        for row, count in zip(rows, counts, strict=True):
            cache.reserve(row, count + rounds - 1)
        tiles = tiles_of(counts, self._tile)
        parts = self.shared_pages(len(tiles), counts, longest)
        if parts > 1 and self.config.window is not None:
            # A share is a page of a tile, and two tokens' windows may begin on different ones.
            tiles = tiles_of(counts, 1)
        positions = list(itertools.chain.from_iterable(map(range, pasts, ends)))
        # Of each token its id, its position, the end of what it sees, the address of its row's pages.
        none = [0] * spare
        entries = [*self._ids(itertools.chain.from_iterable(tokens)), *none, *positions, *none]
        addresses = [cache.list_address(row) for row in rows]
        if self.config.causal:
            entries += [position + 1 for position in positions] + none
        else:
            entries += [end for end, count in zip(ends, counts, strict=True) for _ in range(count)]
        entries += [address for address, count in zip(addresses, counts, strict=True) for _ in range(count)]
        entries += addresses[:1] * spare
        entries += itertools.chain.from_iterable(tiles)
        if cuts is not None:  # at most as many tiles as tokens
            entries += [0] * (2 * (cuts.tokens - len(tiles)))
        part_bytes, chunks = (self._part_bytes(total, parts), len(tiles) * parts) if cuts is None else cuts[1:]
        room = total + spare
        self.workspace.make_parts(room, part_bytes, self._part_bytes(room, 1), chunks * self._attended.heads)
        self._fill_in(np.array(entries, np.int64), positions, counts, longest, room)
        if segments is not None:
            moved = np.fromiter(itertools.chain.from_iterable(segments), np.int64) * self.config.context
            self.workspace.put(Field.PLACES, moved + positions)
        self._place_adapters(rows, counts, cache, room)
        if self.workspace.weights.encoder is not None:
            self._place_sources(rows, [*counts[:-1], counts[-1] + spare], cache.memory)
        frame = self.workspace.frame
        frame[Field.TILE_COUNT : Field.PARTS + 1] = len(tiles), parts
        frame[Field.LAYERS_APART] = cache.apart
        for row, end in zip(rows, ends, strict=True):  # when nothing can fail any more
            cache.sizes[row] = end
        return total

    def _place_adapters(self, rows: Sequence[int], counts: Sequence[int], cache: PagedCache, room: int) -> None:
        """The number of each token's adapter; of several rows `room` is that of their tokens."""
        weights, into = self.workspace.weights, self.workspace.buffers.adapters
        if not weights.adapters:
            return
        numbers = [weights.adapter(cache.adapters[row]) for row in rows]
        if len(set(numbers)) == 1:
            into[:room] = numbers[0]
        else:
            into[:room] = np.repeat(numbers, counts)

    def _place_sources(self, rows: Sequence[int], counts: Sequence[int], memory: PagedCache | None) -> None:
        """Where the source of each token's row is; ConfigError where there is none, which the kernels would not see."""
        if memory is None:
            raise ConfigError("an encoder-decoder attends to a source: give new_cache what encode makes of one")
        sources = [(memory.list_address(row), memory.sizes[row]) for row in rows]
        self.workspace.put(Field.SOURCES, np.repeat(sources, counts, axis=0))

    def cuts(self, most: int, longest: int) -> Cuts:
        """How up to `most` tokens of one text, `longest` at the end, are cut."""
        key = most, -(-longest // PAGE)
        if self._cuts[0] != key:
            table, part_bytes, chunks = np.ones((most + 1, 2), np.int64), 0, 0
            for count in range(1, most + 1):
                size = self._tile
                parts = self.shared_pages(-(-count // size), [count], longest)
                if parts > 1 and self.config.window is not None:
                    size = 1
                table[count] = size, parts > 1
                part_bytes = max(part_bytes, self._part_bytes(count, parts))
                chunks = max(chunks, -(-count // size) * parts)
            self._cuts = key, Cuts(table, part_bytes, chunks)
        return self._cuts[1]

    def shared_pages(self, tiles: int, counts: Sequence[int], longest: int) -> int:
        """The pages of the longest row where threads share them, else 1. Of several texts, a thread might get the pages
        of a long one alone, so only two tokens share theirs."""
        pages, few = -(-longest // PAGE), sum(counts) <= 2
        alone = len(counts) == 1 and tiles * self._attended.heads < SPLIT * self.workspace.team.threads
        return pages if few or (alone and self._part_bytes(sum(counts), pages) <= MOST_PARTS) else 1

    def _ids(self, tokens: Iterable[int]) -> list[int]:
        """What EMBED reads: ids, and of those past the vocabulary the address of their vector, below zero. ConfigError
        for an id that has none."""
        self._read = []
        if self.seen is None:
            return list(tokens)
        return [one if one < self.config.vocab_size else -self._address(one) for one in tokens]

    def _address(self, token: int) -> int:
        assert self.seen is not None
        self._read.append(self.seen.at(token))
        return self._read[-1].ctypes.data

    def _check_length(self, longest: int) -> None:
        places = self.workspace.weights.places
        if places and longest > places:
            raise ConfigError(
                f"the text has {longest:,} tokens and the network has learned {places:,} positions; shorten the text"
            )

    def _fill_in(self, entries: np.ndarray, positions: list[int], counts: list[int], longest: int, room: int) -> None:
        """Put into the frame what `entries` hold of each token, one list of `room` after another, and of each tile;
        `counts` are the tokens of each row."""
        frame = self.workspace.frame
        self.workspace.put(Field.IDS, entries)
        ids = frame.item(Field.IDS)
        at, ends, pages, tiles = range(ids + 8 * room, ids + 8 * 4 * room + 1, 8 * room)
        turns = self._turns(positions, counts, longest)
        if turns is not None:
            self.workspace.put(Field.TURNS, turns)
        if self.workspace.weights.biased:
            self._bias(longest)
        of_turns = at if turns is None else frame.item(Field.TURNS)
        frame[Field.POSITIONS : Field.TILES + 1] = at, at, of_turns, ends, pages, tiles
        frame[Field.TOKENS] = len(positions)

    def _part_bytes(self, tokens: int, parts: int) -> int:
        """Bytes of the parts of attention."""
        return tokens * self.config.heads * parts * (self._attended.value_dim + 16) * 4

    def _turns(self, positions: list[int], counts: list[int], longest: int) -> np.ndarray | None:
        """The row of cosines and sines of each token, None for that of its position; their tables grow with the longest
        text."""
        if not self._rotates:
            return None
        if self.turns_with_length and longest > self.turns_alike_to:  # each row by its own length, which changes
            starts = itertools.accumulate(counts, initial=0)
            rows = [
                turned(self.config, positions[start : start + count])
                for start, count in zip(starts, counts, strict=False)
            ]
            self._rotate_by(*(np.concatenate(one) for one in zip(*rows, strict=True)))
            return np.arange(len(positions))
        if longest > len(self._rotation[0]):
            size = max(longest, 2 * len(self._rotation[0]), 512)
            size = min(size, self.turns_alike_to) if self.turns_with_length else size
            kept = self.workspace.weights.turns
            self._rotation = kept if kept and len(kept[0]) >= longest else turned(self.config, range(size))
        if self.workspace.kept.get(Field.COSINES) is not self._rotation[0]:
            self._rotate_by(*self._rotation)
        return None

    def _bias(self, longest: int) -> None:
        """What is added to scores by the distance, up to that of the longest text; kernels look a little beyond."""
        if longest <= self._biased_to:
            return
        self._biased_to = max(longest, 2 * self._biased_to, 512)
        ahead = BEYOND if self.config.causal else self._biased_to + BEYOND
        table = self.workspace.weights.biases(np.arange(1 - self._biased_to, ahead))
        self.workspace.put(Field.BIASES, table)
        self.workspace.frame[Field.BIASES] += 4 * (self._biased_to - 1)
        self.workspace.frame[Field.BIASES_STRIDE] = table.strides[0]

    def _rotate_by(self, cosines: np.ndarray, sines: np.ndarray) -> None:
        self.workspace.put(Field.COSINES, cosines)
        self.workspace.put(Field.SINES, sines)


def tiles_of(counts: Sequence[int], most: int) -> list[tuple[int, int]]:
    """The first of up to `most` neighbouring tokens of a row, and how many they are; `counts` are the tokens of each
    row."""
    starts = itertools.accumulate(counts, initial=0)
    return [
        (start + at, min(most, size - at))
        for start, size in zip(starts, counts, strict=False)
        for at in range(0, size, most)
    ]
