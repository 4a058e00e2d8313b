"""Programs that a model writes, and the processes that they run in."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import tiny

from lmworks.basics.errors import ConfigError, DataError
from lmworks.evaluation.tasks import untrusted_code
from lmworks.evaluation.tasks.asked import AskedTask
from lmworks.evaluation.tasks.declaration import Program
from lmworks.evaluation.tasks.find import find
from lmworks.evaluation.tasks.kinds.programs import checked, program_of
from lmworks.evaluation.tasks.run import evaluate, run
from lmworks.evaluation.tasks.untrusted_code import runs

DOUBLE = Program("mine#1", "def double(x):\n", "assert double(2) == 4", "def double(x):\n", "    return 2 * x\n")


def a_file(folder: Path, *records: dict[str, object]) -> str:
    path = folder / "mine.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in records))
    return str(path)


def test_a_program_is_right_where_its_tests_run_to_their_end():
    assert checked(DOUBLE, "    return x + x\n").credit("tests pass") == 1
    assert checked(DOUBLE, "    return x * x * x\n").credit("tests pass") == 0
    assert checked(DOUBLE, "    return (\n").credit("tests pass") == 0, "no Python"
    for leaves in ("import sys; sys.exit(0)", "import os; os._exit(0)"):
        assert checked(DOUBLE, f"    return 3\n{leaves}\n").credit("tests pass") == 0, "the tests never ran"


def test_of_an_answer_with_prose_the_first_block_of_code_counts():
    said = "Here it is:\n```python\ndef double(x):\n    return 2 * x\n```\nHope it helps:\n```\nno\n```"
    assert checked(DOUBLE, said).credit("tests pass") == 1
    assert checked(DOUBLE, "    return 2 * x\n```\n\nThis doubles x.").credit("tests pass") == 1, "then a fence"
    begun = replace(DOUBLE, before='def double(x):\n    """Twice x."""\n')
    said_bare = "def double(x):\n    return 2 * x\n\nprint(double(3))\n```\n\nThis doubles x."
    assert checked(begun, said_bare).credit("tests pass") == 1, "a fence that was opened by the template"
    assert program_of(Program("a", "Write f.", ""), said).strip() == "def double(x):\n    return 2 * x"
    assert program_of(Program("a", "Write f.", ""), "```py\nx = 1").strip() == "x = 1", "the answer was cut off"


def test_the_process_has_an_empty_folder_no_environment_and_little_of_everything(monkeypatch):
    monkeypatch.setenv("SECRET", "x")
    assert runs("import os\nassert os.listdir('.') == [] and 'SECRET' not in os.environ")
    assert not runs("x = 'a' * (1 << 31)")
    assert not runs("open('a', 'w').write('x' * (1 << 22))")
    monkeypatch.setattr(untrusted_code, "PATIENCE", 1)
    assert not runs("import time; time.sleep(30)"), "one that waits is ended"


def test_nothing_runs_unless_it_is_allowed(tmp_path):
    mine = a_file(tmp_path, {"prompt": "def double(x):\n", "tests": "assert double(2) == 4"})
    with pytest.raises(ConfigError, match="--run-programs"):
        evaluate(tiny.language_model(seed=4, context=256), mine)
    [figure] = evaluate(tiny.language_model(seed=4, context=1024), mine, run_programs=True)
    assert (figure.name, figure.value, figure.n) == ("mine.jsonl, tests pass", 0, 1)


def test_own_programs_go_on_from_a_prompt_or_are_asked_for(tmp_path):
    mine = a_file(
        tmp_path,
        {"prompt": "def double(x):\n", "tests": "assert double(2) == 4", "answer": "    return 2 * x"},
        {"question": "Write is_even.", "tests": "assert is_even(2)"},
    )
    first, second = find(mine).items()
    assert isinstance(first, Program) and isinstance(second, Program)
    assert (first.before, first.shown) == ("def double(x):\n", "def double(x):\n    return 2 * x")
    assert second.before == "" and "Write is_even." in second.prompt
    asked = AskedTask.of(find(mine), shots=1, run_programs=True)
    assert [one.name for one in asked.items] == ["mine.jsonl#2"] and asked.examples.startswith(first.shown)
    [scores] = run(tiny.language_model(seed=4, context=1024), asked, tmp_path / "kept")
    assert run(tiny.language_model(seed=4, context=1024), asked, tmp_path / "kept") == [scores], "as it was kept"


@pytest.mark.parametrize(
    ("records", "why"),
    [
        ([{"prompt": "def f():\n", "tests": "assert ("}], "`tests` is no Python"),
        ([{"prompt": "def f():\n", "tests": " "}], "`tests` is empty"),
        ([{"prompt": "def f():\n", "tests": "f()", "choices": ["a", "b"]}], "has `choices` beside `tests`"),
        ([{"question": "q", "tests": "f()", "answer": 3}], "the answer 3 is no text"),
        ([{"question": "q", "tests": "f()"}, {"question": "r", "answer": "s"}], "others have none"),
    ],
)
def test_programs_that_cannot_be_checked_are_refused(tmp_path, records, why):
    with pytest.raises(DataError, match=why):
        find(a_file(tmp_path, *records)).items()


def test_an_example_needs_an_answer(tmp_path):
    mine = a_file(tmp_path, *({"prompt": f"def f{at}():\n", "tests": f"f{at}()"} for at in range(3)))
    with pytest.raises(ConfigError, match="has no `answer`, and is an example"):
        AskedTask.of(find(mine), shots=1, run_programs=True)


@pytest.mark.parametrize("name", ["humaneval", "mbpp"])
def test_published_solutions_pass_their_tests(name):
    try:
        items = find(name).items()
    except DataError as error:
        pytest.skip(str(error))
    assert len(items) == {"humaneval": 164, "mbpp": 500}[name]
    for one in items[:: len(items) // 4]:
        assert isinstance(one, Program)
        assert checked(one, one.solution.removesuffix("[DONE]")).credit("tests pass") == 1, one.name
        assert checked(one, "    return None\n").credit("tests pass") == 0, one.name
