"""Causal attention in tiles of queries, with a backward of its own: the kernel for training on a CPU.

A tile of queries is multiplied only with the keys that one of them can see: nothing of the future, nothing of an
earlier document. The pattern is made again in the backward instead of being kept. In bfloat16 this takes half
of the time of PyTorch's own kernel, forward and backward (docs/log.md). Equal to the explicit formula: tests/reference.
Shapes: a query tile is [batch x kv_heads, group x tile, head_dim], so that the heads of a group share each product.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from lmworks.basics.arrays import Float, Int
from lmworks.kernels.between import LANES, Kernels, kernels_for
from lmworks.models.config import ModelConfig
from lmworks.models.rotation import Rotation, rotate, rotate_back

LARGEST_TILE, SMALLEST_TILE = 64, 16

Joint = Float[Tensor, "rows joint"]
"""Query, key and value side by side, as the joined projection makes them: rows = batch x seq."""


def tile_of(seq: int) -> int | None:
    """The largest tile that divides the sequence; None where only tiny ones do, and tiles would not pay."""
    return next((tile for tile in range(LARGEST_TILE, SMALLEST_TILE - 1, -1) if seq % tile == 0), None)


class TiledAttention:
    """Rotation and attention for one shape of batch; made once a pass and shared by the layers.

    `positions` restart at 0 where a document begins, which says how far back each token sees. The spans of keys follow
    from them too, or with `by_shape` from window and tile alone, so that compiled code serves every batch of a shape.
    `tile` is the largest that `tile_of` knows unless given.
    """

    def __init__(
        self,
        config: ModelConfig,
        positions: Int[Tensor, "batch seq"],
        window: int | None,
        turn: Rotation | None,
        dtype: torch.dtype,
        by_shape: bool = False,
        tile: int | None = None,
    ) -> None:
        tile = tile or tile_of(positions.shape[1]) or positions.shape[1]
        self.batch, self.seq = positions.shape
        self.heads, self.kv_heads, self.head_dim = config.heads, config.kv_heads, config.head_dim
        self.group, self.tile, self.tiles = self.heads // self.kv_heads, tile, self.seq // tile
        self.as_tiles = (self.tiles, self.batch, self.heads, self.tile, self.head_dim)
        self.as_keys = (1, self.batch, self.kv_heads, self.seq, self.head_dim)
        self.scale, self.key_turn = config.attention_scale or self.head_dim**-0.5, turn
        # The scale of the scores goes into the queries' rotation, which multiplies them anyway.
        self.query_turn: Rotation | None = None
        if turn is not None:
            self.query_turn = (self.per_query(turn[0] * self.scale), self.per_query(turn[1] * self.scale))
        self.masks, self.spans = [], []
        at = torch.arange(self.seq)
        first_seen = at - positions if window is None else torch.maximum(at - positions, at - window + 1)
        for start in range(0, self.seq, tile):
            queries = slice(start, start + tile)
            begin, end = (
                start + 1 - (window or start + 1) if by_shape else int(first_seen[:, queries].min()),
                start + tile,
            )
            begin = max(begin, 0) // tile * tile
            seen = (at[begin:end] <= at[queries, None]) & (at[begin:end] >= first_seen[:, queries, None])
            hidden = torch.zeros(seen.shape, dtype=dtype).masked_fill_(~seen, -torch.inf)
            self.spans.append(slice(begin, end))
            self.masks.append(hidden[:, None, None])  # [batch, 1, 1, tile, keys]

    def per_query(self, table: Float[Tensor, "batch one seq half"]) -> Float[Tensor, "tiles batch one one tile half"]:
        """A rotation table in the layout of the query tiles."""
        split = table.view(-1, self.tiles, self.tile, table.shape[-1]).transpose(0, 1)
        return split[:, :, None, None]

    def columns(self, joint: Joint) -> tuple[Tensor, Tensor, Tensor]:
        """Views of the query [tiles, batch, kv_heads, group, tile, head_dim], key and value [batch, kv_heads, seq,
        head_dim]."""
        apart = joint.view(self.batch, self.seq, -1, self.head_dim)
        query, key, value = apart.split([self.heads, self.kv_heads, self.kv_heads], dim=2)
        tiles = query.unflatten(2, (self.kv_heads, self.group)).unflatten(1, (self.tiles, self.tile))
        return tiles.permute(1, 0, 3, 4, 2, 5), key.transpose(1, 2), value.transpose(1, 2)

    def split(self, joint: Joint) -> tuple[Tensor, Tensor, Tensor]:
        """Rotated query tiles, rotated keys, values; each contiguous."""
        if self.key_turn is not None and (kernels := self._kernels(joint)) is not None:
            query, key = joint.new_empty(self.as_tiles), joint.new_empty(self.as_keys)
            flat_query, flat_key, flat_value = self._parts(joint)
            kernels.turn(flat_query, query, self.key_turn, self.scale)
            kernels.turn(flat_key, key, self.key_turn, 1.0)
            value = flat_value.unflatten(2, (self.kv_heads, -1)).transpose(1, 2).flatten(0, 1)
            return query.view(self.tiles, -1, self.group * self.tile, self.head_dim), key.view(value.shape), value
        query, key, value = self.columns(joint)
        if self.query_turn is None or self.key_turn is None:
            query, key = (query * self.scale).contiguous(), key.contiguous()
        else:
            query, key = rotate(query, self.query_turn), rotate(key, self.key_turn)
        query = query.reshape(self.tiles, -1, self.group * self.tile, self.head_dim)
        return query, key.flatten(0, 1), value.reshape(key.shape).flatten(0, 1)

    def join_gradients(self, query: Tensor, key: Tensor, value: Tensor) -> Joint:
        """The gradient of the joined projection: rotated back, in its own layout."""
        if self.key_turn is not None and (kernels := self._kernels(query)) is not None:
            joint = query.new_empty(self.batch * self.seq, (self.heads + 2 * self.kv_heads) * self.head_dim)
            flat_query, flat_key, flat_value = self._parts(joint)
            kernels.turn(flat_query, query.view(self.as_tiles), self.key_turn, self.scale, back=True)
            kernels.turn(flat_key, key.view(self.as_keys), self.key_turn, 1.0, back=True)
            by_head = value.view(self.batch, self.kv_heads, self.seq, self.head_dim)
            flat_value.unflatten(2, (self.kv_heads, -1)).copy_(by_head.transpose(1, 2))
            return joint
        query = query.view(self.tiles, self.batch, self.kv_heads, self.group, self.tile, self.head_dim)
        key, value = (one.view(self.batch, self.kv_heads, self.seq, self.head_dim) for one in (key, value))
        if self.query_turn is None or self.key_turn is None:
            query = query * self.scale
        else:
            query, key = rotate_back(query, self.query_turn), rotate_back(key, self.key_turn)
        apart = (
            query.permute(1, 0, 4, 2, 3, 5).flatten(1, 2).flatten(2, 3),
            key.transpose(1, 2),
            value.transpose(1, 2),
        )
        return torch.cat(apart, dim=2).reshape(self.batch * self.seq, -1)

    def _kernels(self, states: Tensor) -> Kernels | None:
        """Those that turn heads of this width by tables of the same form, each half of them whole vectors."""
        plain = self.key_turn is not None and all(one.is_contiguous() for one in (states, *self.key_turn))
        if not plain or self.head_dim % (2 * LANES) or self.key_turn[0].dtype != states.dtype:  # type: ignore[index]
            return None
        return kernels_for(states)

    def _parts(self, joint: Joint) -> tuple[Tensor, ...]:
        """Columns of queries, of keys and of values, each [batch, seq, heads x head_dim]."""
        widths = [heads * self.head_dim for heads in (self.heads, self.kv_heads, self.kv_heads)]
        return joint.view(self.batch, self.seq, -1).split(widths, dim=2)

    def heads_of(self, flat: Float[Tensor, "rows heads_dim"]) -> Tensor:
        """A view of [rows, heads x head_dim] in the layout of the query tiles."""
        apart = flat.view(self.batch, self.tiles, self.tile, self.kv_heads, self.group, self.head_dim)
        return apart.permute(1, 0, 3, 4, 2, 5)

    def pattern(self, tile: int, query: Tensor, key: Tensor) -> Float[Tensor, "heads group_tile keys"]:
        """The weights of one tile of queries over the keys of its span."""
        scores = torch.bmm(query, key.mT)
        scores.view(self.batch, self.kv_heads, self.group, self.tile, -1).add_(self.masks[tile])
        return scores.softmax(dim=-1)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Float[Tensor, "rows heads_dim"]:
        """Values mixed by the patterns, back in [rows, heads x head_dim]."""
        parts = []
        for tile, span in enumerate(self.spans):
            # PyTorch's product copies a part of a matrix, in a slow way.
            pattern = self.pattern(tile, query[tile], key[:, span].contiguous())
            part = torch.bmm(pattern, value[:, span].contiguous())
            parts.append(
                part.view(self.batch, self.kv_heads, self.group, self.tile, self.head_dim).permute(0, 3, 1, 2, 4)
            )
        return torch.stack(parts, dim=1).reshape(self.batch * self.seq, -1)

    def backward(self, gradient: Float[Tensor, "rows heads_dim"], query: Tensor, key: Tensor, value: Tensor) -> Joint:
        """From the gradient of the mixed values to that of the joined projection."""
        to_mixed = self.heads_of(gradient).reshape(query.shape)
        tiles = range(self.tiles)
        parts = [self._tile_backward(tile, to_mixed[tile], query[tile], key, value) for tile in tiles]
        del to_mixed
        to_query = torch.stack([part[0] for part in parts])
        to_key, to_value = self.added([part[1] for part in parts]), self.added([part[2] for part in parts])
        del parts
        return self.join_gradients(to_query, to_key, to_value)

    def _tile_backward(
        self, tile: int, to_mixed: Tensor, query: Tensor, key: Tensor, value: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What a tile of queries gives to its own gradient, and to those of keys and values in its span."""
        span = self.spans[tile]
        keys = key[:, span].contiguous()
        pattern = self.pattern(tile, query, keys)
        to_pattern = torch.bmm(to_mixed, value[:, span].contiguous().mT)
        to_scores = torch._softmax_backward_data(to_pattern, pattern, -1, pattern.dtype)
        return torch.bmm(to_scores, keys), torch.bmm(to_scores.mT, query), torch.bmm(pattern.mT, to_mixed)

    def added(self, parts: list[Float[Tensor, "heads span head_dim"]]) -> Float[Tensor, "heads seq head_dim"]:
        """The sum of what each tile's span got, written once, a tile of keys at a time."""
        sums = []
        for start in range(0, self.seq, self.tile):
            own = [
                part[:, start - span.start :][:, : self.tile]
                for part, span in zip(parts, self.spans, strict=True)
                if span.start <= start < span.stop
            ]
            sums.append(functools.reduce(torch.add, own))
        return torch.cat(sums, dim=1)
