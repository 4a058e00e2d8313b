"""How the next token is chosen: Greedy, Sample.

Sample(temperature=0.8, top_p=0.95, seed=7).order
('temperature 0.8', 'top_p 0.95')
"""

from __future__ import annotations

import secrets
from typing import Any

import torch
from jaxtyping import Float, Int
from pydantic import Field, field_validator
from torch import Tensor

from lmworks.basics.config import Config
from lmworks.basics.errors import ConfigError
from lmworks.generation.filters import (
    Probabilities,
    draw,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    penalise_repetition,
    probabilities,
    renormalise,
)


class Strategy(Config):
    """Chooses tokens one by one. `start` gives a request its own chooser, which owns its random numbers."""

    repetition_penalty: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """Above 1, tokens that occurred already (prompt included) become less likely; 1 for off."""

    def distribution(self, logits: Float[Tensor, " vocab"], seen: Int[Tensor, " seen"] | None = None) -> Probabilities:
        """The probabilities that the next token is chosen from."""
        raise AssertionError("a strategy defines its distribution")

    @property
    def order(self) -> tuple[str, ...]:
        """The steps from logits to distribution, in the order in which they are done."""
        return (f"repetition_penalty {self.repetition_penalty:g}",) if self.repetition_penalty != 1.0 else ()

    def start(self) -> Chooser:
        """A chooser for one request."""
        return Chooser(self, None)


class Greedy(Strategy):
    """Always the most probable token."""

    def distribution(self, logits: Float[Tensor, " vocab"], seen: Int[Tensor, " seen"] | None = None) -> Probabilities:
        """All on the most probable token."""
        return probabilities(_penalised(self, logits, seen), 0.0)

    @property
    def order(self) -> tuple[str, ...]:
        """The steps, in order."""
        return (*super().order, "most probable")


class Sample(Strategy):
    """A token by its probability, after temperature and filters in the order of `order`."""

    temperature: float = Field(default=1.0, ge=0)
    """Divides the logits: below 1 sharper, above 1 flatter; 0 for the most probable token."""

    top_k: int | None = Field(default=None, gt=0)
    """Keep the k most probable tokens."""

    top_p: float | None = Field(default=None, gt=0, le=1)
    """Keep the fewest most probable tokens that reach this probability together."""

    min_p: float | None = Field(default=None, ge=0, le=1)
    """Keep tokens at least this many times as probable as the most probable one."""

    seed: int | None = Field(default=None, ge=0, lt=2**63)
    """Same seed, same text, whatever else runs; None for a fresh one each time."""

    @field_validator("temperature", "top_p", "min_p")
    @classmethod
    def _finite(cls, value: Any) -> Any:
        if value is not None and not value < float("inf"):
            raise ConfigError(f"a sampling setting is {value}; give a finite number")
        return value

    @property
    def order(self) -> tuple[str, ...]:
        """The steps, in order."""
        steps = [f"temperature {self.temperature:g}"]
        steps += [
            f"{name} {value:g}" for name in ("top_k", "top_p", "min_p") if (value := getattr(self, name)) is not None
        ]
        return (*super().order, *steps)

    def distribution(self, logits: Float[Tensor, " vocab"], seen: Int[Tensor, " seen"] | None = None) -> Probabilities:
        """Penalty, temperature, top-k, top-p, min-p; each filter sees probabilities that sum to one."""
        p = probabilities(_penalised(self, logits, seen), self.temperature)
        if self.top_k is not None:
            p = renormalise(keep_top_k(p, self.top_k))
        if self.top_p is not None:
            p = renormalise(keep_top_p(p, self.top_p))
        if self.min_p is not None:
            p = renormalise(keep_min_p(p, self.min_p))
        return p

    def start(self) -> Chooser:
        """A chooser with random numbers of its own, so that requests don't disturb each other."""
        return Chooser(self, secrets.randbelow(2**31) if self.seed is None else self.seed)


class Chooser:
    """A strategy at work on one request: its random numbers and the tokens seen so far."""

    def __init__(self, strategy: Strategy, seed: int | None) -> None:
        self.strategy, self.seed = strategy, seed
        self._generator = torch.Generator().manual_seed(seed) if seed is not None else None
        self._seen: set[int] = set()

    def saw(self, tokens: list[int]) -> None:
        """Tokens of the prompt or the answer, for the repetition penalty."""
        if self.strategy.repetition_penalty != 1.0:
            self._seen.update(tokens)

    def choose(self, logits: Float[Tensor, " vocab"]) -> int:
        """The next token."""
        seen = torch.tensor(sorted(self._seen)) if self._seen else None
        if self._generator is None:
            token = int(_penalised(self.strategy, logits, seen).argmax())
        else:
            token = draw(self.strategy.distribution(logits, seen), self._generator)
        self.saw([token])
        return token


def _penalised(strategy: Strategy, logits: Tensor, seen: Tensor | None) -> Tensor:
    if seen is None or strategy.repetition_penalty == 1.0:
        return logits
    return penalise_repetition(logits, seen, strategy.repetition_penalty)
