"""A tiny model directory, and the command line run in this process."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tiny

from lmworks.cli import main


@dataclass
class Ran:
    """What a command printed, and how it ended."""

    out: str
    err: str
    code: int

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A random model that reads bytes; its window is 512 tokens."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny.language_model(seed=4, context=512).save(folder)
    return str(folder)


@pytest.fixture(scope="session")
def translator_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A random encoder-decoder on bytes."""
    folder = tmp_path_factory.mktemp("models") / "translator"
    both = {"family": "lmworks", "arrangement": "encoder-decoder", "positions": "relative"}
    tiny.language_model(seed=4, context=512, **both).save(folder)
    return str(folder)


@pytest.fixture
def text_folder(tmp_path: Path) -> str:
    folder = tmp_path / "notes"
    folder.mkdir()
    for number in range(6):
        (folder / f"{number}.txt").write_text(f"Note {number} says that lists have an order.\n" * 3)
    (folder / "picture.png").write_bytes(b"\x89PNG\x00\x01\x02")
    return str(folder)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Run `lmworks ARGUMENTS` as from a shell, through the handling of errors too."""

    def ran(*arguments: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["lmworks", *arguments])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        out, err = capsys.readouterr()
        return Ran(out, err, code)

    return ran
