"""Question 27: Jacobians carry gradients back through the blocks.

In float64, on real text and in a trained network: is a block's Jacobian that of finite differences; is the product of
all blocks' Jacobians what takes the gradient from the last block to the first, and so the gradient of the first block's
weights. Then what it costs to form them, and their singular values with and without norm and residual stream.
"""

from __future__ import annotations

from typing import Any

from lmworks.lab.bench.block_jacobians import directions, errors_of_jacobians, from_the_end, times
from lmworks.lab.bench.byte_rows import byte_batch
from lmworks.lab.bench.deep_network import deep_network
from lmworks.lab.bench.small_network import WARMUP, bits_per_byte, byte_text, frequency_bits, held_out_logits, train
from lmworks.lab.contrast import Condition
from lmworks.lab.experiment import experiment
from lmworks.lab.metric import Metric
from lmworks.lab.parts import Part, Requirement
from lmworks.lab.pictures import Lines
from lmworks.lab.run import Run
from lmworks.lab.scale import Several, scaled
from lmworks.tokens.batch import Batch
from lmworks.training.settings import TrainingConfig

FRESH, TRAINED, FREQUENCIES, FORMED, BACKWARD = Condition.named(
    "fresh", "trained", "byte frequencies", "formed", "one backward"
)
KINDS: dict[Condition, dict[str, Any]] = {
    Condition("residual and norm"): {},
    Condition("residual alone"): {"norm": "none"},
    Condition("norm alone"): {"residual": False},
    Condition("neither"): {"norm": "none", "residual": False},
}
BOTH, RESIDUAL, NORM, _ = KINDS
CONTEXT = 32
TEXTS = 2
"""Texts whose Jacobians are formed for each network."""

FINITE = Metric("error of a block's Jacobian against finite differences", ideal=0)
CHAIN = Metric("error of the product of Jacobians against the end-to-end gradient", ideal=0)
WEIGHTS = Metric("error of the first block's weight gradients through the product", ideal=0)
TIME = Metric("time for all blocks", "s")
SIZE = Metric("root mean square singular value", ideal=1)
KEPT = Metric("directions that all blocks keep above 0.01 of the largest", ideal=1)
BITS = Metric("held-out text", "bits/byte", chance=8, ideal=0)
LEARNT = (Requirement("the network has learnt more than byte frequencies", BITS, TRAINED - FREQUENCIES, below=0),)


@experiment(
    27,
    claim="The Jacobian matrix captures partial derivatives of outputs with respect to inputs; it helps compute "
    "gradients for multidimensional outputs, ensuring accurate weight updates in complex transformer architectures.",
    parts=(
        Part(
            "a block's Jacobian holds the partial derivatives of its outputs", FINITE, TRAINED, below=1e-6, needs=LEARNT
        ),
        Part(
            "the product of all blocks' Jacobians takes the loss's gradient back",
            CHAIN,
            TRAINED,
            below=1e-9,
            needs=LEARNT,
        ),
        Part("the gradients of the weights that follow from it are exact", WEIGHTS, TRAINED, below=1e-9, needs=LEARNT),
    ),
    also=(
        Part("they are exact before any training", WEIGHTS, FRESH, below=1e-9),
        Part("to form it takes at most twice the time of one backward", TIME, FORMED / BACKWARD, below=2),
        Part("without norms fresh blocks keep most directions of a gradient", KEPT, RESIDUAL, above=0.5),
        Part("without a residual stream they do, too", KEPT, NORM, above=0.5),
    ),
    picture=Lines(
        SIZE,
        of=tuple(KINDS),
        x="blocks from the last one back",
        title="What the product of fresh blocks' Jacobians makes of a gradient's length",
        log_y=True,
    ),
    headlines={"yyy": "Jacobians carry a gradient through exactly; nobody forms them, as that takes far longer."},
    not_true_when="it is thought to be computed: backpropagation multiplies a gradient by it, part by part, and forms "
    "none",
    not_tested="singular values after training",
    note="A Jacobian is of the stream after a block by that before it, over all tokens of a short text, in float64; an "
    "error is the largest, by the largest number. Weights are drawn so that each matrix keeps a signal's size. The "
    "root mean square singular value is what it makes of the length of a gradient that points nowhere in particular. "
    "Values near 1 in each block (dynamical isometry, Saxe et al. 2013, https://arxiv.org/abs/1312.6120) keep the "
    "product from vanishing or growing with depth; what that is good for is claim 43's.",
)
def jacobians(
    run: Run,
    text: str = "tinyshakespeare",
    layers: Several = scaled(4, 8),
    dim: Several = 24,
    tokens: Several = scaled(6, 12),
    steps: Several = scaled(150, 600),
) -> None:
    """Laws of the Jacobians of a fresh and a trained network; cost; singular values with norm and residual off."""
    data = byte_text(text)

    def batch_of(seed: int) -> Batch:
        batch = byte_batch(data.train, CONTEXT, TEXTS, seed)
        return Batch(*(part[:, :tokens] for part in (batch.tokens, batch.labels, batch.positions, batch.documents)))

    for fixed in run.once():
        network, batch = deep_network(0, layers, dim, CONTEXT), batch_of(0)
        for condition in (FRESH, TRAINED):
            if condition is TRAINED:
                train(
                    network.float(), data.train, TrainingConfig(steps=steps, rows=16, learning_rate=2e-3, warmup=WARMUP)
                )
            run.log(fixed, condition, {BITS: bits_per_byte(*held_out_logits(network, data.held_out, 100))})
            found = errors_of_jacobians(network.double(), batch)
            run.log(fixed, condition, {FINITE: found.differences, CHAIN: found.product, WEIGHTS: found.weights})
        run.log(fixed, FREQUENCIES, {BITS: frequency_bits(data)})
    for seed in run.seeds:
        batch = batch_of(seed)
        for kind, settings in KINDS.items():
            network = deep_network(seed, layers, dim, CONTEXT, **settings).double()
            sizes, product = from_the_end(network, batch)
            run.log(seed, kind, {KEPT: directions(product)})
            for blocks, size in enumerate(sizes, 1):
                run.log(seed, kind[blocks], {SIZE: size})
            if kind is BOTH:
                for condition, seconds in zip((FORMED, BACKWARD), times(network, batch), strict=True):
                    run.log(seed, condition, {TIME: seconds})
