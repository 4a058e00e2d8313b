"""DoRA: low-rank updates of the direction of each row of a weight, and a trained length of its own for each row.

    W' = m (W + s B A) / |W + s B A|, row by row

Source: Liu et al. 2024, https://arxiv.org/abs/2402.09353; as there, the length |W + s B A| counts as a constant in
gradients. It is computed without making W + s B A: |W|^2 never changes, and what the update adds to it are products
with matrices of low rank, so that a step costs little more than one of LoRA.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmworks.adaptation.frozen import FrozenLinear
from lmworks.adaptation.lora import LoRALinear, Projection
from lmworks.basics.arrays import Float
from lmworks.models.unread import read_for_now


class DoRALinear(LoRALinear):
    """A frozen linear layer, some of whose parts have an update of low rank and trained lengths of their rows."""

    finds_row_gradients = False  # the lengths' gradients are sums over all rows
    scales_rows = True

    def __init__(self, base: nn.Linear | FrozenLinear, parts: list[Projection], rank: int, scale: float) -> None:
        super().__init__(base, parts, rank, scale)
        self.magnitude = nn.ParameterList(nn.Parameter(torch.empty_like(up[:, 0])) for up in self.up)
        self._squares: Tensor | None = None
        self._used = torch.empty(0)
        """Each row's factor in the last pass by hand: nothing changes it until the way back."""

    def initialise(self, generator: torch.Generator) -> None:
        """As LoRA; the lengths are those of the rows of W."""
        super().initialise(generator)
        with torch.no_grad():
            if not self.down.is_meta:
                with read_for_now(self.base):
                    lengths = self._squared_rows().sqrt()
                for part, magnitude in zip(self.parts, self.magnitude, strict=True):
                    magnitude.copy_(lengths[part.rows])

    def base_changed(self) -> None:
        """Forget the lengths of its rows."""
        self._squares = None

    def own(self) -> list[nn.Parameter]:
        """A, the B's and the lengths."""
        return [*super().own(), *self.magnitude]

    def forward(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        """The layer with its adapters, by ordinary autograd where gradients are wanted."""
        if not self.enabled or self.merged:
            return self.base(x)
        unscaled = self.base(x) if self.base.bias is None else self.base(x) - self.base.bias
        gain = self.gain()
        if torch.is_grad_enabled():
            unscaled = unscaled + self._update(x)
            lengths = gain / self._magnitudes()  # a constant in gradients; the trained length is not
            gain = lengths.detach() * self._magnitudes()
        else:
            down, up = self.copies()
            unscaled = unscaled + F.linear(F.linear(x, down), up)
        y = unscaled * gain.to(x.dtype)
        return y if self.base.bias is None else y + self.base.bias

    def forward_by_hand(self, x: Float[Tensor, "rows inputs"]) -> tuple[Float[Tensor, "rows outputs"], Tensor | None]:
        """The product, and what it was before each row's factor, which the lengths' gradients need."""
        if not self.enabled:
            return super().forward_by_hand(x)
        down, up = self.copies()
        unscaled = self.base.times(x)
        if self.base.bias is not None:
            unscaled.sub_(self.base.bias)
        unscaled.addmm_(torch.mm(x, down.T), up.T)
        self._used = self.gain()
        y = unscaled * self._used.to(x.dtype)
        return y if self.base.bias is None else y.add_(self.base.bias), unscaled

    def backward_by_hand(
        self,
        gradient: Float[Tensor, "rows outputs"],
        x: Float[Tensor, "rows inputs"],
        kept: Float[Tensor, "rows outputs"] | None,
        to_x: bool = True,
    ) -> tuple[Float[Tensor, "rows inputs"] | None, list[Tensor]]:
        """The gradient of x, None unless wanted, and those of the adapters, in the order of `trained`."""
        if kept is None:
            return super().backward_by_hand(gradient, x, kept, to_x)
        gain = self._used
        to_gain = (gradient * kept).sum(0, dtype=self.down.dtype)  # an einsum takes four times as long
        narrow = torch.mm(x, self.copies()[0].T)
        result, gradients = super().backward_by_hand(gradient * gain.to(gradient.dtype), x, narrow, to_x)
        for part, magnitude in zip(self.parts, self.magnitude, strict=True):
            if magnitude.requires_grad:
                gradients.append((to_gain * gain)[part.rows] / magnitude)
        return result, gradients

    @torch.no_grad()
    def delta(self) -> Float[Tensor, "outputs inputs"]:
        """What the layer adds to W, in float32."""
        weight = self.base.weight.float()
        return self.gain()[:, None] * (weight + super().delta()) - weight

    def _magnitudes(self) -> Float[Tensor, " outputs"]:
        """The trained length of each row; 1 for rows without an adapter."""
        magnitudes = self.down.new_ones(self.base.out_features)
        for part, magnitude in zip(self.parts, self.magnitude, strict=True):
            magnitudes[part.rows] = magnitude
        return magnitudes

    @torch.no_grad()
    def gain(self) -> Float[Tensor, " outputs"]:
        """The factor of each row: its trained length by the length of W + s B A; 1 for rows without an adapter."""
        down, up = self.copies()
        with read_for_now(self.base):
            along, down, up = (one.to(self.down.dtype) for one in (torch.mm(self.base.weight, down.T), down, up))
            squares = self._squared_rows() + (up * (2 * along + up @ (down @ down.T))).sum(1)
        gain = torch.ones_like(squares)
        lengths = squares.clamp_min(1e-30).sqrt()
        for part, magnitude in zip(self.parts, self.magnitude, strict=True):
            gain[part.rows] = magnitude / lengths[part.rows]
        return gain

    @torch.no_grad()
    def _squared_rows(self) -> Float[Tensor, " outputs"]:
        """|W|^2 of each row; W is frozen, so once is enough."""
        if self._squares is None:
            self._squares = self.base.weight.to(self.down.dtype).square().sum(1)
        return self._squares
