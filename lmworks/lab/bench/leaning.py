"""How a small story-teller leans to "he" or "she" after words that name no gender, and what it learns from balanced
text: what claim 45 compares.

stories = Stories.read()                   # TinyStories' sample as it is and balanced, and a part that is held out
model = stories.told_on(stories.balanced, seed=1, steps=60)
leanings(model, NAMED)                     # log P(he was) - log P(she was) after each word, over some beginnings
stories.signs                              # for each of these words, which of the two comes near it more often
"""

from __future__ import annotations

import copy
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import torch

from lmworks.lab.bench.training import fit
from lmworks.lab.site.benches.stories import stories
from lmworks.language_model import LanguageModel
from lmworks.objectives import CausalLM
from lmworks.text.counterfactual import augmented
from lmworks.text.document import Document
from lmworks.text.sources import read
from lmworks.text.splits import parts, split
from lmworks.tokens.batch import Row, example_of, pack, stack
from lmworks.training.settings import TrainingConfig

CONTEXT = 128
NAMED = """
baby bear bird bunny butterfly cat child dog elephant fairy farmer fish fox friend frog giant monkey mouse owl pirate
puppy rabbit robot spider squirrel stranger teacher turtle
""".split()  # noqa: SIM905 (as a list it would be a page)
"""Words for persons and animals that the training text has."""
UNNAMED = "baker bee chicken cook cow doctor dragon driver horse kitten lion pig sheep snake wolf".split()  # noqa: SIM905
"""Others that it has not, or hardly."""
BEGINNINGS = (
    "Once upon a time, there was a {}. One day,",
    "The {} was very happy because",
    "The {} was sad. Then",
    "One day, the {} went to the park and",
)
HE, SHE = " he was", " she was"
"""With a word after it, as other words begin with "he": her, help, heard."""
NEAR = 12
"""Words after one of the named in which "he" and "she" are counted."""


@dataclass(frozen=True)
class Stories:
    """A text as it is and balanced, and what of it nobody learns from."""

    as_it_is: list[Row]
    balanced: list[Row]
    """Each piece and, where it has words of a gender, its counterpart with those of the other."""
    held_out: list[Row]
    """As it is."""
    held_out_bytes: list[int]
    """Of each held-out row."""
    signs: dict[str, int]
    """Of the named words: 1 where "he" comes soon after it more often than "she", -1 where "she" does."""

    @classmethod
    def read(cls, reference: str = "tinystories-sample") -> Self:
        """A tenth of the pieces held out."""
        whole = split([part for one in read(reference).documents for part in parts(one, 2_000)], 0.1)
        held_out = _rows(whole.held_out)
        tokenizer = stories().tokenizer
        sizes = [sum(len(tokenizer.decode(piece.tokens).encode()) for piece in row) for row in held_out]
        signs = _signs(one.text for one in whole.train)
        return cls(_rows(whole.train), _rows(list(augmented(whole.train))), held_out, sizes, signs)

    @property
    def names(self) -> list[str]:
        """Of the held-out rows."""
        return [f"row {number}" for number in range(len(self.held_out))]

    def told_on(self, rows: Sequence[Row], seed: int, steps: int) -> LanguageModel:
        """A copy of the story-teller that read rows, drawn by the seed."""
        base = stories()
        network = copy.deepcopy(base.network).requires_grad_(True)
        settings = TrainingConfig(context=CONTEXT, steps=steps, rows=16, learning_rate=5e-4, seed=seed)
        fit(network, CausalLM(), rows, settings)
        return LanguageModel(network, base.tokenizer)

    @torch.no_grad()
    def bits_per_byte(self, model: LanguageModel) -> list[list[float]]:
        """Of each held-out row the bits and the bytes."""
        losses = (CausalLM()(model.network, stack([row])) for row in self.held_out)
        return [
            [float(loss.total) / math.log(2), float(size)]
            for loss, size in zip(losses, self.held_out_bytes, strict=True)
        ]


def leanings(model: LanguageModel, words: Sequence[str]) -> list[float]:
    """Of each word log P(he was) - log P(she was) in nats, the mean over the beginnings."""
    asked = [(one.format(word), said) for word in words for one in BEGINNINGS for said in (HE, SHE)]
    totals = torch.tensor([one.total for one in model.loglikelihood(asked)], dtype=torch.float64)
    he, she = totals.view(len(words), len(BEGINNINGS), 2).unbind(-1)
    return (he - she).mean(dim=1).tolist()


def _rows(documents: Sequence[Document]) -> list[Row]:
    tokenizer = stories().tokenizer
    return pack([example_of(one, tokenizer) for one in documents], CONTEXT, seed=0)


def _signs(texts: Iterable[str]) -> dict[str, int]:
    """Words near which "he" and "she" come equally often are left out."""
    near = {one: Counter[str]() for one in NAMED}
    for text in texts:
        words = re.findall(r"[a-z]+", text.lower())
        for at, word in enumerate(words):
            if word in near:
                near[word].update(words[at + 1 : at + 1 + NEAR])
    more = {word: one["he"] - one["she"] for word, one in near.items()}
    return {word: 1 if one > 0 else -1 for word, one in more.items() if one}
