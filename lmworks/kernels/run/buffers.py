"""The memory that a run works in. Imports no numba."""

from __future__ import annotations

import itertools
from typing import NamedTuple, Self

import numpy as np

from lmworks.basics.arrays import Float, Int
from lmworks.kernels.emit.instructions import chosen, problem
from lmworks.kernels.frame import GROUP, RUN_BYTES, Field
from lmworks.kernels.outliers import MOST
from lmworks.kernels.packed import aligned
from lmworks.kernels.pages import attended
from lmworks.kernels.run.weights import Weights
from lmworks.models.config import ModelConfig

FLOAT_BYTES = 2 if problem() is None and chosen().name == "amx" else 4
"""Of a value beside that in 8 bits, where a matrix has weights that are floats (operations/quantise.py)."""
LINE = 64
"""Bytes of a line of the cache."""


class Buffers:
    """The memory that a run of up to `tokens` tokens works in."""

    def __init__(self, weights: Weights, tokens: int) -> None:
        config = weights.config
        self.tokens = tokens
        self.stream = _floats(tokens, config.dim)
        hidden = max(config.hidden_dim, 0 if config.experts is None else config.experts.shared_dim)
        widest = max(config.dim, hidden, config.heads * max(config.head_dim, attended(config).value_dim))
        after = MOST + max((one.numbers for one in weights.adapters.values()), default=0)
        # After the scales come outliers (outliers.py) and the bottleneck of the adapter (adapters.py).
        value_bytes = 1 + (FLOAT_BYTES if weights.in_floats else 0)
        self.values, self.scales, self.sums = _values(tokens, widest, after, value_bytes)
        # What comes in where tokens are mixed: queries, keys and values, or what a short convolution takes.
        rows = max(
            (config.heads + 2 * config.kv_heads) * config.head_dim, 0 if config.convolution is None else 3 * config.dim
        )
        self.latent = None if config.latent is None else LatentRow.of(config)
        """Where latent attention's lie."""
        rows = rows if self.latent is None else self.latent.end
        inner = hidden * (2 if config.gated else 1)
        # A parallel block holds both at once.
        self.qkv_rows, self.up_rows = (_odd_lines(4 * size) // 4 for size in (rows, inner))
        self.qkv, self.up = _floats(tokens, self.qkv_rows), _floats(tokens, self.up_rows)
        # What a part made, where it is normed before it is added.
        made = config.norm_place in ("result", "both")
        self.adapters = np.zeros(tokens, np.int64)
        """The number of each token's adapter; here, as a late helper may still read it (run/work_stealing.py)."""
        self.part = np.zeros((tokens if made else 0, config.dim), np.float32)
        self.routed = None if config.experts is None else Routed(config, tokens, value_bytes)


class LatentRow(NamedTuple):
    """Where a token's numbers of latent attention begin, in its row of queries, keys and values: in float32 numbers."""

    taken: int
    """Queries that are taken through what makes keys, [heads, rank]."""
    turned: int
    """The rotated parts of queries, [heads, turned]."""
    state: int
    """The state, and the rotated part of the key."""
    query: int
    """What queries are made of, then queries, then what heads make of the states that they mixed."""
    end: int

    @classmethod
    def of(cls, config: ModelConfig) -> Self:
        """Of a network with this attention."""
        settings, turned = config.latent, config.rotary_dim
        assert settings is not None and turned is not None
        ends = itertools.accumulate(
            [
                config.heads * settings.rank,
                config.heads * turned,
                settings.rank + turned,
                max(config.heads * max(config.head_dim, settings.value_dim), settings.query_rank or 0),
            ],
            initial=0,
        )
        return cls(*ends)


class Routed:
    """What layers with experts need beside: a row for each expert of each of up to `tokens` tokens."""

    def __init__(self, config: ModelConfig, tokens: int, value_bytes: int) -> None:
        settings = config.experts
        assert settings is not None
        rows = tokens * settings.top_k
        self.normed = np.zeros((tokens, config.dim), np.float32)
        """What routers read."""
        self.logits = np.zeros((tokens, -(-settings.count // 16) * 16), np.float32)
        self.chosen, self.places = np.zeros((2, tokens, settings.top_k), np.int64)
        self.weights = np.zeros((tokens, settings.top_k), np.float32)
        self.runs = np.zeros(8 + RUN_BYTES * settings.count, np.uint8).view(np.int64)
        inner = config.expert_dim * (2 if config.gated else 1)
        self.made = np.zeros((rows, -(-max(inner, config.dim) // 16) * 16), np.float32)
        """What experts made on the way up, and then what comes out of them."""
        gated = tokens if settings.shared_gate else 0
        self.shared, self.gates = np.zeros((gated, config.dim), np.float32), np.zeros((gated, 1), np.float32)
        """What a shared expert with a gate made, and the gate's logits."""
        self.values, self.scales, self.sums = _values(rows, max(config.dim, config.expert_dim), MOST, value_bytes)
        self.value_bytes = value_bytes
        """Bytes of each value: in 8 bits, and in floats where a matrix wants that (operations/quantise.py)."""
        self.frame = np.zeros(len(Field), np.int64)
        """A frame in which the rows stand in the place of tokens."""
        arrays = {Field.VALUES: self.values, Field.SCALES: self.scales, Field.SUMS: self.sums}
        for field, array in arrays.items():
            self.frame[field] = array.ctypes.data
        self.frame[[Field.VALUES_STRIDE, Field.SCALES_STRIDE]] = self.values.strides[0], self.scales.strides[0]


def _values(
    tokens: int, width: int, after: int, value_bytes: int
) -> tuple[
    Int[np.ndarray, "tokens bytes"], Float[np.ndarray, "tokens groups_and_after"], Float[np.ndarray, "tokens twice"]
]:
    """Values, scales with room for `after` numbers of each token after them, and sums (operations/quantise.py).

    A token's values are an odd number of cache lines."""
    values = aligned(tokens * _odd_lines(width * value_bytes)).view(np.int8).reshape(tokens, -1)
    scales, sums = (
        aligned(4 * size * tokens * (width // GROUP + after)).view(np.float32).reshape(tokens, -1) for size in (1, 2)
    )
    return values, scales, sums


def _floats(tokens: int, width: int) -> Float[np.ndarray, "tokens width"]:
    """Zeros, each token's from the beginning of a cache line on where `width` is a multiple of 16: a tile's rows are
    stored there, and one that lies in two lines takes twice as long."""
    return aligned(4 * tokens * width).view(np.float32).reshape(tokens, width)


def _odd_lines(size: int) -> int:
    """Bytes of an odd number of cache lines, at least this many: tokens that are a power of 2 apart share a few sets of
    the cache, and push one another out of it."""
    return (-(-size // LINE) | 1) * LINE
