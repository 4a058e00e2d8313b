"""Causal attention in tiles of queries, with a backward of its own: the kernel for training on a CPU.

A tile of queries is multiplied only with the keys that one of them can see: nothing of the future, nothing of an
earlier document. The pattern is made again in the backward instead of being kept. In bfloat16 this takes half
of the time of PyTorch's own kernel, forward and backward (docs/log.md). Equal to the explicit formula: tests/reference.
Shapes: a query tile is [batch x kv_heads, group x tile, head_dim], so that the heads of a group share each product.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lmworks.models.config import ModelConfig
from lmworks.models.positions import Rotation

LARGEST_TILE, SMALLEST_TILE = 64, 16

Joint = Float[Tensor, "rows joint"]
"""Query, key and value side by side, as the joined projection makes them: rows = batch x seq."""


def tile_of(seq: int) -> int | None:
    """The largest tile that divides the sequence; None where only tiny ones do, and tiles would not pay."""
    return next((tile for tile in range(LARGEST_TILE, SMALLEST_TILE - 1, -1) if seq % tile == 0), None)


class TiledAttention:
    """Rotation and attention for one shape of batch; made once a pass and shared by the layers.

    `positions` restart at 0 where a document begins, which says how far back each token sees.
    """

    def __init__(
        self, config: ModelConfig, positions: Int[Tensor, "batch seq"], window: int | None, turn: Rotation, tile: int
    ) -> None:
        self.batch, self.seq = positions.shape
        self.heads, self.kv_heads, self.head_dim = config.heads, config.kv_heads, config.head_dim
        self.group, self.tile, self.tiles = self.heads // self.kv_heads, tile, self.seq // tile
        # The scale of the scores goes into the queries' rotation, which multiplies them anyway.
        scaled = (self.per_query(table * self.head_dim**-0.5) for table in turn)
        self.query_turn, self.key_turn = tuple(scaled), turn
        self.masks, self.spans = [], []
        at = torch.arange(self.seq)
        first_seen = at - positions if window is None else torch.maximum(at - positions, at - window + 1)
        for start in range(0, self.seq, tile):
            queries = slice(start, start + tile)
            begin, end = int(first_seen[:, queries].min()), start + tile
            seen = (at[begin:end] <= at[queries, None]) & (at[begin:end] >= first_seen[:, queries, None])
            hidden = torch.zeros(seen.shape, dtype=turn[0].dtype).masked_fill_(~seen, -torch.inf)
            self.spans.append(slice(begin, end))
            self.masks.append(hidden[:, None, None])  # [batch, 1, 1, tile, keys]

    def per_query(self, table: Float[Tensor, "batch one seq half"]) -> Float[Tensor, "tiles batch one one tile half"]:
        """A rotation table in the layout of the query tiles."""
        split = table.view(-1, self.tiles, self.tile, table.shape[-1]).transpose(0, 1)
        return split[:, :, None, None]

    def columns(self, joint: Joint) -> tuple[Tensor, Tensor, Tensor]:
        """Views of the query [tiles, batch, kv_heads, group, tile, head_dim], key and value [batch, kv_heads, seq, head_dim]."""
        apart = joint.view(self.batch, self.seq, -1, self.head_dim)
        query, key, value = apart.split([self.heads, self.kv_heads, self.kv_heads], dim=2)
        tiles = query.unflatten(2, (self.kv_heads, self.group)).unflatten(1, (self.tiles, self.tile))
        return tiles.permute(1, 0, 3, 4, 2, 5), key.transpose(1, 2), value.transpose(1, 2)

    def split(self, joint: Joint) -> tuple[Tensor, Tensor, Tensor]:
        """Rotated query tiles, rotated keys, values; each contiguous."""
        views = self.columns(joint)
        query, key, value = (torch.empty(view.shape, dtype=joint.dtype) for view in views)
        _rotate_into(query, views[0], *self.query_turn)
        _rotate_into(key, views[1], *self.key_turn)
        value.copy_(views[2])
        return query.view(self.tiles, -1, self.group * self.tile, self.head_dim), key.flatten(0, 1), value.flatten(0, 1)

    def join_gradients(self, query: Tensor, key: Tensor, value: Tensor) -> Joint:
        """The gradient of the joined projection: rotated back, in its own layout."""
        width = (self.heads + 2 * self.kv_heads) * self.head_dim
        joint = torch.empty(self.batch * self.seq, width, dtype=query.dtype)
        views = self.columns(joint)
        cos, sin = self.query_turn
        _rotate_into(views[0], query.view(views[0].shape), cos, -sin)
        cos, sin = self.key_turn
        _rotate_into(views[1], key.view(views[1].shape), cos, -sin)
        views[2].copy_(value.view(views[2].shape))
        return joint

    def heads_of(self, flat: Float[Tensor, "rows heads_dim"]) -> Tensor:
        """A view of [rows, heads x head_dim] in the layout of the query tiles."""
        apart = flat.view(self.batch, self.tiles, self.tile, self.kv_heads, self.group, self.head_dim)
        return apart.permute(1, 0, 3, 4, 2, 5)

    def pattern(self, tile: int, query: Tensor, key: Tensor) -> Float[Tensor, "heads group_tile keys"]:
        """The weights of one tile of queries over the keys of its span."""
        scores = torch.bmm(query[tile], key[:, self.spans[tile]].mT)
        scores.view(self.batch, self.kv_heads, self.group, self.tile, -1).add_(self.masks[tile])
        return torch.softmax(scores, dim=-1, out=scores)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Float[Tensor, "rows heads_dim"]:
        """Values mixed by the patterns, back in [rows, heads x head_dim]."""
        mixed = torch.empty(self.batch * self.seq, self.heads * self.head_dim, dtype=query.dtype)
        view = self.heads_of(mixed)
        for tile, span in enumerate(self.spans):
            part = torch.bmm(self.pattern(tile, query, key), value[:, span])
            view[tile].copy_(part.view(view[tile].shape))
        return mixed

    def backward(self, gradient: Float[Tensor, "rows heads_dim"], query: Tensor, key: Tensor, value: Tensor) -> Joint:
        """From the gradient of the mixed values to that of the joined projection."""
        to_mixed = self.heads_of(gradient).contiguous().view(query.shape)
        to_query, to_key, to_value = torch.empty_like(query), torch.zeros_like(key), torch.zeros_like(value)
        for tile, span in enumerate(self.spans):
            pattern = self.pattern(tile, query, key)
            to_value[:, span].add_(torch.bmm(pattern.mT, to_mixed[tile]))
            to_scores = torch.bmm(to_mixed[tile], value[:, span].mT)
            torch._softmax_backward_data(to_scores, pattern, -1, pattern.dtype, grad_input=to_scores)
            torch.bmm(to_scores, key[:, span], out=to_query[tile])
            to_key[:, span].add_(torch.bmm(to_scores.mT, query[tile]))
        return self.join_gradients(to_query, to_key, to_value)


def _rotate_into(out: Tensor, x: Tensor, cos: Tensor, sin: Tensor) -> None:
    """out = x rotated, without temporaries: both [..., head_dim], of any strides."""
    first, second = x.chunk(2, dim=-1)
    out_first, out_second = out.chunk(2, dim=-1)
    torch.mul(first, cos, out=out_first).addcmul_(second, sin, value=-1)
    torch.mul(second, cos, out=out_second).addcmul_(first, sin)
