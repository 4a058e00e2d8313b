"""Question 42: adaptive softmax, fewer computations for rare words, against one softmax over all of them.

Vocabularies of several sizes over the same text. Multiplications and memory are counted; times are of calls that take
turns in one process; how well words are predicted is judged after the same batches. One softmax is computed in two
ways: with all logits at once, and a few rows at a time (chunked).
"""

from __future__ import annotations

from lmworks.lab.bench.training import fit
from lmworks.lab.bench.vocabularies import GROUPS, Heads, frequency_nats, group_of, nats_by_group, operations
from lmworks.lab.bench.word_network import word_text
from lmworks.lab.contrast import Condition
from lmworks.lab.experiment import experiment
from lmworks.lab.metric import Metric
from lmworks.lab.parts import Part, Requirement
from lmworks.lab.pictures import Lines
from lmworks.lab.run import Run
from lmworks.lab.scale import Count, Several, scaled
from lmworks.models.adaptive_softmax import AdaptiveSoftmax
from lmworks.objectives import CausalLM
from lmworks.tokens.batch import Batch, batches
from lmworks.training.settings import TrainingConfig

KINDS = FULL, CHUNKED, ADAPTIVE = Condition.named("full", "chunked", "adaptive")
SMALLEST, LARGEST = "smallest vocabulary", "largest vocabulary"
FREQUENT, RARE = ADAPTIVE["a frequent word"], ADAPTIVE["a rare word"]
OPERATIONS = Metric("the head's multiplications for a word")
MEMORY = Metric("most memory of a training step's results", "MB")
STEP = Metric("time of a training step", "us/word")
WRITING = Metric("time of the next word's probabilities", "us/word")
TOGETHER = Metric("time of the probabilities of 256 next words", "us/word")
NATS = Metric("held-out text", "nats/word", margin=0.02)
FREQUENCIES = Condition("word frequencies alone")
LEARNT = (Requirement("the network beats word frequencies", NATS, FULL - FREQUENCIES, below=-0.1),)
TIE = 0.05
"""Share of a time that is no difference: what is left between two runs on a quiet machine."""


def _faster(says: str, metric: Metric, other: Condition, vocabulary: str) -> Part:
    return Part(says, metric, other[vocabulary] / ADAPTIVE[vocabulary], above=1, margin=TIE)


@experiment(
    42,
    claim="Adaptive softmax groups words by frequency, using fewer computations for rare words; it lowers the cost of "
    "handling massive vocabularies, speeding up training and inference in resource-limited settings.",
    parts=(
        Part("a word of the text takes fewer multiplications", OPERATIONS, ADAPTIVE / FULL, below=1),
        Part(
            "a rare word takes fewer than a frequent one",
            *(OPERATIONS, RARE / FREQUENT),
            below=1,
            otherwise="a rare word takes more multiplications than a frequent one, the shortlist's and its cluster's; "
            "what saves is that most words of a text are frequent",
        ),
        _faster("a training step is faster", STEP, CHUNKED, LARGEST),
        Part("a training step takes less memory", MEMORY, ADAPTIVE[LARGEST] / CHUNKED[LARGEST], below=1),
        _faster("the next word's probabilities are faster", WRITING, FULL, LARGEST),
    ),
    also=(
        _faster("a training step is faster with a small vocabulary", STEP, CHUNKED, SMALLEST),
        _faster("the next word's probabilities are faster with a small vocabulary", WRITING, FULL, SMALLEST),
        _faster("the probabilities of 256 next words at once are faster", TOGETHER, FULL, LARGEST),
        Part("words are predicted as well after as many steps", NATS, ADAPTIVE - FULL, below=0.02, needs=LEARNT),
        Part("rare words are predicted as well", NATS, ADAPTIVE["rare"] - FULL["rare"], below=0.05, needs=LEARNT),
    ),
    picture=Lines(STEP, of=KINDS, x="words of the vocabulary", title="Time of a training step", log_x=True, log_y=True),
    not_true_when="all probabilities of many places are wanted at once: every cluster is computed then, which may "
    "take longer than one large product. Large language models with subword vocabularies do not use it.",
    headlines={
        "ynyyy": "With a large vocabulary adaptive softmax trains faster, in less memory, and tells probabilities "
        "faster; but it is the frequent words that take fewer computations, not the rare ones."
    },
    not_tested="convergence: the networks read a small part of the text; equal steps are not equal time, in which the "
    "adaptive head would read more.",
    note="A training step is compared with one softmax computed a few rows at a time, the faster of its two ways. The "
    "shortlist is a 25th of the vocabulary, the next cluster ends at a fifth (Grave et al. 2016, "
    "https://arxiv.org/abs/1609.04309). Times: medians of rounds, in each of which the shortest of five repeats counts "
    "and the kinds take turns; each seed has its own weights and batch. Words outside of the vocabulary carry no loss. "
    "Rare words are those of the last cluster.",
)
def adaptive_softmax(
    run: Run,
    texts: tuple[str, ...] = ("brown", "state-of-the-union", "wikitext2"),
    vocabularies: tuple[int, ...] = scaled((2_000, 16_000), (4_000, 12_000, 32_000)),
    dim: Several = 128,
    steps: Several = scaled(40, 250),
    rows: Count = 8,
    held_out_rows: Several = scaled(100, 150),
    rounds: Count = scaled(2, 3),
) -> None:
    """Counts, times and memory by vocabulary; losses, overall and on rare words, with the largest."""
    sizes = sorted(vocabularies)
    heads = {size: Heads(word_text(texts, size), dim, rows) for size in sizes}
    largest = heads[sizes[-1]]
    judged = largest.text.held_out
    held_out = list(batches(judged[:: max(len(judged) // held_out_rows, 1)], 8, 0, 0))
    names = {sizes[0]: SMALLEST, sizes[-1]: LARGEST}
    for fixed in run.once():
        mean, groups = operations(largest.text, largest.network(0, "adaptive"))
        run.log(fixed, FULL, {OPERATIONS: largest.text.size * dim})
        run.log(fixed, FREQUENCIES, {NATS: frequency_nats(largest.text, held_out)})
        for condition, value in ((ADAPTIVE, mean), (FREQUENT, groups[0]), (RARE, groups[-1])):
            run.log(fixed, condition, {OPERATIONS: value})
        for size, name in names.items():
            for kind in KINDS:
                run.log(fixed, kind[name], {MEMORY: heads[size].memory(kind.name)})
    for seed in run.seeds:
        for size in sizes:
            _log_times(run, seed, heads[size], rounds, names.get(size))
        _log_losses(run, seed, largest, steps, held_out)


def _log_times(run: Run, seed: int, heads: Heads, rounds: int, name: str | None) -> None:
    for kind, seconds in heads.step_seconds(seed, rounds).items():
        run.log(seed, Condition(kind)[heads.text.size], {STEP: 1e6 * seconds})
        if name:
            run.log(seed, Condition(kind)[name], {STEP: 1e6 * seconds})
    for metric, at_once in ((WRITING, 1), (TOGETHER, 256)) if name else ():
        for kind, seconds in heads.writing_seconds(seed, at_once, rounds).items():
            run.log(seed, Condition(kind)[name], {metric: 1e6 * seconds})


def _log_losses(run: Run, seed: int, heads: Heads, steps: int, held_out: list[Batch]) -> None:
    """Nats a word of held-out text after the same batches, over all words and by how frequent they are."""
    networks = {kind: heads.network(seed, kind.name) for kind in (FULL, ADAPTIVE)}
    config = TrainingConfig(steps=steps, rows=heads.rows, learning_rate=2e-3, warmup=0.1, seed=seed)
    head = networks[ADAPTIVE].head
    assert isinstance(head, AdaptiveSoftmax)
    for kind, network in networks.items():
        fit(network, CausalLM(), heads.text.train, config)
        nats = nats_by_group(network, held_out, group_of(head))
        run.log(seed, kind, {NATS: nats["all"]})
        for group in GROUPS:
            if group in nats:  # a short text may hold out no rare word
                run.log(seed, kind[group], {NATS: nats[group]})
