"""Question 13: does a clear prompt make a model's output better, and lets it do tasks that it was not trained for?

A model is asked for the classes of texts: by a question that names them, by an arrow after the text, and in ten formats
that say the same. Which format is best is chosen on half of the texts and judged on the other half.
"""

from __future__ import annotations

from itertools import compress
from statistics import fmean

from lmworks.basics import progress
from lmworks.evaluation.prompts.prompt import FORMATS
from lmworks.lab.bench.asked_classes import SETS, class_sets, clear, commonest, first_halves, hits, judged_names, vague
from lmworks.lab.contrast import Condition
from lmworks.lab.experiment import experiment
from lmworks.lab.metric import Metric
from lmworks.lab.parts import Part
from lmworks.lab.pictures import Bars
from lmworks.lab.run import Run
from lmworks.lab.scale import Several, scaled
from lmworks.language_model import LanguageModel

CLEAR, VAGUE, COMMONEST = Condition.named("a question that names the answers", "an arrow", "the commonest class")
CHOSEN, AVERAGE, WORST = Condition.named("the chosen format", "formats on average", "the format chosen as worst")
RIGHT = Metric("classes told", margin=0.02, ideal=1.0)
OTHER_HALF = Metric("classes told on the other half", margin=0.02, ideal=1.0)


@experiment(
    13,
    claim="Prompt engineering involves designing inputs to elicit specific desired responses. A clear prompt (e.g., "
    '"Summarize in 100 words") improves output relevance and enables LLMs to tackle tasks in zero-shot or few-shot '
    "settings without extensive retraining.",
    parts=(
        Part(
            "a clear question elicits the desired answer more often than a vague prompt", RIGHT, CLEAR - VAGUE, above=0
        ),
        Part(
            "a clear prompt lets a model do a task without any training for it",
            *(RIGHT, CLEAR - COMMONEST),
            above=0,
            otherwise="naming the commonest class is right as often as the model is",
        ),
        Part(
            "designing the prompt pays: the chosen format beats formats on average",
            OTHER_HALF,
            CHOSEN - AVERAGE,
            above=0,
        ),
    ),
    also=(
        Part("nothing but the format moves the figure", OTHER_HALF, CHOSEN - WORST, above=0),
        Part("an arrow is enough for the task", RIGHT, VAGUE - COMMONEST, above=0),
    ),
    headlines={
        "n?y": "A small model does worse by a clear question than by a bare arrow; a format that was chosen on other "
        "texts does better than formats on average."
    },
    picture=Bars(
        (RIGHT, OTHER_HALF), of=(CLEAR, VAGUE, COMMONEST, CHOSEN, AVERAGE, WORST), title="Classes told, by prompt"
    ),
    not_true_when="the format is chosen on the texts that judge it: the best of ten has been lucky, too",
    not_tested="summaries and other free answers; large models.",
    note="SmolLM2-135M tells praise from blame, opinion from report, what a question asks for and the topic of news, "
    "by the likeliest of the classes' words. Words and questions were written before any model was asked. Intervals "
    "are over texts. The chosen format is the best of ten on the first half of each set's texts, and judged on "
    "the second, as all formats are.",
)
def prompts(
    run: Run,
    model: str = "smollm2",
    sets: tuple[str, ...] = scaled(("sst2-test", "ag-news"), SETS),
    judged: Several = scaled(20, 80),
) -> None:
    """Classes told by a clear question, by an arrow, and by ten formats."""
    asked, texts = LanguageModel.load(model), class_sets(sets, judged)
    names = judged_names(texts)
    for fixed in run.once():
        run.log(fixed, COMMONEST, {RIGHT: commonest(texts)}, names)
        run.log(fixed, CLEAR, {RIGHT: hits(asked, texts, clear)}, names)
        run.log(fixed, VAGUE, {RIGHT: hits(asked, texts, vague)}, names)
        formats = []
        with progress.task("formats", len(FORMATS), "formats") as advance:
            for shape in FORMATS:
                formats.append(hits(asked, texts, lambda one, shape=shape: one.prompt(shape)))  # type: ignore[misc]
                advance(1)
        chooses = first_halves(texts)
        others = [not one for one in chooses]
        by_choice = sorted(formats, key=lambda one: fmean(compress(one, chooses)))
        average = [fmean(each) for each in zip(*formats, strict=True)]
        for condition, found in ((CHOSEN, by_choice[-1]), (WORST, by_choice[0]), (AVERAGE, average)):
            run.log(fixed, condition, {OTHER_HALF: list(compress(found, others))}, list(compress(names, others)))
