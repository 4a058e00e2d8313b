"""Question 14: what does learning a second text cost the first, and do rehearsal, EWC and modules of their own keep it?

A small network learns one text and then another, by each way for as many steps with as many rows. Both texts are judged
before and after. Beside them stands what costs nothing: going part of the way back to the weights before.
"""

from __future__ import annotations

from lmworks.adaptation.elastic import Elastic
from lmworks.adaptation.springs import springs_of
from lmworks.lab.bench.byte_rows import byte_rows
from lmworks.lab.bench.second_texts import (
    CONTEXT,
    FULL,
    NEW,
    OLD,
    TwoTexts,
    beside_the_way_back,
    log,
    lora,
    rehearsed,
)
from lmworks.lab.contrast import Condition
from lmworks.lab.experiment import experiment
from lmworks.lab.metric import Metric
from lmworks.lab.parts import Part, Requirement
from lmworks.lab.pictures import Bars
from lmworks.lab.run import Run
from lmworks.lab.scale import Several, scaled
from lmworks.models.network import Network

BEFORE, NAIVE = Condition.named("before the second text", "nothing kept")
REHEARSAL, SPRINGS, MODULE = WAYS = Condition.named("rehearsal", "elastic weights", "a module of its own")
BACK = Condition("half of the way back")
BESIDE = Metric("forgotten less than on the way back, at equal gain", "bits/byte", margin=0.02)
RANK = 8
"""Of the module."""
FORGETS = (Requirement("without them something is forgotten", OLD, NAIVE - BEFORE, above=0.02),)
LEARNS = Requirement("the second text is learnt", NEW, NAIVE - BEFORE, below=-0.1)


@experiment(
    14,
    claim="Catastrophic forgetting occurs when fine-tuning erases prior knowledge; mitigations are rehearsal (mixing "
    "old and new data), elastic weight consolidation (protecting critical weights) and modular architectures (adding "
    "task-specific modules rather than overwriting weights).",
    parts=(
        Part("learning a second text costs the first", OLD, NAIVE - BEFORE, above=0),
        Part("less is forgotten with rehearsal", OLD, REHEARSAL - NAIVE, below=0, needs=FORGETS),
        Part("less is forgotten with elastic weights", OLD, SPRINGS - NAIVE, below=0, needs=FORGETS),
        Part("less is forgotten with a module of its own", OLD, MODULE - NAIVE, below=0, needs=FORGETS),
    ),
    also=(
        Part("rehearsal forgets less than the way back at equal gain", BESIDE, REHEARSAL, above=0, needs=FORGETS),
        Part("elastic weights forget less than the way back at equal gain", BESIDE, SPRINGS, above=0, needs=FORGETS),
        Part("a module forgets less than the way back at equal gain", BESIDE, MODULE, above=0, needs=FORGETS),
        Part("rehearsal learns as much of the second text", NEW, REHEARSAL - NAIVE, below=0.05),
        Part("elastic weights learn as much of the second text", NEW, SPRINGS - NAIVE, below=0.05),
        Part("a module learns as much of the second text", NEW, MODULE - NAIVE, below=0.05),
    ),
    requires=(LEARNS,),
    headlines={"yyyy": "A second text costs the first; rehearsal, elastic weights and modules each keep more of it."},
    picture=Bars((OLD, NEW), of=(BEFORE, NAIVE, *WAYS, BACK), title="Both texts after the second was learnt"),
    not_true_when="the second text costs the first nothing, as between alike texts and after few steps: there is "
    "nothing to keep",
    not_tested="large models, several tasks in a row, and text that the model writes itself for rehearsal "
    "(`lmworks forget` compares those on a real model)",
    note="A byte-level network of two layers; every way takes as many steps of as many rows as the naive one, so that "
    "rehearsal reads less of the second text. The module is a LoRA of rank 8 on frozen weights, and a router reads "
    "each window's first 16 bytes to tell who reads the rest; those bytes count for no way. Rehearsal: a quarter of "
    "the rows. Elastic weights: Kirkpatrick et al. 2017, https://arxiv.org/abs/1612.00796. The way back: WiSE-FT, "
    "Wortsman et al. 2021, https://arxiv.org/abs/2109.01903.",
    minutes=20,
)
def forgetting(
    run: Run,
    old: str = "tinyshakespeare",
    new: str = "multi30k-validation-de",
    dim: Several = scaled(48, 96),
    steps: Several = scaled(150, 800),
    later: Several = scaled(60, 200),
    windows: Several = scaled(60, 200),
    share: float = 0.25,
    strength: float = 30.0,
    known: Several = scaled(6_400, 12_800),
) -> None:
    """Both texts before and after, by way; the way back beside them. Elastic weights look at `known` bytes of the first
    text."""
    texts = TwoTexts.read(old, new, windows)
    heard = byte_rows(texts.old.train[:known], CONTEXT)
    for seed in run.seeds:
        base = texts.first_learnt(steps, dim, seed)
        second = texts.second(base, later, seed)

        def springs(network: Network, seed: int = seed) -> Elastic:
            return Elastic(springs_of(network, heard, seed), strength)

        naive = second.tuned(FULL)
        mixed = rehearsed(texts.new.train, texts.old.train, share, second.config)
        back = texts.back(base, naive)
        found = {
            BEFORE: texts.scores(base),
            NAIVE: back[-1],
            REHEARSAL: texts.scores(second.tuned(FULL, mixed)),
            SPRINGS: texts.scores(second.tuned(FULL, penalty=springs)),
            MODULE: texts.routed(base, second.tuned(lora(RANK))),
            BACK: back[len(back) // 2],
        }
        log(run, seed, found)
        for condition in WAYS:
            run.log(seed, condition, {BESIDE: beside_the_way_back(found[BEFORE], found[condition], back)})
