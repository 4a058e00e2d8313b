"""Question 27: Jacobians carry gradients back through the blocks.

In float64, on real text: is a block's Jacobian that of finite differences; is the product of all blocks' Jacobians what
takes the gradient from the last block to the first, and so the gradient of the first block's weights; what would it
cost to form them. Then their singular values, by depth, with and without norm and residual stream, fresh and trained.
"""

from __future__ import annotations

import time
from statistics import fmean
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lmworks.basics import progress
from lmworks.inside.jacobians import Span, blocks_at
from lmworks.lab.bench.byte_rows import byte_batch
from lmworks.lab.bench.deep_network import deep_network, logarithm
from lmworks.lab.bench.small_network import WARMUP, ByteText, bits_per_byte, byte_text, held_out_logits, train
from lmworks.lab.chart import Chart, Series
from lmworks.lab.registry import experiment
from lmworks.lab.rule import Check, Observation, Rule
from lmworks.lab.scale import Count, Several, scaled
from lmworks.lab.seeds import measured
from lmworks.models.network import Network
from lmworks.objectives import CausalLM
from lmworks.objectives.gradients import activation_gradients
from lmworks.tokens.batch import Batch
from lmworks.training.settings import TrainingConfig

Matrix = Float[Tensor, "outputs inputs"]

KINDS: dict[str, dict[str, Any]] = {
    "residual and norm": {},
    "residual alone": {"norm": "none"},
    "norm alone": {"residual": False},
    "neither": {"norm": "none", "residual": False},
}
AGES = ("fresh", "trained")
CONTEXT = 32
TEXTS = 2
"""Texts whose Jacobians are formed for each network."""
NEGLIGIBLE = 0.01
"""Of the largest singular value; directions below are as good as lost."""

FINITE = "largest error of a block's Jacobian against finite differences"
CHAIN = "error of the product of Jacobians against the end-to-end gradient"
WEIGHTS = "error of the first block's weight gradients through the product"
FORMED = "time to form the Jacobian of all blocks by that of one backward"


def carried(kind: str, age: str) -> str:
    """The name of the size of the whole stack's Jacobian."""
    return f"all blocks' Jacobian, root mean square singular value, powers of ten, {kind}, {age}"


def kept(kind: str, age: str) -> str:
    """The name of the share of directions that come through the whole stack."""
    return f"directions that all blocks keep above {NEGLIGIBLE:g} of the largest, {kind}, {age}"


@experiment(
    question=27,
    claim="The Jacobian matrix captures partial derivatives of outputs with respect to inputs; it helps compute "
    "gradients for multidimensional outputs, ensuring accurate weight updates in complex transformer architectures.",
    rule=Rule(
        holds_if=(
            Check(FINITE, "<", 1e-6),
            Check(CHAIN, "<", 1e-9),
            Check(WEIGHTS, "<", 1e-9),
        ),
        only_if=(
            (
                Check(FORMED, "<", 2),
                "it is never formed: backpropagation multiplies a gradient with it, block by block, which is cheaper",
            ),
            (
                Check(kept("norm alone", "fresh"), ">", 0.5),
                "there is a residual stream: without it most directions of a gradient are lost on the way, norm or not",
            ),
        ),
    ),
)
def jacobians(
    text: str = "tinyshakespeare",
    layers: Several = scaled(4, 8),
    dim: Several = 24,
    tokens: Several = scaled(6, 12),
    steps: Several = scaled(40, 100),
    seeds: Count = 3,
) -> Observation:
    """Laws of the Jacobians; singular values of each block's and of all blocks', with norm and residual on and off."""
    data = byte_text(text)
    found: dict[str, dict[int, float]] = {}
    curves: dict[str, list[list[float]]] = {kind: [] for kind in KINDS}
    with progress.task("Jacobians", seeds * len(KINDS), "networks") as advance:
        for seed in range(seeds):
            batch = byte_batch(data.train, CONTEXT, TEXTS, seed)
            batch = Batch(
                *(part[:, :tokens] for part in (batch.tokens, batch.labels, batch.positions, batch.documents))
            )
            for kind, settings in KINDS.items():
                network = deep_network(seed, layers, dim, CONTEXT, **settings)
                if kind == "residual and norm":
                    for name, value in _laws(network.double(), batch, seed).items():
                        found.setdefault(name, {})[seed] = value
                curves[kind].append(_shapes(found, network, batch, kind, "fresh", seed))
                found.setdefault(f"held-out text, {kind}", {})[seed] = _trained(network.float(), data, steps, seed)
                _shapes(found, network, batch, kind, "trained", seed)
                advance(1)
    units = {name: "bits/byte" for name in found if name.startswith("held-out")}
    measurements = [measured(name, by_seed, units.get(name, "")) for name, by_seed in found.items()]
    return Observation(measurements=tuple(measurements), chart=_chart(curves), note=NOTE)


NOTE = (
    "A Jacobian is of the stream after a block by that before it, over all tokens of a short text. Its root mean "
    "square singular value is what it makes of the length of a gradient that points nowhere in particular; a gradient "
    "of the loss has a direction of its own. Weights are drawn so that each matrix keeps a signal's size, with GELU "
    "and no gate. Each block's values near 1 (dynamical isometry, Saxe et al. 2013, https://arxiv.org/abs/1312.6120; "
    "Pennington et al. 2017, https://arxiv.org/abs/1711.04735) keep the product from vanishing or growing with depth. "
    "The accuracy of an update is that of the chain rule, which multiplies by the Jacobians of parts much smaller than "
    "a block, none of them formed."
)


def _laws(network: Network, batch: Batch, seed: int) -> dict[str, float]:
    """Jacobians against finite differences, end-to-end gradients and the clock."""
    layers = len(network.blocks)
    spans = [_span(network, batch, layer) for layer in range(layers)]
    whole = _span(network, batch, 0, layers)
    paths = [*(f"blocks.{layer}.residual_in" for layer in range(layers)), f"blocks.{layers - 1}.residual_out"]
    gradients = activation_gradients(network, CausalLM(), batch, paths)
    carried_back = gradients[paths[-1]]
    for layer in reversed(range(1, layers)):
        carried_back = _through(spans[layer], carried_back)
    first = dict(network.blocks[0].named_parameters())
    ours = torch.autograd.grad(spans[0](spans[0].x), list(first.values()), carried_back)
    theirs = torch.autograd.grad(CausalLM()(network, batch).mean, list(first.values()))
    return {
        FINITE: max(_against_differences(span, seed) for span in spans),
        CHAIN: _error(_through(spans[0], carried_back), gradients[paths[0]]),
        WEIGHTS: max(_error(one, other) for one, other in zip(ours, theirs, strict=True)),
        FORMED: _time_to_form(whole, gradients[paths[-1]]),
    }


def _span(network: Network, batch: Batch, first: int, stop: int | None = None) -> Span:
    return blocks_at(network, batch.tokens, first, stop, documents=batch.documents)


def matrices(span: Span) -> Float[Tensor, "batch outputs inputs"]:
    """The whole Jacobian as a matrix for each text."""
    return span.jacobian().flatten(1, 2).flatten(2, 3)


def _through(span: Span, gradient: Float[Tensor, "batch seq dim"]) -> Float[Tensor, "batch seq dim"]:
    """A gradient of the output times the formed Jacobian."""
    return (gradient.flatten(1)[:, None] @ matrices(span))[:, 0].view_as(gradient)


def _error(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference, by the largest number."""
    return float((ours - theirs).abs().max() / theirs.abs().max())


def _against_differences(span: Span, seed: int, step: float = 1e-6) -> float:
    change = torch.randn(span.x.shape, dtype=span.x.dtype, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        differences = (span(span.x + step * change) - span(span.x - step * change)) / (2 * step)
    formed = (matrices(span) @ change.flatten(1)[..., None])[..., 0].view_as(change)
    return _error(formed, differences)


def _time_to_form(span: Span, gradient: Tensor) -> float:
    started = time.perf_counter()
    for _ in range(5):
        span.vjp(gradient)
    middle = time.perf_counter()
    span.jacobian()
    return 5 * (time.perf_counter() - middle) / (middle - started)


def _shapes(
    found: dict[str, dict[int, float]], network: Network, batch: Batch, kind: str, age: str, seed: int
) -> list[float]:
    """Singular values of single blocks and of all, into `found`; the size of the product of the last 1, 2, ...
    blocks."""
    network.double()
    product: Matrix | None = None
    sizes, shares = [], []
    for layer in reversed(range(len(network.blocks))):
        each = matrices(_span(network, batch, layer))
        product = each if product is None else product @ each
        sizes.append(root_mean_square(product))
        shares.append(directions(each))
    assert product is not None
    for name, value in {
        carried(kind, age): logarithm(sizes[-1]),
        kept(kind, age): directions(product),
        f"the same of one block, {kind}, {age}": fmean(shares),
    }.items():
        found.setdefault(name, {})[seed] = value
    return sizes


def directions(each: Float[Tensor, "batch outputs inputs"]) -> float:
    """The share of singular values above a negligible part of the largest, over all texts."""
    values = torch.linalg.svdvals(each)
    return float((values > NEGLIGIBLE * values[:, :1]).double().mean())


def root_mean_square(each: Float[Tensor, "batch outputs inputs"]) -> float:
    """The root mean square of the singular values, over all texts."""
    return float(each.square().sum(dim=(1, 2)).div(each.shape[1]).mean().sqrt())


def _trained(network: Network, data: ByteText, steps: int, seed: int) -> float:
    """Train in place; bits per byte of held-out text."""
    train(network, data.train, TrainingConfig(steps=steps, rows=16, learning_rate=2e-3, warmup=WARMUP, seed=seed))
    return bits_per_byte(*held_out_logits(network, data.held_out, 100))


def _chart(curves: dict[str, list[list[float]]]) -> Chart:
    series = []
    for kind, each in curves.items():
        heights = tuple(fmean(sizes) for sizes in zip(*each, strict=True))
        series.append(Series(name=kind, x=tuple(map(float, range(1, len(heights) + 1))), y=heights))
    return Chart(
        kind="line",
        title="How much of a gradient the Jacobians of the last blocks carry, fresh weights",
        x_label="blocks",
        y_label="root mean square singular value of the product",
        log_y=True,
        series=tuple(series),
    )
