"""What the decoding loop runs: an answer that is to be written, whoever chooses its tokens."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor

from lmworks.generation.limits import Finish, Limits


@dataclass
class Request(ABC):
    """An answer in the making, in one row or several."""

    prompt: list[int]
    """What a decoder reads first; of an encoder-decoder the token that opens a target."""
    limits: Limits
    source: list[int] | None = field(default=None, kw_only=True)
    """What the encoder of an encoder-decoder reads."""
    seed: int | None = field(default=None, init=False)
    tokens: list[int] = field(default_factory=list, init=False)
    logprobs: list[float] = field(default_factory=list, init=False)
    """Log-probability of each token under the model itself, before the strategy's filters."""
    text: str = field(default="", init=False)
    finish: Finish | None = field(default=None, init=False)
    rows: list[tuple[int, int]] = field(default_factory=list, init=False)
    """The rows of the next step: which of those before it continues, and the token that it reads."""

    @abstractmethod
    def take(self, logits: Float[Tensor, "rows vocab"]) -> str:
        """Go one token on, given the logits behind each of its rows; return the text that can be shown now."""
