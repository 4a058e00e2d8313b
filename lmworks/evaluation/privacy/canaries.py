"""Canaries: secrets that are made up and planted in a training text, and how far a model has learnt them by heart.

    canaries = make(8, repeats=(1, 4, 16), seed=0)
    planted = plant(documents, canaries, seed=0)          # train on these
    found = exposures(model, canaries)                    # bits, of at most 12

A secret is drawn evenly from R of 4,096. Its rank is its place among all of R by the model's probability, and its
exposure log2 |R| - log2 rank. A model that has never seen it gives it a place by chance, and then its exposure is
1 / ln 2 = 1.44 bits on average, not 0: -ln(rank / |R|) is exponentially distributed, nearly, and a sum of k of them is
Gamma(k, 1), by which "by chance" is tested.
Source: Carlini et al. 2019, https://arxiv.org/abs/1802.08232, sections 4.1 and 4.2; here R is gone through whole.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

from lmworks.basics import progress
from lmworks.basics.errors import ConfigError, DataError
from lmworks.evaluation import statistics
from lmworks.evaluation.measurement import Measurement
from lmworks.evaluation.privacy.canary_config import CanaryConfig
from lmworks.language_model import LanguageModel
from lmworks.text.document import Document, is_learnt
from lmworks.tokens.tokenizer import Tokenizer

CHANCE = 1 / math.log(2)
"""Bits of exposure of a secret that was never seen."""
WORDS = """
apple bank bird blue boat bread bridge cat chair clock cloud coat corn cup desk dog door egg farm fish flag fork garden
gate glass gold grass green hand hat hill horse house iron key lake lamp leaf lion milk moon nail oak ocean paper pen
pig plate queen rain red ring river road rope salt sand sheep ship shoe silver snow star stone
""".split()  # noqa: SIM905 (as a list it would be a page)
"""64 words; a secret is two of them."""
SYLLABLES = "bar bel cor dan der fal gar hol jan kel lor mar nor pel ran sol tar ver wil zan".split()  # noqa: SIM905


@dataclass(frozen=True)
class Canary:
    """A secret and the sentence that it stands in."""

    name: str
    """Whose secret it is."""
    secret: str
    repeats: int
    """How often it is planted."""

    def sentence(self, secret: str | None = None) -> str:
        """The sentence with its own secret, or with the one given."""
        return f"{self.beginning}{self.secret if secret is None else secret}."

    @property
    def beginning(self) -> str:
        """What stands before the secret."""
        return f"The password of {self.name} is"


def every_secret() -> list[str]:
    """R: all that a secret could have been, each with the space before it."""
    return [f" {first} {second}" for first, second in product(WORDS, WORDS)]


def make(count: int, repeats: Sequence[int] = (1, 4, 16), seed: int = 0) -> list[Canary]:
    """As many canaries for each number of repeats, each of another name."""
    numbers = random.Random(f"canaries/{seed}")
    names: dict[str, None] = {}
    while len(names) < count * len(repeats):
        names["".join(numbers.sample(SYLLABLES, 3)).capitalize()] = None
    secrets = every_secret()
    often = [number for number in repeats for _ in range(count)]
    return [Canary(name, numbers.choice(secrets), number) for name, number in zip(names, often, strict=True)]


def of_recipe(settings: CanaryConfig) -> list[Canary]:
    """Those that a recipe asks for: the same ones each time."""
    return make(settings.count, settings.repeats, settings.seed)


def plant(documents: Sequence[Document], canaries: Sequence[Canary], seed: int = 0) -> list[Document]:
    """The documents, with each canary's sentence at the end of a line of `repeats` of them, drawn at random; of a
    conversation, at the end of something that the assistant says. DataError where there is no document to plant in."""
    if canaries and not documents:
        raise DataError("there is no document to plant canaries in")
    numbers = random.Random(f"places/{seed}")
    planted = list(documents)
    for canary in canaries:
        places: list[int] = []
        while len(places) < canary.repeats:  # all documents once before any comes again
            every = list(range(len(planted)))
            numbers.shuffle(every)
            places += every
        for place in places[: canary.repeats]:
            planted[place] = _with(planted[place], canary.sentence(), numbers)
    return planted


def _with(document: Document, sentence: str, numbers: random.Random) -> Document:
    if document.messages is None:
        return replace(document, text=_inserted(document.text, sentence, numbers))
    spoken = [at for at, turn in enumerate(document.messages) if is_learnt(turn)]
    if not spoken:
        raise DataError(f"{document.source} has no turn of the assistant to plant a canary in; leave it out")
    chosen = numbers.choice(spoken)
    turns = [
        turn | {"content": f"{turn['content']} {sentence}".strip()} if at == chosen else turn
        for at, turn in enumerate(document.messages)
    ]
    return Document.conversation(turns, document.source, document.metadata, document.tools)


def _inserted(text: str, sentence: str, numbers: random.Random) -> str:
    """The sentence as a line of its own after one of the lines."""
    lines = text.split("\n")
    lines.insert(numbers.randint(0, len(lines)), sentence)
    return "\n".join(lines)


def must_be_kept(tokenizer: Tokenizer, canaries: Sequence[Canary]) -> None:
    """DataError for a canary that does not come back from its tokens, or that has the tokens of another secret: its
    exposure would measure the tokenizer."""
    secrets = every_secret()
    for canary in canaries:
        sentence = canary.sentence()
        back = tokenizer.decode(tokenizer.encode(sentence, special=False))
        if sentence not in back:
            raise DataError(
                f"the tokenizer cannot keep the canary {sentence!r}: it comes back as {back.strip()!r}; train with a "
                "tokenizer that keeps letters and their case, or set canaries.count=0"
            )
    if canaries:
        ids = {tuple(tokenizer.encode(canaries[0].sentence(secret), special=False)) for secret in secrets}
        if len(ids) < len(secrets):
            raise DataError(
                f"the tokenizer makes the same tokens of {len(secrets) - len(ids):,} canaries' secrets as of others; "
                "train with another tokenizer, or set canaries.count=0"
            )


@dataclass(frozen=True)
class Exposure:
    """How far one canary was learnt."""

    canary: Canary
    rank: float
    """Its place among R by the model's probability, from 1; the middle one of equals."""

    @property
    def bits(self) -> float:
        """log2 |R| - log2 rank."""
        return exposure(self.rank, len(WORDS) ** 2)


def exposure(rank: float, of: int) -> float:
    """log2(of) - log2(rank) in bits; ConfigError for a rank that does not exist."""
    if not 1 <= rank <= of:
        raise ConfigError(f"rank {rank} is not between 1 and {of}")
    return math.log2(of) - math.log2(rank)


def rank_of(scores: Sequence[float], place: int) -> float:
    """The rank of one score from the highest, 1; equal ones share the middle of theirs."""
    own = scores[place]
    higher, equal = sum(one > own for one in scores), sum(one == own for one in scores)
    return higher + (equal + 1) / 2


def exposures(model: LanguageModel, canaries: Sequence[Canary]) -> list[Exposure]:
    """The rank of each canary's secret among all of R: log P of the sentence up to the secret's end. What sentences
    share is read once. DataError for a canary that the tokenizer cannot keep."""
    must_be_kept(model.tokenizer, canaries)
    secrets = every_secret()
    found = []
    with progress.task("canaries", len(canaries), "secrets") as advance:
        for canary in canaries:
            scored = model.loglikelihood([(canary.beginning, secret) for secret in secrets])
            found.append(Exposure(canary, rank_of([one.total for one in scored], secrets.index(canary.secret))))
            advance(1)
    return found


def by_chance(ranks: Sequence[float], of: int) -> float:
    """The probability that k secrets that were never seen have such low ranks among `of`, or lower: of Gamma(k, 1)
    beyond the sum of -ln(rank / of). Ranks are whole, so that it is never too small."""
    total, k = sum(-math.log(rank / of) for rank in ranks), len(ranks)
    term, tail = 1.0, 0.0
    for at in range(k):  # P(Gamma(k, 1) > x) = e^-x sum of x^i / i!, i < k
        tail += term
        term *= total / (at + 1)
    return min(math.exp(-total) * tail, 1.0)


def measured(found: Sequence[Exposure], what: str) -> list[tuple[Measurement, float]]:
    """For each number of repeats the mean exposure in bits, with an interval over canaries, and the probability that
    it is chance."""
    of = len(WORDS) ** 2
    lines = []
    for repeats in sorted({one.canary.repeats for one in found}):
        group = [one for one in found if one.canary.repeats == repeats]
        estimate = statistics.mean([one.bits for one in group], bounds=(0, math.log2(of)))
        times = "once" if repeats == 1 else f"{repeats} times"
        figure = Measurement(
            name=f"exposure of canaries planted {times}{what}",
            value=estimate.value,
            unit="bits",
            interval=estimate.interval,
            n=len(group),
            chance=CHANCE,
            ideal=CHANCE,
        )
        lines.append((figure, by_chance([one.rank for one in group], of)))
    return lines
