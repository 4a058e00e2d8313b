"""Activations: what the network keeps in training for its backward, counted tensor by tensor.

These are the network's own tensors, as PyTorch keeps them on this kind of device; that the sum is right to the byte is
tested against a network that runs (tests/planning). Bytes of one device for one micro-batch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from lmworks.adaptation.lora import LoRAConfig, add_lora, lora_layers
from lmworks.jobs.planning.parameters import head_matrices, single_block
from lmworks.models.attention import trains_by_formula
from lmworks.models.config import ModelConfig
from lmworks.models.feed_forward import BY_RESULT
from lmworks.training.by_hand.fused_block import covered
from lmworks.training.by_hand.tiled_attention import tile_of

INDEX, SINGLE = 8, 4
"""Bytes of a token id and of a float32."""


@dataclass(frozen=True)
class BatchShape:
    """One micro-batch, and how the network runs it."""

    config: ModelConfig
    rows: int
    seq: int
    value: int
    """Bytes of a value: 4 in float32, 2 in bfloat16."""
    lora: LoRAConfig | None = None
    recompute: bool = False
    cuda: bool = False
    """On a GPU norms are one kernel that keeps less, and adapters have no fused block."""
    routed: int = 0
    """Experts that each token is sent to, where `config` is the dense one that stands for a network with experts."""

    @classmethod
    def of_network(cls, config: ModelConfig, *rest: Any) -> BatchShape:
        """That of a network, which may have experts."""
        settings = config.experts
        if settings is None:
            return cls(config, *rest)
        widest = max(
            config.expert_dim * settings.top_k + settings.shared_dim, config.hidden_dim if settings.layers else 0
        )
        family = (
            "lmworks" if config.family == "lmworks" else "llama"
        )  # whose projections have the names of all the others
        return replace(cls(config.but(experts=None, family=family, hidden_dim=widest), *rest), routed=settings.top_k)

    @property
    def tokens(self) -> int:
        """All tokens of the micro-batch."""
        return self.rows * self.seq

    @property
    def query_width(self) -> int:
        """Query heads together."""
        return self.config.heads * self.config.head_dim

    @property
    def key_width(self) -> int:
        """Key heads together."""
        return self.config.kv_heads * self.config.head_dim

    @property
    def up_width(self) -> int:
        """What the first product of the feed-forward makes: gate and up, or up alone."""
        return self.config.hidden_dim * (2 if self.config.gated else 1)

    @property
    def fused(self) -> bool:
        """Do blocks run by hand-written forward and backward? Asked of the code that decides it."""
        return (
            not self.routed
            and not self.cuda
            and tile_of(self.seq) is not None
            and covered(self.config, torch.device("cpu"))
        )

    @property
    def explicit(self) -> bool:
        """Do plain blocks attend by the formula, which keeps its patterns? Asked of the code that decides it."""
        return self.value != SINGLE and not self.cuda and trains_by_formula(self.seq, self.config.dropout)

    @property
    def patterns(self) -> int:
        """Weights of attention in one block: one for each head, query and key."""
        return self.tokens * self.seq * self.config.heads

    @property
    def rounded_patterns(self) -> int:
        """Bytes that the formula keeps to mix values: patterns in the activations' type and, with dropout, its mask."""
        return self.patterns * self.value * (2 if self.config.dropout else 1)

    @property
    def recomputes(self) -> bool:
        """Does the plain block keep its input alone and run again?"""
        return self.recompute and not self.fused

    def of(self, *widths: float) -> float:
        """Bytes of activations of these widths."""
        return self.tokens * sum(widths) * self.value


def kept_by_block(shape: BatchShape) -> float:
    """What a block keeps from its forward to its backward."""
    if shape.fused:
        return _fused(shape)
    return shape.of(shape.config.dim) if shape.recompute else block_inside(shape)


def block_inside(shape: BatchShape) -> float:
    """All that the plain block keeps inside, which with recomputing is there for one block at a time."""
    return (
        _norm(shape, shape.config.dim)
        + _linear_inputs(shape).get("attention.qkv", 0)
        + _attention(shape)
        + after_attention(shape)
    )


def after_attention(shape: BatchShape) -> float:
    """What of it comes after attention's mixing, and so is free again when the backward reaches attention."""
    config = shape.config
    dropped = 2 * shape.of(config.dim) if config.dropout else 0
    sorted_rows = shape.of(
        3 * shape.routed * config.dim
    )  # a token's row for each of its experts, its result, that weighed
    inputs = sum(size for name, size in _linear_inputs(shape).items() if name != "attention.qkv")
    return _norm(shape, config.dim) + _feed_forward(shape) + dropped + sorted_rows + inputs


def kept_once(shape: BatchShape) -> float:
    """What is kept beside the blocks: embedding, rotation, last norm and the gradients that the loss makes at once.

    The first block's norm counts (negative) where its input needs no gradient, as nothing before it is trained.
    """
    config, trained = shape.config, shape.lora is None
    kept = last_norm(shape) + shape.of(config.dim)  # and the gradient of the states
    if trained:
        learned = 1 + (config.positions == "learned") + len(config.ngrams)
        kept += learned * INDEX * shape.tokens + head_gradient(shape)
        kept += SINGLE * shape.tokens * (config.dim + 1) if config.embedding_norm else 0
        kept += shape.value if config.scale_embedding else 0
        kept += shape.of(config.dim) if config.dropout else 0
    elif not (shape.fused or shape.recompute):
        kept -= _norm(shape, config.dim)
        if shape.lora is not None and shape.value != SINGLE:
            parts, _ = _adapters(shape).get("attention.qkv", (0, 0))
            kept -= shape.value * parts * shape.lora.rank * config.dim
    if config.rotates and not (shape.fused or shape.recompute):
        kept += shape.of(config.head_dim)
    return kept


def last_norm(shape: BatchShape) -> float:
    """What the norm before the head keeps."""
    return _norm(shape, shape.config.dim)


def head_gradient(shape: BatchShape) -> float:
    """The gradient of the head's matrix, made in the forward in float32; 0 where the head is frozen."""
    return 0 if shape.lora is not None else SINGLE * head_matrices(shape.config)[0]


def _norm(shape: BatchShape, width: int, groups: int = 1) -> float:
    """A norm over the last axis, `groups` of them side by side, `width` in all."""
    config, tokens = shape.config, shape.tokens
    if config.norm == "layer" and groups == 1:
        return shape.of(width, 2)
    inverse = SINGLE * tokens * groups
    offset = shape.value * width // groups if config.norm_unit_offset and groups == 1 else 0
    if shape.cuda:
        return shape.of(width) + inverse + offset
    # In steps on a CPU: the input and the normed values in float32, the latter for the gradient of the weight.
    copies = 2 if shape.lora is None and config.norm_weight else 1
    return SINGLE * tokens * width * copies + inverse + offset


def _attention(shape: BatchShape) -> float:
    """Between the product that makes query, key and value, and the one that mixes the heads."""
    config = shape.config
    query, key = shape.query_width, shape.key_width
    joint, turned = shape.of(query + 2 * key), shape.of(query + key)
    kept = 0.0
    if config.qk_norm:
        parts = _norm(shape, query, config.heads) + _norm(shape, key, config.kv_heads)
        # In float32 the norms keep the joint product itself, which is counted below or here.
        kept += parts - (turned if shape.value == SINGLE and not shape.cuda else 0)
    moved = config.qk_norm or config.rotates
    if shape.explicit:  # copies of query, key and value, what is not seen, the softmax in float32 and rounded
        return kept + joint + shape.tokens * shape.seq + SINGLE * shape.patterns + shape.rounded_patterns
    if config.dropout:  # PyTorch has no fused kernel with dropout on a CPU: patterns are kept
        kept += joint if config.qk_norm and shape.value == SINGLE else 0
        return kept + 3 * SINGLE * shape.patterns + 3 * SINGLE * shape.tokens * query
    # Turned queries and keys, and so the result, lie head by head: the next product needs a copy of it.
    alone = moved or "attention.output" not in _linear_inputs(shape)
    kept += joint + (turned if moved else 0) + (shape.of(query) if alone else 0)
    mask = shape.of(shape.seq)  # which packed documents see each other, as numbers
    return kept + mask + SINGLE * shape.tokens * config.heads


def _feed_forward(shape: BatchShape) -> float:
    """Between the two products of the feed-forward."""
    config = shape.config
    inner = shape.of(config.hidden_dim)
    squared = inner if config.activation == "relu_squared" else 0
    if config.gated:
        return 3 * inner + squared
    return 0 if config.activation in BY_RESULT else inner  # the next product keeps the result


def _linear_inputs(shape: BatchShape) -> dict[str, float]:
    """The inputs of the block's matrices, each kept where the matrix, or an adapter on it, is trained."""
    config = shape.config
    widths = {
        "attention.qkv": config.dim,
        "attention.output": shape.query_width,
        "feed_forward.up": config.dim,
        "feed_forward.down": config.hidden_dim,
    }
    if shape.lora is None:
        return {name: shape.of(width) for name, width in widths.items()}
    kept = {}
    for name, (parts, numbers) in _adapters(shape).items():
        copies = shape.value * numbers if shape.value != SINGLE else 0
        kept[name] = shape.of(widths[name], parts * shape.lora.rank) + copies
    return kept


def _adapters(shape: BatchShape) -> dict[str, tuple[int, int]]:
    """By matrix of a block: how many projections have an adapter, and how many numbers these hold."""
    assert shape.lora is not None
    network = add_lora(single_block(shape.config), shape.lora.but(rank=1))
    return {
        path.removeprefix("blocks.0."): (
            len(layer.parts),
            shape.lora.rank * (layer.down.numel() + sum(up.numel() for up in layer.up)),
        )
        for path, layer in lora_layers(network).items()
    }


def adapter_copies(shape: BatchShape) -> float:
    """Copies of adapters in the blocks' type that each fused layer keeps; B of joined projections is block-diagonal."""
    if shape.lora is None or not shape.fused:
        return 0.0
    network = add_lora(single_block(shape.config), shape.lora.but(rank=1))
    rank, numbers = shape.lora.rank, 0
    for layer in lora_layers(network).values():
        numbers += layer.base.out_features * len(layer.parts) * rank
        numbers += layer.down.numel() * rank if shape.value != SINGLE else 0
    return float(shape.config.layers * numbers * shape.value)


def _fused(shape: BatchShape) -> float:
    """What the fused block keeps: the stream twice, what attention mixed and, unless recomputing, query, key and value
    (those before their norms too) and the feed-forward's inner states."""
    config = shape.config
    parts = {} if shape.lora is None else _adapters(shape)
    bottleneck = {name: count * shape.lora.rank for name, (count, _) in parts.items() if shape.lora is not None}
    kept = ["attention.output", "feed_forward.down"]
    widths = [config.dim, config.dim, shape.query_width]
    if not shape.recompute:
        kept += ["attention.qkv", "feed_forward.up"]
        joint = shape.query_width + 2 * shape.key_width
        widths += [joint, joint if config.qk_norm else 0, shape.up_width]
    return shape.of(*widths, *(bottleneck.get(name, 0) for name in kept))
