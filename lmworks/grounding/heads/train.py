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

from lmworks.basics import progress
from lmworks.grounding.heads.examples import Windows
from lmworks.grounding.heads.files import base_of, read_card, read_reader, write_card, write_reader
from lmworks.grounding.heads.measure import (
    answers_measured,
    calibrated,
    likeliest,
    refusals_measured,
    removals_measured,
)
from lmworks.grounding.heads.network import add_adapters, reading_network
from lmworks.grounding.heads.objective import ReadingLoss
from lmworks.grounding.heads.questions import ParagraphQuestion, questions
from lmworks.grounding.heads.recipe import Card, Data, ReaderRecipe
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
EVERY = 3
"""One question of this many is asked without its paragraph too; that takes most of the time of measuring."""
HELD_OUT = ("Islamism", "Normans", "Steam_engine", "Warsaw")
"""Articles of SQuAD 2 that calibrate and measure, and are not learnt from."""


def training_rows(
    tokenizer: Tokenizer, squad2: Sequence[ParagraphQuestion], squad1: Sequence[ParagraphQuestion], recipe: ReaderRecipe
) -> list[ReadingRow]:
    """What is learnt from, as rows."""
    windows, draw = Windows(tokenizer, [*squad2, *squad1], recipe.seed), random.Random(recipe.seed)
    chosen = draw.sample(list(squad1), min(recipe.answerable, len(squad1)))
    rows = [windows.row(one) for one in (*list(squad2) * recipe.passes, *chosen)]
    taken = (windows.without_answer(one, recipe.beside) for one in chosen[: recipe.without])
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


def made(out: Path, recipe: ReaderRecipe) -> Card:
    """Train, calibrate, measure and write a reader into a folder; its card."""
    base = LanguageModel.load(recipe.base)
    learnt = [one for one in questions(SQUAD2) if one.title not in HELD_OUT]
    rows = training_rows(base.tokenizer, learnt, questions(SQUAD1), recipe)
    started = time.process_time()
    with tempfile.TemporaryDirectory() as run:
        network = train_reader(base, rows, recipe, Path(run))
    card = Card(
        base=base_of(base),
        recipe=recipe,
        data=tuple(_described(name, used) for name, used in USES.items()),
        rows=len(rows),
        processor_minutes=round((time.process_time() - started) / 60, 1),
    )
    out.mkdir(parents=True, exist_ok=True)
    write_reader(out, network, card)
    return measured(out)


def measured(out: Path) -> Card:
    """Calibrate the reader of a folder on what is held out, measure it as it ships, and write its card anew."""
    card, reader, squad2 = read_card(out), read_reader(out), questions(SQUAD2)
    held_out = [one for one in squad2 if one.title in HELD_OUT]
    known = {one.title for one in squad2}
    unseen = [one for one in questions(XQUAD) if one.title not in known]
    found = likeliest(reader, held_out)
    reader.calibration = calibrated(held_out, found)
    answered = likeliest(reader, unseen)
    figures = {
        f"{SQUAD2}, {', '.join(HELD_OUT)}": refusals_measured(held_out, found),
        f"{XQUAD}, articles that are not in {SQUAD2}": (
            *answers_measured(unseen, answered),
            *removals_measured(reader, unseen[::EVERY], answered[::EVERY]),
        ),
    }
    card = card.but(calibration=reader.calibration, figures=figures)
    write_card(out, card)
    return card


def _described(name: str, used: str) -> Data:
    entry = ENTRIES[name]
    return Data(name=name, used=used, address=entry.address, sha256=entry.sha256, licence=entry.licence)


def main(out: str) -> None:
    """Make the files of a reader."""
    with progress.shown():
        card = made(Path(out), ReaderRecipe())
    for where, measurements in card.figures.items():
        print(where)
        for one in measurements:
            print(f"    {one.name:30}{one}")


if __name__ == "__main__":
    main(*sys.argv[1:])
