"""Question 10: embeddings begin random or from GloVe, and are tuned with the task.

GloVe is trained here, on prose and on the task's own sentences without their labels. Then a small decoder learns to
say whether a sentence of a film review praises or blames, from few labels to all of them, with an embedding that
begins random, from GloVe, or from GloVe and frozen. Before and after: word similarity, analogies, neighbours.
"""

from __future__ import annotations

import functools
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from lmworks.evaluation.measurement import Measurement
from lmworks.evaluation.word_vectors import (
    analogies,
    neighbours_of_one_kind,
    read_analogies,
    read_pairs,
    similarity,
)
from lmworks.lab.chart import Chart, Series
from lmworks.lab.registry import experiment
from lmworks.lab.rule import Check, Observation, Rule
from lmworks.lab.scale import Count, Several, scaled
from lmworks.lab.seeds import difference, measured
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
from lmworks.training.loop import train
from lmworks.training.settings import TrainingConfig

RANDOM, FROZEN, TUNED = STARTS = ("random", "GloVe, frozen", "GloVe, tuned")
FEWEST, MOST = "fewest labels", "most labels"
ACCURACY = "accuracy"
SIMILARITY = "word similarity (MEN)"
ANALOGIES = "analogies right"
KIND = "neighbours of the same sense in the task"
SIDES = ("random", "GloVe", "random, tuned", "GloVe, tuned")
GAIN, TUNING = "GloVe, tuned minus random", "GloVe, tuned minus frozen"
TOWARDS = f"{KIND}, GloVe tuned minus GloVe"
SHOWN = ("good", "bad", "funny", "dull")
"""Words whose neighbours the note tells."""


@experiment(
    question=10,
    claim="Embeddings are dense vectors that capture semantic and syntactic properties; they are initialized randomly "
    "or with pretrained models like GloVe, then fine-tuned during training to reflect the task's context.",
    rule=Rule(
        holds_if=(
            Check(f"{SIMILARITY}, GloVe", ">", 0.2),
            Check(f"{ANALOGIES}, GloVe", ">", 0.01),
            Check(f"{ACCURACY}, {FEWEST}, {GAIN}", ">", 0),
            Check(TOWARDS, ">", 0),
        ),
        only_if=(
            (
                Check(f"{ACCURACY}, {MOST}, {GAIN}", ">", 0.01),
                "labels are few: with most labels a random start comes within a point of accuracy",
            ),
            (
                Check(f"{ACCURACY}, {MOST}, {TUNING}", ">", 0.01),
                "tuning is said of the vectors, not of the result: frozen ones come within a point of accuracy",
            ),
        ),
    ),
)
def embeddings(
    prose: tuple[str, ...] = scaled(("brown",), ("brown", "state-of-the-union", "wikitext2")),
    task: str = "sst2",
    sizes: tuple[int, ...] = scaled((200, 2000), (100, 800, 6920)),
    vocabulary: Several = 8_000,
    dim: Several = 100,
    glove_epochs: Count = 5,
    steps: tuple[int, ...] = scaled((30, 80), (80, 120, 400)),
    rates: tuple[float, ...] = scaled((2e-3,), (1e-3, 3e-3)),
    seeds: Count = scaled(3, 4),
) -> Observation:
    """Accuracy by start and number of labels; similarity, analogies, neighbours before and after tuning."""
    labelled = _Task.read(task, vocabulary)
    texts = [glove.split_words(one.text) for reference in prose for one in read(reference).documents]
    texts += [glove.split_words(sentence) for sentence, _ in labelled.train]
    settings = glove.GloveConfig(dim=dim, epochs=glove_epochs)
    known, near = glove.counted(texts, settings)
    vectors = {
        seed: Vectors(known, glove.fit(near, len(known), settings.but(seed=seed)).numpy()) for seed in range(seeds)
    }
    middle = len(sizes) // 2
    # Chosen for each start by the loss on the development set, with another seed than the verdict's.
    chosen = dict.fromkeys(STARTS, rates[0])
    for start in STARTS if len(rates) > 1 else ():
        losses = {
            rate: _Run(labelled, vectors[0], start, sizes[middle], steps[middle], rate, seeds).train()[1]
            for rate in rates
        }
        chosen[start] = min(losses, key=lambda rate: losses[rate])
    accuracy: dict[int, dict[str, dict[int, float]]] = {size: {start: {} for start in STARTS} for size in sizes}
    inside: dict[str, dict[int, Vectors]] = {side: {} for side in SIDES}
    for seed in range(seeds):
        for size, count in zip(sizes, steps, strict=True):
            for start in STARTS:
                run = _Run(labelled, vectors[seed], start, size, count, chosen[start], seed)
                network = run.network()
                if size == sizes[-1] and start != FROZEN:
                    inside["random" if start == RANDOM else "GloVe"][seed] = labelled.vectors(network)
                run.train(network)
                accuracy[size][start][seed] = labelled.accuracy(network)
                if size == sizes[-1] and start != FROZEN:
                    inside["random, tuned" if start == RANDOM else "GloVe, tuned"][seed] = labelled.vectors(network)
    measurements = [*_learning(accuracy, labelled.chance), *_meaning(vectors, inside, labelled.senses())]
    rates_text = ", ".join(f"{rate:g} for {start}" for start, rate in chosen.items())
    words = sum(map(len, texts))
    note = f"{NOTE.format(millions=words / 1e6)} Learning rates: {rates_text}. {_neighbours(inside, seeds - 1)}"
    return Observation(measurements=tuple(measurements), chart=_chart(accuracy), note=note)


NOTE = (
    "Large language models begin with random embeddings and learn them with everything else; vectors from GloVe "
    "(Pennington et al. 2014, https://aclanthology.org/D14-1162) were usual before whole pretrained networks were. "
    "GloVe has seen {millions:.1f} million words here, the published one 6 billion (WS-353 0.53 there). The label is "
    "predicted as a word after the sentence; whichever step is best on the development set is kept, which is as large "
    "for few labels as for many. The embedding's width, the network and its rates are fixed for all sizes of data. "
    "Neighbours are those by cosine among words which the development and test sentences use mostly in praise or "
    "mostly in blame: labels that no network saw; chance is what random neighbours would have."
)

Labelled = tuple[str, str]
"""A sentence and its label."""


@dataclass
class _Task:
    """Sentences with labels in three parts, and a vocabulary of the first part's words."""

    train: list[Labelled]
    dev: list[Labelled]
    test: list[Labelled]
    tokenizer: Tokenizer

    @classmethod
    def read(cls, name: str, vocabulary: int) -> _Task:
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

    def rows(self, sentences: Sequence[Labelled], seed: int = 0) -> list[Row]:
        """Sentences, each followed by its label, which alone carries loss."""
        ids = self.tokenizer.encode_batch([sentence for sentence, _ in sentences])
        labels, end = self.labels, self.tokenizer.document_end or 0
        examples = []
        for words, (_, label) in zip(ids, sentences, strict=True):
            tokens = [*words[:62], end, labels[label]]
            examples.append(Example(tokens, [False] * (len(tokens) - 1) + [True], "sentence"))
        return pack(examples, 64, seed=seed)

    @torch.no_grad()
    def accuracy(self, network: Network) -> float:
        """The share of the test sentences whose label is the likelier one."""
        tokens = torch.tensor(sorted(self.labels.values()))
        right = count = 0
        for batch in self.tested:
            asked = batch.labels != IGNORE
            hidden = network.hidden(batch.tokens, documents=batch.documents)[asked]
            answers = tokens[network.logits(hidden)[:, tokens].argmax(dim=1)]
            right += int((answers == batch.labels[asked]).sum())
            count += len(answers)
        return right / count

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


def _labelled(document: Document) -> Labelled:
    assert document.messages is not None
    sentence, label = (message["content"] for message in document.messages)
    return sentence, label


@dataclass(frozen=True)
class _Run:
    """One network: where its embedding begins, and what it learns from."""

    task: _Task
    vectors: Vectors
    start: str
    size: int
    steps: int
    rate: float
    seed: int

    def network(self) -> Network:
        """Fresh weights by seed; the embedding from the vectors where the start says so."""
        config = ModelConfig(
            vocab_size=self.task.tokenizer.vocab_size,
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
            initialise_embedding(network, self.task.tokenizer, self.vectors, frozen=self.start == FROZEN)
        return network

    def train(self, network: Network | None = None) -> tuple[Network, float]:
        """The network with the parameters that were best on the development set, and its loss there."""
        network, every = network or self.network(), max(self.steps // 5, 1)
        sentences = random.Random(self.seed).sample(self.task.train, self.size)
        config = TrainingConfig(
            context=64,
            rows=16,
            steps=self.steps,
            learning_rate=self.rate,
            warmup=0.1,
            seed=self.seed,
            evaluate_every=every,
            patience=self.steps,  # never stops a run early: only the best parameters are wanted
            checkpoint_every=2**31,
        )

        @torch.no_grad()
        def validate(network: Network) -> float:
            losses = [CausalLM()(network, batch) for batch in self.task.developed]
            return float(sum(loss.total for loss in losses)) / sum(loss.count for loss in losses)

        with tempfile.TemporaryDirectory() as folder:
            rows = self.task.rows(sentences, self.seed)
            result = train(network, CausalLM(), rows, config, Path(folder), validate=validate)
        return network, min(loss for _, loss in result.validation)


def _learning(accuracy: dict[int, dict[str, dict[int, float]]], chance: float) -> list[Measurement]:
    """Accuracy for each number of labels and start, and what GloVe and tuning gain."""
    found = []
    for size, by_start in accuracy.items():
        which = {min(accuracy): FEWEST, max(accuracy): MOST}.get(size, f"{size:,} labels")
        found += [
            measured(f"{ACCURACY}, {which}, {start}", by_seed, chance=chance, ideal=1.0)
            for start, by_seed in by_start.items()
        ]
        found += [
            difference(f"{ACCURACY}, {which}, {name}", by_start[TUNED], by_start[other])
            for name, other in ((GAIN, RANDOM), (TUNING, FROZEN))
        ]
    return found


def _meaning(
    vectors: dict[int, Vectors], inside: dict[str, dict[int, Vectors]], senses: dict[str, int]
) -> list[Measurement]:
    """What the vectors know: GloVe's own with all its words, and the task's vocabulary before and after tuning."""
    pairs, questions = read_pairs("men"), read_analogies("google-analogies")
    whole = {
        name: {seed: judge(one) for seed, one in vectors.items()}
        for name, judge in (
            (SIMILARITY, lambda one: similarity(one, pairs)),
            (ANALOGIES, lambda one: analogies(one, questions)),
        )
    }
    found = [
        measured(
            f"{name}, GloVe", {seed: one.value for seed, one in by_seed.items()}, chance=by_seed[0].chance, ideal=1.0
        )
        for name, by_seed in whole.items()
    ]
    kinds: dict[str, dict[int, float]] = {}
    for side, by_seed in inside.items():
        judged = {seed: neighbours_of_one_kind(one, senses) for seed, one in by_seed.items()}
        kinds[side] = {seed: one.value for seed, one in judged.items()}
        chance = next(iter(judged.values())).chance
        known = {seed: similarity(one, pairs).value for seed, one in by_seed.items()}
        found += [
            measured(f"{KIND}, {side}", kinds[side], chance=chance, ideal=1.0),
            measured(f"{SIMILARITY}, words of the task, {side}", known, chance=0.0, ideal=1.0),
        ]
    return [*found, difference(TOWARDS, kinds["GloVe, tuned"], kinds["GloVe"])]


def _neighbours(inside: dict[str, dict[int, Vectors]], seed: int, count: int = 4) -> str:
    """Nearest words of a few, before and after tuning."""
    before, after = inside["GloVe"][seed], inside["GloVe, tuned"][seed]
    told = []
    for word in SHOWN:
        if word in before:
            sides = [", ".join(near for near, _ in one.nearest(word, count)) for one in (before, after)]
            told.append(f"{word}: {sides[0]}; tuned: {sides[1]}")
    return f"Nearest words, GloVe and then tuned on the most labels (seed {seed}). {'. '.join(told)}."


def _chart(accuracy: dict[int, dict[str, dict[int, float]]]) -> Chart:
    sizes = sorted(accuracy)
    series = []
    for start in STARTS:
        found = [measured(start, accuracy[size][start]) for size in sizes]
        intervals = [one.interval for one in found]
        known = [interval for interval in intervals if interval is not None]
        bands = len(known) == len(found)
        series.append(
            Series(
                name=start,
                x=tuple(map(float, sizes)),
                y=tuple(one.value for one in found),
                low=tuple(low for low, _ in known) if bands else None,
                high=tuple(high for _, high in known) if bands else None,
            )
        )
    return Chart(
        kind="line",
        title="Praise or blame (SST-2): accuracy by the number of labels",
        x_label="labelled sentences",
        y_label="accuracy on the test sentences",
        series=tuple(series),
        log_x=True,
    )
