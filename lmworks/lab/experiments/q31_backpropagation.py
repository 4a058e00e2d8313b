"""Question 31: the chain rule, taken layer by layer, is backpropagation, and it is cheap.

The gradients of a network on real text are made by a backward pass that is written out by hand, one line of the chain
rule for each line of the forward (inside/backward.py), block by block from the last to the first, and compared with
autograd and with finite differences. Then what a backward costs beside its forward: operations, time, memory.
"""

from __future__ import annotations

import math
import time
from statistics import fmean
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lmworks.lab.bench.byte_rows import byte_batch
from lmworks.lab.bench.costs import operations, peak_memory
from lmworks.lab.bench.deep_network import deep_network
from lmworks.lab.bench.hand_gradients import error_of_differences, errors_by_block, foretold_by_step
from lmworks.lab.bench.small_network import byte_text
from lmworks.lab.contrast import Condition
from lmworks.lab.experiment import experiment
from lmworks.lab.metric import Metric
from lmworks.lab.parts import Part
from lmworks.lab.pictures import Lines
from lmworks.lab.run import Run
from lmworks.lab.scale import Count, Several, scaled
from lmworks.models.network import Network

KINDS: dict[str, dict[str, Any]] = {
    "RMS norm, gated": {"gated": True, "activation": "silu"},
    "RMS norm, plain": {},
    "layer norm, gated": {"norm": "layer", "gated": True, "activation": "silu"},
    "layer norm, plain": {"norm": "layer", "activation": "relu"},
}
KINK = "layer norm, plain"
"""Has ReLU, over whose kink a finite difference is no derivative."""
TYPES = {"float64": torch.float64, "float32": torch.float32}
CONTEXT = 32

BLOCKS = {name: Condition(f"{name}, blocks come through") for name in TYPES}
HAND, FORWARD, BACKWARD, BOTH = Condition.named("written out", "forward", "backward", "forward and backward")
ALL = {name: HAND[name] for name in TYPES}
ERROR = Metric("largest error against autograd, by a gradient's largest number", ideal=0)
FINITE = Metric("largest error against finite differences", ideal=0)
STEP = Metric("loss taken off by a small step, by what the gradients foretell", ideal=1)
WORK = Metric("multiplications and additions")
TIME = Metric("time", "s")
MEMORY = Metric("memory", "bytes")
WEIGHTS = Metric("weights whose derivative one pass gives")


@experiment(
    31,
    claim="The chain rule enables backpropagation by calculating derivatives of composite functions layer by layer; it "
    "allows the model to update parameters in deep architectures to minimize loss efficiently.",
    parts=(
        Part("derivatives taken layer by layer are autograd's, to rounding", ERROR, ALL["float64"], below=1e-11),
        Part("they are those of finite differences", FINITE, ALL["float64"], below=1e-6),
        Part("a small step down them lowers the loss as they foretell", STEP, ALL["float64"], between=(0.95, 1.05)),
        # Of any function all derivatives cost at most 4 times the function, which is computed on the way (Griewank and
        # Walther 2008, Evaluating Derivatives, section 4.6).
        Part("a backward makes at most 3 times the operations of a forward", WORK, BACKWARD / FORWARD, below=3),
        Part("a backward takes at most 3 times as long as a forward", TIME, BACKWARD / FORWARD, below=3),
    ),
    also=(
        Part("in float32 the derivatives are autograd's to a thousandth", ERROR, ALL["float32"], below=1e-3),
        Part("forward and backward hold at most twice what a forward holds", MEMORY, BOTH / FORWARD, below=2),
    ),
    picture=Lines(
        ERROR,
        of=tuple(BLOCKS.values()),
        x="blocks",
        title="Errors by the blocks come through",
        log_y=True,
    ),
    headlines={
        "yyyyy": "Layer by layer the chain rule gives autograd's gradients, for twice the operations of a forward."
    },
    not_true_when="memory counts: what the forward made has to be kept until the backward has used it",
    not_tested="whether what is learnt is any good: that a gradient is right says nothing of its size (claims 30, 43)",
    note="Four kinds of block on real text; an error is the largest of all weights and kinds. Finite differences, made "
    "where the activation is smooth, need two forwards for each weight; one backward gives all (reverse mode, "
    "Linnainmaa 1970; Rumelhart et al. 1986). Each product of the forward becomes two in the backward, one for its "
    "input and one for its weight. Time is that of PyTorch's own kernels, each seed another run. Memory is counted "
    "from operations, and can be traded for a second forward (Chen et al. 2016, https://arxiv.org/abs/1604.06174).",
)
def backpropagation(
    run: Run,
    text: str = "tinyshakespeare",
    layers: Several = scaled(4, 12),
    dim: Several = 32,
    checked: Count = scaled(20, 60),
    cost_layers: Several = 6,
    cost_dim: Several = 256,
) -> None:
    """Written-out gradients against autograd and finite differences; a backward's cost by its forward's."""
    data = byte_text(text).train
    wide = deep_network(0, cost_layers, cost_dim, 4 * CONTEXT, heads=4)
    wide.attention_kernel = "explicit"  # whose products are counted
    tokens = byte_batch(data, 4 * CONTEXT, rows=4, seed=0).tokens
    for fixed in run.once():
        batch = byte_batch(data, CONTEXT, rows=4, seed=0)
        networks = {name: deep_network(0, layers, dim, CONTEXT, kv_heads=1, **kind) for name, kind in KINDS.items()}
        for name, dtype in TYPES.items():
            each = [errors_by_block(network.to(dtype), batch) for network in networks.values()]
            by_block = [max(layer) for layer in zip(*each, strict=True)]
            run.log(fixed, ALL[name], {ERROR: max(by_block)})
            for through, error in enumerate(reversed(by_block), 1):
                run.log(fixed, BLOCKS[name][through], {ERROR: error})
        exact = {name: network.double() for name, network in networks.items()}
        smooth = (network for name, network in exact.items() if name != KINK)
        finite = max(error_of_differences(network, batch, checked, seed=0) for network in smooth)
        step = fmean(foretold_by_step(network, batch) for network in exact.values())
        run.log(fixed, ALL["float64"], {FINITE: finite, STEP: step})
        _counted(run, wide, tokens)
    for seed in run.seeds:
        for condition, seconds in zip((FORWARD, BACKWARD), _times(wide, tokens), strict=True):
            run.log(seed, condition, {TIME: seconds})


def _forward(network: Network, tokens: Tensor) -> Tensor:
    return F.cross_entropy(network(tokens)[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())


def _counted(run: Run, network: Network, tokens: Tensor) -> None:
    """Operations and memory, which are the same each time."""

    def both() -> None:
        _forward(network, tokens).backward()  # type: ignore[no-untyped-call]
        network.zero_grad()

    def forward() -> Tensor:
        return _forward(network, tokens)

    with torch.no_grad():
        once, alone = operations(forward), peak_memory(forward)
    run.log(None, FORWARD, {WORK: once, MEMORY: alone})
    run.log(None, BACKWARD, {WORK: operations(both) - once, WEIGHTS: sum(one.numel() for one in network.parameters())})
    run.log(None, BOTH, {MEMORY: peak_memory(both)})


def _times(network: Network, tokens: Tensor, repeats: int = 3) -> tuple[float, float]:
    """The shortest forward and the shortest backward of some in turn: what others do on the machine only adds."""
    shortest = (math.inf, math.inf)
    for _ in range(repeats):
        started = time.perf_counter()
        loss = _forward(network, tokens)
        middle = time.perf_counter()
        loss.backward()  # type: ignore[no-untyped-call]
        shortest = min(shortest[0], middle - started), min(shortest[1], time.perf_counter() - middle)
        network.zero_grad()
    return shortest
