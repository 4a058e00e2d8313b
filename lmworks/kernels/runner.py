"""The compiled path as a runner: it runs the network as long as it stands for it, and PyTorch does the rest.

runner = CompiledRunner(network)                          # 4 bits; embedding and head 8
runner = CompiledRunner(network, bits=8)
runner = CompiledRunner(network, stored=file_weights)     # the bits that a file holds, unchanged
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from lmworks.basics import progress
from lmworks.basics.errors import ConfigError, LmworksError
from lmworks.kernels.coverage import too_large, unavailable, uncovered
from lmworks.kernels.keeping import Keeper
from lmworks.kernels.next_token import drawn, log_total
from lmworks.kernels.packing import Stored
from lmworks.kernels.pages import PagedCache
from lmworks.kernels.prefixes import Prefixes
from lmworks.kernels.quantisation import quantisation_of
from lmworks.models.adapted import AdaptedLinear, Adapters, adapted_layers
from lmworks.models.cache import Cache
from lmworks.models.hooks import hook_points
from lmworks.models.memory import Memory
from lmworks.models.network import Network, real_tokens
from lmworks.models.runner import Interrupt, Mask, Row, TokenChoice, Tokens, Written, must_end_with_tokens
from lmworks.models.torch_runner import TorchRunner
from lmworks.models.unread import mark, peeked

if TYPE_CHECKING:
    from lmworks.kernels.run.network import CompiledNetwork

MOST_WRITTEN = 128
"""Tokens that a row which guesses by itself writes in one run, unless one guess has more."""


def compiled(
    network: Network, bits: int = 4, stored: Stored | None = None, keeper: Keeper | None = None
) -> CompiledNetwork:
    """A network on its tape, in these bits or in those of a file; a `keeper` keeps what is packed, where the network's
    weights are those of its files. ConfigError where it is not covered."""
    quantisation_of(bits)
    if (reason := uncovered(network) or unavailable() or too_large(network, bits)) is not None:
        raise ConfigError(reason)
    from lmworks.kernels.run.network import CompiledNetwork

    return CompiledNetwork(network, bits, stored, keeper)


class CompiledRunner:
    """Runs a network on its tape (run/network.py). Where the network is not what the tape was made of (other weights or
    parts, hooks, training), and where a run fails, PyTorch computes instead; the first time it says so."""

    name = "compiled"

    def __init__(
        self, network: Network, bits: int = 4, stored: Stored | None = None, keeper: Keeper | None = None
    ) -> None:
        """ConfigError where the compiled path does not cover the network."""
        self.network, self.plain = network, TorchRunner(network)
        self.compiled = compiled(network, bits, stored, keeper)
        self._made_of = _Look(network)
        self._hooks = [point.functions for point in hook_points(network).values()]
        self._adapted = list(adapted_layers(network).values())
        self._trainings = network.trainings
        self._same, self._failed, self._stood = True, False, True
        self._version = 0

    def __deepcopy__(self, memo: Any) -> TorchRunner:
        """A copy of a network is made to be changed; it runs in PyTorch until it is compiled."""
        return TorchRunner(copy.deepcopy(self.network, memo))

    def stands(self, fresh: bool = True) -> bool:
        """Does the tape compute what the network computes? Weights and parts are compared for each `fresh` text;
        training, hooks, and adapters that are switched, at each step."""
        if fresh:
            self._same = _Look(self.network) == self._made_of
        stands = self._same and not self._failed and self.network.trainings == self._trainings
        stands = stands and not any(self._hooks) and self._adapters_follow()
        if stands is not self._stood:
            self._stood, self._version = stands, self._version + 1
            if not stands and not self._failed:
                progress.note("the network is not what was compiled (other weights, hooks, training); PyTorch runs it")
        return stands

    def _adapters_follow(self) -> bool:
        """Adapters on the tape where they are on, none where they are off; False where some are on and some off."""
        states = {one.enabled for one in self._adapted}
        if len(states) == 1 and states != {self.compiled.weights.adapted}:
            self.compiled.use_adapters(next(iter(states)))
            self._version += 1
        return len(states) <= 1

    def _runs(self, cache: Cache | None) -> bool:
        """Does the tape run texts in this cache (None: texts without one)?"""
        if cache is None:
            return self.stands()
        return isinstance(cache, PagedCache) and self.stands(fresh=not cache.length)

    @contextlib.contextmanager
    def _or_pytorch(self) -> Iterator[None]:
        """What fails in the block ends the compiled path, and what follows the block computes in PyTorch. Mistakes
        of the caller and a lack of memory are raised."""
        try:
            yield
        except (LmworksError, MemoryError):
            raise
        except Exception as error:
            self._failed, self._stood, self._version = True, False, self._version + 1
            progress.note(
                f"the compiled path failed ({type(error).__name__}: {error}); PyTorch runs the network from here on"
            )

    @property
    def weights_version(self) -> int:
        """Changes whenever cached keys and values become invalid."""
        self.stands(fresh=False)
        return self._version

    @property
    def token_bytes(self) -> int:
        """Keys and values of one token, in 16 bits."""
        config = self.network.config
        return 2 * config.layers * config.kv_heads * config.head_dim * 2

    def own_threads(self, cache: Cache | None = None) -> bool:
        """Whether the tape runs texts in this cache."""
        return self._stood and (cache is None or isinstance(cache, PagedCache))

    def hidden(
        self,
        tokens: Tokens,
        mask: Mask | None = None,
        cache: Cache | None = None,
        segments: Tokens | None = None,
        adapter: str | None = None,
    ) -> Float[Tensor, "batch seq dim"]:
        """Hidden states after the last norm, in float32; zeros for padding."""
        if self._runs(cache) and self.compiled.knows(tokens, segments):
            with self._or_pytorch():
                real = real_tokens(tokens, mask)
                hidden = self.compiled.hidden(tokens, real, cache, segments, adapter)
                if cache is not None:
                    cache.advance(tokens, real)
                return hidden
        return self.plain.hidden(tokens, mask, cache, segments, adapter)

    def logits(self, hidden: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch vocab"]:
        """Logits of hidden states, in float32."""
        if self.compiled.has_head and self.stands():
            with self._or_pytorch():
                return self.compiled.logits(hidden)
        return self.plain.logits(hidden.to(self.network.dtype))

    def next_logits(self, tokens: Tokens, cache: Cache, mask: Mask | None = None) -> Float[Tensor, "batch vocab"]:
        """Logits after the last token of each row, network and head in one run."""
        must_end_with_tokens(mask)
        if not self.compiled.has_head:
            return self.logits(self.hidden(tokens, mask, cache)[:, -1])
        if self._runs(cache):
            with self._or_pytorch():
                real = real_tokens(tokens, mask)
                logits = self.compiled.next_logits(tokens, real, cache)
                cache.advance(tokens, real)
                return logits
        return self.plain.next_logits(tokens, cache, mask)

    def read(self, tokens: Tokens, cache: Cache, mask: Mask | None = None) -> None:
        """Put keys and values of more tokens into the cache; the last block ends with these."""
        if self._runs(cache):
            with self._or_pytorch():
                real = real_tokens(tokens, mask)
                self.compiled.take_in(tokens, real, cache)
                cache.advance(tokens, real)
                return
        self.plain.read(tokens, cache, mask)

    def can_write(self, cache: Cache) -> bool:
        """Whether nothing in the network is left to Python between two tokens."""
        return isinstance(cache, PagedCache) and self.compiled.writes(cache) and self.stands(fresh=False)

    def write(self, rows: Sequence[Row], cache: Cache, rounds: int, interrupt: Interrupt) -> Written:
        """Write several tokens of each row; what passes in Python between two tokens passes once for all of them."""
        with self._or_pytorch():
            sizes = [len(row.tokens) for row in rows]
            [first, *others] = rows
            if not others and first.lookup is not None:
                most = 1 + first.lookup.most
                rounds = min(rounds, max(MOST_WRITTEN // most, 1))
                uniforms = np.array(first.uniforms[: rounds * most])
                return self.compiled.follow(
                    first.tokens, cache, first.choice, uniforms, rounds, interrupt, first.lookup
                )
            if max(sizes) > 1:
                pairs = [(row, at) for row, size in zip(rows, sizes, strict=True) for at in range(size)]
                choices = [row.choice.after(at) for row, at in pairs]
                uniforms = np.array([[row.uniforms[at] for row, at in pairs]])
            else:
                rounds = min(rounds, *(len(row.uniforms) for row in rows))
                choices = [row.choice for row in rows]
                uniforms = np.array([row.uniforms[:rounds] for row in rows]).T.copy()
            return self.compiled.write([row.tokens for row in rows], cache, choices, uniforms, interrupt)
        raise ConfigError("the compiled path failed while it wrote; read the text again, in a new cache")

    def new_cache(
        self, rows: int = 1, capacity: int = 256, memory: Memory | None = None, adapters: Adapters = None
    ) -> Cache:
        """An empty cache: pages, as long as the tape stands for the network."""
        if memory is None and self.stands():
            return self.compiled.new_cache(rows, adapters)
        return self.plain.new_cache(rows, capacity, memory, adapters)

    def take_adapters(self, put: Callable[[], None]) -> None:
        """Pack the adapters that are put beside the weights, which stay packed as they are."""
        stands = self.stands()
        put()
        if stands:
            self.compiled.take_adapters()
            self._adapted = list(adapted_layers(self.network).values())
            self._made_of = _Look(self.network)
            self._hooks = [point.functions for point in hook_points(self.network).values()]

    def new_prefixes(self, limit: int) -> Prefixes | None:
        """A place for the beginnings of texts; None where a token's keys depend on what follows it."""
        return self.compiled.new_prefixes(limit) if self.stands(fresh=False) else None

    def draw(self, logits: Float[Tensor, " vocab"], choice: TokenChoice, uniform: float) -> int | None:
        """The token at a place of the probabilities that the choice leaves."""
        return drawn(logits, choice.factor, choice.top_k, choice.top_p, choice.min_p, uniform)

    def log_total(self, logits: Float[Tensor, " vocab"]) -> float | None:
        """log of the sum of e^logit."""
        return log_total(logits)


class _Look:
    """A network as it was at one moment: which parts and weights it has, and how often each was written to."""

    def __init__(self, network: Network) -> None:
        modules, parameters = list(network.modules()), list(peeked(network).values())
        self.kept = modules, parameters  # what lives has its id to itself
        self.marks = (
            (network.run_block, network.attention_kernel),
            [(id(one), bool(one._forward_hooks or one._forward_pre_hooks)) for one in modules],
            [mark(one) for one in parameters],
            [(one.scale, one.merged) for one in modules if isinstance(one, AdaptedLinear)],
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Look) and self.marks == other.marks

    __hash__ = None  # type: ignore[assignment]
