"""Question 1: subword tokens handle several languages and rare words with a small vocabulary.

One vocabulary of each kind for several languages and scripts together, and small networks over each, trained with
equally many operations. What a tokenizer loses is paid for (see `writers.py`), so that all kinds write the same bytes.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from lmworks.basics.errors import DataError
from lmworks.evaluation.lost_text import LostText
from lmworks.evaluation.measurement import Measurement
from lmworks.lab.bench.writers import RATES, Cost, bits_per_byte, drawn, token_stream, trained_writer
from lmworks.lab.chart import Chart, Series
from lmworks.lab.registry import experiment
from lmworks.lab.rule import Check, Observation, Rule
from lmworks.lab.scale import Count, Several, scaled
from lmworks.lab.seeds import difference, measured, worst_difference
from lmworks.models.relatives.ngram import Ngram
from lmworks.text.document import Document
from lmworks.text.sources import read
from lmworks.text.splits import place, split
from lmworks.tokens.inspection import compare
from lmworks.tokens.lost import losses
from lmworks.tokens.tokenizer import Tokenizer
from lmworks.tokens.trainer import TokenizerConfig, train_tokenizer

Kind = Literal["byte", "character", "word", "bpe", "wordpiece", "unigram"]
Condition = tuple[Kind, int]
"""A kind of tokens, and how many; 0 where that cannot be chosen."""
KINDS: tuple[Kind, ...] = ("byte", "character", "word", "bpe", "wordpiece", "unigram")

CATALOGUE = "/usr/share/locale/{}/LC_MESSAGES/postgres-17.mo"
"""Where Debian keeps the messages of PostgreSQL's server, as translated."""
CAPTIONS = {language: f"multi30k-{language}" for language in ("en", "de", "fr")}
MESSAGES = {language: CATALOGUE.format(code) for language, code in (("ru", "ru"), ("ko", "ko"), ("zh", "zh_CN"))}
ORDER = 8
"""Order of the n-gram models beside the networks."""
UNSPACED = ("zh", "ja", "th")
"""Languages without spaces between words, in which tokens per word mean nothing."""

BITS = "held-out text"
LOST = "share of held-out bytes in unknown tokens"
MOST, LEAST = "in the language that loses most", "in the language that loses least"
WORST = "in the language where it is worst"
RARE = "held-out texts with a word seen at most twice"
BY = {kind: f"{BITS}, bpe minus {kind}, {WORST}" for kind in KINDS}
RARELY = {kind: f"{RARE}, bpe minus {kind}" for kind in KINDS}
FOUR_TIMES = f"{BITS}, bpe minus word of four times as many tokens, {WORST}"
NGRAM = f"{BITS}, n-gram model of order {ORDER} that reads all training text"
UNIGRAM = f"{BITS}, unigram minus byte, {WORST}"


@experiment(
    question=1,
    claim="Tokenization enables models to handle diverse languages, manage rare words, and optimize vocabulary size "
    "for computational efficiency.",
    rule=Rule(
        holds_if=(
            Check(f"{LOST}, bpe, {MOST}", "<", 0.001),
            Check(f"{LOST}, word, {LEAST}", ">", 0.01),
            Check(BY["word"], "<", 0),
            Check(BY["byte"], "<", 0),
            Check(FOUR_TIMES, "<", 0),
            Check(RARELY["word"], "<", 0),
        ),
        only_if=(
            (Check(BY["character"], "<", 0), "it is not said against single characters, which do as well somewhere"),
            (Check(RARELY["byte"], "<", 0), "rare words are not said against bytes, which write them as cheaply"),
            (Check(UNIGRAM, "<", 0), "subwords are built on bytes; built on characters they lose to bytes somewhere"),
        ),
    ),
)
def tokenization(
    texts: dict[str, str] = scaled(
        {"de": CAPTIONS["de"], "ru": MESSAGES["ru"], "zh": MESSAGES["zh"]}, CAPTIONS | MESSAGES
    ),
    sizes: Annotated[tuple[Count, ...], Field(min_length=2)] = scaled((2048, 8192), (1024, 4096, 16384)),
    kilobytes: Count = scaled(150, 250),
    held_out_kilobytes: Count = scaled(6, 10),
    flops: Annotated[float, Field(gt=0)] = scaled(1.2e11, 4e11),
    dim: Several = 96,
    context: Several = 128,
    rates: tuple[float, float] = RATES,
    seeds: Count = scaled(3, 4),
) -> Observation:
    """Kind x vocabulary x language: tokens a word, bytes a token, unknown text, bits a byte at equal operations.

    Each kind is judged with `sizes[-2]` tokens; `sizes[-1]` should be four times as many.
    """
    data = {language: _read(language, reference, kilobytes * 1000) for language, reference in texts.items()}
    mixed = [one.text for one in sorted((text for part in data.values() for text in part.train), key=place)]
    main, large = sizes[-2:]
    grid: list[Condition] = [("byte", 0), ("character", 0)]
    grid += [(kind, size) for kind in ("word", "bpe") for size in sizes]
    grid += [(kind, size) for kind in ("wordpiece", "unigram") for size in (main, large)]
    found = _Found(data)
    for condition in grid:
        kind, size = condition
        tokenizer = train_tokenizer(mixed, TokenizerConfig(kind=kind, vocab_size=size or None), kind)
        found.cut(condition, tokenizer)
        lost, stream = LostText(tokenizer, mixed), token_stream(tokenizer, mixed)
        end = tokenizer.vocab_size
        ngram = Ngram.train(([*ids, end] for ids in tokenizer.encode_batch(mixed, special=False)), end + 1, ORDER)
        for seed in range(seeds):
            rate = rates[0] if kind in ("byte", "character") else rates[1]
            writer = trained_writer(lost, stream, flops=flops, rate=rate, seed=seed, dim=dim, context=context)
            found.read[condition] = writer.read * sum(len(text.encode()) + 1 for text in mixed) / len(stream)
            for language, part in data.items():
                sample = drawn(part.held_out, held_out_kilobytes * 1000, seed)
                found.wrote(condition, language, seed, sample, writer.costs(sample))
                costs = _ngram_costs(ngram, lost, sample)
                found.ngram.setdefault(condition, {}).setdefault(language, {})[seed] = bits_per_byte(costs)
                if kind == "word":
                    cheap = bits_per_byte(writer.costs(sample, lost.spelling))
                    found.spelt.setdefault(condition, {}).setdefault(language, {})[seed] = cheap
    at = {kind: (kind, 0 if kind in ("byte", "character") else main) for kind in KINDS}
    return Observation(
        measurements=(
            *found.of_tokenizers(at, mixed),
            *found.of_networks(at),
            found.against(FOUR_TIMES, at["bpe"], ("word", large)),
            found.against(UNIGRAM, at["unigram"], at["byte"]),
            measured(f"{BITS}, word spelt by n-grams", found.mean(found.spelt, at["word"]), "bits/byte", chance=8.0),
            *(
                measured(f"{NGRAM}, {kind}", found.mean(found.ngram, at[kind]), "bits/byte", chance=8.0)
                for kind in KINDS
            ),
            *found.of_sizes([condition for condition in grid if condition not in at.values()]),
        ),
        chart=_chart(found, grid),
        note=f"{NOTE} Read in training: "
        + ", ".join(f"{kind} {found.read[at[kind]] / 1000:,.0f} KB" for kind in KINDS)
        + f" of {sum(map(len, (text.encode() for text in mixed))) / 1000:,.0f}.",
    )


NOTE = (
    "Bits per byte are of the whole text: unknown words are spelt by a second network that gets a quarter of the "
    "operations, and the white space that WordPiece drops is told from its neighbours. Without that a word tokenizer "
    "looks best ('not paid' in the chart), because <unk> is easy to predict and writes nothing. English, "
    "German and French are captions of photographs, a narrow domain that is kind to word vocabularies; Russian, "
    "Korean and Chinese are PostgreSQL's messages, which repeat themselves: a language is compared with itself only. "
    "Equal are the operations of training, and the window in tokens (so that larger tokens see more text); the share "
    "of parameters in the embedding grows with the vocabulary. The networks are tiny and read less than the text once. "
    "How far n-gram models get that read all of it is shown beside them and does not decide; where they cost less, "
    "what is compared is networks that have little to compute with. The cost of words hangs on who spells: see 'word "
    "spelt by n-grams'. Intervals are over seeds, each with fresh weights and "
    "other held-out texts. That one vocabulary serves all languages does not mean that it serves them alike: the same "
    "sentence costs some languages several times the tokens (Petrov et al. 2023, https://arxiv.org/abs/2305.15425). "
    "The claim's example, 'artificial' into 'art', 'ific' and 'ial', is one of many: SmolLM2 cuts it into art and "
    "ificial."
)


@dataclass(frozen=True)
class _Text:
    """One language: documents to learn from, texts to judge by, and which of those hold a rare word."""

    train: list[Document]
    held_out: list[str]
    rare: frozenset[str]


def _read(language: str, reference: str, size: int) -> _Text:
    if reference in MESSAGES.values() and not Path(reference).is_file():
        raise DataError(
            f"{reference} is not here; it comes with PostgreSQL 17 (Debian: apt install postgresql-17), or name other "
            'texts, as in --set \'texts={en="multi30k-en", de="multi30k-de"}\''
        )
    whole = split(read(reference).documents, 0.1)
    train: list[Document] = []
    for document in sorted(whole.train, key=place):  # in the order of their hashes, which is as good as by lot
        if train and size < len(document.text.encode()):
            break
        train.append(document)
        size -= len(document.text.encode()) + 1
    held_out = [document.text for document in whole.held_out]
    seen = Counter(word for document in train for word in _words(document.text))
    rare = [text for text in held_out if language not in UNSPACED and any(seen[word] <= 2 for word in _words(text))]
    return _Text(train, held_out, frozenset(rare))


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", text)


@dataclass
class _Found:
    """Figures by condition, language and seed."""

    data: Mapping[str, _Text]
    bits: dict[Condition, dict[str, dict[int, float]]] = field(default_factory=dict)
    unpaid: dict[Condition, dict[str, dict[int, float]]] = field(default_factory=dict)
    spelt: dict[Condition, dict[str, dict[int, float]]] = field(default_factory=dict)
    """As `bits`, unknown words spelt by the n-gram model."""
    ngram: dict[Condition, dict[str, dict[int, float]]] = field(default_factory=dict)
    rare: dict[Condition, dict[int, list[Cost]]] = field(default_factory=dict)
    lost: dict[Condition, dict[str, float]] = field(default_factory=dict)
    per_word: dict[Condition, dict[str, float]] = field(default_factory=dict)
    per_token: dict[Condition, dict[str, float]] = field(default_factory=dict)
    unknown: dict[Condition, dict[str, float]] = field(default_factory=dict)
    size: dict[Condition, int] = field(default_factory=dict)
    """Tokens in the vocabulary."""
    read: dict[Condition, float] = field(default_factory=dict)
    """Bytes of text read in training."""

    def cut(self, condition: Condition, tokenizer: Tokenizer) -> None:
        """What the tokenizer makes of all held-out text."""
        self.size[condition] = tokenizer.vocab_size
        for one in compare({"": tokenizer}, {language: part.held_out for language, part in self.data.items()}):
            self.per_word.setdefault(condition, {})[one.text] = one.tokens_per_word
            self.per_token.setdefault(condition, {})[one.text] = one.bytes_per_token
            self.unknown.setdefault(condition, {})[one.text] = one.unknown_rate
        for language, part in self.data.items():
            gone = sum(
                len(loss.text.encode())
                for text in part.held_out
                for loss in losses(tokenizer, text)[1]
                if loss.text is not None
            )
            size = sum(len(text.encode()) for text in part.held_out)
            self.lost.setdefault(condition, {})[language] = gone / size

    def wrote(
        self, condition: Condition, language: str, seed: int, texts: Sequence[str], costs: Sequence[Cost]
    ) -> None:
        """What some held-out texts of a language cost."""
        self.bits.setdefault(condition, {}).setdefault(language, {})[seed] = bits_per_byte(costs)
        bare = sum(cost.ids for cost in costs) / sum(cost.bytes for cost in costs)
        self.unpaid.setdefault(condition, {}).setdefault(language, {})[seed] = bare
        rare = [cost for text, cost in zip(texts, costs, strict=True) if text in self.data[language].rare]
        self.rare.setdefault(condition, {}).setdefault(seed, []).extend(rare)

    def of_tokenizers(self, at: Mapping[Kind, Condition], mixed: Sequence[str]) -> list[Measurement]:
        """Figures that no network is needed for: exact, of all held-out texts."""
        texts = sum(len(part.held_out) for part in self.data.values())
        spaced = [language for language in self.data if language not in UNSPACED]
        exact: list[tuple[str, float]] = [
            ("different characters in the training text", len(set("".join(mixed)))),
            (f"{LOST}, bpe, {MOST}", max(self.lost[at["bpe"]].values())),
            (f"{LOST}, word, {LEAST}", min(self.lost[at["word"]].values())),
        ]
        for kind, condition in at.items():
            exact += [
                (f"tokens per word, {kind}", _mean(self.per_word[condition][language] for language in spaced)),
                (f"bytes per token, {kind}", _mean(self.per_token[condition].values())),
                (f"unknown rate, {kind}", _mean(self.unknown[condition].values())),
            ]
        exact += [(f"bytes per token, bpe, {name}", value) for name, value in self.per_token[at["bpe"]].items()]
        exact += [(f"{LOST}, word, {name}", value) for name, value in self.lost[at["word"]].items()]
        return [Measurement(name=name, value=value, n=texts) for name, value in exact]

    def of_networks(self, at: Mapping[Kind, Condition]) -> list[Measurement]:
        """Bits per byte of each kind and language, and the differences that the rule asks for."""
        rows = [
            measured(f"{BITS}, {kind}, {language}", by_seed, "bits/byte", chance=8.0, ideal=0.0)
            for kind, condition in at.items()
            for language, by_seed in self.bits[condition].items()
        ]
        rows += [self.against(BY[kind], at["bpe"], condition) for kind, condition in at.items() if kind != "bpe"]
        rare = {kind: {seed: bits_per_byte(costs) for seed, costs in self.rare[at[kind]].items()} for kind in KINDS}
        rows += [measured(f"{RARE}, {kind}", by_seed, "bits/byte", chance=8.0) for kind, by_seed in rare.items()]
        return rows + [
            difference(RARELY[kind], rare["bpe"], rare[kind], "bits/byte") for kind in KINDS if kind != "bpe"
        ]

    def against(self, name: str, ours: Condition, other: Condition) -> Measurement:
        """One condition minus another, in the language that is worst for it."""
        cases = {language: (self.bits[ours][language], self.bits[other][language]) for language in self.data}
        return worst_difference(name, cases, "bits/byte")

    def of_sizes(self, others: Iterable[Condition]) -> list[Measurement]:
        """Bits per byte, all languages together, where the vocabulary has another size."""
        return [
            measured(f"{BITS}, {kind} of {size:,} tokens", self.mean(self.bits, (kind, size)), "bits/byte", chance=8.0)
            for kind, size in others
        ]

    def mean(self, figures: Mapping[Condition, Mapping[str, Mapping[int, float]]], at: Condition) -> dict[int, float]:
        """By seed, the mean over languages."""
        languages = figures[at].values()
        return {seed: _mean(by_seed[seed] for by_seed in languages) for seed in next(iter(languages))}


def _ngram_costs(model: Ngram, lost: LostText, texts: Iterable[str]) -> list[Cost]:
    """As `Writer.costs`, each text by itself, and what is lost spelt by n-grams as well."""
    costs = []
    for text in texts:
        ids, words, space = lost.of(text)
        bits = -float(model.score([*ids, model.vocab_size - 1]).sum()) / math.log(2)
        costs.append(Cost(bits, space + sum(lost.spelling(words)), len(text.encode()) + 1))
    return costs


def _mean(values: Iterable[float]) -> float:
    numbers = list(values)
    return sum(numbers) / len(numbers)


def _chart(found: _Found, grid: Sequence[Condition]) -> Chart:
    """Bits per byte by the size of the vocabulary, a line a kind."""

    def line(name: str, kind: Kind, figures: Mapping[Condition, Mapping[str, Mapping[int, float]]]) -> Series:
        points = [(found.size[at], measured(name, found.mean(figures, at))) for at in grid if at[0] == kind]
        ends = [point.interval or (point.value, point.value) for _, point in points]
        return Series(
            name=name,
            x=tuple(float(size) for size, _ in points),
            y=tuple(point.value for _, point in points),
            low=tuple(low for low, _ in ends),
            high=tuple(high for _, high in ends),
        )

    return Chart(
        kind="line",
        title=f"What {len(found.data)} languages cost under one vocabulary, at equal operations",
        x_label="tokens in the vocabulary",
        y_label="bits per byte, mean of the languages",
        log_x=True,
        series=(*(line(kind, kind, found.bits) for kind in KINDS), line("word, not paid", "word", found.unpaid)),
    )
