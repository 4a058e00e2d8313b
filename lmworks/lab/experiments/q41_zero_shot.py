"""Question 41: does a model do tasks that it was not trained for, from what it read and what the prompt says?

A model is asked for the classes of texts, without an example: by a question that names them, by the text alone, and the
same network with weights that read nothing.
"""

from __future__ import annotations

from lmworks.lab.bench.asked_classes import SETS, bare, class_sets, clear, commonest, hits, judged_names
from lmworks.lab.contrast import Condition
from lmworks.lab.experiment import experiment
from lmworks.lab.metric import Metric
from lmworks.lab.parts import Part
from lmworks.lab.pictures import Bars
from lmworks.lab.run import Run
from lmworks.lab.scale import Several, scaled
from lmworks.language_model import LanguageModel
from lmworks.models.network import Network

ASKED, BARE, UNREAD = Condition.named("asked", "not asked, the text alone", "asked, weights that read nothing")
CALIBRATED, COMMONEST = Condition.named("asked, calibrated", "the commonest class")
RIGHT = Metric("classes told", margin=0.02, ideal=1.0)


@experiment(
    41,
    claim="Zero-shot learning allows LLMs to perform untrained tasks using general knowledge from pretraining. For "
    'example, a model can infer how to classify a review as "positive" just from the prompt instructions.',
    parts=(
        Part(
            "asked without an example, a model tells classes better than the commonest one does",
            *(RIGHT, ASKED - COMMONEST),
            above=0,
            otherwise="naming the commonest class is right as often",
        ),
        Part("it is the instructions that tell it what to do", RIGHT, ASKED - BARE, above=0),
        Part("what it uses comes from pretraining", RIGHT, ASKED - UNREAD, above=0),
    ),
    also=(Part("calibration helps: what the prompt leans to is taken out", RIGHT, CALIBRATED - ASKED, above=0),),
    headlines={"?n?": "A question does not tell a small model what to do; the text alone does better than chance."},
    picture=Bars(RIGHT, of=(ASKED, CALIBRATED, BARE, UNREAD, COMMONEST), title="Classes told without an example"),
    not_true_when="the model is small: asked, this one is right about as often as if it always named one class. After "
    "the text alone the likeliest word is that of the class for 56 % of the texts (the commonest class: 38 %)",
    not_tested="large models; models that were not trained to follow instructions; questions as messages of a chat",
    note="SmolLM2-135M-Instruct tells praise from blame, opinion from report, what a question asks for and the topic "
    "of news, by the likeliest of the classes' words. Words and questions were written before any model was asked. "
    "It may have seen such tasks in its training to follow instructions, as every such model has. Intervals are over "
    "texts.",
)
def zero_shot(
    run: Run,
    model: str = "smollm2",
    sets: tuple[str, ...] = scaled(("sst2-test", "ag-news"), SETS),
    judged: Several = scaled(30, 150),
) -> None:
    """Classes told when asked, when not asked, and by weights that read nothing."""
    read, texts = LanguageModel.load(model), class_sets(sets, judged)
    names = judged_names(texts)
    for fixed in run.once():
        run.log(fixed, COMMONEST, {RIGHT: commonest(texts)}, names)
        run.log(fixed, ASKED, {RIGHT: hits(read, texts, clear)}, names)
        run.log(fixed, CALIBRATED, {RIGHT: hits(read, texts, clear, calibrated=True)}, names)
        run.log(fixed, BARE, {RIGHT: hits(read, texts, bare)}, names)
        unread = LanguageModel(Network(read.config).initialise(0).eval(), read.tokenizer)
        run.log(fixed, UNREAD, {RIGHT: hits(unread, texts, clear)}, names)
