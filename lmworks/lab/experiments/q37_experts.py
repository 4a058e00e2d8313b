"""Question 37: a mixture of experts against dense networks that use, or that hold, as many parameters.

How many parameters and multiplications a token takes is counted; how long it takes is measured on networks of growing
width. Then the three are trained on the same bytes of real text.
"""

from __future__ import annotations

from statistics import fmean

from lmworks.lab.bench.mixtures import (
    CONTEXT,
    EXPERTS,
    WAYS,
    Shape,
    cpu_seconds,
    loads,
    multiplications,
    trained,
)
from lmworks.lab.bench.small_network import (
    WARMUP,
    byte_text,
    frequency_bits,
    named,
    window_bits,
    windows,
)
from lmworks.lab.contrast import Condition
from lmworks.lab.experiment import experiment
from lmworks.lab.metric import Metric
from lmworks.lab.parts import Part, Requirement
from lmworks.lab.pictures import Lines
from lmworks.lab.run import Run
from lmworks.lab.scale import Count, Several, scaled
from lmworks.models.network import Network
from lmworks.training.settings import TrainingConfig

SAME_LOAD, MIXTURE, SAME_SIZE = OF = Condition.named(*WAYS)
FREQUENCIES = Condition("byte frequencies")
TIMED_ROWS, ROUNDS = 16, 5
ALL, USED = Metric("parameters"), Metric("parameters that one token uses")
SHARE = Metric("share of the parameters that one token uses")
WORK = Metric("multiplications of a byte")
TIME = Metric("CPU time of a byte, forward", "us")
BITS = Metric("held-out text", "bits/byte", margin=0.02, chance=8, ideal=0)
BUSIEST, IDLEST = (Metric(f"load of the {one} expert over an even load", ideal=1) for one in ("busiest", "idlest"))
LEARNT = (
    Requirement("the small dense network beats byte frequencies", BITS, SAME_LOAD["trained"] - FREQUENCIES, below=0),
)


@experiment(
    37,
    claim="MoE uses a gating function to activate only specific expert sub-networks for a given input; a model may "
    "have billions of parameters while only using a fraction per query, which reduces the computational load.",
    parts=(
        Part("a token uses a fifth of the parameters at most", SHARE, MIXTURE, below=0.2),
        Part(
            "a token takes at most half the multiplications of a network that uses all",
            *(WORK, MIXTURE / SAME_SIZE),
            below=0.5,
        ),
        Part(
            "a token takes less time than in a network that uses all",
            *(TIME, MIXTURE / SAME_SIZE),
            below=1,
            margin=0.05,
            otherwise="sorting tokens by expert costs as much time as multiplications are saved",
        ),
        Part(
            "it learns more than a dense network of the same load",
            *(BITS, MIXTURE["trained"] - SAME_LOAD["trained"]),
            below=0,
            needs=LEARNT,
        ),
    ),
    also=(
        Part(
            "it learns as much as a dense network of the same size",
            *(BITS, MIXTURE["trained"] - SAME_SIZE["trained"]),
            below=0.02,
            needs=LEARNT,
        ),
        Part("it takes no more time than a dense network of the same load", TIME, MIXTURE / SAME_LOAD, below=1.05),
    ),
    picture=Lines(TIME, of=OF, x="width", title="Time of a byte by the width of the network", log_x=True, log_y=True),
    not_true_when="memory is what is short: all parameters must be held, used or not",
    headlines={
        "yyyy": "Yes: experts let a token use a fraction of the parameters, multiplications and time, and learn more "
        "than a dense network of the same load."
    },
    not_tested="billions of parameters; many machines, between which tokens travel to their experts",
    note="Two blocks, 32 experts of which a token uses two, together as wide inside as the network; 16 where they "
    "are trained. Multiplications are those of all products, as PyTorch counts them; parameters, multiplications and "
    "time of the parts are of the widest network. Rows are sorted by expert, and each expert multiplies its own at "
    "once; time is the least of several passes of 16 x 64 bytes in float32. Training: equal bytes, steps and learning "
    "rate, at width 256; experts with the balancing loss of Fedus et al. 2021 (https://arxiv.org/abs/2101.03961), "
    "loads are of held-out text.",
    minutes=45,
)
def mixture(
    run: Run,
    text: str = "wikitext2",
    steps: Several = scaled(300, 400),
    rows: Count = 8,
    dim: Several = scaled(64, 256),
    experts: Several = 32,
    trained_experts: Several = 16,
    widths: tuple[int, ...] = scaled((64, 128), (64, 128, 256, 512)),
    rate: float = 2e-3,
    held_out_windows: Several = scaled(100, 500),
) -> None:
    """Parameters, multiplications and time of each way by width; loss and loads after training."""
    data = byte_text(text)
    timed = next(windows(data.held_out, CONTEXT, TIMED_ROWS, TIMED_ROWS))[:, :-1]
    for fixed in run.once():
        run.log(fixed, FREQUENCIES, {BITS: frequency_bits(data)})
        for way in WAYS:
            shape = Shape(max(widths), experts)
            counted, work = shape.parameters(way), multiplications(Network(shape.config(way)).initialise(0), timed)
            values = {ALL: counted.base, USED: counted.active, SHARE: counted.active / counted.base, WORK: work}
            run.log(fixed, way, values)
    for seed in run.seeds:
        for width in sorted(widths):
            networks = {way: Network(Shape(width, experts).config(way)).initialise(seed) for way in WAYS}
            for way, seconds in cpu_seconds(networks, timed, ROUNDS).items():
                run.log(seed, Condition(way)[width], {TIME: 1e6 * seconds})
                if width == max(widths):
                    run.log(seed, way, {TIME: 1e6 * seconds})
        config = TrainingConfig(steps=steps, rows=rows, learning_rate=rate, warmup=WARMUP, seed=seed)
        for way in WAYS:
            network = trained(Shape(dim, trained_experts), way, data.train, config)
            bits = window_bits(network, data.held_out, held_out_windows)
            run.log(seed, Condition(way)["trained"], {BITS: bits}, items=named(bits))
            if way == EXPERTS:
                by_layer = loads(network, data.held_out)
                ends = {BUSIEST: fmean(one[0] for one in by_layer), IDLEST: fmean(one[-1] for one in by_layer)}
                run.log(seed, way, ends)
