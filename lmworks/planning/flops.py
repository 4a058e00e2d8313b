"""Floating-point operations: of products only, a multiplication and an addition each, as papers count them.

Every weight of a matrix costs 2 for each token going forward and 4 going back (Kaplan et al. 2020, section 2.1, gives
the 6 N D of it; of experts those that a token is sent to); attention costs two products over the keys that each query sees, which that rule leaves out.
"""

from __future__ import annotations

from dataclasses import dataclass

from lmworks.models.config import ModelConfig
from lmworks.planning.parameters import Parameters, head_matrices


@dataclass(frozen=True)
class Flops:
    """Operations by what they are spent on."""

    matrices: float
    """The blocks' matrices, with adapters where there are some."""
    attention: float
    """Scores, and values mixed."""
    head: float
    """Of an adaptive softmax at most: as if every token fell into every cluster."""
    recomputed: float = 0.0
    """What activation checkpointing computes a second time."""

    @property
    def all(self) -> float:
        """Their sum."""
        return self.matrices + self.attention + self.head + self.recomputed


def forward_flops(config: ModelConfig, parameters: Parameters, seq: int) -> Flops:
    """Of one sequence of `seq` tokens, each seeing all tokens before it (or its window) and predicted from."""
    keys = sum(_keys_seen(seq, config.window_of(layer)) for layer in range(config.layers))
    weights = 2.0 * seq * (parameters.matrices - parameters.idle + parameters.adapters)
    return Flops(
        matrices=weights,
        attention=4.0 * keys * config.heads * config.head_dim,
        head=2.0 * seq * head_matrices(config)[0],
    )


def training_flops(
    config: ModelConfig, parameters: Parameters, seq: int, *, frozen: bool = False, recompute: bool = False
) -> Flops:
    """Forward and backward of one sequence; `frozen` is a base whose own matrices need no gradient (LoRA)."""
    once = forward_flops(config, parameters, seq)
    adapters = 2.0 * seq * parameters.adapters
    base = once.matrices - adapters
    return Flops(
        matrices=(2 if frozen else 3) * base + 3 * adapters,
        attention=3 * once.attention,
        head=(2 if frozen else 3) * once.head,
        recomputed=once.matrices + once.attention if recompute else 0.0,
    )


def decoding_flops(config: ModelConfig, parameters: Parameters, keys: int) -> Flops:
    """Of one new token that sees `keys` tokens, itself included."""
    seen = sum(min(keys, config.window_of(layer) or keys) for layer in range(config.layers))
    return Flops(
        matrices=2.0 * (parameters.matrices - parameters.idle + parameters.adapters),
        attention=4.0 * seen * config.heads * config.head_dim,
        head=2.0 * head_matrices(config)[0],
    )


def _keys_seen(seq: int, window: int | None) -> float:
    """Keys that all queries of a sequence see together: 1 + 2 + ... + seq, or no more than the window each."""
    full = min(seq, window or seq)
    return full * (full + 1) / 2 + (seq - full) * full
