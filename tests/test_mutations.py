"""The table of faults that are put in on purpose: each fits its file, and, in the slow tests, each is caught."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mutations import ROOT, Copy, Mutation, table

NOT_HERE = {37, 38, 39, 40}
"""Silent errors that nothing here can have yet: attacks, retrieval, differential privacy; and a test's own."""
each = pytest.mark.parametrize("one", table(), ids=lambda one: one.name)


@each
def test_every_fault_fits_its_file_and_names_tests_that_there_are(one: Mutation):
    changed = one.applied((ROOT / one.file).read_text(encoding="utf-8"))
    if one.file.endswith(".py"):
        compile(changed, one.file, "exec")
    for test in one.tests:
        file, _, function = test.partition("[")[0].partition("::")
        assert re.search(rf"^def {function}\(", (ROOT / file).read_text(encoding="utf-8"), re.M), test


def test_every_silent_error_that_the_code_can_have_is_tried():
    names = [one.name for one in table()]
    assert len(set(names)) == len(names) >= 40
    assert {number for one in table() for number in one.pitfalls} == set(range(1, 41)) - NOT_HERE


def test_every_mistake_in_adapting_that_others_have_made_is_tried():
    listed = re.findall(r"^(\d+)\. ", (ROOT / "docs" / "adapting.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted({number for one in table() for number in one.adapting}) == [int(one) for one in listed]
    assert len(listed) == 12


def test_a_fault_that_no_longer_fits_is_an_error():
    gone = Mutation("gone", "lmworks/__init__.py", "no such text", "x", ())
    with pytest.raises(ValueError, match="holds the old text 0 times and not once"):
        gone.applied((ROOT / gone.file).read_text())


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    return Copy(Path(tmp_path_factory.mktemp("copy")))


@pytest.mark.slow
def test_without_a_fault_all_tests_are_green(copy: Copy):
    assert copy.plain(table()) == ""


@pytest.mark.slow
@each
def test_every_fault_is_caught(one: Mutation, copy: Copy):
    assert copy.outcome(one) == ""


@pytest.mark.slow
def test_a_fault_that_changes_nothing_is_told(copy: Copy):
    tests = ("tests/training/test_log.py",)
    same = Mutation("same", "lmworks/__init__.py", "from __future__", "from  __future__", tests)
    assert copy.outcome(same) == f"stays green: {tests[0]}"
