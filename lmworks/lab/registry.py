"""The experiments: one file a claim, found by its name, `q12_top_k_top_p.py`.

Listing them reads the files as text: no experiment is imported, and so no torch.
"""

from __future__ import annotations

import ast
import functools
import importlib
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from lmworks.basics.errors import ConfigError

if TYPE_CHECKING:
    from lmworks.lab.experiment import Experiment

FOLDERS = [Path(one) for one in importlib.import_module(f"{__package__}.experiments").__path__]
_parsing = threading.Lock()
"""CPython up to 3.11.7 has one recursion counter for all threads that parse: two at once end in a SystemError."""


@dataclass(frozen=True)
class Listing:
    """What is known of an experiment without importing it."""

    question: int
    name: str
    """`top k top p`: the file's name in words."""
    claim: str
    module: str


def experiments() -> dict[int, Listing]:
    """Every experiment by its number, in order."""
    with _parsing:
        found = [_listing(path) for folder in FOLDERS for path in sorted(folder.glob("q[0-9][0-9]_*.py"))]
    return {listing.question: listing for listing in sorted(found, key=lambda one: one.question)}


def load(question: int) -> Experiment:
    """Import the experiment of a question; ConfigError if there is none."""
    must_be_there(question)
    from lmworks.lab.experiment import Experiment

    module = importlib.import_module(experiments()[question].module)
    return next(value for value in vars(module).values() if isinstance(value, Experiment))


def must_be_there(question: int) -> None:
    """ConfigError if no experiment has this number."""
    if question not in (known := experiments()):
        raise ConfigError(f"there is no experiment {question} yet; there are {', '.join(map(str, known))}")


@functools.cache
def _listing(path: Path) -> Listing:
    number, name = cast(re.Match[str], re.fullmatch(r"q(\d\d)_(\w+)", path.stem)).groups()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "experiment":
            literals: dict[str | None, object] = {
                word.arg: word.value.value for word in node.keywords if isinstance(word.value, ast.Constant)
            }
            claim = literals.get("claim")
            first: list[object] = [one.value for one in node.args[:1] if isinstance(one, ast.Constant)]
            if first == [int(number)] and isinstance(claim, str):
                module = f"{__package__}.experiments.{path.stem}"
                return Listing(int(number), name.replace("_", " "), claim, module)
    raise ConfigError(f'{path.name} declares no @experiment({int(number)}, claim="..."); write both as literals')
