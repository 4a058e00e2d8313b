"""Question 26: the chain rule moves embeddings. Is the gradient right, is the loss lower, do words become more alike?

First the laws, in float64 on rows of a real text. Then training: how far frequent and rare words move, how much of it
in steps whose batch does not have the word, and whether words become more alike where people find them alike.
"""

from __future__ import annotations

import torch

from lmworks.evaluation.word_vectors import read_pairs, similarity
from lmworks.lab.bench.embedding_gradients import Movement, laws, movement
from lmworks.lab.bench.training import fit
from lmworks.lab.bench.word_network import WordText, word_network, word_text
from lmworks.lab.contrast import Condition
from lmworks.lab.experiment import experiment
from lmworks.lab.metric import Metric
from lmworks.lab.parts import Part, Requirement
from lmworks.lab.pictures import Lines
from lmworks.lab.run import Run
from lmworks.lab.scale import Count, Several, scaled
from lmworks.models.relatives.vectors import embedding_vectors
from lmworks.objectives import CausalLM
from lmworks.training.optimiser import trainable
from lmworks.training.optimisers.adamw import adamw
from lmworks.training.settings import TrainingConfig

BY_HAND, DIFFERENCES, SPARSE = Condition.named("chain rule by hand", "finite differences", "sparse gradient")
ERROR = Metric("largest distance from backpropagation's gradient", ideal=0)
UNTIED, TIED, LAZY = Condition.named("head of its own", "head tied to the embedding", "moved by sparse Adam")
OUTSIDE = Metric("rows with a gradient whose word is not in the batch", "rows")
SHARE = Metric("share of rows with a gradient")
BEFORE, AFTER = Condition.named("before", "after")
STEP = Metric("loss of a batch around a step of the embedding alone", "nats")
MEN = Metric("word similarity (MEN)", margin=0.02, chance=0, ideal=1)
NATS = Metric("training loss", "nats")
SGD, ADAMW = OPTIMISERS = Condition.named("SGD", "AdamW")
ABSENT = Metric("share of the movement in steps without the word", margin=0.02)
FAR = Metric("distance from where a word's vector began")
RANKS = (10, 100, 1000, 10_000)


@experiment(
    26,
    claim="Embedding gradients are computed with the chain rule during backpropagation; they adjust the embedding "
    "vectors to minimize loss, refining their semantic representation.",
    parts=(
        Part("the chain rule by hand gives backpropagation's gradient", ERROR, BY_HAND, below=1e-10),
        Part("it is the true gradient: nudging single numbers gives the same", ERROR, DIFFERENCES, below=1e-6),
        Part("a small step against it lowers the loss", STEP, AFTER - BEFORE, below=0),
        Part(
            "training makes words more alike where people find them alike",
            *(MEN, AFTER - BEFORE),
            above=0,
            otherwise="a lower loss does not make words alike as people see them",
            needs=(Requirement("the network has learnt something", NATS, AFTER - BEFORE, below=-0.5),),
        ),
    ),
    also=(
        Part("only words of the batch have a gradient", OUTSIDE, UNTIED, below=1),
        Part("with SGD a word moves in steps that have it, and in no other", ABSENT, SGD, below=1e-6),
        Part("with AdamW a word moves in steps that have it, and hardly in others", ABSENT, ADAMW, below=0.05),
        Part("the sparse gradient is the dense one", ERROR, SPARSE, below=1e-10),
    ),
    headlines={"yyyy": "The chain rule gives an embedding's true gradient; following it makes alike words alike."},
    picture=Lines(
        FAR,
        of=OPTIMISERS,
        x="frequency rank of the word, at most",
        title="How far word vectors move",
        log_x=True,
        log_y=True,
    ),
    not_true_when="a gradient is taken for the step: AdamW's momentum moves words for tens of steps after their last "
    "gradient. With the head tied to the embedding every word has a gradient in every step, from the softmax.",
    not_tested="whether words become alike faster than with other ways of training.",
    note="Laws: in float64, the largest error over several batches of real text, next to the largest gradient. A row's "
    "gradient is the sum of what reaches the places of its word. A word that came once goes on moving under AdamW "
    "(Loshchilov and Hutter 2017, https://arxiv.org/abs/1711.05101), t steps later by 0.447 x 0.923^t of the learning "
    "rate, which puts 92 % of its movement into steps without it. Similarity: rank correlation with the judgements of "
    "MEN, of a network trained on the Brown corpus.",
    minutes=45,
)
def embedding_gradients(
    run: Run,
    texts: tuple[str, ...] = ("brown",),
    vocabulary: Several = scaled(4_000, 8_000),
    dim: Several = 64,
    batches: Count = scaled(2, 6),
    steps: Several = scaled(40, 100),
    long: Several = scaled(100, 600),
    pairs: str = "men",
) -> None:
    """Laws of the gradient; movement of words under two optimisers; similarity before and after."""
    text, known = word_text(texts, vocabulary), read_pairs(pairs)
    for fixed in run.once():
        found = [laws(text, seed) for seed in range(batches)]
        run.log(fixed, BY_HAND, {ERROR: max(one.by_hand for one in found)})
        run.log(fixed, DIFFERENCES, {ERROR: max(one.differences for one in found)})
        run.log(fixed, SPARSE, {ERROR: max(one.sparse for one in found)})
        run.log(fixed, UNTIED, {OUTSIDE: max(one.outside for one in found)})
        run.log(fixed, LAZY, {OUTSIDE: max(one.lazy for one in found)})
        run.log(fixed, TIED, {SHARE: min(one.tied for one in found)})
    for seed in run.seeds:
        one = laws(text, seed)
        run.log(seed, BEFORE, {STEP: one.before})
        run.log(seed, AFTER, {STEP: one.after})
        for name in OPTIMISERS:
            _log_movement(run, seed, name, text, _moved(name, text, dim, _config(steps, seed, rows=8)))
        cutoffs = (max(text.size // 20, 1), max(text.size // 5, 2))
        network = word_network(text.size, seed, dim=dim, adaptive_cutoffs=cutoffs)
        network.head.order_by(text.counts)  # type: ignore[union-attr,operator]
        run.log(seed, BEFORE, {MEN: similarity(embedding_vectors(network, text.tokenizer), known).value})
        result = fit(network, CausalLM(), text.train, _config(long, seed, rows=16))
        run.log(seed, AFTER, {MEN: similarity(embedding_vectors(network, text.tokenizer), known).value})
        run.log(seed, BEFORE, {NATS: result.losses[0]})
        run.log(seed, AFTER, {NATS: result.losses[-1]})


def _moved(name: Condition, text: WordText, dim: int, config: TrainingConfig) -> Movement:
    network = word_network(text.size, config.seed, dim=dim)
    sgd = name is SGD
    optimiser = torch.optim.SGD(network.parameters(), lr=1.0) if sgd else adamw(trainable(network), config)
    return movement(text, network, optimiser, config, name.name)


def _log_movement(run: Run, seed: int, name: Condition, text: WordText, moved: Movement) -> None:
    run.log(seed, name, {ABSENT: moved.absent()})
    far, order, first = moved.far(), text.counts.argsort(descending=True), 0
    for last in RANKS:
        if first < len(order):
            run.log(seed, name[last], {FAR: float(far[order[first:last]].mean())})
        first = last


def _config(steps: int, seed: int, rows: int) -> TrainingConfig:
    return TrainingConfig(steps=steps, rows=rows, learning_rate=2e-3, warmup=0.1, seed=seed, weight_decay=0.0)
