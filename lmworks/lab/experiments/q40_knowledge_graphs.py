"""Question 40: a model alone, beside documents, beside a graph, and beside both.

The same facts on 250 countries stand in a graph and in short texts. Questions take one, two or three of them, or have
no answer there. A wrong answer that is given with no word of doubt counts as invented.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import lmworks as lm
from lmworks.grounding.graph.catalog import words_of
from lmworks.grounding.graph.graph import open_graph
from lmworks.grounding.graph.mapping import RecordMapping
from lmworks.grounding.graph.store import load as load_facts
from lmworks.grounding.index import build
from lmworks.lab.bench.countries import DATA, CountryQuestion, World
from lmworks.lab.contrast import Condition
from lmworks.lab.experiment import experiment
from lmworks.lab.metric import Metric
from lmworks.lab.parts import Part, Requirement
from lmworks.lab.pictures import Lines
from lmworks.lab.run import Run
from lmworks.lab.scale import Count, scaled

CLOSED, DOCUMENTS, GRAPH, BOTH = WAYS = Condition.named("model alone", "documents", "graph", "documents and graph")
ACCURACY = Metric("questions answered rightly", margin=0.05, ideal=1.0, share=True)
INVENTED = Metric("questions given a wrong answer", margin=0.05, ideal=0.0, share=True)
STEPS = (1, 2, 3)
ANSWERABLE, UNANSWERABLE = "answerable", "without an answer"
ALONE = "Answer the question with one name and nothing else. If you are not sure, answer: I do not know."
_UNSURE = re.compile(
    r"\b(?:do(?:es)? not|don't|doesn't|cannot|can't|not sure|no such|fictional|unknown)\b", re.IGNORECASE
)

Answers = Callable[[str], str | None]
"""What a way answers to a question; None where it refuses."""


@experiment(
    40,
    claim="Knowledge graphs provide structured, factual data. They help reduce hallucinations, improve reasoning "
    "through entity relationships, and offer better context for question-answering tasks.",
    parts=(
        Part("a graph reduces invented answers", INVENTED, GRAPH - CLOSED, below=0),
        Part(
            "a graph helps where an answer takes several facts",
            *(ACCURACY, GRAPH["several steps"] - CLOSED["several steps"]),
            above=0,
        ),
        Part(
            "a graph answers what takes several facts better than documents that hold the same facts",
            *(ACCURACY, GRAPH["several steps"] - DOCUMENTS["several steps"]),
            above=0,
        ),
        Part(
            "documents with a graph beside them answer better than documents",
            *(ACCURACY, BOTH[ANSWERABLE] - DOCUMENTS[ANSWERABLE]),
            above=0,
        ),
    ),
    also=(
        Part("a graph invents less than documents that hold the same facts", INVENTED, GRAPH - DOCUMENTS, below=0),
        Part(
            "documents alone reduce invented answers as well",
            *(INVENTED, DOCUMENTS - CLOSED),
            below=0,
            otherwise="what is near is read as an answer where the question takes several facts",
        ),
        Part("a graph refuses what it does not hold", INVENTED, GRAPH[UNANSWERABLE], below=0.05),
        Part(
            "one fact is found in documents as well as in a graph", ACCURACY, DOCUMENTS["1"] - GRAPH["1"], above=-0.05
        ),
    ),
    requires=(Requirement("the model alone answers some questions of one fact", ACCURACY, CLOSED["1"], above=0.02),),
    headlines={
        "yyyy": "A graph keeps a model from inventing, and answers what takes several facts better than texts "
        "that hold the same."
    },
    picture=Lines(ACCURACY, of=WAYS, x="steps", title="Questions answered rightly, by the facts that they take"),
    not_true_when="the question asks for what the graph does not hold: then it refuses, and knows nothing more",
    not_tested="facts that contradict each other or are out of date; a large model, which knows most capitals; graphs "
    "made from text, whose facts are not all true; a model that writes the queries",
    note="250 countries of world-countries 5.1.0 (ODbL). Every answerable question has one answer; it counts as right "
    "where its name stands in what is said. A model alone is asked for one name, or to say that it does not know. "
    "Documents are read by the way extract: a span, or a refusal. The graph's questions are read by templates, its "
    "facts run as SPARQL. As many questions of each number of steps, and as many without an answer, drawn anew for "
    "each seed.",
    minutes=60,
)
def graphs(run: Run, model: str = "smollm2", each: Count = scaled(6, 30)) -> None:
    """Right and invented answers of each way, by the facts that a question takes."""
    world, writer = World.read(), lm.load(model)
    with tempfile.TemporaryDirectory() as folder:
        texts = Path(folder, "texts")
        world.write_texts(texts)
        index = build(texts, Path(folder, "index"))
        load_facts(DATA, Path(folder, "graph"), RecordMapping.read("countries"))
        graph = open_graph(Path(folder, "graph"))

        def alone(question: str) -> str | None:
            messages = [{"role": "system", "content": ALONE}, {"role": "user", "content": question}]
            said = str(writer.generate(messages, max_new_tokens=32))
            return None if _UNSURE.search(said) else said

        def beside_documents(question: str) -> str | None:
            answer = index.ask(question)
            return None if answer.refused else answer.text

        def by_graph(question: str) -> str | None:
            answer = graph.ask(question)
            return None if answer.refused else answer.text

        def by_both(question: str) -> str | None:
            answer = index.ask(question, facts=graph.facts)
            return None if answer.refused else answer.text

        ways: dict[Condition, Answers] = dict(zip(WAYS, (alone, beside_documents, by_graph, by_both), strict=True))
        for seed in run.seeds:
            asked = world.single(each, seed)
            for way, answers in ways.items():
                _log(run, seed, way, asked, [answers(one.question) for one in asked])


def _log(run: Run, seed: int, way: Condition, asked: list[CountryQuestion], said: list[str | None]) -> None:
    """Log what a way answered: altogether, by steps, and what has no answer."""
    right = [float(told is not None and _holds(told, one.answer)) for one, told in zip(asked, said, strict=True)]
    wrong = [float(told is not None and not good) for told, good in zip(said, right, strict=True)]
    groups = {
        ANSWERABLE: [at for at, one in enumerate(asked) if one.steps],
        UNANSWERABLE: [at for at, one in enumerate(asked) if not one.steps],
        "several steps": [at for at, one in enumerate(asked) if one.steps > 1],
    }
    groups |= {str(steps): [at for at, one in enumerate(asked) if one.steps == steps] for steps in STEPS}
    run.log(seed, way, {INVENTED: wrong})
    for group, places in groups.items():
        values = {INVENTED: [wrong[at] for at in places]}
        if group != UNANSWERABLE:
            values[ACCURACY] = [right[at] for at in places]
        run.log(seed, way[group], values)


def _holds(told: str, answer: str) -> bool:
    """Whether an answer's name stands in what is said."""
    return bool(answer) and f" {' '.join(words_of(answer))} " in f" {' '.join(words_of(told))} "
