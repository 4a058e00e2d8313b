"""Question 7: masked language modelling, which reads a gap from both sides, and what it teaches for other tasks.

One network is trained three times on the same questions, steps and batches: to restore masked tokens from both sides,
to restore the same tokens from the left alone, and to predict each next token. Each is asked for tokens of held-out
questions. Then a classifier of what is asked for learns from a few labels: on frozen features of each, and on the whole
network, tuned.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from lmworks.evaluation.measurement import Measurement
from lmworks.lab.bench.encoders import labelled, pretraining, probed, prose, tuned
from lmworks.lab.bench.gaps import (
    BOTH_SIDES,
    FRESH,
    LEFT_SIDE,
    NEXT_TOKEN,
    TUNING_RATES,
    at_gaps,
    gaps_of,
    pretrained,
)
from lmworks.lab.chart import Chart, Series
from lmworks.lab.registry import experiment
from lmworks.lab.rule import Check, Observation, Rule
from lmworks.lab.scale import Count, scaled
from lmworks.lab.seeds import difference, measured

GAP = "nats at a gap"
CUT = "both sides, the right one cut off"
RATE = 0.02
FROZEN, TUNED = "accuracy, frozen", "accuracy, tuned"


@experiment(
    question=7,
    claim="Masked language modeling hides random tokens and trains the model to predict them from surrounding context; "
    "it fosters bidirectional understanding, allowing the model to grasp complex semantic relationships.",
    rule=Rule(
        holds_if=(
            Check(f"{GAP}, {BOTH_SIDES} minus {LEFT_SIDE}", "<", 0),
            Check(f"{FROZEN}, {BOTH_SIDES} minus {FRESH}", ">", 0),
        ),
        only_if=(
            (
                Check(f"{GAP}, {BOTH_SIDES} minus {NEXT_TOKEN}", "<", 0),
                "both networks have made as many predictions: at equal steps one that predicts every next token fills "
                "a gap as well",
            ),
            (
                Check(f"{TUNED}, {BOTH_SIDES} minus {FRESH}", ">", 0),
                "features stay frozen: tuned on the labels, a fresh network does as well",
            ),
            (
                Check(f"{FROZEN}, {BOTH_SIDES} minus {NEXT_TOKEN}", ">", 0),
                "understanding is not credited to both sides: features of a network that reads to the left do as well",
            ),
        ),
    ),
)
def masked(
    text: str = "trec-train",
    held_out: str | None = "trec-test",
    steps: Count = scaled(250, 1000),
    rows: Count = scaled(32, 64),
    share: float = 0.3,
    labels: Count = 200,
    tuning_steps: Count = scaled(30, 60),
    gaps: Count = scaled(300, 500),
    seeds: Count = scaled(3, 5),
    first_seed: int = 10,
) -> Observation:
    """Loss at gaps by what is seen of the text; accuracy of classifiers by what the network learnt before."""
    questions = prose(text, held_out)
    asked = gaps_of(questions, gaps)
    nats: dict[str, dict[int, float]] = {name: {} for name in (BOTH_SIDES, LEFT_SIDE, NEXT_TOKEN, CUT)}
    right: dict[str, dict[int, float]] = {name: {} for name in (BOTH_SIDES, LEFT_SIDE, NEXT_TOKEN)}
    accuracy: dict[str, dict[str, dict[int, float]]] = {
        FROZEN: {name: {} for name in (FRESH, BOTH_SIDES, LEFT_SIDE, NEXT_TOKEN)},
        TUNED: {name: {} for name in (FRESH, BOTH_SIDES)},
    }
    for seed in range(first_seed, first_seed + seeds):
        data = labelled(questions, labels, seed)
        for name in (FRESH, BOTH_SIDES, LEFT_SIDE, NEXT_TOKEN):
            config = pretraining(steps, rows, RATE, seed)
            network = pretrained(questions, name, share, config)
            accuracy[FROZEN][name][seed] = probed(network, questions.tokenizer, data)
            if name in accuracy[TUNED]:
                accuracy[TUNED][name][seed] = tuned(
                    network, questions.tokenizer, data, seed, tuning_steps, TUNING_RATES
                )
            if name != FRESH:
                nats[name][seed], right[name][seed] = at_gaps(network, asked, name == NEXT_TOKEN)
            if name == BOTH_SIDES:
                nats[CUT][seed], _ = at_gaps(network, [one.cut() for one in asked], False)
    chance = data.chance
    measurements = [
        *(
            measured(f"{GAP}, {name}", by_seed, "nats", chance=math.log(questions.tokenizer.vocab_size), ideal=0.0)
            for name, by_seed in nats.items()
        ),
        *(
            difference(f"{GAP}, {BOTH_SIDES} minus {name}", nats[BOTH_SIDES], nats[name], "nats")
            for name in (LEFT_SIDE, NEXT_TOKEN, CUT)
        ),
        *(measured(f"right at a gap, {name}", by_seed, chance=0.0, ideal=1.0) for name, by_seed in right.items()),
        *(
            measured(f"{way}, {name}", by_seed, chance=chance, ideal=1.0)
            for way, by_name in accuracy.items()
            for name, by_seed in by_name.items()
        ),
        *(
            difference(f"{way}, {BOTH_SIDES} minus {name}", by_name[BOTH_SIDES], by_seed)
            for way, by_name in accuracy.items()
            for name, by_seed in by_name.items()
            if name != BOTH_SIDES
        ),
    ]
    return Observation(measurements=tuple(measurements), chart=_chart(measurements), note=NOTE)


NOTE = (
    "A gap is one token of a held-out passage with at least three tokens on each side. All networks have the same "
    "blocks, steps and batches; one that predicts the next token learns from every token, a masked one from the share "
    "that is masked. The share here is twice BERT's, which learns faster in a short run (Wettig et al. 2022, "
    "https://arxiv.org/abs/2202.08005). Masked, left side: the same loss and masks, in a network whose tokens see only "
    "those before them. Pretraining reads the questions of TREC without their classes (what is asked for: a place, a "
    "number, ...); those judged are its test set. The mean over the last states is what a frozen network gives to "
    "logistic regression. These networks are a thousand times smaller than BERT and have read a million tokens or less."
)


def _chart(measurements: Sequence[Measurement]) -> Chart:
    """Accuracy on frozen features and tuned, by what the network learnt before."""
    names = (FRESH, BOTH_SIDES, LEFT_SIDE, NEXT_TOKEN)
    found = {one.name: one for one in measurements}
    series = []
    for way in (FROZEN, TUNED):
        bars = [(float(at), found[f"{way}, {name}"]) for at, name in enumerate(names) if f"{way}, {name}" in found]
        ends = [one.interval or (one.value, one.value) for _, one in bars]
        series.append(
            Series(
                name=way,
                x=tuple(at for at, _ in bars),
                y=tuple(one.value for _, one in bars),
                low=tuple(low for low, _ in ends),
                high=tuple(high for _, high in ends),
            )
        )
    return Chart(
        kind="bars",
        title="What a question asks for, told from few labels, by what the network learnt before",
        x_label="learnt before",
        y_label="accuracy",
        categories=names,
        series=tuple(series),
    )
