"""Praise or blame in reviews of films: a small decoder with a random embedding, GloVe, or GloVe frozen.

reviews = Reviews.read("sst2", vocabulary=8000)
learner = Learner(reviews, vectors, TUNED, size=800, steps=120, rate=1e-3, seed=100)
network = learner.network()
learner.train(network)
reviews.right(network)      # for each test sentence, whether its label is the likelier one
"""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from lmworks.lab.bench.training import fit
from lmworks.models.config import ModelConfig
from lmworks.models.network import Network
from lmworks.models.relatives import glove
from lmworks.models.relatives.vectors import Vectors, embedding_vectors, initialise_embedding
from lmworks.objectives import CausalLM
from lmworks.text.document import Document
from lmworks.text.sources import read
from lmworks.tokens.batch import IGNORE, Batch, Example, Row, batches, pack
from lmworks.tokens.tokenizer import Tokenizer
from lmworks.tokens.trainer import TokenizerConfig, train_tokenizer
from lmworks.training.settings import TrainingConfig

RANDOM, FROZEN, TUNED = STARTS = ("random", "GloVe, frozen", "GloVe, tuned")
"""Where an embedding begins."""

LabelledSentence = tuple[str, str]
"""A sentence and its label."""


@dataclass
class Reviews:
    """Sentences with labels in three parts, and a vocabulary of the first part's words."""

    train: list[LabelledSentence]
    dev: list[LabelledSentence]
    test: list[LabelledSentence]
    tokenizer: Tokenizer

    @classmethod
    def read(cls, name: str, vocabulary: int) -> Reviews:
        """The parts `name-train`, `name-dev` and `name-test` of the data registry."""
        learnt, dev, test = (
            [_labelled(one) for one in read(f"{name}-{part}").documents] for part in ("train", "dev", "test")
        )
        labels = sorted({label for _, label in learnt})
        special = ("<|endoftext|>", *(f"<{label}>" for label in labels))
        config = TokenizerConfig(kind="word", vocab_size=vocabulary, special_tokens=special)
        return cls(learnt, dev, test, train_tokenizer((sentence for sentence, _ in learnt), config))

    @property
    def labels(self) -> dict[str, int]:
        """The token of each label."""
        return {text[1:-1]: number for number, text in self.tokenizer.special.items() if text[1:-1].isdigit()}

    @property
    def chance(self) -> float:
        """The accuracy of always giving the test sentences' most frequent label."""
        given = [label for _, label in self.test]
        return max(given.count(label) for label in set(given)) / len(given)

    @functools.cached_property
    def developed(self) -> list[Batch]:
        """The development sentences: batched once, asked many times."""
        return list(batches(self.rows(self.dev), 32, 0, 0))

    @functools.cached_property
    def tested(self) -> list[Batch]:
        """The same of the test sentences."""
        return list(batches(self.rows(self.test), 32, 0, 0))

    def rows(self, sentences: Sequence[LabelledSentence], seed: int = 0) -> list[Row]:
        """Sentences, each followed by its label, which alone carries loss."""
        ids = self.tokenizer.encode_batch([sentence for sentence, _ in sentences])
        labels, end = self.labels, self.tokenizer.document_end or 0
        examples = []
        for words, (_, label) in zip(ids, sentences, strict=True):
            tokens = [*words[:62], end, labels[label]]
            examples.append(Example(tokens, [False] * (len(tokens) - 1) + [True], "sentence"))
        return pack(examples, 64, seed=seed)

    @torch.no_grad()
    def right(self, network: Network) -> list[bool]:
        """For each test sentence whether its label is the likelier one, in an order that is the same for all."""
        tokens = torch.tensor(sorted(self.labels.values()))
        found: list[bool] = []
        for batch in self.tested:
            asked = batch.labels != IGNORE
            hidden = network.hidden(batch.tokens, documents=batch.documents)[asked]
            answers = tokens[network.logits(hidden)[:, tokens].argmax(dim=1)]
            found += (answers == batch.labels[asked]).tolist()
        return found

    def vectors(self, network: Network) -> Vectors:
        """The network's embedding as word vectors."""
        return embedding_vectors(network, self.tokenizer)

    def senses(self, often: int = 5, mostly: float = 0.7) -> dict[str, int]:
        """Words that the development and test sentences use `often` and `mostly` with one label, and which."""
        uses: dict[str, list[int]] = {}
        for sentence, label in (*self.dev, *self.test):
            for word in set(glove.split_words(sentence)):
                uses.setdefault(word, []).append(int(label == "1"))
        shares = {word: sum(each) / len(each) for word, each in uses.items() if len(each) >= often}
        return {word: int(share > 0.5) for word, share in shares.items() if max(share, 1 - share) >= mostly}


def _labelled(document: Document) -> LabelledSentence:
    assert document.messages is not None
    sentence, label = (message["content"] for message in document.messages)
    return sentence, label


@dataclass(frozen=True)
class Learner:
    """One network: where its embedding begins, and what it learns from."""

    reviews: Reviews
    vectors: Vectors
    start: str
    size: int
    steps: int
    rate: float
    seed: int

    def network(self) -> Network:
        """Fresh weights by seed; the embedding from the vectors where the start says so."""
        config = ModelConfig(
            vocab_size=self.reviews.tokenizer.vocab_size,
            dim=self.vectors.dim,
            layers=1,
            heads=2,
            hidden_dim=2 * self.vectors.dim,
            context=64,
            tied=False,
            dropout=0.1,
        )
        network = Network(config).initialise(self.seed)
        if self.start != RANDOM:
            initialise_embedding(network, self.reviews.tokenizer, self.vectors, frozen=self.start == FROZEN)
        return network

    def train(self, network: Network) -> float:
        """Leaves the network with the parameters that were best on the development set; its loss there."""
        sentences = random.Random(self.seed).sample(self.reviews.train, self.size)
        config = TrainingConfig(
            context=64,
            rows=16,
            steps=self.steps,
            learning_rate=self.rate,
            warmup=0.1,
            seed=self.seed,
            evaluate_every=max(self.steps // 5, 1),
            patience=self.steps,  # never stops a run early: only the best parameters are wanted
        )

        @torch.no_grad()
        def validate(network: Network) -> float:
            losses = [CausalLM()(network, batch) for batch in self.reviews.developed]
            return float(sum(loss.total for loss in losses)) / sum(loss.count for loss in losses)

        result = fit(network, CausalLM(), self.reviews.rows(sentences, self.seed), config, validate)
        return min(loss for _, loss in result.validation)

    def best_rate(self, rates: Sequence[float]) -> float:
        """The one of these learning rates that comes lowest on the development set."""
        tried = [replace(self, rate=rate) for rate in rates]
        return min(tried, key=lambda one: one.train(one.network())).rate if len(tried) > 1 else rates[0]
