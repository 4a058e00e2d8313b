"""Membership: can it be told from a model whether it was trained on a text?

    texts = members_and_others(model, parts.train, parts.held_out)
    attacks = membership(scored(model, texts), scored(base, texts), texts)

Attacks, each a score that is higher for texts that were learnt; how often a member's is above a non-member's is
the area under the ROC curve, and 0.5 is chance. Beside them stands a classifier that sees the texts alone and no model:
where it does better than chance, members and non-members are of different kinds, and the attacks' figures say nothing
(Das et al. 2024, https://arxiv.org/abs/2406.16201). Draw both at random from one pool without duplicates.

    loss       log-probability of a token (Yeom et al. 2018, https://arxiv.org/abs/1709.01604)
    min-k%++   of the least likely fifth of the tokens, each beside what the model expects there
               (Zhang et al. 2024, https://arxiv.org/abs/2404.02936)
    reference  how much better the tuned model reads it than its base (Carlini et al. 2021,
               https://arxiv.org/abs/2012.07805)
    shadows    how much likelier the score is under models that learnt the text than under others, tuned for it (LiRA;
               `lira`, and `jobs.shadows`)
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lmworks.basics import progress
from lmworks.basics.arrays import Float, Int
from lmworks.basics.errors import ConfigError, DataError
from lmworks.evaluation import statistics
from lmworks.evaluation.likelihood import counted_tokens
from lmworks.evaluation.measurement import Measurement
from lmworks.generation.scoring import ROWS, refuse_unless_causal
from lmworks.language_model import LanguageModel
from lmworks.models.network import evaluating
from lmworks.models.runner import Runner
from lmworks.text.document import Document

LOWEST = 0.2
"""Share of the tokens that min-k%++ looks at."""
ENOUGH = 1_000
"""Non-members from which on one false alarm of a hundred is ten texts, and not one."""
FALSE_ALARMS = 0.01
FOLDS = 5
"""Parts of the texts; each is classified by a classifier that was trained on the others."""


@dataclass(frozen=True)
class MembershipTexts:
    """Members and non-members, as a model reads them."""

    members: list[Document]
    others: list[Document]
    tokens: int
    """At most this many of each text are read."""


class MembershipScore(NamedTuple):
    """What a model makes of a text."""

    logprob: float
    """Mean log-probability of a counted token, in nats."""
    lowest: float
    """min-k%++: the mean of the lowest fifth of (log p - mu) / sigma."""


def scored(model: LanguageModel, texts: MembershipTexts) -> tuple[list[MembershipScore], list[MembershipScore]]:
    """Of each member and each non-member. DataError where a text has nothing that could be scored."""
    sides = []
    with progress.task("membership", len(texts.members) + len(texts.others), "texts") as advance:
        for documents in (texts.members, texts.others):
            side = []
            for document in documents:
                [(ids, counted)] = counted_tokens(model, [document], document.source, texts.tokens)
                side.append(score(model.runner, ids, counted))
                advance(1)
            sides.append(side)
    return sides[0], sides[1]


@torch.inference_mode()
def score(runner: Runner, ids: list[int], counted: list[bool]) -> MembershipScore:
    """Of one text whose tokens fit into the context."""
    refuse_unless_causal(runner.network)
    tokens = torch.tensor([ids], device=runner.network.device)
    real = torch.tensor(counted[1:], device=runner.network.device)
    with evaluating(runner.network):
        hidden = runner.hidden(tokens[:, :-1])[0]
        parts = list(_beside_the_expected(runner, hidden[real], tokens[0, 1:][real]))
    logprobs, z = (torch.cat(column).double().cpu().numpy() for column in zip(*parts, strict=True))
    return MembershipScore(float(logprobs.mean()), lowest_mean(z))


def _beside_the_expected(
    runner: Runner, hidden: Float[Tensor, "seq dim"], wanted: Int[Tensor, " seq"]
) -> Iterator[tuple[Tensor, Tensor]]:
    """log p of each token, and its distance from the mean of log p over the vocabulary, in standard deviations."""
    for states, tokens in zip(hidden.split(ROWS), wanted.split(ROWS), strict=True):
        logp = runner.logits(states).log_softmax(-1)
        p = logp.exp()
        mean = (p * logp).sum(-1)
        deviation = (p * (logp - mean[:, None]).square()).sum(-1).sqrt()
        own = logp.gather(1, tokens[:, None])[:, 0]
        yield own, (own - mean) / deviation.clamp_min(1e-6)


def lowest_mean(values: Float[np.ndarray, " tokens"], share: float = LOWEST) -> float:
    """The mean of the lowest share of some values, of at least one."""
    count = max(1, int(len(values) * share))
    return float(np.sort(values)[:count].mean())


def attacks(
    tuned: tuple[list[MembershipScore], list[MembershipScore]],
    base: tuple[list[MembershipScore], list[MembershipScore]] | None = None,
) -> dict[str, tuple[list[float], list[float]]]:
    """By the name of each attack the scores of members and of non-members; `reference` where there is a base."""
    found = {
        "loss": ([one.logprob for one in tuned[0]], [one.logprob for one in tuned[1]]),
        "min-k%++": ([one.lowest for one in tuned[0]], [one.lowest for one in tuned[1]]),
    }
    if base is not None:
        members, others = (
            [one.logprob - other.logprob for one, other in zip(side, beside, strict=True)]
            for side, beside in zip(tuned, base, strict=True)
        )
        found["reference"] = (members, others)
    return found


def lira(own: Sequence[float], learnt: Sequence[Sequence[float]], unseen: Sequence[Sequence[float]]) -> list[float]:
    """How much likelier each text's score is among models that learnt it than among others that did not, as a logarithm
    (Carlini et al. 2022, https://arxiv.org/abs/2112.03570): Gaussians around each text's own means, with the spread of
    all texts together, as few shadow models show none of a single text. ConfigError for fewer than two of either
    kind."""
    (middles, spread), (others, of_others) = _gaussians(learnt), _gaussians(unseen)
    scores = np.asarray(own)
    inside = -((scores - middles) ** 2) / (2 * spread) - math.log(spread) / 2
    outside = -((scores - others) ** 2) / (2 * of_others) - math.log(of_others) / 2
    return (inside - outside).tolist()


def _gaussians(scores: Sequence[Sequence[float]]) -> tuple[Float[np.ndarray, " texts"], float]:
    """The mean of each text, and the variance around them."""
    if min(map(len, scores)) < 2:
        raise ConfigError("a text has fewer than two shadow models that learnt it, or that did not; take four or more")
    middles = np.array([np.mean(one) for one in scores])
    left = sum(float(((np.asarray(one) - middle) ** 2).sum()) for one, middle in zip(scores, middles, strict=True))
    return middles, max(left / sum(len(one) - 1 for one in scores), 1e-12)


def too_few(members: int, others: int) -> str | None:
    """Why that many texts on each side are too few to tell them apart; None where they are enough."""
    if min(members, others) >= FOLDS:
        return None
    return f"{members} members and {others} non-members are too few to tell them apart; give at least {FOLDS} of each"


def blind(texts: MembershipTexts) -> tuple[list[float], list[float]]:
    """What a classifier says of each text that has seen the words of the other texts and no model: the mean
    log-likelihood ratio of its words (naive Bayes, one is added to each count), each fifth of the texts by the other
    four. DataError for fewer than `FOLDS` texts on a side."""
    sides = [[re.findall(r"\w+", one.text.lower()) for one in side] for side in (texts.members, texts.others)]
    if why := too_few(*map(len, sides)):
        raise DataError(why)
    found: tuple[list[float], list[float]] = ([0.0] * len(sides[0]), [0.0] * len(sides[1]))
    for fold in range(FOLDS):
        counts = [
            Counter(word for at, words in enumerate(side) if at % FOLDS != fold for word in words) for side in sides
        ]
        known = len(counts[0].keys() | counts[1].keys()) + 1
        totals = [sum(one.values()) + known for one in counts]
        for side, scores in zip(sides, found, strict=True):
            for at in range(fold, len(side), FOLDS):
                ratios = [
                    math.log((counts[0][word] + 1) / totals[0]) - math.log((counts[1][word] + 1) / totals[1])
                    for word in side[at]
                ]
                scores[at] = sum(ratios) / max(len(ratios), 1)
    return found


def area(name: str, members: Sequence[float], others: Sequence[float]) -> Measurement:
    """How often a member's score is above a non-member's; n counts both."""
    estimate = statistics.area_under_curve(members, others)
    return Measurement(
        name=name,
        value=estimate.value,
        unit="AUC",
        interval=estimate.interval,
        n=len(members) + len(others),
        chance=0.5,
        ideal=0.5,
    )


def caught(name: str, members: Sequence[float], others: Sequence[float]) -> Measurement | None:
    """The share of members that are told at one false alarm in a hundred; None for fewer than 1,000 non-members."""
    if len(others) < ENOUGH:
        return None
    bound = sorted(others, reverse=True)[int(len(others) * FALSE_ALARMS)]
    estimate = statistics.proportion(sum(one > bound for one in members), len(members))
    return Measurement(
        name=name,
        value=estimate.value,
        unit="TPR at 1 % FPR",
        interval=estimate.interval,
        n=len(members),
        chance=FALSE_ALARMS,
        ideal=FALSE_ALARMS,
    )
