"""Question 44: is a handful of examples enough?

A model is asked for the classes of texts after none, a few and more solved examples, drawn anew with each seed; beside
it a classifier of the same model's states learns from the same examples.
"""

from __future__ import annotations

from lmworks.lab.bench.asked_classes import (
    SETS,
    Features,
    class_sets,
    clear,
    commonest,
    hits,
    judged_names,
    with_examples,
)
from lmworks.lab.contrast import Condition
from lmworks.lab.experiment import experiment
from lmworks.lab.metric import Metric
from lmworks.lab.parts import Part
from lmworks.lab.pictures import Lines
from lmworks.lab.run import Run
from lmworks.lab.scale import Count, Several, scaled
from lmworks.language_model import LanguageModel

SHOWN, TRAINED, COMMONEST = Condition.named("examples shown", "examples trained on", "the commonest class")
FEW, NONE, LEARNT = Condition.named("a handful shown", "none shown", "a handful trained on")
RIGHT = Metric("classes told", margin=0.02, ideal=1.0)


@experiment(
    44,
    claim="Few-shot learning enables LLMs to perform tasks with only a handful of examples. Benefits include reduced "
    "data needs, faster adaptation, and cost efficiency for niche tasks.",
    parts=(
        Part(
            "with a handful of examples a model does the task",
            *(RIGHT, FEW - COMMONEST),
            above=0,
            otherwise="naming the commonest class is right as often",
        ),
        Part(
            "examples help: a handful is better than none",
            *(RIGHT, FEW - NONE),
            above=0,
            otherwise="a small model does as well without examples, which it may take for text to copy",
        ),
        Part(
            "data needs are reduced: examples that are shown do more than the same examples do in training",
            *(RIGHT, FEW - LEARNT),
            above=0,
            otherwise="a classifier of the model's own states learns more from the same examples",
        ),
    ),
    headlines={
        "??n": "Examples in the prompt do not visibly help a small model; a classifier that learns from the same eight "
        "does far better."
    },
    picture=Lines(RIGHT, of=(SHOWN, TRAINED, COMMONEST), x="examples", title="Classes told, by examples"),
    not_tested="large models, which are said to learn from a prompt what small ones do not; cost, as no time is "
    "compared.",
    note="SmolLM2-135M-Instruct tells praise from blame, opinion from report, what a question asks for and the topic "
    "of news, by the likeliest of the classes' words. A handful is eight, as many of each class as can be; examples "
    "are drawn with each seed, texts that judge are the same. Trained is a logistic regression on the mean last "
    "states of the same model. No prompt is calibrated.",
    minutes=20,
)
def few_shot(
    run: Run,
    model: str = "smollm2",
    sets: tuple[str, ...] = scaled(("sst2-test", "ag-news"), SETS),
    judged: Several = scaled(20, 60),
    shots: tuple[Count, ...] = scaled((8,), (2, 8)),
    handful: Count = 8,
) -> None:
    """Classes told after no example, a few and more, shown or trained on."""
    asked, texts = LanguageModel.load(model), class_sets(sets, judged)
    names, none = judged_names(texts), hits(asked, texts, clear)
    features = Features.read(asked, texts)
    for fixed in run.once():
        run.log(fixed, COMMONEST, {RIGHT: commonest(texts)}, names)
        run.log(fixed, NONE, {RIGHT: none}, names)
        run.log(fixed, SHOWN[0], {RIGHT: none}, names)
    for seed in run.seeds:
        for count in sorted({*shots, handful}):
            shown = hits(asked, texts, with_examples(count, seed))
            trained = features.hits(texts, count, seed)
            run.log(seed, SHOWN[count], {RIGHT: shown}, names)
            run.log(seed, TRAINED[count], {RIGHT: trained}, names)
            if count == handful:
                run.log(seed, FEW, {RIGHT: shown}, names)
                run.log(seed, LEARNT, {RIGHT: trained}, names)
