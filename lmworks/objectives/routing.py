"""Losses on what routers of experts do, which add up with the objective whose pass they judge:

    CausalLM() + LoadBalance(0.01) + RouterZLoss(1e-3)

Both are means over the layers that have experts, and over the tokens of each that are no padding.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from lmworks.basics.errors import ConfigError
from lmworks.objectives.loss import Loss, Objective, check_strength
from lmworks.tokens.labels import IGNORE

if TYPE_CHECKING:  # recipes are read without torch
    from torch import Tensor

    from lmworks.basics.arrays import Float, Int
    from lmworks.models.network import Network
    from lmworks.tokens.batch import Batch

Heard = dict[str, dict[str, list[Any]]]
"""Tensors at each hook point of each layer, by its path."""
POINTS = ("router_logits", "load", "dropped")


@dataclass(eq=False)
class RouterLoss(Objective):
    """A loss on the routers' logits in the pass of another objective, which comes before it in the sum."""

    strength: float
    """What the loss is multiplied by."""

    _heard: Heard | None = field(default=None, init=False, repr=False)
    """What the layers' hook points said in the pass that is under way."""

    def __post_init__(self) -> None:
        check_strength(f"the strength of {type(self).__name__}", self.strength)

    @contextmanager
    def beside(self, network: Network) -> Iterator[None]:
        """Listen to the routers; ConfigError where there are none."""
        from lmworks.models.experts import expert_layers
        from lmworks.models.hooks import hooked

        if self._heard is not None:  # inside a sum of such losses
            yield
            return
        paths = [path for path, _ in expert_layers(network)]
        if not paths:
            raise ConfigError(f"{type(self).__name__} judges routers, and the network has no experts; leave it out")
        self._heard = {path: {point: [] for point in POINTS} for path in paths}
        functions = {f"{path}.{point}": heard[point].append for path, heard in self._heard.items() for point in POINTS}
        try:
            with hooked(network, functions):
                yield
        finally:
            self._heard = None

    def __call__(self, network: Network, batch: Batch) -> Loss:
        """The loss; ConfigError where no pass was heard."""
        import torch

        if not self._heard or not any(heard["router_logits"] for heard in self._heard.values()):
            name = type(self).__name__
            raise ConfigError(
                f"{name} judges the pass of the objective before it in a sum; write CausalLM() + {name}(...)"
            )
        scores = network.config.experts.scores if network.config.experts is not None else "softmax"
        layers = {
            path: torch.stack(
                [
                    self.over_tokens(logits, load, dropped, scores)
                    for logits, load, dropped in zip(*heard.values(), strict=True)
                ]
            ).sum()
            for path, heard in self._heard.items()
        }
        counts = self.counts(batch)
        own, *beside = (
            Loss(sum(parts, torch.zeros(())) * (count > 0) * self.strength / len(layers), count)
            for parts, count in zip(self._by_stack(layers, batch), counts, strict=True)
        )
        return sum(beside, own)

    @staticmethod
    def _by_stack(layers: dict[str, Tensor], batch: Batch) -> list[list[Tensor]]:
        """The layers of each stack that reads tokens of its own, in the order of `counts`."""
        if batch.source is None:
            return [list(layers.values())]
        inside = [path.startswith("encoder.") for path in layers]
        return [
            [one for one, it in zip(layers.values(), inside, strict=True) if it == which] for which in (False, True)
        ]

    def counts(self, batch: Batch) -> tuple[int, ...]:
        """Tokens that are no padding; of an encoder-decoder those of the target, and those of the source."""
        return tokens_sent(batch)

    @abstractmethod
    def over_tokens(
        self,
        logits: Float[Tensor, "tokens experts"],
        load: Int[Tensor, " experts"],
        dropped: Int[Tensor, " experts"],
        scores: Literal["softmax", "sigmoid"],
    ) -> Float[Tensor, ""]:
        """The loss of one layer's pass, times its tokens."""


def tokens_sent(batch: Batch) -> tuple[int, ...]:
    """Tokens of a batch that routers are judged by, and those of its source where it has one.

    Padding is not counted, nor are rows in which nothing is predicted, as they only fill up a batch.
    """
    import torch

    judged = batch.supervised or (batch.classes is not None and bool((batch.classes != IGNORE).any()))
    real = [batch.documents >= 0]
    if batch.source is not None:
        real.append(torch.ones_like(batch.source) if batch.source_real is None else batch.source_real)
    return tuple(int(one.sum()) if judged else 0 for one in real)


class LoadBalance(RouterLoss):
    """strength x experts x the sum over experts of (share of tokens sent there) x (mean of the router's probability):
    least, `top_k`, where all have the same load (Fedus et al. 2021, https://arxiv.org/abs/2101.03961, section 2.2).

    With one layer it equals transformers'. With several, transformers levels only their mean, so that one layer's
    overload can make up for another's. It is a product of two means over the tokens of a micro-batch: smaller
    micro-batches ask for balance within each, and give another gradient. No other loss here depends on the split.
    """

    def over_tokens(
        self, logits: Tensor, load: Tensor, dropped: Tensor, scores: Literal["softmax", "sigmoid"]
    ) -> Tensor:
        """The product of the means, times the tokens."""
        tokens, experts = logits.shape
        if (
            scores == "sigmoid"
        ):  # as shares, which sum to 1 (DeepSeek-AI 2024, https://arxiv.org/abs/2412.19437, equation 18)
            probabilities = logits.float().sigmoid()
            probabilities = probabilities / probabilities.sum(dim=-1, keepdim=True)
        else:
            probabilities = logits.float().softmax(dim=-1)
        sent = (load + dropped).float() / max(tokens, 1)
        return experts * (sent * probabilities.sum(dim=0)).sum()


class RouterZLoss(RouterLoss):
    """strength x the squared log of the softmax's normaliser, which keeps the router's logits from drifting.

    ST-MoE takes 1e-3 (Zoph et al. 2022, https://arxiv.org/abs/2202.08906, equation 5). It is a sum over tokens, so no
    split changes its step.
    """

    def over_tokens(
        self, logits: Tensor, load: Tensor, dropped: Tensor, scores: Literal["softmax", "sigmoid"]
    ) -> Tensor:
        """The squares, summed."""
        return logits.float().logsumexp(dim=-1).square().sum()
