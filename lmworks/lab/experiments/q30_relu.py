"""Question 30: does ReLU's derivative, 1 or 0, keep gradients from vanishing, and is it robust?

How much of a gradient reaches the first block of deep networks on real text, by activation: in a plain stack (no
residual stream, no norm, each byte seeing itself alone, so that nothing but the feed-forward acts), and in a
transformer. Then small transformers are trained with each activation: loss, zeros, and units that no text wakes any
more.
"""

from __future__ import annotations

from statistics import fmean
from typing import Any

from lmworks.lab.bench.activations import KINDS, inner_states, share_asleep, times, wrong_derivatives
from lmworks.lab.bench.byte_rows import byte_batch
from lmworks.lab.bench.deep_network import ARRIVED, LEFT, deep_network, gradient_by_block, log_arrived
from lmworks.lab.bench.small_network import WARMUP, bits_per_byte, byte_text, frequency_bits, held_out_logits, train
from lmworks.lab.contrast import Condition
from lmworks.lab.experiment import experiment
from lmworks.lab.metric import Metric
from lmworks.lab.parts import Part, Requirement
from lmworks.lab.pictures import Lines
from lmworks.lab.run import Run
from lmworks.lab.scale import Several, scaled
from lmworks.models.network import Network
from lmworks.training.settings import TrainingConfig

STACKED = ("sigmoid", "tanh", "ReLU", "GELU", "SiLU")
"""The others are not stable in a plain stack: each block about squares the size of a signal."""
WITH_ALL: dict[str, Any] = {}
PLAIN: dict[str, Any] = {"norm": "none", "residual": False, "window": 1}
FEW, CONTEXT = 6, 32
RATE, HIGH_RATE = 2e-3, 6e-2

STACK, WHOLE, ALONE, USUAL, HIGH = Condition.named(
    "plain stack", "transformer", "alone", f"learning rate {RATE:g}", f"learning rate {HIGH_RATE:g}"
)
UNSCALED, FREQUENCIES = Condition.named(f"plain stack of {FEW}, weights of deviation 0.02", "byte frequencies")
WRONG = Metric("points where ReLU's derivative is not 1 above 0 and 0 elsewhere", ideal=0)
TIME = Metric("time of the activation, forward and backward", "s")
ZEROS = Metric("results that are zero")
SLEEPING = Metric("units asleep on all held-out text", ideal=0)
BITS = Metric("held-out text", "bits/byte", margin=0.02, chance=8, ideal=0)
LEARNT = Requirement("the network learns more than byte frequencies", BITS, USUAL["ReLU"] - FREQUENCIES, below=0)


@experiment(
    30,
    claim="The derivative of ReLU is 1 if x > 0, and 0 otherwise; its sparsity and non-linearity prevent vanishing "
    "gradients, making ReLU computationally efficient and robust for deep LLM training.",
    parts=(
        Part(
            "more of a gradient gets through a plain stack of blocks than with sigmoid",
            *(ARRIVED, STACK["ReLU"] - STACK["sigmoid"]),
            above=0,
        ),
        Part(
            "its zeros do that: more gets through than with tanh, which has none",
            *(ARRIVED, STACK["ReLU"] - STACK["tanh"]),
            above=0,
            otherwise="zeros carry no gradient: weights drawn by their width do, for tanh as well",
        ),
        Part(
            "in a transformer, too, more arrives than with sigmoid",
            *(ARRIVED, WHOLE["ReLU"] - WHOLE["sigmoid"]),
            above=0,
            otherwise="there are a residual stream and norms: through them a gradient arrives whatever the activation",
        ),
        Part("it takes less time than GELU", TIME, ALONE["ReLU"] / ALONE["GELU"], below=1, margin=0.05),
        Part(
            "it is robust: at a high learning rate no more units fall asleep for good than with GELU",
            *(SLEEPING, HIGH["ReLU"] - HIGH["GELU"]),
            below=0.02,
            needs=(LEARNT,),
            otherwise="the learning rate is high: units then fall asleep, and no text wakes them",
        ),
    ),
    also=(
        Part("a third of its results and more are zero", ZEROS, USUAL["ReLU"], above=1 / 3, needs=(LEARNT,)),
        Part("it learns as much as GELU", BITS, USUAL["ReLU"] - USUAL["GELU"], below=0.02, needs=(LEARNT,)),
        Part("it takes less time than sigmoid", TIME, ALONE["ReLU"] / ALONE["sigmoid"], below=1, margin=0.05),
        Part("a tenth of a gradient arrives with weights of deviation 0.02, too", ARRIVED, UNSCALED, above=-1),
    ),
    requires=(Requirement("ReLU's derivative is 1 above 0 and 0 elsewhere", WRONG, Condition("ReLU"), below=1),),
    picture=Lines(
        LEFT, of=tuple(STACK[kind] for kind in STACKED), x="blocks come through", title="A gradient in a plain stack"
    ),
    not_true_when="weights have one small deviation whatever their width: ReLU then loses a gradient as fast as others",
    headlines={
        "yn=yn": "ReLU lets gradients through a plain stack where sigmoid does not, and is cheap. Its zeros are not "
        "why, a transformer does not need it, and at a high learning rate more of its units fall asleep for good."
    },
    not_tested="large networks, of which many take gated SiLU or squared ReLU today (Shazeer 2020, "
    "https://arxiv.org/abs/2002.05202; So et al. 2021, https://arxiv.org/abs/2109.08668)",
    note="Each activation has weights that keep its results' size (He et al. 2015, https://arxiv.org/abs/1502.01852). "
    "Sigmoid's derivative is at most a quarter, which is what ReLU was to cure (Glorot et al. 2011). Squared and gated "
    "units are left out of the plain stack: each block squares a signal's size, and soon it is nothing or infinite. A "
    "unit is asleep where its derivative is below 0.001 at every byte of the held-out text. The time is that of the "
    "activation alone, a small part of a step.",
)
def relu(
    run: Run,
    text: str = "tinyshakespeare",
    depth: Several = scaled(12, 24),
    dim: Several = 64,
    layers: Several = 4,
    steps: Several = scaled(40, 200),
    held_out_windows: Several = scaled(64, 200),
) -> None:
    """Gradients by depth and activation; loss, zeros and sleeping units after training; time of the activation."""
    data = byte_text(text)
    for fixed in run.once():
        run.log(fixed, "ReLU", {WRONG: wrong_derivatives()})
        run.log(fixed, FREQUENCIES, {BITS: frequency_bits(data)})
    for seed in run.seeds:
        batch = byte_batch(data.train, CONTEXT, rows=4, seed=seed)
        for kind, settings in KINDS.items():
            for stack, parts in ((WHOLE, WITH_ALL), (STACK, PLAIN))[: 1 + (kind in STACKED)]:
                network = _network(seed, depth, dim, **(parts | settings)).double()
                log_arrived(run, seed, stack[kind], gradient_by_block(network, batch))
        unscaled = _network(seed, FEW, dim, **(PLAIN | KINDS["ReLU"]), scheme="normal").double()
        log_arrived(run, seed, UNSCALED, gradient_by_block(unscaled, batch))
        for kind, seconds in times().items():
            run.log(seed, ALONE[kind], {TIME: seconds})
        for at, rate, kinds in ((USUAL, RATE, KINDS), (HIGH, HIGH_RATE, ("ReLU", "squared ReLU", "GELU"))):
            for kind in kinds:
                network = _network(seed, layers, dim, **KINDS[kind])
                config = TrainingConfig(steps=steps, rows=16, learning_rate=rate, warmup=WARMUP, seed=seed)
                train(network, data.train, config)
                inner = inner_states(network, data.held_out, held_out_windows)
                values = {
                    BITS: bits_per_byte(*held_out_logits(network, data.held_out, held_out_windows)),
                    SLEEPING: share_asleep(inner, KINDS[kind]["activation"]),
                    ZEROS: fmean(float((states <= 0).double().mean()) for states in inner),
                }
                run.log(seed, at[kind], values if kind == "ReLU" else {BITS: values[BITS], SLEEPING: values[SLEEPING]})


def _network(seed: int, layers: int, dim: int, **settings: Any) -> Network:
    """A gated one has two thirds of the width inside, and so as many weights as the others."""
    hidden = 8 * dim // 3 if settings.get("gated") else 4 * dim
    return deep_network(seed, layers, dim, CONTEXT, hidden_dim=hidden, **settings)
