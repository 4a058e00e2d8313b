"""Classes of texts that a model is asked for without being trained to classify: what claims 13, 41 and 44 compare.

sets = class_sets(("sst2-test", "ag-news"), judged=100)
hits(LanguageModel.load("smollm2"), sets, clear)          # 1 for each text that is classified right, set after set
judged_names(sets)                                        # a name for each of these texts
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from lmworks.evaluation.prompts.examples import Example, balanced, mixed
from lmworks.evaluation.prompts.prompt import Prompt
from lmworks.evaluation.prompts.search import PromptReader, labelled
from lmworks.inside.probes import logistic_regression, states
from lmworks.language_model import LanguageModel
from lmworks.text.sources import read

SETS = ("sst2-test", "subjectivity", "trec-test", "ag-news")
"""Praise or blame, opinion or report, what a question asks for, the topic of news."""
WORDS = {
    "sst2-test": {"0": "negative", "1": "positive"},
    "subjectivity": {"objective": "fact", "subjective": "opinion"},
    "trec-test": {
        "abbreviation": "abbreviation",
        "description": "description",
        "entity": "entity",
        "human": "person",
        "location": "location",
        "number": "number",
    },
    "ag-news": {"Business": "business", "Sci/Tech": "technology", "Sports": "sports", "World": "politics"},
}
"""The word for each class, chosen before any model was asked."""
ASKS = {
    "sst2-test": "Is this review positive or negative?",
    "subjectivity": "Is this sentence an opinion or a fact?",
    "trec-test": "Does this question ask for an abbreviation, description, entity, location, number or person?",
    "ag-news": "Is this news about business, politics, sports or technology?",
}
"""A clear question for each set; its words are in the order of the alphabet."""
NAMES = {
    "sst2-test": ("review", "sentiment"),
    "subjectivity": ("sentence", "kind"),
    "trec-test": ("question", "answer type"),
    "ag-news": ("article", "topic"),
}
POOL = 64
"""Texts of each set that examples are drawn from; they are never judged."""
PENALTY = 0.01


@dataclass(frozen=True)
class ClassSet:
    """A set of texts with classes: those that are judged, and others that may be examples."""

    name: str
    judged: list[Example]
    pool: list[Example]

    @property
    def commonest(self) -> str:
        """The class that occurs most often among the judged texts."""
        labels = [label for _, label in self.judged]
        return max(sorted(set(labels)), key=labels.count)

    def prompt(self, shape: str, examples: Sequence[Example] = ()) -> Prompt:
        """A prompt of this format in this set's words."""
        return Prompt(format=shape, words=WORDS[self.name], examples=tuple(examples), names=NAMES[self.name])


Ask = Callable[[ClassSet], Prompt]


def class_sets(names: Sequence[str], judged: int) -> list[ClassSet]:
    """As many judged texts of each set, drawn once, with its classes in their proportions."""
    found = []
    for name in names:
        drawn = mixed(list(dict(labelled(read(name).documents)).items()), seed=0)
        found.append(ClassSet(name, drawn[POOL : POOL + judged], drawn[:POOL]))
    return found


def first_halves(sets: Sequence[ClassSet]) -> list[bool]:
    """For each judged text of all sets whether it is of the first half of its set. Both halves have the classes in the
    same proportions; every second text has not, since classes take turns."""
    return [2 * at < len(one.judged) for one in sets for at in range(len(one.judged))]


def clear(one: ClassSet) -> Prompt:
    """The text, and then a question that names what can be answered."""
    return one.prompt(f"{{Text}}: {{text}}\n{ASKS[one.name]}\nAnswer:")


def vague(one: ClassSet) -> Prompt:
    """The text and an arrow."""
    return one.prompt("{text} =>")


def bare(one: ClassSet) -> Prompt:
    """The text alone, and then a word."""
    return one.prompt("{text}")


def with_examples(count: int, seed: int) -> Ask:
    """The clear question after solved examples, drawn by the seed, as many of each class as can be."""
    return lambda one: clear(one).model_copy(update={"examples": tuple(balanced(one.pool, count, seed))})


def hits(model: LanguageModel, sets: Sequence[ClassSet], ask: Ask, calibrated: bool = False) -> list[float]:
    """1 for each text whose class is the likeliest, else 0; a tie counts its share."""
    reader = PromptReader(model, told=False)
    return [
        right
        for one in sets
        for right in reader.right(ask(one).model_copy(update={"calibrated": calibrated}), one.judged, one.name)
    ]


def commonest(sets: Sequence[ClassSet]) -> list[float]:
    """The same of always naming the commonest class."""
    return [float(label == one.commonest) for one in sets for _, label in one.judged]


def judged_names(sets: Sequence[ClassSet]) -> list[str]:
    """A name for each judged text."""
    return [f"{one.name} {at}" for one in sets for at in range(len(one.judged))]


@dataclass(frozen=True)
class Features:
    """Each text's mean state after the last block of a model that is not trained further."""

    of: dict[str, torch.Tensor]

    @classmethod
    def read(cls, model: LanguageModel, sets: Sequence[ClassSet]) -> Features:
        """Of all judged texts and of those for examples."""
        texts = [text for one in sets for text, _ in (*one.pool, *one.judged)]
        ids = [model.tokenizer.encode(text, special=False)[: model.config.context] for text in texts]
        return cls(dict(zip(texts, states(model.network, ids)[-1], strict=True)))

    def hits(self, sets: Sequence[ClassSet], count: int, seed: int) -> list[float]:
        """1 for each text whose class a logistic regression tells that learnt from the same examples."""
        found = []
        for one in sets:
            labels = list(WORDS[one.name])
            chosen = balanced(one.pool, count, seed)
            x = torch.stack([self.of[text] for text, _ in chosen]).double()
            middle, scale = x.mean(dim=0), x.std(dim=0) + 1e-6
            y = torch.tensor([labels.index(label) for _, label in chosen])
            weights, biases = logistic_regression((x - middle) / scale, y, PENALTY)
            asked = (torch.stack([self.of[text] for text, _ in one.judged]).double() - middle) / scale
            told = (asked @ weights.T + biases).argmax(dim=1).tolist()
            found += [float(labels[at] == label) for at, (_, label) in zip(told, one.judged, strict=True)]
        return found
