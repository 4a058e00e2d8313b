"""How a model judges pairs of answers, before and after it learnt from others: what it prefers, how far it moved.

figures = measure_pairs(model, pairs, base_logits)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lmworks.basics import progress
from lmworks.evaluation import statistics
from lmworks.evaluation.drift import kl
from lmworks.evaluation.measurement import Measurement
from lmworks.evaluation.statistics import Estimate
from lmworks.language_model import LN_2, LanguageModel
from lmworks.tokens.answer_pairs import AnswerPair
from lmworks.tokens.batch import Example

BETTER, WORSE = 0, 1


@dataclass(frozen=True)
class Judged:
    """Of each pair and both of its answers: [pairs, 2], the better one first."""

    before: np.ndarray
    """Log-probability under the base, in nats, summed over the answer."""
    after: np.ndarray
    """The same under the model."""
    moved: np.ndarray
    """KL(base || model), in nats, summed over the answer."""
    tokens: np.ndarray
    """Of the answer, its end included."""


@torch.inference_mode()
def judge(model: LanguageModel, pairs: Sequence[AnswerPair], base: Callable[[Tensor], Tensor]) -> Judged:
    """Read each answer with the model and with its base, whose logits `base` gives."""
    rows = []
    with progress.task("measuring pairs", sum(pair.size for pair in pairs), "tokens") as advance:
        for pair in pairs:
            rows.append([_answer(model, example, base) for example in pair.both])
            advance(pair.size)
    return Judged(*np.array(rows).transpose(2, 0, 1))


def _answer(model: LanguageModel, example: Example, base: Callable[[Tensor], Tensor]) -> tuple[float, ...]:
    tokens = torch.tensor([example.tokens], device=model.network.device)
    places = [place for place, learnt in enumerate(example.supervised) if learnt]
    wanted = tokens[0, places, None]
    before, after = (logits(tokens)[0, [place - 1 for place in places]] for logits in (base, model.logits))
    sums = [float(one.log_softmax(-1).gather(1, wanted).sum()) for one in (before, after)]
    return (*sums, float(kl(before, after).sum()), float(len(places)))


def figures(judged: Judged) -> list[Measurement]:
    """What was learnt of preferences, on pairs that were held out, and what it cost."""
    n = len(judged.before)
    preferred = [one[:, BETTER] > one[:, WORSE] for one in (judged.before, judged.after)]
    rewards = judged.after - judged.before
    margins = rewards[:, BETTER] - rewards[:, WORSE]

    def figure(name: str, estimate: Estimate, unit: str = "", **more: Any) -> Measurement:
        return Measurement(name=name, value=estimate.value, interval=estimate.interval, unit=unit, n=n, **more)

    def share(name: str, hits: np.ndarray) -> Measurement:
        return figure(name, statistics.proportion(int(hits.sum()), n), chance=0.5, ideal=1.0)

    def change(name: str, side: int) -> Measurement:
        found = statistics.ratio_of_sums(rewards[:, side], judged.tokens[:, side])
        return figure(name, found, "nats/token", seeds=(0,), difference=True)

    learnt = statistics.mean(preferred[1].astype(float) - preferred[0].astype(float), bounds=(-1, 1))
    moved = statistics.ratio_of_sums(judged.moved.sum(1) / LN_2, judged.tokens.sum(1), bounds=statistics.AT_LEAST_0)
    lengths = [statistics.mean(judged.tokens[:, side], bounds=statistics.AT_LEAST_0) for side in (BETTER, WORSE)]
    return [
        share("chosen preferred, before", preferred[0]),
        share("chosen preferred, after", preferred[1]),
        figure("chosen preferred, change", learnt, seeds=(0,), difference=True),
        share("chosen rewarded more", margins > 0),
        figure("reward margin", statistics.mean(margins), "nats", seeds=(0,), difference=True),
        change("log-probability of the chosen, change", BETTER),
        change("log-probability of the rejected, change", WORSE),
        figure("KL(base, tuned) on the answers", moved, "bits/token", seeds=(0,), ideal=0.0),
        figure("length of the chosen", lengths[BETTER], "tokens", seeds=(0,)),
        figure("length of the rejected", lengths[WORSE], "tokens", seeds=(0,)),
    ]
