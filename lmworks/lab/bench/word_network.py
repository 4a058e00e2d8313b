"""A small network over words, trained on real text in a minute or two: what experiments about vocabularies compare.

text = word_text(("brown",), vocabulary=20_000)
network = word_network(text.size, seed=1, dim=64)
fit(network, CausalLM(), text.train, TrainingConfig(steps=200, rows=16, learning_rate=2e-3))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from lmworks.basics.arrays import Int
from lmworks.models.config import ModelConfig
from lmworks.models.network import Network
from lmworks.objectives import CausalLM
from lmworks.text.document import Document
from lmworks.text.sources import read
from lmworks.text.splits import parts, split
from lmworks.tokens.batch import Example, Row, batches, pack
from lmworks.tokens.tokenizer import Tokenizer
from lmworks.tokens.trainer import TokenizerConfig, train_tokenizer


@dataclass(frozen=True)
class WordText:
    """A text as words, packed into rows; a tenth of its documents is held out."""

    tokenizer: Tokenizer
    """Knows the most frequent words of the training text. All others share one token, which carries no loss."""
    train: list[Row]
    held_out: list[Row]

    @property
    def size(self) -> int:
        """Words of the vocabulary."""
        return self.tokenizer.vocab_size

    @cached_property
    def counts(self) -> Int[Tensor, " vocab"]:
        """How often each word is predicted in the training text."""
        words = [word for row in self.train for piece in row for word in _supervised(piece)]
        return torch.bincount(torch.tensor(words), minlength=self.size)


def word_text(references: Sequence[str], vocabulary: int, context: int = 64) -> WordText:
    """Read data references as words, each cut into documents of a few thousand characters.

    ConfigError where the texts have fewer different words than the vocabulary.
    """
    documents = [part for reference in references for one in read(reference).documents for part in parts(one, 4_000)]
    sides = split(documents, 0.1)
    tokenizer = train_tokenizer(
        (document.text for document in sides.train), TokenizerConfig(kind="word", vocab_size=vocabulary)
    )
    train, held_out = (pack(_examples(side, tokenizer), context, seed=0) for side in (sides.train, sides.held_out))
    return WordText(tokenizer, train, held_out)


def _examples(documents: Sequence[Document], tokenizer: Tokenizer) -> list[Example]:
    ids = tokenizer.encode_batch([document.text for document in documents])
    examples = [
        Example(words, [at > 0 and word != tokenizer.unknown for at, word in enumerate(words)], document.source)
        for words, document in zip(ids, documents, strict=True)
    ]
    return [example for example in examples if any(example.supervised[1:])]


def _supervised(piece: Example) -> list[int]:
    return [word for word, carries in zip(piece.tokens[1:], piece.supervised[1:], strict=True) if carries]


def word_network(vocabulary: int, seed: int, **settings: Any) -> Network:
    """Fresh weights by seed: one layer unless told otherwise, and an untied head."""
    sizes = {"layers": 1, "heads": 2, "context": 64, "tied": False}
    return Network(ModelConfig(vocab_size=vocabulary, **(sizes | settings))).initialise(seed)


@torch.no_grad()
def nats_per_word(network: Network, rows: Sequence[Row], rows_at_once: int = 32) -> float:
    """Cross-entropy over all words of the rows."""
    losses = [CausalLM()(network, batch) for batch in batches(rows, rows_at_once, 0, 0)]
    return float(sum(loss.total for loss in losses)) / sum(loss.count for loss in losses)
