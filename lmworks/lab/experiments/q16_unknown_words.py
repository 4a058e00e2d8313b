"""Question 16: subword tokens process rare or new words by sub-units that are known.

Tokenizers and small networks learn one domain and meet others; then words that nobody has seen, made by a rule, and
compounds of two words that were seen, as the claim's own example is one. What is lost is paid for (see `writers.py`).
"""

from __future__ import annotations

from statistics import fmean
from typing import Annotated

from pydantic import Field

from lmworks.evaluation.lost_text import LostText
from lmworks.lab.bench.corpora import HOME, Domains, counted_bits, lost_share, tokenizers
from lmworks.lab.bench.made_up import BY_RULE, Slot, added, compounds, nonce_words, seams, slots
from lmworks.lab.bench.writers import RATES, token_stream, trained_writer
from lmworks.lab.contrast import Condition, Contrast, average
from lmworks.lab.experiment import experiment
from lmworks.lab.metric import Metric
from lmworks.lab.parts import Part, Requirement
from lmworks.lab.pictures import Bars
from lmworks.lab.run import Run
from lmworks.lab.scale import Count, Several, scaled
from lmworks.tokens.tokenizer import Tokenizer

KINDS = BYTE, WORD, BPE, UNIGRAM, WORDPIECE = Condition.named("byte", "word", "bpe", "unigram", "wordpiece")
WRITE = (BYTE, WORD, BPE)
"""The kinds that a network is trained over; the others are cut with only."""
SUBWORDS = (BPE, UNIGRAM)
"""The kinds whose pieces can be told as bytes of a word."""
CHANCE, UNPAID, BIGRAM = Condition.named("as many cuts by chance", "word, unknown as <unk>", "byte pairs alone")
BY_CHANCE = CHANCE[BPE.name]
REFERENCE, MESSAGES = "Python's reference", "text messages"
CONTEXT = 128
AWAY = {REFERENCE: "python-reference", MESSAGES: "sms-spam"}
BITS = Metric("other text", "bits/byte", margin=0.02, chance=8.0, ideal=0.0)
LOST = Metric("share of bytes in unknown tokens", ideal=0.0)
BACK = Metric("texts with a made-up word that come back whole", ideal=1.0)
SEAM = Metric("new compounds of two known words that are cut at the seam", margin=0.02)
EXACT = Metric("new compounds that are cut into just their two words", share=True)
NONCE = Metric("what a made-up word adds to its text", "bits", margin=1.0, ideal=BY_RULE)
PIECES = Metric("tokens of a made-up word")
LEARNT = (Requirement("at home bytes beat a table of byte pairs", BITS, BYTE[HOME] - BIGRAM[HOME], below=0),)


def away(kind: Condition) -> Contrast:
    """A kind's mean over the new domains."""
    return average(kind[one] for one in AWAY)


@experiment(
    16,
    claim="Out-of-vocabulary words are handled by subword tokenization: 'cryptocurrency' might split into 'crypto' and "
    "'currency', so that rare or new words are processed by known sub-units.",
    parts=(
        Part("a text with a word that nobody has seen comes back whole", BACK, BPE, above=0.999),
        Part(
            "a new compound is cut where its two words meet, more often than by chance",
            SEAM,
            BPE - BY_CHANCE,
            above=0,
        ),
        Part(
            "it is cut into just these two words, more often than not",
            *(EXACT, BPE),
            above=0.5,
            otherwise="few compounds fall into just their two words: pieces are chosen by frequency and not by meaning",
        ),
        Part(
            "Python's reference, a new domain, costs fewer bits than with words that are spelt",
            *(BITS, BPE[REFERENCE] - WORD[REFERENCE]),
            below=0,
            otherwise="in a domain where most words are new, a speller does as well",
            needs=LEARNT,
        ),
        Part("text messages, another new domain, do, too", BITS, BPE[MESSAGES] - WORD[MESSAGES], below=0, needs=LEARNT),
    ),
    also=(
        Part("with a vocabulary of words a made-up word does not come back", BACK, WORD, below=0.001),
        Part("a made-up word costs fewer bits than a speller takes", NONCE, BPE - WORD, below=0, needs=LEARNT),
        Part("a made-up word costs fewer bits than in bytes", NONCE, BPE - BYTE, below=0, needs=LEARNT),
        Part("new domains cost fewer bits than with bytes", BITS, away(BPE) - away(BYTE), below=0, needs=LEARNT),
        Part(
            "new domains cost fewer bits than with words, the unknown ones as <unk>",
            BITS,
            away(BPE) - away(UNPAID),
            below=0,
            needs=LEARNT,
        ),
    ),
    picture=Bars(BITS, of=(BYTE, WORD, BPE, UNPAID), title="What a text costs at home and in a new domain"),
    not_true_when="the subwords are built on characters: WordPiece loses text whose signs it has not seen. And where "
    "<unk> is taken for a word, a model of words looks best where it loses most.",
    headlines={
        "yyn?y": "Subwords lose no new word, cut compounds at seams more often than chance, but hardly ever into just "
        "the two words, and cost text messages fewer bits than words do. Whether Python's reference costs fewer, too, "
        "is open."
    },
    not_tested="large networks, and words that people coin.",
    note="A tokenizer that holds all bytes absorbs any word by definition; what can be asked is what that costs, and "
    "whether pieces are parts of the word (Bostrom and Durrett 2020, https://arxiv.org/abs/2004.03720). Bits are of "
    "the whole text: unknown words are spelt by a second network with a quarter of the operations. Compounds are of "
    "words that came five times or more; their intervals are over compounds, the others over seeds and texts. Of "
    "cryptocurrency SmolLM2 makes one token after a space, and crypt, ocur, rency without.",
    minutes=45,
)
def unknown_words(
    run: Run,
    home: Annotated[tuple[str, ...], Field(min_length=1)] = scaled(("tinyshakespeare",), ("brown",)),
    new: dict[str, str] = AWAY,
    vocab_size: Count = scaled(2048, 4096),
    kilobytes: Count = scaled(400, 4000),
    held_out_kilobytes: Count = scaled(8, 20),
    pairs: Several = scaled(200, 1000),
    words: Several = scaled(20, 40),
    flops: Annotated[float, Field(gt=0)] = scaled(4e11, 2.5e12),
    dim: Several = 64,
) -> None:
    """Unknown text and bits a byte at home and away; made-up words: pieces, cost, and whether they come back."""
    texts = Domains.read(home, new, kilobytes * 1000, held_out_kilobytes * 1000)
    known = tokenizers(texts.train, (kind.name for kind in KINDS), vocab_size)
    learnt = {
        kind: (LostText(known[kind.name], texts.train), token_stream(known[kind.name], texts.train)) for kind in WRITE
    }
    for fixed in run.once():
        made = compounds(texts.seen, texts.taken, pairs, run.first_seed)
        places = slots(texts.own, nonce_words(words, run.first_seed, texts.taken), run.first_seed)
        for kind in KINDS:
            _log_tokenizer(run, fixed, kind, known[kind.name], made, places)
            for name, part in texts.judged.items():
                run.log(fixed, kind[name], {LOST: lost_share(known[kind.name], part)})
        run.log(fixed, BIGRAM[HOME], {BITS: counted_bits(texts.train, texts.judged[HOME], 2)})
    for seed in run.seeds:
        places = slots(texts.own, nonce_words(words, seed, texts.taken), seed)
        for kind in WRITE:
            rate = RATES[0] if kind is BYTE else RATES[1]
            writer = trained_writer(*learnt[kind], flops=flops, rate=rate, seed=seed, dim=dim, context=CONTEXT)
            for name, part in texts.judged.items():
                costs, items = writer.costs(part), [f"{name} {at}" for at in range(len(part))]
                run.log(seed, kind[name], {BITS: [(cost.bits, cost.bytes) for cost in costs]}, items=items)
                if kind is WORD:
                    run.log(seed, UNPAID[name], {BITS: [(cost.ids, cost.bytes) for cost in costs]}, items=items)
            run.log(seed, kind, {NONCE: added(writer, places)})


def _log_tokenizer(
    run: Run, fixed: None, kind: Condition, tokenizer: Tokenizer, new: list[tuple[str, str]], places: list[Slot]
) -> None:
    """Where compounds are cut; tokens of made-up words, and whether their texts come back."""
    if kind in SUBWORDS:
        at_seam, just_two, by_chance = seams(tokenizer, new)
        items = [f"{first}+{second}" for first, second in new]
        run.log(fixed, kind, {SEAM: at_seam, EXACT: just_two}, items=items)
        run.log(fixed, CHANCE[kind.name], {SEAM: by_chance}, items=items)
    whole = [slot.text(slot.nonce) for slot in places]
    back = [tokenizer.decode(tokenizer.encode(text, special=False)) == text for text in whole]
    lengths = [len(tokenizer.encode(f" {slot.nonce}", special=False)) for slot in places]
    run.log(fixed, kind, {BACK: fmean(back), PIECES: fmean(lengths)})
