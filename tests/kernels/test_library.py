"""The compiled kernels on the disk: found again, damaged, not writable, two processes at once, other instruction sets.

Each case is a process of its own, as kernels are loaded once; a compilation takes seconds.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("numba")

from lmworks.basics.errors import KernelError
from lmworks.kernels import unavailable
from lmworks.kernels.emit.instructions import available
from lmworks.kernels.run import compiling, library
from lmworks.kernels.run.compiling import compile_parts

if unavailable() is not None:
    pytest.skip(str(unavailable()), allow_module_level=True)

PROGRAM = """
import json, sys, time
import torch
sys.path.insert(0, "tests")
from frames import Bench, address, numbers
from lmworks.basics import progress
from lmworks.kernels.run.library import library
from lmworks.kernels.packing import pack, quantised, unpacked
from lmworks.kernels.operations.matrix import multiply
with progress.shown():
    made = library()
apart = 0.0
for bits in (4, 8):
    bench, output, outliers = Bench(21, 96), torch.zeros(21, 64), (2, 40, 95)
    weight = pack(quantised("m", numbers(50, 96), bits), bits, outliers)
    x = bench.quantise(numbers(21, 96, seed=1), outliers)
    bench.run(multiply(weight, address(output), 256))
    apart = max(apart, float((output[:, :50] - x @ unpacked(weight).T).abs().max()))
print(json.dumps({"instructions": made.instructions, "made": made.made, "kept": made.kept, "apart": apart}))
"""
ROOT = Path(__file__).parents[2]


def started(cache: Path, **environment: str) -> subprocess.Popen[str]:
    """A process that loads the kernels and multiplies with them."""
    settings = os.environ | {"LMWORKS_CACHE": str(cache), "PYTHONPATH": str(ROOT), "LMWORKS_THREADS": "2"} | environment
    return subprocess.Popen(
        [sys.executable, "-P", "-c", PROGRAM],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=settings,
    )


def facts(process: subprocess.Popen[str]) -> dict[str, object]:
    """What it found; it must have ended well and multiplied rightly."""
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    found = json.loads(output.splitlines()[-1])
    assert found.pop("apart") < 1e-4
    return found


@pytest.mark.slow
def test_kernels_are_kept_and_a_damaged_cache_is_made_again(tmp_path: Path):
    first = facts(started(tmp_path))
    assert first["made"] and first["kept"]
    assert not facts(started(tmp_path))["made"]
    (folder,) = (path for path in (tmp_path / "kernels").iterdir() if path.is_dir())
    assert {"Norm.o", "interpreter.o", "int4.o", "int8.o"} <= {file.name for file in folder.iterdir()}
    norm = folder / "Norm.o"
    whole = norm.read_bytes()
    norm.write_bytes(whole[: len(whole) // 2])  # the power went while it was written
    assert facts(started(tmp_path))["made"]
    assert library._read(folder, "Norm")  # whole, if not the same to the byte: numba numbers what a process compiles
    norm.unlink()
    assert facts(started(tmp_path))["made"]
    assert not facts(started(tmp_path))["made"]


@pytest.mark.slow
def test_two_installations_share_kernels(tmp_path: Path):
    """The same sources at two places, as in two virtual environments."""
    other = tmp_path / "other"
    shutil.copytree(ROOT / "lmworks", other / "lmworks")
    made = [facts(started(tmp_path / "cache", PYTHONPATH=str(place)))["made"] for place in (ROOT, other)]
    assert made == [True, False]


@pytest.mark.slow
def test_two_processes_compile_once(tmp_path: Path):
    both = [started(tmp_path), started(tmp_path)]
    assert sorted(bool(facts(one)["made"]) for one in both) == [False, True]


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path):
    (tmp_path / "file").write_text("no folder")
    assert facts(started(tmp_path / "file")) == {"instructions": available()[0], "made": True, "kept": False}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["amx", "avx512", "avx2", "plain"])
def test_every_operation_on_every_instruction_set(name: str, tmp_path: Path):
    if name not in available():
        pytest.skip(f"this processor has no {name}")
    assert facts(started(tmp_path, LMWORKS_INSTRUCTIONS=name))["instructions"] == name
    tests = [
        str(ROOT / "tests" / "kernels" / f"test_{one}.py")
        for one in ("operations", "forms", "engine", "next_token", "compiled_sources", "between")
    ]
    settings = os.environ | {"LMWORKS_CACHE": str(tmp_path), "LMWORKS_INSTRUCTIONS": name, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n0", *tests],
        cwd=ROOT,
        env=settings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]


def run(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A short program."""
    settings = os.environ | {"PYTHONPATH": str(ROOT)} | environment
    return subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=settings, capture_output=True, text=True, check=False
    )


def test_what_cannot_be_compiled_is_said(tmp_path: Path):
    with pytest.raises(KernelError, match=r"Nothing: StopIteration.*LMWORKS_INSTRUCTIONS=none"):
        compile_parts(["Nothing"], tmp_path, lambda _: None)
    assert not list(tmp_path.iterdir())


def test_a_compiler_that_is_killed_or_cannot_be_started_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    killed = f"import os; os.kill(os.getpid(), {int(signal.SIGKILL)})"
    with (
        monkeypatch.context() as patch,
        pytest.raises(KernelError, match=r"the process that compiled (Norm|Cap) ended"),
    ):
        patch.setattr(compiling, "PROGRAM", killed)
        compile_parts(["Norm", "Cap"], tmp_path, lambda _: None)
    for python, said in (("", "this program has none"), (str(tmp_path / "no"), "does not start")):
        monkeypatch.setattr(sys, "executable", python)  # as in a program that embeds Python
        with pytest.raises(KernelError, match=said):
            compile_parts(["Norm"], tmp_path, lambda _: None)


def test_what_is_compiled_does_not_depend_on_numbas_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    compile_parts(["Cap"], tmp_path, lambda _: None)
    assert (tmp_path / "Cap.o").is_file()


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the kernels, and parts are compiled as quickly as they are copied."""
    library._folder.cache_clear()  # another test may have had a cache of its own
    library._Code(["Norm"], "compiling what the tests copy")
    full, folder = library._folder(), tmp_path / "kernels"
    assert full is not None
    folder.mkdir()
    monkeypatch.setattr(library, "_folder", lambda: folder)

    def copied(names: list[str], into: Path, advance: object) -> None:
        for name in names:
            shutil.copyfile(full / f"{name}.o", into / f"{name}.o")

    monkeypatch.setattr(compiling, "compile_parts", copied)
    return folder


def nowhere(**_: object) -> None:
    raise OSError(28, "No space left on device")


def test_kernels_that_are_kept_are_read_where_nothing_can_be_written(empty: Path, monkeypatch: pytest.MonkeyPatch):
    assert library._Code(["Norm"], "").made
    monkeypatch.setattr(library.tempfile, "TemporaryFile", nowhere)
    code = library._Code(["Norm"], "")
    assert code.kept and not code.made and code.address("Norm.run")


def test_on_a_full_disk_kernels_are_compiled_elsewhere(empty: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(library.tempfile, "TemporaryFile", nowhere)
    code = library._Code(["Norm"], "")
    assert code.made and not code.kept and code.address("Norm.run") and not list(empty.iterdir())


def test_two_threads_that_ask_at_once_get_the_same_kernels(monkeypatch: pytest.MonkeyPatch):
    """Else what a quantisation needs would be missing in the table that another's tape reads."""

    @functools.lru_cache(maxsize=1)
    def slow() -> object:
        time.sleep(0.05)
        return object()

    monkeypatch.setattr(library, "_library", slow)
    both, found = threading.Barrier(2), []

    def ask() -> None:
        both.wait()
        found.append(library.library())

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert found[0] is found[1]


def test_a_processor_without_vectors_is_said():
    program = "from lmworks.kernels import unavailable; print(unavailable())"
    done = run(program, LMWORKS_INSTRUCTIONS="none")
    assert "no vector instructions" in done.stdout and "AVX2" in done.stdout, done.stderr


def test_an_instruction_set_that_there_is_not_is_one_sentence():
    done = run("from lmworks.kernels.run.library import library; library()", LMWORKS_INSTRUCTIONS="sse9")
    assert "LMWORKS_INSTRUCTIONS is 'sse9'" in done.stderr


def test_numba_is_loaded_only_to_compile():
    program = "import sys; from lmworks.kernels.run.library import library; library(); print('numba' in sys.modules)"
    assert run(program).stdout.splitlines()[-1] == "False"
