"""Vectors of paragraphs and of the questions that people asked about them, in fewer dimensions. What claim 28 compares.

asked = Asked.read("xquad-en")
found = principal_components(asked.paragraphs[fitted], 64)
kept(found.components, held_out), asked.found(found.layer(), judged)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lmworks.basics.arrays import Float
from lmworks.encoding.dense import Dense
from lmworks.grounding.heads.questions import questions
from lmworks.language_model import LanguageModel
from lmworks.loading import load
from lmworks.text.sources import read

Vectors = Float[Tensor, "texts dim"]
SHORTEST, LONGEST = 200, 800
"""Characters of a foreign text."""


@dataclass(frozen=True)
class Asked:
    """A set in SQuAD's form as vectors, not brought to length 1."""

    paragraphs: Vectors
    questions: Vectors
    of: np.ndarray
    """The number of each question's paragraph."""
    articles: np.ndarray
    """The number of each paragraph's article."""

    @classmethod
    def read(cls, name: str, model: LanguageModel) -> Asked:
        """The questions that have an answer, and their paragraphs."""
        asked = [one for one in questions(name) if one.answers]
        titles = {one.context: one.title for one in asked}
        paragraphs, articles = list(titles), list(dict.fromkeys(titles.values()))
        place = {text: at for at, text in enumerate(paragraphs)}
        return cls(
            embedded(model, paragraphs, "passage"),
            embedded(model, [one.text for one in asked], "query"),
            np.array([place[one.context] for one in asked]),
            np.array([articles.index(title) for title in titles.values()]),
        )

    def halves(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """The paragraphs of half the articles, and those of the others."""
        order = np.random.default_rng(seed).permutation(self.articles.max() + 1)
        first = np.isin(self.articles, order[: len(order) // 2])
        return np.flatnonzero(first), np.flatnonzero(~first)

    def found(self, among: np.ndarray, layer: Dense | None = None) -> float:
        """Of the questions about these paragraphs, the share whose paragraph is the nearest by its cosine, after the
        layer."""
        asked = np.isin(self.of, among)
        sides = (self.questions[asked], self.paragraphs[among])
        query, passage = (torch.nn.functional.normalize(one if layer is None else layer(one), dim=-1) for one in sides)
        nearest = among[(query @ passage.T).argmax(1).numpy()]
        return float((nearest == self.of[asked]).mean())


def embedded(model: LanguageModel, texts: list[str], prompt: str) -> Vectors:
    """What the model pools."""
    return model.embed(texts, prompt=prompt, cut=True, pooling=model.pooling.but(normalise=False))


def encoder(name: str) -> LanguageModel:
    """A model that makes vectors."""
    return load(name)


def foreign(model: LanguageModel, name: str, count: int) -> Vectors:
    """Paragraphs of a text that has nothing to do with the questions."""
    lines = (line for document in read(name).documents for line in document.text.splitlines())
    texts = [line[:LONGEST] for line in lines if len(line) > SHORTEST]
    return embedded(model, texts[:: max(len(texts) // count, 1)][:count], "passage")


def kept(directions: Float[Tensor, "count dim"], vectors: Vectors) -> float:
    """The share of the vectors' variance along these directions, which are at right angles and of length 1."""
    centred = vectors.double() - vectors.double().mean(0)
    return float((centred @ directions.double().T).square().sum() / centred.square().sum())


def random_directions(dim: int, count: int, seed: int) -> Float[Tensor, "count dim"]:
    """Directions at right angles to each other, drawn evenly."""
    drawn = torch.randn(dim, count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.linalg.qr(drawn).Q.T


def onto(directions: Float[Tensor, "count dim"]) -> Dense:
    """The layer that leaves a vector's lengths along directions."""
    return Dense(directions.float(), None, "torch.nn.modules.linear.Identity")
