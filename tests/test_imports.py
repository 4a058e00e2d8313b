"""No two files of lmworks import each other, directly or in a ring; the rooms' order is import-linter's to hold, and
the one that the README shows."""

from __future__ import annotations

import re
import tomllib
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest


def test_no_files_import_each_other():
    """Imports inside functions and for types alone count, too."""
    graph = grimp.build_graph("lmworks", cache_dir=None)
    try:
        TopologicalSorter({one: graph.find_modules_directly_imported_by(one) for one in graph.modules}).prepare()
    except CycleError as error:
        pytest.fail(f"these files import each other: {' <- '.join(error.args[1])}")


def test_the_readme_shows_every_room_in_the_order_of_imports():
    root = Path(__file__).parent.parent
    contracts = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(one["layers"] for one in contracts if one["type"] == "layers")
    above = {name.removeprefix("lmworks."): -place for place, one in enumerate(layers) for name in one.split(" | ")}
    shown = re.findall(r"^      (\w+)/ ", (root / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    places = [above[name] for name in shown if name in above]
    assert places == sorted(places)
    assert {one.parent.name for one in (root / "lmworks").glob("*/__init__.py")} <= set(shown)
