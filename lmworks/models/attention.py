"""Attention: softmax(Q K^T / sqrt(d)) V, in one function with several kernels, and the layer around it.

Source: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.2; grouped queries: Ainslie et al. 2023,
https://arxiv.org/abs/2305.13245.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmworks.basics.arrays import Bool, Float, Int
from lmworks.basics.errors import ConfigError
from lmworks.models.cache import Cache
from lmworks.models.config import ModelConfig
from lmworks.models.dropout import dropped
from lmworks.models.hooks import HookPoint
from lmworks.models.linear import Linear
from lmworks.models.masks import Visibility
from lmworks.models.memory import Memory
from lmworks.models.norm import make_head_norm
from lmworks.models.positions.encoding import encoding_of
from lmworks.models.precision import quicker_in_float32
from lmworks.models.rotation import Rotation, rotate

Kernel = Literal["fused", "explicit"]
"""explicit: the formula, step by step; fused: the fastest way that there is for the case (see `kernel_of`)."""
SHORT = 128
"""Queries of a row up to which the formula trains faster in bfloat16 on a CPU."""

Queries = Float[Tensor, "batch heads seq head_dim"]
Keys = Float[Tensor, "batch kv_heads keys head_dim"]
Pattern = Float[Tensor, "batch heads seq keys"]
Sinks = Float[Tensor, " heads"]


def attention_scores(
    query: Queries, key: Keys, sees: Visibility, scale: float | None = None, cap: float | None = None
) -> Pattern:
    """Dot products times `scale` (1 / root of head_dim unless given), softly kept below `cap` where it is given, plus
    the bias where there is one; minus infinity where a query does not see a key. Heads of a group share their key."""
    batch, heads, seq, head_dim = query.shape
    grouped = query.reshape(batch, key.shape[1], -1, head_dim)
    scores = (grouped @ key.mT * (scale or head_dim**-0.5)).view(batch, heads, seq, -1)
    if cap is not None:
        scores = cap * torch.tanh(scores / cap)
    if sees.bias is not None:
        return scores + sees.bias
    if sees.mask is None and not sees.causal:
        return scores
    return scores.masked_fill(~sees.dense(seq, key.shape[2], query.device), -torch.inf)


def attention_pattern(scores: Pattern, sinks: Sinks | None = None) -> Pattern:
    """Each query's weights over the keys: softmax, in float32 at least (16 bits overflow and lose small weights).

    A head's sink is one more score whose weight goes nowhere, so that the others may sum to less than 1 (Xiao et al.
    2023, https://arxiv.org/abs/2309.17453).
    """
    exact = torch.promote_types(scores.dtype, torch.float32)
    if sinks is None:
        return scores.softmax(dim=-1, dtype=exact).to(scores.dtype)
    joined = torch.cat([scores, sinks[:, None, None].expand(*scores.shape[:3], 1).to(scores.dtype)], dim=-1)
    return joined.softmax(dim=-1, dtype=exact)[..., :-1].to(scores.dtype)


def mix(pattern: Pattern, value: Keys) -> Queries:
    """Values averaged with the pattern's weights; heads of a group share their value."""
    batch, heads, seq, keys = pattern.shape
    grouped = pattern.reshape(batch, value.shape[1], -1, keys)
    return (grouped @ value).view(batch, heads, seq, -1)


def attend(
    query: Queries,
    key: Keys,
    value: Keys,
    sees: Visibility,
    kernel: Kernel = "fused",
    dropout: float = 0.0,
    scale: float | None = None,
    cap: float | None = None,
    sinks: Sinks | None = None,
) -> Queries:
    """softmax(Q K^T scale) V by the kernel that `kernel_of` names; `dropout` drops weights of the pattern, `scale` is 1
    / root of head_dim unless given, and scores under a `cap` or beside `sinks` take the formula."""
    if kernel == "fused" and not torch.is_grad_enabled() and quicker_in_float32(query):  # 4 to 10 times (docs/log.md)
        exact = attend(query.float(), key.float(), value.float(), sees, kernel, dropout, scale, cap, sinks)
        return exact.to(query.dtype)
    by_formula = cap is not None or sinks is not None
    chosen = "explicit" if by_formula else kernel_of(query, sees, kernel, dropout)
    if chosen == "explicit":
        pattern = attention_pattern(attention_scores(query, key, sees, scale, cap), sinks)
        return mix(dropped(pattern, dropout), value)
    if chosen == "tiled":
        return attend_in_tiles(query, key, value, scale)
    mask = sees.mask if sees.bias is None else sees.bias.to(query.dtype)
    if sees.causal and query.shape[2] != key.shape[2]:  # PyTorch would align the first query with the first key
        mask = sees.dense(query.shape[2], key.shape[2], query.device)
    return F.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        dropout_p=dropout,
        is_causal=sees.causal and mask is None,
        scale=scale,
        enable_gqa=key.shape[1] != query.shape[1],
    )


def kernel_of(query: Queries, sees: Visibility, kernel: Kernel = "fused", dropout: float = 0.0) -> str:
    """Which way `attend` takes: explicit (the formula), tiled, or fused (PyTorch's own kernel).

    On a CPU PyTorch's kernel is not always the fastest (docs/log.md). Without gradients: for one query a row it reads
    each key once for every head of a group (320 against 51 microseconds a layer at 512 tokens), and in bfloat16 it
    takes 4.3 ms a layer for a prompt of 512 tokens. With them, in bfloat16: forward and backward take 22 ms for 128
    texts of 24 tokens with 4 heads of 32, and the formula 5; for 16 texts of 256 with 4 heads of 64 they take the same.
    """
    if kernel not in get_args(Kernel):
        raise ConfigError(f"{kernel!r} is not an attention kernel; there are {', '.join(get_args(Kernel))}")
    if kernel == "explicit" or query.shape[2] == 1:
        return "explicit"
    slow = query.dtype == torch.bfloat16 and query.device.type == "cpu"
    if slow and torch.is_grad_enabled() and trains_by_formula(query.shape[2], dropout):
        return "explicit"
    plain = sees.causal and sees.mask is None and not dropout and not torch.is_grad_enabled()
    return "tiled" if plain and slow else "fused"


def trains_by_formula(queries: int, dropout: float) -> bool:
    """Does training in bfloat16 on a CPU take the formula for rows of this many queries?"""
    return queries <= SHORT or bool(dropout)


TILE = 64


def attend_in_tiles(query: Queries, key: Keys, value: Keys, scale: float | None = None) -> Queries:
    """Causal attention, a tile of queries at a time: each is multiplied only with the keys that it can see."""
    batch, heads, seq, head_dim = query.shape
    kv_heads, past = key.shape[1], key.shape[2] - seq
    grouped = query.reshape(batch, kv_heads, heads // kv_heads, seq, head_dim) * (scale or head_dim**-0.5)
    mixed = grouped.new_empty(*grouped.shape[:-1], value.shape[-1])
    future = torch.ones(TILE, TILE, dtype=torch.bool, device=query.device).triu(1)
    for start in range(0, seq, TILE):
        stop = min(start + TILE, seq)
        tile = grouped[:, :, :, start:stop].flatten(2, 3)
        scores = tile @ key[:, :, : past + stop].mT
        newest = scores.view(batch, kv_heads, -1, stop - start, past + stop)[..., past + start :]
        newest.masked_fill_(future[: stop - start, : stop - start], -torch.inf)
        part = scores.softmax(dim=-1) @ value[:, :, : past + stop]
        mixed[:, :, :, start:stop] = part.view(batch, kv_heads, -1, stop - start, value.shape[-1])
    return mixed.view(batch, heads, seq, -1)


@dataclass
class Pass:
    """What all blocks of one forward pass share."""

    rotation: Rotation | None
    positions: Int[Tensor, "batch seq"]
    padded: bool
    """Some tokens are padding, or the cache holds some."""
    prefixed: bool
    """Some tokens see what comes after them."""
    sees: dict[int | None, Visibility]
    """By window: None is the whole context."""
    cache: Cache | None
    kernel: Kernel
    real: Bool[Tensor, "batch seq"] | None = None
    """False on padding among the tokens of this pass; None where all are text, or nobody asks."""
    tiles: dict[tuple[int | None, bool], Any] = field(default_factory=dict)
    """What a block runner made once for all blocks of this pass that share a window and whether they rotate."""
    places: dict[int, Int[Tensor, "batch seq width"]] = field(default_factory=dict)
    """By width: the tokens that short convolutions mix with each token, where these are not its neighbours."""
    memory: Memory | None = None
    """What an encoder made of the source, for the decoder to attend to."""
    sees_memory: Visibility | None = None
    window_rotation: Rotation | None = None
    """The rotation of layers with a window, if it differs."""


class Heads(nn.Module):
    """What all kinds of attention share: heads, their hook points, the projection back."""

    output: Linear
    """Back into the stream; each subclass makes it after its other matrices, as fresh weights are drawn in this
    order."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.heads, self.kv_heads, self.head_dim = config.heads, config.kv_heads, config.head_dim
        self.dropout, self.scale, self.cap = config.dropout, config.attention_scale, config.attention_cap
        self.sinks = nn.Parameter(torch.zeros(self.heads)) if config.sinks else None
        self.query_point, self.key_point, self.value_point = HookPoint(), HookPoint(), HookPoint()
        self.scores_point, self.pattern_point, self.mixed_point = HookPoint(), HookPoint(), HookPoint()

    def attended(
        self, query: Queries, key: Keys, value: Keys, sees: Visibility, kernel: Kernel
    ) -> Float[Tensor, "batch seq dim"]:
        """Mix, join the heads, project back."""
        mixed = self.mixed_point(self._mix(query, key, value, sees, kernel))
        return self.output(mixed.transpose(1, 2).flatten(2))

    def _mix(self, query: Queries, key: Keys, value: Keys, sees: Visibility, kernel: Kernel) -> Queries:
        if self.scores_point.functions or self.pattern_point.functions:
            scores = attention_scores(query, key, sees, self.scale, self.cap)
            hooked_scores = self.scores_point(scores)
            pattern = attention_pattern(hooked_scores, self.sinks)
            hooked_pattern = self.pattern_point(pattern)
            # Only a hook that changed something changes the way; one that read leaves the kernel as it was.
            if hooked_scores is not scores or hooked_pattern is not pattern:
                return mix(hooked_pattern, value)
        dropout = self.dropout if self.training else 0.0
        return attend(query, key, value, sees, kernel, dropout, self.scale, self.cap, self.sinks)


class Attention(Heads):
    """Project to query, key and value; norm and rotate; attend; project back."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__(config, layer)
        self.window, self.rotary_dim = config.window_of(layer), config.rotary_dim
        self.rotates = config.rotates and encoding_of(config).rotates_in(config, layer)
        # One matrix for query, key and value: a third of the calls, and rows in this order.
        rows = (self.heads + 2 * self.kv_heads) * self.head_dim
        self.qkv = Linear(config.dim, rows, bias=config.qkv_bias)
        self.output = Linear(self.heads * self.head_dim, config.dim, bias=config.output_bias)
        self.query_norm, self.key_norm = make_head_norm(config, self.heads), make_head_norm(config, self.kv_heads)
        self.norm_over, self.norm_after = config.qk_norm_over, config.qk_norm_after

    def forward(self, x: Float[Tensor, "batch seq dim"], shared: Pass) -> Float[Tensor, "batch seq dim"]:
        """What each token takes from those that it sees."""
        batch, seq, _ = x.shape
        parts = self.qkv(x).view(batch, seq, -1, self.head_dim).transpose(1, 2)
        turned, value = parts.split([self.heads + self.kv_heads, self.kv_heads], dim=1)
        if not self.norm_after:
            turned = self._normed(turned)
        if (by := self.rotation_in(shared)) is not None:
            turned = rotate(turned, by) if self.rotary_dim is None else self._rotate_some(turned, by)
        if self.norm_after:
            turned = self._normed(turned)
        query, key = turned.split([self.heads, self.kv_heads], dim=1)
        query, key, value = self.query_point(query), self.key_point(key), self.value_point(value)
        if shared.cache is not None:
            key, value = shared.cache.append(self.layer, key, value)
        return self.attended(query, key, value, shared.sees[self.window], shared.kernel)

    def rotation_in(self, shared: Pass) -> Rotation | None:
        """What this layer rotates queries and keys by, if anything."""
        if not self.rotates:
            return None
        return shared.rotation if self.window is None or shared.window_rotation is None else shared.window_rotation

    def _normed(self, turned: Tensor) -> Tensor:
        """Queries and keys, one after the other, with their norms where there are any."""
        if self.query_norm is None or self.key_norm is None:
            return turned
        pairs = zip((self.query_norm, self.key_norm), turned.split([self.heads, self.kv_heads], dim=1), strict=True)
        if self.norm_over != "row":
            return torch.cat([norm(part) for norm, part in pairs], dim=1)
        rows = (norm(part.transpose(1, 2).flatten(2)).unflatten(-1, (-1, self.head_dim)) for norm, part in pairs)
        return torch.cat([row.transpose(1, 2) for row in rows], dim=1)

    def _rotate_some(self, turned: Tensor, by: Rotation) -> Tensor:
        """Rotate the first dimensions of each head; the rest do not depend on the position."""
        first, rest = turned[..., : self.rotary_dim], turned[..., self.rotary_dim :]
        return torch.cat([rotate(first, by), rest], dim=-1)


class CrossAttention(Heads):
    """Attention from a decoder's states to what an encoder made of the source; without positions of its own."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__(config, layer)
        self.query = Linear(config.dim, self.heads * self.head_dim, bias=config.qkv_bias)
        self.kv = Linear(config.dim, 2 * self.kv_heads * self.head_dim, bias=config.qkv_bias)
        self.output = Linear(self.heads * self.head_dim, config.dim, bias=config.output_bias)

    def forward(self, x: Float[Tensor, "batch seq dim"], shared: Pass) -> Float[Tensor, "batch seq dim"]:
        """What each token takes from the source.

        Rows that share a source ask as one row with all their tokens: a source has no before and after.
        """
        assert shared.memory is not None and shared.sees_memory is not None
        key, value = shared.memory.projected(self.layer, self._keys_and_values)
        rows = self.query(x).reshape(len(key), -1, self.heads, self.head_dim)
        taken = self.attended(
            self.query_point(rows.transpose(1, 2)),
            self.key_point(key),
            self.value_point(value),
            shared.sees_memory,
            # A few beams a source: PyTorch's kernel takes 225 microseconds where the formula takes 94 (bfloat16,
            # 16 sources of 40 tokens, 8 heads of 64, 5 beams).
            "explicit" if shared.memory.readers > 1 else shared.kernel,
        )
        return taken.reshape(x.shape)

    def _keys_and_values(self, states: Float[Tensor, "sources source dim"]) -> tuple[Keys, Keys]:
        parts = self.kv(states).unflatten(-1, (2 * self.kv_heads, -1)).transpose(1, 2)
        key, value = parts.split(self.kv_heads, dim=1)
        return key, value
