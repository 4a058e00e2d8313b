"""Runs of one recipe that differ in a few settings, by bytes of a real text: how they converge and where they end.

bench = RecipeBench(folder, byte_text("tinyshakespeare"), dim=64, context=64, epochs=0.5, held_out_windows=400)
judged = bench.judge({"training.learning_rate": 1e-3}, seed=100)
reached(judged.curve, level=3.0)      # the share of the run after which it is there
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from lmworks.jobs.sweeping.space import with_settings
from lmworks.jobs.sweeping.trial import bits_per_byte as bits_of_loss
from lmworks.jobs.train import fit, open_prepared, prepare, read_parts
from lmworks.jobs.training_recipe import TrainRecipe
from lmworks.lab.bench.small_network import BYTES, ByteText, bits_per_byte, held_out_logits
from lmworks.training.loop import steps_of

SEEN_AT = 12
"""Validations of a judged run."""

Curve = list[tuple[float, float]]
"""Share of the run that is done, and bits per byte of the text kept for choosing."""


class Judged(NamedTuple):
    """A finished run."""

    bits: float
    """Per byte of the judged text."""
    right: float
    """The share of its bytes that are the likeliest ones."""
    curve: Curve


@dataclass
class RecipeBench:
    """Where the runs are made."""

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
            "validation": {"tokens": 10_000},
        }

    def judge(self, settings: Mapping[str, Any], seed: int) -> Judged:
        """Train with these settings changed, and judge by text that no choice has seen."""
        recipe = TrainRecipe(**with_settings(self.tables(seed), settings))
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
        logits, targets = held_out_logits(fitted.model.network, ids, self.held_out_windows)
        right = (logits.argmax(dim=-1) == targets).double().mean()
        return Judged(bits_per_byte(logits, targets), float(right), curve)


def reached(curve: Curve, level: float) -> float:
    """The share of its run in which a curve first comes down to a level; 1 where it never does."""
    for (before, above), (after, below) in itertools.pairwise(curve):
        if below <= level:
            return before if above <= level else before + (after - before) * (above - level) / (above - below)
    return 1.0
