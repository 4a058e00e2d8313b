"""Whether an attribution is true to the model: what becomes of an answer without the tokens that are said to carry it,
and with them alone, beside a random ranking of the same tokens.

    measure(network, items, "occlusion", away=end)      # Measurements, each a paired difference to a random ranking
    beside_random(network, model.attribute("The capital of France is"))         # one prompt, a hundred random rankings

Comprehensiveness is how much less probable the answer gets without the highest-ranked tokens (more is better),
sufficiency how much less with them alone (less is better), each on the mean over shares of the prompt (DeYoung et al.
2020, https://arxiv.org/abs/1911.03429). Over many prompts that is in probability, as there; of one prompt in nats: an
answer that is improbable as a whole would lose nearly all of its probability by any ranking. Tokens are deleted in two
ways, as a text with holes is none that a model knows: a neutral token stands in their place, or the rest is joined.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from lmworks.basics import progress
from lmworks.basics.errors import ConfigError
from lmworks.evaluation import statistics
from lmworks.evaluation.measurement import Measurement
from lmworks.inside.attribution import ROWS, STEPS, Attribution, Explained, Ids, attribute, explain
from lmworks.models.full_precision import in_full_precision
from lmworks.models.network import Network, evaluating

SHARES = (0.01, 0.05, 0.1, 0.2, 0.5)
"""Of a prompt's tokens that are deleted, or kept."""
RANKINGS = 100
"""Random rankings beside one attribution."""
Item = tuple[Ids, Ids]
"""A prompt and its answer."""
Places = frozenset[int]
"""Tokens of a prompt, by where they stand."""


@dataclass(frozen=True)
class BesideRandom:
    """A figure of an attribution, beside those of random rankings of the same tokens."""

    value: float
    by_chance: float
    """Of random rankings, on average."""
    beaten: float
    """The share of random rankings that do worse, those that do as well counted half; 0.5 by chance."""
    rankings: int
    """How many there were."""


@dataclass(frozen=True)
class Faithfulness:
    """How faithful an attribution is to the model, in nats of what it explains: the answer's log-probability, less that
    of another answer where the two are compared."""

    comprehensiveness: BesideRandom
    """What is lost without the tokens that rank first: more is better."""
    sufficiency: BesideRandom
    """What is lost with these alone: less is better."""


def measure(
    network: Network, items: Sequence[Item], method: str, *, away: int, seed: int = 0, steps: int = STEPS
) -> list[Measurement]:
    """Comprehensiveness and sufficiency of a method minus those of a random ranking, by both ways of deleting, in
    probability of the answer. ConfigError for fewer than two items, or prompts of one token."""
    if len(items) < 2 or min(len(prompt) for prompt, _ in items) < 2:
        raise ConfigError("faithfulness is measured on at least two prompts, of at least two tokens each")
    draw = random.Random(seed)
    figures: dict[tuple[str, str], list[float]] = {}
    with progress.task(f"faithfulness, {method}", len(items), "prompts") as advance, evaluating(network):
        for prompt, answer in items:
            ranking = attribute(network, prompt, answer, away=away, method=method, steps=steps).ranking()
            chosen, by_chance = (
                _of(network, (prompt, answer), order, away) for order in (ranking, draw.sample(ranking, len(ranking)))
            )
            for name, value in chosen.items():
                figures.setdefault(name, []).append(value - by_chance[name])
            advance(1)
    estimates = {name: statistics.mean(values) for name, values in figures.items()}
    return [
        Measurement(
            name=f"{what} beside a random ranking, {method}, tokens {way}",
            value=estimate.value,
            interval=estimate.interval,
            n=len(items),
            seeds=(seed,),
            difference=True,
        )
        for (what, way), estimate in estimates.items()
    ]


@torch.no_grad()
def beside_random(network: Network, found: Attribution, *, rankings: int = RANKINGS, seed: int = 0) -> Faithfulness:
    """Whether one attribution is truer to the network than random rankings of the same tokens, where a neutral token
    stands in place of those that are away. ConfigError for a prompt of one token."""
    places = range(len(found.prompt_ids))
    if len(places) < 2:
        raise ConfigError("the prompt has one token, which can be ranked in one way; faithfulness needs two or more")
    draw = random.Random(seed)
    orders = [found.ranking(), *(draw.sample(places, len(places)) for _ in range(rankings))]
    firsts = [[frozenset(first) for first in _firsts(order)] for order in orders]
    every = frozenset(places)
    network = in_full_precision(network)
    with evaluating(network):
        explained = explain(network, found.prompt_ids, found.answer_ids, found.instead_ids, found.away)
        asked = {every, *(one for of in firsts for first in of for one in (first, every - first))}
        nats = _nats(explained, sorted(asked, key=sorted))

    def lost(texts: Iterable[Places]) -> float:
        return nats[every] - sum(nats[one] for one in texts) / len(SHARES)

    without = [lost(every - first for first in of) for of in firsts]
    alone = [lost(of) for of in firsts]
    return Faithfulness(_beside(without, 1), _beside(alone, -1))


def _beside(figures: Sequence[float], better: int) -> BesideRandom:
    """The first of some figures beside the rest."""
    value, rest = figures[0], figures[1:]
    beaten = sum((better * (value - one) > 0) + 0.5 * (value == one) for one in rest)
    return BesideRandom(value, sum(rest) / len(rest), beaten / len(rest), len(rest))


def _firsts(ranking: Sequence[int]) -> list[set[int]]:
    """The tokens that rank first, of each share of them."""
    return [set(ranking[: math.ceil(share * len(ranking))]) for share in SHARES]


def _nats(explained: Explained, texts: Sequence[Places]) -> dict[Places, float]:
    """What is explained, with only some places there. Rankings share many of them: each is read once."""
    found: list[float] = []
    with progress.task("faithfulness", len(texts), "texts") as advance:
        for start in range(0, len(texts), ROWS):
            part = texts[start : start + ROWS]
            present = torch.zeros(len(part), len(explained.prompt), device=explained.network.device)
            for row, places in enumerate(part):
                present[row, list(places)] = 1
            found += explained(present).double().tolist()
            advance(len(part))
    return dict(zip(texts, found, strict=True))


@torch.no_grad()
def _of(network: Network, item: Item, ranking: Sequence[int], away: int) -> dict[tuple[str, str], float]:
    """Comprehensiveness and sufficiency of a ranking, each by both ways of deleting."""
    prompt, answer = item
    firsts = _firsts(ranking)
    kept = {
        "comprehensiveness": [[at for at in range(len(ranking)) if at not in first] for first in firsts],
        "sufficiency": [sorted(first) for first in firsts],
    }
    explained = explain(network, prompt, answer, away=away)
    whole = _probability(explained, [range(len(ranking))])
    found = {}
    for what, texts in kept.items():
        found[what, "replaced"] = whole - _probability(explained, texts)
        joined = [explain(network, [prompt[at] for at in places] or [away], answer, away=away) for places in texts]
        found[what, "removed"] = whole - sum(_probability(one, [range(len(one.prompt))]) for one in joined) / len(
            joined
        )
    return found


def _probability(explained: Explained, texts: Sequence[Sequence[int]]) -> float:
    """The answer's, on the mean over texts of which only some places are there."""
    present = torch.zeros(len(texts), len(explained.prompt), device=explained.network.device)
    for row, places in enumerate(texts):
        present[row, list(places)] = 1
    return float(explained(present).exp().mean())
