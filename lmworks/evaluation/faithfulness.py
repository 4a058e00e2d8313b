"""Whether an attribution is true to the model: what becomes of an answer without the tokens that are said to carry it,
and with them alone, beside a random ranking of the same tokens.

    measure(network, items, "occlusion", away=end)      # Measurements, each a paired difference to a random ranking

Comprehensiveness is how much less probable the answer gets without the first tokens of the ranking (more is better),
sufficiency how much less with them alone (less is better), each on the mean over shares of the prompt (DeYoung et al.
2020, https://arxiv.org/abs/1911.03429). Tokens are deleted in two ways, as a text with holes is none that a model
knows: a neutral token stands in their place, or the rest is joined.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import torch

from lmworks.basics import progress
from lmworks.basics.errors import ConfigError
from lmworks.evaluation import statistics
from lmworks.evaluation.measurement import Measurement
from lmworks.inside.attribution import STEPS, Explained, Ids, attribute, explain
from lmworks.models.network import Network, evaluating

SHARES = (0.01, 0.05, 0.1, 0.2, 0.5)
"""Of a prompt's tokens that are deleted, or kept."""
Item = tuple[Ids, Ids]
"""A prompt and its answer."""


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
def _of(network: Network, item: Item, ranking: Sequence[int], away: int) -> dict[tuple[str, str], float]:
    """Comprehensiveness and sufficiency of a ranking, each by both ways of deleting."""
    prompt, answer = item
    firsts = [set(ranking[: math.ceil(share * len(ranking))]) for share in SHARES]
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
