"""The text that a model says it was trained on: what the recipe in its lmworks.json names.

if (text := named_text(Path("models/notes"))) is not None and is_here(text): overlaps(items, read(text).documents)
"""

from __future__ import annotations

from pathlib import Path

from lmworks.models.files.model_folder import read_facts
from lmworks.text import registry
from lmworks.text.hub import PREFIX
from lmworks.text.sources import PYTHON_REFERENCE


def named_text(folder: Path) -> str | None:
    """The text of the recipe (data.text) of a model's or an adapter's folder; None where there is none."""
    facts = read_facts(folder) if folder.is_dir() else {}
    recipe = facts.get("recipe")
    data = recipe.get("data") if isinstance(recipe, dict) else None
    text = data.get("text") if isinstance(data, dict) else None
    return text if isinstance(text, str) and text else None


def is_here(text: str) -> bool:
    """Whether the text is on this machine: for one that nobody asked for, nothing is fetched."""
    if text in registry.ENTRIES:
        return registry.available(text)
    try:
        return text == PYTHON_REFERENCE or (not text.startswith(PREFIX) and Path(text).exists())
    except OSError:  # a name that no file can have
        return False
