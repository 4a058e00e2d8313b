"""Question 20: what is said of GPT-4 over GPT-3: images beside text, a larger context, fewer factual errors.

Each of the three is switched on and off in one small model: a decoder of captions sees the image or does not; SmolLM2
reads more or less before the same text; and it is asked for facts with a text that holds them in front, and without.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from lmworks.basics import progress
from lmworks.grounding.graph.catalog import words_of
from lmworks.grounding.index import build
from lmworks.lab.bench.context_windows import bits
from lmworks.lab.bench.countries import World
from lmworks.lab.bench.paragraphs import written
from lmworks.lab.bench.words_and_images import WordsAndImages, learnt
from lmworks.lab.contrast import Condition
from lmworks.lab.experiment import experiment
from lmworks.lab.metric import Metric
from lmworks.lab.parts import Part
from lmworks.lab.pictures import Bars
from lmworks.lab.run import Run
from lmworks.lab.scale import Count, Several, scaled
from lmworks.language_model import LanguageModel
from lmworks.text.sources import read

SEEN, UNSEEN = Condition.named("with the image", "without")
LONG, SHORT = Condition.named("a large window", "a small window")
BESIDE, ALONE = Condition.named("with what was found", "the model alone")
CAPTIONS = Metric("held-out captions", "nats/token", margin=0.02, ideal=0)
BITS = Metric("text after the window", "bits/byte", margin=0.02, ideal=0)
WRONG = Metric("questions on facts answered wrongly", margin=0.05, ideal=0)


@experiment(
    20,
    claim="GPT-4 introduced, over GPT-3, multimodal input (it processes both text and images), a larger context (up to "
    "25,000 tokens against GPT-3's 4,096) and enhanced accuracy (a significant reduction in factual errors).",
    parts=(
        Part("images: a decoder that sees the image says better what it shows", CAPTIONS, SEEN - UNSEEN, below=0),
        Part("context: with a window 16 times as large text is predicted better", BITS, LONG - SHORT, below=0),
        Part(
            "accuracy: with a text that was searched for in front, fewer facts are wrong",
            *(WRONG, BESIDE - ALONE),
            below=0,
        ),
    ),
    also=(
        Part("they are fewer by half of all questions", WRONG, BESIDE - ALONE, below=-0.5),
        Part("with it most facts are right", WRONG, BESIDE, below=0.5),
    ),
    headlines={
        "yyy": "Each of the three helps a small model: a large window, a text with the fact in front, and, a little, "
        "the image."
    },
    picture=Bars((CAPTIONS, BITS, WRONG), of=(SEEN, UNSEEN, LONG, SHORT, BESIDE, ALONE)),
    not_true_when="the image, the far text or what was found say nothing of what is asked: then they are only paid for",
    not_tested="GPT-4 and GPT-3 themselves; whether a model errs less because it is larger or was corrected by people.",
    note="The claim's numbers are loose: GPT-3 read 2,048 tokens (Brown 2020, https://arxiv.org/abs/2005.14165), "
    "GPT-4 8,192 or 32,768, of which its makers said 25,000 words; fewer errors was their own test against GPT-3.5 "
    "(https://arxiv.org/abs/2303.08774). Here: emoji as 16 tokens before their captions, a fifth of the families held "
    "out; the ends of articles of WikiText-2; one-fact questions on 250 countries (world-countries, ODbL), an answer "
    "being right where the name stands in it. The decoder learns captions with and without images before them. "
    "Intervals are over families and seeds, articles, questions.",
    minutes=30,
)
def gains(
    run: Run,
    model: str = "smollm2",
    pictures: str = "emoji",
    tokenizer_steps: Count = scaled(100, 300),
    steps: Count = scaled(60, 900),
    vocabulary: Count = 512,
    text: str = "wikitext2",
    window: Several = scaled(1024, 4096),
    texts: Several = scaled(6, 24),
    asked: Count = scaled(12, 200),
) -> None:
    """Captions with and without the image, bits by the window, and wrong facts with and without a text in front."""
    for fixed in run.once():
        real = LanguageModel.load(model)
        documents = sorted(read(text).documents, key=lambda one: -len(one.text))[:texts]
        found = bits(real, documents, [window // 16, window], 128)
        for condition, size in ((SHORT, window // 16), (LONG, window)):
            run.log(fixed, condition, {BITS: list(found[size].values())}, list(found[size]))
        for condition, values in wrong(real, asked).items():
            run.log(fixed, condition, {WRONG: values}, [f"question {at}" for at in range(len(values))])
    data = WordsAndImages.read(pictures, vocabulary, tokenizer_steps)
    for seed in run.seeds:
        network = learnt(data.network(seed, dim=96), data.pairs(), steps, 0.02, seed)
        for condition, given in ((SEEN, True), (UNSEEN, False)):
            run.log(seed, condition, {CAPTIONS: data.nats(network, "captions", given)}, items=data.families)


def wrong(model: LanguageModel, count: int) -> dict[Condition, list[float]]:
    """For each question on one fact 1 where the answer lacks its name: with the text that was found first, and
    without."""
    world, missed = World.read(), {BESIDE: list[float](), ALONE: list[float]()}
    questions = [one for one in world.single(count, seed=0) if one.steps == 1]
    with tempfile.TemporaryDirectory() as folder:
        world.write_texts(Path(folder, "texts"))
        index = build(Path(folder, "texts"), Path(folder, "index"))
        with progress.task("asking", len(questions), "questions") as advance:
            for one in questions:
                first = [each.text for each in index.search(one.question, 1)]
                for condition, passages in ((BESIDE, first), (ALONE, [])):
                    said = words_of(written(model, one.question, passages, 24))
                    missed[condition].append(float(f" {' '.join(words_of(one.answer))} " not in f" {' '.join(said)} "))
                advance(1)
    return missed
