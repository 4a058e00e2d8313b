"""Question 45: is a model's bias found in its text, and repaired by balanced text and further training?

A small model that writes stories leans to "he" after some words that name no gender (bear, farmer) and to "she" after
others (fairy, teacher). It learns further from stories as they are, or from these with their counterparts of the other
gender.
"""

from __future__ import annotations

from statistics import fmean

from lmworks.lab.bench.leaning import NAMED, UNNAMED, Stories, leanings
from lmworks.lab.bench.leaning import stories as story_teller
from lmworks.lab.contrast import Condition
from lmworks.lab.experiment import experiment
from lmworks.lab.metric import Metric
from lmworks.lab.parts import Part, Requirement
from lmworks.lab.pictures import Bars
from lmworks.lab.run import Run
from lmworks.lab.scale import Count, scaled

BEFORE, AS_IT_IS, BALANCED = Condition.named("before", "more text as it is", "balanced text")
LEANS = Metric("leaning to he or to she", "nats", margin=0.02, ideal=0)
OTHERS = Metric("leaning after words that the text has not", "nats", margin=0.02, ideal=0)
AS_COUNTED = Metric("leaning to the one that the text has near the word", "nats", ideal=0)
BITS = Metric("held-out stories", "bits/byte", margin=0.02, ideal=0)


@experiment(
    45,
    claim="Biased or incorrect outputs of an LLM are fixed by analyzing patterns (identifying bias sources in data), "
    "enhancing data (balanced, debiased datasets) and fine-tuning (retraining with curated data or adversarial "
    "methods).",
    parts=(
        Part(
            "the data show where bias comes from: the model leans as the words around are in its text",
            AS_COUNTED,
            BEFORE,
            above=0,
        ),
        Part("training further on balanced text makes it lean less", LEANS, BALANCED - BEFORE, below=0),
        Part(
            "it is the balance that does it: text as it is does less",
            *(LEANS, BALANCED - AS_IT_IS),
            below=0,
            otherwise="as much of the same text, unbalanced, does the same",
        ),
    ),
    also=(
        Part("it costs nothing: held-out stories are foretold as well", BITS, BALANCED - AS_IT_IS, below=0.02),
        Part("it leans less after words that the text has not, too", OTHERS, BALANCED - AS_IT_IS, below=0),
        Part("the bias is gone", LEANS, BALANCED, below=0.1),
    ),
    requires=(Requirement("it leans before", LEANS, BEFORE, above=0.3),),
    headlines={
        "??y": "After balanced stories a small model leans less than after the same stories as they are; whether it "
        "leans less than before is open."
    },
    picture=Bars((LEANS, OTHERS), of=(BEFORE, AS_IT_IS, BALANCED), title="How far it leans to he or to she"),
    not_true_when="one run is taken for a repair: with balanced text the leaning of 0.74 nats became 0.52 ... 0.86 by "
    "sixteen seeds, with the same text as it is 0.77 ... 1.19",
    not_tested="incorrect answers; adversarial methods; large models. What balanced tuning does to SmolLM2 on WinoBias "
    "and CrowS-Pairs stands in docs/bias.md",
    note="stories260K, a Llama of 260,000 weights trained by others on TinyStories, is tuned on a sample of the same "
    "stories; balanced text has each piece a second time with the words and names of the other gender. Leaning is "
    "the absolute difference of the log-probabilities of he was and she was after a word, the mean of four beginnings "
    "(of he alone it was before, which is how her and help begin). "
    "Intervals are over seeds (the rows that are drawn) and words. Both ways read as many tokens.",
    minutes=10,
)
def bias(run: Run, steps: Count = scaled(15, 100)) -> None:
    """How far the model leans before, after more text as it is, and after balanced text."""
    texts = Stories.read()
    for fixed in run.once():
        before = dict(zip(NAMED, leanings(story_teller(), NAMED), strict=True))
        middle = fmean(before.values())
        towards = [sign * (before[word] - middle) for word, sign in texts.signs.items()]
        run.log(fixed, BEFORE, {AS_COUNTED: towards}, list(texts.signs))
        run.log(fixed, BEFORE, {LEANS: [*map(abs, before.values())]}, NAMED)
        run.log(fixed, BEFORE, {OTHERS: [*map(abs, leanings(story_teller(), UNNAMED))]}, UNNAMED)
        run.log(fixed, BEFORE, {BITS: texts.bits_per_byte(story_teller())}, texts.names)
    for seed in run.seeds:
        for condition, rows in ((AS_IT_IS, texts.as_it_is), (BALANCED, texts.balanced)):
            model = texts.told_on(rows, seed, steps)
            run.log(seed, condition, {LEANS: [*map(abs, leanings(model, NAMED))]}, NAMED)
            run.log(seed, condition, {OTHERS: [*map(abs, leanings(model, UNNAMED))]}, UNNAMED)
            run.log(seed, condition, {BITS: texts.bits_per_byte(model)}, texts.names)
