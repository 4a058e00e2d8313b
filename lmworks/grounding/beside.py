"""The index in a model's directory, in its folder `index`: it was made of the text that the model was adapted to.

    index, remark = index_beside(Path("models/notes"))

The two travel together. `lmworks.json` names the index by its hash, so that a directory that was copied without it, or
with a different index, says so.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from lmworks.grounding.index import Index, open_index
from lmworks.models.files.model_folder import INDEX_FOLDER, read_facts


def index_facts(index: Index) -> dict[str, Any]:
    """What lmworks.json says of an index."""
    return {
        "sha256": index.digest,
        "chunks": len(index),
        "embedder": index.settings.embedder,
        "language": index.language,
        "tested": index.tested,
    }


def carry_index(model: Path | None, to: Path) -> dict[str, Any]:
    """Copy a model's index into another directory; returns what that one's lmworks.json says of it, {} without any."""
    index, _ = index_beside(model)
    if model is None or index is None:
        return {}
    shutil.copytree(model / INDEX_FOLDER, to / INDEX_FOLDER)
    return {"index": index_facts(index)}


def index_beside(model: Path | None) -> tuple[Index | None, str]:
    """The index in a model's directory, None where there is none; and what is wrong with it, "" where nothing is.

    DataError for an index that cannot be read.
    """
    if model is None or not model.is_dir():
        return None, ""
    said, folder = read_facts(model).get("index"), model / INDEX_FOLDER
    named = said.get("sha256") if isinstance(said, dict) else None
    if not folder.is_dir():
        missing = f"{model} was built with an index that is not in it (left behind when it was copied?); copy {folder} "
        return None, missing + f"too, or make it again: lmworks index FOLDER --out {folder}" if named else ""
    index = open_index(folder)
    changed = f"{folder} is not as it was when the model was built: it was updated since, or is a different index"
    return index, changed if named and index.digest != named else ""
