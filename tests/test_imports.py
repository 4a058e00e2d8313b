"""No two files of lmworks import each other, directly or in a ring; the rooms' order is import-linter's to hold."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter

import grimp
import pytest

LEFT: set[tuple[str, str]] = {
    ("lmworks.generation.guessing", "lmworks.language_model"),
    ("lmworks.serving.log", "lmworks.serving.guard"),
}
"""Imports that close a ring and are still to go: importer and imported. None is added."""


def test_no_files_import_each_other():
    """Imports inside functions and for types alone count, too."""
    graph = grimp.build_graph("lmworks", cache_dir=None)
    imports = {
        one: {other for other in graph.find_modules_directly_imported_by(one) if (one, other) not in LEFT}
        for one in graph.modules
    }
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        pytest.fail(f"these files import each other: {' <- '.join(error.args[1])}")
