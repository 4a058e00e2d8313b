"""What an encoder made of a source text, for a decoder to attend to."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Keys = Float[Tensor, "batch kv_heads source head_dim"]


class Memory:
    """An encoder's states of a source text, and the keys and values that a decoder's layers made of them."""

    def __init__(self, states: Float[Tensor, "batch source dim"], real: Bool[Tensor, "batch source"] | None) -> None:
        self.states, self.real = states, real
        self._projected: dict[int, tuple[Keys, Keys]] = {}

    def projected(self, layer: int, make: Callable[[Tensor], tuple[Keys, Keys]]) -> tuple[Keys, Keys]:
        """The keys and values of a layer, made once; with gradients they are made anew, for the next graph."""
        if torch.is_grad_enabled():
            return make(self.states)
        if layer not in self._projected:
            self._projected[layer] = make(self.states)
        return self._projected[layer]

    def keep(self, rows: Int[Tensor, " rows"]) -> Memory:
        """These rows, in this order (beams of one source, requests that go on)."""
        kept = Memory(self.states[rows], None if self.real is None else self.real[rows])
        kept._projected = {layer: (key[rows], value[rows]) for layer, (key, value) in self._projected.items()}
        return kept
