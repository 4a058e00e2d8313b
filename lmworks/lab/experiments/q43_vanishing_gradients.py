"""Question 43: attention, residual connections and norms against vanishing gradients, each taken away.

Through depth: how much of a gradient reaches the first block of fresh networks of several depths, and how well they can
be trained then, each part taken away in turn (fixed averages over what came before stand in for attention). Through
time: how much of the last byte's gradient reaches bytes far back, in a transformer, an LSTM and a tanh network, fresh
and trained.
"""

from __future__ import annotations

import contextlib
import copy
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import torch

from lmworks.basics import progress
from lmworks.evaluation.measurement import Measurement
from lmworks.lab.bench.byte_rows import byte_batch
from lmworks.lab.bench.deep_network import deep_network, gradient_by_block, gradient_chart, logarithm, reach_by_seed
from lmworks.lab.bench.small_network import BYTES, WARMUP, ByteText, bits_per_byte, byte_text, held_out_logits, train
from lmworks.lab.registry import experiment
from lmworks.lab.rule import Check, Observation, Rule
from lmworks.lab.scale import Count, Several, scaled
from lmworks.lab.seeds import difference, measured
from lmworks.models.hooks import hook_points, hooked
from lmworks.models.network import Network
from lmworks.models.relatives.recurrent import RecurrentNetwork
from lmworks.models.relatives.recurrent_config import RecurrentConfig
from lmworks.models.scheme import Scheme
from lmworks.objectives import CausalLM
from lmworks.objectives.gradients import activation_gradients
from lmworks.tokens.batch import IGNORE, Batch
from lmworks.training.settings import TrainingConfig
from lmworks.training.step import DivergedError

WHOLE, AVERAGES = "whole", "averages for attention"
KINDS: dict[str, dict[str, Any]] = {
    WHOLE: {},
    AVERAGES: {},
    "without residual": {"residual": False},
    "without norm": {"norm": "none"},
    "without both": {"residual": False, "norm": "none"},
}
CONTEXT = 32
RATES = (1e-3, 4e-3)
"""For each kind and depth the better rate is taken, chosen on other text with a seed that is not judged."""
HIGH_RATE = 3e-2
LONG = 64
"""Bytes of a text through which gradients go back in time."""
NEAR, FAR = slice(-5, -2), slice(7, 23)
"""Places of such a text: 1 to 3 bytes before the last that predicts one, and 40 to 55."""
MEMORIES = ("transformer", "LSTM", "tanh network")
AGES = ("fresh", "trained")
USUAL = "deepest, weights of deviation 0.02"
UNIT, CHANCE = "bits/byte", 8.0


def arrives(kind: str, depth: str = "deepest") -> str:
    """The name of what reaches the first block."""
    return f"gradient that reaches the first block, powers of ten, {depth}, {kind}"


def loss(kind: str, depth: str = "deepest") -> str:
    """The name of what is learnt."""
    return f"held-out text, {depth}, {kind}"


def lasts(kind: str, age: str) -> str:
    """The name of what reaches far bytes."""
    return f"gradient 40 to 55 bytes back by that 1 to 3 back, powers of ten, {kind}, {age}"


WAY = "What is left of a gradient, fresh weights of deviation 0.02"
STABLE = f"held-out text, deepest, learning rate {HIGH_RATE:g}, without norm minus whole"
TIME = lasts("transformer minus tanh network", "trained")


@experiment(
    question=43,
    claim="Transformers address vanishing gradients with self-attention (avoiding sequential bottlenecks), residual "
    "connections (direct gradient flow) and layer normalization (stabilizing updates).",
    rule=Rule(
        holds_if=(
            Check(f"{arrives(WHOLE, USUAL)} minus without both", ">", 1),
            Check(f"{loss('without residual')} minus whole", ">", 0.1),
            Check(f"{loss('without both')} minus whole", ">", 0.1),
            Check(STABLE, ">", 0.1),
            Check(TIME, ">", 1),
        ),
        only_if=(
            (
                Check(f"{arrives(WHOLE)} minus without residual", ">", 0.5),
                "what residuals save is not called a gradient's length: without them, and with norms and weights by "
                "width, it arrives as long, and in the wrong directions",
            ),
            (
                Check(f"{loss('without norm')} minus whole", ">", 0.02),
                "norms are for high learning rates: at a well chosen one as much is learnt without them",
            ),
            (
                Check(f"{arrives(WHOLE)} minus {AVERAGES}", ">", 0.5),
                "self-attention is a short way through time and not through depth: fixed averages let as much through",
            ),
        ),
    ),
)
def vanishing(
    text: str = "tinyshakespeare",
    depths: tuple[int, ...] = scaled((2, 6), (2, 12)),
    dim: Several = 48,
    steps: Several = scaled(40, 150),
    time_steps: Several = scaled(40, 200),
    held_out_windows: Several = 100,
    seeds: Count = 3,
) -> Observation:
    """Gradients by depth and loss with each part taken away; gradients by distance for three kinds of memory."""
    data, depths = byte_text(text), tuple(sorted(depths))
    names = ["deepest" if depth == depths[-1] else f"{depth} blocks" for depth in depths]
    measurements: list[Measurement] = []
    for depth, name in zip(depths, names, strict=True):
        fresh = {kind: {seed: _lengths(kind, depth, dim, data, seed) for seed in range(seeds)} for kind in KINDS}
        measurements += _compared({kind: reach_by_seed(one) for kind, one in fresh.items()}, arrives, name, "")
        bits = {kind: _trained(kind, depth, dim, data, steps, held_out_windows, seeds) for kind in KINDS}
        measurements += _compared(bits, loss, name, UNIT)
    usual = {
        kind: {seed: _lengths(kind, depths[-1], dim, data, seed, "normal") for seed in range(seeds)} for kind in KINDS
    }
    measurements += _compared({kind: reach_by_seed(one) for kind, one in usual.items()}, arrives, USUAL, "")
    high = {
        kind: {
            seed: _bits(kind, depths[-1], dim, data, (steps, HIGH_RATE, seed), held_out_windows)
            for seed in range(seeds)
        }
        for kind in (WHOLE, "without norm")
    }
    measurements.append(difference(STABLE, high["without norm"], high[WHOLE], UNIT))
    measurements += _through_time(data, dim, time_steps, seeds)
    return Observation(measurements=tuple(measurements), chart=gradient_chart(WAY, usual), note=NOTE)


NOTE = (
    "Weights are drawn so that each matrix keeps a signal's size (GELU, no gate) unless said otherwise, which spares "
    "networks without residual stream or norm the worst; a deviation of 0.02 is what GPT-2 began with. "
    "A learning rate is chosen for each kind and depth from two, on other text. Without residual stream attention "
    "averages its input again and again until all tokens are alike (Dong et al. 2021, "
    "https://arxiv.org/abs/2103.03404), so that a gradient's length says little: claim 27 counts its directions. "
    "Pre-norm is what is tested; post-norm puts norms on the residual stream itself (Xiong et al. 2020, "
    "https://arxiv.org/abs/2002.04745). Recurrent networks have the weights that they are usually given, and one "
    "layer; the LSTM was made against vanishing through time (Hochreiter and Schmidhuber 1997)."
)


@contextlib.contextmanager
def averaging(network: Network) -> Any:
    """Attention that takes the mean of all that it sees: every score is 0."""
    paths = [path for path in hook_points(network) if path.endswith("attention.scores")]
    with hooked(network, dict.fromkeys(paths, lambda scores: torch.where(scores == -torch.inf, scores, 0.0))):
        yield


def _as(kind: str, network: Network) -> contextlib.AbstractContextManager[Any]:
    return averaging(network) if kind == AVERAGES else contextlib.nullcontext()


def _lengths(kind: str, depth: int, dim: int, data: ByteText, seed: int, scheme: Scheme = "width") -> list[float]:
    """The gradient's length at each block of a fresh network."""
    network = deep_network(seed, depth, dim, CONTEXT, scheme=scheme, **KINDS[kind]).double()
    with _as(kind, network):
        return gradient_by_block(network, byte_batch(data.train, CONTEXT, rows=8, seed=seed))


def _trained(kind: str, depth: int, dim: int, data: ByteText, steps: int, windows: int, seeds: int) -> dict[int, float]:
    """Bits per byte of held-out text at the better learning rate."""
    judge = replace(data, held_out=data.choose)
    rate = min(RATES, key=lambda one: _bits(kind, depth, dim, judge, (steps, one, seeds), windows))
    return {seed: _bits(kind, depth, dim, data, (steps, rate, seed), windows) for seed in range(seeds)}


def _bits(kind: str, depth: int, dim: int, data: ByteText, run: tuple[int, float, int], windows: int) -> float:
    """Train one network; its bits per byte of held-out text, or those of chance where it diverged."""
    steps, rate, seed = run
    network = deep_network(seed, depth, dim, CONTEXT, **KINDS[kind])
    config = TrainingConfig(steps=steps, rows=16, learning_rate=rate, warmup=WARMUP, seed=seed)
    with _as(kind, network):
        try:
            train(network, data.train, config)
        except DivergedError:
            return CHANCE
        return min(bits_per_byte(*held_out_logits(network, data.held_out, windows)), CHANCE)


def _compared(found: dict[str, dict[int, float]], name: Any, depth: str, unit: str) -> list[Measurement]:
    """Each kind, and what it differs by from the whole."""
    rows = [measured(name(kind, depth), by_seed, unit) for kind, by_seed in found.items()]
    for kind, by_seed in found.items():
        if kind != WHOLE and unit:
            rows.append(difference(f"{name(kind, depth)} minus {WHOLE}", by_seed, found[WHOLE], unit))
        elif kind != WHOLE:
            rows.append(difference(f"{name(WHOLE, depth)} minus {kind}", found[WHOLE], by_seed))
    return rows


@dataclass(frozen=True)
class Distances:
    """How long the gradient of the last byte's loss is at each byte, mean over texts."""

    lengths: list[float]

    @property
    def far_by_near(self) -> float:
        """In powers of ten."""
        return logarithm(fmean(self.lengths[FAR]) / fmean(self.lengths[NEAR]))


def _memory(kind: str, dim: int, seed: int) -> Network:
    """A transformer of two blocks, or a recurrent layer."""
    if kind == "transformer":
        return deep_network(seed, 2, dim, LONG)
    config = RecurrentConfig(cell="lstm" if kind == "LSTM" else "tanh", vocab_size=BYTES, dim=dim, context=LONG)
    return RecurrentNetwork(config).initialise(seed)


def distances(network: Network, batch: Batch) -> Distances:
    """Take the loss of the last byte that each row predicts back to all bytes' embeddings."""
    labels = torch.full_like(batch.labels, IGNORE)
    labels[:, -2] = batch.labels[:, -2]  # after a row's last byte none is known
    exact = copy.deepcopy(network).double()  # float32 has nothing below 1e-45
    [gradient] = activation_gradients(exact, CausalLM(), replace(batch, labels=labels), ["embedding"]).values()
    return Distances(gradient.norm(dim=-1).mean(dim=0).tolist())


def _through_time(data: ByteText, dim: int, steps: int, seeds: int) -> list[Measurement]:
    """Gradients by distance for each kind of memory, fresh and trained, and what each has learnt."""
    shares: dict[tuple[str, str], dict[int, float]] = {(kind, age): {} for kind in MEMORIES for age in AGES}
    bits: dict[str, dict[int, float]] = {kind: {} for kind in MEMORIES}
    with progress.task("gradients through time", seeds * len(MEMORIES), "networks") as advance:
        for seed in range(seeds):
            batch = byte_batch(data.held_out, LONG, rows=16, seed=seed)
            for kind in MEMORIES:
                network = _memory(kind, dim, seed)
                shares[kind, "fresh"][seed] = distances(network, batch).far_by_near
                config = TrainingConfig(steps=steps, rows=16, learning_rate=RATES[-1], warmup=WARMUP, seed=seed)
                train(network, data.train, config)
                shares[kind, "trained"][seed] = distances(network, batch).far_by_near
                bits[kind][seed] = bits_per_byte(*held_out_logits(network, data.held_out, 100))
                advance(1)
    rows = [measured(lasts(kind, age), by_seed) for (kind, age), by_seed in shares.items()]
    for age in AGES:
        for kind in MEMORIES[:2]:
            rows.append(
                difference(lasts(f"{kind} minus tanh network", age), shares[kind, age], shares["tanh network", age])
            )
    return rows + [measured(f"held-out text, {kind}", by_seed, UNIT) for kind, by_seed in bits.items()]
