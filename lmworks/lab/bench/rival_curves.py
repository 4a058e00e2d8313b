"""Curves of a transformer and of its rival, each trained until it stops gaining: on text, and on recall (claim 17).

rate = best_rate(RATES, lambda rate: text_curve(config, data, Plan(rate, seed=0, steps=100)).chosen[-1])
text_curve(config, data, Plan(rate, seed=1, steps=2000)).best           # bits per byte of held-out text
"""

from __future__ import annotations

from dataclasses import dataclass

from lmworks.lab.bench.byte_rows import byte_rows, nats_per_byte
from lmworks.lab.bench.recurrent_rival import RECALL_LENGTH, Either, fresh, recall_rows, recalled
from lmworks.lab.bench.small_network import ByteText
from lmworks.lab.bench.until_no_gain import Learnt, until_no_gain
from lmworks.objectives import CausalLM
from lmworks.training.settings import TrainingConfig

RATES = (1e-3, 2e-3, 4e-3, 8e-3, 16e-3)
ROWS, RECALL_ROWS, WARMUP = 8, 16, 50
"""Rows of a step, of text and of recall; steps in which the rate rises."""
LEAST, PATIENCE, RECALL_PATIENCE = 0.05, 4, 6
"""Bits a byte, or share of symbols, that count as a gain; validations without one after which a run ends."""
LN_2 = 0.6931471805599453


@dataclass(frozen=True)
class Plan:
    """How a network is trained."""

    rate: float
    seed: int
    steps: int
    every: int = 50
    """Steps between validations."""
    windows: int = 150
    """Of text that is judged, and of text that ends the run."""

    def training(self, context: int, rows: int, patience: int) -> TrainingConfig:
        """The settings of the loop: the rate stays up, so that what a run has reached does not depend on its end."""
        return TrainingConfig(
            context=context,
            rows=rows,
            steps=self.steps,
            learning_rate=self.rate,
            warmup=min(WARMUP / self.steps, 0.5),
            schedule="constant",
            evaluate_every=self.every,
            patience=patience,
            seed=self.seed,
        )


def text_curve(config: Either, data: ByteText, plan: Plan) -> Learnt:
    """Bits per byte of held-out text along the training; text for choosing ends it."""
    context = config.context
    return until_no_gain(
        fresh(config, plan.seed),
        CausalLM(),
        byte_rows(data.train, context),
        plan.training(context, ROWS, PATIENCE),
        lambda network: nats_per_byte(network, data.choose, plan.windows) / LN_2,
        lambda network: nats_per_byte(network, data.held_out, plan.windows) / LN_2,
        LEAST,
    )


def recall_curve(config: Either, distance: int, plan: Plan) -> Learnt:
    """The share of symbols that are said wrong along the training; rows of other seeds end it and judge it."""
    return until_no_gain(
        fresh(config, plan.seed),
        CausalLM(),
        recall_rows(plan.steps * RECALL_ROWS, distance, plan.seed),
        plan.training(RECALL_LENGTH, RECALL_ROWS, RECALL_PATIENCE),
        lambda network: 1 - recalled(network, distance, plan.seed + 10_000),
        lambda network: 1 - recalled(network, distance, plan.seed + 20_000),
        LEAST,
    )
