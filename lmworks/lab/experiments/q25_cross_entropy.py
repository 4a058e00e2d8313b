"""Question 25: cross-entropy forces probability onto the true token. Against squared error on the same task.

The gradient and the link to KL are laws, checked in float64. Then small networks are trained on real text, alike but
for the loss, each loss with the learning rate that suits it on text kept for choosing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from lmworks.lab.bench.rates import RATE, SWEEP, best_rate
from lmworks.lab.bench.small_network import (
    WARMUP,
    bits_per_byte,
    byte_text,
    frequency_bits,
    held_out_logits,
    named,
    small_network,
    train,
    window_bits,
)
from lmworks.lab.bench.squared_error import SquaredError, calibration_error, squared_error
from lmworks.lab.contrast import Condition
from lmworks.lab.experiment import experiment
from lmworks.lab.metric import Metric
from lmworks.lab.parts import Part, Requirement
from lmworks.lab.pictures import Bars
from lmworks.lab.run import Run
from lmworks.lab.scale import Several, scaled
from lmworks.models.network import Network
from lmworks.objectives import CausalLM
from lmworks.training.settings import TrainingConfig

ENTROPY, SQUARED, FREQUENCIES = Condition.named("cross-entropy", "squared error", "byte frequencies")
DIVERGENCE = Metric("distance from H(y) + KL(y, p), the largest", ideal=0)
GRADIENT = Metric("distance of the gradient from p - y, the largest", ideal=0)
PUSH = Metric("gradient on a true token of probability 0.001")
BITS = Metric("held-out text", "bits/byte", margin=0.02, chance=8, ideal=0)
PROBABILITY = Metric("probability of the true byte", margin=0.02, chance=1 / 256, ideal=1)
ACCURACY = Metric("accuracy", margin=0.02, ideal=1)
CALIBRATION = Metric("calibration error", margin=0.01, ideal=0)
LEARNT = Requirement("squared error learns more than byte frequencies", BITS, SQUARED - FREQUENCIES, below=0)
OBJECTIVES = {ENTROPY: CausalLM(), SQUARED: SquaredError()}


@experiment(
    25,
    claim="Cross-entropy, L = -sum y_i log(p_i), measures the divergence between predicted and true token "
    "probabilities; it penalizes incorrect predictions and forces high probability onto the correct tokens.",
    parts=(
        Part("it is the KL divergence and a constant, the entropy of the truth", DIVERGENCE, ENTROPY, below=1e-9),
        Part("its gradient is what was predicted less what came", GRADIENT, ENTROPY, below=1e-9),
        Part(
            "a network that learns by it needs fewer bits for new text than one that learns by squared error",
            *(BITS, ENTROPY - SQUARED),
            below=0,
            needs=(LEARNT,),
        ),
        Part(
            "it gives the true byte more probability on average",
            *(PROBABILITY, ENTROPY - SQUARED),
            above=0,
            needs=(LEARNT,),
            otherwise="probability counts in bits; its plain mean is as high with squared error",
        ),
    ),
    also=(
        Part("it pushes a true token that is all but ruled out ten times as hard", PUSH, SQUARED / ENTROPY, below=0.1),
        Part("it is right more often", ACCURACY, ENTROPY - SQUARED, above=0, needs=(LEARNT,)),
        Part("it is better calibrated", CALIBRATION, ENTROPY - SQUARED, below=0, needs=(LEARNT,)),
    ),
    picture=Bars((PROBABILITY, ACCURACY, CALIBRATION), of=(ENTROPY, SQUARED), title="After training by either loss"),
    not_true_when="it is called a divergence itself: it is one plus the entropy of the truth, which stays as it is",
    headlines={
        "yyyy": "Yes: it is the entropy of the truth and the KL divergence to what was predicted, and a network "
        "learns more by it than by squared error."
    },
    not_tested="large networks and long training: squared error has the same minimum",
    note="Networks of bytes, alike but for the loss, each with the rate that gives the fewest bits on text kept for "
    "choosing. Squared error is on probabilities (the Brier score), a proper loss too (Goodfellow et al. 2016, Deep "
    "Learning, section 3.13); it differs in how hard it pushes where the true token has almost no probability. "
    "Calibration: expected error in ten bins (Guo et al. 2017, https://arxiv.org/abs/1706.04599).",
    minutes=40,
)
def cross_entropy(
    run: Run,
    text: str = "tinyshakespeare",
    steps: Several = scaled(100, 600),
    dim: Several = scaled(64, 96),
    context: Several = 64,
    rates: tuple[float, ...] = scaled((2e-3, 8e-3), (1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2)),
    held_out_windows: Several = scaled(200, 1000),
) -> None:
    """Laws of gradient and divergence; bits, probability, accuracy, calibration after training on each."""
    data = byte_text(text)

    def trained(condition: Condition, rate: float, seed: int) -> Network:
        config = TrainingConfig(steps=steps, rows=16, learning_rate=rate, seed=seed, warmup=WARMUP)
        return train(small_network(seed, dim=dim, context=context), data.train, config, OBJECTIVES[condition])

    def swept(condition: Condition, rate: float) -> float:
        return bits_per_byte(*held_out_logits(trained(condition, rate, SWEEP), data.choose, held_out_windows))

    chosen = {one: best_rate(rates, partial(swept, one)) for one in OBJECTIVES}
    for fixed in run.once():
        run.log(fixed, ENTROPY, laws(seed=0) | {PUSH: push(F.cross_entropy), RATE: chosen[ENTROPY]})
        run.log(fixed, SQUARED, {PUSH: push(squared_error), RATE: chosen[SQUARED]})
        run.log(fixed, FREQUENCIES, {BITS: frequency_bits(data)})
    for seed in run.seeds:
        for condition, rate in chosen.items():
            network = trained(condition, rate, seed)
            logits, targets = held_out_logits(network, data.held_out, held_out_windows)
            p = logits.softmax(dim=-1)
            right = (p.argmax(dim=-1) == targets).double().mean()
            run.log(seed, condition, {ACCURACY: float(right), CALIBRATION: calibration_error(p, targets)})
            mean = p.gather(1, targets[:, None]).view(-1, context).double().mean(dim=1).tolist()
            bits = window_bits(network, data.held_out, held_out_windows)
            run.log(seed, condition, {BITS: bits, PROBABILITY: mean}, items=named(bits))


def laws(seed: int, tokens: int = 64, vocab: int = 256) -> dict[Metric, float]:
    """How far cross-entropy is from entropy plus KL, and its gradient from p - y, in float64."""
    generator = torch.Generator().manual_seed(seed)
    logits = (3 * torch.randn(tokens, vocab, generator=generator).double()).requires_grad_()
    targets = torch.randint(vocab, (tokens,), generator=generator)
    (gradient,) = torch.autograd.grad(F.cross_entropy(logits, targets, reduction="sum"), logits)
    p, y = logits.detach().softmax(dim=-1), F.one_hot(targets, vocab).double()
    soft = torch.randn(tokens, vocab, generator=generator).double().softmax(dim=-1)
    entropy = -(soft * soft.log()).sum(dim=-1)
    divergence = (soft * (soft.log() - p.log())).sum(dim=-1)
    direct = F.cross_entropy(logits.detach(), soft, reduction="none")
    return {
        GRADIENT: float((gradient - (p - y)).abs().max()),
        DIVERGENCE: float((direct - entropy - divergence).abs().max()),
    }


def push(loss: Callable[[Tensor, Tensor], Tensor], vocab: int = 256, probability: float = 1e-3) -> float:
    """How long a loss's gradient is on the logit of a true token that the model all but rules out."""
    others = torch.randn(vocab - 1, generator=torch.Generator().manual_seed(0)).double().softmax(dim=0)
    p = torch.cat([torch.tensor([probability]).double(), others * (1 - probability)])
    logits = p.log()[None].requires_grad_()
    (gradient,) = torch.autograd.grad(loss(logits, torch.tensor([0])), logits)
    return abs(float(gradient[0, 0]))
