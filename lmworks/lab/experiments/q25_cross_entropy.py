"""Question 25: cross-entropy forces probability onto the true token. Against squared error on the same task.

The gradient and the link to KL are laws, checked in float64. Then small networks are trained on real
text, alike but for the loss, each loss with the learning rate that suits it on text kept for choosing.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from lmworks.evaluation.measurement import Measurement
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
from lmworks.models.network import Network
from lmworks.objectives import CausalLM, Loss
from lmworks.tokens.batch import Batch
from lmworks.training.settings import TrainingConfig

Logits = Float[Tensor, "tokens vocab"]
Targets = Int[Tensor, " tokens"]

GRADIENT = "largest distance of the gradient from p - y"
DIVERGENCE = "largest distance of cross-entropy from H(y) + KL(y, p)"
PUSH = "gradient on a true token of probability 0.001, squared error by cross-entropy"
BITS, PROBABILITY, ACCURACY, CALIBRATION = (
    "held-out text",
    "probability of the true byte",
    "accuracy",
    "calibration error",
)
UNITS = {BITS: "bits/byte", PROBABILITY: "", ACCURACY: "", CALIBRATION: ""}
MINUS = "cross-entropy minus squared error"


def squared_error(logits: Logits, targets: Targets) -> Tensor:
    """The Brier score: sum over the vocabulary of (p - y)^2, averaged over tokens."""
    p = logits.softmax(dim=-1)
    true = p.gather(1, targets[:, None])[:, 0]
    return (p.square().sum(dim=-1) - 2 * true + 1).mean()


class SquaredError(CausalLM):
    """Next-token prediction by squared error in place of cross-entropy."""

    def __call__(self, network: Network, batch: Batch) -> Loss:
        """The loss of a batch; every token is supervised."""
        mean = squared_error(network(batch.tokens).flatten(0, 1), batch.labels.flatten())
        return Loss(mean * batch.supervised, batch.supervised)


OBJECTIVES = {"cross-entropy": CausalLM(), "squared error": SquaredError()}


@experiment(
    question=25,
    claim="Cross-entropy, L = -sum y_i log(p_i), measures the divergence between predicted and true token "
    "probabilities; it penalizes incorrect predictions and forces high probability onto the correct "
    "tokens.",
    rule=Rule(
        holds_if=(
            Check(GRADIENT, "<", 1e-9),
            Check(DIVERGENCE, "<", 1e-9),
            Check(PUSH, "<", 0.1),
            Check(f"{BITS}, {MINUS}", "<", 0),
        ),
        only_if=(
            (
                Check(f"{PROBABILITY}, {MINUS}", ">", 0),
                "probability counts in bits; its plain mean is as high or higher with squared error",
            ),
        ),
    ),
)
def cross_entropy(
    text: str = "tinyshakespeare",
    steps: Several = scaled(200, 1000),
    dim: Several = 96,
    context: Several = 64,
    rates: tuple[float, ...] = (1e-3, 2e-3, 4e-3, 8e-3),
    held_out_windows: Several = scaled(200, 1000),
    seeds: Count = scaled(3, 5),
) -> Observation:
    """Laws of gradient and divergence; bits, probability, accuracy, calibration after training on each."""
    laws = [_laws(seed) for seed in range(seeds)]
    measurements = [
        measured(name, {seed: law[name] for seed, law in enumerate(laws)}, ideal=ideal)
        for name, ideal in ((GRADIENT, 0.0), (DIVERGENCE, 0.0), (PUSH, None))
    ]
    data, chosen, curves = byte_text(text), {}, []
    found: dict[str, dict[str, dict[int, float]]] = {name: {loss: {} for loss in OBJECTIVES} for name in UNITS}

    def trained(loss: str, rate: float, seed: int) -> Network:
        network = small_network(seed, dim=dim, context=context)
        config = TrainingConfig(steps=steps, rows=16, learning_rate=rate, seed=seed, warmup=WARMUP)
        return train(network, data.train, config, OBJECTIVES[loss])

    for loss in OBJECTIVES:
        # Chosen by bits for both, on other text and with another seed than the comparison's.
        bits = {}
        for rate in rates:
            seen = held_out_logits(trained(loss, rate, seeds), data.choose, held_out_windows)
            bits[rate] = bits_per_byte(*seen)
        chosen[loss] = min(bits, key=lambda rate: bits[rate])
        for seed in range(seeds):
            seen = held_out_logits(trained(loss, chosen[loss], seed), data.held_out, held_out_windows)
            for name, value in _judge(*seen).items():
                found[name][loss][seed] = value
        curves.append(_reliability(loss, *seen))
    measurements += _table(found, data)
    chart = Chart(
        kind="line",
        title="Calibration: how often the likeliest byte came",
        x_label="probability it was given",
        y_label="share that came",
        series=(*curves, Series(name="ideal", x=(0.0, 1.0), y=(0.0, 1.0))),
    )
    rates_text = ", ".join(f"{rate:g} for {loss}" for loss, rate in chosen.items())
    edge = set(chosen.values()) & {min(rates), max(rates)}
    note = f"{NOTE} Learning rates chosen: {rates_text}{', at the edge of those tried' if edge else ''}."
    return Observation(measurements=tuple(measurements), chart=chart, note=note)


def _table(found: dict[str, dict[str, dict[int, float]]], data: ByteText) -> list[Measurement]:
    """Each figure for each loss, and the difference."""
    levels: dict[str, tuple[float | None, float]] = {
        BITS: (8.0, 0.0),
        PROBABILITY: (1 / 256, 1.0),
        ACCURACY: (_commonest(data), 1.0),
        CALIBRATION: (None, 0.0),
    }
    rows = []
    for name, (chance, ideal) in levels.items():
        ours, other = (found[name][loss] for loss in OBJECTIVES)
        for loss, by_seed in found[name].items():
            rows.append(measured(f"{name}, {loss}", by_seed, UNITS[name], chance=chance, ideal=ideal))
        rows.append(difference(f"{name}, {MINUS}", ours, other, UNITS[name]))
    return rows


NOTE = (
    "Cross-entropy is not itself a divergence: it is the KL divergence plus the entropy of the true "
    "distribution, which training cannot change (Goodfellow et al. 2016, Deep Learning, section 3.13). "
    "Squared error on probabilities (the Brier score) is a proper loss too, so its minimum is the same "
    "distribution; it differs in how hard it pushes where the true token has almost no probability."
)


def _laws(seed: int, tokens: int = 64, vocab: int = 256) -> dict[str, float]:
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
        PUSH: _push(generator, vocab),
    }


def _push(generator: torch.Generator, vocab: int, probability: float = 1e-3) -> float:
    """Gradient of each loss on the logit of a true token that the model all but rules out, as a ratio."""
    others = torch.randn(vocab - 1, generator=generator).double().softmax(dim=0) * (1 - probability)
    pushes = []
    for loss in (squared_error, F.cross_entropy):
        logits = torch.cat([torch.tensor([probability]).double(), others]).log()[None].requires_grad_()
        (gradient,) = torch.autograd.grad(loss(logits, torch.tensor([0])), logits)
        pushes.append(abs(float(gradient[0, 0])))
    return pushes[0] / pushes[1]


def _judge(logits: Logits, targets: Targets) -> dict[str, float]:
    p = logits.softmax(dim=-1)
    return {
        BITS: bits_per_byte(logits, targets),
        PROBABILITY: float(p.gather(1, targets[:, None]).mean()),
        ACCURACY: float((p.argmax(dim=-1) == targets).double().mean()),
        CALIBRATION: sum(float(share * (given - came).abs()) for share, given, came in _bins(p, targets)),
    }


def _bins(p: Tensor, targets: Targets, count: int = 10) -> list[tuple[Tensor, Tensor, Tensor]]:
    """(share of tokens, mean probability given to the likeliest byte, how often it came) for each filled bin.

    Expected calibration error of Guo et al. 2017, https://arxiv.org/abs/1706.04599, with equal bins.
    """
    given, byte = p.max(dim=-1)
    came = (byte == targets).double()
    place = (given * count).long().clamp(max=count - 1)
    filled = [place == at for at in range(count) if bool((place == at).any())]
    return [(inside.double().mean(), given[inside].double().mean(), came[inside].mean()) for inside in filled]


def _reliability(loss: str, logits: Logits, targets: Targets) -> Series:
    bins = _bins(logits.softmax(dim=-1), targets)
    return Series(
        name=loss,
        x=tuple(float(given) for _, given, _ in bins),
        y=tuple(float(came) for _, _, came in bins),
    )


def _commonest(data: ByteText) -> float:
    """The accuracy of always naming the commonest byte."""
    return float((data.held_out == data.train.mode().values).double().mean())
