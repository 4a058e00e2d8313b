"""All forty silent errors are looked for by a check, or held by a test that is there."""

from __future__ import annotations

import re
from pathlib import Path

from lmworks.checks.silent_errors import ALL, silent_errors

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "silent-errors.md").read_text(encoding="utf-8")


def test_forty_of_forty_are_looked_for_or_held_by_a_test():
    found = silent_errors()
    assert [one.number for one in found] == list(range(1, ALL + 1))
    assert re.findall(r"^(\d+)\. ", PAGE, re.MULTILINE) == [str(one.number) for one in found]
    assert [one.number for one in found if bool(one.checks) == bool(one.test)] == [], "one of the two, and not both"
    counts = [sum(bool(one.checks) for one in found), sum(bool(one.test) for one in found)]
    assert [f"The {counts[0]} that" in PAGE, f"the other {counts[1]}." in PAGE] == [True, True]


def test_the_tests_that_are_named_are_there():
    for one in silent_errors():
        if one.test:
            path, _, name = one.test.partition("::")
            assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), one


def test_the_verb_lists_them(monkeypatch, capsys):
    import sys

    import pytest

    from lmworks.cli import main

    for words, said in ((["--silent-errors"], "40 silent errors: "), ([], "or --silent-errors alone")):
        monkeypatch.setattr(sys, "argv", ["lmworks", "check", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        told = "".join(capsys.readouterr())
        assert said in told and bool(ended.value.code) == (not words)
        assert not [line for line in told.splitlines() if line != line.rstrip() or "  " in line[4:]], "no padding"
