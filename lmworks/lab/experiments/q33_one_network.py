"""Question 33: one network for text and images, attention that stays stable between them, and fewer labels.

Emoji with their captions, as tokens of one vocabulary. One decoder learns both; beside it stand one of captions and
one of images, which see as many examples, or are given as much work. Does learning both help, harm, or neither? Then a
high learning rate, queries and keys normed or not; and labels, for the decoder of images and for a fresh one.
"""

from __future__ import annotations

import copy

import numpy as np

from lmworks.lab.bench.words_and_images import COUNTS, Kind, WordsAndImages, labels_needed, learnt, tokens_in
from lmworks.lab.contrast import Condition
from lmworks.lab.experiment import experiment
from lmworks.lab.metric import Metric
from lmworks.lab.parts import Part, Requirement
from lmworks.lab.pictures import Lines
from lmworks.lab.run import Run
from lmworks.lab.scale import Count, scaled

GIVEN, ALONE, SEPARATE = Condition.named(
    "one network, after the other kind", "one network, after nothing", "a network for each kind"
)
EXAMPLES, WORK = "as many examples", "as much work"
NORMED, PLAIN = Condition.named("queries and keys normed", "as they are")
UNLABELLED, FRESH, COMMONEST = Condition.named("learnt images without labels", "fresh", "the commonest")
NATS: dict[Kind, Metric] = {
    "captions": Metric("held-out captions", "nats/token", margin=0.02, ideal=0),
    "images": Metric("held-out images", "nats/token", margin=0.02, ideal=0),
}
FAST = Metric("held-out images at a high learning rate", "nats/token", margin=0.02, ideal=0)
TOLD = Metric("kinds of things told", margin=0.02, ideal=1)
NEEDED = Metric("labels needed", "labels", of=labels_needed)
FEW, MANY = 256, 2048
"""Labels."""


def _joint(kind: Kind, other: Kind, equal: str) -> Part:
    return Part(
        f"one network of both predicts {kind} better than a network of {kind} that was given {equal}",
        *(NATS[kind], ALONE - SEPARATE[equal]),
        below=0,
        margin=0.05,
        opposite=f"learning {other}, too, harms what it learns of {kind}",
    )


@experiment(
    33,
    claim="Gemini optimizes multimodal training by a unified architecture that combines text and image processing, "
    "advanced attention for cross-modal stability, and data efficiency via self-supervised techniques.",
    parts=(
        _joint("captions", "images", EXAMPLES),
        _joint("captions", "images", WORK),
        _joint("images", "captions", EXAMPLES),
        _joint("images", "captions", WORK),
        Part("normed queries and keys keep it stable at a high learning rate", FAST, NORMED - PLAIN, below=0),
        Part(
            f"images without labels save labels: a fresh network needs more to tell as much as with {FEW}",
            *(NEEDED, FRESH / UNLABELLED),
            above=1,
            margin=0.1,
            needs=(Requirement("few labels teach something", TOLD, UNLABELLED[FEW] - COMMONEST, above=0),),
        ),
    ),
    also=(
        Part("the image in front helps to predict its caption", NATS["captions"], GIVEN - ALONE, below=0),
        Part("the caption in front helps to predict its image", NATS["images"], GIVEN - ALONE, below=0),
        Part(f"{FEW} labels teach more after images without", TOLD, UNLABELLED[FEW] - FRESH[FEW], above=0),
        Part(f"and so do {MANY:,}", TOLD, UNLABELLED[MANY] - FRESH[MANY], above=0),
    ),
    headlines={
        "=ynnyy": "Learning both in one network costs images, and gives captions no more than stopping in time does; "
        "normed attention stays stable, and after images without labels 256 labels tell as much as some 700."
    },
    picture=Lines(TOLD, of=(UNLABELLED, FRESH), x="labels", title="Kinds of things told, by labels", log_x=True),
    not_true_when="the network of captions stops in time: with as much work as the network of both it reads them too "
    "often, and predicts new ones worse than after half of that",
    not_tested="Gemini itself, of which little is published; sound and video; images in the middle of texts; sizes at "
    "which one network has room for everything.",
    note="Emoji in four styles, a fifth of the families held out; an image of 16 x 16 pixels is 16 tokens of 200, a "
    "caption at most 14. All networks have one size, so that their work is in proportion to the tokens that they read; "
    "padding is left out. A decoder of both sees each caption and each image as often after the other as before it. As "
    "many examples: the two others together read as many tokens as it does, with twice the weights. As much work: each "
    "of the two reads as many, in more steps, and sees its own about twice as often. All are asked after nothing, so "
    "that a difference is what learning both does, for good or ill, and not what the other kind tells; one within 0.05 "
    "nats is none. Kinds of things are Unicode's nine groups of emoji; the label is the token after an image. Labels "
    "needed: where the hits of the fresh network, joined by lines over the logarithm of 128 to 2,048 labels, meet the "
    "other's after 256. Intervals are over families and seeds.",
    first_seed=200,
    minutes=40,
)
def one_network(
    run: Run,
    pictures: str = "emoji",
    vocabulary: Count = 512,
    tokenizer_steps: Count = scaled(100, 300),
    steps: Count = scaled(60, 300),
    fast_steps: Count = scaled(30, 200),
    label_steps: Count = scaled(20, 120),
    dim: Count = 64,
    rate: float = 0.02,
    high_rate: float = 0.2,
) -> None:
    """Captions and images of one network and of two; a high learning rate; labels needed."""
    data = WordsAndImages.read(pictures, vocabulary, tokenizer_steps)
    pairs, families = data.pairs(), data.families

    for fixed in run.once():
        run.log(fixed, COMMONEST, {TOLD: data.chance}, items=families)
    for seed in run.seeds:
        both, separate = learnt(data.network(seed, dim), pairs, steps, rate, seed), {}
        for kind, metric in NATS.items():
            for condition, given in ((GIVEN, True), (ALONE, False)):
                run.log(seed, condition, {metric: data.nats(both, kind, given)}, items=families)
            rows = data.alone(kind)
            for equal, times in ((EXAMPLES, 1.0), (WORK, tokens_in(pairs) / tokens_in(rows))):
                one = learnt(data.network(seed, dim), rows, round(steps * times), rate, seed)
                run.log(seed, SEPARATE[equal], {metric: data.nats(one, kind, given=False)}, items=families)
                separate[kind, equal] = one
        for condition, normed in ((NORMED, True), (PLAIN, False)):
            fast = learnt(data.network(seed, dim, normed), pairs, fast_steps, high_rate, seed)
            run.log(seed, condition, {FAST: data.nats(fast, "images", True)}, items=families)
        told = {}
        for condition, start in ((UNLABELLED, separate["images", EXAMPLES]), (FRESH, data.network(seed + 1, dim))):
            for count in COUNTS if condition is FRESH else (FEW, MANY):
                network = learnt(copy.deepcopy(start), data.labelled(count, seed), label_steps, rate / 4, seed)
                told[condition, count] = np.array(data.told(network))
                run.log(seed, condition[count], {TOLD: told[condition, count]}, items=families)
        hits = np.stack([*(told[FRESH, count][:, 0] for count in COUNTS), told[UNLABELLED, FEW][:, 0]], 1)
        *curve, asked = hits.sum(0)
        run.log(seed, UNLABELLED, {NEEDED: FEW})
        run.log(seed, FRESH, {NEEDED: hits}, items=families, clamped=not curve[0] <= asked <= max(curve))
