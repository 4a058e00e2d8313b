"""A language model beside n-gram models: the same held-out blocks, with the context whole, cut short, or out of order.

part = fold(documents, 0, folds=4)
with_context(model.runner, ids, start, context=32)      # log p of the block from `start`
best([train], [choose], vocab_size, orders=(3, 5))      # the n-gram model that predicts the text for choosing best
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lmworks.basics.arrays import Int
from lmworks.basics.errors import DataError
from lmworks.generation.scoring import logprobs_of, token_logprobs
from lmworks.lab.bench.byte_rows import byte_rows, nats_per_byte
from lmworks.lab.bench.small_network import BYTES, small_network
from lmworks.lab.bench.training import fit
from lmworks.language_model import LN_2, LanguageModel
from lmworks.models.relatives.ngram import Ngram
from lmworks.models.runner import Runner
from lmworks.models.torch_runner import TorchRunner
from lmworks.objectives import CausalLM
from lmworks.text.document import Document
from lmworks.training.settings import TrainingConfig

BYTE_ORDERS, TOKEN_ORDERS = (3, 5, 7), (2, 3, 4, 5)
CONTEXTS = (2, 8, 32, 128, 512)
"""Tokens of context that the model is given, and up to twice as many (at most BLOCK more)."""
WHOLE, NEAR = CONTEXTS[-1], CONTEXTS[-2]
BLOCK = 128
"""Neighbouring tokens that are judged together."""
JUDGED = 20_000
"""Bytes of held-out text that small networks and n-grams are compared on."""
CONTEXT, ROWS, RATE, EMBEDDING_RATE = 128, 8, 0.02, 8e-3


@dataclass(frozen=True)
class Fold:
    """Documents to train on, to choose settings by, and to judge."""

    train: list[Document]
    choose: list[Document]
    held_out: list[Document]

    def bytes_of(self, part: str) -> Int[Tensor, " bytes"]:
        """A part's documents as one stream."""
        joined = "\n\n".join(document.text for document in getattr(self, part))
        return torch.tensor(list(joined.encode()))


def fold(documents: Sequence[Document], number: int, folds: int) -> Fold:
    """Every `folds`-th document is held out, starting at `number`; a tenth of the rest is for choosing."""
    held_out = list(documents[number::folds])
    rest = [document for at, document in enumerate(documents) if at % folds != number]
    random.Random(number).shuffle(rest)
    cut = max(len(rest) // 10, 1)
    if not held_out or len(rest) <= cut:
        raise DataError(f"the text has {len(documents)} documents, too few to hold out one in {folds}; give more")
    return Fold(rest[cut:], rest[:cut], held_out)


@dataclass(frozen=True)
class Counted:
    """The n-gram models of a fold's training documents."""

    of_tokens: dict[int, Ngram]
    """By how many tokens back they look."""
    of_bytes: Ngram

    @classmethod
    def of(cls, real: LanguageModel, part: Fold) -> Counted:
        """Count the fold's documents in the tokens of a model, and in bytes."""
        train = [np.array(real.tokenizer.encode(one.text, special=False)) for one in part.train]
        learnt, choose = ([bytes_of(one) for one in side] for side in (part.train, part.choose))
        return cls(
            {order - 1: Ngram.train(train, real.tokenizer.vocab_size, order) for order in TOKEN_ORDERS},
            best(learnt, choose, BYTES, BYTE_ORDERS),
        )


@dataclass(frozen=True)
class Read:
    """Blocks of one document: bits by context, and bytes."""

    real: dict[int, float]
    """By tokens of context."""
    shuffled: float
    """With the far context out of order."""
    of_tokens: dict[int, float]
    of_bytes: float
    size: int


def read_blocks(real: LanguageModel, counted: Counted, document: Document, blocks: int, seed: int) -> Read | None:
    """What some blocks of a document cost each model; None where it is too short for a block with all its context."""
    ids = real.tokenizer.encode(document.text, special=False)
    every = range(WHOLE, len(ids) - BLOCK + 1, BLOCK)
    if not every:
        return None
    starts = [every[int(at)] for at in np.linspace(0, len(every) - 1, min(blocks, len(every)))]
    ends, raw = np.cumsum([len(one) for one in real.tokenizer.bytes_of(ids)]), bytes_of(document)
    spans = [(int(ends[start - 1]), int(ends[start + BLOCK - 1])) for start in starts]

    def bits(logprobs: Sequence[float]) -> float:
        return -float(sum(logprobs)) / LN_2

    return Read(
        {k: bits([with_context(real.runner, ids, start, k) for start in starts]) for k in CONTEXTS},
        bits([with_context(real.runner, shuffled(ids, start, seed), start, WHOLE) for start in starts]),
        {
            back: bits([one.score(ids[: start + BLOCK])[start:].sum() for start in starts])
            for back, one in counted.of_tokens.items()
        },
        bits([counted.of_bytes.score(raw[:last])[first:].sum() for first, last in spans]),
        sum(last - first for first, last in spans),
    )


def on_the_same_bytes(part: Fold, size: int, steps: int, dim: int, layers: int, seed: int) -> tuple[float, float]:
    """Bits per byte of a small network and of an n-gram model that learnt from the same bytes.

    DataError where the fold has fewer than `size` to train on.
    """
    piece, choose, judged = part.bytes_of("train")[:size], part.bytes_of("choose"), part.bytes_of("held_out")[:JUDGED]
    if len(piece) < size:
        raise DataError(f"the text leaves {len(piece):,} bytes to train on, fewer than {size:,}; give smaller sizes")
    counted = best([piece.numpy()], [choose[:JUDGED].numpy()], BYTES, BYTE_ORDERS)
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
    logprobs = token_logprobs(TorchRunner(network), judged.tolist(), CONTEXT)
    return -float(np.mean(logprobs)) / LN_2, -float(counted.score(judged.numpy())[1:].mean()) / LN_2


def best(
    documents: Sequence[np.ndarray], choose: Sequence[np.ndarray], vocab_size: int, orders: Sequence[int]
) -> Ngram:
    """The n-gram model of the order that predicts the text for choosing best."""
    models = [Ngram.train(documents, vocab_size, order) for order in orders]
    return max(models, key=lambda one: sum(float(one.score(ids).sum()) for ids in choose))


@torch.inference_mode()
def with_context(runner: Runner, ids: Sequence[int], start: int, context: int) -> float:
    """log p of the block from `start`, in parts that are read with `context` tokens before each."""
    part = min(context, BLOCK)
    rows = torch.tensor([list(ids[at - context : at + part]) for at in range(start, start + BLOCK, part)])
    hidden = runner.hidden(rows[:, :-1])[:, context - 1 :]
    return float(logprobs_of(runner, hidden.flatten(0, 1), rows[:, context:].flatten()).double().sum())


def shuffled(ids: Sequence[int], start: int, seed: int) -> list[int]:
    """The ids with what lies more than NEAR tokens before the block in random order."""
    far = list(ids[start - WHOLE : start - NEAR])
    random.Random(f"{seed}/{start}").shuffle(far)
    return [*ids[: start - WHOLE], *far, *ids[start - NEAR :]]


def bytes_of(document: Document) -> np.ndarray:
    """Its bytes as numbers."""
    return np.frombuffer(document.text.encode(), np.uint8).astype(np.int64)
