"""Question 24: the scaled dot product measures relevance, and costs the square of the length.

The law: what the root of d does to scores and gradients of random vectors. The trained effect: a small network's
highest-scored keys are taken away, against as many taken at random; and it is trained without the root. The cost: time
and memory by length, of the kernel that holds every score and of the fused one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch
from torch import Tensor

from lmworks.lab.bench.attention_edits import without_keys, without_root
from lmworks.lab.bench.costs import exponent, peak_memory
from lmworks.lab.bench.small_network import WARMUP, byte_text, frequency_bits, named, small_network, train, window_bits
from lmworks.lab.contrast import Condition
from lmworks.lab.experiment import experiment
from lmworks.lab.metric import Metric
from lmworks.lab.parts import Part, Requirement
from lmworks.lab.pictures import Lines
from lmworks.lab.run import Run
from lmworks.lab.scale import Count, Several, scaled
from lmworks.models.attention import Kernel, attend, attention_pattern
from lmworks.models.masks import visibility
from lmworks.training.settings import TrainingConfig

KERNELS: tuple[Kernel, Kernel] = ("explicit", "fused")
EXPLICIT, FUSED = Condition.named(*KERNELS)
ROOT, PLAIN, FREQUENCIES = Condition.named("with the root", "without the root", "byte frequencies")
TOP, RANDOM = Condition.named("highest-scored keys taken away", "as many at random taken away")
SPREAD = Metric("variance of the scores grows with d to the power")
GRADIENT = Metric("gradient that the pattern lets through, d = 1,024")
TEXT = Metric("held-out text", "bits/byte", margin=0.02, chance=8.0)
TIME = Metric("time grows with length to the power")
MEMORY = Metric("memory grows with length to the power")
CALL = Metric("one attention call, 4 heads of 64", "ms")
LEARNT = Requirement("the network beats byte frequencies", TEXT, ROOT - FREQUENCIES, below=0)


@experiment(
    24,
    claim="The dot product of query and key, Q.K / sqrt(d_k), measures similarity; high scores indicate relevant "
    "tokens; while efficient, its complexity is quadratic, O(n^2).",
    parts=(
        Part("divided by the root of d, scores spread as far in any dimension", SPREAD, ROOT, between=(-0.1, 0.1)),
        Part(
            "keys with high scores are the relevant ones: text suffers more without them",
            *(TEXT, TOP - RANDOM),
            above=0,
            needs=(LEARNT,),
        ),
        # Between linear and quadratic, with room for what is linear in a call (reading and writing its tokens).
        Part("time grows with the square of the length", TIME, FUSED, above=1.6),
        Part(
            "and memory, too",
            *(MEMORY, FUSED),
            above=1.6,
            otherwise="memory is meant: a fused kernel never stores the scores, and its memory is linear",
        ),
    ),
    also=(
        Part("without the root their variance grows with d", SPREAD, PLAIN, between=(0.9, 1.1)),
        Part("with the root the pattern lets more gradient through", GRADIENT, ROOT / PLAIN, above=1),
        Part("a network trained with the root learns more", TEXT, ROOT - PLAIN, below=0, needs=(LEARNT,)),
        Part("time grows with the square where every score is held", TIME, EXPLICIT, above=1.6),
        Part("memory grows with the square where every score is held", MEMORY, EXPLICIT, above=1.6),
    ),
    picture=Lines(CALL, of=(EXPLICIT, FUSED), x="tokens", title="Time of an attention call", log_x=True, log_y=True),
    headlines={
        "yyyn": "Scores find what matters, at any dimension, in quadratic time; memory is quadratic only where they "
        "are all stored."
    },
    not_tested="that it is efficient beside other measures of similarity, additive attention say",
    note="The root keeps the scores' variance at 1 whatever d is; without it softmax begins nearly one-hot and passes "
    "little gradient (Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.2.1, footnote 4). A network can "
    "learn smaller queries instead, at least in part. Networks of 2 layers over bytes, one head each, AdamW. Time and "
    "memory are of one call without projections; exponents are fitted without the shortest length. Linear memory: Rabe "
    "and Staats 2021, https://arxiv.org/abs/2112.05682; Dao et al. 2022, https://arxiv.org/abs/2205.14135.",
)
def dot_product(
    run: Run,
    text: str = "tinyshakespeare",
    steps: Several = scaled(150, 300),
    dim: Several = 128,
    context: Several = 128,
    held_out_windows: Several = scaled(32, 100),
    taken: Count = 4,
    longest: Several = scaled(4096, 8192),
) -> None:
    """Variance and saturation, trained loss, relevance of high scores, exponents of time and memory."""
    lengths = [longest // 8, longest // 4, longest // 2, longest]
    data = byte_text(text)
    for fixed in run.once():
        run.log(fixed, FREQUENCIES, {TEXT: frequency_bits(data)})
        for kernel in KERNELS:
            held = [float(peak_memory(_call(kernel, length))) for length in lengths[1:]]
            run.log(fixed, kernel, {MEMORY: exponent(lengths[1:], held)})
    for seed in run.seeds:
        _log_scores(run, seed)
        config = TrainingConfig(steps=steps, rows=16, learning_rate=2e-3, seed=seed, warmup=WARMUP)
        with_root, without = (small_network(seed, dim=dim, heads=1, context=context) for _ in range(2))
        train(with_root, data.train, config)
        bits = {ROOT: window_bits(with_root, data.held_out, held_out_windows)}
        bits |= {TOP: without_keys(with_root, data.held_out, held_out_windows, taken)}
        bits |= {RANDOM: without_keys(with_root, data.held_out, held_out_windows, taken, seed)}
        with without_root(without):
            train(without, data.train, config)
            bits[PLAIN] = window_bits(without, data.held_out, held_out_windows)
        for condition, values in bits.items():
            run.log(seed, condition, {TEXT: values}, items=named(values))
        for kernel in KERNELS:
            seconds = [_seconds(kernel, length) for length in lengths]
            run.log(seed, kernel, {TIME: exponent(lengths[1:], seconds[1:])})
            for length, each in zip(lengths, seconds, strict=True):
                run.log(seed, f"{kernel} {length}", {CALL: 1000 * each})


def _log_scores(run: Run, seed: int) -> None:
    """Scores of random vectors: how their variance grows with the dimension, and the gradient of the pattern."""
    generator = torch.Generator().manual_seed(seed)
    dims = [16, 64, 256, 1024]
    for condition in (ROOT, PLAIN):
        variances = []
        for d in dims:
            query, keys = torch.randn(512, d, generator=generator), torch.randn(64, d, generator=generator)
            scores = query @ keys.mT / (math.sqrt(d) if condition == ROOT else 1)
            variances.append(float(scores.var()))
        pattern = attention_pattern(scores)
        # The softmax's own derivative for one score, p (1 - p): what is near 0 or 1 learns nothing.
        passed = float((pattern * (1 - pattern)).sum(dim=1).mean())
        run.log(seed, condition, {SPREAD: exponent(dims, variances), GRADIENT: passed})


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
