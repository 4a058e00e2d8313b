"""Question 2: attention links "mouse" to "chased": which heads link objects to their verbs, and are they needed for it?

Real networks, a decoder and an encoder, and real sentences, whose verbs and objects come from the parts of speech that
people assigned in the Brown Corpus. The head that links best is chosen on some documents and judged on others; objects
stand one to four words after their verbs, each equally often, so that a fixed distance is right at most once in four.
Then the heads that link best are removed, compared with removing as many others of the same layers.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lmworks.basics import progress
from lmworks.basics.errors import DataError
from lmworks.inside.heads import Head, attention_patterns, without_heads
from lmworks.lab.bench.verb_objects import Clause, verb_objects
from lmworks.lab.chart import Chart, Series
from lmworks.lab.registry import experiment
from lmworks.lab.rule import Check, Observation, Rule
from lmworks.lab.scale import Count, Several, scaled
from lmworks.lab.seeds import difference, measured
from lmworks.language_model import LanguageModel
from lmworks.models.hooks import hooked
from lmworks.text.sources import read

DISTANCES = (1, 2, 3, 4)
LINKING = 5
"""Heads that are removed together."""
DRAWS = 3
"""How often as many others of the same layers are removed."""
AT_ONCE = 8
KINDS = ("decoder", "encoder")

Scores = Float[Tensor, "clauses layers heads"]
"""1 where a head looks at the verb more than at any other word, else 0."""

OBJECT = "loss at objects without the heads that link, minus with all"
OBJECT_OTHERS = "loss at objects without others of the same layers, minus with all"
NEEDED = "loss at objects, without those that link minus without others"
REST_NEEDED = "loss at all other tokens, without those that link minus without others"
CHANGED = "change of a sentence's vector without the heads that link, 1 - cosine"
CHANGED_OTHERS = "change of a sentence's vector without others of the same layers, 1 - cosine"
BITS = "bits/token"


def linked(kind: str) -> str:
    """The name of how often the chosen head finds the verb."""
    return f"objects whose verb the chosen head looks at most, {kind}"


def beyond_distance(kind: str) -> str:
    """The name of what that is more than what a distance finds."""
    return f"chosen head minus the best fixed distance, {kind}"


@experiment(
    question=2,
    claim='Attention weighs the importance of different tokens: in "The cat chased the mouse", it helps the model '
    'specifically link "mouse" to "chased".',
    rule=Rule(
        holds_if=tuple(Check(beyond_distance(kind), ">", 0) for kind in KINDS),
        only_if=(
            (Check(NEEDED, ">", 0), "linked is said of where some heads look, not of what predicting the object needs"),
        ),
    ),
)
def links(
    decoder: str = "smollm2",
    encoder: str = "minilm",
    text: str = "brown-tagged",
    clauses: Several = scaled(64, 160),
    seeds: Count = 3,
) -> Observation:
    """How often heads of a decoder and an encoder look from an object to its verb; what is lost without them."""
    every = list(verb_objects(read(text).documents))
    samples = [Halves.of(every, clauses, seed, seeds) for seed in range(seeds)]
    models = {"decoder": LanguageModel.load(decoder), "encoder": LanguageModel.load(encoder)}
    found: dict[str, dict[int, float]] = {}
    by_distance: dict[str, list[list[float]]] = {}

    def note(name: str, seed: int, value: float) -> None:
        found.setdefault(name, {})[seed] = value

    for seed, sample in enumerate(samples):
        for kind, model in models.items():
            with progress.task(f"reading, {kind}, seed {seed}", 1, "samples") as advance:
                chosen_on = look(model, sample.choose)
                best = ranked(chosen_on.scores)[:LINKING]
                judged_on = look(model, sample.judge)
                advance(1)
            layer, head = best[0]
            hits = judged_on.scores[:, layer, head]
            note(linked(kind), seed, float(hits.mean()))
            note(f"{linked(kind)}, by chance", seed, judged_on.chance)
            offset = max(DISTANCES, key=lambda one: sum(clause.distance == one for clause in sample.choose))
            note(f"{linked(kind)}, {FIXED}", seed, fmean(clause.distance == offset for clause in sample.judge))
            note(f"{linked(kind)}, mean of all heads", seed, float(judged_on.scores.mean()))
            note(f"{linked(kind)}, {MADE_UP}", seed, float(look(model, sentences(seed)).scores[:, layer, head].mean()))
            by_distance.setdefault(kind, []).append(
                [float(hits[[clause.distance == one for clause in sample.judge]].mean()) for one in DISTANCES]
            )
            others = [beside(model, best, 100 * seed + draw) for draw in range(DRAWS)]
            for name, value in _removed(kind, model, sample.judge, best, others).items():
                note(name, seed, value)
    units = dict.fromkeys((OBJECT, OBJECT_OTHERS), BITS)
    rows = [
        measured(name, by_seed, units.get(name, ""), difference=name in units)
        for name, by_seed in found.items()
        if name not in (NEEDED, REST_NEEDED)
    ]
    zero = dict.fromkeys(range(seeds), 0.0)
    rows += [
        difference(beyond_distance(kind), found[linked(kind)], found[f"{linked(kind)}, {FIXED}"]) for kind in KINDS
    ]
    rows += [difference(name, found[name], zero, BITS) for name in (NEEDED, REST_NEEDED)]
    return Observation(measurements=tuple(rows), chart=_chart(by_distance), note=NOTE)


FIXED, MADE_UP = "best fixed distance", "made-up sentences"

NOTE = (
    "A head links an object to its verb where the object's last token gives the verb's tokens more weight than those "
    "of any other word (in a decoder, of any before it); special tokens are no candidates. In the claim's own sentence "
    "the verb stands two words before the object, and so would a head find it that always looks there; therefore the "
    "distances. Verbs and objects are read off parts of speech; a parser agrees with 93 % of them (docs/log.md). The "
    "encoder has no head that predicts words, so that of it only the change of its sentence vectors is shown. Heads "
    "with a syntactic role: Clark et al. 2019, https://arxiv.org/abs/1906.04341; that weights are no proof of use: "
    "Jain and Wallace 2019, https://arxiv.org/abs/1902.10186."
)


@dataclass(frozen=True)
class Halves:
    """A seed's clauses, equally many of each distance, in halves from different documents."""

    choose: list[Clause]
    judge: list[Clause]

    @classmethod
    def of(cls, clauses: Sequence[Clause], count: int, seed: int, seeds: int) -> Halves:
        """Drawn from documents that no other seed has. DataError where there are too few of a distance."""
        documents = list(dict.fromkeys(clause.source for clause in clauses))[seed::seeds]
        halves: tuple[list[Clause], list[Clause]] = ([], [])
        each = max(count // (2 * len(DISTANCES)), 1)
        for number in range(2):
            inside = set(documents[number::2])
            for distance in DISTANCES:
                fitting = [one for one in clauses if one.source in inside and one.distance == distance]
                if len(fitting) < each:
                    raise DataError(
                        f"seed {seed} has {len(fitting)} clauses whose object stands {distance} words after the verb, "
                        f"and {each} are asked for; take fewer clauses, or fewer seeds"
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
    chance: float
    """What a word drawn from those that could be looked at would find."""


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
    return Looked(torch.stack(scores), fmean(chances))


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


def _removed(
    kind: str, model: LanguageModel, clauses: Sequence[Clause], best: Sequence[Head], others: Sequence[Sequence[Head]]
) -> dict[str, float]:
    """What becomes worse, or other, without the heads that link and without others."""
    if kind == "encoder":
        intact, *changed = (vectors(model, clauses, gone) for gone in ((), best, *others))
        apart = [float((1 - (intact * one).sum(dim=1)).mean()) for one in changed]
        return {CHANGED: apart[0], CHANGED_OTHERS: fmean(apart[1:])}
    plain, without, *random_ones = (losses(model, clauses, gone) for gone in ((), best, *others))
    objects = [one[0] - plain[0] for one in (without, *random_ones)]
    rest = [one[1] - plain[1] for one in (without, *random_ones)]
    return {
        OBJECT: objects[0],
        OBJECT_OTHERS: fmean(objects[1:]),
        NEEDED: objects[0] - fmean(objects[1:]),
        REST_NEEDED: rest[0] - fmean(rest[1:]),
    }


@torch.no_grad()
def losses(model: LanguageModel, clauses: Sequence[Clause], gone: Iterable[Head] = ()) -> tuple[float, float]:
    """Bits per token at objects, and at all other words, without some heads."""
    at_objects, at_others = [], []
    with hooked(model.network, without_heads(model.network, gone)):
        for start in range(0, len(clauses), AT_ONCE):
            rows = encode(model, clauses[start : start + AT_ONCE])
            logits = model.network(rows.filled, rows.mask)[:, :-1]
            bits = F.cross_entropy(logits.mT, rows.filled[:, 1:], reduction="none") / 0.6931471805599453
            words, noun = rows.words[:, 1:], torch.tensor([clause.object for clause in rows.clauses])[:, None]
            at_objects.append(bits[words == noun])
            at_others.append(bits[(words != noun) & (words >= 0)])
    return float(torch.cat(at_objects).mean()), float(torch.cat(at_others).mean())


def vectors(model: LanguageModel, clauses: Sequence[Clause], gone: Iterable[Head] = ()) -> Float[Tensor, "clauses dim"]:
    """The sentences' vectors without some heads."""
    with hooked(model.network, without_heads(model.network, gone)):
        return model.embed(["".join(clause.words) for clause in clauses])


def _chart(by_distance: dict[str, list[list[float]]]) -> Chart:
    """How often the chosen head finds the verb, by the distance of the object."""
    return Chart(
        kind="bars",
        title="Objects whose verb the chosen head looks at most, by distance",
        x_label="words from the verb to its object (a fixed distance is right in one of these alone)",
        y_label="share of objects",
        categories=tuple(map(str, DISTANCES)),
        series=tuple(
            Series(
                name=kind,
                x=tuple(map(float, range(len(DISTANCES)))),
                y=tuple(fmean(column) for column in zip(*runs, strict=True)),
            )
            for kind, runs in by_distance.items()
        ),
    )
