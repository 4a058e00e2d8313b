"""Question 38: do written steps help a model to reason?

Small networks learn to add digits, keeping the last digit of the sum, and answer at once or after writing each sum on
the way; in two sizes. A chat model is told to think step by step, or asked for the number alone.
"""

from __future__ import annotations

from lmworks.basics import progress
from lmworks.evaluation.answer_words import last_number
from lmworks.evaluation.prompts.thinking import STEPS
from lmworks.evaluation.tasks.declaration import Question
from lmworks.evaluation.tasks.find import find
from lmworks.generation.strategies import Greedy
from lmworks.lab.bench.running_sums import Way, adder, follows, right
from lmworks.lab.contrast import Condition
from lmworks.lab.experiment import experiment
from lmworks.lab.metric import Metric
from lmworks.lab.parts import Part, Requirement
from lmworks.lab.pictures import Bars
from lmworks.lab.run import Run
from lmworks.lab.scale import Count, Several, scaled
from lmworks.language_model import LanguageModel

AT_ONCE, IN_STEPS, DOTS = Condition.named("at once", "in steps", "after as many dots")
SMALL, LARGE = "smaller network", "larger network"
TOLD, PLAIN = Condition.named("told to think step by step", "asked for the number alone")
RIGHT = Metric("sums right", margin=0.02, chance=0.1, ideal=1.0)
FOLLOWS = Metric("answers that follow from a changed step", chance=0.1)
SOLVED = Metric("word problems solved", margin=0.02, ideal=1.0, share=True)
ALONE = "Answer with the number alone."
WAYS: tuple[tuple[Condition, Way, int], ...] = ((AT_ONCE, "answer", 2), (IN_STEPS, "steps", 1), (DOTS, "dots", 1))
"""What is written, and how many times as long it is learnt."""


@experiment(
    38,
    claim="CoT prompting guides LLMs to solve problems step-by-step. For math or logic, it breaks down the process "
    "into intermediate calculations, improving both accuracy and interpretability.",
    parts=(
        Part(
            "a network that writes intermediate sums is more often right",
            RIGHT,
            IN_STEPS[LARGE] - AT_ONCE[LARGE],
            above=0,
        ),
        Part(
            "steps can be read as what the answer comes from: a changed one changes it accordingly",
            *(FOLLOWS, IN_STEPS[LARGE]),
            above=0.5,
        ),
        Part(
            "a model that is told to think step by step solves more problems",
            *(SOLVED, TOLD - PLAIN),
            above=0,
            otherwise="a model of this size reasons no better for being told to; it has to have learnt it",
        ),
    ),
    also=(
        Part("the smaller network gains, too", RIGHT, IN_STEPS[SMALL] - AT_ONCE[SMALL], above=0),
        Part("it is what the steps say, and not their number", RIGHT, IN_STEPS[LARGE] - DOTS[LARGE], above=0),
    ),
    requires=(Requirement("the task can be learnt in steps", RIGHT, IN_STEPS[LARGE], above=0.5),),
    headlines={
        "yy?": "Small networks add up rightly only when they write the steps; told to think step by step, "
        "SmolLM2 solves next to nothing either way."
    },
    picture=Bars(RIGHT, of=(AT_ONCE, IN_STEPS, DOTS), title="Sums of eight digits, last digit kept"),
    not_tested="large models, which gain most from it (Wei et al. 2022); logic; steps that a person judges.",
    note="Networks of two layers, 32 and 96 wide, learn from new rows at each step; the one that answers at once "
    "gets twice as many steps, so that it reads no fewer tokens. SmolLM2-135M-Instruct is asked problems of "
    "MultiArith as messages, greedily; the last number that it writes counts. The first 60 problems, asked once, left "
    "the part on being told open (+0.02, 95 % -0.04 ... +0.07) and are not among those asked here. Intervals are over "
    "seeds, of the problems over problems. Wei et al. 2022: https://arxiv.org/abs/2201.11903.",
    minutes=20,
)
def chain_of_thought(
    run: Run,
    model: str = "smollm2",
    problems: Several = scaled(8, 540),
    widths: tuple[Count, Count] = (32, 96),
    steps: Count = scaled(300, 500),
    sums: Several = scaled(200, 500),
    written: Count = 120,
) -> None:
    """Sums that are right at once, in steps and after dots, by size; problems solved with steps and without."""
    for fixed in run.once():
        asked = LanguageModel.load(model)
        items = [one for one in find("multiarith").items() if isinstance(one, Question)][-problems:]
        names = [one.name for one in items]
        for condition, words, most in ((TOLD, STEPS, written), (PLAIN, ALONE, 16)):
            said = [one.shown.removeprefix("Question: ").partition("\nAnswer:")[0] for one in items]
            prompts = [[{"role": "user", "content": f"{one}\n{words}"}] for one in said]
            with progress.task(condition.name, stays=False):
                texts = asked.generate_batch(prompts, Greedy(), max_new_tokens=most)
            hits = [float(last_number(text.text) in one.answers) for text, one in zip(texts, items, strict=True)]
            run.log(fixed, condition, {SOLVED: hits}, names)
    for seed in run.seeds:
        for size, dim in zip((SMALL, LARGE), widths, strict=True):
            for condition, way, times in WAYS:
                if way == "dots" and size == SMALL:
                    continue
                network = adder(seed, way, dim, times * steps)
                run.log(seed, condition[size], {RIGHT: right(network, way, seed, sums)})
                if way == "steps" and size == LARGE:
                    run.log(seed, condition[size], {FOLLOWS: follows(network, seed, sums)})
