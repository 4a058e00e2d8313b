"""Question 22: several heads look at different things, and are worth having.

A real decoder: how unlike are the patterns of heads in one layer, what is lost without those that copy, which head
follows syntax (from an object to its verb), how many heads can go? And small networks of equally many parameters, whose
width is split into few or many heads, or whose heads share a key: what does the loss say?
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from lmworks.basics.arrays import Int
from lmworks.inside.heads import Head, attention_patterns
from lmworks.lab.bench.continuations import summed
from lmworks.lab.bench.head_links import Halves, beside, look, ranked
from lmworks.lab.bench.head_roles import (
    REPEATED,
    beginnings,
    copiers,
    costs,
    damage,
    distance_of_heads,
    drawn,
    said_twice,
    split_network,
)
from lmworks.lab.bench.small_network import WARMUP, byte_text, frequency_bits, named, train, window_bits
from lmworks.lab.bench.verb_objects import verb_objects
from lmworks.lab.contrast import Condition
from lmworks.lab.experiment import experiment
from lmworks.lab.metric import Metric
from lmworks.lab.parts import Part, Requirement
from lmworks.lab.pictures import Lines
from lmworks.lab.run import Run
from lmworks.lab.scale import Count, Several, scaled
from lmworks.language_model import LanguageModel
from lmworks.models.network import Network
from lmworks.text.sources import read
from lmworks.training.settings import TrainingConfig

SPLITS, MANY, DIM, CONTEXT = (1, 2, 4, 8), 8, 96, 64
COPIES, DRAWS, SPARE, CHOOSING = 5, 5, 5, 4
"""Heads that copy most and go together; draws of as many others; one head in this many is spared; texts that choose."""
HEADS, ONE_KEY, FREQUENCIES, REAL, FRESH, TRAINED = Condition.named(
    "heads",
    "8 heads on 1 key",
    "byte frequencies",
    "real decoder",
    "small network, untrained",
    "small network, trained",
)
ALL, COPIERS, OTHERS, LEAST, RANDOM = Condition.named(
    "all heads",
    "without those that copy",
    "without as many others",
    "without the least needed fifth",
    "without any fifth",
)
SYNTAX, COPIER = Condition.named("the head that links best", "the head that copies best")
TEXT = Metric("held-out text", "bits/byte", margin=0.02, chance=8.0)
UNLIKE = Metric("distance of two heads' patterns in a layer (0 alike, 1 disjoint)")
# 0.02 bits a byte, at about five bytes a token.
COPYING = Metric("random tokens said again", "bits/token", margin=0.1)
READING = Metric("real text", "bits/token", margin=0.1)
LINKED = Metric("objects whose verb is found", margin=0.02, ideal=1)
LEARNT = Requirement("a network of one head beats byte frequencies", TEXT, HEADS[1] - FREQUENCIES, below=0)


@experiment(
    22,
    claim="Multi-head attention splits queries, keys and values into several subspaces, which lets the model focus on "
    "different aspects of the input at once (one head for syntax, another for semantics).",
    parts=(
        # Half of the weight elsewhere would be 0.5; 0.2 is ten times what heads of an untrained network differ by.
        Part("the heads of a layer look at different tokens", UNLIKE, REAL, above=0.2),
        Part("some heads copy: copying suffers more without them", COPYING, COPIERS - OTHERS, above=0),
        Part(
            "one follows syntax: it finds verbs of objects that the copying head does not",
            LINKED,
            SYNTAX - COPIER,
            above=0,
        ),
        Part("a width in 4 heads learns more than in one", TEXT, HEADS[4] - HEADS[1], below=0, needs=(LEARNT,)),
    ),
    also=(
        Part("8 heads with keys of their own learn more than on one", TEXT, HEADS[8] - ONE_KEY, below=0),
        Part("a fifth of the heads can go for 0.1 bits a token", READING, LEAST - ALL, below=0.1),
        Part("choosing which can go is worth it", READING, LEAST - RANDOM, below=0),
        Part("training makes heads different", UNLIKE, TRAINED - FRESH, above=0),
    ),
    picture=Lines(TEXT, of=(HEADS,), x="heads", title="Held-out text by heads, equal parameters", log_x=True),
    headlines={"yyyy": "Heads do different work: some copy, one follows syntax, and four heads learn more than one."},
    not_tested="a head for semantics; several runs of the real decoder",
    note="A head is taken away by setting what it mixes to zero. Heads are chosen on other texts than they are judged "
    "on; intervals are over documents, random texts or seeds. Small networks have as many parameters whatever their "
    "heads: what shared keys save goes into the feed-forward. A pattern's distance is half the sum of absolute "
    "differences of weights. Heads that copy look after an earlier occurrence of the present token (Olsson et al. "
    "2022, https://arxiv.org/abs/2209.11895). That most heads can go one by one: Michel et al. 2019, "
    "https://arxiv.org/abs/1905.10650.",
    minutes=40,
)
def heads(
    run: Run,
    model: str = "smollm2",
    text: str = "wikitext2",
    tokens: Several = scaled(64, 128),
    texts: Several = scaled(6, 24),
    every: Count = scaled(10, 2),
    clauses: Several = scaled(48, 320),
    learnt: str = "tinyshakespeare",
    steps: Several = scaled(200, 1000),
    held_out_windows: Several = scaled(32, 200),
) -> None:
    """Patterns, roles and removal of a real decoder's heads; loss of small networks by heads and by shared keys."""
    data = byte_text(learnt)
    for fixed in run.once():
        run.log(fixed, FREQUENCIES, {TEXT: frequency_bits(data)})
        reader = LanguageModel.load(model, compress="none")
        documents = read(text).documents
        choose, _ = beginnings(reader, documents[::2], tokens, CHOOSING)
        judge, names = beginnings(reader, documents[1::2], tokens, texts)
        patterns = attention_patterns(reader.network, judge)
        run.log(fixed, REAL, {UNLIKE: [distance_of_heads(patterns[:, [at]]) for at in range(len(names))]}, names)
        copying = copiers(reader.network, 0, COPIES)
        others = [beside(reader, copying, draw) for draw in range(DRAWS)]
        twice = said_twice(reader.network, 1, 2 * texts)
        gone: dict[Condition, list[list[Head]]] = {ALL: [[]], COPIERS: [copying], OTHERS: others}
        _log_without(run, fixed, COPYING, reader.network, twice, named(twice, "random text"), gone, REPEATED)
        _log_syntax(run, fixed, reader, copying[0], clauses)
        layers = range(0, reader.network.config.layers, every)
        chosen = [(layer, head) for layer in layers for head in range(reader.network.config.heads)]
        needed, count = damage(reader.network, choose, chosen), max(len(chosen) // SPARE, 1)
        spared = sorted(chosen, key=needed.__getitem__)[:count]
        random = [drawn(chosen, count, draw) for draw in range(DRAWS)]
        gone = {ALL: [[]], LEAST: [spared], RANDOM: random}
        _log_without(run, fixed, READING, reader.network, judge, names, gone)
    for seed in run.seeds:
        config = TrainingConfig(steps=steps, rows=16, learning_rate=3e-3, warmup=WARMUP, seed=seed)
        ways = {**{HEADS[split]: (split, split) for split in SPLITS}, ONE_KEY: (MANY, 1)}
        for condition, shape in ways.items():
            network = split_network(seed, DIM, *shape, CONTEXT)
            sample = data.held_out[: 4 * CONTEXT].view(4, CONTEXT)
            if shape == (MANY, MANY):
                run.log(seed, FRESH, {UNLIKE: distance_of_heads(attention_patterns(network, sample))})
            train(network, data.train, config)
            if shape == (MANY, MANY):
                run.log(seed, TRAINED, {UNLIKE: distance_of_heads(attention_patterns(network, sample))})
            bits = window_bits(network, data.held_out, held_out_windows)
            run.log(seed, condition, {TEXT: bits}, named(bits))


def _log_without(
    run: Run,
    fixed: None,
    metric: Metric,
    network: Network,
    rows: Int[Tensor, "batch seq"],
    names: Sequence[str],
    gone: Mapping[Condition, Sequence[Sequence[Head]]],
    start: int = 0,
) -> None:
    """What rows cost from place `start` on without the heads of each draw: the mean over draws, row by row."""
    for condition, draws in gone.items():
        run.log(fixed, condition, {metric: np.mean([costs(network, rows, some, start) for some in draws], 0)}, names)


def _log_syntax(run: Run, fixed: None, reader: LanguageModel, copier: Head, clauses: int) -> None:
    """How often the head that links best on some documents, and the best copier, find an object's verb on others."""
    sample = Halves.of(list(verb_objects(read("brown-tagged").documents)), clauses, clauses)
    syntax = ranked(look(reader, sample.choose).scores)[0]
    scores, sources = look(reader, sample.judge).scores, [clause.source for clause in sample.judge]
    for condition, (layer, head) in ((SYNTAX, syntax), (COPIER, copier)):
        rows = summed([[one, 1.0] for one in scores[:, layer, head].tolist()], sources)
        run.log(fixed, condition, {LINKED: rows}, list(dict.fromkeys(sources)))
