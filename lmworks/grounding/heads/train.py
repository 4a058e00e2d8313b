"""The recipe of the reader that ships: the data, what is trained, and the figures.

    python -m lmworks.grounding.heads.train OUT
"""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from pydantic import Field

from lmworks.basics import progress
from lmworks.basics.config import Config
from lmworks.grounding.heads.examples import Windows
from lmworks.grounding.heads.network import add_adapters, reading_network
from lmworks.grounding.heads.objective import ReadingLoss
from lmworks.grounding.heads.questions import Question, questions
from lmworks.grounding.heads.rows import ReadingRow, ReadingRows
from lmworks.language_model import LanguageModel
from lmworks.models.network import Network
from lmworks.models.precision import fast_dtype
from lmworks.tokens.tokenizer import Tokenizer
from lmworks.training.loop import train
from lmworks.training.settings import TrainingConfig

HELD_OUT = ("Islamism", "Normans", "Steam_engine", "Warsaw")
"""Articles of SQuAD 2 that calibrate and measure, and are not learnt from."""


class ReaderRecipe(Config):
    """Everything that shapes the reader."""

    base: str = "reranker"
    """The encoder: a reference that `lm.load` takes."""

    rank: int = Field(default=16, gt=0)
    """Rank of the adapters."""

    lowest: int = Field(default=6, ge=0)
    """The lowest block that is trained, from 0."""

    answerable: int = Field(default=6000, ge=0)
    """Questions of SQuAD 1.1, all of which have an answer, beside all of SQuAD 2 that are not held out."""

    without: int = Field(default=1200, ge=0)
    """Questions of SQuAD 1.1 that are given a text without their answer too."""

    learning_rate: float = Field(default=1e-3, gt=0)
    """The highest."""

    rows: int = Field(default=16, gt=0)
    """Questions of a step."""

    seed: int = 0
    """Of the adapters, the windows and the order."""


def training_rows(
    tokenizer: Tokenizer, squad2: Sequence[Question], squad1: Sequence[Question], recipe: ReaderRecipe
) -> list[ReadingRow]:
    """What is learnt from, as rows."""
    windows, draw = Windows(tokenizer, [*squad2, *squad1], recipe.seed), random.Random(recipe.seed)
    chosen = draw.sample(list(squad1), min(recipe.answerable, len(squad1)))
    rows = [windows.row(one) for one in (*squad2, *chosen)]
    taken = (windows.without_answer(one) for one in chosen[: recipe.without])
    return [*rows, *(row for row in taken if row is not None)]


def train_reader(base: LanguageModel, rows: Sequence[ReadingRow], recipe: ReaderRecipe, run: Path) -> Network:
    """The base's trunk with trained adapters and a classifier of tokens."""
    dtype = fast_dtype(base.network.device)
    network = add_adapters(reading_network(base.network, dtype), recipe.rank, recipe.rank, recipe.lowest, recipe.seed)
    config = TrainingConfig(
        rows=recipe.rows,
        learning_rate=recipe.learning_rate,
        schedule="warmup-stable-decay",
        seed=recipe.seed,
    )
    train(network, ReadingLoss(), ReadingRows(rows), config, run)
    return network


def main(out: str) -> None:
    """Train."""
    torch.set_num_threads(int(sys.argv[2]) if len(sys.argv) > 2 else 2)
    recipe = ReaderRecipe()
    base = LanguageModel.load(recipe.base)
    squad2 = [one for one in questions("squad2-half") if one.title not in HELD_OUT]
    rows = training_rows(base.tokenizer, squad2, questions("squad-du-test"), recipe)
    print(f"{len(rows):,} rows, {sum(len(row.tokens) for row in rows):,} tokens", flush=True)
    with progress.shown():
        train_reader(base, rows, recipe, Path(out))


if __name__ == "__main__":
    main(sys.argv[1])
