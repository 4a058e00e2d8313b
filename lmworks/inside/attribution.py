"""Which tokens of a prompt carry an answer: each gets a share of the answer's log-probability.

    found = attribute(network, prompt, answer)                     # ids; by occlusion
    found.scores                                                   # [seq], one number for each token of the prompt
    attribute(network, prompt, answer, method="integrated-gradients").left            # what its shares do not add up to
    attribute(network, prompt, answer, instead=other)              # why this answer, and not the other

Explained is log p(answer | prompt), summed over the answer's tokens; with `instead`, how much more that is than the
same of another answer (contrastive: Yin and Neubig 2022, https://arxiv.org/abs/2202.10419). In place of a token that is
away stands a neutral one. The zero vector, which others take, is no good start for a network that norms what it reads:
nearly all of the way from zero to a text lies in its first hundredths, and an integral misses it (`left` tells).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from lmworks.basics import progress
from lmworks.basics.arrays import Float
from lmworks.basics.errors import ConfigError
from lmworks.inside.attributions import ATTRIBUTIONS, must_be_attribution
from lmworks.models.full_precision import in_full_precision
from lmworks.models.hooks import hooked
from lmworks.models.network import Network, evaluating

STEPS = 400
"""Most gradients that are taken for an integral."""
POINTS = 8
"""Those taken on one part of the way."""
NEAR = 0.02
"""What the shares may miss, as a share of the whole change (of 1 nat, where it is smaller)."""
ROWS = 8
"""Rows that the network reads together."""

Ids = Sequence[int]


@dataclass(frozen=True, eq=False)
class Attribution:
    """What each token of a prompt adds to what is explained, in nats."""

    method: str
    scores: Float[Tensor, " seq"]
    value: float
    """What is explained, of the prompt as it is."""
    baseline: float
    """The same with all of the prompt's tokens away."""
    prompt_ids: tuple[int, ...]
    """The prompt's tokens, one a score."""
    answer_ids: tuple[int, ...]
    """The tokens of the answer that is explained, ..."""
    instead_ids: tuple[int, ...] | None = None
    """... and of the one that it is compared with."""
    away: int | None = None
    """What stands in the place of a token that is away; None for a zero vector."""
    pieces: tuple[str, ...] = ()
    """The tokens' texts, where they are known."""
    answer: str = ""
    """The answer's text, where it is known."""

    @property
    def adds_up(self) -> bool:
        """Does the method promise that the scores add up to the whole change?"""
        return self.method == "integrated-gradients"

    @property
    def left(self) -> float:
        """What the scores do not add up to; only integrated gradients promise that it is small."""
        return self.value - self.baseline - float(self.scores.sum())

    def ranking(self) -> list[int]:
        """Places in the prompt, the most supporting first."""
        return self.scores.argsort(descending=True, stable=True).tolist()


@dataclass(frozen=True, eq=False)
class Explained:
    """What is explained, as a function of how much of each of the prompt's embeddings is there."""

    network: Network
    prompt: tuple[int, ...]
    answers: tuple[tuple[float, tuple[int, ...]], ...]
    """A sign and an answer: +1 what was said, -1 what it is compared with."""
    there: Float[Tensor, "seq dim"]
    """The prompt's embeddings, as they enter the blocks."""
    away: Float[Tensor, "seq dim"]
    """What stands in place of tokens that are away."""

    def __call__(self, present: Float[Tensor, "rows seq"]) -> Float[Tensor, " rows"]:
        """Its value when each of the prompt's embeddings is `present` to this degree: 1 in full, 0 not at
        all."""
        entering = self._entering(present[..., None])
        return self._value(entering)

    def gradients(self, share: Float[Tensor, " rows"]) -> Float[Tensor, "rows seq dim"]:
        """Its gradient by the prompt's embeddings on the way to them, at one share of it a row."""
        entering = self._entering(share[:, None, None]).requires_grad_()
        with torch.enable_grad():
            return torch.autograd.grad(self._value(entering).sum(), entering)[0]

    @property
    def way(self) -> Float[Tensor, "seq dim"]:
        """From the neutral embeddings to the prompt's."""
        return self.there - self.away

    def _entering(self, share: Tensor) -> Float[Tensor, "rows seq dim"]:
        return self.away + share.to(self.way.dtype) * self.way

    def _value(self, entering: Float[Tensor, "rows seq dim"]) -> Float[Tensor, " rows"]:
        signed = [sign * self._logprob(answer, entering) for sign, answer in self.answers]
        return torch.stack(signed).sum(dim=0)

    def _logprob(self, answer: tuple[int, ...], entering: Float[Tensor, "rows seq dim"]) -> Float[Tensor, " rows"]:
        """log p(answer | prompt), with other embeddings of the prompt."""
        rows, seq = entering.shape[:2]

        def enter(embedded: Tensor) -> Tensor:
            return torch.cat([entering, embedded[:, seq:].expand(rows, -1, -1)], dim=1)

        ids = torch.tensor([[*self.prompt, *answer[:-1]]], device=self.network.device)
        with hooked(self.network, {"embedding": enter}):
            hidden = self.network.hidden(ids)
        logits = self.network.logits(hidden[:, seq - 1 :])
        wanted = torch.tensor(answer, device=logits.device).expand(rows, -1)
        return logits.log_softmax(dim=-1).gather(2, wanted[..., None])[..., 0].sum(dim=1)


def attribute(
    network: Network,
    prompt: Ids,
    answer: Ids,
    *,
    instead: Ids | None = None,
    away: int | None = None,
    method: str = "occlusion",
    steps: int = STEPS,
) -> Attribution:
    """The share of each token of `prompt` in log p(answer), or in how much likelier it is than `instead`. In place of
    tokens that are away stands the token `away`, or a zero vector. A network in 16 bits is copied into float32: the
    gradients along the way would be wrong otherwise, and nothing would tell.

    ConfigError for a method that is not in `METHODS`, an empty prompt or answer, one that is longer than the network
    reads, or a network that is no decoder.
    """
    must_be_attribution(method)
    network = in_full_precision(network)
    with evaluating(network):
        explained = explain(network, prompt, answer, instead, away)
        with torch.no_grad():
            ends = explained(torch.tensor([[1.0], [0.0]], device=network.device))
        scores = METHODS[method](explained, steps)
    other = None if instead is None else tuple(instead)
    return Attribution(
        method, scores.float().cpu(), float(ends[0]), float(ends[1]), tuple(prompt), tuple(answer), other, away
    )


def explain(
    network: Network, prompt: Ids, answer: Ids, instead: Ids | None = None, away: int | None = None
) -> Explained:
    """What is to be explained; ConfigError where there is nothing."""
    if network.config.arrangement != "decoder":
        raise ConfigError(f"the network is an {network.config.arrangement}, and answers are explained of decoders")
    for name, ids in (("prompt", prompt), ("answer", answer), ("other answer", instead)):
        if ids is not None and not len(ids):
            raise ConfigError(f"the {name} is empty: there is nothing to explain")
    seq = len(prompt) + max(len(answer), len(instead or ())) - 1
    if seq > network.longest:
        raise ConfigError(
            f"prompt and answer have {seq + 1:,} tokens and the model reads {network.longest:,}; shorten them"
        )
    if instead is not None and list(instead) == list(answer):
        raise ConfigError("the answer is compared with itself; give a different one, or none")
    answers = [(1.0, tuple(answer))] + ([] if instead is None else [(-1.0, tuple(instead))])
    there = _embedded(network, prompt)
    neutral = torch.zeros_like(there) if away is None else _embedded(network, [away] * len(prompt))
    return Explained(network, tuple(prompt), tuple(answers), there, neutral)


@torch.no_grad()
def _embedded(network: Network, ids: Ids) -> Float[Tensor, "seq dim"]:
    seen: list[Tensor] = []
    with hooked(network, {"embedding": lambda embedded: seen.append(embedded[0].clone())}):
        network.hidden(torch.tensor([list(ids)], device=network.device))
    return seen[0]


def integral(explained: Explained, low: float, high: float, points: int) -> Float[Tensor, " seq"]:
    """Integrated gradients of a part of the way (Sundararajan et al. 2017, https://arxiv.org/abs/1703.01365), by the
    points and weights of Gauss and Legendre."""
    at, weights = (torch.from_numpy(one) * (high - low) / 2 for one in np.polynomial.legendre.leggauss(points))
    total = explained.way.new_zeros(explained.way.shape, dtype=torch.float64)
    for share, weight in zip(((low + high) / 2 + at).split(ROWS), weights.split(ROWS), strict=True):
        gradients = explained.gradients(share.to(total.device)).double()
        total += torch.einsum("rsd,r->sd", gradients, weight.to(total.device))
    return (total * explained.way).sum(dim=-1)


def _integrated_gradients(explained: Explained, steps: int) -> Float[Tensor, " seq"]:
    """The part of the way with the largest error is halved until all errors add up to less than `NEAR` of the change
    there is to explain, or `steps` gradients were taken. Language models need it: much happens in short parts."""
    # How many gradients will do is not known before: as many as may be taken are a bound.
    with progress.task("explaining the answer", steps, "gradients", stays=False) as advance:
        parts, taken = [_Part.of(explained, 0.0, 1.0)], POINTS
        advance(POINTS)
        near = NEAR * max(abs(parts[0].change), 1.0)
        while sum(one.error for one in parts) > near and taken + 2 * POINTS <= steps:
            worst = max(parts, key=lambda one: one.error)
            parts.remove(worst)
            middle = (worst.low + worst.high) / 2
            halves = [_Part.of(explained, worst.low, middle), _Part.of(explained, middle, worst.high)]
            differs = float((halves[0].scores + halves[1].scores - worst.scores).abs().sum())
            missed = (abs(half.change - float(half.scores.sum())) for half in halves)
            parts += [replace(half, error=max(differs / 2, one)) for half, one in zip(halves, missed, strict=True)]
            taken += 2 * POINTS
            advance(2 * POINTS)
    return torch.stack([one.scores for one in parts]).sum(dim=0)


@dataclass(frozen=True, eq=False)
class _Part:
    """A part of the way, with what changes there and the shares of it."""

    low: float
    high: float
    change: float
    scores: Float[Tensor, " seq"]
    error: float
    """What the shares may be wrong by: how much finer ones differ, or what they miss of the change."""

    @classmethod
    @torch.no_grad()
    def of(cls, explained: Explained, low: float, high: float) -> _Part:
        ends = explained(torch.tensor([[low], [high]], device=explained.network.device))
        return cls(low, high, float(ends[1] - ends[0]), integral(explained, low, high, POINTS), math.inf)


def _gradient_x_input(explained: Explained, steps: int) -> Float[Tensor, " seq"]:
    """The gradient at the prompt, times the way to it (Shrikumar et al. 2016, https://arxiv.org/abs/1605.01713)."""
    gradients = explained.gradients(torch.ones(1, device=explained.network.device))
    return (gradients[0].double() * explained.way).sum(dim=-1)


@torch.no_grad()
def _occlusion(explained: Explained, steps: int) -> Float[Tensor, " seq"]:
    """How much less it is without each token, one at a time (Zeiler and Fergus 2014, https://arxiv.org/abs/1311.2901).
    The prompt stands first in every pass, beside the others: rounding is the same."""
    seq = len(explained.prompt)
    gone = torch.ones(seq, seq, device=explained.network.device).fill_diagonal_(0)
    parts = []
    with progress.task("explaining the answer", seq, "tokens", stays=False) as advance:
        for rows in gone.split(ROWS):
            values = explained(torch.cat([torch.ones_like(rows[:1]), rows]))
            parts.append(values[0] - values[1:])
            advance(len(rows))
    return torch.cat(parts)


Method = Callable[[Explained, int], Float[Tensor, " seq"]]
METHODS: dict[str, Method] = dict(
    zip(ATTRIBUTIONS, (_integrated_gradients, _gradient_x_input, _occlusion), strict=True)
)
