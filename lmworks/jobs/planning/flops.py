"""Floating-point operations: of products only, a multiplication and an addition each, as papers count them.

Every weight of a matrix costs 2 for each token going forward and 4 going back (the 6 N D of Kaplan et al. 2020, section
2.1); of experts, those that a token is sent to are counted. Attention costs two products over the keys that each query
sees, which that rule leaves out.
"""

from __future__ import annotations

from dataclasses import dataclass

from lmworks.jobs.planning.parameters import Parameters, head_matrices
from lmworks.models.config import ModelConfig
from lmworks.objectives.declaration import FullRow


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


def forward_flops(config: ModelConfig, parameters: Parameters, seq: int, row: FullRow | None = None) -> Flops:
    """Of one sequence of `seq` tokens, each of which sees what its arrangement shows it (in a decoder all tokens before
    it, or its window) and is predicted from.

    A `row` says what else the network reads beside the tokens, and how many are predicted.
    """
    row = row or FullRow(seq, seq if config.arrangement == "encoder-decoder" else 0, seq)
    seen = _keys_of(config, row.tokens) + config.layers * float(row.tokens * row.source)
    seen += _keys_of(config.encoder(), row.source) if row.source else 0.0
    own = parameters.matrices - parameters.idle - parameters.of_source
    own += parameters.adapters - parameters.adapters_of_source
    return Flops(
        matrices=2.0 * row.tokens * own + 2.0 * row.source * (parameters.of_source + parameters.adapters_of_source),
        attention=4.0 * seen * config.heads * config.head_dim,
        head=2.0 * row.predicted * (head_matrices(config)[0] + (config.dim**2 if config.head_transform else 0)),
    )


def training_flops(
    config: ModelConfig,
    parameters: Parameters,
    seq: int,
    *,
    frozen: bool = False,
    recompute: bool = False,
    row: FullRow | None = None,
    back: float = 1.0,
    trained: float | None = None,
) -> Flops:
    """Forward and backward of one sequence; `frozen` is a base whose own matrices need no gradient (LoRA).

    Gradients go `back` through this share of the blocks, to reach this share of their matrices that is `trained`.
    """
    once = forward_flops(config, parameters, seq, row)
    row = row or FullRow(seq, seq, seq)
    of_source = parameters.adapters_of_source
    adapters = 2.0 * (row.tokens * (parameters.adapters - of_source) + row.source * of_source)
    base = once.matrices - adapters
    trained = (0.0 if frozen else 1.0) if trained is None else trained
    return Flops(
        matrices=(1 + back + trained) * base + 3 * adapters,
        attention=(1 + 2 * back) * once.attention,
        head=(2 if frozen else 3) * once.head,
        recomputed=back * (once.matrices + once.attention) if recompute else 0.0,
    )


def decoding_flops(config: ModelConfig, parameters: Parameters, keys: int) -> Flops:
    """Of one new token that sees `keys` tokens, itself included; of an encoder-decoder as many of the source too."""
    seen = sum(min(keys, config.window_of(layer) or keys) for layer in range(config.layers))
    seen += config.layers * keys if config.arrangement == "encoder-decoder" else 0
    own = parameters.matrices - parameters.idle - parameters.of_source
    return Flops(
        matrices=2.0 * (own + parameters.adapters - parameters.adapters_of_source),
        attention=4.0 * seen * config.heads * config.head_dim,
        head=2.0 * head_matrices(config)[0],
    )


def _keys_of(config: ModelConfig, seq: int) -> float:
    """Keys that all queries of a sequence see together, in all layers of a stack."""
    return sum(_keys_seen(seq, config.window_of(layer), config.causal) for layer in range(config.layers))


def _keys_seen(seq: int, window: int | None, causal: bool = True) -> float:
    """Keys that all queries of a sequence see together: 1 + 2 + ... + seq, or no more than the window each.

    Where attention is not causal, those after a query count too.
    """
    full = min(seq, window or seq)
    back = full * (full + 1) / 2 + (seq - full) * full
    return back if causal else 2 * back - seq
