"""The memory that a run works in. Imports no numba."""

from __future__ import annotations

import numpy as np

from lmworks.kernels.frame import GROUP
from lmworks.kernels.outliers import MOST
from lmworks.kernels.packed import aligned
from lmworks.kernels.run.weights import Weights


class Buffers:
    """The memory that a run of up to `tokens` tokens works in."""

    def __init__(self, weights: Weights, tokens: int) -> None:
        config = weights.config
        self.tokens = tokens
        self.stream = np.zeros((tokens, config.dim), np.float32)
        widest = max(config.dim, config.hidden_dim, config.heads * config.head_dim)
        after = MOST + max((one.numbers for one in weights.adapters.values()), default=0)
        self.values = aligned(tokens * widest).view(np.int8).reshape(tokens, widest)
        # After the scales come outliers (outliers.py) and the bottleneck of the adapter (adapters.py).
        self.scales, self.sums = (
            aligned(4 * size * tokens * (widest // GROUP + after)).view(np.float32).reshape(tokens, -1)
            for size in (1, 2)
        )
        rows = (config.heads + 2 * config.kv_heads) * config.head_dim
        inner = config.hidden_dim * (2 if config.gated else 1)
        # A parallel block holds both at once.
        self.qkv_rows, self.up_rows = (-(-size // 16) * 16 for size in (rows, inner))
        self.qkv = np.zeros((tokens, self.qkv_rows), np.float32)
        self.up = np.zeros((tokens, self.up_rows), np.float32)
        # What a part made, where it is normed before it is added.
        made = config.norm_place in ("result", "both")
        self.adapters = np.zeros(tokens, np.int64)
        """The number of each token's adapter; here, as a late helper may still read it (run/work_stealing.py)."""
        self.part = np.zeros((tokens if made else 0, config.dim), np.float32)
