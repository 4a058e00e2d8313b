"""Question 24: the scaled dot product measures relevance, and costs the square of the length.

Four parts: what the root of d does to scores and gradients (random vectors); whether a small network,
trained on real text, can do without it; whether its high scores are the relevant ones (they are taken
away, against as many taken at random); time and memory by length, fused against explicit.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable

import torch
from torch import Tensor

from lmworks.basics import progress
from lmworks.evaluation.measurement import Measurement
from lmworks.lab.bench.costs import exponent, peak_memory
from lmworks.lab.bench.small_network import (
    WARMUP,
    ByteText,
    bits_per_byte,
    byte_text,
    held_out_logits,
    small_network,
    train,
)
from lmworks.lab.chart import Chart, Series
from lmworks.lab.registry import experiment
from lmworks.lab.rule import Check, Observation, Rule
from lmworks.lab.scale import Count, Several, scaled
from lmworks.lab.seeds import difference, measured
from lmworks.models.attention import Kernel, attend, attention_pattern
from lmworks.models.hooks import hook_points, hooked
from lmworks.models.masks import visibility
from lmworks.models.network import Network
from lmworks.training.settings import TrainingConfig

GROWTH = "variance of q.k grows with d to the power"
VARIANCE = "variance of q.k / sqrt(d), d = 1,024"
PEAK, SCALED_PEAK = "largest weight among 64 keys, d = 1,024, without the root", "the same with the root"
GRADIENT = "gradient that the pattern lets through, with the root by without, d = 1,024"
TRAINED, UNSCALED = "held-out text, trained with the root", "held-out text, trained without"
COST = "without the root minus with it"
RELEVANT = "loss by taking the highest-scored keys away, minus as many at random"
ROUNDS = 5
"""Timings vary more than anything else here."""
KERNELS: tuple[Kernel, Kernel] = ("explicit", "fused")
TIME = {kernel: f"time grows with length to the power, {kernel}" for kernel in KERNELS}
MEMORY = {kernel: f"memory grows with length to the power, {kernel}" for kernel in KERNELS}


@experiment(
    question=24,
    claim="The dot product of query and key, Q.K / sqrt(d_k), measures similarity; high scores indicate "
    "relevant tokens; while efficient, its complexity is quadratic, O(n^2).",
    rule=Rule(
        holds_if=(
            Check(GROWTH, ">", 0.9),
            Check(GROWTH, "<", 1.1),
            Check(VARIANCE, ">", 0.9),
            Check(VARIANCE, "<", 1.1),
            Check(GRADIENT, ">", 2),
            Check(RELEVANT, ">", 0),
            Check(TIME["explicit"], ">", 1.6),
            Check(TIME["fused"], ">", 1.6),
            Check(MEMORY["explicit"], ">", 1.6),
        ),
        only_if=(
            (
                Check(MEMORY["fused"], ">", 1.6),
                "quadratic is said of time, not of memory (a fused kernel never stores the scores)",
            ),
        ),
    ),
)
def dot_product(
    text: str = "tinyshakespeare",
    steps: Several = scaled(120, 500),
    dim: Several = 128,
    context: Several = 128,
    held_out_windows: Several = scaled(64, 400),
    taken: Count = 4,
    longest: Several = scaled(4096, 8192),
    seeds: Count = scaled(3, 5),
) -> Observation:
    """Variance, saturation, trained loss, relevance of high scores, exponents of time and memory."""
    start = [_at_start(seed) for seed in range(seeds)]
    laws = [
        measured(name, {seed: one[name] for seed, one in enumerate(start)})
        for name in (GROWTH, VARIANCE, PEAK, SCALED_PEAK, GRADIENT)
    ]
    data = byte_text(text)
    bits: dict[str, dict[int, float]] = {TRAINED: {}, UNSCALED: {}}
    relevance: dict[int, float] = {}
    for seed in range(seeds):
        config = TrainingConfig(steps=steps, rows=16, learning_rate=2e-3, seed=seed, warmup=WARMUP)
        with_root, without = (small_network(seed, dim=dim, heads=1, context=context) for _ in range(2))
        train(with_root, data.train, config)
        bits[TRAINED][seed] = bits_per_byte(*held_out_logits(with_root, data.held_out, held_out_windows))
        relevance[seed] = _relevance(with_root, data, taken, seed, min(held_out_windows, 64))
        with without_root(without):
            train(without, data.train, config)
            bits[UNSCALED][seed] = bits_per_byte(*held_out_logits(without, data.held_out, held_out_windows))
    trained = [measured(name, by_seed, "bits/byte", ideal=0.0) for name, by_seed in bits.items()]
    trained += [
        difference(COST, bits[UNSCALED], bits[TRAINED], "bits/byte"),
        measured(RELEVANT, relevance, "bits/byte", chance=0.0, difference=True),
    ]
    costs, chart = _costs([longest // 8, longest // 4, longest // 2, longest], max(seeds, ROUNDS))
    return Observation(measurements=(*laws, *trained, *costs), chart=chart, note=NOTE)


def _costs(lengths: list[int], rounds: int) -> tuple[list[Measurement], Chart]:
    """Exponents of time and memory, fitted without the shortest length, and the chart of the times."""
    seconds: dict[Kernel, list[list[float]]] = {kernel: [] for kernel in KERNELS}
    with progress.task("time by length", rounds, "rounds") as advance:
        for _ in range(rounds):
            for kernel in KERNELS:
                seconds[kernel].append([_seconds(kernel, length) for length in lengths])
            advance(1)
    found = [
        measured(TIME[kernel], {at: exponent(lengths[1:], one[1:]) for at, one in enumerate(seconds[kernel])})
        for kernel in KERNELS
    ]
    for kernel in KERNELS:
        with torch.no_grad():
            bytes_held = [float(peak_memory(_call(kernel, length))) for length in lengths[1:]]
        found.append(Measurement(name=MEMORY[kernel], value=exponent(lengths[1:], bytes_held)))
    shortest = {kernel: [1000 * min(each) for each in zip(*seconds[kernel], strict=True)] for kernel in KERNELS}
    chart = Chart(
        kind="line",
        title="One attention call, 4 heads of 64, by length",
        log_x=True,
        log_y=True,
        x_label="tokens",
        y_label="milliseconds",
        series=tuple(
            Series(name=kernel, x=tuple(map(float, lengths)), y=tuple(shortest[kernel])) for kernel in KERNELS
        ),
    )
    return found, chart


NOTE = (
    "The root keeps the scores' variance at 1 whatever d is; without it softmax starts nearly one-hot and"
    " passes little gradient (Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.2.1, "
    "footnote 4). A network can learn smaller queries instead, at least in part, so the difference after "
    "training is shown and does not decide. Time and memory are those of one attention call without "
    "projections. Its memory is linear in the fused kernel (Rabe and Staats 2021, "
    "https://arxiv.org/abs/2112.05682; Dao et al. 2022, https://arxiv.org/abs/2205.14135)."
)


def _at_start(seed: int) -> dict[str, float]:
    """Scores of random vectors: variance by dimension, saturation and gradient of the pattern."""
    generator = torch.Generator().manual_seed(seed)
    dims, variances = [16, 64, 256, 1024], []
    for d in dims:
        query, keys = torch.randn(512, d, generator=generator), torch.randn(64, d, generator=generator)
        scores = query @ keys.mT
        variances.append(float(scores.var()))
    patterns = attention_pattern(scores), attention_pattern(scores / math.sqrt(dims[-1]))
    # The softmax's own derivative for one score, p (1 - p): what is near 0 or 1 learns nothing.
    passed = [float((pattern * (1 - pattern)).sum(dim=1).mean()) for pattern in patterns]
    return {
        GROWTH: exponent(dims, variances),
        VARIANCE: variances[-1] / dims[-1],
        PEAK: float(patterns[0].amax(dim=1).mean()),
        SCALED_PEAK: float(patterns[1].amax(dim=1).mean()),
        GRADIENT: passed[1] / passed[0],
    }


def without_root(network: Network) -> contextlib.AbstractContextManager[None]:
    """The network with queries multiplied by sqrt(head_dim), which takes the division away again."""
    root = math.sqrt(network.config.head_dim)
    queries = [path for path in hook_points(network) if path.endswith("attention.query")]
    return hooked(network, {path: lambda query: query * root for path in queries})


def _relevance(network: Network, data: ByteText, taken: int, seed: int, count: int) -> float:
    """Bits per byte lost by hiding each query's `taken` highest-scored keys, minus as many random ones."""
    generator = torch.Generator().manual_seed(seed)

    def hide(order: Callable[[Tensor], Tensor]) -> float:
        def edit(scores: Tensor) -> Tensor:
            ranked = order(scores).masked_fill(scores == -torch.inf, -torch.inf)
            hidden = ranked.topk(min(taken, scores.shape[-1]), dim=-1).indices
            changed = scores.scatter(-1, hidden, -torch.inf)
            # The first tokens see too few keys to lose any: they keep what they had.
            enough = (scores > -torch.inf).sum(dim=-1, keepdim=True) > 2 * taken
            return torch.where(enough, changed, scores)

        paths = [path for path in hook_points(network) if path.endswith("attention.scores")]
        with hooked(network, dict.fromkeys(paths, edit)):
            return bits_per_byte(*held_out_logits(network, data.held_out, count))

    return hide(lambda scores: scores) - hide(lambda scores: torch.rand(scores.shape, generator=generator))


def _call(kernel: Kernel, length: int) -> Callable[[], Tensor]:
    query, key, value = torch.randn(3, 1, 4, length, 64, generator=torch.Generator().manual_seed(0))
    sees = visibility(length, length, None)
    return lambda: attend(query, key, value, sees, kernel)


@torch.no_grad()
def _seconds(kernel: Kernel, length: int, repeats: int = 3) -> float:
    """The shortest of some calls: what others do on the machine only adds."""
    call = _call(kernel, length)
    call()
    shortest = math.inf
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        shortest = min(shortest, time.perf_counter() - start)
    return shortest
