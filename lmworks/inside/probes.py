"""Sparse probes: what a few numbers of the residual stream tell of a text's class, after each layer.

    stages = states(network, texts)                  # [layers + 1, texts, dim]: each text's mean state
    probe = sparse_probe(stages[5], classes, 8)      # by the eight numbers that tell the classes apart best
    probe.tells(others)                              # their classes

That a probe tells a class shows that it can be read off, not that the network uses it. How much of that is the probe's
own skill, control labels show: classes dealt to the texts' first words at random, so that they are as frequent, as
learnable by heart, and mean nothing. Selectivity is how much better the real ones are told.
Sources: Gurnee et al. 2023, https://arxiv.org/abs/2305.01610 (few numbers); Hewitt and Liang 2019,
https://arxiv.org/abs/1909.03368 (control labels).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lmworks.basics import progress
from lmworks.basics.arrays import Float, Int
from lmworks.basics.errors import ConfigError
from lmworks.models.hooks import HookFunction, hooked
from lmworks.models.network import Network, evaluating

ROWS = 8
"""Texts that the network reads together."""
PENALTY = 0.01
"""Of a probe's squared weights."""


@torch.no_grad()
def states(network: Network, texts: Sequence[Sequence[int]]) -> Float[Tensor, "stages texts dim"]:
    """The mean over each text's tokens of the stream before the first block and after each, in float32. ConfigError for
    an encoder-decoder, a text without tokens, and one that is longer than the network reads."""
    config = network.config
    if config.arrangement == "encoder-decoder":
        raise ConfigError("a probe reads the one stream of a decoder or an encoder, and this network has two")
    if not texts or not all(0 < len(one) <= config.context for one in texts):
        raise ConfigError(f"a probe reads texts of 1 to {config.context:,} tokens; cut the others, or leave them out")
    found = torch.empty(config.layers + 1, len(texts), config.dim)
    by_length = sorted(range(len(texts)), key=lambda at: len(texts[at]))
    with progress.task("reading texts", len(texts), "texts") as advance, evaluating(network):
        for first in range(0, len(texts), ROWS):
            places = by_length[first : first + ROWS]
            _read(network, [texts[at] for at in places], found, places)
            advance(len(places))
    return found


def _read(network: Network, texts: Sequence[Sequence[int]], found: Tensor, places: list[int]) -> None:
    """Put the mean states of some texts into `found`."""
    longest, device = max(map(len, texts)), network.device
    tokens = torch.tensor([[*one, *[0] * (longest - len(one))] for one in texts], device=device)
    real = torch.arange(longest, device=device) < torch.tensor([len(one) for one in texts], device=device)[:, None]

    def reader(stage: int) -> HookFunction:
        def read(stream: Tensor) -> None:
            summed = stream.float().masked_fill(~real[..., None], 0).sum(dim=1)
            found[stage, places] = (summed / real.sum(dim=1, keepdim=True)).cpu()

        return read

    points = {"blocks.0.residual_in": reader(0)}
    points |= {f"blocks.{layer}.residual_out": reader(layer + 1) for layer in range(network.config.layers)}
    with hooked(network, points):
        network.hidden(tokens, real)


@dataclass(frozen=True, eq=False)
class Probe:
    """A logistic regression on a few numbers of a state."""

    units: tuple[int, ...]
    """Their places in the state, the most telling first."""
    middle: Float[Tensor, " units"]
    scale: Float[Tensor, " units"]
    weights: Float[Tensor, "classes units"]
    biases: Float[Tensor, " classes"]

    def tells(self, x: Float[Tensor, "texts dim"]) -> Int[Tensor, " texts"]:
        """The likeliest class of each state."""
        scaled = (x[:, self.units].double() - self.middle) / self.scale
        return (scaled @ self.weights.T + self.biases).argmax(dim=1)


def sparse_probe(x: Float[Tensor, "texts dim"], classes: Int[Tensor, " texts"], units: int) -> Probe:
    """A probe of as many numbers of a state; all of them where the state has fewer."""
    chosen = most_telling(x, classes, units)
    taken = x[:, chosen].double()
    middle, scale = taken.mean(dim=0), taken.std(dim=0) + 1e-6
    weights, biases = logistic_regression((taken - middle) / scale, classes, PENALTY)
    return Probe(tuple(chosen), middle, scale, weights, biases)


def most_telling(x: Float[Tensor, "texts dim"], classes: Int[Tensor, " texts"], units: int) -> list[int]:
    """The numbers whose means differ most between classes, beside their spread within (F of an analysis of variance),
    the first first."""
    x = x.double()
    groups = [x[classes == one] for one in classes.unique()]
    between = sum(len(one) * (one.mean(dim=0) - x.mean(dim=0)) ** 2 for one in groups)
    within = torch.stack([((one - one.mean(dim=0)) ** 2).sum(dim=0) for one in groups]).sum(dim=0)
    return (between / (within + 1e-12)).argsort(descending=True, stable=True)[:units].tolist()


def control_labels(words: Sequence[str], classes: Sequence[int], seed: int) -> list[int]:
    """A class for each text that its word decides and nothing else: drawn from the classes as often as they occur, the
    same one wherever the word stands."""
    dealt = {word: random.Random(f"control/{seed}/{word}").choice(sorted(classes)) for word in dict.fromkeys(words)}
    return [dealt[word] for word in words]


def logistic_regression(
    features: Float[Tensor, "texts dim"], classes: Int[Tensor, " texts"], penalty: float
) -> tuple[Float[Tensor, "classes dim"], Float[Tensor, " classes"]]:
    """The weights and biases that minimise the mean cross-entropy plus penalty / 2 times the squared weights."""
    count = int(classes.max()) + 1
    weights = torch.zeros(count, features.shape[1], dtype=features.dtype, requires_grad=True)
    biases = torch.zeros(count, dtype=features.dtype, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights, biases], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = F.cross_entropy(features @ weights.T + biases, classes) + penalty / 2 * weights.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.enable_grad():
        optimiser.step(closure)  # type: ignore[no-untyped-call]
    return weights.detach(), biases.detach()
