"""The compiled path as a runner: it runs the network as long as it stands for it, and PyTorch does the rest.

runner = CompiledRunner(network)                          # 4 bits; embedding and head 8
runner = CompiledRunner(network, bits=8)
runner = CompiledRunner(network, stored=file_weights)     # the bits that a file holds, unchanged
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from lmworks.basics import progress
from lmworks.basics.arrays import Float
from lmworks.basics.errors import ConfigError, LmworksError
from lmworks.kernels.adapters import PackedAdapter
from lmworks.kernels.coverage import too_large, unavailable, uncovered
from lmworks.kernels.keeping import Keeper, Kept
from lmworks.kernels.next_token import drawn, log_total
from lmworks.kernels.packed import Stored
from lmworks.kernels.pages import PAGE, PagedCache, token_bytes
from lmworks.kernels.prefixes import Prefixes
from lmworks.kernels.quantisation import quantisation_of
from lmworks.kernels.text_classifier import TextClassifier
from lmworks.models.config import ModelConfig
from lmworks.models.hearing.config import hears
from lmworks.models.kv_cache import KVCache
from lmworks.models.later_network import LaterNetwork
from lmworks.models.runner import (
    Adapters,
    Interrupt,
    RealTokens,
    Row,
    TokenChoice,
    TokenRows,
    Written,
    must_end_with_tokens,
)
from lmworks.models.seen_vectors import SeenVectors
from lmworks.models.value_each import a_value_each

if TYPE_CHECKING:
    from torch import Tensor

    from lmworks.kernels.run.network import CompiledNetwork
    from lmworks.models.network import Network
    from lmworks.models.runner import Encoded, Mask, Tokens
    from lmworks.models.torch_runner import TorchRunner

MOST_WRITTEN = 128
"""Tokens that a row which guesses by itself writes in one run, unless one guess has more."""


def compiled(
    network: Network, bits: int = 4, stored: Stored | None = None, keeper: Keeper | None = None
) -> CompiledNetwork:
    """A network on its tape, in these bits or in those of a file; a `keeper` keeps what is packed, where the network's
    weights are those of its files. ConfigError where it is not covered."""
    quantisation_of(bits)
    if (reason := uncovered(network) or unavailable() or too_large(network, bits, stored)) is not None:
        raise ConfigError(reason)
    from lmworks.kernels.packer import Packer
    from lmworks.kernels.run.library import library

    library()  # compiled before the weights are packed, for the order in which progress is shown
    packer = Packer(network, bits, stored)
    kept = None if keeper is None else keeper.kept(packer)
    return on_tape(network.config, Kept(packer.matrices(), packer.vectors()) if kept is None else kept, network)


def on_tape(config: ModelConfig, kept: Kept, network: Network | None = None) -> CompiledNetwork:
    """Packed weights on their tape, with the adapters that a network has."""
    from lmworks.kernels.run.network import CompiledNetwork
    from lmworks.kernels.run.weights import Weights

    weights = Weights(config, *kept)
    if network is not None:
        weights.take_adapters(network)
    return CompiledNetwork(weights)


class CompiledRunner:
    """Runs a network on its tape (run/network.py). Where the network is not what the tape was made of (other weights or
    parts, hooks, training), and where a run fails, PyTorch computes instead; the first time it says so."""

    name, device = "compiled", "cpu"

    def __init__(
        self,
        network: Network | LaterNetwork,
        bits: int = 4,
        stored: Stored | None = None,
        keeper: Keeper | None = None,
        kept: Kept | None = None,
    ) -> None:
        """ConfigError where the compiled path does not cover the network. Of packed weights that were `kept`, the
        network itself is not built before somebody asks for it."""
        self._later = network if isinstance(network, LaterNetwork) else LaterNetwork.built(network)
        self.bits = bits
        """Of a weight, at most."""
        if kept is None:
            self.compiled = compiled(self.network, bits, stored, keeper)
        else:
            self.compiled = on_tape(self._later.config, kept)
        self._same, self._failed, self._stood = True, False, True
        self._version = 0
        self._later.when_built(self._look_at)

    def _look_at(self, network: Network) -> None:
        """The network as it is now is what the tape was made of."""
        from lmworks.models.adapted import adapted_layers
        from lmworks.models.hooks import hook_points

        self._made_of = _Look(network)
        self._hooks = [point.functions for point in hook_points(network).values()]
        self._adapted = list(adapted_layers(network).values())
        self._trainings = network.trainings

    def __deepcopy__(self, memo: Any) -> TorchRunner:
        """A copy of a network is made to be changed; it runs in PyTorch until it is compiled."""
        from lmworks.models.torch_runner import TorchRunner

        return TorchRunner(copy.deepcopy(self.network, memo))

    @property
    def network(self) -> Network:
        """The PyTorch definition of what it runs."""
        return self._later.network

    @property
    def config(self) -> ModelConfig:
        """What shapes the network."""
        return self._later.config

    @cached_property
    def plain(self) -> TorchRunner:
        """What computes where the tape does not stand for the network."""
        from lmworks.models.torch_runner import TorchRunner

        return TorchRunner(self.network)

    def evaluating(self) -> contextlib.AbstractContextManager[None]:
        """Without dropout and gradients, where there is a network that PyTorch might run."""
        return self.plain.evaluating() if self._later.is_built else contextlib.nullcontext()

    def stands(self, fresh: bool = True) -> bool:
        """Does the tape compute what the network computes? Weights and parts are compared for each `fresh` text;
        training, hooks, and adapters that are switched, at each step."""
        if not self._later.is_built:  # nobody can have changed it
            return not self._failed
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

    def _runs(self, cache: KVCache | None) -> bool:
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
        """What a cache keeps of one token, in 16 bits."""
        return token_bytes(self.config)

    @property
    def page_tokens(self) -> int | None:
        """Tokens of a page, as long as the tape stands for the network."""
        return PAGE if self.stands(fresh=False) else None

    def own_threads(self, cache: KVCache | None = None) -> bool:
        """Whether the tape runs texts in this cache."""
        return self._stood and (cache is None or isinstance(cache, PagedCache))

    def hidden(
        self,
        tokens: Tokens,
        mask: Mask | None = None,
        cache: KVCache | None = None,
        segments: Tokens | None = None,
        adapter: str | None = None,
    ) -> Float[Tensor, "batch seq dim"]:
        """Hidden states after the last norm, in float32; zeros for padding."""
        from lmworks.models.network import real_tokens

        if self._runs(cache) and self.compiled.knows(tokens, segments):
            with self._or_pytorch():
                real = real_tokens(tokens, mask)
                hidden = self.compiled.hidden(tokens, real, cache, segments, adapter)
                if isinstance(cache, PagedCache):
                    cache.advance(tokens.numpy(), None if real is None else real.numpy())
                return hidden
        return self.plain.hidden(tokens, mask, _for_pytorch(cache), segments, adapter)

    def of_texts(
        self,
        then: Callable[[Any, Any], Any],
        tokens: TokenRows,
        mask: RealTokens,
        segments: TokenRows | None = None,
        adapter: str | None = None,
        exact: bool = False,
    ) -> np.ndarray:
        """What `then` makes of states and mask, both arrays of NumPy."""
        states: np.ndarray | None = None
        real: RealTokens | None = mask
        if self.stands() and self.compiled.knows(tokens, segments):
            with self._or_pytorch():
                ids, real = _rows(tokens, mask)
                states = self.compiled.states(ids, real, None, segments, adapter)
        if states is None:
            return self.plain.of_texts(then, tokens, mask, segments, adapter, exact)
        made: np.ndarray = then(states, real)
        return made

    def classes(
        self,
        tokens: TokenRows,
        mask: RealTokens,
        segments: TokenRows | None = None,
        exact: bool = False,
    ) -> Float[np.ndarray, "batch labels"]:
        """Scores of the classes of texts."""

        def told(states: Any, real: Any) -> Any:
            if not isinstance(states, np.ndarray):  # PyTorch has read them
                return self.network.classify(states.to(self.network.dtype), real)
            if self._classifier is not None:
                return self._classifier(states, real)
            import torch

            given = torch.from_numpy(states).to(self.network.dtype), torch.from_numpy(real)
            return self.network.classify(*given).numpy()

        return self.of_texts(told, tokens, mask, segments, exact=exact)

    @cached_property
    def _classifier(self) -> TextClassifier | None:
        return TextClassifier.of(self.config, self.compiled.weights.vectors)

    def logits(self, hidden: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch vocab"]:
        """Logits of hidden states, in float32."""
        if self.compiled.has_head and self.stands():
            with self._or_pytorch():
                return self.compiled.logits(hidden)
        return self.plain.logits(hidden.to(self.network.dtype))

    def next_logits(
        self, tokens: TokenRows, cache: KVCache, mask: RealTokens | None = None
    ) -> Float[np.ndarray, "batch vocab"]:
        """Logits after the last token of each row, network and head in one run."""
        must_end_with_tokens(mask)
        if self._runs(cache) and isinstance(cache, PagedCache):
            with self._or_pytorch():
                tokens, real = _rows(tokens, mask)
                if not self.compiled.has_head:
                    return self._logits_of_states(tokens, real, cache)
                logits = self.compiled.next_logits(tokens, real, cache)
                cache.advance(tokens, real)
                return logits
        return self.plain.next_logits(tokens, _for_pytorch(cache), mask)

    def _logits_of_states(
        self, tokens: TokenRows, real: RealTokens | None, cache: PagedCache
    ) -> Float[np.ndarray, "batch vocab"]:
        """The network's own head, after the tape."""
        import torch

        mask = None if real is None else torch.from_numpy(real)
        states = self.hidden(torch.from_numpy(tokens), mask, cache)[:, -1]
        return self.logits(states).detach().numpy()

    def read(self, tokens: TokenRows, cache: KVCache, mask: RealTokens | None = None) -> None:
        """Put keys and values of more tokens into the cache; the last block ends with these."""
        if self._runs(cache) and isinstance(cache, PagedCache):
            with self._or_pytorch():
                tokens, real = _rows(tokens, mask)
                self.compiled.take_in(tokens, real, cache)
                cache.advance(tokens, real)
                return
        self.plain.read(tokens, _for_pytorch(cache), mask)

    def encode(self, sources: TokenRows, mask: RealTokens | None = None) -> Encoded:
        """What the decoder's layers attend to of source texts."""
        if self.compiled.encoder is not None and self.stands():
            with self._or_pytorch():
                if hears(self.config):
                    return self.compiled.hear(np.asarray(sources))
                return self.compiled.encode(*_rows(sources, mask))
        return self.plain.encode(sources, mask)

    def can_write(self, cache: KVCache) -> bool:
        """Whether nothing in the network is left to Python between two tokens."""
        return isinstance(cache, PagedCache) and self.compiled.writes(cache) and self.stands(fresh=False)

    def write(self, rows: Sequence[Row], cache: KVCache, rounds: int, interrupt: Interrupt) -> Written:
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
        self, rows: int = 1, capacity: int = 256, memory: Encoded | None = None, adapters: Adapters = None
    ) -> KVCache:
        """An empty cache: pages, as long as the tape stands for the network."""
        if (memory is None or isinstance(memory, PagedCache)) and self.stands():
            return self.compiled.new_cache(rows, adapters, memory)
        return self.plain.new_cache(rows, capacity, _for_pytorch(memory), adapters)

    def take_images(self, seen: SeenVectors) -> None:
        """Read these vectors where a text has ids past the vocabulary."""
        self.compiled.take_images(seen)

    def take_adapters(self, put: Callable[[], None]) -> None:
        """Pack the adapters that are put beside the weights, which stay packed as they are; those that the tape does
        not know have PyTorch run the network."""
        network, stands = self.network, self.stands()
        put()
        if not stands:
            return
        if (reason := uncovered(network)) is None:
            self.compiled.take_adapters(network)
            self._look_at(network)
        else:
            self._same, self._stood, self._version = False, False, self._version + 1
            progress.note(f"PyTorch runs the network from here on, all of its adapters and the base alike: {reason}")

    def put_packed(self, packed: Mapping[str, PackedAdapter], put: Callable[[Network], object]) -> None:
        """Run with an adapter that is packed already and that every row has. The network may not be built yet: when it
        is, `put` puts the adapter on it before anybody else sees it."""
        self.compiled.put_packed(packed)
        self._later.change_first(put)

    def new_prefixes(self, limit: int) -> Prefixes | None:
        """A place for the beginnings of texts; None where a token's keys depend on what follows it."""
        return self.compiled.new_prefixes(limit) if self.stands(fresh=False) else None

    def draw(self, logits: Float[np.ndarray, " vocab"], choice: TokenChoice, uniform: float) -> int | None:
        """The token at a place of the probabilities that the choice leaves."""
        return drawn(logits, choice.factor, choice.top_k, choice.top_p, choice.min_p, uniform)

    def log_total(self, logits: Float[np.ndarray, " vocab"]) -> float | None:
        """log of the sum of e^logit."""
        return log_total(logits)


Held = TypeVar("Held", bound="Encoded | None")


def _for_pytorch(cache: Held) -> Held:
    """ConfigError for a cache of pages."""
    if isinstance(cache, PagedCache):
        cache.refuse()
    return cache


def _rows(tokens: TokenRows, mask: RealTokens | None) -> tuple[TokenRows, RealTokens | None]:
    """Both as arrays. ConfigError for a mask of another shape."""
    tokens, real = np.asarray(tokens), None if mask is None else np.asarray(mask, bool)
    a_value_each(tokens.shape, mask=real)
    return tokens, real


class _Look:
    """A network as it was at one moment: which parts and weights it has, and how often each was written to."""

    def __init__(self, network: Network) -> None:
        from lmworks.models.adapted import AdaptedLinear
        from lmworks.models.unread import mark, peeked

        modules, parameters = list(network.modules()), list(peeked(network).values())
        self.kept = modules, parameters  # what lives has its id to itself
        self.marks = (
            (network.run_block, network.attention_kernel),
            [(id(one), bool(one._forward_hooks or one._forward_pre_hooks)) for one in modules],
            [mark(one) for one in (*parameters, *network.buffers())],
            [(one.scale, one.merged) for one in modules if isinstance(one, AdaptedLinear)],
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Look) and self.marks == other.marks

    __hash__ = None  # type: ignore[assignment]
