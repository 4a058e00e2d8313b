"""A tiny model, and questions of one's own for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny


@pytest.fixture(scope="session")
def model():
    """A random model that reads bytes; its window is 512 tokens."""
    return tiny.language_model(seed=4, context=512)


@pytest.fixture
def written(tmp_path: Path):
    """Write records as a file of questions; its path."""

    def write(*records: object, name: str = "mine.jsonl") -> str:
        path = tmp_path / name
        path.write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
        return str(path)

    return write


QUESTIONS = [
    {"question": f"What follows {number}?", "choices": [str(number + 1), f"{number - 1}!", "nothing"], "answer": "A"}
    for number in range(12)
]


@pytest.fixture
def questions(written) -> str:
    return written(*QUESTIONS)
