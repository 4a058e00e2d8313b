"""Question 48: hyperparameters steer how fast a model converges and how good it becomes.

For each seed a sweep of its own (`lmworks.sweeping`) over learning rate, batch size, depth and dropout, at equal numbers of training
tokens. Its best recipe and the recipe as it stands are then trained anew with a seed that took no part and judged by text
that took no part; their losses on the way say how fast they converge. At the full scale the learning rate is also chosen for
two widths, to see whether the best one carries over.
"""

from __future__ import annotations

import itertools
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field

from lmworks.lab.chart import Chart, Series
from lmworks.lab.finding import Check, Observation, Rule
from lmworks.lab.registry import Count, Several, experiment, scaled
from lmworks.lab.seeds import difference, measured
from lmworks.lab.small_network import BYTES, ByteText, bits_per_byte, byte_text, held_out_logits
from lmworks.pretraining import fit, open_prepared, prepare, read_parts
from lmworks.sweeping.importance import LEAST
from lmworks.sweeping.run import SweepResult, sweep
from lmworks.sweeping.space import with_settings
from lmworks.sweeping.trial import bits_per_byte as bits_of_loss
from lmworks.training.loop import steps_of
from lmworks.training_recipe import TrainRecipe

RATE, BATCH, DEPTH, DROPOUT = "training.learning_rate", "training.rows", "model.layers", "model.dropout"
SPACE: dict[str, dict[str, Any]] = {
    RATE: {"low": 3e-4, "high": 3e-2, "log": True},
    BATCH: {"choices": [8, 16, 32, 64]},
    DEPTH: {"low": 1, "high": 4},
    DROPOUT: {"low": 0.0, "high": 0.3},
}
WORDS = {RATE: "learning rate", BATCH: "batch size", DEPTH: "depth", DROPOUT: "dropout"}
SEEN_AT = 8
"""Validations of a judged run."""

AS_IT_STANDS, BEST = "judged text, the recipe as it stands", "judged text, the sweep's best"
GAIN = "judged text, the recipe as it stands minus the sweep's best"
SPREAD = "text for choosing, worst quarter of the trials minus best quarter"
SPEED = "share of its run in which the best reaches what the recipe ends with"


def beyond_chance(setting: str) -> str:
    """The name of a setting's importance, less what chance shows."""
    return f"importance of {WORDS[setting]} minus that by chance"


@experiment(
    question=48,
    claim="Hyperparameters (like learning rate or batch size) are preset values that control the training process; they "
    "influence how fast a model converges and its final accuracy.",
    rule=Rule(
        holds_if=(
            Check(SPREAD, ">", 0.1),
            Check(GAIN, ">", 0),
            Check(SPEED, "<", 0.9),
            Check(beyond_chance(RATE), ">", 0),
        ),
        only_if=(
            (
                Check(beyond_chance(BATCH), ">", 0),
                "batch size is not named beside the learning rate: its part is no more than chance here",
            ),
        ),
    ),
)
def hyperparameters(
    text: str = "tinyshakespeare",
    trials: Annotated[int, Field(ge=LEAST)] = scaled(10, 16),
    epochs: float = scaled(0.08, 0.15),
    dim: Several = 64,
    context: Several = 64,
    held_out_windows: Several = scaled(300, 1000),
    widths: tuple[int, ...] = scaled((), (32, 128)),
    rates: tuple[float, ...] = (1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2),
    seeds: Count = scaled(3, 4),
) -> Observation:
    """Importance of each setting; the sweep's best against the recipe as it stands; convergence; transfer across width."""
    data = byte_text(text)
    found: dict[str, dict[int, float]] = {name: {} for name in (AS_IT_STANDS, BEST, SPREAD, SPEED)}
    beyond: dict[str, dict[int, float]] = {name: {} for name in SPACE}
    shares: dict[str, dict[int, float]] = {name: {} for name in SPACE}
    curves: dict[str, list[Curve]] = {AS_IT_STANDS: [], BEST: []}
    chosen: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name), data, dim, context, epochs, held_out_windows)
        for seed in range(seeds):
            result = sweep(bench.tables(seed), SPACE, trials, Path(name) / f"sweep-{seed}", seed=seed, prune=False)
            chosen.append(result.best.settings)
            found[SPREAD][seed] = _spread(result)
            for one in result.importance:
                shares[one.setting][seed], beyond[one.setting][seed] = one.share, one.share - one.chance
            judged = {AS_IT_STANDS: bench.judge({}, seed), BEST: bench.judge(result.best.settings, seed)}
            for condition, (bits, curve) in judged.items():
                found[condition][seed] = bits
                curves[condition].append(curve)
            found[SPEED][seed] = reached(judged[BEST][1], judged[AS_IT_STANDS][1][-1][1])
        carried = _across_widths(bench, widths, rates, seeds)
    measurements = [
        measured(AS_IT_STANDS, found[AS_IT_STANDS], "bits/byte", chance=8.0, ideal=0.0),
        measured(BEST, found[BEST], "bits/byte", chance=8.0, ideal=0.0),
        difference(GAIN, found[AS_IT_STANDS], found[BEST], "bits/byte"),
        measured(SPREAD, found[SPREAD], "bits/byte", chance=0.0),
        measured(SPEED, found[SPEED]),
        *(measured(f"importance of {WORDS[name]}", shares[name], chance=1 / len(SPACE)) for name in SPACE),
        *(measured(beyond_chance(name), beyond[name], difference=True, chance=0.0) for name in SPACE),
        *(measured(name, by_seed, "doublings", difference=True, chance=0.0) for name, by_seed in carried.items()),
    ]
    return Observation(measurements=tuple(measurements), chart=_chart(curves), note=f"{NOTE} {_said(chosen)}")


NOTE = (
    "Trials see equally many tokens and not equally much computing: a deeper network costs more, and a smaller batch makes more "
    "steps of them. Importance is PED-ANOVA's, the best quarter of a sweep's trials against all of them, and holds for this "
    "space and this short training alone: a wider range makes a setting matter more. Chance is what 95 % of shuffled results stay below. "
    "The best of a sweep is chosen on one text and judged on another, with another seed. Not every "
    "hyperparameter has to matter for the claim to hold, and it does not say which do."
)

Curve = list[tuple[float, float]]
"""Share of the run that is done, and bits per byte of the text kept for choosing."""


@dataclass
class Bench:
    """Where the runs of this experiment are made."""

    folder: Path
    data: ByteText
    dim: int
    context: int
    epochs: float
    held_out_windows: int

    def __post_init__(self) -> None:
        """Text for training and choosing, as a recipe reads it: the end is kept for choosing."""
        (self.folder / "text").mkdir()
        whole = torch.cat([self.data.train, self.data.choose])
        (self.folder / "text" / "text.txt").write_bytes(bytes(whole.tolist()))
        self.share = len(self.data.choose) / len(whole)
        recipe = TrainRecipe(**self.tables(0))
        prepare(recipe, read_parts(recipe), self.folder / "packed")
        self.text = open_prepared(recipe, self.folder / "packed")

    def tables(self, seed: int) -> dict[str, Any]:
        """The recipe as it stands: the rate and what else is left open is that of `lmworks train` at depth 2."""
        return {
            "depth": 2,
            "dtype": "float32",
            "data": {"text": str(self.folder / "text"), "hold_out": "end", "held_out": self.share},
            "tokenizer": {"kind": "byte"},
            "model": {"dim": self.dim, "heads": 2, "context": self.context},
            "training": {"context": self.context, "rows": 16, "accumulate": 1, "epochs": self.epochs, "seed": seed},
            "validation": {"tokens": 30_000},
        }

    def judge(self, settings: Mapping[str, Any], seed: int) -> tuple[float, Curve]:
        """Train with a seed that no sweep had; bits per byte of the judged text, and the curve on the way there."""
        recipe = TrainRecipe(**with_settings(self.tables(1000 + seed), settings))
        steps = steps_of(recipe.training, self.text.train.tokens // self.context) or 1
        training = recipe.training.but(evaluate_every=max(1, steps // SEEN_AT))
        curve: Curve = []
        fitted = fit(
            recipe.but(training=training),
            self.text,
            self.folder / "judged",
            report=lambda done, loss: curve.append((done, bits_of_loss(self.text, loss))),
        )
        ids = torch.tensor(fitted.model.tokenizer.encode(bytes(self.data.held_out.tolist()).decode(), special=False))
        assert len(ids) == len(self.data.held_out), f"a token is a byte, and there are {BYTES} of them"
        return bits_per_byte(*held_out_logits(fitted.model.network, ids, self.held_out_windows)), curve

    def bits_with(self, width: int, rate: float, seed: int) -> float:
        """Bits per byte of the text for choosing, of a network of that width trained at that rate."""
        changes = {"model.dim": width, "training.learning_rate": rate}
        recipe = TrainRecipe(**with_settings(self.tables(seed), changes))
        return bits_of_loss(self.text, fit(recipe, self.text, self.folder / "width").validation_loss)


def reached(curve: Curve, level: float) -> float:
    """The share of its run in which a curve first comes down to a level; 1 where it never does."""
    for (before, above), (after, below) in itertools.pairwise(curve):
        if below <= level:
            return before if above <= level else before + (after - before) * (above - level) / (above - below)
    return 1.0


def _spread(result: SweepResult) -> float:
    values = [one.value for one in result.ranking if one.value is not None]
    quarter = max(1, len(values) // 4)
    return fmean(values[-quarter:]) - fmean(values[:quarter])


def _across_widths(
    bench: Bench, widths: Sequence[int], rates: Sequence[float], seeds: int
) -> dict[str, dict[int, float]]:
    """How many doublings the best rate of each wider network is away from that of the narrowest."""
    best: dict[int, dict[int, float]] = {width: {} for width in widths}
    for width in widths:
        for seed in range(seeds):
            bits = {rate: bench.bits_with(width, rate, seed) for rate in rates}
            best[width][seed] = math.log2(min(bits, key=lambda rate: bits[rate]))
    return {
        f"best learning rate, width {width} against {widths[0]}": {
            seed: best[width][seed] - best[widths[0]][seed] for seed in range(seeds)
        }
        for width in widths[1:]
    }


def _chart(curves: Mapping[str, list[Curve]]) -> Chart:
    """Means over seeds, at even shares of the run."""
    places = np.linspace(0, 1, SEEN_AT + 1)[1:]
    series = []
    for condition, runs in curves.items():
        rows = [np.interp(places, [at for at, _ in run], [bits for _, bits in run]) for run in runs]
        mean = np.mean(rows, axis=0)
        series.append(Series(name=condition.partition(", ")[2], x=tuple(places.tolist()), y=tuple(mean.tolist())))
    return Chart(
        kind="line",
        title="How fast the sweep's best and the recipe as it stands converge",
        x_label="share of the run",
        y_label="bits/byte of the text for choosing",
        series=tuple(series),
    )


def _said(chosen: Sequence[Mapping[str, Any]]) -> str:
    lines = "; ".join(
        ", ".join(f"{WORDS[name]} {value:.3g}" for name, value in settings.items()) for settings in chosen
    )
    return f"The best of each sweep: {lines}."
