"""Sequence: a text that is being written, whoever chooses its tokens."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from lmworks.basics.arrays import Float
from lmworks.generation.distribution import largest
from lmworks.generation.limits import Finish
from lmworks.generation.request import Request
from lmworks.models.runner import Row, RowWritten

if TYPE_CHECKING:
    from torch import Tensor


class RowInput(NamedTuple):
    """What one row of a sequence reads next."""

    row: int
    """Which of the sequence's rows of the step before it continues."""
    tokens: tuple[int, ...]
    """The token that was chosen, and what is guessed to follow it."""
    cut: int = 0
    """Tokens at its end that it forgets first: guesses that were wrong."""


class Token(NamedTuple):
    """A token as the model saw it, before any filter."""

    id: int
    logprob: float | None
    """Natural log-probability; None where it was not asked for, and for a prompt's first token, which nothing
    predicts."""
    top: tuple[tuple[int, float], ...] = ()
    """The most probable tokens in its place and their log-probabilities, the most probable first."""


class Sequence(ABC):
    """What was written for a request so far, and what its rows read next."""

    wants_states: ClassVar[bool] = False
    """Looks at the states after the last norm, too: `observe_prompt`, and `states` at each `observe`."""

    def __init__(self, request: Request) -> None:
        self.request, self.limits = request, request.limits
        self.tokens: list[int] = []
        self.logprobs: list[float] = []
        """Log-probability of each token under the model itself, before the strategy's filters."""
        self.alternatives: list[tuple[tuple[int, float], ...]] = []
        """Those in place of each token, where they were asked for."""
        self.prompt_tokens: list[Token] = []
        """The prompt as the model saw it, where that was asked for."""
        self.text = ""
        self.finish: Finish | None = None
        self.error: Exception | None = None
        """Why it went no further, where that is a fault."""
        self.rows: list[RowInput] = []
        """What its rows read in the next step; none when it is finished."""
        self.states: Float[Tensor, "read dim"] | None = None
        """Those of the tokens that its rows read last, where it wants them."""
        self.reused = 0
        """Tokens of the prompt that lay in the cache already."""
        self.beside = 1
        """Rows of the last step, its own and those of others."""
        self.opening = request.prompt
        """What is read before the next token: the prompt, or what a window that slid keeps of the text."""
        self.opened = 0
        """Tokens that were written before the opening ends."""
        self.slid = 0
        """How often the window slid."""
        self.reads_again = False
        """Its rows are given up, and its opening is read before the next token."""

    @property
    def size(self) -> int:
        """Tokens that are read before the next one is written."""
        return max(len(self.opening), len(self.request.source or ()))

    @property
    def written(self) -> list[int]:
        """The text from the opening on."""
        return [*self.opening, *self.tokens[self.opened :]]

    @property
    @abstractmethod
    def held(self) -> list[list[int]]:
        """The text that each of its `rows` holds before what it reads next."""

    @abstractmethod
    def observe(self, logits: Float[np.ndarray, "read vocab"]) -> str:
        """Go on, given the logits after each token that its rows read; returns the text that can be shown now."""

    def ahead(self, rounds: int, vocabulary: int) -> Row | None:
        """How a runner writes its next tokens without it, in up to this many rounds, for `append`; None where it
        looks at the logits of each."""
        return None

    def append(self, written: RowWritten) -> str:
        """Go on with what a runner wrote; returns the text that can be shown now."""
        raise AssertionError("a sequence that lets a runner write takes what it wrote")

    def observe_prompt(self, states: Float[Tensor, "read dim"]) -> None:  # noqa: B027 (most look at none)
        """States of the prompt's next tokens, where it wants them."""

    def forget_prompt(self) -> None:
        """The prompt will be read from its beginning."""
        self.prompt_tokens.clear()

    def cancel(self) -> None:
        """Nobody wants the rest."""
        self.rows, self.finish = [], "cancelled"


def top_of(logprobs: Float[np.ndarray, " vocab"], count: int) -> tuple[tuple[int, float], ...]:
    """The most probable tokens and their log-probabilities."""
    values, tokens = largest(logprobs, count)
    return tuple(zip(tokens.tolist(), values.tolist(), strict=True))
