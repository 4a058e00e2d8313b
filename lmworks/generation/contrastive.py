"""Contrastive search: of the likeliest tokens the one that says something new, without drawing.

    model.generate("Once upon a time", Contrastive(top_k=4, alpha=0.6))

Each of the `top_k` likeliest tokens v is read in a row of its own. The one with the largest

    (1 - alpha) p(v) - alpha max_j cos(h_v, h_j)

is taken, where h_v is its state after the last norm and h_j are those of the prompt and the answer so far.
Source: Su et al. 2022, https://arxiv.org/abs/2202.06417, section 3.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from lmworks.basics.arrays import Float
from lmworks.generation.distribution import largest, probabilities
from lmworks.generation.request import Request
from lmworks.generation.sequence import RowInput
from lmworks.generation.strategies import Contrastive
from lmworks.generation.token_sequence import TokenSequence
from lmworks.models.runner import Sampler

if TYPE_CHECKING:
    from torch import Tensor


class ContrastiveSequence(TokenSequence):
    """A text by contrastive search; a row for each candidate."""

    wants_states: ClassVar[bool] = True

    def __init__(self, request: Request, sampler: Sampler | None = None) -> None:
        super().__init__(request, sampler)
        self._seen: list[Float[np.ndarray, "read dim"]] = []
        """Of length one: the states of the text so far."""
        self._candidates: list[int] = []
        self._chances: Float[np.ndarray, " candidates"] = np.empty(0, np.float32)
        self._before: Float[np.ndarray, " vocab"] = np.empty(0, np.float32)
        """The logits that the candidates are from."""

    @property
    def strategy(self) -> Contrastive:
        """Its settings."""
        assert isinstance(self.request.strategy, Contrastive)
        return self.request.strategy

    @property
    def held(self) -> list[list[int]]:
        """The whole text in each row, whose candidate comes next."""
        return [self.written for _ in self.rows]

    def observe_prompt(self, states: Float[Tensor, "read dim"]) -> None:
        """States of the prompt's next tokens."""
        self._seen.append(_of_length_one(states))

    def forget_prompt(self) -> None:
        """States that were seen, too."""
        super().forget_prompt()
        self._seen.clear()

    def observe(self, logits: Float[np.ndarray, "rows vocab"]) -> str:
        """Take one of the candidates that were read, and find the next ones."""
        row, shown = 0, ""
        if self._candidates:
            assert self.states is not None
            states = _of_length_one(self.states)
            alike = (states @ np.concatenate(self._seen).T).max(axis=1)
            row = int(((1 - self.strategy.alpha) * self._chances - self.strategy.alpha * alike).argmax())
            shown = self._write(self._candidates[row], self._before)
            self.chooser.append(self._candidates[row])
            self._seen.append(states[row : row + 1])
        self.rows = []
        if self.finish is None:
            self._before = logits[row]
            chances, tokens = largest(probabilities(self.chooser.adjusted(self._before), 1.0), self.strategy.top_k)
            self._candidates, self._chances = tokens[chances > 0].tolist(), chances[chances > 0]
            self.rows = [RowInput(row, (token,)) for token in self._candidates]
        return shown


def _of_length_one(states: Float[Tensor, "read dim"]) -> Float[np.ndarray, "read dim"]:
    found = states.float().cpu().numpy()
    return found / np.linalg.norm(found, axis=-1, keepdims=True).clip(min=1e-12)
