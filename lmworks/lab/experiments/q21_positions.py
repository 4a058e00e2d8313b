"""Question 21: attention is blind to order, and positions let it see.

Four parts. A permutation test, exact in float64: tokens in another order, and the outputs put back. A task that is
nothing but order: which of two marks came first. Real text, read by small networks that differ in their positions
alone. And the same networks on windows longer than those that they were trained on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from lmworks.evaluation.measurement import Measurement
from lmworks.lab.bench.small_network import (
    WARMUP,
    bits_per_byte,
    byte_text,
    held_out_logits,
    small_network,
    train,
    windows,
)
from lmworks.lab.bench.training import DrawnRows, fit
from lmworks.lab.chart import Chart, Series
from lmworks.lab.registry import experiment
from lmworks.lab.rule import Check, Observation, Rule
from lmworks.lab.scale import Count, Several, scaled
from lmworks.lab.seeds import difference, measured
from lmworks.models.config import ModelConfig
from lmworks.models.network import Network
from lmworks.objectives import Classification
from lmworks.tokens.batch import IGNORE, Batch
from lmworks.training.settings import TrainingConfig

NONE = "none"
KINDS = (NONE, "sinusoidal", "learned", "relative", "rope", "alibi")
NAMED = ("sinusoidal", "learned")
"""Those that the claim names."""
HEADS = 4
LONGER = 4
"""Windows of the last part, in training windows."""

BLIND = "change of an encoder's outputs by another order of its tokens, no positions"
SEES = "the same with positions, the kind that changes least"
ONE_LAYER = "change behind the last token by another order of those before it, causal, 1 layer, no positions"
CAUSAL = "the same with 2 layers"
ACCURACY = "which of two marks came first, accuracy of an encoder"
LEAST = "the same, the kind of positions that knows least"
CAUSAL_ACCURACY = "which of two marks came first, accuracy of a causal network without positions"
BITS = "held-out text"
UNIT = "bits/byte"


def minus_none(kind: str) -> str:
    """The name of what a kind of positions does to the loss of a decoder."""
    return f"{BITS}, {kind} minus {NONE}"


def beyond(kind: str) -> str:
    """The name of what is lost beyond the training length."""
    return f"text beyond the training length minus within it, {kind}"


@experiment(
    question=21,
    claim="Self-attention lacks inherent order awareness; positional encodings (sinusoidal functions or learned "
    "vectors) add information about the order, so that the model understands the relative position of words.",
    rule=Rule(
        holds_if=(
            Check(BLIND, "<", 1e-9),
            Check(SEES, ">", 1e-3),
            Check(f"{ACCURACY}, {NONE}", "<", 0.55),
            Check(LEAST, ">", 0.9),
            *(Check(minus_none(kind), "<", 0) for kind in NAMED),
        ),
        only_if=(
            (Check(CAUSAL, "<", 1e-9), "attention looks to both sides (a causal mask tells two layers the order)"),
            *(
                (Check(beyond(kind), "<", 0.1), f"texts stay within the length trained on, where positions are {kind}")
                for kind in NAMED
            ),
        ),
    ),
)
def positions(
    text: str = "tinyshakespeare",
    steps: Several = scaled(80, 1500),
    dim: Several = 96,
    context: Several = 64,
    held_out_windows: Several = scaled(64, 400),
    order_steps: Several = scaled(150, 300),
    order_tokens: Several = 16,
    seeds: Count = 3,
) -> Observation:
    """Permutation test, order task, bits per byte, and bits per byte by place in longer windows, for each kind."""
    accuracy: dict[str, dict[int, float]] = {kind: {} for kind in KINDS}
    moved: dict[str, dict[int, float]] = {kind: {} for kind in KINDS}
    causal: dict[str, dict[int, float]] = {name: {} for name in (CAUSAL_ACCURACY, ONE_LAYER, CAUSAL)}
    for seed in range(seeds):
        for kind in KINDS:
            encoder = order_network(seed, kind, order_tokens, order_steps)
            accuracy[kind][seed] = order_accuracy(encoder, order_tokens, seed)
            moved[kind][seed] = moved_by_order(encoder, order_tokens, seed)
        decoder = order_network(seed, NONE, order_tokens, order_steps, "decoder")
        causal[CAUSAL_ACCURACY][seed] = order_accuracy(decoder, order_tokens, seed)
        causal[CAUSAL][seed] = moved_by_order(decoder, order_tokens, seed)
        single = _marks_network(seed, NONE, order_tokens, "decoder", layers=1)
        causal[ONE_LAYER][seed] = moved_by_order(single, order_tokens, seed)
    data = byte_text(text)
    bits: dict[str, dict[int, float]] = {kind: {} for kind in KINDS}
    by_place: dict[str, dict[int, Tensor]] = {kind: {} for kind in KINDS}
    config = TrainingConfig(steps=steps, rows=16, learning_rate=3e-3, warmup=WARMUP)
    for seed in range(seeds):
        for kind in KINDS:
            network = reader(seed, kind, dim, context)
            train(network, data.train, config.but(seed=seed))
            bits[kind][seed] = bits_per_byte(*held_out_logits(network, data.held_out, held_out_windows))
            longer = lengthened(network, LONGER * context, seed)
            by_place[kind][seed] = bits_by_place(longer, data.held_out, max(held_out_windows // LONGER, 4))
    least = min(KINDS[1:], key=lambda kind: fmean(accuracy[kind].values()))
    stillest = min(KINDS[1:], key=lambda kind: fmean(moved[kind].values()))
    measurements = [
        measured(BLIND, moved[NONE], ideal=0.0),
        measured(SEES, moved[stillest]),
        *(measured(name, causal[name]) for name in (ONE_LAYER, CAUSAL)),
        *(measured(f"{ACCURACY}, {kind}", accuracy[kind], chance=0.5, ideal=1.0) for kind in KINDS),
        measured(LEAST, accuracy[least], chance=0.5, ideal=1.0),
        measured(CAUSAL_ACCURACY, causal[CAUSAL_ACCURACY], chance=0.5, ideal=1.0),
        *(measured(f"{BITS}, {kind}", bits[kind], UNIT, chance=8.0, ideal=0.0) for kind in KINDS),
        *(difference(minus_none(kind), bits[kind], bits[NONE], UNIT) for kind in KINDS[1:]),
        *(_beyond(kind, by_place[kind], context) for kind in KINDS),
    ]
    return Observation(measurements=tuple(measurements), chart=_chart(by_place, context), note=NOTE)


NOTE = (
    "An encoder's outputs follow its tokens wherever they are put, so that without positions it can't tell one order "
    "from another; that is exact (differences are those of float64). Of a causal network it is not true: each token "
    "sees only those before it, which is an order. One layer still reads what came before as a set; two layers do not "
    "(Haviv et al. 2022, https://arxiv.org/abs/2203.16634). Networks differ in their positions alone; relative ones "
    "(T5) tell distances apart up to the training length, and embeddings begin as large as the sines that are added to "
    "them: drawn by the width and multiplied by its root (Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, "
    "section 3.4). Beyond the training length, learned positions have rows that no training has touched; windows "
    f"there are {LONGER} times as long, and what is compared is bytes beyond the training length with those in its "
    "second half, of the same windows. ALiBi: https://arxiv.org/abs/2108.12409."
)

START, FIRST, SECOND, FILLERS = 0, 1, 2, 13
Marks = Int[Tensor, "batch seq"]


def _marks_network(seed: int, kind: str, tokens: int, arrangement: str, layers: int = 2) -> Network:
    # Names from outside the types' lists are ModelConfig's to refuse.
    chosen: dict[str, Any] = {"arrangement": arrangement, "positions": kind}
    config = ModelConfig(
        family="lmworks",
        vocab_size=3 + FILLERS,
        dim=32,
        layers=layers,
        heads=HEADS,
        context=tokens,
        scale_embedding=True,
        labels=("first", "second"),
        **chosen,
    )
    return Network(config).initialise(seed, "width")


def marks(rows: int, tokens: int, generator: torch.Generator) -> tuple[Marks, Int[Tensor, " batch"]]:
    """Rows of fillers with two marks in them, and whether the second mark comes first; both ends are always the same
    token, whose state is judged."""
    made = torch.randint(3, 3 + FILLERS, (rows, tokens), generator=generator)
    made[:, 0] = made[:, -1] = START
    places = 1 + torch.rand(rows, tokens - 2, generator=generator).argsort(dim=1)[:, :2]
    made.scatter_(1, places, torch.tensor([FIRST, SECOND]).expand(rows, 2))
    return made, (places[:, 1] < places[:, 0]).long()


def order_network(seed: int, kind: str, tokens: int, steps: int, arrangement: str = "encoder") -> Network:
    """A network trained to say which mark came first; every batch is new."""
    network = _marks_network(seed, kind, tokens, arrangement)
    config = TrainingConfig(steps=steps, learning_rate=3e-3, warmup=WARMUP, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    fit(network, Classification(), DrawnRows([_marks_batch(tokens, generator) for _ in range(steps)]), config)
    return network


def _marks_batch(tokens: int, generator: torch.Generator) -> Batch:
    rows, labels = marks(64, tokens, generator)
    nothing = torch.full_like(rows, IGNORE)
    return Batch(rows, nothing, torch.arange(tokens).expand_as(rows), torch.zeros_like(rows), classes=labels)


@torch.no_grad()
def order_accuracy(network: Network, tokens: int, seed: int, rows: int = 2_000) -> float:
    """The share of new rows whose order a network says rightly."""
    fresh, labels = marks(rows, tokens, torch.Generator().manual_seed(10_000 + seed))
    return float((network.classify(network.hidden(fresh)).argmax(dim=1) == labels).double().mean())


@torch.no_grad()
def moved_by_order(network: Network, tokens: int, seed: int, rows: int = 64) -> float:
    """The largest change of a state, in float64, when all tokens but the last stand in another order and the states are
    put back; of a causal network only the last state is looked at, as others see other tokens then."""
    generator = torch.Generator().manual_seed(20_000 + seed)
    plain, _ = marks(rows, tokens, generator)
    order = torch.cat([torch.randperm(tokens - 1, generator=generator), torch.tensor([tokens - 1])])
    exact = Network(network.config).double()
    exact.load_state_dict(network.state_dict())
    before, after = exact.eval().hidden(plain), exact.hidden(plain[:, order])
    change = after - before[:, order]
    return float((change[:, -1] if network.config.causal else change).abs().max())


def reader(seed: int, kind: str, dim: int, context: int) -> Network:
    """A small decoder over bytes with one kind of positions."""
    plain = small_network(seed, dim=dim, heads=HEADS, context=context).config
    config = plain.but(family="lmworks", positions=kind, scale_embedding=True)
    if kind == "relative":
        config = config.but(relative_distance=max(context, plain.relative_buckets))
    return Network(config).initialise(seed, "width")


def lengthened(network: Network, context: int, seed: int) -> Network:
    """The same weights for longer texts; learned positions beyond the old length are fresh."""
    longer = Network(network.config.but(context=context)).initialise(seed, "width")
    weights = network.state_dict()
    if network.config.positions == "learned":
        rows = longer.state_dict()["position.weight"].clone()
        rows[: network.config.context] = weights["position.weight"]
        weights["position.weight"] = rows
    longer.load_state_dict(weights)
    return longer.eval()


@torch.no_grad()
def bits_by_place(network: Network, text: Int[Tensor, " bytes"], count: int) -> Float[Tensor, " seq"]:
    """Bits of the byte at each place of a window, mean over windows spread over a text."""

    def costs() -> Iterator[Tensor]:
        for rows in windows(text, network.config.context, count):
            logits = network(rows[:, :-1]).flatten(0, 1)
            yield F.cross_entropy(logits, rows[:, 1:].flatten(), reduction="none").view(len(rows), -1)

    return torch.cat(list(costs())).mean(dim=0) / 0.6931471805599453


def _beyond(kind: str, by_seed: dict[int, Tensor], context: int) -> Measurement:
    past = {seed: float(bits[context:].mean()) for seed, bits in by_seed.items()}
    within = {seed: float(bits[context // 2 : context].mean()) for seed, bits in by_seed.items()}
    return difference(beyond(kind), past, within, UNIT)


def _chart(by_place: dict[str, dict[int, Tensor]], context: int) -> Chart:
    """Bits by place, in steps of a quarter of the training length."""
    step = max(context // 4, 1)

    def line(bits: Sequence[Tensor]) -> tuple[float, ...]:
        return tuple(float(part.mean()) for part in torch.stack(list(bits)).mean(dim=0).split(step))

    places = tuple(step * (at + 0.5) for at in range(LONGER * context // step))
    return Chart(
        kind="line",
        title=f"Loss by place in the window, trained on windows of {context} bytes",
        x_label="place in the window, bytes",
        y_label=UNIT,
        series=tuple(Series(name=kind, x=places, y=line(list(by_place[kind].values()))) for kind in KINDS),
    )
