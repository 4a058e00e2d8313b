"""A WordPiece tokenizer and a few documents of sentences: what masked objectives and pairs are tested on."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path
from typing import Any

import tiny

from lmworks.models.config import ModelConfig
from lmworks.models.network import Network
from lmworks.text.document import Document
from lmworks.tokens.pair_labels import NEXT_SENTENCE
from lmworks.tokens.sentence_pairs import Sentences, write_sentences
from lmworks.tokens.tokenizer import Tokenizer
from lmworks.tokens.trainer import TokenizerConfig, train_tokenizer

RARE = ("unbelievable", "reconsidering", "hyperparameters", "backpropagation")


def document(number: int, sentences: int = 12) -> Document:
    """Sentences of four to nine words, some of which are many pieces."""
    draw = random.Random(number)
    made = [
        " ".join(draw.choice([*tiny.WORDS, *RARE]) for _ in range(draw.randrange(4, 10))).capitalize() + "."
        for _ in range(sentences)
    ]
    return Document(" ".join(made), f"document {number}")


@cache
def tokenizer() -> Tokenizer:
    """WordPiece whose rare words fall into pieces."""
    texts = [" ".join([*tiny.WORDS, *RARE])] + [" ".join(tiny.WORDS)] * 20
    return train_tokenizer(
        [*texts, *(text.capitalize() + "." for text in tiny.WORDS)], TokenizerConfig(kind="wordpiece", vocab_size=110)
    )


def sentences(folder: Path, documents: int = 6) -> Sentences:
    """Documents cut into sentences."""
    return write_sentences(map(document, range(documents)), tokenizer(), folder / "sentences.safetensors")


def bert(seed: int = 0, **settings: Any) -> Network:
    """A small BERT with all heads of pretraining, its every weight random."""
    from lmworks.objectives.declaration import ObjectiveSettings

    fixed = dict(ObjectiveSettings.parts()["masked+next-sentence"].network)
    shape = {"dim": 16, "layers": 2, "heads": 2, "hidden_dim": 24, "context": 64, "labels": NEXT_SENTENCE}
    network = Network(ModelConfig(**(fixed | shape | settings), vocab_size=tokenizer().vocab_size))
    tiny.randomise(network, seed)
    return network.eval()
