"""Question 18: L1, L2, dropout and early stopping against overfitting, each alone and all together.

Small networks learn a small piece of real text by heart. Each strength is chosen on text of its own, by the loss at
the end of training; what is judged is other text again. Early stopping watches the text for choosing, too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from jaxtyping import Int
from torch import Tensor

from lmworks.evaluation.measurement import Measurement
from lmworks.lab.bench.byte_rows import byte_rows, nats_per_byte
from lmworks.lab.bench.small_network import WARMUP, ByteText, byte_text, small_network
from lmworks.lab.bench.training import fit
from lmworks.lab.chart import Chart, Series
from lmworks.lab.registry import experiment
from lmworks.lab.rule import Check, Observation, Rule
from lmworks.lab.scale import Count, Several, scaled
from lmworks.lab.seeds import difference, measured
from lmworks.models.network import Network
from lmworks.objectives import L1, L2, CausalLM, Objective
from lmworks.training.loop import TrainingResult, Validate
from lmworks.training.settings import TrainingConfig

NOTHING, EARLY, TOGETHER = "nothing", "early stopping", "all together"
STRENGTHS = {"L1": "l1", "coupled L2": "l2", "decoupled L2": "decay", "dropout": "dropout"}
"""Each remedy that has a strength, and the field of `Remedy` that holds it."""
SHARES = (0.25, 0.5, 1.0)
"""All together are tried with these shares of the strength that each has alone."""
LAYERS, CONTEXT, RATE = 1, 64, 5e-3
VALIDATIONS, PATIENCE = 16, 3
WINDOWS, LAST_WINDOWS = 50, 400
"""Of each text, at a validation and at the end."""
GAP = "held-out minus training text"
UNIT = "bits/byte"


def minus_nothing(remedy: str) -> str:
    """The name of what a way does to the loss on held-out text."""
    return f"held-out text, {remedy} minus nothing"


@dataclass(frozen=True)
class Remedy:
    """What is done against overfitting; nothing by default."""

    l1: float = 0.0
    l2: float = 0.0
    decay: float = 0.0
    dropout: float = 0.0


@dataclass(frozen=True)
class Setting:
    """What all runs share."""

    data: ByteText
    train_bytes: int
    steps: int
    dim: int
    rows: int

    def piece(self, seed: int) -> Int[Tensor, " bytes"]:
        """The small text of a seed: other seeds learn other pieces, as far as the text goes."""
        places = max(len(self.data.train) // self.train_bytes, 1)
        start = seed % places * self.train_bytes
        return self.data.train[start : start + self.train_bytes]


@dataclass(frozen=True)
class Run:
    """Bits per byte of one run."""

    steps: tuple[int, ...]
    """Steps done at each validation."""
    choose: tuple[float, ...]
    """Text that strengths are chosen and training is stopped by, at each validation."""
    held_out: tuple[float, ...]
    """The judged text, at each validation."""
    train: float
    """The text that was trained on, by the network that is left (the restored one, where training was stopped)."""
    end: float
    """The judged text, by that network."""

    @property
    def at_best(self) -> float:
        """The judged text at the validation with the lowest loss on the text for choosing."""
        return self.held_out[min(range(len(self.choose)), key=self.choose.__getitem__)]


@experiment(
    question=18,
    claim="Overfitting occurs when a model memorizes training data and fails to generalize; regularization "
    "(L1/L2 penalties), dropout and early stopping mitigate it.",
    rule=Rule(
        holds_if=(
            Check(f"{GAP}, {NOTHING}", ">", 0.3),
            Check(minus_nothing(EARLY), "<", 0),
            Check(minus_nothing("dropout"), "<", 0),
        ),
        only_if=(
            (Check(minus_nothing("L1"), "<", 0), "L1 is left out"),
            (Check(minus_nothing("coupled L2"), "<", 0), "L2 is not added to the loss that Adam sees"),
            (Check(minus_nothing("decoupled L2"), "<", 0), "L2 is not used as decoupled weight decay"),
        ),
    ),
)
def overfitting(
    text: str = "tinyshakespeare",
    train_bytes: Several = 6_000,
    steps: Several = scaled(320, 600),
    dim: Several = 96,
    rows: Count = 8,
    l1: tuple[float, ...] = scaled((1e-5, 3e-5), (1e-5, 3e-5, 1e-4)),
    l2: tuple[float, ...] = scaled((1e-3, 3e-3), (1e-3, 3e-3, 1e-2)),
    decay: tuple[float, ...] = scaled((1.0, 3.0), (0.3, 1.0, 3.0)),
    dropout: tuple[float, ...] = scaled((0.05, 0.1), (0.05, 0.1, 0.2)),
    seeds: Count = scaled(3, 5),
) -> Observation:
    """Training and held-out loss, and the gap between them, for each way; with the best checkpoint, too."""
    setting = Setting(byte_text(text), train_bytes, steps, dim, rows)
    grids = {"L1": l1, "coupled L2": l2, "decoupled L2": decay, "dropout": dropout}
    remedies, every, edges = {NOTHING: Remedy(), EARLY: Remedy()}, Remedy(), []
    for name, field in STRENGTHS.items():
        remedies[name] = chosen(setting, [Remedy(**{field: one}) for one in grids[name]], seeds)
        strength = getattr(remedies[name], field)
        every = replace(every, **{field: strength})
        if len(grids[name]) > 2 and strength in (min(grids[name]), max(grids[name])):
            edges.append(name)
    remedies[TOGETHER] = chosen(setting, [_weaker(every, share) for share in SHARES], seeds)
    runs = {
        name: {
            seed: run(setting, remedy, seed, PATIENCE if name in (EARLY, TOGETHER) else None) for seed in range(seeds)
        }
        for name, remedy in remedies.items()
    }
    strengths = "; ".join(f"{name} ({_described(remedy)})" for name, remedy in remedies.items() if remedy != Remedy())
    edge = f" At the edge of those tried: {', '.join(edges)}." if edges else ""
    return Observation(
        measurements=tuple(_table(runs)),
        chart=_chart(runs),
        note=f"{NOTE} Strengths chosen: {strengths}.{edge}",
    )


NOTE = (
    "Only the loss on text that no choice has seen counts; a smaller gap alone may come from learning less. Early "
    "stopping and all together use the text for choosing once more, to stop by. All runs share one learning rate and "
    "schedule. L1 and coupled L2 act through the gradient, which Adam scales for each weight, so that they pull "
    "hardest where gradients are small; decoupled decay does not pass through it (Loshchilov and Hutter 2017, "
    "https://arxiv.org/abs/1711.05101). What is seen here is many passes over a small text; large language models read "
    "most of theirs once, and then underfit rather (Hoffmann et al. 2022, https://arxiv.org/abs/2203.15556)."
)


def chosen(setting: Setting, candidates: Sequence[Remedy], seed: int) -> Remedy:
    """The way with the lowest loss on the text for choosing, at the end of a run of a seed that is not judged."""

    def loss(remedy: Remedy) -> float:
        network = _fresh(setting, remedy, seed)
        _train(setting, remedy, seed, network)
        return nats_per_byte(network, setting.data.choose, LAST_WINDOWS)

    return min(candidates, key=loss) if len(candidates) > 1 else candidates[0]


def run(setting: Setting, remedy: Remedy, seed: int, patience: int | None) -> Run:
    """Train one network in one way, and measure it on the three texts; with `patience` it stops and goes back."""
    network = _fresh(setting, remedy, seed)
    held_out: list[float] = []

    def validate(network: Network) -> float:
        held_out.append(_bits(nats_per_byte(network, setting.data.held_out, WINDOWS)))
        return nats_per_byte(network, setting.data.choose, WINDOWS)

    result = _train(setting, remedy, seed, network, patience, validate)
    return Run(
        steps=tuple(step for step, _ in result.validation),
        choose=tuple(_bits(loss) for _, loss in result.validation),
        held_out=tuple(held_out),
        train=_bits(nats_per_byte(network, setting.piece(seed), LAST_WINDOWS)),
        end=_bits(nats_per_byte(network, setting.data.held_out, LAST_WINDOWS)),
    )


def _fresh(setting: Setting, remedy: Remedy, seed: int) -> Network:
    plain = small_network(seed, dim=setting.dim, layers=LAYERS, context=CONTEXT)
    return Network(plain.config.but(dropout=remedy.dropout)).initialise(seed)


def _train(
    setting: Setting,
    remedy: Remedy,
    seed: int,
    network: Network,
    patience: int | None = None,
    validate: Validate | None = None,
) -> TrainingResult:
    config = TrainingConfig(
        context=CONTEXT,
        rows=setting.rows,
        steps=setting.steps,
        learning_rate=RATE,
        warmup=WARMUP,
        weight_decay=remedy.decay,
        evaluate_every=max(setting.steps // VALIDATIONS, 1),
        patience=patience,
        seed=seed,
    )
    objective: Objective = CausalLM()
    if remedy.l1:
        objective = objective + L1(remedy.l1)
    if remedy.l2:
        objective = objective + L2(remedy.l2)
    rows = byte_rows(setting.piece(seed), CONTEXT)
    return fit(network, objective, rows, config, validate)


def _weaker(remedy: Remedy, share: float) -> Remedy:
    """The same with a share of each strength."""
    return replace(remedy, **{field: share * getattr(remedy, field) for field in STRENGTHS.values()})


def _described(remedy: Remedy) -> str:
    return ", ".join(f"{field} {getattr(remedy, field):g}" for field in STRENGTHS.values() if getattr(remedy, field))


def _bits(nats: float) -> float:
    return nats / math.log(2)


def _table(runs: dict[str, dict[int, Run]]) -> list[Measurement]:
    """Each way's losses and gap, what it changes, and what is left of that beside early stopping."""
    end = {remedy: {seed: one.end for seed, one in by_seed.items()} for remedy, by_seed in runs.items()}
    best = {remedy: {seed: one.at_best for seed, one in by_seed.items()} for remedy, by_seed in runs.items()}
    train = {remedy: {seed: one.train for seed, one in by_seed.items()} for remedy, by_seed in runs.items()}
    rows = []
    for remedy in runs:
        rows += [
            measured(f"training text, {remedy}", train[remedy], UNIT, chance=8.0, ideal=0.0),
            measured(f"held-out text, {remedy}", end[remedy], UNIT, chance=8.0, ideal=0.0),
            difference(f"{GAP}, {remedy}", end[remedy], train[remedy], UNIT),
        ]
    rows += [difference(minus_nothing(remedy), end[remedy], end[NOTHING], UNIT) for remedy in runs if remedy != NOTHING]
    rows += [
        difference(f"held-out text at the best checkpoint, {remedy} minus {NOTHING}", best[remedy], best[NOTHING], UNIT)
        for remedy in (*STRENGTHS, TOGETHER)
    ]
    stopped = [one.steps[-1] / runs[NOTHING][seed].steps[-1] for seed, one in runs[EARLY].items()]
    rows.append(measured("share of the steps that early stopping took", dict(enumerate(stopped))))
    return rows


def _chart(runs: dict[str, dict[int, Run]]) -> Chart:
    """The judged text along each run, mean over seeds; early stopping is the point that it goes back to."""
    lines = []
    for remedy, by_seed in runs.items():
        if remedy == EARLY:
            continue
        length = min(len(one.steps) for one in by_seed.values())
        one = next(iter(by_seed.values()))
        heights = (fmean(each.held_out[at] for each in by_seed.values()) for at in range(length))
        lines.append(Series(name=remedy, x=tuple(map(float, one.steps[:length])), y=tuple(heights)))
    early = runs[EARLY].values()
    back_to = [one.steps[min(range(len(one.choose)), key=one.choose.__getitem__)] for one in early]
    point = Series(name=f"{EARLY}, restored", x=(fmean(back_to),), y=(fmean(one.end for one in early),))
    return Chart(
        kind="line",
        title="Held-out loss of networks that learn a small text by heart",
        x_label="steps",
        y_label=UNIT,
        series=(*lines, point),
    )
