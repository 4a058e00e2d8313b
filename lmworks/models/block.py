"""One transformer block: attention and feed-forward, each with its norm, on a residual stream.

    before      x + part(norm x)             (GPT-2, Llama)
    after       norm(x + part(x))            (the first transformers, BERT, BART)
    result      x + norm(part(x))            (OLMo 2)
    both        x + norm'(part(norm x))      (Gemma 2)
    parallel    x + attention(norm x) + feed_forward(norm' x)      (GPT-NeoX; Phi has one norm for both)

A decoder's block of an encoder-decoder attends to the source between the two. The feed-forward may be one of many
experts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lmworks.basics.arrays import Float
from lmworks.models.attention import Attention, CrossAttention, Pass
from lmworks.models.config import ModelConfig
from lmworks.models.dropout import Dropout
from lmworks.models.experts import Experts
from lmworks.models.feed_forward import FeedForward
from lmworks.models.hooks import HookPoint
from lmworks.models.latent_attention import LatentAttention
from lmworks.models.norm import make_norm
from lmworks.models.short_convolution import ShortConvolution

Hidden = Float[Tensor, "batch seq dim"]


class Block(nn.Module):
    """Attention, attention to the source where there is one, feed-forward."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.attention_norm = make_norm(config) if layer or config.first_norm else nn.Identity()
        self.attention: Attention = _mixing(config, layer)  # code that has no other way asks the config first
        self.cross_norm: nn.Module | None = None
        self.cross_attention: CrossAttention | None = None
        if config.arrangement == "encoder-decoder":
            self.cross_norm, self.cross_attention = make_norm(config), CrossAttention(config, layer)
            self.cross_attention_output_point = HookPoint()
        self.feed_forward_norm = nn.Identity() if config.shared_norm else make_norm(config)
        self.feed_forward: FeedForward | Experts = Experts(config) if config.has_experts(layer) else FeedForward(config)
        self.attention_result_norm, self.feed_forward_result_norm = (
            make_norm(config) if config.norm_place == "both" else None for _ in range(2)
        )
        self.dropout = Dropout(config.dropout)
        self.place, self.norm_before = config.norm_place, config.norm_place in ("before", "both")
        self.residual, self.residual_scale = config.residual, config.residual_scale
        self.parallel, self.shared_norm = config.parallel, config.shared_norm
        self.attention_output_point, self.feed_forward_output_point = HookPoint(), HookPoint()
        self.residual_in_point, self.residual_middle_point, self.residual_out_point = (
            HookPoint(),
            HookPoint(),
            HookPoint(),
        )

    @property
    def dense(self) -> FeedForward:
        """The feed-forward, for code that has no other way; experts never come there."""
        assert isinstance(self.feed_forward, FeedForward)
        return self.feed_forward

    def forward(self, x: Hidden, shared: Pass) -> Hidden:
        """The residual stream after this block."""
        stream = x = self.residual_in_point(x)
        normed = self._before(self.attention_norm, x)
        taken = self.attention_output_point(self.attention(normed, shared))
        x = self._after(self.attention_norm, x, taken, self.attention_result_norm)
        if self.cross_attention is not None and self.cross_norm is not None:
            taken = self.cross_attention(self._before(self.cross_norm, x), shared)
            x = self._after(self.cross_norm, x, self.cross_attention_output_point(taken))
        x = self.residual_middle_point(x)
        read = stream if self.parallel else x
        read = normed if self.shared_norm else self._before(self.feed_forward_norm, read)
        made = (
            self.feed_forward(read, shared.real) if isinstance(self.feed_forward, Experts) else self.feed_forward(read)
        )
        made = self.feed_forward_output_point(made)
        return self.residual_out_point(self._after(self.feed_forward_norm, x, made, self.feed_forward_result_norm))

    def _before(self, norm: nn.Module, x: Hidden) -> Hidden:
        return norm(x) if self.norm_before else x

    def _after(self, norm: nn.Module, x: Hidden, part: Hidden, result_norm: nn.Module | None = None) -> Hidden:
        """The stream after a part: `norm` is the part's own, `result_norm` the second one where there are two."""
        if self.place == "result":
            part = norm(part)
        elif result_norm is not None:
            part = result_norm(part)
        part = self.dropout(part)
        if self.residual_scale is not None:
            part = part * self.residual_scale
        joined = x + part if self.residual else part
        return norm(joined) if self.place == "after" else joined


def _mixing(config: ModelConfig, layer: int) -> Any:
    """What lets the tokens of a layer see each other."""
    if config.convolves(layer):
        return ShortConvolution(config, layer)
    return Attention(config, layer) if config.latent is None else LatentAttention(config, layer)


BlockRunner = Callable[[Block, Hidden, Pass], Hidden]


def run_plainly(block: Block, x: Hidden, shared: Pass) -> Hidden:
    """The block as it is written."""
    return block(x, shared)


def run_recomputing(block: Block, x: Hidden, shared: Pass) -> Hidden:
    """Keep only the block's input in training and compute the block again going back: slower, less memory."""
    return checkpoint(block, x, shared, use_reentrant=False) if torch.is_grad_enabled() else block(x, shared)
