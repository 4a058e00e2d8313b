"""Programs that a model writes, and the processes that they run in."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import tempfile
import time
import tracemalloc
import warnings
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


FORKS = """
import os, time
where, note = os.getcwd(), {note!r}
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    os.closerange(0, 64)
    time.sleep(2)
    open(note, "w").write("alive")
    os._exit(0)
time.sleep(0.3)
"""
"""A program whose grandchild, in a session of its own, writes a note after two seconds."""
FULL = "for at in range(40):\n    open(f'f{at}', 'wb').write(b'x' * (1 << 20))"
PRODUCT = "import numpy as np\na = np.ones((600, 600))\nassert (a @ a)[0, 0] == 600"


def in_namespaces() -> bool:
    """Whether this system lets a process have some of its own."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert runs("pass")
    return sys.platform == "linux" and not told


@pytest.fixture(scope="module")
def apart() -> None:
    if not in_namespaces():
        pytest.skip("no namespaces here")


def test_all_that_a_program_started_ends_with_it(tmp_path):
    note = tmp_path / "note"
    runs(FORKS.format(note=str(note)))
    time.sleep(3)
    assert not note.exists()


def test_a_program_fills_no_disk_and_writes_nowhere_else(apart, tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("mine")
    assert not runs(FULL)
    assert runs("open('a', 'w').write('x')\nassert open('a').read() == 'x'")
    for harm in (f"open({str(outside)!r}, 'w')", f"import os; os.remove({str(outside)!r})"):
        assert not runs(harm)
    undone = "import ctypes, os\nassert ctypes.CDLL(None).umount2(os.getcwd().encode(), 2) == 0"
    assert not runs(undone), "what was shut stays shut"
    assert outside.read_text() == "mine"
    assert not runs("import socket; socket.create_server(('127.0.0.1', 0)); socket.create_connection(('10.0.0.1', 1))")


FLOOD = """
import os
for number in range(3, 8):
    try:
        for _ in range(50):
            os.write(number, b"x" * (1 << 20))
    except OSError:
        pass
"""
REPLACES = """
import os
here = os.getcwd()
try:
    os.rmdir(here)
    open(here, "w").write("x")
except OSError:
    pass
"""


def test_what_a_program_writes_to_lmworks_takes_no_memory_of_it():
    tracemalloc.start()
    try:
        runs(FLOOD)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_program_that_puts_a_file_in_the_place_of_its_folder_ends_nothing_else():
    assert runs(REPLACES) and runs("assert 1 + 1 == 2")


IN_A_PYTHON_OF_ITS_OWN = """
import importlib.util, sys, warnings
found = importlib.util.spec_from_file_location("untrusted_code", sys.argv[1])
module = importlib.util.module_from_spec(found)
found.loader.exec_module(module)
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    print([module.runs(program) for program in sys.argv[2:]], [str(one.message)[:48] for one in told][:1])
"""
NOTED = ["this system does not let a process have Linux na"]


def private_mounts() -> None:
    libc = ctypes.CDLL(None)
    assert libc.unshare(0x20000) == 0 and libc.mount(None, b"/", None, ctypes.c_ulong(0x4000 | 0x40000), None) == 0


def test_an_ordinary_users_programs_multiply_matrices_and_start_nothing(apart):
    """Root's interpreter and packages are nobody else's to read, so that they are bound to folders that are."""
    if os.getuid() != 0:
        assert runs(PRODUCT) and not runs("import os; os.fork()")
        return
    np = pytest.importorskip("numpy")
    packages = Path(np.__file__).parent.parent
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        bound, beside = Path(folder, "python"), Path(folder, "packages")
        bound.mkdir()
        beside.mkdir()
        code = Path(folder, "code.py")
        code.write_text(Path(untrusted_code.__file__).read_text())

        def as_nobody() -> None:
            private_mounts()
            for source, place in ((Path(sys.base_prefix), bound), (packages, beside)):
                assert ctypes.CDLL(None).mount(bytes(source), bytes(place), None, ctypes.c_ulong(0x1000), None) == 0
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)

        python = bound / "bin" / f"python3.{sys.version_info.minor}"
        programs = [f"import sys; sys.path.append({str(beside)!r})\n{PRODUCT}", "import os; os.fork()", FULL]
        ran = subprocess.run(
            [python, "-I", "-c", IN_A_PYTHON_OF_ITS_OWN, code, *programs],
            preexec_fn=as_nobody,
            cwd=folder,
            env={},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
    assert ran.stdout == "[True, False, False] []\n", ran.stderr


def without(*kinds: str) -> str:
    """What makes this process one that may have no more namespaces of these kinds."""
    return "\n".join(
        [
            "import ctypes, os",
            "user, group = os.getuid(), os.getgid()",
            "assert ctypes.CDLL(None).unshare(0x10000000) == 0",
            "open('/proc/self/setgroups', 'w').write('deny')",
            "open('/proc/self/uid_map', 'w').write(f'0 {user} 1')",
            "open('/proc/self/gid_map', 'w').write(f'0 {group} 1')",
            *(f"open('/proc/sys/user/max_{kind}_namespaces', 'w').write('0')" for kind in kinds),
        ]
    )


@pytest.mark.parametrize(
    ("kinds", "noted", "fills"),
    [(("user",), [], False), (("user", "pid", "mnt", "net", "ipc"), NOTED, True)],
    ids=["root without namespaces of users", "no namespaces at all"],
)
def test_where_a_system_has_no_namespaces_programs_run_and_it_is_said(apart, tmp_path, kinds, noted, fills):
    note = tmp_path / "note"
    programs = ["assert 1 + 1 == 2", "assert 0", FULL, FORKS.format(note=str(note)), REPLACES]
    ran = subprocess.run(
        [sys.executable, "-I", "-c", without(*kinds) + IN_A_PYTHON_OF_ITS_OWN, untrusted_code.__file__, *programs],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    forks = os.getuid() == 0
    assert ran.stdout == f"[True, False, {fills}, {forks}, True] {noted}\n", ran.stderr
    time.sleep(3)
    assert not note.exists(), "what is left of a program's processes is ended here too"


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
