"""Question 30: does ReLU's derivative, 1 or 0, keep gradients from vanishing, and is it robust?

How much of a gradient reaches the first block of deep networks on real text, by activation: in a plain stack (no
residual stream, no norm, each byte seeing itself alone, so that nothing but the feed-forward acts), and in a
transformer. Then small transformers are trained with each activation: loss, zeros, and units that no text wakes any
more.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from lmworks.evaluation.measurement import Measurement
from lmworks.inside.backward import SLOPES
from lmworks.lab.bench.byte_rows import byte_batch
from lmworks.lab.bench.deep_network import deep_network, gradient_by_block, gradient_chart, reach, reach_by_seed
from lmworks.lab.bench.small_network import (
    WARMUP,
    ByteText,
    bits_per_byte,
    byte_text,
    held_out_logits,
    train,
    windows,
)
from lmworks.lab.registry import experiment
from lmworks.lab.rule import Check, Observation, Rule
from lmworks.lab.scale import Count, Several, scaled
from lmworks.lab.seeds import difference, measured
from lmworks.models.feed_forward import ACTIVATIONS
from lmworks.models.network import Network
from lmworks.tokens.batch import Batch
from lmworks.training.settings import TrainingConfig

KINDS: dict[str, dict[str, Any]] = {
    "sigmoid": {"activation": "sigmoid"},
    "tanh": {"activation": "tanh"},
    "ReLU": {"activation": "relu"},
    "squared ReLU": {"activation": "relu_squared"},
    "GELU": {"activation": "gelu"},
    "SiLU": {"activation": "silu"},
    "SiLU, gated": {"activation": "silu", "gated": True},
    "ReLU, gated": {"activation": "relu", "gated": True},
}
PRODUCTS = ("squared ReLU", "SiLU, gated", "ReLU, gated")
"""Not stable in a plain stack: each block about squares the size of a signal, which is soon nothing or infinite."""
PLAIN: dict[str, Any] = {"norm": "none", "residual": False, "window": 1}
CONTEXT = 32
FEW = 6
"""Blocks after which weights that are too small have left something that can still be measured."""
RATE, HIGH_RATE = 2e-3, 6e-2
ASLEEP = 1e-3
"""A unit whose derivative is below this at every byte learns next to nothing."""

DERIVATIVE = "points where ReLU's derivative is not 1 above 0 and 0 below"
SPARSE = "share of ReLU's results that are zero, trained"
UNSCALED = "gradient that a plain stack carries, powers of ten a block, ReLU, weights of deviation 0.02"
TIME = "time of GELU, forward and backward, by that of ReLU"
PLAIN_GAIN = "gradient that the whole plain stack carries, powers of ten, ReLU minus sigmoid"
TRANSFORMER_GAIN = "gradient that the whole transformer carries, powers of ten, ReLU minus sigmoid"


def plain(kind: str) -> str:
    """The name of what is left of a gradient in a plain stack."""
    return f"gradient that a plain stack carries, powers of ten a block, {kind}"


def asleep(kind: str, rate: float) -> str:
    """The name of the share of units that no text wakes."""
    return f"units asleep on all held-out text, {kind}, learning rate {rate:g}"


@experiment(
    question=30,
    claim="The derivative of ReLU is 1 if x > 0, and 0 otherwise; its sparsity and non-linearity prevent vanishing "
    "gradients, making ReLU computationally efficient and robust for deep LLM training.",
    rule=Rule(
        holds_if=(
            Check(DERIVATIVE, "<", 1),
            Check(PLAIN_GAIN, ">", 1),
            Check(SPARSE, ">", 0.3),
            Check(TIME, ">", 1),
        ),
        only_if=(
            (
                Check(UNSCALED, ">", -0.3),
                "weights are drawn by their width: with a deviation of 0.02 ReLU loses more than half of a gradient a "
                "block",
            ),
            (
                Check(TRANSFORMER_GAIN, ">", 1),
                "there is no residual stream and no norm: with them sigmoid's gradient arrives as well as ReLU's",
            ),
            (
                Check(asleep("ReLU", HIGH_RATE), "<", 0.1),
                "robust is not said of high learning rates, at which a tenth of the units and more fall asleep",
            ),
        ),
    ),
)
def relu(
    text: str = "tinyshakespeare",
    depth: Several = scaled(12, 24),
    dim: Several = 64,
    layers: Several = 4,
    steps: Several = scaled(40, 200),
    held_out_windows: Several = scaled(64, 200),
    rounds: Count = 5,
    seeds: Count = 3,
) -> Observation:
    """Gradients by depth and activation; loss, zeros and sleeping units after training; time of the activation
    itself."""
    data = byte_text(text)
    batches = {seed: byte_batch(data.train, CONTEXT, rows=4, seed=seed) for seed in range(seeds)}
    stack = {
        kind: {seed: _lengths(seed, depth, dim, batch, PLAIN | one) for seed, batch in batches.items()}
        for kind, one in KINDS.items()
        if kind not in PRODUCTS
    }
    whole = {
        kind: {seed: _lengths(seed, depth, dim, batch, one) for seed, batch in batches.items()}
        for kind, one in KINDS.items()
    }
    usual = PLAIN | KINDS["ReLU"] | {"scheme": "normal"}
    unscaled = {seed: reach(_lengths(seed, FEW, dim, batch, usual)) / FEW for seed, batch in batches.items()}
    measurements = [Measurement(name=DERIVATIVE, value=float(wrong_derivatives()))]
    measurements += [
        measured(plain(kind), {seed: reach(lengths) / depth for seed, lengths in by_seed.items()}, ideal=0.0)
        for kind, by_seed in stack.items()
    ]
    measurements.append(measured(UNSCALED, unscaled, ideal=0.0))
    measurements += [
        measured(
            f"gradient that the whole transformer carries, powers of ten, {kind}", reach_by_seed(by_seed), ideal=0.0
        )
        for kind, by_seed in whole.items()
    ]
    for name, found in ((PLAIN_GAIN, stack), (TRANSFORMER_GAIN, whole)):
        measurements.append(difference(name, reach_by_seed(found["ReLU"]), reach_by_seed(found["sigmoid"])))
    measurements += _training(data, steps, layers, dim, held_out_windows, seeds)
    measurements.append(measured(TIME, {number: _time_ratio() for number in range(rounds)}))
    return Observation(
        measurements=tuple(measurements),
        chart=gradient_chart("What is left of a gradient in a plain stack of blocks", stack),
        note=NOTE,
    )


NOTE = (
    "Sparsity does not carry a gradient: half of the ways are cut, and weights larger by the root of 2 make up for it "
    "(He et al. 2015, https://arxiv.org/abs/1502.01852); here each activation has the weights that keep its results' "
    "size. Sigmoid's derivative is at most a quarter, which is what ReLU was to cure (Glorot et al. 2011). Squared and "
    "gated units are left out of the plain stack: each block squares a signal's size, and soon it is nothing or "
    "infinite, which is why such networks have norms. A unit counts as asleep where its derivative is below 0.001 at "
    "every byte of the held-out text; a gated one's is its gate's. Today's large models take gated SiLU or squared "
    "ReLU rather (Shazeer 2020, https://arxiv.org/abs/2002.05202; So et al. 2021, https://arxiv.org/abs/2109.08668). "
    "The time is that of the activation alone, which is a small part of a step."
)


def wrong_derivatives() -> int:
    """Points of a grid where autograd's derivative of the network's ReLU is not the claim's; at 0 it takes 0."""
    x = torch.linspace(-5, 5, 1001, dtype=torch.float64, requires_grad=True)
    [slope] = torch.autograd.grad(ACTIVATIONS["relu"](x).sum(), x)
    return int((slope != torch.where(x > 0, 1.0, 0.0)).sum())


def _network(seed: int, layers: int, dim: int, **settings: Any) -> Network:
    """A gated one has two thirds of the width inside, and so as many weights as the others."""
    hidden = 8 * dim // 3 if settings.get("gated") else 4 * dim
    return deep_network(seed, layers, dim, CONTEXT, hidden_dim=hidden, **settings)


def _lengths(seed: int, layers: int, dim: int, batch: Batch, settings: dict[str, Any]) -> list[float]:
    return gradient_by_block(_network(seed, layers, dim, **settings).double(), batch)


def _training(
    data: ByteText, steps: int, layers: int, dim: int, held_out_windows: int, seeds: int
) -> list[Measurement]:
    """Each activation trained at a usual rate, and some at a high one."""
    runs = [(kind, RATE) for kind in KINDS] + [(kind, HIGH_RATE) for kind in ("ReLU", "squared ReLU", "GELU")]
    loss: dict[tuple[str, float], dict[int, float]] = {one: {} for one in runs}
    sleeping: dict[tuple[str, float], dict[int, float]] = {one: {} for one in runs}
    zeros: dict[int, float] = {}
    for kind, rate in runs:
        for seed in range(seeds):
            network = _network(seed, layers, dim, **KINDS[kind])
            config = TrainingConfig(steps=steps, rows=16, learning_rate=rate, warmup=WARMUP, seed=seed)
            train(network, data.train, config)
            loss[kind, rate][seed] = bits_per_byte(*held_out_logits(network, data.held_out, held_out_windows))
            inner = inner_states(network, data, held_out_windows)
            sleeping[kind, rate][seed] = share_asleep(inner, KINDS[kind]["activation"])
            if (kind, rate) == ("ReLU", RATE):
                zeros[seed] = fmean(float((states <= 0).double().mean()) for states in inner)
    rows = [measured(SPARSE, zeros)]
    for kind, rate in runs:
        rows.append(
            measured(f"held-out text, {kind}, learning rate {rate:g}", loss[kind, rate], "bits/byte", ideal=0.0)
        )
        rows.append(measured(asleep(kind, rate), sleeping[kind, rate], ideal=0.0))
    rows += [
        difference(f"held-out text, {kind} minus ReLU", loss[kind, RATE], loss["ReLU", RATE], "bits/byte")
        for kind in KINDS
        if kind != "ReLU"
    ]
    return rows


@torch.no_grad()
def inner_states(network: Network, data: ByteText, count: int) -> list[Tensor]:
    """By block, what the activation gets at every byte of the held-out text: [bytes, hidden_dim]."""
    seen: list[list[Tensor]] = [[] for _ in network.blocks]

    def reader(layer: int) -> Callable[[nn.Module, Any, Tensor], None]:
        def read(module: nn.Module, inputs: Any, inner: Tensor) -> None:
            gate = inner.chunk(2, dim=-1)[0] if network.config.gated else inner
            seen[layer].append(gate.flatten(0, 1).clone())

        return read

    ups = [block.get_submodule("feed_forward.up") for block in network.blocks]
    handles = [up.register_forward_hook(reader(layer)) for layer, up in enumerate(ups)]
    for rows in windows(data.held_out, CONTEXT, count):
        network.hidden(rows[:, :-1])
    for handle in handles:
        handle.remove()
    return [torch.cat(parts) for parts in seen]


def share_asleep(inner: list[Tensor], activation: str) -> float:
    """The share of units whose derivative is next to nothing at every byte."""
    return fmean(float((SLOPES[activation](states).abs().amax(dim=0) < ASLEEP).double().mean()) for states in inner)


def _time_ratio(repeats: int = 20) -> float:
    """The shortest time of GELU by the shortest of ReLU, in turn, on the states of a small feed-forward."""
    x = torch.randn(512, 1024, generator=torch.Generator().manual_seed(0)).requires_grad_()
    shortest = {"gelu": math.inf, "relu": math.inf}
    for _ in range(repeats):
        for name, before in shortest.items():
            started = time.perf_counter()
            result = ACTIVATIONS[name](x)
            torch.autograd.grad(result, x, x.detach())
            shortest[name] = min(before, time.perf_counter() - started)
    return shortest["gelu"] / shortest["relu"]
