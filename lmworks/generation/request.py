"""What the decoding loop runs: an answer that is to be written, whoever chooses its tokens."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

from jaxtyping import Float
from torch import Tensor

from lmworks.generation.limits import Finish, Limits
from lmworks.kernels.next_token import Choice


class Read(NamedTuple):
    """What one row does next."""

    row: int
    """Which of the request's rows of the step before it continues."""
    tokens: tuple[int, ...]
    """What it reads: the token that was chosen, and what is guessed to follow it."""
    cut: int = 0
    """Tokens at its end that it forgets first: guesses that were wrong."""


class Asked(NamedTuple):
    """Log-probabilities that are wanted besides the tokens."""

    top: int = 0
    """So many likeliest tokens beside each that was written."""
    prompt: bool = False
    """Those of the prompt's tokens, too."""
    written: bool = True
    """Those of the tokens that are written; 0.07 ms a token for a vocabulary of 49,152."""


class Token(NamedTuple):
    """A token as the model saw it, before any filter."""

    id: int
    logprob: float | None
    """Natural log-probability; None where it was not asked for, and for a prompt's first token, which nothing predicts."""
    top: tuple[tuple[int, float], ...] = ()
    """The likeliest tokens in its place and their log-probabilities, the likeliest first."""


@dataclass
class Request(ABC):
    """An answer in the making, in one row or several."""

    wants_states: ClassVar[bool] = False
    """Looks at the states behind the last norm, too: `saw_prompt`, and `states` at each `take`."""

    prompt: list[int]
    """What a decoder reads first; of an encoder-decoder the token that opens a target."""
    limits: Limits
    source: list[int] | None = field(default=None, kw_only=True)
    """What the encoder of an encoder-decoder reads."""
    asked: Asked = field(default=Asked(), kw_only=True)
    seed: int | None = field(default=None, init=False)
    tokens: list[int] = field(default_factory=list, init=False)
    logprobs: list[float] = field(default_factory=list, init=False)
    """Log-probability of each token under the model itself, before the strategy's filters."""
    alternatives: list[tuple[tuple[int, float], ...]] = field(default_factory=list, init=False)
    """Of each token, where `asked.top` is not 0."""
    prompt_tokens: list[Token] = field(default_factory=list, init=False)
    """The prompt as the model saw it, where `asked.prompt`."""
    text: str = field(default="", init=False)
    finish: Finish | None = field(default=None, init=False)
    error: Exception | None = field(default=None, init=False)
    """Why it went no further, where that is a fault."""
    rows: list[Read] = field(default_factory=list, init=False)
    """The rows of the next step; none when it is finished."""
    standing: object = field(default=None, init=False)
    """That of the compiled path when its prompt began to be read."""
    reused: int = field(default=0, init=False)
    """Tokens of the prompt that lay in the cache already."""
    beside: int = field(default=1, init=False)
    """Rows of the last step, its own and those of others."""
    opening: list[int] = field(default_factory=list, init=False)
    """What is read before the next token: the prompt, or what a window that slid keeps of the text."""
    opened: int = field(default=0, init=False)
    """Tokens that were written before the opening ends."""
    slid: int = field(default=0, init=False)
    """How often the window slid."""
    reads_again: bool = field(default=False, init=False)
    """Its rows are given up, and its opening is read before the next token."""

    def __post_init__(self) -> None:
        self.opening = self.prompt

    @property
    def held(self) -> list[int]:
        """The text that its row holds, or will hold with the next token."""
        return [*self.opening, *self.tokens[self.opened :]]

    states: Float[Tensor, "read dim"] | None = field(default=None, init=False)
    """Those of the tokens that its rows read last, where it wants them."""

    @property
    def most_rows(self) -> int:
        """The rows that it has at once."""
        return 1

    @property
    def size(self) -> int:
        """Tokens that are read before the first is written."""
        return max(len(self.opening), len(self.source or ()))

    @abstractmethod
    def take(self, logits: Float[Tensor, "read vocab"]) -> str:
        """Go on, given the logits behind each token that its rows read; return the text that can be shown now."""

    def by_kernels(self, vocabulary: int) -> Choice | None:
        """How the kernels write its next tokens, for `wrote` to take; None where it wants to look at the logits of each."""
        return None

    def saw_prompt(self, states: Float[Tensor, "read dim"]) -> None:  # noqa: B027 (most look at none)
        """States of the prompt's next tokens, where it wants them."""

    def cancel(self) -> None:
        """Nobody wants the rest."""
        self.rows, self.finish = [], "cancelled"


def top_of(logprobs: Float[Tensor, " vocab"], count: int) -> tuple[tuple[int, float], ...]:
    """The likeliest tokens and their log-probabilities."""
    best = logprobs.topk(min(count, len(logprobs)))
    return tuple(zip(best.indices.tolist(), best.values.tolist(), strict=True))
