"""Question 47: language models against n-grams, by how far back they look and by how much text there is.

A real model meets n-grams trained on Wikipedia, on the same blocks of held-out articles, with its context whole, cut
short, and out of order; every article is held out once. Then a small transformer and an n-gram model learn from the
same bytes, at several sizes of text.
"""

from __future__ import annotations

from collections.abc import Sequence

from lmworks.basics import progress
from lmworks.basics.errors import DataError
from lmworks.lab.bench.readers import (
    CONTEXTS,
    NEAR,
    TOKEN_ORDERS,
    WHOLE,
    Counted,
    Read,
    bytes_of,
    fold,
    on_the_same_bytes,
    read_blocks,
)
from lmworks.lab.contrast import Condition
from lmworks.lab.experiment import experiment
from lmworks.lab.metric import Metric
from lmworks.lab.parts import Part, Requirement
from lmworks.lab.pictures import Lines
from lmworks.lab.run import Run
from lmworks.lab.scale import Count, Several, scaled
from lmworks.language_model import LN_2, LanguageModel
from lmworks.text.document import Document
from lmworks.text.sources import read
from lmworks.text.splits import place

REAL, TOKENS, OF_BYTES, SHUFFLED, NETWORK, COUNTED = Condition.named(
    "real model",
    "n-gram model of tokens",
    "n-gram model of bytes",
    f"real model, all but the last {NEAR} tokens out of order",
    "small transformer",
    "n-gram model",
)
LONGEST = TOKEN_ORDERS[-1] - 1
BITS = Metric("blocks of held-out articles", "bits/byte", margin=0.02, chance=8.0, ideal=0.0)
ARTICLES = Metric("whole held-out articles", "bits/byte", margin=0.02, chance=8.0, ideal=0.0)
SAME = Metric("held-out text after learning from the same bytes", "bits/byte", margin=0.02, chance=8.0, ideal=0.0)
LEAST, MOST = "least text", "most text"
FOLDS = 4
LEARNT = (Requirement("the small transformer has learnt", SAME, NETWORK[MOST], below=4),)


@experiment(
    47,
    claim="Traditional models like n-grams rely on simpler, supervised methods; LLMs use transformer architectures, "
    "massive datasets and unsupervised pretraining to handle long-range context and diverse tasks.",
    parts=(
        Part("a language model predicts text better than n-grams", BITS, REAL[WHOLE] - TOKENS[LONGEST], below=0),
        Part(
            f"a language model makes use of what lies over {NEAR} tokens back",
            BITS,
            REAL[NEAR] - REAL[WHOLE],
            above=0,
        ),
        Part(
            f"n-grams gain next to nothing from looking {LONGEST} tokens back and not 2",
            *(ARTICLES, TOKENS[2] - TOKENS[LONGEST]),
            below=0.02,
            otherwise="n-grams of this many tokens gain from a longer look, too",
        ),
    ),
    also=(
        Part("a language model predicts better than n-grams of bytes", BITS, REAL[WHOLE] - OF_BYTES, below=0),
        Part(f"the order of what lies more than {NEAR} tokens back matters", BITS, SHUFFLED - REAL[WHOLE], above=0),
        *(
            Part(f"a small transformer beats n-grams, {size}", SAME, NETWORK[size] - COUNTED[size], below=0, needs=need)
            for size, need in ((LEAST, ()), (MOST, LEARNT))
        ),
    ),
    requires=(Requirement("the n-gram model of tokens has learnt", BITS, TOKENS[LONGEST], below=3),),
    picture=Lines(
        BITS, of=(TOKENS, REAL), x="tokens of context", title="Held-out text by tokens of context", log_x=True
    ),
    not_true_when="there is little text and time: trained on the same bytes for a minute, n-grams predict better. And "
    "n-grams are not supervised: they learn from plain text without labels, as language models do.",
    headlines={
        "yyy": "Yes: a language model predicts text better than n-grams do, and makes use of what lies far back, "
        "where n-grams gain next to nothing from looking further."
    },
    not_tested="diverse tasks; n-grams on a massive dataset.",
    note="No fair match, nor does the claim ask for one: SmolLM2-135M read 2 trillion tokens (Allal et al. 2025, "
    "https://arxiv.org/abs/2502.02737), perhaps these articles among them, the n-grams 0.2 million; it meets "
    "WikiText's <unk> untrained. Intervals are over articles; n-grams are counted on three quarters of the others. A "
    "cut context begins in the middle of a text. Small networks are stopped by other text, which chooses the n-grams' "
    "order, too. LSTMs hardly notice the order of words more than 50 back (Khandelwal et al. 2018, "
    "https://arxiv.org/abs/1805.04623).",
)
def ngrams(
    run: Run,
    model: str = "smollm2",
    text: str = "wikitext2",
    articles: Several = scaled(16, 60),
    blocks: Count = scaled(1, 2),
    sizes: tuple[int, ...] = scaled((20_000, 560_000), (10_000, 80_000, 560_000)),
    steps: Several = scaled(120, 600),
    dim: Several = 96,
    layers: Count = 2,
) -> None:
    """Bits per byte by length and order of the context, and by size of the text for both kinds of model."""
    documents = sorted(read(text).documents, key=place)
    for fixed in run.once():
        _log_real(run, fixed, LanguageModel.load(model), documents, articles, blocks)
    for seed in run.seeds:
        part, ordered = fold(documents, seed % FOLDS, FOLDS), sorted(sizes)
        names = {ordered[0]: LEAST, ordered[-1]: MOST}
        for size in ordered:
            found = on_the_same_bytes(part, size, steps, dim, layers, seed)
            for condition, bits in zip((NETWORK, COUNTED), found, strict=True):
                run.log(seed, condition[names.get(size, f"{size:,} bytes")], {SAME: bits})


def _log_real(
    run: Run, fixed: None, real: LanguageModel, documents: Sequence[Document], articles: int, blocks: int
) -> None:
    """Read blocks of every article with n-grams that have not seen it."""
    names: list[str] = []
    found: list[Read] = []
    whole: dict[int, list[tuple[float, int]]] = {order - 1: [] for order in TOKEN_ORDERS}
    with progress.task("reading", min(articles, len(documents)), "articles") as advance:
        for number in range(FOLDS):
            part = fold(documents, number, FOLDS)
            counted = Counted.of(real, part)
            for at, document in enumerate(part.held_out[: -(-articles // FOLDS)]):
                one = read_blocks(real, counted, document, blocks, number)
                advance(1)
                if one is None:
                    continue
                names.append(f"article {number}.{at}")
                found.append(one)
                ids = real.tokenizer.encode(document.text, special=False)
                for back, model in counted.of_tokens.items():
                    bits = -float(model.score(ids).sum()) / LN_2
                    whole[back].append((bits, len(bytes_of(document))))
    if len(found) < 2:
        raise DataError(f"{len(found)} documents have {WHOLE} tokens and a block after them; give longer documents")
    costs = {
        **{REAL[k]: [(one.real[k], one.size) for one in found] for k in CONTEXTS},
        **{TOKENS[back]: [(one.of_tokens[back], one.size) for one in found] for back in whole},
        SHUFFLED: [(one.shuffled, one.size) for one in found],
        OF_BYTES: [(one.of_bytes, one.size) for one in found],
    }
    for condition, pairs in costs.items():
        run.log(fixed, condition, {BITS: pairs}, items=names)
    for back, sums in whole.items():
        run.log(fixed, TOKENS[back], {ARTICLES: sums}, items=names)
