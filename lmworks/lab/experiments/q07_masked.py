"""Question 7: masked language modelling, which reads a gap from both sides, and what it teaches for other tasks.

One network is trained three times on the same questions, steps and batches: to restore masked tokens from both sides,
to restore the same tokens from the left alone, and to predict each next token. Each is asked for tokens of held-out
questions. Then a classifier of what is asked for learns from a few labels: on frozen features of each, and on the whole
network, tuned.
"""

from __future__ import annotations

from lmworks.lab.bench.encoders import labelled, pretraining, probe_hits, prose, tuned
from lmworks.lab.bench.gaps import (
    BOTH_SIDES,
    FREQUENCIES,
    FRESH,
    LEFT_SIDE,
    NATS,
    NEXT_TOKEN,
    TUNING_RATES,
    at_gaps,
    by_frequency,
    gaps_of,
    pretrained,
)
from lmworks.lab.contrast import Condition
from lmworks.lab.experiment import experiment
from lmworks.lab.metric import Metric
from lmworks.lab.parts import Part, Requirement
from lmworks.lab.pictures import Bars
from lmworks.lab.run import Run
from lmworks.lab.scale import Count, scaled

RATE = 0.02
FROZEN = Metric("what is asked for, told from frozen features", margin=0.02, ideal=1.0)
TUNED = Metric("what is asked for, told by the tuned network", margin=0.02, ideal=1.0)
CHANCE = Condition("the most frequent class")


@experiment(
    7,
    claim="Masked language modeling hides random tokens and trains the model to predict them from surrounding context; "
    "it fosters bidirectional understanding, allowing the model to grasp complex semantic relationships.",
    parts=(
        Part(
            "a hidden token is likelier from both sides than from the left alone", NATS, BOTH_SIDES - LEFT_SIDE, below=0
        ),
        Part(
            "frozen features tell more of what a question asks for than without pretraining",
            FROZEN,
            BOTH_SIDES - FRESH,
            above=0,
        ),
        Part(
            "tuned on labels, a masked network tells more than a fresh one",
            *(TUNED, BOTH_SIDES - FRESH),
            above=0,
            otherwise="tuned on the labels, a fresh network does as well",
        ),
        Part(
            "masked features owe that to both sides: those learnt from the left alone tell less",
            *(FROZEN, BOTH_SIDES - LEFT_SIDE),
            above=0,
            otherwise="the features owe nothing to reading both sides",
        ),
    ),
    also=(
        Part(
            "a hidden token is likelier than to a network that predicts the next token",
            NATS,
            BOTH_SIDES - NEXT_TOKEN,
            below=0,
        ),
        Part(
            "frozen features tell more than those of a network that predicts the next token",
            *(FROZEN, BOTH_SIDES - NEXT_TOKEN),
            above=0,
            otherwise="at equal steps, predicting the next token gives features as good",
        ),
    ),
    requires=(
        Requirement(
            "masked modelling was learnt: it beats token frequencies at a gap", NATS, BOTH_SIDES - FREQUENCIES, below=0
        ),
        Requirement("so was masked modelling from the left", NATS, LEFT_SIDE - FREQUENCIES, below=0),
    ),
    picture=Bars(
        FROZEN,
        of=(CHANCE, FRESH, BOTH_SIDES, LEFT_SIDE, NEXT_TOKEN),
        title="What a question asks for, told from frozen features",
    ),
    not_true_when="pretraining is short: with 3.3 times fewer masked tokens, a network that predicts "
    "the next token fills gaps better (claim 9); and its frozen features tell more of a question than masked ones do",
    headlines={
        "yyyy": "Yes: a hidden token is likelier from both sides than from the left alone. Features tell more of a "
        "question than without pretraining, frozen or tuned, and a little more from both sides than from the left."
    },
    not_tested="complex relationships, and networks of BERT's size: these are a thousand times smaller and have read "
    "a million tokens at most.",
    note="A gap is one token of a held-out question with at least three on each side. All networks have the same "
    "blocks, steps and batches; masked ones learn from the 30 % that are hidden (twice BERT's share, which learns "
    "faster in a short run: Wettig et al. 2022, https://arxiv.org/abs/2202.08005), from the left with the same masks "
    "and a causal mask. Pretraining reads TREC's questions without their classes; the judged are its test set. Frozen: "
    "the mean over the last states, into logistic regression.",
    minutes=45,
)
def masked(
    run: Run,
    text: str = "trec-train",
    held_out: str | None = "trec-test",
    steps: Count = scaled(150, 1000),
    rows: Count = scaled(32, 64),
    share: float = 0.3,
    labels: Count = 200,
    tuning_steps: Count = scaled(20, 60),
    gaps: Count = scaled(200, 500),
) -> None:
    """Loss at gaps by what is seen of the text; accuracy of classifiers by what the network learnt before."""
    questions = prose(text, held_out)
    tokenizer, asked = questions.tokenizer, gaps_of(questions, gaps)
    places = [f"gap {at}" for at in range(len(asked))]
    for fixed in run.once():
        run.log(fixed, FREQUENCIES, {NATS: by_frequency(questions, asked)}, items=places)
        run.log(fixed, CHANCE, {FROZEN: labelled(questions, labels, seed=0).chance})
    for seed in run.seeds:
        data = labelled(questions, labels, seed)
        judged = [f"question {at}" for at in range(len(data.parts["test"][0]))]
        for name in (FRESH, BOTH_SIDES, LEFT_SIDE, NEXT_TOKEN):
            network = pretrained(questions, name, share, pretraining(steps, rows, RATE, seed))
            told = {FROZEN: probe_hits(network, tokenizer, data)}
            if name in (FRESH, BOTH_SIDES):
                told[TUNED] = tuned(network, tokenizer, data, seed, tuning_steps, TUNING_RATES)
            run.log(seed, name, told, items=judged)
            if name != FRESH:
                run.log(seed, name, {NATS: at_gaps(network, asked, name == NEXT_TOKEN)}, items=places)
