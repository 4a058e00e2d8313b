"""No two files of lmworks import each other, directly or in a ring; the rooms' order is import-linter's to hold."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter

import grimp
import pytest


def test_no_files_import_each_other():
    """Imports inside functions and for types alone count, too."""
    graph = grimp.build_graph("lmworks", cache_dir=None)
    try:
        TopologicalSorter({one: graph.find_modules_directly_imported_by(one) for one in graph.modules}).prepare()
    except CycleError as error:
        pytest.fail(f"these files import each other: {' <- '.join(error.args[1])}")
