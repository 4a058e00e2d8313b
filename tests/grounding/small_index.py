"""Small folders and what an index of them gives."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmworks.grounding.index import Index, IndexSettings, build

WORDS = [
    "rent",
    "boat",
    "tower",
    "cat",
    "dog",
    "engine",
    "landlord",
    "pier",
    "consent",
    "euro",
    "heating",
    "night",
    "drum",
    "garden",
    "key",
]


def write_notes(folder: Path, count: int = 12) -> Path:
    """Notes of five sentences each, and two twins; changed long enough ago to be told by their times."""
    folder.mkdir()
    draw = random.Random(0)
    for number in range(count):
        sentences = [" ".join(draw.choices(WORDS, k=6)).capitalize() + "." for _ in range(5)]
        (folder / f"note{number}.txt").write_text(" ".join(sentences))
    for name in ("twin1.txt", "twin2.txt"):
        (folder / name).write_text("The red lamp is in the cellar.")
    for path in folder.iterdir():
        os.utime(path, ns=(0, 10**18))
    return folder


def indexed(folder: Path, notes: Mapping[str, str], embedder: str, **settings: Any) -> Index:
    """An index of these files, by name, below a folder."""
    (folder / "notes").mkdir()
    for name, text in notes.items():
        (folder / "notes" / name).write_text(text)
    return build(folder / "notes", folder / "index", IndexSettings(embedder=embedder, **settings))


def everything(index: Index) -> list[object]:
    """What searches of every kind give, numbers of chunks left out."""
    asked = [*WORDS, "red lamp", "a boat at the pier", "drum drum drum", "nothing of this"]
    return [
        (by, query, [(one.file, one.start, one.end, one.text, one.score) for one in index.search(query, 7, by)])
        for query in asked
        for by in ("keywords", "vectors", "hybrid")
    ]
