"""The figures of the page on tools are those that are stored."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks import teaching_calls, tool_calls

PAGE = (Path(__file__).parents[2] / "docs" / "tools.md").read_text(encoding="utf-8")


def test_what_smollm2_calls_is_what_was_measured():
    stored = json.loads(tool_calls.STORED.read_text(encoding="utf-8"))
    assert all(row in PAGE for row in tool_calls.table(stored).splitlines()[2:])


def test_what_it_calls_after_it_has_learnt_calls_is_what_was_measured():
    stored = json.loads(teaching_calls.STORED.read_text(encoding="utf-8"))
    assert all(row in PAGE for row in teaching_calls.table(stored).splitlines())
