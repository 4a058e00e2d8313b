"""One network on its tape: hidden states, logits, caches, tokens written ahead. What stands before it is runner.py."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lmworks.basics.arrays import Bool, Float, Int
from lmworks.basics.errors import ConfigError
from lmworks.kernels.adapters import PackedAdapter
from lmworks.kernels.frame import Field
from lmworks.kernels.next_token import table_of
from lmworks.kernels.pages import PAGE, PagedCache, head_bytes, layer_bytes, place_of
from lmworks.kernels.prefixes import Prefixes
from lmworks.kernels.run.placing import Placing
from lmworks.kernels.run.spans import Span, real_places, runs
from lmworks.kernels.run.weights import SEGMENTS, Weights
from lmworks.kernels.run.workspace import Workspace
from lmworks.models.hearing.config import SoundConfig
from lmworks.models.hearing.front import Front
from lmworks.models.kv_cache import KVCache
from lmworks.models.lookup import PromptLookup
from lmworks.models.runner import Adapters, RowWritten, TokenChoice, Written, of_each_row
from lmworks.models.seen_vectors import SeenVectors

if TYPE_CHECKING:
    from torch import Tensor

    from lmworks.models.network import Network

AT_ONCE = 512
"""Tokens of one run: enough to fill the processor, few enough that the activations stay small."""
MOST_AHEAD = 256
"""More tokens than a row gets before somebody asks again whether it can be written."""


class CompiledNetwork:
    """A network as its weights were when it was made; it does not notice when they change (runner.py does)."""

    def __init__(self, weights: Weights) -> None:
        self.weights, self.config = weights, weights.config
        config = weights.config
        self.lock = threading.Lock()
        self.workspace = Workspace(self.weights)
        self._placing = Placing(self.workspace)
        self._head = self.weights.head
        self._page_bytes, self._head_bytes = place_of(config, config.layers), head_bytes(config)
        self._layer_bytes = max(layer_bytes(config, layer) for layer in range(config.layers))
        """Of the largest layer."""
        self._scratch_pages = PagedCache(0, self._layer_bytes, apart=False)
        self.encoder = None if weights.encoder is None else CompiledNetwork(weights.encoder)
        """What reads the sources of an encoder-decoder."""
        self._front: Front | None = None
        """What stands before an encoder of sound."""

    @property
    def has_head(self) -> bool:
        """It makes logits too, under their cap; else the network's own head does."""
        return self.workspace.has_head

    def writes(self, cache: PagedCache) -> bool:
        """Can it write by itself after what is in the cache, with logits that are those of the network?"""
        placing = self._placing
        ends = max(cache.sizes, default=0) + MOST_AHEAD
        return self.has_head and (not placing.turns_with_length or ends <= placing.turns_alike_to)

    @property
    def bytes(self) -> int:
        """What the packed weights take."""
        return self.weights.bytes

    def knows(
        self, tokens: Int[Tensor | np.ndarray, "batch seq"], segments: Int[Tensor | np.ndarray, "batch seq"] | None
    ) -> bool:
        """Whether the tape has these segments; PyTorch runs others, or says what is wrong with them."""
        if segments is None:
            return True
        known = min(self.config.segments, SEGMENTS)
        return segments.shape == tokens.shape and bool(((segments >= 0) & (segments < known)).all())

    def use_adapters(self, on: bool) -> None:
        """Run with its adapters, or without."""
        with self.lock:
            self.weights.adapted = on
        if self.encoder is not None:
            self.encoder.use_adapters(on)

    def take_adapters(self, network: Network) -> None:
        """Run with the adapters that the network has now, too."""
        self._take(lambda: self.weights.take_adapters(network))

    def take_images(self, seen: SeenVectors) -> None:
        """Read these vectors where a text has ids past the vocabulary."""
        self._placing.seen = seen

    def put_packed(self, packed: Mapping[str, PackedAdapter]) -> None:
        """Run with an adapter that is packed already and that every row has."""
        self._take(lambda: self.weights.put_packed({path: {None: one} for path, one in packed.items()}))

    def _take(self, take: Callable[[], None]) -> None:
        with self.lock:
            before = self.weights.adapters
            take()
            self.workspace.team.keep(before)
            self.workspace.take_adapters()
        if self.encoder is not None:
            self.encoder._take(lambda: None)  # its weights have theirs by now

    def encode(self, tokens: Int[np.ndarray, "batch seq"], real: Bool[np.ndarray, "batch seq"] | None) -> PagedCache:
        """What the decoder's layers attend to of source texts: keys and values, a row for each source."""
        assert self.encoder is not None
        return self.encoder.sources(tokens, real)

    def hear(self, features: Float[np.ndarray, "batch mels frames"]) -> PagedCache:
        """The same of sound. ConfigError for features of another shape than the network reads."""
        assert self.encoder is not None and isinstance(self.config, SoundConfig)
        if self._front is None:
            self._front = Front.of(self.config, self.encoder.weights.vectors)
        return self.encoder.sources_of(self._front(features))

    def sources_of(self, embedded: Float[np.ndarray, "batch places dim"]) -> PagedCache:
        """The same of what stands in the place of tokens' embeddings, by the encoder."""
        return self._sources([np.zeros(len(one), np.int64) for one in embedded], embedded)

    def sources(self, tokens: Int[np.ndarray, "batch seq"], real: Bool[np.ndarray, "batch seq"] | None) -> PagedCache:
        """The same, by the encoder."""
        at = real_places(tokens, real)
        ids = [row[places] for row, places in zip(tokens, at, strict=True)]
        if not ids or not all(map(len, ids)):
            raise ConfigError("a source has no tokens, and there is nothing to attend to; leave it out")
        self._placing.check(int(tokens.min()), int(tokens.max()))
        return self._sources(ids, None)

    def _sources(self, ids: list[np.ndarray], embedded: Float[np.ndarray, "batch places dim"] | None) -> PagedCache:
        """Keys and values of rows with these ids; with other embeddings where some are given."""
        made = self._cache(PagedCache(len(ids), place_of(self.config, self.weights.makes_sources)), None)
        workspace = self.workspace
        with self.lock:
            cut = list(runs([len(row) for row in ids], False, AT_ONCE))
            held = self._temporary(ids, cut, made.adapters)
            for spans in cut:
                count = self._placing.place_spans(spans, ids, held)
                if embedded is not None:
                    workspace.buffers.stream[:count] = np.concatenate([embedded[span.row] for span in spans])
                workspace.run(workspace.tapes.hidden if embedded is None else workspace.tapes.embedded)
                self._placing.place_spans(spans, ids, made)
                workspace.run(workspace.tapes.sources)
            self._give_back(held)
        return made

    def new_cache(self, batch: int, adapters: Adapters = None, memory: PagedCache | None = None) -> PagedCache:
        """An empty cache for `batch` rows, each with its adapter and, of an encoder-decoder, its source."""
        if memory is not None and self.encoder is None:
            raise ConfigError("the network attends to no source; leave the memory out")
        if memory is not None and len(memory.sizes) != batch:
            raise ConfigError(f"the memory holds {len(memory.sizes)} sources for {batch} rows of tokens")
        cache = self._cache(PagedCache(batch, self._page_bytes, part_bytes=self._head_bytes), adapters)
        cache.memory = None if memory is None else memory.fork(range(batch))
        return cache

    def _cache(self, cache: PagedCache, adapters: Adapters) -> PagedCache:
        """An empty cache whose rows have these adapters."""
        cache.adapters = of_each_row(adapters, len(cache.sizes))
        for name in cache.adapters:
            self.weights.adapter(name)
        return cache

    def new_prefixes(self, limit: int) -> Prefixes | None:
        """A place for the beginnings of texts, in at most `limit` bytes; None where a token's keys depend on what
        follows it, or on a source."""
        if self._placing.turns_with_length or not self.config.causal or self.encoder is not None:
            return None
        return Prefixes(limit, self._page_bytes)

    def hidden(
        self,
        tokens: Int[Tensor, "batch seq"],
        real: Bool[Tensor, "batch seq"] | None,
        cache: KVCache | None,
        segments: Int[Tensor, "batch seq"] | None = None,
        adapter: str | None = None,
    ) -> Float[Tensor, "batch seq dim"]:
        """`states`, as tensors."""
        import torch

        ids, of_real, of = (None if one is None else one.numpy() for one in (tokens, real, segments))
        assert ids is not None
        return torch.from_numpy(self.states(ids, of_real, cache, of, adapter))

    def states(
        self,
        tokens: Int[np.ndarray, "batch seq"],
        real: Bool[np.ndarray, "batch seq"] | None,
        cache: KVCache | None,
        segments: Int[np.ndarray, "batch seq"] | None = None,
        adapter: str | None = None,
    ) -> Float[np.ndarray, "batch seq dim"]:
        """Hidden states after the last norm, in float32; zeros for padding. Segments are those that the tape knows;
        the `adapter` is that of texts without a cache."""
        assert cache is None or isinstance(cache, PagedCache)
        if tokens.size:
            self._placing.check(int(tokens.min()), int(tokens.max()))
        with self.lock:
            at = real_places(tokens, real)
            ids = [row[places] for row, places in zip(tokens, at, strict=True)]
            parts = None
            if segments is not None:
                parts = [row[places] for row, places in zip(segments, at, strict=True)]
            result, held = np.zeros((*tokens.shape, self.config.dim), np.float32), cache
            cut = list(runs([len(row) for row in ids], self.config.causal, AT_ONCE))
            if held is None:
                held = self._temporary(ids, cut, [adapter] * len(ids))
            for spans in cut:
                self._placing.place_spans(spans, ids, held, parts)
                self.workspace.run(self.workspace.tapes.hidden)
                done = 0
                for span in spans:
                    places = at[span.row][span.start : span.start + span.count]
                    result[span.row, places] = self.workspace.buffers.stream[done : done + span.count]
                    done += span.count
            if cache is None:
                self._give_back(held)
            return result

    def logits(self, hidden: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch vocab"]:
        """Logits of hidden states."""
        import torch

        rows = hidden.detach().float().reshape(-1, hidden.shape[-1]).contiguous()
        lines = self._head.blocks | 1  # rows that are a power of 2 apart would push one another out of the cache
        result = torch.empty(len(rows), 16 * lines)
        with self.lock:
            for start in range(0, len(rows), AT_ONCE):
                part = slice(start, start + AT_ONCE)
                self.workspace.run_head(rows[part].numpy(), result[part].numpy())
        return result[:, : self._head.rows].view(*hidden.shape[:-1], -1)

    def next_logits(
        self, tokens: Int[np.ndarray, "batch seq"], real: Bool[np.ndarray, "batch seq"] | None, cache: KVCache
    ) -> Float[np.ndarray, "batch vocab"]:
        """Logits after the last real token of each row: network and head in one run. Only these tokens go through the
        rest of the last block after its keys and values."""
        result = np.empty((len(tokens), self._head.blocks * 16), np.float32)
        self._take_in(tokens, real, cache, result)
        return result[:, : self._head.rows]

    def take_in(
        self, tokens: Int[np.ndarray, "batch seq"], real: Bool[np.ndarray, "batch seq"] | None, cache: KVCache
    ) -> None:
        """Keys and values of more tokens of each row into the cache, and nothing else."""
        self._take_in(tokens, real, cache, None)

    def _take_in(
        self,
        tokens: np.ndarray,
        real: np.ndarray | None,
        cache: KVCache,
        result: Float[np.ndarray, "batch padded"] | None,
    ) -> None:
        assert isinstance(cache, PagedCache)
        self._placing.check(int(tokens.min()), int(tokens.max()))
        workspace = self.workspace
        with self.lock:
            if tokens.shape[1] == 1 and result is not None:
                self._placing.place(tokens.tolist(), range(len(tokens)), cache)
                workspace.run_to_logits(workspace.tapes.whole, result)
                return
            at = real_places(tokens, real)
            ids = [row[places] for row, places in zip(tokens, at, strict=True)]
            for spans in runs([len(row) for row in ids], self.config.causal, AT_ONCE):
                self._placing.place_spans(spans, ids, cache)
                ends = np.cumsum([span.count for span in spans])
                last = [number for number, one in enumerate(spans) if one.start + one.count == len(ids[one.row])]
                if last and result is not None:  # neighbours among the rows, as spans are in their order
                    workspace.put(Field.KEPT, ends[last] - 1)
                    workspace.frame[Field.KEPT_COUNT] = len(last)
                    workspace.run_to_logits(workspace.tapes.last, result[spans[last[0]].row :])
                else:
                    workspace.run(workspace.tapes.reading)

    def write(
        self,
        rows: Sequence[Sequence[int]],
        cache: KVCache,
        choices: Sequence[TokenChoice],
        uniforms: Float[np.ndarray, "rounds tokens"],
        interrupt: np.ndarray,
    ) -> Written:
        """Read the tokens of each row, one and what is guessed to follow it, and choose the one after each of them.

        Where every row has one token, the token that it chose is read next, round after round: at most as many rounds
        as `uniforms` has, until a row comes to an end of its text or to a token that the kernels do not choose, or the
        int64 in `interrupt` is 1, which any thread may set. `choices` are those of each token, and `uniforms`, from 0
        to 1, say which tokens are drawn. What passes in Python between two tokens passes once for all of them.
        """
        assert isinstance(cache, PagedCache)
        sizes = list(map(len, rows))
        assert len(uniforms) == 1 or max(sizes) == 1, "several tokens of a row are read in one round"
        self._placing.check(min(map(min, rows)), max(map(max, rows)))
        with self.lock:
            self._placing.place(rows, range(len(rows)), cache, len(uniforms))
            chosen, logprobs = self._run_rounds(sum(sizes), choices, uniforms, len(uniforms), interrupt)
            done = self.workspace.frame.item(Field.ROUNDS_DONE)
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
                left = self._logits_of(first + last - 1) if tokens[-1] < 0 else None
                written.append(RowWritten(tokens, judged, left, size - 1, last - 1))
                first += size
            cache.close_pages()
        return Written(written, done)

    def follow(
        self,
        tokens: Sequence[int],
        cache: KVCache,
        choice: TokenChoice,
        uniforms: Float[np.ndarray, " tokens"],
        rounds: int,
        interrupt: np.ndarray,
        lookup: PromptLookup,
    ) -> Written:
        """Write one row that guesses by itself: read its tokens, one and what `lookup` guesses to follow it, keep the
        guesses that are right and the token after them, and read that with new guesses, for `rounds` rounds. At most as
        many tokens as `uniforms` has, one for each; the rest is as in `write`."""
        assert isinstance(cache, PagedCache)
        self._placing.check(min(tokens), max(tokens))
        with self.lock:
            past = cache.sizes[0]
            cuts = self._placing.cuts(min(1 + lookup.most, len(uniforms)), past + len(uniforms))
            self._placing.place([tokens], range(1), cache, len(uniforms) - len(tokens) + 1, cuts)
            state = lookup.ready(len(uniforms), cuts.table.ctypes.data)
            chosen, logprobs = self._run_rounds(cuts.tokens, [choice], uniforms, rounds, interrupt, state)
            done = self.workspace.frame.item(Field.ROUNDS_DONE)
            count, tried, right, row = lookup.outcome()
            left = None if row < 0 else self._logits_of(row)
            count += row >= 0
            cache.sizes[0] = past + count
            cache.close_pages()
        written = RowWritten(chosen[:count].tolist(), logprobs[:count].tolist(), left, tried, right)
        return Written([written], done)

    def _run_rounds(
        self,
        rows: int,
        choices: Sequence[TokenChoice],
        uniforms: np.ndarray,
        rounds: int,
        interrupt: np.ndarray,
        lookup: int = 0,
    ) -> tuple[Int[np.ndarray, "*uniforms"], Float[np.ndarray, "*uniforms"]]:
        """Run the tape that chooses, for up to this many rows of logits: the tokens that were chosen, and their
        log-probabilities. `lookup` is the address of the state of a row that guesses by itself."""
        workspace = self.workspace
        three = np.zeros((3, *uniforms.shape))
        three[0], chosen, logprobs = uniforms, three[1].view(np.int64), three[2]
        workspace.put(Field.CHOICES, table_of(choices))
        workspace.put(Field.UNIFORMS, three)
        if workspace.kept.get(Field.INTERRUPT) is not interrupt:
            workspace.put(Field.INTERRUPT, interrupt)
        start, size = workspace.frame.item(Field.UNIFORMS), chosen.nbytes
        workspace.frame[Field.CHOSEN : Field.LOGPROBS + 1] = start + size, start + 2 * size
        workspace.frame[Field.LOOKUP] = lookup
        workspace.run_rounds(workspace.tapes.guessing if lookup else workspace.tapes.writing, rows, rounds)
        return chosen, logprobs

    def _logits_of(self, row: int) -> Float[np.ndarray, " vocab"]:
        """Logits for Python, where the next run does not change them."""
        return self.workspace.logits[row, : self._head.rows].copy()

    def _temporary(self, ids: list[np.ndarray], cut: list[list[Span]], adapters: Adapters) -> PagedCache:
        """Pages for texts that nobody goes on with: which all layers share, used again and again, where each row is
        read at once."""
        whole = len(cut) == 1 or all(span.count == len(ids[span.row]) for run in cut for span in run)
        if not whole:
            return self.new_cache(len(ids), adapters)
        cache = self._cache(PagedCache(len(ids), self._layer_bytes, apart=False), adapters)
        spare = self._scratch_pages.pages.pop() if self._scratch_pages.pages else []
        for row, one in enumerate(ids):
            needed = -(-len(one) // PAGE)
            cache.pages[row] = [spare.pop() for _ in range(min(needed, len(spare)))]
            cache.addresses[row, : len(cache.pages[row][:8])] = [page.address for page in cache.pages[row][:8]]
        return cache

    def _give_back(self, cache: PagedCache) -> None:
        if not cache.apart:
            self._scratch_pages.pages.append([page for row in cache.pages for page in row])
