"""A stack: positions, blocks and the last norm. From embedded tokens to hidden states, for decoder and encoder alike.

A decoder or an encoder is a Network, which is a Stack with an embedding and a head; an encoder-decoder has a second
Stack as its encoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lmworks.basics.arrays import Bool, Float, Int
from lmworks.basics.errors import ConfigError
from lmworks.models.attention import Kernel, Pass
from lmworks.models.block import Block, BlockRunner, run_plainly
from lmworks.models.cache import Cache
from lmworks.models.config import ModelConfig
from lmworks.models.dropout import Dropout
from lmworks.models.embedding_table import SEGMENTS, blank_embedding, looked_up
from lmworks.models.hooks import HookPoint
from lmworks.models.masks import memory_visibility, visibility
from lmworks.models.memory import Memory
from lmworks.models.norm import make_norm
from lmworks.models.positions.encoding import encoding_of

Tokens = Int[Tensor, "batch seq"]
Real = Bool[Tensor, "batch seq"]
Hidden = Float[Tensor, "batch seq dim"]


class Stack(nn.Module):
    """Blocks and what they need to know the order of tokens."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.add_parts(config)

    def add_parts(self, config: ModelConfig) -> None:
        """Make the parts; apart from the constructor because a Network has its embedding before them."""
        self.config = config
        self.encoding = encoding_of(config)
        self.add_module(self.encoding.part_name, self.encoding.part(config))
        self.segment = blank_embedding(config.segments, config.embedding_width) if config.segments else None
        self.embedding_norm = (
            nn.LayerNorm(config.embedding_width, eps=config.norm_eps, bias=config.norm_bias)
            if config.embedding_norm == "layer"
            else None
        )
        self.embedding_projection = (
            None if config.embedding_dim is None else nn.Linear(config.embedding_dim, config.dim)
        )
        blocks: Any = nn.ModuleList(Block(config, layer) for layer in range(config.layers))
        self.blocks: Sequence[Block] = blocks
        # Post-norm blocks end with a norm of their own.
        self.norm = make_norm(config) if config.norm_place != "after" else nn.Identity()
        self.dropout = Dropout(config.dropout)
        self.embedding_point, self.final_point = HookPoint(), HookPoint()
        self.attention_kernel: Kernel = "fused"
        self.run_block: BlockRunner = run_plainly
        """How a block is run; adaptation puts its fast way for adapters here."""

    def read(
        self,
        embedded: Hidden,
        tokens: Tokens,
        positions: Tokens,
        real: Real | None,
        documents: Tokens | None = None,
        cache: Cache | None = None,
        segments: Tokens | None = None,
        memory: Memory | None = None,
        prefix: Real | None = None,
    ) -> Hidden:
        """The states after the last norm. `real` is False on padding; `memory` is what an encoder made of a source;
        tokens in a `prefix` are seen by those before them too."""
        x = self.dropout(self._placed(embedded, positions, segments))
        x = self.embedding_point(x if self.embedding_projection is None else self.embedding_projection(x))
        shared = self._shared(tokens, positions, real, documents, cache, x.dtype, prefix)
        if memory is not None:
            shared.memory, shared.sees_memory = memory, memory_visibility(memory.real)
        for block in self.blocks:
            x = self.run_block(block, x, shared)
        return self.final_point(self.norm(x))

    def positions_of(self, tokens: Tokens, real: Real | None, documents: Tokens | None, cache: Cache | None) -> Tokens:
        """Each token's place in its own text: padding is not counted, packed documents start again at 0.

        ConfigError where learned positions end.
        """
        batch, seq = tokens.shape
        past = cache.length if cache is not None else 0
        at = torch.arange(past, past + seq, device=tokens.device).expand(batch, seq)
        before = cache.real if cache is not None else None
        if documents is not None or real is not None or before is not None:
            counted = torch.ones_like(tokens) if real is None else real.long()
            total = counted.cumsum(dim=1) + (past if before is None else before.sum(dim=1, keepdim=True))
            at = total - 1
            if documents is not None:
                starts = torch.ones_like(documents, dtype=torch.bool)
                starts[:, 1:] = documents[:, 1:] != documents[:, :-1]
                at = at - torch.where(starts, total - counted, 0).cummax(dim=1).values
            at = at.clamp(min=0)
        longest = self.encoding.longest(self.config)
        if longest is not None and int(at.max()) >= longest:
            raise ConfigError(
                f"the text has {int(at.max()) + 1:,} tokens and the network has learned "
                f"{longest:,} positions; shorten the text"
            )
        return at

    @property
    def position_part(self) -> nn.Module | None:
        """The weights of the positional encoding, where it learns some."""
        return self._modules[self.encoding.part_name]

    def _placed(self, x: Hidden, positions: Tokens, segments: Tokens | None) -> Hidden:
        """Embeddings of positions and segments added, and the norm over the sum."""
        if self.encoding.acts_on == "embedding" or self.encoding.adds:
            x = x + self.encoding.added(self.config, self.position_part, positions).to(x.dtype)
        if self.segment is not None:
            x = x + looked_up(self.segment, torch.zeros_like(positions) if segments is None else segments, SEGMENTS)
        elif segments is not None:
            raise ConfigError("this network has no segment embeddings; leave segments out")
        return x if self.embedding_norm is None else self.embedding_norm(x)

    def _shared(
        self,
        tokens: Tokens,
        positions: Tokens,
        real: Real | None,
        documents: Tokens | None,
        cache: Cache | None,
        dtype: torch.dtype,
        prefix: Real | None,
    ) -> Pass:
        config, seq = self.config, tokens.shape[1]
        routed = None if config.experts is None else _routed(real, documents)
        keys = seq + (cache.length if cache is not None else 0)
        if cache is not None and (real is not None or cache.real is not None):
            before = cache.real if cache.real is not None else tokens.new_ones(len(tokens), cache.length).bool()
            real = torch.cat([before, real if real is not None else torch.ones_like(tokens).bool()], dim=1)
        windows = {config.window_of(layer) for layer in range(config.layers)}
        sees = {
            window: visibility(seq, keys, window, real, documents, tokens.device, config.causal, prefix)
            for window in windows
        }
        if (bias := self._bias(seq, keys, real, tokens.device)) is not None:
            sees = {window: seen.biased(bias.to(dtype)) for window, seen in sees.items()}
        turn = self.encoding.rotation(config, positions, dtype) if self.encoding.acts_on == "heads" else None
        in_windows = self.encoding.window_rotation(config, positions, dtype)
        return Pass(
            turn,
            positions,
            real is not None,
            prefix is not None,
            sees,
            cache,
            self.attention_kernel,
            routed,
            window_rotation=in_windows,
        )

    def _bias(
        self, seq: int, keys: int, real: Bool[Tensor, "batch keys"] | None, device: torch.device
    ) -> Float[Tensor, "batch heads seq keys"] | None:
        """The positional encoding's bias on the scores, if it has one. Padding does not count as distance."""
        if self.encoding.acts_on != "scores":
            return None
        at = torch.arange(keys, device=device)[None] if real is None else real.cumsum(dim=1)
        distances = at[:, None, :] - at[:, keys - seq :, None]
        return self.encoding.bias(self.config, self.position_part, distances)


def _routed(real: Real | None, documents: Tokens | None) -> Real | None:
    """Which tokens of a pass are sent to experts: not those of padding, masked or without a document; None for all."""
    if documents is not None and bool((documents < 0).any()):
        real = documents >= 0 if real is None else real & (documents >= 0)
    return None if real is None or bool(real.all()) else real
