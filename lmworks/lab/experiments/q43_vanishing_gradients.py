"""Question 43: attention, residual connections and norms against vanishing gradients, each taken away.

Through depth: how much of a gradient each block of a fresh network lets through, how much shallow and deep ones then
learn, and at which rates, each part taken away in turn (fixed averages over what came before stand in for attention).
Through time: how much of the last byte's gradient reaches bytes far back, in a transformer, an LSTM and a tanh network,
fresh and after training at the rate that suits each.
"""

from __future__ import annotations

from lmworks.lab.bench.byte_rows import byte_batch
from lmworks.lab.bench.deep_network import ARRIVED, EDGE, LEFT, LOST, gradient_by_block, log_arrived
from lmworks.lab.bench.rates import RATE
from lmworks.lab.bench.small_network import byte_text, frequency_bits
from lmworks.lab.bench.taken_away import (
    AVERAGES,
    CONTEXT,
    KINDS,
    NEITHER,
    NO_NORM,
    NO_RESIDUAL,
    WHOLE,
    Trial,
    as_kind,
    fresh,
)
from lmworks.lab.bench.through_time import LONG, LSTM, MEMORIES, TANH, TRANSFORMER, Memories, distances, memory
from lmworks.lab.contrast import Condition
from lmworks.lab.experiment import experiment
from lmworks.lab.metric import Metric
from lmworks.lab.parts import Part, Requirement
from lmworks.lab.pictures import Lines
from lmworks.lab.run import Run
from lmworks.lab.scale import Several, scaled
from lmworks.models.scheme import Scheme
from lmworks.training.loop import DivergedError

USUAL, BY_WIDTH = Condition.named("deviation 0.02", "deviation by width")
DEEP, SHALLOW, FRESH, TRAINED, FREQUENCIES = Condition.named(
    "deep", "two blocks", "fresh", "trained", "byte frequencies"
)
FAR = Metric("gradient 40 to 55 bytes back, by that 1 to 3 back", "powers of ten", margin=0.3)
BITS = Metric("held-out text", "bits/byte", margin=0.02, chance=8, ideal=0)
HIGHEST = Metric("highest learning rate at which it learns", "powers of four", margin=0.5)
SHALLOWEST, EVEN = 2, 8.0
LOWEST, MOST = 4e-3, 5
"""A learning rate at which all learn, and how often it is made four times as large at most."""
SCHEMES: dict[Condition, Scheme] = {USUAL: "normal", BY_WIDTH: "width"}


def _beats(says: str, condition: Condition) -> Requirement:
    return Requirement(f"{says} learns more than byte frequencies", BITS, condition - FREQUENCIES, below=0)


DEPTH_LEARNT = (_beats("the deep network", DEEP[WHOLE]), _beats("without residual a shallow one", SHALLOW[NO_RESIDUAL]))
TIME_LEARNT = tuple(_beats(f"the {one}", TRAINED[one]) for one in MEMORIES)


@experiment(
    43,
    claim="Transformers address vanishing gradients with self-attention (avoiding sequential bottlenecks), residual "
    "connections (direct gradient flow) and layer normalization (stabilizing updates).",
    parts=(
        Part(
            "ten times more of a gradient gets 50 bytes back by fresh self-attention than in a fresh tanh network",
            *(FAR, FRESH[TRANSFORMER] - FRESH[TANH]),
            above=1,
            otherwise="weights are fresh: a tanh network then loses less than a power of ten more in 50 bytes",
        ),
        Part(
            "after training ten times more gets there by self-attention than in a tanh network",
            *(FAR, TRAINED[TRANSFORMER] - TRAINED[TANH]),
            above=1,
            needs=TIME_LEARNT,
            otherwise="the tanh network is trained: it then keeps a gradient nearly as well",
        ),
        Part(
            "with residual connections less of a gradient is lost with each block",
            *(LOST, USUAL[NO_RESIDUAL] - USUAL[WHOLE]),
            above=0,
        ),
        Part(
            "deep networks learn more with residual connections",
            *(BITS, DEEP[NO_RESIDUAL] - DEEP[WHOLE]),
            above=0,
            needs=DEPTH_LEARNT,
        ),
        Part(
            "norms stabilize updates: with them a network learns at higher rates",
            *(HIGHEST, DEEP[WHOLE] - DEEP[NO_NORM]),
            above=0,
        ),
    ),
    also=(
        Part(
            "residual connections bring ten times more to the first block",
            *(ARRIVED, USUAL[WHOLE] - USUAL[NO_RESIDUAL]),
            above=1,
        ),
        Part("they save gradients with weights by width, too", LOST, BY_WIDTH[NO_RESIDUAL] - BY_WIDTH[WHOLE], above=0),
        Part("self-attention saves gradients through depth, too", LOST, USUAL[AVERAGES] - USUAL[WHOLE], above=0),
        Part("norms help at a well chosen rate, too", BITS, DEEP[NO_NORM] - DEEP[WHOLE], above=0, needs=DEPTH_LEARNT),
        Part("without both a deep network learns less", BITS, DEEP[NEITHER] - DEEP[WHOLE], above=0, needs=DEPTH_LEARNT),
        Part(
            "more gets far back than in an LSTM, trained",
            *(FAR, TRAINED[TRANSFORMER] - TRAINED[LSTM]),
            above=0,
            needs=TIME_LEARNT,
        ),
    ),
    picture=Lines(
        LEFT,
        of=tuple(USUAL[kind] for kind in KINDS),
        x="blocks come through",
        title="What is left of a gradient, fresh weights of deviation 0.02",
    ),
    not_true_when="weights keep a signal's size and only a gradient's length is counted: it arrives without residual "
    "connections, too, and in the wrong directions (claim 27)",
    headlines={
        "ny=yy": "Residual connections let deep networks learn and norms let them learn at higher rates; once trained, "
        "attention carries a gradient much further back than a tanh network, fresh it does not. Fresh, residual "
        "connections save no more of a gradient with each block than the margin."
    },
    not_tested="norms on the residual stream itself (Xiong et al. 2020, https://arxiv.org/abs/2002.04745); large depth",
    note="GPT-2 began with a deviation of 0.02; by width, each matrix keeps a signal's size. Learning rates are chosen "
    "for each kind, depth and memory on other text; the highest is made four times as large until a network diverges "
    "or learns no more than byte frequencies. Without residual stream attention averages until all tokens are alike "
    "(Dong et al. 2021, https://arxiv.org/abs/2103.03404). Recurrent networks have one layer; the LSTM was made "
    "against vanishing through time (Hochreiter and Schmidhuber 1997).",
    minutes=45,
)
def vanishing(
    run: Run,
    text: str = "tinyshakespeare",
    depth: Several = scaled(6, 12),
    dim: Several = 48,
    steps: Several = scaled(80, 150),
    rates: tuple[float, ...] = scaled((4e-3,), (2e-3, 4e-3, 8e-3)),
    time_steps: Several = scaled(100, 250),
    time_rates: tuple[float, ...] = scaled((1.6e-2,), (4e-3, 1.6e-2, 3.2e-2)),
) -> None:
    """Gradients by depth, loss and rates with each part taken away; gradients by distance for three memories."""
    data = byte_text(text)
    trial, depths = Trial(data, dim, steps), {SHALLOW: SHALLOWEST, DEEP: depth}
    memories = Memories(data, dim, time_steps)
    chosen = {at[kind]: trial.rate(kind, blocks, rates) for at, blocks in depths.items() for kind in KINDS}
    chosen |= {TRAINED[kind]: memories.rate(kind, time_rates) for kind in MEMORIES}
    for fixed in run.once():
        run.log(fixed, FREQUENCIES, {BITS: frequency_bits(data)})
        for condition, rate in chosen.items():
            run.log(fixed, condition, {RATE: rate})
    for seed in run.seeds:
        batch, far = byte_batch(data.train, CONTEXT, 8, seed), byte_batch(data.held_out, LONG, 16, seed)
        for kind in KINDS:
            for weights, scheme in SCHEMES.items():
                network = fresh(kind, seed, depth, dim, scheme).double()
                with as_kind(kind, network):
                    log_arrived(run, seed, weights[kind], gradient_by_block(network, batch))
            for at, blocks in depths.items():
                _log_bits(run, trial, at[kind], kind, blocks, chosen[at[kind]], seed)
        for kind in (WHOLE, NO_NORM):
            power, endless = trial.highest(kind, depth, seed, LOWEST, MOST)
            run.log(seed, DEEP[kind], {HIGHEST: power}, clamped=endless)
        for kind in MEMORIES:
            learnt = memories.trained(kind, chosen[TRAINED[kind]], seed)
            run.log(seed, TRAINED[kind], {BITS: memories.bits(learnt)})
            for age, network in ((FRESH, memory(kind, dim, seed)), (TRAINED, learnt)):
                share = distances(network, far).far_by_near
                run.log(seed, age[kind], {FAR: share}, clamped=abs(share) >= EDGE)


def _log_bits(run: Run, trial: Trial, at: Condition, kind: str, depth: int, rate: float, seed: int) -> None:
    try:
        run.log(seed, at, {BITS: trial.bits(kind, depth, rate, seed)})
    except DivergedError:  # worse than an even guess, and by how much nobody can say
        run.log(seed, at, {BITS: EVEN}, clamped=True)
