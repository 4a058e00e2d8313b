"""One network on its tape: hidden states, logits, caches, tokens written ahead. What stands before it is
`runner.py`."""

from __future__ import annotations

import itertools
import os
import sys
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lmworks.basics import progress
from lmworks.basics.errors import ConfigError
from lmworks.kernels.coverage import too_large, unavailable, uncovered
from lmworks.kernels.frame import MOST_CHUNKS, MOST_LED, OF_VOCABULARY, Field, barrier_bytes
from lmworks.kernels.next_token import room_numbers, table_of
from lmworks.kernels.packing import Stored, aligned
from lmworks.kernels.pages import PAGE, PagedCache
from lmworks.kernels.prefixes import Prefixes
from lmworks.kernels.quantisation import quantisation_of
from lmworks.kernels.run.buffers import Buffers
from lmworks.kernels.run.team import team
from lmworks.kernels.run.weights import Weights, is_vocabulary
from lmworks.kernels.spans import Span, real_places, runs
from lmworks.models.cache import Cache
from lmworks.models.lookup import PromptLookup
from lmworks.models.network import Network
from lmworks.models.runner import RowWritten, TokenChoice, Written

AT_ONCE = 512
"""Tokens of one run: enough to fill the processor, few enough that the activations stay small."""
VECTORS = 12
"""Queries that attention takes at once (kernels/attention.py)."""
MOST_WRITTEN = 128
"""Tokens that a row which guesses by itself writes in one run at most, unless one guess has more."""
SPLIT, MOST_PARTS = 4, 2**26
"""Where a thread would have fewer pieces of attention of a text than this (a tile of tokens and a key head each),
the threads share its pages too, each with a part of the result: unless the parts take more bytes than this."""


class Cuts(NamedTuple):
    """How attention's work for 1, 2, ... tokens of one text is cut, which guesses by itself (lookup.py)."""

    table: Int[np.ndarray, "counts two"]
    """For each number of tokens: those of a tile, and whether threads share the text's pages."""
    mixed: int
    """Bytes of the parts of attention, at most."""
    units: int
    """Tiles times parts, at most."""

    @property
    def tokens(self) -> int:
        """The most tokens that it tells of."""
        return len(self.table) - 1


def compiled(network: Network, bits: int = 4, stored: Stored | None = None) -> CompiledNetwork:
    """The compiled path of a network, in 4 or 8 bits or in those of a file. ConfigError where it is not covered."""
    quantisation_of(bits)
    if (reason := uncovered(network) or unavailable() or too_large(network, bits)) is not None:
        raise ConfigError(reason)
    return CompiledNetwork(network, bits, stored)


class CompiledNetwork:
    """A network as its weights were when it was made; it does not notice when they change (`runner.py` does)."""

    buffers: Buffers

    def __init__(self, network: Network, bits: int, stored: Stored | None) -> None:
        config = network.config
        self.network, self.bits = network, bits
        self.lock = threading.Lock()
        self.team = team()
        with progress.task("packing weights", sum(one.numel() for one in network.parameters())) as advance:
            self.weights = Weights(network, bits, stored, advance)
        self._has_head = config.adaptive_cutoffs is None and not config.head_transform
        self._head = self.weights.head
        self._layer_bytes = 2 * 2 * PAGE * config.kv_heads * config.head_dim
        self._group = config.heads // config.kv_heads
        self._half = (config.rotary_dim or config.head_dim) // 2 if config.rotates else 0
        self._turns_with_length = config.rope_scaling is not None and config.rope_scaling.kind == "dynamic"
        self._frame = np.zeros(len(Field), np.int64)
        self._frame[Field.ROUNDS] = 1
        self._keep: dict[Field, np.ndarray] = {}
        self._rotation = (np.zeros(0, np.float32), np.zeros(0, np.float32))
        self._scratch_pages = PagedCache(0, self._layer_bytes, 1)
        self._logits = torch.empty(0, 0)
        self._kept_cuts = (0, 0), Cuts(np.ones((1, 2), np.int64), 0, 0)
        self._fixed_memory()
        self._make_room(1)

    def __del__(self, is_over: Callable[[], bool] = sys.is_finalizing) -> None:
        if hasattr(self, "buffers") and not is_over():  # when Python ends, modules may have lost their names
            self.team.keep((self.weights, self.buffers, self._tapes, self._keep, self._frame))

    @property
    def has_head(self) -> bool:
        """It makes logits too; else the network's own head does."""
        return self._has_head

    @property
    def writes(self) -> bool:
        """Can it write by itself, with logits that are those of the network?"""
        return self._has_head and self.network.config.logit_cap is None and not self._turns_with_length

    def use_adapters(self, on: bool) -> None:
        """Run with its adapters, or without."""
        with self.lock:
            self.weights.adapted = on
            self._write_tapes()

    def new_cache(self, batch: int) -> PagedCache:
        """An empty cache for `batch` rows."""
        return PagedCache(batch, self._layer_bytes, self.network.config.layers)

    def new_prefixes(self, limit: int) -> Prefixes | None:
        """A place for the beginnings of texts, in at most `limit` bytes; None where a token's keys depend on what
        follows it."""
        if self._turns_with_length or not self.network.config.causal:
            return None
        return Prefixes(limit, self._layer_bytes * self.network.config.layers)

    def hidden(
        self, tokens: Int[Tensor, "batch seq"], real: Bool[Tensor, "batch seq"] | None, cache: Cache | None
    ) -> Float[Tensor, "batch seq dim"]:
        """Hidden states after the last norm, in float32; zeros for padding."""
        assert cache is None or isinstance(cache, PagedCache)
        if tokens.numel():
            self._check(int(tokens.min()), int(tokens.max()))
        with self.lock:
            at = real_places(tokens, real)
            ids = [row[places] for row, places in zip(tokens.numpy(), at, strict=True)]
            result = torch.zeros(*tokens.shape, self.network.config.dim)
            out = result.numpy()
            held, temporary = cache, cache is None
            cut = list(runs([len(row) for row in ids], self.network.config.causal, AT_ONCE))
            if held is None:
                held = self._temporary(ids, cut)
            for spans in cut:
                states = self._run(spans, ids, held)
                done = 0
                for span in spans:
                    places = at[span.row][span.start : span.start + span.count]
                    out[span.row, places] = states[done : done + span.count]
                    done += span.count
            if temporary:
                self._give_back(held)
            return result

    def logits(self, hidden: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch vocab"]:
        """Logits of hidden states, without the cap."""
        rows = hidden.detach().float().reshape(-1, hidden.shape[-1]).contiguous()
        result = torch.empty(len(rows), self._head.blocks * 16)
        with self.lock:
            for start in range(0, len(rows), AT_ONCE):
                self._multiply_head(rows[start : start + AT_ONCE].numpy(), result[start : start + AT_ONCE].numpy())
        return result[:, : self._head.rows].view(*hidden.shape[:-1], -1)

    def next_logits(
        self, tokens: Int[Tensor, "batch seq"], real: Bool[Tensor, "batch seq"] | None, cache: Cache
    ) -> Float[Tensor, "batch vocab"]:
        """Logits after the last real token of each row, without the cap: network and head in one run, and what is
        left of the last block after its keys and values for these tokens alone."""
        result = torch.empty(len(tokens), self._head.blocks * 16)
        self._take_in(tokens, real, cache, result)
        return result[:, : self._head.rows]

    def take_in(self, tokens: Int[Tensor, "batch seq"], real: Bool[Tensor, "batch seq"] | None, cache: Cache) -> None:
        """Keys and values of more tokens of each row into the cache, and nothing else."""
        self._take_in(tokens, real, cache, None)

    def _take_in(
        self, tokens: Tensor, real: Tensor | None, cache: Cache, result: Float[Tensor, "batch padded"] | None
    ) -> None:
        assert isinstance(cache, PagedCache)
        self._check(int(tokens.min()), int(tokens.max()))
        with self.lock:
            if tokens.shape[1] == 1 and result is not None:
                self._place(tokens.tolist(), range(len(tokens)), cache)
                self._go_to_logits(self._tapes.whole, result)
                return
            at = real_places(tokens, real)
            ids = [row[places] for row, places in zip(tokens.numpy(), at, strict=True)]
            for spans in runs([len(row) for row in ids], self.network.config.causal, AT_ONCE):
                self._place_spans(spans, ids, cache)
                ends = np.cumsum([span.count for span in spans])
                last = [number for number, one in enumerate(spans) if one.start + one.count == len(ids[one.row])]
                if last and result is not None:  # neighbours among the rows, as spans stand in their order
                    self._put(Field.KEPT, ends[last] - 1)
                    self._frame[Field.KEPT_COUNT] = len(last)
                    self._go_to_logits(self._tapes.last, result[spans[last[0]].row :])
                else:
                    self._use(self._tapes.reading)
                    self._go()

    def _go_to_logits(self, tape: np.ndarray | None, result: Float[Tensor, "rows padded"]) -> None:
        """Run a tape that ends with the head."""
        from lmworks.kernels.run.tape import send_logits

        assert tape is not None
        send_logits(tape, result.data_ptr(), 4 * result.shape[1])
        self._use(tape)
        self._go()

    def write(
        self,
        rows: Sequence[Sequence[int]],
        cache: Cache,
        choices: Sequence[TokenChoice],
        uniforms: Float[np.ndarray, "rounds tokens"],
        interrupt: np.ndarray,
    ) -> Written:
        """Read the tokens of each row, one and what is guessed to follow it, and choose the one after each of them.
        Where every row has one token, what it chose is read next, round after round: at most as many rounds as
        `uniforms` has, until a row comes to an end of its text or to a token that the kernels do not choose, or the
        int64 in `interrupt` is 1, which any thread may make it. `choices` are those of each token, and `uniforms`,
        from 0 to 1, say which tokens are drawn. What passes in Python between two tokens passes once for all of
        them."""
        assert isinstance(cache, PagedCache)
        sizes = list(map(len, rows))
        assert len(uniforms) == 1 or max(sizes) == 1, "several tokens of a row are read in one round"
        self._check(min(map(min, rows)), max(map(max, rows)))
        with self.lock:
            self._place(rows, range(len(rows)), cache, len(uniforms))
            chosen, logprobs = self._let_write(sum(sizes), choices, uniforms, len(uniforms), interrupt)
            done = self._frame.item(Field.ROUNDS_DONE)
            written, first = [], 0
            for number, (row, size) in enumerate(zip(rows, sizes, strict=True)):
                tokens, last = chosen[: done * size, first : first + size].ravel().tolist(), size
                if size > 1:
                    last = next((at for at in range(1, size) if tokens[at - 1] != row[at]), size)
                    tokens = tokens[:last]
                    cache.sizes[number] -= size - last
                else:
                    tokens = tokens[:done]
                    cache.sizes[number] += done - 1
                judged = logprobs[:done, first : first + last].ravel().tolist()
                left = self._left(first + last - 1) if tokens[-1] < 0 else None
                written.append(RowWritten(tokens, judged, left, size - 1, last - 1))
                first += size
            cache.close_pages()
        return Written(written, done)

    def follow(
        self,
        tokens: Sequence[int],
        cache: Cache,
        choice: TokenChoice,
        uniforms: Float[np.ndarray, " tokens"],
        rounds: int,
        interrupt: np.ndarray,
        lookup: PromptLookup,
    ) -> Written:
        """Write one row that guesses by itself: read its tokens, one and what `lookup` guesses to follow it, keep
        the guesses that are right and the token after them, and read that with new guesses, for `rounds` rounds. At
        most as many tokens as `uniforms` has, one for each; the rest is as in `write`."""
        assert isinstance(cache, PagedCache)
        self._check(min(tokens), max(tokens))
        with self.lock:
            past = cache.sizes[0]
            cuts = self._cuts(min(1 + lookup.most, len(uniforms)), past + len(uniforms))
            self._place([tokens], range(1), cache, len(uniforms) - len(tokens) + 1, cuts)
            state = lookup.ready(len(uniforms), cuts.table.ctypes.data)
            chosen, logprobs = self._let_write(cuts.tokens, [choice], uniforms, rounds, interrupt, state)
            done = self._frame.item(Field.ROUNDS_DONE)
            count, tried, right, row = lookup.outcome()
            left = None if row < 0 else self._left(row)
            count += row >= 0
            cache.sizes[0] = past + count
            cache.close_pages()
        written = RowWritten(chosen[:count].tolist(), logprobs[:count].tolist(), left, tried, right)
        return Written([written], done)

    def _let_write(
        self,
        tokens: int,
        choices: Sequence[TokenChoice],
        uniforms: np.ndarray,
        rounds: int,
        interrupt: np.ndarray,
        lookup: int = 0,
    ) -> tuple[Int[np.ndarray, "*uniforms"], Float[np.ndarray, "*uniforms"]]:
        """Run the tape that chooses, with room for the logits of this many tokens; what was chosen by each number,
        and the log-probability of that. `lookup` is the address of the state of a row that guesses by itself."""
        told = np.zeros((3, *uniforms.shape))
        told[0], chosen, logprobs = uniforms, told[1].view(np.int64), told[2]
        self._choose_too(tokens, lookup != 0)
        self._put(Field.CHOICES, table_of(choices))
        self._put(Field.UNIFORMS, told)
        if self._keep.get(Field.INTERRUPT) is not interrupt:
            self._put(Field.INTERRUPT, interrupt)
        start, size = self._frame.item(Field.UNIFORMS), chosen.nbytes
        self._frame[Field.CHOSEN : Field.LOGPROBS + 1] = start + size, start + 2 * size
        try:
            self._frame[Field.ROUNDS : Field.STOP + 1] = rounds, 0, 0
            self._frame[Field.LOOKUP] = lookup
            self._go()
        finally:
            self._frame[Field.ROUNDS] = 1
        return chosen, logprobs

    def _left(self, row: int) -> Float[Tensor, " vocab"]:
        """Logits for Python, copied by NumPy, which wakes no threads."""
        return torch.from_numpy(self._logits.numpy()[row, : self._head.rows].copy())

    def _choose_too(self, tokens: int, guesses: bool) -> None:
        """Use the tape that chooses tokens, with room for the logits of this many."""
        from lmworks.kernels.run.tape import choose_from

        tape = self._tapes.guessing if guesses else self._tapes.writing
        assert tape is not None
        if len(self._logits) < tokens:
            self._logits = torch.empty(tokens, self._head.blocks * 16)
        choose_from(tape, self._logits.data_ptr(), 4 * self._logits.shape[1])
        self._use(tape)

    @property
    def bytes(self) -> int:
        """What the packed weights take."""
        return self.weights.bytes

    # Runs

    def _check(self, smallest: int, largest: int) -> None:
        """ConfigError for an id that there is no row for: the kernels would read what lies after the table."""
        if not 0 <= smallest <= largest < self.network.config.vocab_size:
            raise ConfigError(
                f"ids lie between {smallest} and {largest}, and the vocabulary has {self.network.config.vocab_size:,}; "
                "encode the text with this model's tokenizer"
            )

    def _run(self, spans: list[Span], ids: list[np.ndarray], cache: PagedCache) -> np.ndarray:
        """Hidden states of the spans' tokens, as a view of the stream."""
        count = self._place_spans(spans, ids, cache)
        self._use(self._tapes.hidden)
        self._go()
        return self.buffers.stream[:count]

    def _place_spans(self, spans: list[Span], ids: list[np.ndarray], cache: PagedCache) -> int:
        """What `_place` does, for spans of rows."""
        tokens = [ids[span.row][span.start : span.start + span.count].tolist() for span in spans]
        return self._place(tokens, [span.row for span in spans], cache)

    def _place(
        self,
        tokens: Sequence[Sequence[int]],
        rows: Sequence[int],
        cache: PagedCache,
        rounds: int = 1,
        cuts: Cuts | None = None,
    ) -> int:
        """Tell the frame which tokens of which rows run, where they stand and what they see; returns how many there
        are. With few calls, as each finds the processor's caches full of weights. Where the tape chooses tokens,
        with room for those of all rounds; where one row guesses by itself, as many at once as there are `cuts` for."""
        counts, pasts = list(map(len, tokens)), [cache.sizes[row] for row in rows]
        ends = [past + count for past, count in zip(pasts, counts, strict=True)]
        longest, total = max(ends) + rounds - 1, sum(counts)
        spare = 0 if cuts is None else cuts.tokens - total
        self._make_room(total + spare)
        self._must_have_places(longest)
        for row, count in zip(rows, counts, strict=True):
            cache.reserve(row, count + rounds - 1)
        tiles = _tiles(counts, max(1, VECTORS // self._group))
        parts = self._shared_pages(len(tiles), counts, longest)
        if parts > 1 and self.network.config.window is not None:
            # A share is a page of a tile, and two tokens' windows may begin on different ones.
            tiles = _tiles(counts, 1)
        positions = list(itertools.chain.from_iterable(map(range, pasts, ends)))
        # Of each token its id, its position, the end of what it sees, the address of its row's pages.
        none = [0] * spare
        told = [*itertools.chain.from_iterable(tokens), *none, *positions, *none]
        addresses = [cache.list_address(row) for row in rows]
        if self.network.config.causal:
            told += [position + 1 for position in positions] + none
        else:
            told += [end for end, count in zip(ends, counts, strict=True) for _ in range(count)]
        told += [address for address, count in zip(addresses, counts, strict=True) for _ in range(count)]
        told += addresses[:1] * spare
        told += itertools.chain.from_iterable(tiles)
        if cuts is not None:  # as many tiles as tokens at most
            told += [0] * (2 * (cuts.tokens - len(tiles)))
        mixed, units = (self._mix_bytes(total, parts), len(tiles) * parts) if cuts is None else cuts[1:]
        self._room_for(total + spare, mixed, units * self.network.config.kv_heads)
        self._tell(np.array(told, np.int64), positions, counts, longest, (total + spare, len(tiles), parts))
        self._frame[Field.LAYER_BYTES] = cache.layer_bytes if cache.page_bytes > cache.layer_bytes else 0
        for row, end in zip(rows, ends, strict=True):  # when nothing can fail any more
            cache.sizes[row] = end
        return total

    def _must_have_places(self, longest: int) -> None:
        if self.weights.places and longest > self.weights.places:
            raise ConfigError(
                f"the text has {longest:,} tokens and the network has learned {self.weights.places:,} positions; "
                "shorten the text"
            )

    def _tell(
        self, told: np.ndarray, positions: list[int], counts: list[int], longest: int, cut: tuple[int, int, int]
    ) -> None:
        """Put into the frame what is told of each token and each tile; for how many tokens there is room, and how
        many tiles and parts there are, says `cut`, and `counts` the tokens of each row, one after another."""
        room, tiles, parts = cut
        self._put(Field.IDS, told)
        ids = self._frame.item(Field.IDS)
        at, ends, pages, of_tiles = range(ids + 8 * room, ids + 8 * 4 * room + 1, 8 * room)
        turns = self._turns(positions, counts, longest)
        if turns is not None:
            self._put(Field.TURNS, turns)
        of_turns = at if turns is None else self._frame.item(Field.TURNS)
        self._frame[Field.POSITIONS : Field.PARTS + 1] = at, of_turns, ends, pages, of_tiles, tiles, parts
        self._frame[Field.TOKENS] = len(positions)

    def _cuts(self, most: int, longest: int) -> Cuts:
        """How up to `most` tokens of one text, of `longest` at the end, are cut."""
        key = most, -(-longest // PAGE)
        if self._kept_cuts[0] != key:
            table, mixed, units = np.ones((most + 1, 2), np.int64), 0, 0
            for count in range(1, most + 1):
                size = max(1, VECTORS // self._group)
                parts = self._shared_pages(-(-count // size), [count], longest)
                if parts > 1 and self.network.config.window is not None:
                    size = 1
                table[count] = size, parts > 1
                mixed = max(mixed, self._mix_bytes(count, parts))
                units = max(units, -(-count // size) * parts)
            self._kept_cuts = key, Cuts(table, mixed, units)
        return self._kept_cuts[1]

    def _shared_pages(self, tiles: int, counts: list[int], longest: int) -> int:
        """The pages of the longest row where threads share them, else 1. Of several texts' pages a thread might get
        those of a long one alone, so that only two tokens share theirs."""
        pages, few = -(-longest // PAGE), sum(counts) <= 2
        alone = len(counts) == 1 and tiles * self.network.config.kv_heads < SPLIT * self.team.threads
        return pages if few or (alone and self._mix_bytes(sum(counts), pages) <= MOST_PARTS) else 1

    def _mix_bytes(self, tokens: int, parts: int) -> int:
        config = self.network.config
        return tokens * config.heads * parts * (config.head_dim + 16) * 4

    def _multiply_head(self, rows: np.ndarray, output: np.ndarray) -> None:
        from lmworks.kernels.run.tape import head_steps, table

        self._make_room(len(rows))
        self._frame[Field.TOKENS] = len(rows)
        self._use(table(head_steps(self.weights, rows, output.ctypes.data, output.strides[0])))
        self._go(stays=False)

    def _go(self, stays: bool = True) -> None:
        """Run a tape, which `stays` or is there for this run alone."""
        if self.team.process != os.getpid():  # a child process has none of its parent's threads
            self.team = team()
            self._barrier[:], self._keep[Field.DONE][:] = 0, 0  # as they left them
        self.team.run(self._frame, self._barrier, stays)

    def _temporary(self, ids: list[np.ndarray], cut: list[list[Span]]) -> PagedCache:
        """Pages for texts that nobody goes on with: of one layer, used again and again, where each row is read at
        once."""
        whole = len(cut) == 1 or all(span.count == len(ids[span.row]) for run in cut for span in run)
        if not whole:
            return self.new_cache(len(ids))
        cache = PagedCache(len(ids), self._layer_bytes, 1)
        spare = self._scratch_pages.pages.pop() if self._scratch_pages.pages else []
        for row, one in enumerate(ids):
            needed = -(-len(one) // PAGE)
            cache.pages[row] = [spare.pop() for _ in range(min(needed, len(spare)))]
            cache.addresses[row, : len(cache.pages[row][:8])] = [page.address for page in cache.pages[row][:8]]
        return cache

    def _give_back(self, cache: PagedCache) -> None:
        if cache.page_bytes == self._layer_bytes and self.network.config.layers > 1:
            self._scratch_pages.pages.append([page for row in cache.pages for page in row])

    def _turns(self, positions: list[int], counts: list[int], longest: int) -> np.ndarray | None:
        """The row of cosines and sines of each token, None for that of its position; their tables grow with the
        longest text."""
        if not self._half:
            return None
        if self._turns_with_length:  # dynamic scaling: each row by its own length, which changes
            rows, done = [], 0
            for count in counts:
                rows.append(self._turned(torch.tensor(positions[done : done + count])[None]))
                done += count
            self._rotation = tuple(np.concatenate(one) for one in zip(*rows, strict=True))  # type: ignore[assignment]
            self._put(Field.COSINES, self._rotation[0])
            self._put(Field.SINES, self._rotation[1])
            return np.arange(len(positions))
        if longest > len(self._rotation[0]):
            size = max(longest, 2 * len(self._rotation[0]), 512)
            self._rotation = self._turned(torch.arange(size)[None])
            self._put(Field.COSINES, self._rotation[0])
            self._put(Field.SINES, self._rotation[1])
        return None

    def _turned(self, positions: Int[Tensor, "one seq"]) -> tuple[np.ndarray, np.ndarray]:
        cos, sin = self.network.encoding.rotation(self.network.config, positions, torch.float32)
        return cos[0, 0].contiguous().numpy(), sin[0, 0].contiguous().numpy()

    # Memory

    def _fixed_memory(self) -> None:
        config = self.network.config
        vectors, size = -(-max(VECTORS, self._group) // VECTORS) * VECTORS, 4 * config.head_dim
        # Queries, where they begin and end to see, weights, results (interpreter.run_attend).
        stride = -(-(vectors * (2 * size + 64 + 16) + VECTORS * 256) // 64) * 64 + 64
        self._put(Field.SCRATCH, aligned(stride * self.team.threads))
        self._frame[Field.SCRATCH_STRIDE] = stride
        room = -(-4 * room_numbers(config.vocab_size) // 64) * 64
        self._choosing_room = aligned(room * self.team.threads)
        self._barrier = aligned(barrier_bytes(self.team.threads)).view(np.int64)
        self._put(Field.BARRIER, self._barrier)
        # What helpers need; the system gives memory when it is written to.
        adapters = [one.down for one in self.weights.adapters.values()]
        self._blocks = max(one.blocks for one in (*self.weights.matrices.values(), *adapters))
        inner = max(one.blocks for name, one in self.weights.matrices.items() if not is_vocabulary(name))
        stride = 64 * max(inner * MOST_LED, self._blocks * OF_VOCABULARY)
        self._put(Field.OUTBOX, aligned(stride * (self.team.threads - 1)))
        self._frame[Field.OUTBOX_STRIDE] = stride
        self._mark_room(self._blocks)

    def _make_room(self, tokens: int) -> None:
        """Buffers for this many tokens, and the tapes that name them."""
        if hasattr(self, "buffers") and self.buffers.tokens >= tokens:
            return
        self.team.keep(getattr(self, "buffers", None))
        buffers = self.buffers = Buffers(self.weights, max(tokens, 16))
        self._put(Field.STREAM, buffers.stream)
        self._put(Field.VALUES, buffers.values)
        self._put(Field.SCALES, buffers.scales)
        self._put(Field.SUMS, buffers.sums)
        self._frame[Field.VALUES_STRIDE], self._frame[Field.SCALES_STRIDE] = (
            buffers.values.strides[0],
            buffers.scales.strides[0],
        )
        self._write_tapes()

    def _write_tapes(self) -> None:
        from lmworks.kernels.run.tape import Room, tapes

        self.team.keep(getattr(self, "_tapes", None))
        room, size = self._choosing_room.ctypes.data, self._choosing_room.nbytes // self.team.threads
        self._tapes = tapes(self.weights, self.buffers, Room(room, size) if self._has_head else None)

    def _room_for(self, tokens: int, mixed: int, units: int) -> None:
        """Room for the parts of attention (`mixed` bytes) and for the marks of its units; helpers have their own
        parts, where that is not too much, and where it is nobody leads."""
        needed = -(-mixed // 64) * 64
        led = tokens <= MOST_LED and needed * self.team.threads <= MOST_PARTS
        own = needed * (self.team.threads if led else 1)
        if Field.MIXED not in self._keep or self._keep[Field.MIXED].nbytes < own:
            self._put(Field.MIXED, aligned(2 * own if mixed > self._mix_bytes(tokens, 1) else own))
        self._frame[Field.MIXED_STRIDE] = needed
        self._mark_room(units if led else MOST_CHUNKS + 1)

    def _mark_room(self, units: int) -> None:
        """Room for the marks of this many units of a step; none where they are too many, and nobody leads."""
        marks = self._keep.get(Field.DONE)
        if marks is None or len(marks) < units <= MOST_CHUNKS:
            self.team.keep(marks)
            marks = self._keep[Field.DONE] = np.zeros(2 * units, np.int64)
            self._marks = int(marks.ctypes.data)
        self._frame[Field.DONE] = self._marks if units <= MOST_CHUNKS else 0

    def _put(self, field: Field, array: np.ndarray) -> None:
        """An array into the frame, and kept alive as long as it stands there."""
        self._keep[field] = array
        self._frame[field] = array.ctypes.data

    def _use(self, tape: np.ndarray) -> None:
        if self._keep.get(Field.TAPE) is tape:
            return
        self._put(Field.TAPE, tape)
        self._frame[Field.STEPS] = len(tape)


def _tiles(counts: Sequence[int], most: int) -> list[tuple[int, int]]:
    """The first of up to `most` neighbouring tokens of a row, and how many they are; `counts` are the tokens of each
    row."""
    starts = itertools.accumulate(counts, initial=0)
    return [
        (start + at, min(most, size - at))
        for start, size in zip(starts, counts, strict=False)
        for at in range(0, size, most)
    ]
