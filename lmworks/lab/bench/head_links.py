"""Which heads of a network look from an object to its verb, in real clauses, and what becomes worse without them.

halves = Halves.of(list(verb_objects(documents)), choose=64, judge=160)
best = ranked(look(model, halves.choose).scores)[0]             # a head: layer and number
hits = look(model, halves.judge).scores[:, *best]               # 1 where it looks at the verb, a clause each
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from lmworks.basics.arrays import Bool, Float, Int
from lmworks.basics.errors import DataError
from lmworks.inside.heads import Head, attention_patterns, without_heads
from lmworks.lab.bench.verb_objects import Clause
from lmworks.language_model import LanguageModel
from lmworks.models.hooks import hooked

DISTANCES = (1, 2, 3, 4)
"""Words from a verb to its object."""
AT_ONCE = 8

Scores = Float[Tensor, "clauses layers heads"]
"""1 where a head looks at the verb more than at any other word, else 0."""


@dataclass(frozen=True)
class Halves:
    """Clauses to choose heads by and clauses to judge them by, from different documents, each distance as frequent."""

    choose: list[Clause]
    judge: list[Clause]

    @classmethod
    def of(cls, clauses: Sequence[Clause], choose: int, judge: int, seed: int = 0) -> Halves:
        """Drawn by seed. DataError where there are too few of a distance."""
        documents = list(dict.fromkeys(clause.source for clause in clauses))
        halves: tuple[list[Clause], list[Clause]] = ([], [])
        for number, count in enumerate((choose, judge)):
            inside, each = set(documents[number::2]), max(count // len(DISTANCES), 1)
            for distance in DISTANCES:
                fitting = [one for one in clauses if one.source in inside and one.distance == distance]
                if len(fitting) < each:
                    raise DataError(
                        f"{len(fitting)} clauses have an object {distance} words after the verb, and {each} are asked "
                        "for; take fewer clauses, or a longer text"
                    )
                halves[number].extend(random.Random(seed).sample(fitting, each))
        return cls(*halves)


def sentences(seed: int, count: int = 40) -> list[Clause]:
    """Made-up sentences like the claim's, with up to three adjectives between verb and object."""
    draw, made = random.Random(seed), []
    subjects = ("cat", "dog", "girl", "farmer", "teacher", "fox", "boy", "nurse")
    verbs = ("chased", "saw", "followed", "caught", "heard", "found", "watched", "liked")
    objects = ("mouse", "ball", "bird", "horse", "train", "rabbit", "letter", "king")
    adjectives = ("small", "old", "grey", "quick", "sad", "young")
    for at in range(count):
        between = draw.sample(adjectives, at % 4)
        words = ["The", draw.choice(subjects), draw.choice(verbs), "the", *between, draw.choice(objects), "again"]
        spaced = (words[0], *(f" {word}" for word in words[1:]), ".")
        made.append(Clause(spaced, 2, 4 + len(between), "made up"))
    return made


@dataclass(frozen=True)
class Encoded:
    """Clauses as rows of tokens, padded on the right, with the word of each token (-1 for special ones and padding)."""

    tokens: Int[Tensor, "batch seq"]
    words: Int[Tensor, "batch seq"]
    clauses: Sequence[Clause]

    @property
    def mask(self) -> Bool[Tensor, "batch seq"]:
        """False on padding."""
        return self.tokens >= 0

    @cached_property
    def filled(self) -> Int[Tensor, "batch seq"]:
        """The tokens, with some id in the padding."""
        return self.tokens.clamp(min=0)


def encode(model: LanguageModel, clauses: Sequence[Clause]) -> Encoded:
    """Encode word by word, so that every token belongs to one word; a decoder's rows open with its document token."""
    tokenizer, rows = model.tokenizer, []
    start = tokenizer.document_start
    before = list(tokenizer.prefix) or ([] if start is None else [start])
    for clause in clauses:
        pieces = tokenizer.encode_batch(clause.words, special=False)
        ids = [*before, *(token for piece in pieces for token in piece), *tokenizer.suffix]
        words = [word for word, piece in enumerate(pieces) for _ in piece]
        rows.append((ids, [*[-1] * len(before), *words, *[-1] * len(tokenizer.suffix)]))
    tokens, words_of = (
        torch.nn.utils.rnn.pad_sequence([torch.tensor(row[part]) for row in rows], batch_first=True, padding_value=-1)
        for part in (0, 1)
    )
    return Encoded(tokens, words_of, clauses)


@dataclass(frozen=True)
class Looked:
    """What all heads look at in some clauses."""

    scores: Scores
    chances: list[float]
    """What a word drawn from those that could be looked at would find, of each clause."""


def look(model: LanguageModel, clauses: Sequence[Clause]) -> Looked:
    """Whether each head looks from each clause's object to its verb."""
    scores, chances = [], []
    for start in range(0, len(clauses), AT_ONCE):
        rows = encode(model, clauses[start : start + AT_ONCE])
        patterns = attention_patterns(model.network, rows.filled, rows.mask).float()
        for at, clause in enumerate(rows.clauses):
            words = rows.words[at]
            token = int((words == clause.object).nonzero()[-1])
            seen = clause.object if model.config.causal else len(clause.words)
            by_word = torch.stack(
                [patterns[:, at, :, token, words == word].sum(dim=-1) for word in range(seen)], dim=-1
            )
            if not model.config.causal:
                by_word[..., clause.object] = -1.0
            scores.append((by_word.argmax(dim=-1) == clause.verb).float())
            chances.append(1 / (seen if model.config.causal else seen - 1))
    return Looked(torch.stack(scores), chances)


def ranked(scores: Scores) -> list[Head]:
    """The heads, best first."""
    means = scores.mean(dim=0)
    order = means.flatten().argsort(descending=True, stable=True).tolist()
    return [divmod(place, means.shape[1]) for place in order]


def beside(model: LanguageModel, heads: Sequence[Head], seed: int) -> list[Head]:
    """As many other heads of the same layers, as far as there are any."""
    draw, taken = random.Random(seed), set(heads)
    for layer, _ in heads:
        free = [(layer, head) for head in range(model.config.heads) if (layer, head) not in taken]
        if free:
            taken.add(draw.choice(free))
    return sorted(taken - set(heads))


@torch.no_grad()
def losses(
    model: LanguageModel, clauses: Sequence[Clause], gone: Iterable[Head] = ()
) -> tuple[list[list[float]], list[list[float]]]:
    """Bits and tokens of each clause's object, and of all its other words, without some heads."""
    at_objects: list[list[float]] = []
    at_others: list[list[float]] = []
    with hooked(model.network, without_heads(model.network, gone)):
        for start in range(0, len(clauses), AT_ONCE):
            rows = encode(model, clauses[start : start + AT_ONCE])
            logits = model.network(rows.filled, rows.mask)[:, :-1]
            bits = F.cross_entropy(logits.mT, rows.filled[:, 1:], reduction="none") / 0.6931471805599453
            words, noun = rows.words[:, 1:], torch.tensor([clause.object for clause in rows.clauses])[:, None]
            for found, here in ((at_objects, words == noun), (at_others, (words != noun) & (words >= 0))):
                found.extend(torch.stack([(bits * here).sum(1), here.sum(1).float()], dim=1).tolist())
    return at_objects, at_others


def vectors(model: LanguageModel, clauses: Sequence[Clause], gone: Iterable[Head] = ()) -> Float[Tensor, "clauses dim"]:
    """The sentences' vectors without some heads."""
    with hooked(model.network, without_heads(model.network, gone)):
        return model.embed(["".join(clause.words) for clause in clauses])
