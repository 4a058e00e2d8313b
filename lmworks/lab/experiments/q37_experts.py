"""Question 37: a mixture of experts against dense networks that use, or that hold, as many parameters.

Three small networks read the same bytes of real text once, in the same order: dense; with experts of which each token
uses as much as the dense one has; dense and as large as all experts together. A fourth has the experts without any
balancing.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean, median

import torch
from jaxtyping import Int
from torch import Tensor

from lmworks.evaluation.measurement import Measurement
from lmworks.jobs.planning.parameters import count_parameters
from lmworks.lab.bench.byte_rows import byte_rows, nats_per_byte
from lmworks.lab.bench.small_network import BYTES, ByteText, byte_text, windows
from lmworks.lab.bench.training import fit
from lmworks.lab.chart import Chart, Series
from lmworks.lab.registry import experiment
from lmworks.lab.rule import Check, Observation, Rule
from lmworks.lab.scale import Count, Several, scaled
from lmworks.lab.seeds import difference, measured
from lmworks.models.config import ExpertSettings, ModelConfig
from lmworks.models.experts import expert_layers
from lmworks.models.hooks import hooked
from lmworks.models.network import Network
from lmworks.objectives import CausalLM, LoadBalance, Objective
from lmworks.training.settings import TrainingConfig

DENSE, EXPERTS, UNBALANCED, LARGE = (
    "dense, as much as one token uses",
    "experts",
    "experts without balancing",
    "dense, as much as all experts",
)
LAYERS, HEADS, CONTEXT, TOP_K = 2, 2, 64, 2
RATE, EMBEDDING_RATE, BALANCE = 0.02, 8e-3, 0.01
LOAD_WINDOWS, WINDOWS, TIMED_ROWS = 200, 1000, 16
UNIT = "bits/byte"
AT_ACTIVE, AT_TOTAL = f"{EXPERTS} minus {DENSE}", f"{EXPERTS} minus {LARGE}"
FRACTION = "share of the parameters that one token uses"
TIME_OF_LARGE, TIME_OF_DENSE = f"time of a token, {EXPERTS} over {LARGE}", f"time of a token, {EXPERTS} over {DENSE}"
BUSIEST = "load of the busiest expert over an even load"


@dataclass(frozen=True)
class Setting:
    """What all runs share."""

    data: ByteText
    steps: int
    rows: int
    dim: int
    hidden: int
    count: int

    def config(self, way: str) -> ModelConfig:
        """The network of one way; `hidden` is the width that a token uses."""
        experts = None
        if way in (EXPERTS, UNBALANCED):
            experts = ExpertSettings(count=self.count, top_k=TOP_K, hidden_dim=self.hidden // TOP_K, scale=TOP_K)
        return ModelConfig(
            family="lmworks",
            vocab_size=BYTES,
            dim=self.dim,
            layers=LAYERS,
            heads=HEADS,
            context=CONTEXT,
            hidden_dim=self.hidden * (self.count // TOP_K if way == LARGE else 1),
            experts=experts,
        )

    def piece(self, seed: int) -> Int[Tensor, " bytes"]:
        """The bytes of a seed, beginning at another place of the text for each."""
        amount = self.steps * self.rows * (CONTEXT - 1)
        return self.data.train.roll(-seed * len(self.data.train) // 7)[:amount]


@dataclass(frozen=True)
class Run:
    """One trained network."""

    loss: float
    """Bits per byte of text that no choice has seen."""
    seconds: float
    """CPU time of a forward pass over a byte."""
    loads: tuple[tuple[float, ...], ...]
    """For each layer, each expert's load over an even load, the largest first; none where it is dense."""


@experiment(
    question=37,
    claim="MoE uses a gating function to activate only specific expert sub-networks for a given input; a model may "
    "have billions of parameters while only using a fraction per query, which reduces the computational load.",
    rule=Rule(
        holds_if=(
            Check(FRACTION, "<", 0.5),
            Check(AT_ACTIVE, "<", 0),
            Check(TIME_OF_LARGE, "<", 1),
        ),
        only_if=(
            (
                Check(AT_TOTAL, "<", 0.02),
                "it is compared with a dense network of the same load: one as large as all experts learns more from "
                "the same text",
            ),
        ),
    ),
)
def mixture(
    text: str = "wikitext2",
    steps: Several = scaled(200, 2000),
    rows: Count = 16,
    dim: Several = 32,
    hidden: Several = 64,
    experts: Several = 8,
    seeds: Count = scaled(3, 4),
) -> Observation:
    """Loss, time and load of each way; all learn at one rate, by the same schedule."""
    setting = Setting(byte_text(text), steps, rows, dim, hidden, experts)
    runs: dict[str, dict[int, Run]] = {way: {} for way in (DENSE, EXPERTS, UNBALANCED, LARGE)}
    for seed in range(seeds):
        trained = {way: _trained(setting, way, seed) for way in runs}
        seconds = _seconds(trained, setting.data)
        for way, network in trained.items():
            bits = nats_per_byte(network, setting.data.held_out, WINDOWS) / LN_2
            runs[way][seed] = Run(bits, seconds[way], _loads(network, setting.data))
    return Observation(measurements=tuple(_table(setting, runs)), chart=_chart(runs), note=NOTE)


LN_2 = 0.6931471805599453
NOTE = (
    "Nothing here has billions of parameters, and what is used is a third of them and no tenth. Bytes and steps are "
    "equal, so that at equal active parameters operations are too, but for the router's. One learning rate for all, "
    "not tuned for any; weights of experts sum to their number, so that their layer is as loud as the dense one. All "
    "parameters must be held in memory whether used or not. Time is CPU time of a forward pass of 16 x 64 bytes, the "
    "least of several, on a CPU in float32; a single token moves its own experts' weights alone. Balancing is the loss "
    "of Fedus et al. 2021 (https://arxiv.org/abs/2101.03961) times 0.01; loads are those of held-out text, in which "
    "nothing balances."
)


def _trained(setting: Setting, way: str, seed: int) -> Network:
    """A network that has read its piece once."""
    network = Network(setting.config(way)).initialise(seed)
    config = TrainingConfig(
        context=CONTEXT,
        rows=setting.rows,
        steps=setting.steps,
        optimiser="muon",
        learning_rate=RATE,
        embedding_learning_rate=EMBEDDING_RATE,
        warmup=0.1,
        seed=seed,
    )
    objective: Objective = CausalLM() + LoadBalance(BALANCE) if way == EXPERTS else CausalLM()
    fit(network, objective, byte_rows(setting.piece(seed), CONTEXT), config)
    return network


@torch.no_grad()
def _seconds(networks: Mapping[str, Network], data: ByteText, rounds: int = 15) -> dict[str, float]:
    """The least CPU time of a forward pass for each byte, the networks taking turns: neighbours do not count."""
    rows = next(windows(data.held_out, CONTEXT, TIMED_ROWS, TIMED_ROWS))[:, :-1]
    least = dict.fromkeys(networks, float("inf"))
    for _ in range(rounds):
        for way, network in networks.items():
            start = time.process_time()
            network(rows)
            least[way] = min(least[way], time.process_time() - start)
    return {way: seconds / rows.numel() for way, seconds in least.items()}


@torch.no_grad()
def _loads(network: Network, data: ByteText) -> tuple[tuple[float, ...], ...]:
    """The load of each expert on held-out text."""
    kept: dict[str, list[Tensor]] = {f"{path}.load": [] for path, _ in expert_layers(network)}
    with hooked(network, {path: loads.append for path, loads in kept.items()}):
        for rows in windows(data.held_out, CONTEXT, LOAD_WINDOWS):
            network(rows[:, :-1])
    totals = [torch.stack(loads).sum(0).double() for loads in kept.values()]
    return tuple(tuple(sorted((total / total.mean()).tolist(), reverse=True)) for total in totals)


def _table(setting: Setting, runs: Mapping[str, Mapping[int, Run]]) -> list[Measurement]:
    """Loss and time of each way, the differences that the claim is about, and the loads."""
    losses = {way: {seed: run.loss for seed, run in by_seed.items()} for way, by_seed in runs.items()}
    rows = [measured(f"held-out text, {way}", by_seed, UNIT, chance=8.0, ideal=0.0) for way, by_seed in losses.items()]
    rows += [
        difference(AT_ACTIVE, losses[EXPERTS], losses[DENSE], UNIT),
        difference(AT_TOTAL, losses[EXPERTS], losses[LARGE], UNIT),
        difference(f"{EXPERTS} minus {UNBALANCED}", losses[EXPERTS], losses[UNBALANCED], UNIT),
    ]
    for way in (DENSE, EXPERTS, LARGE):
        counted = count_parameters(setting.config(way))
        rows += [
            Measurement(name=f"parameters, {way}", value=counted.base),
            Measurement(name=f"parameters that one token uses, {way}", value=counted.active),
        ]
    counted = count_parameters(setting.config(EXPERTS))
    rows.append(Measurement(name=FRACTION, value=counted.active / counted.base))
    for name, other in ((TIME_OF_LARGE, LARGE), (TIME_OF_DENSE, DENSE)):
        ratios = {seed: run.seconds / runs[other][seed].seconds for seed, run in runs[EXPERTS].items()}
        rows.append(measured(name, ratios, chance=1.0))
    rows.append(
        Measurement(
            name=f"microseconds of a byte, {EXPERTS}",
            value=1e6 * median(run.seconds for run in runs[EXPERTS].values()),
            unit="us",
        )
    )
    for way in (EXPERTS, UNBALANCED):
        busiest = {seed: fmean(layer[0] for layer in run.loads) for seed, run in runs[way].items()}
        idlest = {seed: fmean(layer[-1] for layer in run.loads) for seed, run in runs[way].items()}
        rows.append(measured(f"{BUSIEST}, {way}", busiest, ideal=1.0))
        rows.append(measured(f"{BUSIEST.replace('busiest', 'idlest')}, {way}", idlest, ideal=1.0))
    return rows


def _chart(runs: Mapping[str, Mapping[int, Run]]) -> Chart:
    """Loss by the time of a byte, a point for each seed."""
    return Chart(
        kind="scatter",
        title="Held-out loss and time of a byte",
        x_label="microseconds of a byte, forward",
        y_label=UNIT,
        series=tuple(
            Series(
                name=way,
                x=tuple(1e6 * run.seconds for run in by_seed.values()),
                y=tuple(run.loss for run in by_seed.values()),
            )
            for way, by_seed in runs.items()
        ),
    )
