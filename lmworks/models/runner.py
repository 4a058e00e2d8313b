"""Runner: what a network can be asked, whoever computes it: PyTorch (`torch_runner.py`) or the compiled path
(`lmworks.kernels`).

    cache = runner.new_cache(rows=2)
    runner.read(prompts, cache)                     # keys and values alone
    logits = runner.next_logits(tokens, cache)      # [rows, vocab]

What writes or embeds hands arrays of NumPy to a runner and gets some, as the compiled path needs no PyTorch; states
(`hidden`) and their `logits` are tensors. A runner gives no gradients and expects the network in evaluation mode.
Whoever calls `network(...)` itself gets PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from lmworks.basics.arrays import Bool, Float, Int
from lmworks.basics.errors import ConfigError
from lmworks.models.config import ModelConfig
from lmworks.models.kv_cache import KVCache
from lmworks.models.lookup import PromptLookup
from lmworks.models.seen_vectors import SeenVectors

if TYPE_CHECKING:  # the compiled path runs without PyTorch
    from torch import Tensor

    from lmworks.models.memory import Memory
    from lmworks.models.network import Network

    Tokens = Int[Tensor, "batch seq"]
    Mask = Bool[Tensor, "batch seq"]
    """True on tokens, False on padding."""
    Encoded = Memory | KVCache
    """What was made of sources: PyTorch's, or the compiled path's."""
TokenRows = Int[np.ndarray, "batch seq"]
RealTokens = Bool[np.ndarray, "batch seq"]
"""True on tokens, False on padding."""
Adapters = Sequence[str | None] | None
"""The adapter of each row by its name, None for the base; None where no row has one."""
Interrupt = Int[np.ndarray, "one"]
"""Any thread may set it to 1, and the runner stops writing ahead with the token that it is writing."""


class TokenChoice(NamedTuple):
    """How the next tokens of a row are chosen from their logits."""

    factor: float = 0.0
    """Logits are multiplied by it before their softmax (1 / temperature); 0 for the most probable token."""
    top_k: int = 0
    """Keep this many; 0 for all."""
    top_p: float = 1.0
    min_p: float = 0.0
    logprobs: bool = False
    """Whether log-probabilities are wanted."""
    ends: np.ndarray = np.zeros(0, np.int64)
    """int64: tokens that end the text."""
    forbidden: int = 0
    """The next tokens, as many as this, are none of `ends`."""

    def after(self, tokens: int) -> TokenChoice:
        """The choice of the token that follows this many."""
        return self._replace(forbidden=max(self.forbidden - tokens, 0)) if self.forbidden else self


class Row(NamedTuple):
    """A row of a cache that goes on by itself."""

    tokens: Sequence[int]
    """What it reads first: the token that was chosen last, and what is guessed to follow it."""
    choice: TokenChoice
    uniforms: Sequence[float]
    """Random numbers from 0 to 1, one for each token that it may write: as many tokens as these at most."""
    lookup: PromptLookup | None = None
    """What it guesses by; followed where it is the only row."""


class RowWritten(NamedTuple):
    """What one row wrote."""

    tokens: list[int]
    """The text goes on with these: after guesses, up to the first that differs. -1 at the end for one that the
    caller chooses."""
    logprobs: list[float]
    """Of each, where they were asked for; in place of -1, what is added to the logit of the token that is
    chosen."""
    logits: Float[np.ndarray, " vocab"] | None = None
    """Those to choose from in place of -1; minus infinity for ends that are forbidden."""
    guessed: int = 0
    """Guesses that were read."""
    accepted: int = 0
    """Of them, those that were right."""


class Written(NamedTuple):
    """What rows wrote ahead."""

    rows: list[RowWritten]
    rounds: int
    """How often the network was run."""


class Prefixes(Protocol):
    """Beginnings of texts, kept so that a text which begins alike need not read them again."""

    def begin(self, cache: KVCache, row: int, tokens: Sequence[int]) -> int:
        """Begin an empty row with what is kept of these tokens' beginning, read by the row's adapter; returns how many
        of them it then holds."""

    def keep(self, cache: KVCache, row: int, tokens: Sequence[int]) -> None:
        """Keep the beginning of a row that holds these tokens (or more, or fewer)."""

    def next_missing(self, tokens: Sequence[int], adapter: str | None = None) -> Sequence[int]:
        """The tokens up to the end of the first part that is not kept, as this adapter reads them."""

    def bytes_with(self, caches: Sequence[KVCache]) -> int:
        """Memory of what is kept and of these caches; what they share counts once."""


class Sampler(Protocol):
    """Chooses from one row of logits."""

    def draw(self, logits: Float[np.ndarray, " vocab"], choice: TokenChoice, uniform: float) -> int | None:
        """The token at the place `uniform` (0 to 1) of the probabilities that the choice leaves, laid end to end.
        None where the caller has to do it."""

    def log_total(self, logits: Float[np.ndarray, " vocab"]) -> float | None:
        """log of the sum of e^logit; None likewise."""


class Runner(Sampler, Protocol):
    """Computes what a network computes; the compiled path within the error of its number format."""

    @property
    def network(self) -> Network:
        """The PyTorch definition of what it runs; built when somebody asks, where only packed weights were read."""

    @property
    def config(self) -> ModelConfig:
        """What shapes the network."""

    def evaluating(self) -> AbstractContextManager[None]:
        """No dropout inside the block and no gradients, where PyTorch may compute."""

    @property
    def device(self) -> str:
        """Where it computes: "cpu", "cuda"."""

    @property
    def name(self) -> str:
        """What computes: "PyTorch" or "compiled"."""

    @property
    def weights_version(self) -> int:
        """Changes whenever cached keys and values become invalid."""

    @property
    def token_bytes(self) -> int:
        """Keys and values of one token, in bytes."""

    @property
    def page_tokens(self) -> int | None:
        """Where rows of a cache share what they have in common: tokens of a page, which a row has for itself at least.
        None where each row holds all of its tokens."""

    def own_threads(self, cache: KVCache | None = None) -> bool:
        """Whether texts in this cache (None: texts without one) run on threads of its own; then PyTorch takes one
        beside them."""

    def hidden(
        self,
        tokens: Tokens,
        mask: Mask | None = None,
        cache: KVCache | None = None,
        segments: Tokens | None = None,
        adapter: str | None = None,
    ) -> Float[Tensor, "batch seq dim"]:
        """Hidden states after the last norm; `segments` numbers the text that each token belongs to (BERT), and the
        `adapter` is that of all texts where there is no cache. ConfigError for an adapter that does not exist."""

    def of_texts(
        self,
        then: Callable[[Any, Any], Any],
        tokens: TokenRows,
        mask: RealTokens,
        segments: TokenRows | None = None,
        adapter: str | None = None,
        exact: bool = False,
    ) -> np.ndarray:
        """Read texts without a cache and return `then(states, mask)` in float32. `then` works where the states are: it
        gets NumPy's arrays on the compiled path, tensors in PyTorch. With `exact` PyTorch multiplies float32 weights in
        float32, and not in the processor's fast format. The rest is as in `hidden`."""

    def classes(
        self,
        tokens: TokenRows,
        mask: RealTokens,
        segments: TokenRows | None = None,
        exact: bool = False,
    ) -> Float[np.ndarray, "batch labels"]:
        """Scores of the classes of texts without a cache, in float32, by the network's classifier; `exact` as in
        `of_texts`. ConfigError for a network without one."""

    def logits(self, hidden: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch vocab"]:
        """Logits of hidden states, in float32."""

    def next_logits(
        self, tokens: TokenRows, cache: KVCache, mask: RealTokens | None = None
    ) -> Float[np.ndarray, "batch vocab"]:
        """Logits after the last token of each row, in float32; the cache holds what comes before. ConfigError for
        padding on the right: the last column would be none of the text."""

    def read(self, tokens: TokenRows, cache: KVCache, mask: RealTokens | None = None) -> None:
        """Put keys and values of more tokens into the cache, and nothing else."""

    def encode(self, sources: TokenRows, mask: RealTokens | None = None) -> Encoded:
        """What an encoder-decoder attends to of source texts, for `new_cache`. ConfigError for a network without a
        second stack."""

    def can_write(self, cache: KVCache) -> bool:
        """Whether `write` works on this cache."""

    def write(self, rows: Sequence[Row], cache: KVCache, rounds: int, interrupt: Interrupt) -> Written:
        """Read what each row begins with, choose the next token of each, read that, and so on: as many as `rounds`
        times, until a row comes to its end, to a token that the caller has to choose, or to its last random number,
        or `interrupt` is 1. Rows with guesses keep those that are right. Several rows with guesses take one round."""

    def new_cache(
        self, rows: int = 1, capacity: int = 256, memory: Encoded | None = None, adapters: Adapters = None
    ) -> KVCache:
        """An empty cache with room for `capacity` tokens before it grows; of an encoder-decoder, with what `encode`
        made of the sources. `adapters` names the adapter that reads each row; ConfigError for one
        that does not exist."""

    def take_adapters(self, put: Callable[[], None]) -> None:
        """Have adapters put beside the network's weights, and run with them, too; what caches hold stays."""

    def take_images(self, seen: SeenVectors) -> None:
        """Read these vectors where a text has ids past the vocabulary."""

    def new_prefixes(self, limit: int) -> Prefixes | None:
        """A place for the beginnings of texts, in at most `limit` bytes; None where it keeps none. What it holds is
        for one `weights_version`."""


def must_end_with_tokens(mask: RealTokens | None) -> None:
    """ConfigError where a row ends with padding."""
    if mask is not None and not bool(mask[:, -1].all()):
        raise ConfigError("a row ends with padding, and has no last token there; put the padding on the left")


def no_adapter(name: str, known: Sequence[str]) -> ConfigError:
    """What is said of a name that is none: the base's output would be wrong, and nobody would see it."""
    there = (
        f"there is {' and '.join(known)}" if known else "none stands beside the model (lm.add_adapter puts one there)"
    )
    return ConfigError(f"there is no adapter {name!r}; {there}")


def prompt_alone(name: str) -> ConfigError:
    """What is said of a trained prompt beside a network where only texts that are written or scored can begin with
    one."""
    return ConfigError(
        f"the adapter {name!r} is a trained prompt, with which texts are written and scored; load it by itself for this"
    )


def of_each_row(adapters: Adapters, rows: int) -> list[str | None]:
    """The name of each row's adapter; ConfigError unless there is one for each row."""
    if adapters is None:
        return [None] * rows
    if len(adapters) != rows:
        raise ConfigError(f"there are {len(adapters)} adapters for {rows} rows; name one for each row, or None")
    return list(adapters)
