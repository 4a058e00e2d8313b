"""Each item's scores in a file, as they are measured: a run that was stopped goes on where it was.

What is kept is what the model made of an item. The verdict is that of the task's present key, and an item that is asked
otherwise now is measured again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lmworks.basics.errors import DataError
from lmworks.basics.files import says_why
from lmworks.evaluation.tasks.declaration import Item
from lmworks.evaluation.tasks.scores import ItemScores

NEAR = 0.01
"""Log-probabilities by which a model is known again differ by less, on whatever machine."""
MEASURED = ("item", "scores", "written", "ways")
"""What is taken from a file."""


class Store:
    """JSON lines: first what was asked of which model, then an item a line. DataError where the file holds the items
    of another model or of other prompts."""

    def __init__(self, path: Path, prompts: str, model: Sequence[float], items: Sequence[Item]) -> None:
        """`items` are all of the task; what the file holds of others is not taken."""
        self.path = path
        self._asked = {one.name: _digest(one) for one in items}
        self.kept: dict[str, ItemScores] = {}
        """What was measured, by item; the verdicts are missing."""
        self.changed: set[str] = set()
        """Items that the file holds as they are not asked any more."""
        lines = _whole_lines(path)
        if lines:
            self._read(lines, prompts, model)
        with says_why(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("r+b" if lines else "wb")
            self._file.seek(sum(len(line.encode()) + 1 for line in lines))
            self._file.truncate()  # a line that was cut off
        if not lines:
            self._append({"prompts": prompts, "model": list(model)})

    def _read(self, lines: list[str], prompts: str, model: Sequence[float]) -> None:
        try:
            first, *items = map(json.loads, lines)
            found = [
                (one.get("asked"), ItemScores(**{name: one[name] for name in MEASURED if name in one})) for one in items
            ]
            same = len(first["model"]) == len(model)
            same = same and all(abs(a - b) < NEAR for a, b in zip(first["model"], model, strict=True))
            what = "with other prompts" if first["prompts"] != prompts else None if same else "of another model"
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataError(f"{self.path} holds no scores of items ({error}); choose another folder") from None
        if what is not None:
            raise DataError(f"{self.path} holds measurements {what}; choose another folder, or remove the file")
        self.kept = {one.item: one for asked, one in found if self._asked.get(one.item, "") == asked}
        self.changed = {one.item for _, one in found} - set(self.kept)

    def append(self, scores: ItemScores) -> None:
        """Write an item's scores."""
        self.kept[scores.item] = scores
        self._append(scores.to_json() | {"asked": self._asked[scores.item]})

    def _append(self, record: dict[str, Any]) -> None:
        with says_why(self.path):
            self._file.write((json.dumps(record, ensure_ascii=False) + "\n").encode())
            self._file.flush()

    def close(self) -> None:
        """Nothing more comes."""
        self._file.close()


def _digest(item: Item) -> str:
    """What tells what an item asks, whatever its key."""
    return hashlib.sha256(repr(item.asks).encode()).hexdigest()[:16]


def _whole_lines(path: Path) -> list[str]:
    """The lines that end: the last one may have been cut off."""
    if not path.is_file():
        return []
    with says_why(path):
        content = path.read_text(encoding="utf-8", errors="replace")
    return content.split("\n")[:-1]
