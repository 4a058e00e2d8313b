"""Question 49: large language models are large. Does the loss follow a law of size and data that can be trusted ahead?

Small networks of several sizes read several amounts of real text once. A scaling law is fitted to the smaller ones
alone, and has to foretell the run that is larger in both and was held back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

from jaxtyping import Int
from torch import Tensor

from lmworks.basics.errors import ConfigError, DataError
from lmworks.evaluation.measurement import Measurement
from lmworks.evaluation.scaling import FittedLaw, ScalingLaw, fit_scaling_law
from lmworks.evaluation.statistics import Estimate
from lmworks.lab.bench.byte_rows import byte_rows
from lmworks.lab.bench.small_network import bits_per_byte, byte_text, held_out_logits, small_network
from lmworks.lab.bench.training import fit
from lmworks.lab.chart import Chart, Series
from lmworks.lab.registry import experiment
from lmworks.lab.rule import Check, Observation, Rule
from lmworks.lab.scale import Count, Several, scaled
from lmworks.lab.seeds import difference, measured
from lmworks.models.network import Network
from lmworks.objectives import CausalLM
from lmworks.training.settings import TrainingConfig

UNIT = "bits/byte"
LAYERS, HEAD, CONTEXT, RATE, EMBEDDING_RATE = 2, 16, 64, 0.02, 8e-3
ROWS = 4
"""Rows of a step: few, so that the least data still makes steps enough; the first hundred follow no power law."""
WINDOWS = 400

SIZE_GAIN = "largest fitted network minus smallest, mean over the amounts of data"
DATA_GAIN = "most fitted data minus least, mean over the sizes"
GAIN = "run held back minus the best of the smaller ones"
ERROR = "run held back minus what the law foretold"
TOLERANCE = 0.1
"""The held-back run must differ by more than this from every smaller one, and by less from the law."""

Cell = tuple[int, int]
"""Parameters of the blocks, and bytes read."""


@experiment(
    question=49,
    claim="LLMs are AI systems trained on vast text corpora to understand and generate human-like language; they "
    "typically feature billions of parameters and excel at translation, summarization, and reasoning.",
    rule=Rule(
        holds_if=(
            Check(SIZE_GAIN, "<", 0),
            Check(DATA_GAIN, "<", 0),
            Check(GAIN, "<", -TOLERANCE),
            Check(ERROR, ">", -TOLERANCE),
            Check(ERROR, "<", TOLERANCE),
        ),
    ),
)
def scale(
    text: str = "tinyshakespeare",
    widths: tuple[int, ...] = scaled((16, 32, 48, 64), (16, 32, 48, 64, 128)),
    amounts: tuple[int, ...] = scaled((20_000, 40_000, 80_000, 160_000), (30_000, 60_000, 120_000, 240_000, 480_000)),
    held_out_windows: Several = WINDOWS,
    seeds: Count = 3,
) -> Observation:
    """Loss by size and data, the law fitted to it, and its forecast for the largest of both, which it has not seen.

    The last width with the last amount is held back; no other run has either.
    """
    if sorted(widths) != list(widths) or sorted(amounts) != list(amounts) or min(len(widths), len(amounts)) < 4:
        raise ConfigError("widths and amounts must rise, and be at least four each: the last is held back")
    data = byte_text(text)
    if len(data.train) < amounts[-1]:
        raise DataError(f"the text leaves {len(data.train):,} bytes to train on, fewer than {amounts[-1]:,}")
    cells: dict[Cell, dict[int, float]] = {}
    for width, amount in [*((one, two) for one in widths[:-1] for two in amounts[:-1]), (widths[-1], amounts[-1])]:
        for seed in range(seeds):
            network = _trained(_piece(data.train, amount, seed), width, seed)
            bits = bits_per_byte(*held_out_logits(network, data.held_out, held_out_windows))
            cells.setdefault((parameters(network), amount), {})[seed] = bits
    *fitted_to, held_back = cells
    law = _law(cells, fitted_to, range(seeds))
    errors = {
        seed: cells[held_back][seed] - _law(cells, fitted_to, [seed], resamples=1).law.loss(*held_back)
        for seed in range(seeds)
    }
    return Observation(
        measurements=tuple(_table(cells, law, errors)),
        chart=_chart(cells, law),
        note=NOTE,
    )


NOTE = (
    "This run tests one part of the claim, that size and data pay, and by a law that holds beyond what it was fitted "
    "to. What the real model can do, task by task and beside the level of chance, is not part of this rule. Nothing "
    "here has billions of parameters, and a forecast a few times further says little of one a million times further. "
    "Every run reads its bytes once, with one schedule and one learning rate for all sizes, so that more data is also "
    "more steps; the law's powers depend on that, on the text and on the range: published ones, over far "
    "larger runs, are 0.076 and 0.095 without a floor (Kaplan et al. 2020, https://arxiv.org/abs/2001.08361) and 0.34 "
    "and 0.28 with one (Hoffmann et al. 2022, https://arxiv.org/abs/2203.15556). The floor is that of the fit, and no "
    "measurement of the entropy of English. Size counts the blocks' parameters, without the embedding."
)


def parameters(network: Network) -> int:
    """Parameters of the blocks, as Kaplan et al. count them."""
    return sum(parameter.numel() for parameter in network.blocks.parameters())  # type: ignore[attr-defined]


def _piece(text: Int[Tensor, " bytes"], amount: int, seed: int) -> Int[Tensor, " bytes"]:
    """This many bytes from a place of the text that depends on the seed; the end continues at the beginning."""
    return text.roll(-seed * len(text) // 7)[:amount]


def _trained(piece: Int[Tensor, " bytes"], width: int, seed: int) -> Network:
    """A network that has read every byte of the piece once."""
    network = small_network(seed, dim=width, layers=LAYERS, heads=max(width // HEAD, 1), context=CONTEXT)
    config = TrainingConfig(
        context=CONTEXT,
        rows=ROWS,
        epochs=1,
        optimiser="muon",
        learning_rate=RATE,
        embedding_learning_rate=EMBEDDING_RATE,
        warmup=0.1,
        seed=seed,
    )
    fit(network, CausalLM(), byte_rows(piece, CONTEXT), config)
    return network


def _law(
    cells: Mapping[Cell, Mapping[int, float]], fitted_to: Sequence[Cell], seeds: Sequence[int], resamples: int = 300
) -> FittedLaw:
    """The law of the mean losses of some seeds."""
    losses = [fmean(cells[cell][seed] for seed in seeds) for cell in fitted_to]
    return fit_scaling_law(
        [size for size, _ in fitted_to], [amount for _, amount in fitted_to], losses, resamples=resamples
    )


def _table(
    cells: Mapping[Cell, Mapping[int, float]], fitted: FittedLaw, errors: Mapping[int, float]
) -> list[Measurement]:
    """Every loss, the law with its intervals, and the forecast beside what came."""
    *fitted_to, held_back = cells
    sizes, amounts = ([cell[axis] for cell in fitted_to] for axis in (0, 1))

    def mean_over(axis: int, value: int) -> dict[int, float]:
        chosen = [cell for cell in fitted_to if cell[axis] == value]
        return {seed: fmean(cells[cell][seed] for cell in chosen) for seed in errors}

    best = {seed: min(cells[cell][seed] for cell in fitted_to) for seed in errors}
    rows = [
        measured(f"{size:,} parameters, {amount:,} bytes", by_seed, UNIT, chance=8.0, ideal=0.0)
        for (size, amount), by_seed in cells.items()
    ]
    rows += [
        difference(SIZE_GAIN, mean_over(0, max(sizes)), mean_over(0, min(sizes)), UNIT),
        difference(DATA_GAIN, mean_over(1, max(amounts)), mean_over(1, min(amounts)), UNIT),
        _of_law("power of size", fitted, lambda law: law.size_power, errors),
        _of_law("power of data", fitted, lambda law: law.data_power, errors),
        _of_law("floor of the fit", fitted, lambda law: law.floor, errors, UNIT),
        _of_law("what the law foretold for the run held back", fitted, lambda law: law.loss(*held_back), errors, UNIT),
        difference(GAIN, cells[held_back], best, UNIT),
        measured(ERROR, errors, UNIT, difference=True, ideal=0.0),
    ]
    return rows


def _of_law(
    name: str, fitted: FittedLaw, quantity: Callable[[ScalingLaw], float], seeds: Mapping[int, float], unit: str = ""
) -> Measurement:
    estimate = fitted.estimate(quantity)
    return Measurement(
        name=name, value=estimate.value, unit=unit, interval=estimate.interval, n=fitted.points, seeds=tuple(seeds)
    )


def _chart(cells: Mapping[Cell, Mapping[int, float]], fitted: FittedLaw) -> Chart:
    """Loss by data, a line for each size; the law's forecast for the size held back, and what came."""
    *fitted_to, (largest, most) = cells
    amounts = sorted({amount for _, amount in fitted_to})
    lines = [
        Series(
            name=f"{size:,} parameters",
            x=tuple(map(float, amounts)),
            y=tuple(fmean(cells[size, amount].values()) for amount in amounts),
        )
        for size in sorted({size for size, _ in fitted_to})
    ]

    def forecast_for(amount: int) -> Estimate:
        return fitted.estimate(lambda law: law.loss(largest, amount))

    forecast = [forecast_for(amount) for amount in (*amounts, most)]
    ends = [one.interval or (one.value, one.value) for one in forecast]
    lines.append(
        Series(
            name=f"the law's forecast for {largest:,}",
            x=tuple(map(float, (*amounts, most))),
            y=tuple(one.value for one in forecast),
            low=tuple(low for low, _ in ends),
            high=tuple(high for _, high in ends),
        )
    )
    lines.append(Series(name=f"{largest:,}, held back", x=(float(most),), y=(fmean(cells[largest, most].values()),)))
    return Chart(
        kind="line",
        title="Held-out loss by bytes read, for networks of several sizes",
        x_label="bytes read, each once",
        y_label=UNIT,
        log_x=True,
        log_y=True,
        series=tuple(lines),
    )
