"""The results of a report's sections in its folder, each written as soon as it is measured.

A folder is one model's: the log-probabilities of some tokens, which the first run keeps, tell it from others.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lmworks.basics.config import Config
from lmworks.basics.errors import ConfigError, DataError
from lmworks.basics.files import must_be_writable, names_in, says_why, write_json
from lmworks.evaluation.tasks.store import NEAR
from lmworks.reporting.section import Found

KEPT = "kept"
"""The folder of what was measured, below that of the report."""
MODEL = "model.json"
OURS = {"report.html", "report.json", "README.md", KEPT}


class Result(Config):
    """What came of a section."""

    section: str
    """Its name."""

    settings: dict[str, Any]
    """What it depends on besides the model."""

    found: Found
    """What was measured."""

    cpu_seconds: float
    """Of this process."""

    seconds: float
    """By the clock."""

    when: str
    """Date and time of its end, UTC."""

    lmworks: str
    """The version that measured it."""


class Kept:
    """The results in a folder. ConfigError where the folder is another model's report."""

    def __init__(self, folder: Path, name: str, model: Sequence[float]) -> None:
        self.folder = folder
        path = folder / KEPT / MODEL
        if path.exists():
            before = _read(path)
            if not _same(before.get("logprobs"), model):
                raise ConfigError(
                    f"{folder} holds the report of another model ({before.get('name')}); give another folder with "
                    "--out, or remove it"
                )
        else:
            with says_why(path):
                path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, {"name": name, "logprobs": list(model)})

    def result(self, section: str) -> Result | None:
        """What was measured before; None for nothing. DataError for a file that is damaged."""
        path = self._path(section)
        if not path.exists():
            return None
        try:
            return Result(**_read(path))
        except (ConfigError, TypeError) as error:
            raise DataError(f"{path} holds no result of a section ({error}); remove the file") from None

    def keep(self, result: Result) -> None:
        """Write a result, whole or not at all."""
        write_json(self._path(result.section), result.model_dump(mode="json"))

    def _path(self, section: str) -> Path:
        return self.folder / KEPT / f"{section}.json"


def must_take_a_report(folder: Path) -> None:
    """ConfigError for a folder that holds something else, LmworksError where nothing can be written."""
    if folder.is_file():
        raise ConfigError(f"{folder} is a file; give a folder for the report with --out")
    must_be_writable(folder / KEPT)
    names = names_in(folder)
    others = [one for one in names if one not in OURS] or (names if not (folder / KEPT).is_dir() else [])
    if others:
        raise ConfigError(f"{folder} holds what is no report ({others[0]}); give a new or an empty folder with --out")


def _same(before: Any, now: Sequence[float]) -> bool:
    return (
        isinstance(before, list)
        and len(before) == len(now)
        and all(isinstance(one, float) and abs(one - other) < NEAR for one, other in zip(before, now, strict=True))
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        with says_why(path):
            found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is no JSON ({error}); remove the file, and it is measured again") from None
    if not isinstance(found, dict):
        raise DataError(f"{path} holds no facts of a report; remove the file, and it is measured again")
    return found
