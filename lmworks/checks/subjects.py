"""What the reference given to `lmworks check` is: a model, a text, a tokenizer, packed shards or a recipe."""

from __future__ import annotations

import difflib
from pathlib import Path

from lmworks.basics.errors import ConfigError
from lmworks.checks.recipe_kinds import KINDS as RECIPES
from lmworks.models.files.model_folder import torchvision_weights
from lmworks.models.files.references import ALIASES
from lmworks.text import hub, registry
from lmworks.text.sources import PYTHON_REFERENCE
from lmworks.tokens.shards import META

KINDS = ("model", "text", "tokenizer", "shards", "recipe")
MARKS = (
    ("config.json", "model"),
    ("adapter_config.json", "model"),
    (META, "shards"),
    ("tokenizer.json", "tokenizer"),
    ("vocab.json", "tokenizer"),
)
"""The file that says what a folder is, the first of these that it holds; a folder without any is a text."""


def kind_of(reference: str, given: str | None = None) -> str:
    """One of KINDS. ConfigError for what is none of them or several, and for a `given` kind that does not exist."""
    if given is not None:
        if given not in KINDS:
            raise ConfigError(f"--as is {given!r}; say {', '.join(KINDS[:-1])} or {KINDS[-1]}")
        return given
    named = _names()
    kinds = named.get(reference) or _kind_of_path(reference)
    if not kinds:
        close = difflib.get_close_matches(reference, named, n=1)
        hint = f"did you mean {close[0]}?" if close else "give a path or a name (`lmworks check --help`)"
        raise ConfigError(f"{reference} is neither a known model, text or recipe nor a path; {hint}")
    if len(kinds) > 1:
        raise ConfigError(
            f"{reference} is the name of a {' and of a '.join(kinds)}; say which with --as {' or --as '.join(kinds)}"
        )
    return kinds[0]


def _names() -> dict[str, list[str]]:
    """What every known name is the name of."""
    found: dict[str, list[str]] = {}
    for kind, names in (
        ("model", ALIASES),
        ("text", (PYTHON_REFERENCE, *registry.ENTRIES)),
        ("recipe", [name for one in RECIPES for name in one.shipped()]),
    ):
        for name in names:
            found.setdefault(name, []).append(kind)
    return found


def _kind_of_path(reference: str) -> list[str]:
    if reference.startswith(hub.PREFIX):
        return ["model"]
    path = Path(reference)
    if not path.exists():
        return []
    if path.is_dir():
        weights = "text" if torchvision_weights(path) is None else "model"
        return [next((kind for mark, kind in MARKS if (path / mark).is_file()), weights)]
    return [{".toml": "recipe", ".gguf": "model", ".safetensors": "model"}.get(path.suffix.lower(), "text")]
