"""Question 33: one network for text and images, attention that stays stable between them, and fewer labels.

Emoji with their captions, both as tokens of one vocabulary. One decoder learns both, each before and after the other;
beside it stand a decoder of captions and one of images, which see as many of each. Then the same at a high learning
rate, with queries and keys normed and without; and what images show is learnt from few labels, by the decoder of images
and by a fresh one.
"""

from __future__ import annotations

import copy

from lmworks.lab.bench.words_and_images import WordsAndImages, learnt
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
NORMED, PLAIN = Condition.named("queries and keys normed", "as they are")
UNLABELLED, FRESH, COMMONEST = Condition.named("learnt images without labels", "fresh", "the commonest")
CAPTIONS = Metric("held-out captions", "nats/token", margin=0.02, ideal=0)
IMAGES = Metric("held-out images", "nats/token", margin=0.02, ideal=0)
FAST = Metric("held-out images at a high learning rate", "nats/token", margin=0.02, ideal=0)
TOLD = Metric("kinds of things told", margin=0.02, ideal=1)
FEW, MANY = 512, 4096
"""Labels."""


@experiment(
    33,
    claim="Gemini optimizes multimodal training by a unified architecture that combines text and image processing, "
    "advanced attention for cross-modal stability, and data efficiency via self-supervised techniques.",
    parts=(
        Part(
            "one network of both predicts captions better, after their images, than a network of captions",
            *(CAPTIONS, GIVEN - SEPARATE),
            below=0,
        ),
        Part(
            "and images better, after their captions, than a network of images",
            *(IMAGES, GIVEN - SEPARATE),
            below=0,
        ),
        Part("normed queries and keys keep it stable at a high learning rate", FAST, NORMED - PLAIN, below=0),
        Part(
            "images without labels teach what few labels would not",
            *(TOLD, UNLABELLED[FEW] - FRESH[FEW]),
            above=0,
            needs=(Requirement("few labels teach something", TOLD, UNLABELLED[FEW] - COMMONEST, above=0),),
        ),
    ),
    also=(
        Part(
            "captions after nothing are predicted as well by the network of both",
            *(CAPTIONS, ALONE - SEPARATE),
            below=0.05,
            otherwise="what it learns of images takes from what it learns of captions",
        ),
        Part(
            "images after nothing are predicted as well by the network of both",
            *(IMAGES, ALONE - SEPARATE),
            below=0.05,
            otherwise="what it learns of captions takes from what it learns of images",
        ),
        Part("many labels leave less to gain", TOLD, UNLABELLED[MANY] - FRESH[MANY], above=0),
    ),
    headlines={
        "yyyy": "One network of both predicts captions better, mostly without seeing the image, and images a little; "
        "normed attention stays stable, and images without labels save labels."
    },
    picture=Lines(TOLD, of=(UNLABELLED, FRESH), x="labels", title="Kinds of things told, by the labels learnt from"),
    not_true_when="images and texts say nothing of each other: then one network has to do with half of its size",
    not_tested="Gemini itself, of which little is published; sound and video; images in the middle of texts; sizes at "
    "which one network has room for everything.",
    note="Emoji in four styles, a fifth of the families held out; an image of 16 x 16 pixels is 16 tokens of 200, a "
    "caption at most 14. A decoder of both sees each image once after its caption and once before it; the two others "
    "see the caption twice, and the image: as many tokens and steps together, with twice the weights. Kinds of things "
    "are Unicode's nine groups of emoji; the label is the token after an image. Intervals are over families and seeds.",
    minutes=40,
)
def one_network(
    run: Run,
    pictures: str = "emoji",
    vocabulary: Count = 512,
    tokenizer_steps: Count = scaled(100, 300),
    steps: Count = scaled(60, 700),
    fast_steps: Count = scaled(30, 250),
    label_steps: Count = scaled(20, 150),
    dim: Count = scaled(64, 96),
    rate: float = 0.02,
    high_rate: float = 0.2,
) -> None:
    """Captions and images of one network and of two; a high learning rate; few labels."""
    data = WordsAndImages.read(pictures, vocabulary, tokenizer_steps)

    for fixed in run.once():
        run.log(fixed, COMMONEST, {TOLD: data.chance}, items=data.families)
    for seed in run.seeds:
        both, captions, images = (
            learnt(data.network(seed, dim), rows, steps, rate, seed)
            for rows in (data.pairs(), data.alone("captions"), data.alone("images"))
        )
        for condition, of_captions, of_images, given in (
            (GIVEN, both, both, True),
            (ALONE, both, both, False),
            (SEPARATE, captions, images, False),
        ):
            run.log(seed, condition, {CAPTIONS: data.nats(of_captions, "captions", given)}, items=data.families)
            run.log(seed, condition, {IMAGES: data.nats(of_images, "images", given)}, items=data.families)
        for condition, normed in ((NORMED, True), (PLAIN, False)):
            fast = learnt(data.network(seed, dim, normed), data.pairs(), fast_steps, high_rate, seed)
            run.log(seed, condition, {FAST: data.nats(fast, "images", True)}, items=data.families)
        for count in (FEW, MANY):
            rows = data.labelled(count, seed)
            for condition, start in ((UNLABELLED, copy.deepcopy(images)), (FRESH, data.network(seed + 1, dim))):
                told = data.told(learnt(start, rows, label_steps, rate / 4, seed))
                run.log(seed, condition[count], {TOLD: told}, items=data.families)
