"""An adaptive softmax through all of `lmworks train`: tokens are counted, and what could not be saved is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lmworks.basics.errors import ConfigError
from lmworks.jobs.train import pretrain
from lmworks.jobs.training_recipe import TrainRecipe
from lmworks.loading import load

LETTERS = "abcdefghij"
"""The later in the alphabet, the more frequent in the text."""


def recipe(folder: Path, **model: Any) -> TrainRecipe:
    (folder / "text").mkdir(exist_ok=True)
    cycle = "".join(letter * (place + 1) for place, letter in enumerate(LETTERS))
    (folder / "text" / "letters.txt").write_text(cycle * 200)
    return TrainRecipe(
        depth=1,
        data={"text": str(folder / "text"), "hold_out": "end"},
        tokenizer={"kind": "character"},
        model={"dim": 32, "heads": 2, "context": 32, "tied": False, "adaptive_cutoffs": (4, 8), **model},
        training={"steps": 1, "rows": 2, "accumulate": 1, "context": 32},
    )


def test_tokens_are_ranked_by_how_often_the_training_text_has_them(tmp_path: Path):
    made = pretrain(recipe(tmp_path, family="lmworks"), tmp_path / "model").model
    letters = [made.tokenizer.encode(letter, special=False)[0] for letter in LETTERS]
    assert made.network.head.rank[letters].tolist() == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    back = load(tmp_path / "model")
    assert back.network.head.rank[letters].tolist() == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    assert back.score("jjjj") == made.score("jjjj")


def test_a_head_that_could_not_be_saved_is_refused_before_training(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"model\.family: a llama model cannot have adaptive_cutoffs"):
        recipe(tmp_path)
