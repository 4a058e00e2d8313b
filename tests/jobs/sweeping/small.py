"""A text of a few kilobytes, a recipe of a tenth of a second, and a space around it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny

from lmworks.basics.config import to_toml

RECIPE: dict[str, Any] = {
    "data": {"text": "notes", "held_out": 0.2},
    "tokenizer": {"kind": "character", "byte_fallback": False},
    "model": {"dim": 32, "layers": 1, "heads": 2, "context": 32},
    "training": {"context": 32, "rows": 4, "steps": 8, "learning_rate": 1e-2, "evaluate_every": 2, "warmup": 0.1},
    "dtype": "float32",
    "sample": {"prompt": "the", "max_new_tokens": 5},
}
SPACE: dict[str, Any] = {
    "training.learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
    "training": {"rows": {"choices": [2, 4]}},
}


def write_notes(folder: Path) -> None:
    """Twelve documents that repeat themselves."""
    (folder / "notes").mkdir()
    for number in range(12):
        words = [tiny.WORDS[(number * (place + 1) + place) % len(tiny.WORDS)] for place in range(60)]
        (folder / "notes" / f"{number}.txt").write_text(f"{number}: " + " ".join(words))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the text, the recipe and the space; it is the current one."""
    write_notes(tmp_path)
    (tmp_path / "r.toml").write_text(to_toml(RECIPE))
    (tmp_path / "space.toml").write_text(to_toml(SPACE))
    monkeypatch.chdir(tmp_path)
    return tmp_path
