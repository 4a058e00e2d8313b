"""Multi-head latent attention: keys and values of all heads are products of one narrow state, which a cache keeps.

Each head's key is `rotary_dim` rotated dimensions, the same of all heads, and others that are made of the state. For a
few tokens after a long text the keys are never made: the query is taken through their matrix instead, and attends to
the states themselves, as many heads to one key.
Source: DeepSeek-AI 2024 (DeepSeek-V2), https://arxiv.org/abs/2405.04434, section 2.1 and appendix C.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lmworks.basics.arrays import Float
from lmworks.models.attention import Heads, Keys, Pass, Queries, attend
from lmworks.models.config import ModelConfig
from lmworks.models.latent_settings import INNER_EPS
from lmworks.models.linear import Linear
from lmworks.models.norm import RMSNorm
from lmworks.models.positions.encoding import encoding_of
from lmworks.models.rotation import rotate

FEW = 8
"""Queries of a row up to which they attend to the states themselves."""

Kept = Float[Tensor, "batch one keys kept"]
"""Each token's state after its norm, and the rotated part of its key."""


class LatentAttention(Heads):
    """Project to queries and to the state; rotate; attend; project back."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__(config, layer)
        assert config.latent is not None and config.rotary_dim is not None
        settings, self.turned = config.latent, config.rotary_dim
        self.rank, self.plain, self.value_dim = settings.rank, self.head_dim - self.turned, settings.value_dim
        self.window, self.rotates = config.window_of(layer), encoding_of(config).rotates_in(config, layer)
        rows = self.heads * self.head_dim
        self.query_down: Linear | None = None
        if settings.query_rank is not None:
            self.query_down = Linear(config.dim, settings.query_rank, bias=config.qkv_bias)
            self.query_down_norm = RMSNorm(settings.query_rank, INNER_EPS)
        self.query_up = Linear(settings.query_rank or config.dim, rows, bias=False)
        self.latent = Linear(config.dim, self.rank + self.turned, bias=config.qkv_bias)
        self.latent_norm = RMSNorm(self.rank, INNER_EPS)
        self.expand = Linear(self.rank, self.heads * (self.plain + self.value_dim), bias=False)
        self.output = Linear(self.heads * self.value_dim, config.dim, bias=config.output_bias)

    def forward(self, x: Float[Tensor, "batch seq dim"], shared: Pass) -> Float[Tensor, "batch seq dim"]:
        """What each token takes from those that it sees."""
        narrow = x if self.query_down is None else self.query_down_norm(self.query_down(x))
        query = self.query_up(narrow).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        state, turned = self.latent(x)[:, None].split([self.rank, self.turned], dim=-1)
        if self.rotates and (by := shared.rotation) is not None:
            turned = rotate(turned, by)
            query = torch.cat([rotate(query[..., : self.turned], by), query[..., self.turned :]], dim=-1)
        kept = torch.cat([self.latent_norm(state), turned], dim=-1)
        if shared.cache is not None:
            kept, _ = shared.cache.append(self.layer, kept, kept[..., :0])
            if x.shape[1] <= FEW and self._unwatched:
                return self.output(self._among_states(query, kept, shared).transpose(1, 2).flatten(2))
        key, value = self._expanded(kept)
        query, key, value = self.query_point(query), self.key_point(key), self.value_point(value)
        return self.attended(query, key, value, shared.sees[self.window], shared.kernel)

    @property
    def _unwatched(self) -> bool:
        """No hook asks for keys, values or what is mixed of them, and the matrix that makes them has no adapter."""
        points = self.query_point, self.key_point, self.value_point, self.scores_point, self.pattern_point
        plain = type(self.expand) is Linear and not any(one.functions for one in (*points, self.mixed_point))
        return plain and not torch.is_grad_enabled()

    def _expanded(self, kept: Kept) -> tuple[Keys, Keys]:
        """Each head's keys and values."""
        state, turned = kept.split([self.rank, self.turned], dim=-1)
        parts = self.expand(state[:, 0]).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        plain, value = parts.split([self.plain, self.value_dim], dim=-1)
        return torch.cat([turned.expand(-1, self.heads, -1, -1), plain], dim=-1), value

    def by_head(
        self, rows: Float[Tensor, "rows numbers"]
    ) -> tuple[Float[Tensor, "heads plain numbers"], Float[Tensor, "heads value numbers"]]:
        """Rows of the matrix that makes keys and values, or what belongs to these, as each head's for its key and for
        its value."""
        of_key, of_value = rows.view(self.heads, -1, rows.shape[1]).split([self.plain, self.value_dim], dim=1)
        return of_key, of_value

    def _among_states(self, query: Queries, kept: Kept, shared: Pass) -> Queries:
        """What each head takes, without its keys and values: q (A s) = (q A) s, and the values' matrix comes last."""
        of_key, of_value = self.by_head(self.expand.weight)
        turned, plain = query.split([self.turned, self.plain], dim=-1)
        through = torch.cat([plain @ of_key, turned], dim=-1)
        scale, sees = self.scale or self.head_dim**-0.5, shared.sees[self.window]
        states = kept[..., : self.rank]
        taken = attend(through, kept, states, sees, shared.kernel, 0.0, scale, self.cap, self.sinks)
        return taken @ of_value.mT
