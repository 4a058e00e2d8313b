"""Train a network of an experiment with the workshop's own loop; nothing is kept but the network.

fit(network, CausalLM() + L1(1e-5), byte_rows(text.train, context=64), TrainingConfig(context=64, steps=200, rows=16))
fit(network, Classification(), DrawnRows(batches), TrainingConfig(steps=len(batches)))
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from lmworks.basics.errors import LmworksError, Stopped
from lmworks.models.network import Network
from lmworks.objectives import Objective
from lmworks.tokens.batch import Batch, Row
from lmworks.tokens.rows import Rows
from lmworks.training.loop import DivergedError, TrainingResult, Validate, train
from lmworks.training.settings import TrainingConfig

NEVER = 2**31
"""Steps between checkpoints: a run takes a minute or two."""


def fit(
    network: Network,
    objective: Objective,
    rows: Rows | Sequence[Row],
    config: TrainingConfig,
    validate: Validate | None = None,
) -> TrainingResult:
    """Train in place and leave the network in evaluation mode; the run's folder is temporary.

    `validate` measures the network (nats per byte, say) whenever `config.evaluate_every` asks for it.
    DivergedError where a loss or gradient is not finite, Stopped on Ctrl-C.
    """
    config = config.but(checkpoint_every=NEVER)
    # The loop's own messages name a checkpoint in the folder, which is gone when they are read.
    with tempfile.TemporaryDirectory() as folder:
        try:
            return train(network, objective, rows, config, Path(folder), validate=validate)
        except DivergedError as error:
            raise DivergedError(f"a network of the experiment diverged (seed {config.seed}): {_first(error)}") from None
        except Stopped as error:
            raise Stopped(f"{_first(error)} of a network's training; nothing of this experiment is kept") from None


def _first(error: LmworksError) -> str:
    return str(error).partition(";")[0]


class DrawnRows(Rows):
    """Batches that an experiment draws before the run: one a step, each read once, in their order."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        self.drawn = batches

    def __len__(self) -> int:
        return len(self.drawn)

    def batches(self, size: int) -> int:
        """As many as were drawn, whatever their size."""
        return len(self.drawn)

    def width(self, context: int) -> float:
        """Tokens of a row as it was drawn, whatever the context says."""
        return self.drawn[0].tokens.shape[1]

    def order(self, size: int, epoch: int, seed: int) -> list[list[int]]:
        """One after another."""
        return [[number] for number in range(len(self.drawn))]

    def batch(self, places: Sequence[int]) -> Batch:
        """The one batch of that number."""
        (number,) = places
        return self.drawn[number]
