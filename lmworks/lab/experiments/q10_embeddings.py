"""Question 10: embeddings begin random or from GloVe, and are tuned with the task.

GloVe is trained here, on prose and on the task's own sentences without their labels. Then a small decoder learns to
say whether a sentence of a film review praises or blames, from few labels to all of them, with an embedding that
begins random, from GloVe, or from GloVe and frozen. Before and after: word similarity, analogies, neighbours.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lmworks.evaluation.word_vectors import analogies, neighbours_of_one_kind, read_analogies, read_pairs, similarity
from lmworks.lab.bench import reviews
from lmworks.lab.bench.reviews import STARTS, Learner, Reviews
from lmworks.lab.contrast import Condition
from lmworks.lab.experiment import experiment
from lmworks.lab.metric import Metric
from lmworks.lab.parts import Part, Requirement
from lmworks.lab.pictures import Lines
from lmworks.lab.run import Run
from lmworks.lab.scale import Count, Several, scaled
from lmworks.models.network import Network
from lmworks.models.relatives import glove
from lmworks.models.relatives.vectors import Vectors
from lmworks.text.sources import read

RANDOM, FROZEN, TUNED = Condition.named(*STARTS)
GLOVE, RANDOM_TUNED, MAJORITY = Condition.named("GloVe", "random, tuned", "the most frequent label")
FEWEST, MOST = "fewest labels", "most labels"
ACCURACY = Metric("praise or blame (SST-2)", margin=0.02, ideal=1.0)
MEN = Metric("word similarity (MEN)", margin=0.02, chance=0.0, ideal=1.0)
# Few words of a small text are well known, and a guess is right once in thousands: half a point is far from chance.
SYNTAX = Metric("analogies of grammar", margin=0.005, ideal=1.0, share=True)
KIND = Metric("neighbours of the same sense in the task", margin=0.02, ideal=1.0)
TASK_MEN = Metric("word similarity (MEN), words of the task", chance=0.0, ideal=1.0)
LEARNT = (Requirement("the task is learnt", ACCURACY, RANDOM[MOST] - MAJORITY, above=0.1),)
SWEEP = 0
"""The seed that learning rates are chosen with."""


@experiment(
    10,
    claim="Embeddings are dense vectors that capture semantic and syntactic properties; they are initialized randomly "
    "or with pretrained models like GloVe, then fine-tuned during training to reflect the task's context.",
    parts=(
        Part("GloVe's vectors are near where people find words alike", MEN, GLOVE - RANDOM, above=0),
        Part("they know grammar: analogies like slow, slowly, quick, quickly", SYNTAX, GLOVE - RANDOM, above=0),
        Part("tuning brings together words of one sense in the task", KIND, TUNED - GLOVE, above=0, needs=LEARNT),
        Part("tuning does so for vectors that began random", KIND, RANDOM_TUNED - RANDOM, above=0, needs=LEARNT),
        Part(
            "tuned vectors do the task better than frozen ones",
            *(ACCURACY, TUNED[MOST] - FROZEN[MOST]),
            above=0,
            otherwise="frozen vectors do the task as well",
            needs=LEARNT,
        ),
    ),
    also=(
        Part(
            "with the fewest labels GloVe does better than a random start",
            ACCURACY,
            TUNED[FEWEST] - RANDOM[FEWEST],
            above=0,
        ),
        Part("with the most labels GloVe beats a random start", ACCURACY, TUNED[MOST] - RANDOM[MOST], above=0),
    ),
    picture=Lines(
        ACCURACY,
        of=(RANDOM, FROZEN, TUNED),
        x="labelled sentences",
        title="Praise or blame (SST-2): accuracy by the number of labels",
        log_x=True,
    ),
    not_true_when="it is said of today's large models: they begin random, and learn embeddings with all the rest.",
    headlines={
        "yyyyy": "Yes: GloVe's vectors know which words are alike and how words change before any task. Tuning brings "
        "words of one sense in the task together, also where vectors began random, and does the task better than "
        "frozen ones."
    },
    not_tested="GloVe's published vectors, trained on 6 billion words (word similarity WS-353 0.53).",
    note="GloVe (Pennington et al. 2014, https://aclanthology.org/D14-1162) reads some 2 million words here. The label "
    "is predicted as a word after the sentence; whichever step is best on the development set is kept, which is as "
    "large for few labels as for many. Rates are chosen for each start with a seed that is not judged; the network is "
    "the same for all sizes. Neighbours are by cosine among words which the development and test sentences use mostly "
    "in praise or mostly in blame. Accuracy: over seeds and test sentences.",
    minutes=45,
)
def embeddings(
    run: Run,
    prose: tuple[str, ...] = scaled(("brown",), ("brown", "state-of-the-union", "wikitext2")),
    task: str = "sst2",
    sizes: tuple[int, ...] = scaled((200, 2000), (100, 800, 6920)),
    vocabulary: Several = 8_000,
    dim: Several = 100,
    glove_epochs: Count = 5,
    steps: tuple[int, ...] = scaled((30, 80), (80, 120, 400)),
    rates: tuple[float, ...] = scaled((2e-3,), (1e-3, 3e-3)),
) -> None:
    """Accuracy by start and number of labels; similarity, analogies, neighbours before and after tuning."""
    labelled = Reviews.read(task, vocabulary)
    texts = [one.text for reference in prose for one in read(reference).documents]
    texts += [sentence for sentence, _ in labelled.train]
    settings = glove.GloveConfig(dim=dim, epochs=glove_epochs)
    known, near = glove.counted(map(glove.split_words, texts), settings)

    def vectors_of(seed: int) -> Vectors:
        return Vectors(known, glove.fit(near, len(known), settings.but(seed=seed)).numpy())

    middle = len(sizes) // 2
    first = Learner(labelled, vectors_of(SWEEP), RANDOM.name, sizes[middle], steps[middle], rates[0], SWEEP)
    chosen = {start: replace(first, start=start).best_rate(rates) for start in STARTS}
    judge = Judge(run, labelled)
    for fixed in run.once():
        run.log(fixed, MAJORITY, {ACCURACY: labelled.chance})
    for seed in run.seeds:
        vectors = vectors_of(seed)
        judge.whole(seed, GLOVE, vectors)
        noise = np.random.default_rng(seed).standard_normal((len(known), dim)).astype(np.float32)
        judge.whole(seed, RANDOM, Vectors(known, noise))
        for size, count in zip(sizes, steps, strict=True):
            name = {min(sizes): FEWEST, max(sizes): MOST}.get(size)
            for start in STARTS:
                learner = Learner(labelled, vectors, start, size, count, chosen[start], seed)
                network, tuned = learner.network(), start != reviews.FROZEN
                if name == MOST and tuned:
                    judge.of_the_task(seed, RANDOM if start == reviews.RANDOM else GLOVE, network)
                learner.train(network)
                judge.labels(seed, Condition(start), size, name, network)
                if name == MOST and tuned:
                    judge.of_the_task(seed, RANDOM_TUNED if start == reviews.RANDOM else TUNED, network)


class Judge:
    """Logs what vectors and networks know."""

    def __init__(self, run: Run, labelled: Reviews) -> None:
        self.run, self.labelled, self.senses = run, labelled, labelled.senses()
        self.pairs, self.grammar = read_pairs("men"), read_analogies("google-analogies", "gram")

    def whole(self, seed: int, condition: Condition, vectors: Vectors) -> None:
        """GloVe's vectors with all their words."""
        found = {MEN: similarity(vectors, self.pairs).value, SYNTAX: analogies(vectors, self.grammar).value}
        self.run.log(seed, condition, found)

    def of_the_task(self, seed: int, condition: Condition, network: Network) -> None:
        """A network's embedding, which has the task's words."""
        vectors = self.labelled.vectors(network)
        kind, alike = neighbours_of_one_kind(vectors, self.senses), similarity(vectors, self.pairs)
        self.run.log(seed, condition, {KIND: kind.value, TASK_MEN: alike.value})

    def labels(self, seed: int, start: Condition, size: int, name: str | None, network: Network) -> None:
        """Each test sentence where parts ask for it, the share of all for the picture."""
        right = self.labelled.right(network)
        self.run.log(seed, start[size], {ACCURACY: float(np.mean(right))})
        if name:
            self.run.log(seed, start[name], {ACCURACY: right}, items=[f"sentence {at}" for at in range(len(right))])
