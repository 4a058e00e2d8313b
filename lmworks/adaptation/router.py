"""Which of several models, or adapters, a text belongs to: the nearest mean of the base's hidden states.

    router = Router.of([states(base, texts) for texts in (own, french, german)])
    router.distances(states(base, documents)).argmin(1)      # 0 where the base itself should read it

Distances are along each dimension in units of how far texts of one kind spread there, as a few dimensions of a
language model's states are hundreds of times as large as the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lmworks.basics.arrays import Float
from lmworks.language_model import LanguageModel
from lmworks.models.network import evaluating

BEGINNING = 64
"""Tokens of a text that tell where it belongs."""


@dataclass(frozen=True)
class Router:
    """Means of kinds of texts."""

    means: Float[Tensor, "kinds dim"]
    spread: Float[Tensor, " dim"]

    @classmethod
    def of(cls, kinds: Sequence[Float[Tensor, "_ dim"]]) -> Router:
        """From the states of some texts of each kind."""
        means = torch.stack([one.mean(0) for one in kinds])
        within = torch.cat([one - mean for one, mean in zip(kinds, means, strict=True)])
        return cls(means, within.square().mean(0).sqrt().clamp_min(1e-6))

    def distances(self, states: Float[Tensor, "texts dim"]) -> Float[Tensor, "texts kinds"]:
        """How far each text is from each kind."""
        return torch.cdist(states / self.spread, self.means / self.spread)


@torch.inference_mode()
def states(model: LanguageModel, texts: Sequence[Sequence[int]]) -> Float[Tensor, "texts dim"]:
    """The mean of the last hidden states over the beginning of each text, given by its ids."""
    found = []
    with evaluating(model.network):
        for ids in texts:
            tokens = torch.tensor([ids[:BEGINNING]], device=model.network.device)
            found.append(model.network.hidden(tokens)[0].float().mean(0).cpu())
    return torch.stack(found)
