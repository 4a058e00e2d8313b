"""Small networks that read real prose from both sides or from the left, pretrained in a minute: what claims 7, 9,
11, 19 and 39 compare.

    text = prose("trec-train", "trec-test")
    network = small_network(text.tokenizer, 1, "encoder")
    passages = Passages(text.train, text.tokenizer, CONTEXT)
    fit(network, MaskedLM.of(text.tokenizer), passages, pretraining(600, 32, 0.02, seed=1))
    hits = probe_hits(network, text.tokenizer, labelled(text, labels=200, seed=1))
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import torch
from torch import Tensor

from lmworks.basics.arrays import Float, Int
from lmworks.encoding.embedding import Pooling, embed
from lmworks.evaluation.held_out import classified
from lmworks.inside.probes import logistic_regression
from lmworks.lab.bench.training import fit
from lmworks.models.config import ModelConfig
from lmworks.models.network import Network
from lmworks.models.torch_runner import TorchRunner
from lmworks.objectives import Classification
from lmworks.text.document import Document
from lmworks.text.sources import read
from lmworks.text.splits import split
from lmworks.tokens.pairs import TextClasses
from lmworks.tokens.rows import Rows
from lmworks.tokens.sentence_pairs import Sentences, write_sentences
from lmworks.tokens.tokenizer import Tokenizer
from lmworks.tokens.trainer import TokenizerConfig, train_tokenizer
from lmworks.training.settings import TrainingConfig

CONTEXT = 40
MEAN = Pooling(mode="mean", normalise=False)


@dataclass(frozen=True)
class Prose:
    """A text in sentences, in lower case, with a WordPiece tokenizer trained on it, and a held-out text."""

    tokenizer: Tokenizer
    train: Sentences
    held_out: Sentences
    documents: dict[str, list[Document]]
    """"train" and "held out", as they were read."""


def prose(reference: str, held_out: str | None = None, vocabulary: int = 2048) -> Prose:
    """Read data references; of records with a class, the texts alone. A tenth is held out unless another text is
    named."""
    if held_out is None:
        sides = split(read(reference).documents, 0.1)
        documents = {"train": sides.train, "held out": sides.held_out}
    else:
        documents = {"train": read(reference).documents, "held out": read(held_out).documents}
    return prose_of(documents["train"], documents["held out"], vocabulary)


def prose_of(learnt_from: Sequence[Document], held_out: Sequence[Document], vocabulary: int = 2048) -> Prose:
    """The same of documents that were read."""
    documents = {"train": list(learnt_from), "held out": list(held_out)}
    train, kept = ([lowered(one) for one in side] for side in documents.values())
    tokenizer = train_tokenizer(
        (one.text for one in train), TokenizerConfig(kind="wordpiece", vocab_size=vocabulary), "prose"
    )
    with tempfile.TemporaryDirectory() as folder:
        learnt, other = (
            write_sentences(side, tokenizer, Path(folder, name))
            for name, side in (("train", train), ("held out", kept))
        )
    return Prose(tokenizer, learnt, other, documents)


def lowered(document: Document) -> Document:
    """In lower case, as these networks read; of a record with a class the text alone."""
    text = document.text if document.messages is None else document.messages[0]["content"]
    return Document(text.lower(), document.source)


def small_network(
    tokenizer: Tokenizer, seed: int, arrangement: Literal["encoder", "decoder"], **settings: Any
) -> Network:
    """Fresh weights by seed: pre-norm blocks with rotary positions, whose tokens see all others (encoder) or those
    before them (decoder)."""
    shape = {"dim": 64, "layers": 2, "heads": 2, "context": CONTEXT, "vocab_size": tokenizer.vocab_size}
    config = ModelConfig(**(shape | settings), family="lmworks", arrangement=arrangement)
    return Network(config).initialise(seed)


def pretraining(steps: int, rows: int, rate: float, seed: int) -> TrainingConfig:
    """How these networks are pretrained. With AdamW a masked one predicted no more than word frequencies for 700
    steps."""
    return TrainingConfig(
        context=CONTEXT,
        rows=rows,
        steps=steps,
        optimiser="muon",
        learning_rate=rate,
        embedding_learning_rate=4e-3,
        schedule="linear",
        warmup=0.05,
        final=0.0,
        weight_decay=0.01,
        seed=seed,
    )


@dataclass(frozen=True)
class LabelledTexts:
    """Texts with their classes, in parts: to learn from ("train"), to choose by ("dev"), to judge by ("test")."""

    parts: dict[str, tuple[list[str], Int[Tensor, " texts"]]]
    names: tuple[str, ...]

    @property
    def chance(self) -> float:
        """The accuracy of always giving the most frequent class of the judged texts."""
        classes = self.parts["test"][1]
        return float(classes.bincount().max()) / len(classes)


def labelled(text: Prose, labels: int, seed: int, dev: int = 200) -> LabelledTexts:
    """Training texts in lower case, as the networks read them; the test texts are held out, which no pretraining has
    seen."""
    return drawn_labelled(text.documents["train"], text.documents["held out"], labels, seed, dev, str.lower)


def drawn_labelled(
    train: Sequence[Document],
    held_out: Sequence[Document],
    labels: int,
    seed: int,
    dev: int = 200,
    spelling: Callable[[str], str] = str,
) -> LabelledTexts:
    """`labels` texts with their classes and `dev` others to choose by, drawn by seed; all held-out texts are the
    test."""
    names = tuple(sorted({one.pair[1] for one in train}))
    drawn = random.Random(seed).sample(list(train), labels + dev)
    sides = {"train": drawn[:labels], "dev": drawn[labels:], "test": held_out}
    return LabelledTexts(
        {
            part: (
                [spelling(one.pair[0]) for one in documents],
                torch.tensor([names.index(one.pair[1]) for one in documents]),
            )
            for part, documents in sides.items()
        },
        names,
    )


PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)


def probe_hits(network: Network, tokenizer: Tokenizer, data: LabelledTexts) -> list[float]:
    """1 for each test text that logistic regression tells from frozen features, the mean over the last states; else
    0."""
    features = {
        part: torch.from_numpy(embed(TorchRunner(network), tokenizer, texts, MEAN, cut=True))
        for part, (texts, _) in data.parts.items()
    }
    return regression_hits(features, {part: classes for part, (_, classes) in data.parts.items()})


def regression_hits(
    features: dict[str, Float[Tensor, "texts dim"]], classes: dict[str, Int[Tensor, " texts"]]
) -> list[float]:
    """1 for each test text that logistic regression tells, else 0. Features are scaled by those of the training texts,
    and the penalty is the one that is best on the texts to choose by."""
    scale, middle = features["train"].std(0) + 1e-6, features["train"].mean(0)
    scaled = {part: ((one - middle) / scale).double() for part, one in features.items()}

    def hits(fitted: tuple[Tensor, Tensor], part: str) -> Float[Tensor, " texts"]:
        weights, biases = fitted
        return ((scaled[part] @ weights.T + biases).argmax(1) == classes[part]).double()

    fits = [logistic_regression(scaled["train"], classes["train"], penalty) for penalty in PENALTIES]
    return hits(max(fits, key=lambda one: float(hits(one, "dev").mean())), "test").tolist()


def tuned(
    network: Network, tokenizer: Tokenizer, data: LabelledTexts, seed: int, steps: int, rates: Sequence[float]
) -> list[float]:
    """1 for each test text that the whole network with a classifier tells, else 0: trained on the labels at the rate
    that is best on the texts to choose by. A decoder classifies by its last token, an encoder by its first."""
    rows = {
        part: TextClasses(tokenizer.encode_batch(texts, special=False), classes.tolist(), tokenizer, CONTEXT)
        for part, (texts, classes) in data.parts.items()
    }
    found = []
    for rate in rates:
        judged = Network(network.config.but(labels=data.names)).initialise(seed)
        judged.load_state_dict(network.state_dict(), strict=False)
        config = TrainingConfig(context=CONTEXT, rows=16, steps=steps, learning_rate=rate, warmup=0.1, seed=seed)
        fit(judged, Classification(), rows["train"], config)
        found.append({part: hits_of(judged, rows[part]) for part in ("dev", "test")})
    return max(found, key=lambda one: fmean(one["dev"]))["test"]


def hits_of(network: Network, rows: Rows) -> list[float]:
    """1 for each of these rows whose class the network tells, else 0."""
    return [float(true == chosen) for true, chosen in classified(network, rows)]
