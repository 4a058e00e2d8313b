"""Question 16: subword tokens process rare or new words by sub-units that are known.

Tokenizers and small networks learn one domain and meet others; then words that nobody has seen, made by a rule, and
compounds of two words that were seen, as the claim's own example is one. What is lost is paid for (see `writers.py`).
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from lmworks.basics.errors import ConfigError, DataError
from lmworks.evaluation.lost_text import LostText
from lmworks.evaluation.measurement import Measurement
from lmworks.lab.bench.writers import RATES, Writer, bits_per_byte, drawn, token_stream, trained_writer
from lmworks.lab.chart import Chart, Series
from lmworks.lab.registry import experiment
from lmworks.lab.rule import Check, Observation, Rule
from lmworks.lab.scale import Count, Several, scaled
from lmworks.lab.seeds import difference, measured, worst_difference
from lmworks.text.document import Document
from lmworks.text.sources import read
from lmworks.text.splits import parts, place, split
from lmworks.tokens.inspection import compare
from lmworks.tokens.lost import losses
from lmworks.tokens.tokenizer import Tokenizer
from lmworks.tokens.trainer import TokenizerConfig, train_tokenizer

Kind = Literal["byte", "word", "bpe", "unigram", "wordpiece"]
KINDS: tuple[Kind, ...] = ("byte", "word", "bpe", "unigram", "wordpiece")
WRITE: tuple[Kind, ...] = ("byte", "word", "bpe", "unigram")
"""The kinds that a network is trained over; WordPiece is cut with only."""
SUBWORDS: tuple[Kind, ...] = ("bpe", "unigram")
PIECE = 400
"""Characters that a longer document is cut into."""
COMPOUNDS = 200
CONTEXT = 128
"""Tokens that the networks see."""

SIGNS = (
    "b bl br c ch d dr f fl g gl gr h j k l m n p pl pr qu r s sh sk sl sm sn sp st t th tr v w z",
    "a e i o u ai ea ee oa oo ou",
    " b d ft g k l lt m mp n nd ng nt p r rd rk s sh st t x",  # the first is no letter at all
)
SYLLABLE = tuple(signs.split(" ") for signs in SIGNS)
"""How a syllable of a made-up word begins, sounds and ends."""
SYLLABLES = (2, 3)
BY_RULE = math.log2(len(SYLLABLES)) + sum(SYLLABLES) / len(SYLLABLES) * sum(math.log2(len(signs)) for signs in SYLLABLE)
"""Bits of a made-up word for somebody who knows the rule (a few words can be made in two ways, and cost less)."""

LOST = "share of bytes in unknown tokens"
MOST, LEAST = "in the new domain that loses most", "in the new domain that loses least"
WORST = "in the new domain where it is worst"
BY = {kind: f"new domain, bpe minus {kind}, {WORST}" for kind in WRITE}
NONCE, KNOWN = "what a made-up word adds to its text", "what the word in its place added"
NONCE_BY = {kind: f"{NONCE}, bpe minus {kind}" for kind in WRITE}
BACK = "texts with a made-up word that come back whole"
SEAM = "new compounds of two known words that are cut at the seam"
EXACT = "new compounds that are cut into these two words"


@experiment(
    question=16,
    claim="Out-of-vocabulary words are handled by subword tokenization: 'cryptocurrency' might split into 'crypto' and "
    "'currency', so that rare or new words are processed by known sub-units.",
    rule=Rule(
        holds_if=(
            Check(f"{BACK}, bpe", ">", 0.999),
            Check(f"{LOST}, bpe, {MOST}", "<", 0.001),
            Check(f"{LOST}, word, {LEAST}", ">", 0.05),
            Check(BY["word"], "<", 0),
        ),
        only_if=(
            (
                Check(f"{LOST}, wordpiece, {MOST}", "<", 0.01),
                "the subwords fall back on bytes (WordPiece, built on the characters it has seen, loses text)",
            ),
            (Check(BY["byte"], "<", 0), "it is not said against bytes, which write a new domain in as few bits"),
            (Check(NONCE_BY["word"], "<", 0), "a single new word is not meant, which a speller writes as cheaply"),
            (Check(f"{SEAM}, bpe", ">", 0.5), "known sub-units are not taken for the word's own parts"),
            (Check(f"{SEAM}, bpe minus chance", ">", 0), "cuts at the seams of words are left to chance"),
        ),
    ),
)
def unknown_words(
    homes: Annotated[tuple[str, ...], Field(min_length=1)] = scaled(
        ("tinyshakespeare",), ("tinyshakespeare", "multi30k-en")
    ),
    away: Annotated[tuple[str, ...], Field(min_length=1)] = ("python-reference", "sms-spam"),
    vocab_size: Count = scaled(2048, 4096),
    kilobytes: Count = scaled(400, 900),
    held_out_kilobytes: Count = scaled(8, 15),
    words: Several = scaled(20, 40),
    flops: Annotated[float, Field(gt=0)] = scaled(1.2e11, 4e11),
    dim: Several = 96,
    rates: tuple[float, float] = RATES,
    seeds: Count = scaled(3, 5),
) -> Observation:
    """Unknown text and bits a byte at home and away; made-up words: pieces, cost, and whether they come back."""
    found = _Found()
    if set(homes) & set(away):
        raise ConfigError(f"{', '.join(set(homes) & set(away))} is in homes and in away; a text is not new to itself")
    new = {reference: _pieces(reference) for reference in away}
    for home in homes:
        whole = split(read(home).documents, 0.1)
        train = _within(_cut(whole.train), kilobytes * 1000)
        own = _cut(whole.held_out)
        seen = Counter(_words(train))
        taken = {*seen, *_words(own), *(word for texts in new.values() for word in _words(texts))}
        for kind in KINDS:
            size = None if kind == "byte" else vocab_size
            tokenizer = train_tokenizer(train, TokenizerConfig(kind=kind, vocab_size=size), f"{kind} of {home}")
            for domain, texts in {home: own, **new}.items():
                found.cut(kind, home, domain, tokenizer, texts)
            lost, stream = LostText(tokenizer, train), token_stream(tokenizer, train)
            for seed in range(seeds):
                if kind in SUBWORDS:
                    found.seams(kind, home, seed, tokenizer, compounds_of(seen, taken, COMPOUNDS, seed))
                slots = _slots(own, nonce_words(words, seed, taken), seed)
                found.pieces(kind, home, seed, tokenizer, slots)
                if kind not in WRITE:
                    continue
                rate = rates[0] if kind == "byte" else rates[1]
                writer = trained_writer(lost, stream, flops=flops, rate=rate, seed=seed, dim=dim, context=CONTEXT)
                for domain, texts in {home: own, **new}.items():
                    costs = writer.costs(drawn(texts, held_out_kilobytes * 1000, seed))
                    found.put(found.bits, (kind, home, domain), seed, bits_per_byte(costs))
                    bare = sum(cost.ids for cost in costs) / sum(cost.bytes for cost in costs)
                    found.put(found.unpaid, (kind, home, domain), seed, bare)
                found.added(kind, home, seed, writer, slots)
    return Observation(measurements=tuple(found.measurements()), chart=_chart(found), note=NOTE)


NOTE = (
    "Bits per byte are of the whole text: unknown words are spelt by a second network that gets a quarter of the "
    "operations; without that a word tokenizer looks better the more it loses ('not paid' in the chart). A tokenizer "
    "that loses nothing 'absorbs' a word by definition, if it holds all bytes; what can be asked is whether the cost "
    "is less than by letters, and whether the pieces are parts of the word. The claim's example is a compound that "
    "falls into exactly its two words, which has a line of its own beside the cuts at the seam; pieces are chosen by "
    "frequency and not by meaning (Bostrom and Durrett 2020, https://arxiv.org/abs/2004.03720). Of that very word "
    "SmolLM2 makes one token after a space, and crypt, ocur and rency without one. The compounds here are made of "
    "words that the tokenizer has learnt, and nobody uses them. Equal are the operations of training and the window in "
    "tokens; the networks are tiny. A made-up word stands in the place of a word of held-out text, and what it adds is "
    "the cost of that text minus its cost without any word there; the bits that its rule needs are what nobody can do "
    "better than. Intervals are over seeds: fresh weights, other texts, other words."
)


def nonce_words(count: int, seed: int, taken: set[str]) -> list[str]:
    """Words of two or three syllables that are not among those taken."""
    generator = random.Random(f"nonce/{seed}")
    made: list[str] = []
    while len(made) < count:
        syllables = generator.choice(SYLLABLES)
        word = "".join(generator.choice(signs) for _ in range(syllables) for signs in SYLLABLE)
        if word not in taken and word not in made:
            made.append(word)
    return made


def compounds_of(seen: Mapping[str, int], taken: set[str], count: int, seed: int) -> list[tuple[str, str]]:
    """Pairs of words that were each seen five times or more, and never as one word."""
    parts_ = sorted(word for word, times in seen.items() if times >= 5 and 4 <= len(word) <= 8 and word.islower())
    if len(parts_) < 10:
        raise DataError(f"{len(parts_)} words of 4 to 8 letters occur 5 times, too few for compounds; give more text")
    generator = random.Random(f"compound/{seed}")
    made: set[tuple[str, str]] = set()
    for _ in range(100 * count):
        first, second = generator.sample(parts_, 2)
        if first + second not in taken:
            made.add((first, second))
        if len(made) == count:
            break
    return sorted(made)


def cuts(tokenizer: Tokenizer, word: str) -> set[int]:
    """The bytes of a word, which follows a space, after which a token ends within it."""
    ends, at = set(), -1  # the space comes first
    for piece in tokenizer.bytes_of(tokenizer.encode(f" {word}", special=False)):
        at += len(piece)
        ends.add(at)
    return {end for end in ends if 0 < end < len(word.encode())}


def _pieces(reference: str) -> list[str]:
    return _cut(read(reference).documents)


def _cut(documents: Iterable[Document]) -> list[str]:
    """The documents, long ones in pieces, in the order of their hashes."""
    pieces = [piece for document in documents for piece in parts(document, PIECE)]
    return [piece.text for piece in sorted(pieces, key=place)]


def _within(texts: Sequence[str], size: int) -> list[str]:
    chosen: list[str] = []
    for text in texts:
        size -= len(text.encode()) + 1
        if chosen and size < 0:
            break
        chosen.append(text)
    return chosen


def _words(texts: Sequence[str]) -> list[str]:
    return [word for text in texts for word in re.findall(r"[^\W\d_]+", text)]


@dataclass(frozen=True)
class _Slot:
    """A text with a place for a word."""

    before: str
    word: str
    nonce: str
    after: str

    def text(self, word: str) -> str:
        """With a word in the place, and its space; with none."""
        return self.before + (f" {word}" if word else "") + self.after


def _slots(texts: Sequence[str], nonce: Sequence[str], seed: int) -> list[_Slot]:
    """Texts by seed, in each of which one word of four letters or more, after a space, gives way to a new one."""
    generator, slots, left = random.Random(f"slot/{seed}"), [], list(nonce)
    for text in generator.sample(list(texts), len(texts)):
        places = list(re.finditer(r" ([a-z]{4,})\b", text))
        if places and left:
            chosen = generator.choice(places)
            slots.append(_Slot(text[: chosen.start()], chosen[1], left.pop(), text[chosen.end() :]))
    if left:
        raise DataError(f"the held-out text has no place for {len(left)} of the {len(nonce)} words; give more text")
    return slots


Figures = dict[tuple[str, ...], dict[int, float]]
"""By seed, for a kind and what else there is."""


@dataclass
class _Found:
    """Figures by kind, home and domain."""

    bits: Figures = field(default_factory=dict)
    unpaid: Figures = field(default_factory=dict)
    lost: dict[tuple[str, str, str], float] = field(default_factory=dict)
    unknown: dict[tuple[str, str, str], float] = field(default_factory=dict)
    texts: dict[tuple[str, str, str], int] = field(default_factory=dict)
    per_word: Figures = field(default_factory=dict)
    back: Figures = field(default_factory=dict)
    nonce: Figures = field(default_factory=dict)
    known: Figures = field(default_factory=dict)
    seam: Figures = field(default_factory=dict)
    exact: Figures = field(default_factory=dict)
    chance: Figures = field(default_factory=dict)

    def put(self, figures: Figures, at: tuple[str, ...], seed: int, value: float) -> None:
        """Keep one."""
        figures.setdefault(at, {})[seed] = value

    def cut(self, kind: Kind, home: str, domain: str, tokenizer: Tokenizer, texts: Sequence[str]) -> None:
        """What the tokenizer loses of a domain."""
        at = (kind, home, domain)
        [figures] = compare({kind: tokenizer}, {domain: texts})
        self.unknown[at], self.texts[at] = figures.unknown_rate, len(texts)
        gone = (loss.text for text in texts for loss in losses(tokenizer, text)[1] if loss.text is not None)
        self.lost[at] = sum(len(text.encode()) for text in gone) / figures.bytes

    def seams(self, kind: Kind, home: str, seed: int, tokenizer: Tokenizer, pairs: Sequence[tuple[str, str]]) -> None:
        """How often compounds are cut at the seam, and how often as many cuts at random places would."""
        found = [(cuts(tokenizer, first + second), first, second) for first, second in pairs]
        self.put(self.seam, (kind, home), seed, _mean(len(first) in at for at, first, _ in found))
        self.put(self.exact, (kind, home), seed, _mean(at == {len(first)} for at, first, _ in found))
        self.put(self.chance, (kind, home), seed, _mean(len(at) / (len(a + b) - 1) for at, a, b in found))

    def pieces(self, kind: Kind, home: str, seed: int, tokenizer: Tokenizer, slots: Sequence[_Slot]) -> None:
        """Tokens of the made-up words, and which of their texts come back."""
        lengths = [len(tokenizer.encode(f" {slot.nonce}", special=False)) for slot in slots]
        self.put(self.per_word, (kind, home), seed, _mean(lengths))
        whole = [slot.text(slot.nonce) for slot in slots]
        back = [tokenizer.decode(tokenizer.encode(text, special=False)) == text for text in whole]
        self.put(self.back, (kind, home), seed, _mean(back))

    def added(self, kind: Kind, home: str, seed: int, writer: Writer, slots: Sequence[_Slot]) -> None:
        """Bits that a made-up word adds to its text, and that the word in its place did."""
        without, nonce, known = (
            sum(cost.bits for cost in writer.costs([slot.text(word) for slot, word in zip(slots, words, strict=True)]))
            for words in ([""] * len(slots), [slot.nonce for slot in slots], [slot.word for slot in slots])
        )
        self.put(self.nonce, (kind, home), seed, (nonce - without) / len(slots))
        self.put(self.known, (kind, home), seed, (known - without) / len(slots))

    def measurements(self) -> list[Measurement]:
        """Every figure, means over homes where there are several."""
        rows = self._of_tokenizers()
        for kind in KINDS:
            rows.append(measured(f"{BACK}, {kind}", self._over(self.back, kind), ideal=1.0))
            rows.append(measured(f"tokens of a made-up word, {kind}", self._over(self.per_word, kind)))
        for kind in SUBWORDS:
            seam, chance = self._over(self.seam, kind), self._over(self.chance, kind)
            rows.append(measured(f"{SEAM}, {kind}", seam, chance=_mean(chance.values())))
            rows.append(difference(f"{SEAM}, {kind} minus chance", seam, chance))
            rows.append(measured(f"{EXACT}, {kind}", self._over(self.exact, kind)))
        for kind in WRITE:
            rows += [
                measured(f"{NONCE}, {kind}", self._over(self.nonce, kind), "bits", ideal=BY_RULE),
                measured(f"{KNOWN}, {kind}", self._over(self.known, kind), "bits"),
            ]
        rows += [
            difference(NONCE_BY[kind], self._over(self.nonce, "bpe"), self._over(self.nonce, kind), "bits")
            for kind in WRITE
            if kind != "bpe"
        ]
        for at, by_seed in self.bits.items():
            rows.append(measured(f"{_name(at)}, {at[0]}", by_seed, "bits/byte", chance=8.0, ideal=0.0))
        return rows + [self._worst(kind) for kind in WRITE if kind != "bpe"]

    def _of_tokenizers(self) -> list[Measurement]:
        away = {kind: [at for at in self.lost if at[0] == kind and at[1] != at[2]] for kind in KINDS}
        texts = {kind: sum(self.texts[at] for at in away[kind]) for kind in KINDS}
        exact = [(f"{LOST}, {kind}, {MOST}", max(self.lost[at] for at in away[kind]), texts[kind]) for kind in KINDS]
        exact.append((f"{LOST}, word, {LEAST}", min(self.lost[at] for at in away["word"]), texts["word"]))
        exact += [
            (f"{what}, {kind}, {_name(at)}", figures[at], self.texts[at])
            for what, figures in ((LOST, self.lost), ("unknown rate", self.unknown))
            for kind in ("word", "wordpiece")
            for at in self.lost
            if at[0] == kind
        ]
        return [Measurement(name=name, value=value, n=n) for name, value, n in exact]

    def _over(self, figures: Figures, kind: Kind) -> dict[int, float]:
        """By seed, the mean over homes."""
        homes = [by_seed for at, by_seed in figures.items() if at[0] == kind]
        return {seed: _mean(by_seed[seed] for by_seed in homes) for seed in homes[0]}

    def _worst(self, kind: Kind) -> Measurement:
        away = [at for at in self.bits if at[0] == "bpe" and at[1] != at[2]]
        cases = {_name(at): (self.bits[at], self.bits[(kind, *at[1:])]) for at in away}
        return worst_difference(BY[kind], cases, "bits/byte")


def _name(at: tuple[str, ...]) -> str:
    _, home, domain = at
    return f"{home}, its held-out text" if home == domain else f"{home} to {domain}"


def _mean(values: Iterable[float]) -> float:
    numbers = list(values)
    return sum(numbers) / len(numbers)


def _chart(found: _Found) -> Chart:
    """Bits per byte at home and away, a bar a kind."""
    pairs = list(dict.fromkeys(at[1:] for at in found.bits))

    def bars(name: str, kind: Kind, figures: Figures) -> Series:
        rows = [measured(name, figures[(kind, *pair)]) for pair in pairs]
        ends = [row.interval or (row.value, row.value) for row in rows]
        return Series(
            name=name,
            x=tuple(map(float, range(len(pairs)))),
            y=tuple(row.value for row in rows),
            low=tuple(low for low, _ in ends),
            high=tuple(high for _, high in ends),
        )

    return Chart(
        kind="bars",
        title="What a text costs at home and in a new domain",
        x_label="learnt from, and tested on",
        y_label="bits per byte",
        categories=tuple(home if home == domain else f"{home} to {domain}" for home, domain in pairs),
        series=(*(bars(kind, kind, found.bits) for kind in WRITE), bars("word, not paid", "word", found.unpaid)),
    )
