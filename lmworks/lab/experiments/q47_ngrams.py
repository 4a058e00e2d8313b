"""Question 47: language models against n-grams, by how much text there is and by how far back they look.

On the same bytes and with little compute a Kneser-Ney n-gram model and a small transformer are compared at several
sizes of text. Then a real model meets n-grams trained on Wikipedia, on the same held-out tokens, with its context
whole, cut short, and out of order. Each seed holds out other documents.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from lmworks.basics import progress
from lmworks.basics.errors import DataError
from lmworks.evaluation.measurement import Measurement
from lmworks.generation.scoring import logprobs_of, token_logprobs
from lmworks.lab.bench.byte_rows import byte_rows, nats_per_byte
from lmworks.lab.bench.small_network import BYTES, small_network
from lmworks.lab.bench.training import fit
from lmworks.lab.chart import Chart, Series
from lmworks.lab.registry import experiment
from lmworks.lab.rule import Check, Observation, Rule
from lmworks.lab.scale import Count, Several, scaled
from lmworks.lab.seeds import difference, measured
from lmworks.language_model import LN_2, LanguageModel
from lmworks.models.network import Network
from lmworks.models.relatives.ngram import Ngram
from lmworks.models.runner import Runner
from lmworks.models.torch_runner import TorchRunner
from lmworks.objectives import CausalLM
from lmworks.text.document import Document
from lmworks.text.sources import read
from lmworks.text.splits import place
from lmworks.training.settings import TrainingConfig

BYTE_ORDERS, TOKEN_ORDERS = (3, 5, 7), (2, 3, 4, 5)
CONTEXTS = (2, 8, 32, 128, 512)
"""Tokens of context that the real model is given, and up to twice as many (at most BLOCK more)."""
WHOLE, NEAR = CONTEXTS[-1], CONTEXTS[-2]
BLOCK = 128
"""Neighbouring tokens that are judged together."""
JUDGED = 20_000
"""Bytes of held-out text that small networks and n-grams are compared on."""
CONTEXT, ROWS, RATE, EMBEDDING_RATE = 128, 8, 0.02, 8e-3
UNIT = "bits/byte"

LEAST, MOST = "least text", "most text"
OF_TOKENS, OF_BYTES, REAL, SHUFFLED = "n-gram model of tokens", "n-gram model of bytes", "real model", "out of order"
MINUS = "network minus n-gram model on the same bytes"
BEYOND = f"real model, loss by cutting the context beyond {NEAR} tokens"
DISORDER = f"real model, loss by shuffling the context beyond {NEAR} tokens"
REACH = f"{OF_TOKENS}, gain from looking 4 tokens back and not 2"


@experiment(
    question=47,
    claim="Traditional models like n-grams rely on simpler, supervised methods; LLMs use transformer architectures, "
    "massive datasets and unsupervised pretraining to handle long-range context and diverse tasks.",
    rule=Rule(
        holds_if=(
            Check(f"{REAL} minus {OF_BYTES}", "<", 0),
            Check(f"{REAL} minus {OF_TOKENS}", "<", 0),
            Check(BEYOND, ">", 0),
            Check(REACH, "<", 0.02),
        ),
        only_if=(
            (
                Check(f"{MINUS}, {MOST}", "<", 0),
                "the transformer has far more text and compute: trained on the same text for seconds, it predicts "
                "worse",
            ),
        ),
    ),
)
def ngrams(
    model: str = "smollm2",
    text: str = "wikitext2",
    sizes: tuple[int, ...] = scaled((20_000, 560_000), (10_000, 40_000, 160_000, 560_000)),
    steps: Several = scaled(120, 200),
    dim: Several = 96,
    layers: Count = 2,
    blocks: Count = scaled(4, 6),
    seeds: Count = scaled(3, 5),
) -> Observation:
    """Bits per byte by size of the text for both; for a real model by length and order of its context."""
    documents = sorted(read(text).documents, key=place)
    folds = [_fold(documents, seed, max(seeds, 2)) for seed in range(seeds)]
    measurements = _by_size(folds, sorted(sizes), steps, dim, layers)
    real = LanguageModel.load(model)
    found: dict[str, dict[int, float]] = {}
    for seed, fold in enumerate(folds):
        for name, value in _against_real(real, fold, blocks, seed).items():
            found.setdefault(name, {})[seed] = value
    return Observation(
        measurements=(*measurements, *_table(found)),
        chart=_chart(found),
        note=NOTE,
    )


NOTE = (
    "The claim is loose: n-gram models learn from plain text without labels, just as unsupervised as language models. "
    "Diverse tasks are not tested here. The real model is no fair match: SmolLM2-135M was trained on 2 trillion tokens "
    "(Allal et al. 2025, https://arxiv.org/abs/2502.02737), millions of times the text that the n-grams had, "
    "Wikipedia and perhaps these very articles among them; it reads WikiText's <unk> and @-@ without having been "
    "trained on them. A cut context begins in the middle of a text. Trained on the same bytes, the network had at most "
    "the given steps at every size and was stopped by other text, and the n-gram model's order was chosen by that "
    "text, too. LSTMs hardly notice the order of words more than 50 back (Khandelwal et al. 2018, "
    "https://arxiv.org/abs/1805.04623); the line with the far context out of order is that test for this model."
)


@dataclass(frozen=True)
class Fold:
    """The documents of one seed."""

    train: list[Document]
    choose: list[Document]
    held_out: list[Document]

    def bytes_of(self, part: str) -> Int[Tensor, " bytes"]:
        """A part's documents as one stream."""
        joined = "\n\n".join(document.text for document in getattr(self, part))
        return torch.tensor(list(joined.encode()))


def _fold(documents: Sequence[Document], seed: int, folds: int) -> Fold:
    """Every `folds`-th document is held out, another one for each seed; a tenth of the rest is for choosing."""
    held_out = list(documents[seed::folds])
    rest = [document for at, document in enumerate(documents) if at % folds != seed]
    random.Random(seed).shuffle(rest)
    cut = max(len(rest) // 10, 1)
    if not held_out or len(rest) <= cut:
        raise DataError(f"the text has {len(documents)} documents, too few to hold out one in {folds}; give more")
    return Fold(rest[cut:], rest[:cut], held_out)


def _by_size(folds: Sequence[Fold], sizes: Sequence[int], steps: int, dim: int, layers: int) -> list[Measurement]:
    """Network and n-gram model trained on the beginning of each fold, and their difference."""
    rows = []
    for size in sizes:
        bits: dict[str, dict[int, float]] = {"network": {}, OF_BYTES: {}}
        for seed, fold in enumerate(folds):
            piece, choose = fold.bytes_of("train")[:size], fold.bytes_of("choose")
            judged = fold.bytes_of("held_out")[:JUDGED]
            if len(piece) < size:
                raise DataError(
                    f"the text leaves {len(piece):,} bytes to train on, fewer than {size:,}; give smaller sizes"
                )
            counted = _best([piece.numpy()], [choose[:JUDGED].numpy()], BYTES, BYTE_ORDERS)
            bits[OF_BYTES][seed] = -float(counted.score(judged.numpy())[1:].mean()) / LN_2
            network = _trained(piece, choose, steps, dim, layers, seed)
            bits["network"][seed] = (
                -float(np.mean(token_logprobs(TorchRunner(network), judged.tolist(), CONTEXT))) / LN_2
            )
        name = {sizes[0]: LEAST, sizes[-1]: MOST}.get(size, f"{size:,} bytes")
        shown = f"{size:,} bytes"
        rows += [measured(f"{who}, {shown}", by_seed, UNIT, chance=8.0, ideal=0.0) for who, by_seed in bits.items()]
        rows.append(difference(f"{MINUS}, {name}", bits["network"], bits[OF_BYTES], UNIT))
    return rows


def _trained(piece: Tensor, choose: Tensor, steps: int, dim: int, layers: int, seed: int) -> Network:
    network = small_network(seed, dim=dim, layers=layers, context=CONTEXT)
    config = TrainingConfig(
        context=CONTEXT,
        rows=ROWS,
        steps=steps,
        optimiser="muon",
        learning_rate=RATE,
        embedding_learning_rate=EMBEDDING_RATE,
        warmup=0.1,
        evaluate_every=max(steps // 12, 1),
        patience=3,
        seed=seed,
    )
    fit(network, CausalLM(), byte_rows(piece, CONTEXT), config, lambda network: nats_per_byte(network, choose, 60))
    return network


def _best(
    documents: Sequence[np.ndarray], choose: Sequence[np.ndarray], vocab_size: int, orders: Sequence[int]
) -> Ngram:
    """The n-gram model of the order that predicts the text for choosing best."""
    models = [Ngram.train(documents, vocab_size, order) for order in orders]
    return max(models, key=lambda one: sum(float(one.score(ids).sum()) for ids in choose))


def _against_real(real: LanguageModel, fold: Fold, blocks: int, seed: int) -> dict[str, float]:
    """Bits per byte on the same tokens of held-out documents: the real model by context, the n-gram models.

    What n-grams gain from looking further back is judged on all of the held-out text.
    """
    encode = real.tokenizer.encode
    texts = [encode(document.text, special=False) for document in fold.held_out]
    places = _places([len(ids) for ids in texts], blocks)
    train = [np.array(encode(document.text, special=False)) for document in fold.train]
    counted = {order: Ngram.train(train, real.tokenizer.vocab_size, order) for order in TOKEN_ORDERS}
    of_bytes = _best(
        [_bytes(document) for document in fold.train],
        [_bytes(document) for document in fold.choose],
        BYTES,
        BYTE_ORDERS,
    )
    sums: dict[str, float] = {}
    size = 0
    with progress.task(f"reading, seed {seed}", len(places), "blocks") as advance:
        for text, start in places:
            ids, stop = texts[text], start + BLOCK
            ends = np.cumsum([len(part) for part in real.tokenizer.bytes_of(ids)])
            first, last = int(ends[start - 1]), int(ends[stop - 1])
            size += last - first
            logprobs = {context_name(k): _with_context(real.runner, ids, start, k) for k in CONTEXTS}
            logprobs[SHUFFLED] = _with_context(real.runner, _shuffled(ids, start, seed), start, WHOLE)
            for order, one in counted.items():
                logprobs[order_name(order)] = float(one.score(ids[:stop])[start:].sum())
            logprobs[OF_BYTES] = float(of_bytes.score(_bytes(fold.held_out[text])[:last])[first:].sum())
            for name, value in logprobs.items():
                sums[name] = sums.get(name, 0.0) - value / LN_2
            advance(1)
    by_order = {order: sum(float(one.score(ids).sum()) for ids in texts) for order, one in counted.items()}
    every = sum(len(_bytes(document)) for document in fold.held_out)
    return {
        REACH: (by_order[TOKEN_ORDERS[-1]] - by_order[3]) / LN_2 / every,
        **{name: bits / size for name, bits in sums.items()},
    }


def context_name(context: int) -> str:
    """The name of the real model's loss with this much context."""
    return f"{REAL}, {context} tokens of context"


def order_name(order: int) -> str:
    """The loss of the n-gram model of tokens that looks order - 1 tokens back."""
    return f"{OF_TOKENS}, {order - 1} of context"


def _places(lengths: Sequence[int], blocks: int) -> list[tuple[int, int]]:
    """(text, start) of `blocks` blocks spread over the texts, each with the whole context before it."""
    every = [(text, start) for text, length in enumerate(lengths) for start in range(WHOLE, length - BLOCK + 1, BLOCK)]
    if len(every) < blocks:
        raise DataError(
            f"the held-out documents have {len(every)} blocks with {WHOLE} tokens before them, and {blocks} are asked "
            "for; give longer documents, or fewer blocks"
        )
    return [every[int(at)] for at in np.linspace(0, len(every) - 1, blocks)]


@torch.inference_mode()
def _with_context(runner: Runner, ids: Sequence[int], start: int, context: int) -> float:
    """log p of the block from `start`, in parts that are read with `context` tokens before each."""
    part = min(context, BLOCK)
    rows = torch.tensor([list(ids[at - context : at + part]) for at in range(start, start + BLOCK, part)])
    hidden = runner.hidden(rows[:, :-1])[:, context - 1 :]
    return float(logprobs_of(runner, hidden.flatten(0, 1), rows[:, context:].flatten()).double().sum())


def _shuffled(ids: Sequence[int], start: int, seed: int) -> list[int]:
    """The ids with what lies more than NEAR tokens before the block in random order."""
    far = list(ids[start - WHOLE : start - NEAR])
    random.Random(f"{seed}/{start}").shuffle(far)
    return [*ids[: start - WHOLE], *far, *ids[start - NEAR :]]


def _bytes(document: Document) -> np.ndarray:
    return np.frombuffer(document.text.encode(), np.uint8).astype(np.int64)


def _table(found: Mapping[str, Mapping[int, float]]) -> list[Measurement]:
    """Every loss, and what the rule asks of them."""
    whole, near = found[context_name(WHOLE)], found[context_name(NEAR)]
    tokens = found[order_name(TOKEN_ORDERS[-1])]
    return [
        *(
            measured(_shown(name), by_seed, UNIT, chance=8.0, ideal=0.0)
            for name, by_seed in found.items()
            if name != REACH
        ),
        difference(f"{REAL} minus {OF_BYTES}", whole, found[OF_BYTES], UNIT),
        difference(f"{REAL} minus {OF_TOKENS}", whole, tokens, UNIT),
        difference(BEYOND, near, whole, UNIT),
        difference(DISORDER, found[SHUFFLED], whole, UNIT),
        measured(REACH, found[REACH], UNIT, chance=0.0, difference=True),
    ]


def _shown(name: str) -> str:
    if name == SHUFFLED:
        return f"{REAL}, {WHOLE} tokens of context, all but the last {NEAR} {SHUFFLED}"
    return f"{name}, on the real model's text" if name == OF_BYTES else name


def _chart(found: Mapping[str, Mapping[int, float]]) -> Chart:
    """Loss by tokens of context."""

    def line(name: str, at: Mapping[int, str]) -> Series:
        points = [measured(name, found[one]) for one in at.values()]
        ends = [point.interval or (point.value, point.value) for point in points]
        return Series(
            name=name,
            x=tuple(map(float, at)),
            y=tuple(point.value for point in points),
            low=tuple(low for low, _ in ends),
            high=tuple(high for _, high in ends),
        )

    return Chart(
        kind="line",
        title="Held-out text by tokens of context",
        x_label="tokens of context",
        y_label=UNIT,
        log_x=True,
        series=(
            line(OF_TOKENS, {order - 1: order_name(order) for order in TOKEN_ORDERS}),
            line(REAL, {context: context_name(context) for context in CONTEXTS}),
            line(f"{REAL}, far context {SHUFFLED}", {WHOLE: SHUFFLED}),
        ),
    )
