"""Question 1: subword tokens handle several languages and rare words with a small vocabulary.

One vocabulary of each kind for several languages and scripts together, and small networks over each, trained with
equally many operations. What a tokenizer loses is paid for (see `writers.py`), so that all kinds write the same bytes.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from lmworks.evaluation.lost_text import LostText
from lmworks.lab.bench.corpora import LETTERS, counted_bits, language, lost_share, tokenizers
from lmworks.lab.bench.writers import RATES, token_stream, trained_writer
from lmworks.lab.contrast import Condition, Contrast, average
from lmworks.lab.experiment import experiment
from lmworks.lab.metric import Metric
from lmworks.lab.parts import Part, Requirement
from lmworks.lab.pictures import Bars
from lmworks.lab.run import Run
from lmworks.lab.scale import Count, Several, scaled
from lmworks.text.splits import place

KINDS = BYTE, CHARACTER, WORD, BPE, WORDPIECE, UNIGRAM = Condition.named(
    "byte", "character", "word", "bpe", "wordpiece", "unigram"
)
UNPAID, SPELT, COUNTED, BIGRAM = Condition.named(
    "word, unknown as <unk>", "word, spelt by n-grams", "n-grams of bytes", "byte pairs alone"
)
WRITE = (BYTE, WORD, BPE)
"""The kinds that networks are trained over."""
TEXTS = {"en": "multi30k-en", "de": "multi30k-de", "ru": "messages:ru", "zh": "messages:zh_CN"}
RARE = "rare words"
BITS = Metric("held-out text", "bits/byte", margin=0.02, chance=8.0, ideal=0.0)
LOST = Metric("share of held-out bytes in unknown tokens", ideal=0.0)
LENGTH = Metric("bytes per token")
ORDER = 8
"""Of the n-gram model that shows what counting reaches."""


def over(kind: Condition, *languages: str) -> Contrast:
    """A kind's mean over languages, each counting the same."""
    return average(kind[one] for one in languages)


def cheaper(says: str, other: Condition, *languages: str) -> Part:
    """That subwords write some languages in fewer bits than another kind."""
    return Part(says, BITS, over(BPE, *languages) - over(other, *languages), below=0)


@experiment(
    1,
    claim="Tokenization enables models to handle diverse languages, manage rare words, and optimize vocabulary size "
    "for computational efficiency.",
    parts=(
        cheaper("one vocabulary of subwords writes English and German in fewer bits than words", WORD, "en", "de"),
        cheaper("subwords write Russian in fewer bits than words", WORD, "ru"),
        cheaper("subwords write Chinese in fewer bits than words", WORD, "zh"),
        Part(
            "subwords write texts with a rare word in fewer bits than words",
            *(BITS, BPE[RARE] - WORD[RARE]),
            below=0,
            otherwise="a model of words that can spell writes rare words as cheaply",
        ),
        cheaper("for as many operations subwords write the four languages in fewer bits than bytes", BYTE, *TEXTS),
    ),
    also=(
        Part("one vocabulary of subwords loses no text", LOST, BPE, below=0.001),
        Part("one vocabulary of words does", LOST, WORD, above=0.01),
        Part("rare words cost fewer bits than with bytes", BITS, BPE[RARE] - BYTE[RARE], below=0),
        cheaper("subwords cost fewer bits than words that n-grams spell", SPELT, *TEXTS),
        cheaper("subwords cost fewer bits than words, the unknown ones as <unk>", UNPAID, *TEXTS),
    ),
    requires=(Requirement("in English bytes beat a table of byte pairs", BITS, BYTE["en"] - BIGRAM["en"], below=0),),
    picture=Bars(BITS, of=(BYTE, WORD, BPE, SPELT, UNPAID), title="What languages cost under one vocabulary"),
    not_true_when="<unk> is taken for a word: a model of words looks best then, because it is easy to predict and "
    "writes nothing. And one vocabulary does not treat languages alike: the same sentence costs some of them several "
    "times the tokens (https://arxiv.org/abs/2305.15425).",
    headlines={
        "?yyyy": "Subwords write Russian, Chinese and rare words in fewer bits than words do, and all four languages "
        "in fewer than bytes, for as many operations. For English and German beside words it is open."
    },
    not_tested="large networks; vocabularies of other sizes; rates chosen anew for each.",
    note="Bits are of the whole text: unknown words are spelt by a second network, which gets a quarter of the "
    "operations. English and German are captions of photographs, Russian and Chinese PostgreSQL's messages: compare a "
    "language with itself only. Equal are the operations and the window in tokens. Rare words came at most "
    "twice in the training text. Where n-grams of bytes that read all of it cost less, networks "
    "have little to compute with. Intervals: over seeds and texts. The claim's 'artificial' is art and ificial for "
    "SmolLM2.",
    minutes=45,
)
def tokenization(
    run: Run,
    texts: dict[str, str] = TEXTS,
    size: Count = scaled(2048, 4096),
    kilobytes: Count = scaled(200, 600),
    held_out_kilobytes: Count = scaled(5, 10),
    flops: Annotated[float, Field(gt=0)] = scaled(4e11, 2.5e12),
    dim: Several = 64,
    context: Several = 128,
    rates: tuple[float, float] = RATES,
) -> None:
    """Bits a byte by language at equal operations; unknown text and bytes a token for every kind."""
    data = {one: language(one, at, kilobytes * 1000, held_out_kilobytes * 1000) for one, at in texts.items()}
    mixed = [one.text for one in sorted((text for part in data.values() for text in part.train), key=place)]
    judged = [text for part in data.values() for text in part.held_out]
    known = tokenizers(mixed, (kind.name for kind in KINDS), size)
    learnt = {kind: (LostText(known[kind.name], mixed), token_stream(known[kind.name], mixed)) for kind in WRITE}
    for fixed in run.once():
        total = sum(len(text.encode()) for text in judged)
        for name, tokenizer in known.items():
            tokens = sum(map(len, tokenizer.encode_batch(judged, special=False)))
            run.log(fixed, name, {LOST: lost_share(tokenizer, judged), LENGTH: total / tokens})
        for one, part in data.items():
            run.log(fixed, BIGRAM[one], {BITS: counted_bits(mixed, part.held_out, 2)})
            run.log(fixed, COUNTED[one], {BITS: counted_bits(mixed, part.held_out, ORDER)})
    for seed in run.seeds:
        for kind in WRITE:
            rate = rates[0] if kind.name in LETTERS else rates[1]
            writer = trained_writer(*learnt[kind], flops=flops, rate=rate, seed=seed, dim=dim, context=context)
            rare: dict[str, tuple[float, int]] = {}
            for one, part in data.items():
                costs, names = writer.costs(part.held_out), [f"{one} {at}" for at in range(len(part.held_out))]
                pairs = [(cost.bits, cost.bytes) for cost in costs]
                run.log(seed, kind[one], {BITS: pairs}, items=names)
                rare |= {name: pair for name, pair, has in zip(names, pairs, part.rare, strict=True) if has}
                if kind is WORD:
                    run.log(seed, UNPAID[one], {BITS: [(cost.ids, cost.bytes) for cost in costs]}, items=names)
                    spelt = writer.costs(part.held_out, writer.lost.spelling)
                    run.log(seed, SPELT[one], {BITS: [(cost.bits, cost.bytes) for cost in spelt]}, items=names)
            run.log(seed, kind[RARE], {BITS: list(rare.values())}, items=list(rare))
