"""A mixture of experts in place of a feed-forward: a router sends each token to a few of many feed-forwards.

The rows of a pass are sorted by expert, so that each expert multiplies contiguous rows and nothing is computed that was
not chosen; a single token runs its own experts alone. Padding is sent nowhere.
Source: Shazeer et al. 2017, https://arxiv.org/abs/1701.06538; capacity and the order of rows: Fedus et al. 2021
(Switch), https://arxiv.org/abs/2101.03961, section 2.2; the shared expert: Dai et al. 2024 (DeepSeekMoE),
https://arxiv.org/abs/2401.06066; the bias: Wang et al. 2024, https://arxiv.org/abs/2408.15664; groups: DeepSeek-AI
2024 (DeepSeek-V3), https://arxiv.org/abs/2412.19437, section 2.1.2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from lmworks.basics.arrays import Bool, Float, Int
from lmworks.models.config import ExpertSettings, ModelConfig
from lmworks.models.feed_forward import FeedForward
from lmworks.models.hooks import HookPoint

Rows = Float[Tensor, "rows dim"]


class Router(nn.Linear):
    """Scores each token for each expert and chooses."""

    lifts: Int[Tensor, " experts"]
    """How often an expert's bias was lifted, less how often it was lowered: whole numbers, which no type rounds
    away."""
    choice_bias: Float[Tensor, " experts"]

    def __init__(self, dim: int, settings: ExpertSettings) -> None:
        super().__init__(dim, settings.count, bias=settings.router_bias)
        self.settings = settings
        if settings.bias_rate:
            self.register_buffer("lifts", torch.zeros(settings.count, dtype=torch.long))
        if settings.choice_bias:
            self.register_buffer("choice_bias", torch.zeros(settings.count))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Router:
        """The bias stays in float32, whatever type the weights get: rounded it would choose others."""
        exact = getattr(self, "choice_bias", None)
        super()._apply(fn, recurse)
        if exact is not None and self.choice_bias.dtype != exact.dtype:
            self.choice_bias = exact.to(self.choice_bias.device)
        return self

    def choose(
        self, logits: Float[Tensor, "rows experts"]
    ) -> tuple[Float[Tensor, "rows top_k"], Int[Tensor, "rows top_k"]]:
        """Each row's experts and what their results weigh, in float32 at least."""
        settings, exact = self.settings, logits.to(torch.promote_types(logits.dtype, torch.float32))
        scores = exact.softmax(dim=-1) if settings.scores == "softmax" else exact.sigmoid()
        chosen = self._preferred(scores.detach()).topk(settings.top_k, dim=-1).indices
        weights = scores.gather(1, chosen)
        if settings.normalised:
            weights = weights / weights.sum(dim=-1, keepdim=True)
        return weights * settings.scale, chosen

    @property
    def preference(self) -> Float[Tensor, " experts"] | None:
        """What is added to each expert's score where it is decided who is chosen: the biases that there are."""
        lifted = self.settings.bias_rate * self.lifts if self.settings.bias_rate else None
        if not self.settings.choice_bias:
            return lifted
        return self.choice_bias if lifted is None else self.choice_bias + lifted

    def _preferred(self, scores: Float[Tensor, "rows experts"]) -> Float[Tensor, "rows experts"]:
        """What decides who is chosen, and not how much the result weighs: with biases, and without the groups that are
        left out."""
        settings, preference = self.settings, self.preference
        if preference is not None:
            scores = scores + preference
        if settings.top_groups is not None:
            grouped = scores.unflatten(-1, (settings.groups, -1))
            best = grouped.topk(2, dim=-1).values.sum(dim=-1).topk(settings.top_groups, dim=-1).indices
            left_out = torch.ones(grouped.shape[:2], dtype=torch.bool, device=scores.device).scatter(1, best, False)
            scores = grouped.masked_fill(left_out[..., None], -torch.inf).flatten(1)
        return scores

    @torch.no_grad()
    def move_bias(self, load: Int[Tensor, " experts"]) -> None:
        """Lift the bias of every expert with less than the mean load of a step, lower that of those with more."""
        self.lifts += torch.sign(load.double().mean() - load.double()).long()


class Experts(nn.Module):
    """The sum of the chosen experts' results, each times its weight, and of the shared expert's."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        assert config.experts is not None
        self.settings = config.experts
        self.router = Router(config.dim, self.settings)
        one = config.but(hidden_dim=config.expert_dim)
        experts: Any = nn.ModuleList(FeedForward(one) for _ in range(self.settings.count))
        self.experts: list[FeedForward] = experts
        shared = self.settings.shared_dim
        self.shared = FeedForward(config.but(hidden_dim=shared)) if shared else None
        self.shared_gate = nn.Linear(config.dim, 1, bias=False) if self.settings.shared_gate else None
        self.router_logits_point, self.load_point, self.dropped_point = HookPoint(), HookPoint(), HookPoint()

    def forward(
        self, x: Float[Tensor, "batch seq dim"], real: Bool[Tensor, "batch seq"] | None = None
    ) -> Float[Tensor, "batch seq dim"]:
        """Each token by itself; zero for padding, where `real` is False."""
        rows = x.flatten(0, 1)
        if real is None:
            made = self._routed(rows).view(x.shape)
        else:
            at = real.flatten().nonzero()[:, 0]
            made = torch.zeros_like(rows).index_copy(0, at, self._routed(rows.index_select(0, at))).view(x.shape)
        if self.shared is None:
            return made
        shared = self.shared(x)  # row by row of the batch, which may have adapters of their own
        if self.shared_gate is not None:
            shared = torch.sigmoid(self.shared_gate(x)) * shared
        return made + (shared if real is None else shared.masked_fill(~real[..., None], 0))

    def _routed(self, x: Rows) -> Rows:
        logits = self.router_logits_point(self.router(x))
        weights, chosen = self.router.choose(logits)
        weights = weights.to(x.dtype)
        if len(x) == 1 and not self.training:
            return self._one(x, weights[0], chosen[0])
        order = chosen.flatten().argsort(stable=True)  # by expert, and for each as in the text
        sizes = torch.bincount(chosen.flatten(), minlength=self.settings.count).tolist()
        computed = [min(size, self.places(len(x))) for size in sizes]
        self._tell(sizes, computed, chosen)
        if computed != sizes:
            parts = zip(order.split(sizes), computed, strict=True)
            order = torch.cat([part[:most] for part, most in parts])
        rows = order // self.settings.top_k
        states = x.index_select(0, rows).split(computed)
        # In training an expert without rows runs too, for gradients of zero: a parameter without any would be left out
        # of the step, and whether it is must not hang on how the step is split.
        made = [expert(part) for expert, part in zip(self.experts, states, strict=True) if len(part) or self.training]
        if not made:
            return torch.zeros_like(x)
        weighted = torch.cat(made) * weights.flatten().index_select(0, order)[:, None]
        return torch.zeros_like(x).index_add(0, rows, weighted)

    def _one(
        self, x: Float[Tensor, "one dim"], weights: Float[Tensor, " top_k"], chosen: Int[Tensor, " top_k"]
    ) -> Float[Tensor, "one dim"]:
        """A single token, as in decoding: nothing is sorted."""
        experts = chosen.tolist()
        sizes = [int(expert in experts) for expert in range(self.settings.count)]
        self._tell(sizes, sizes, chosen)
        return torch.mm(weights[None], torch.cat([self.experts[expert](x) for expert in experts]))

    def _tell(self, sizes: list[int], computed: list[int], like: Tensor) -> None:
        """Rows that each expert computes, and those that find no place, for whoever is hooked in; what hooks return
        changes nothing, as the rows are what they are."""
        if self.load_point.functions or self.dropped_point.functions:
            load, sent = like.new_tensor(computed), like.new_tensor(sizes)
            self.load_point(load)
            self.dropped_point(sent - load)

    @property
    def idle(self) -> int:
        """Parameters of the experts that a token is not sent to."""
        one = sum(parameter.numel() for parameter in self.experts[0].parameters())
        return (self.settings.count - self.settings.top_k) * one

    def places(self, rows: int) -> int:
        """The most rows that one expert computes; to rows beyond them this layer adds nothing. There is a limit in
        training alone: an answer must not depend on what else is in its batch."""
        if self.settings.capacity is None or not self.training:
            return rows
        return math.ceil(self.settings.capacity * rows * self.settings.top_k / self.settings.count)


def expert_layers(network: nn.Module) -> Iterator[tuple[str, Experts]]:
    """The expert layers of a network, with their paths."""
    return ((path, module) for path, module in network.named_modules() if isinstance(module, Experts))
