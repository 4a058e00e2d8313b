"""The recipe of the reader that ships: the data, what is trained, and the figures.

python -m lmworks.grounding.heads.train OUT
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from lmworks.basics import progress
from lmworks.basics.config import Config
from lmworks.basics.files import write_json
from lmworks.evaluation.measurement import Measurement
from lmworks.grounding.heads.calibration import Calibration
from lmworks.grounding.heads.examples import Windows
from lmworks.grounding.heads.files import CARD, base_of, read_reader, write_reader
from lmworks.grounding.heads.measure import (
    answers_measured,
    calibrated,
    likeliest,
    refusals_measured,
    removals_measured,
)
from lmworks.grounding.heads.network import add_adapters, reading_network
from lmworks.grounding.heads.objective import ReadingLoss
from lmworks.grounding.heads.questions import Question, questions
from lmworks.grounding.heads.rows import ReadingRow, ReadingRows
from lmworks.language_model import LanguageModel
from lmworks.models.network import Network
from lmworks.models.precision import fast_dtype
from lmworks.text.registry import ENTRIES
from lmworks.tokens.tokenizer import Tokenizer
from lmworks.training.loop import train
from lmworks.training.settings import TrainingConfig

SQUAD2, SQUAD1, XQUAD = "squad2-half", "squad-du-test", "xquad-en"
USES = {
    SQUAD2: "12 articles to train, 4 to calibrate and measure refusals",
    SQUAD1: "to train",
    XQUAD: "to measure answers: the 32 articles that are not among those of squad2-half",
}
HELD_OUT = ("Islamism", "Normans", "Steam_engine", "Warsaw")
"""Articles of SQuAD 2 that calibrate and measure, and are not learnt from."""


class ReaderRecipe(Config):
    """Everything that shapes the reader."""

    base: str = "reranker"
    """The encoder: a reference that `lm.load` takes."""

    rank: int = Field(default=16, gt=0)
    """Rank of the adapters."""

    lowest: int = Field(default=4, ge=0)
    """The lowest block that is trained, from 0."""

    passes: int = Field(default=2, gt=0)
    """How often each question of SQuAD 2 is read, in another window each time."""

    answerable: int = Field(default=8000, ge=0)
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
    rows = [windows.row(one) for one in (*list(squad2) * recipe.passes, *chosen)]
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


def made(out: Path, recipe: ReaderRecipe) -> dict[str, Any]:
    """Train, calibrate, measure and write a reader into a folder; its card."""
    base = LanguageModel.load(recipe.base)
    everything = questions(SQUAD2)
    known = {one.title for one in everything}
    held_out = [one for one in everything if one.title in HELD_OUT]
    learnt = [one for one in everything if one.title not in HELD_OUT]
    rows = training_rows(base.tokenizer, learnt, questions(SQUAD1), recipe)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as run:
        network = train_reader(base, rows, recipe, Path(run))
    minutes = (time.monotonic() - started) / 60
    card = {
        "what": "reads answers out of texts: adapters and a classifier of tokens for the base",
        "base": base_of(base),
        "recipe": recipe.model_dump(),
        "data": [_described(name, what) for name, what in USES.items()],
        "rows": len(rows),
        "tokens": sum(len(row.tokens) for row in rows),
        "minutes": round(minutes, 1),
        "calibration": Calibration().model_dump(),
    }
    out.mkdir(parents=True, exist_ok=True)
    write_reader(out, network, card)
    unseen = [one for one in questions(XQUAD) if one.title not in known]
    return measured(out, card, held_out, unseen)


def measured(out: Path, card: dict[str, Any], held_out: list[Question], unseen: list[Question]) -> dict[str, Any]:
    """Calibrate the reader of a folder on what is held out, measure it as it ships, and write its card."""
    reader = read_reader(out)
    found = likeliest(reader, held_out)
    reader.calibration = calibrated(held_out, found)
    card |= {"calibration": reader.calibration.model_dump()}
    answered = likeliest(reader, unseen)
    figures = {
        f"{SQUAD2}, {', '.join(HELD_OUT)}": refusals_measured(held_out, found),
        f"{XQUAD}, articles that are not in {SQUAD2}": [
            *answers_measured(unseen, answered),
            *removals_measured(reader, unseen, answered),
        ],
    }
    card["figures"] = {
        where: [one.model_dump(exclude_defaults=True) for one in measurements]
        for where, measurements in figures.items()
    }
    write_json(out / CARD, card)
    return card


def _described(name: str, what: str) -> dict[str, str]:
    entry = ENTRIES[name]
    return {"name": name, "used": what, "address": entry.address, "sha256": entry.sha256, "licence": entry.licence}


def main(out: str) -> None:
    """Make the files of a reader."""
    with progress.shown():
        card = made(Path(out), ReaderRecipe())
    for where, measurements in card["figures"].items():
        print(where)
        for one in measurements:
            print("   ", Measurement(**one))


if __name__ == "__main__":
    main(*sys.argv[1:])
