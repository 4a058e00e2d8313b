"""Each item's scores in a file, as they are measured: a run that was stopped goes on where it was.

What is kept is what the model made of an item. The verdict is that of the task's present key, and an item that is asked
otherwise now is measured again. When a run ends the file holds the items in their order, each with what was asked, what
is right and the verdict, so that it can be read alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lmworks.basics.errors import DataError
from lmworks.basics.files import says_why, written_whole
from lmworks.evaluation.tasks.asked import AskedTask
from lmworks.evaluation.tasks.declaration import Item
from lmworks.evaluation.tasks.scores import ItemScores

NEAR = 0.01
"""Log-probabilities by which a model is known again differ by less, on whatever machine."""
Judge = Callable[[Item, ItemScores], ItemScores]
MEASURED = ("item", "scores", "written", "ways")
"""What is taken from a file."""


class Store:
    """JSON lines: first what was asked of which model, then an item a line. DataError where the file holds the items
    of another model or of other prompts."""

    def __init__(self, path: Path, asked: AskedTask, model: Sequence[float], judged: Judge) -> None:
        """`judged` gives what was measured the verdict of the present key."""
        self.path, self._judged = path, judged
        self._items = {one.name: one for one in asked.every}
        self._first = {"prompts": asked.digest, "model": list(model)}
        self._first |= {"examples": asked.examples} if asked.examples else {}
        self.kept: dict[str, ItemScores] = {}
        """What was measured, by item."""
        self.changed: set[str] = set()
        """Items that the file holds as they are not asked any more."""
        lines = _whole_lines(path)
        if lines:
            self._read(lines)
        with says_why(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("r+b" if lines else "wb")
            self._file.seek(sum(len(line.encode()) + 1 for line in lines))
            self._file.truncate()  # a line that was cut off
        if not lines:
            self._append(self._first)

    def _read(self, lines: list[str]) -> None:
        prompts, model = self._first["prompts"], self._first["model"]
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
        items_now = self._items
        fits = [one for asked, one in found if one.item in items_now and _digest(items_now[one.item]) == asked]
        self.kept = {one.item: self._judged(items_now[one.item], one) for one in fits}
        self.changed = {one.item for _, one in found} - set(self.kept)

    def append(self, scores: ItemScores) -> None:
        """Write an item's scores."""
        self.kept[scores.item] = scores
        self._append(self._record(scores))

    def finish(self) -> None:
        """All is measured: the items in their order, by the present key."""
        self.close()
        records = [self._first, *(self._record(self.kept[name]) for name in self._items if name in self.kept)]
        with says_why(self.path), written_whole(self.path) as temporary:
            temporary.write_bytes(b"".join(map(_line, records)))

    def _record(self, scores: ItemScores) -> dict[str, Any]:
        item, measured = self._items[scores.item], scores.to_json()
        kept = {name: measured[name] for name in MEASURED[1:] if measured[name] not in (None, {})}
        group = {"group": item.group} if item.group else {}
        return {"item": item.name, **group, **item.told, **kept, **_verdict(scores), "asked": _digest(item)}

    def _append(self, record: dict[str, Any]) -> None:
        with says_why(self.path):
            self._file.write(_line(record))
            self._file.flush()

    def close(self) -> None:
        """Nothing more comes."""
        self._file.close()


def _line(record: dict[str, Any]) -> bytes:
    return (json.dumps(record, ensure_ascii=False) + "\n").encode()


def _verdict(scores: ItemScores) -> dict[str, Any]:
    """How far it is right, by each figure; nothing where an item has no right answer."""
    judged = scores.right is not None or scores.alike
    return {"credit": {figure: scores.credit(figure) for figure in scores.figures}} if judged else {}


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
