"""What is packed for the first time is packed by a process of its own, and who writes with it never loads PyTorch."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("numba")

import tiny
from jobs.small_files import tokenizer

from lmworks.basics.files import cache_folder
from lmworks.jobs.export import export
from lmworks.kernels import packing_apart, unavailable
from lmworks.kernels.run.library import library
from lmworks.language_model import LanguageModel
from lmworks.models.files.compressed import Compression
from lmworks.models.files.directory import write_network
from lmworks.models.files.gguf_file import GGUFFile

if unavailable() is not None:
    pytest.skip(str(unavailable()), allow_module_level=True)

KEPT_SIZE = {"family": "llama", "dim": 512, "hidden_dim": 2048, "layers": 5, "context": 128}
"""Of as many weights as are kept at all."""
LOADS = """
import os, signal, sys

import lmworks as lm
from lmworks.basics import progress
from lmworks.kernels import packing_apart

packing_apart.APART = int(sys.argv[2])
settings = {"compress": "int4"} if sys.argv[3] == "int4" else {}
if sys.argv[3] == "stretched":
    from lmworks.models.config import RopeScaling

    settings["rope_scaling"] = RopeScaling(kind="linear", factor=2.0)
with progress.shown():
    model = lm.load(sys.argv[1], **settings)
print("torch" in sys.modules, model.generate("the model", max_new_tokens=5).text, sep="\\n")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    network = tiny.network(vocab_size=tokenizer().vocab_size, **KEPT_SIZE)
    folder = LanguageModel(network, tokenizer()).save(tmp_path_factory.mktemp("models") / "kept")
    write_network(folder, network, compression=Compression(8))
    return folder


@pytest.fixture(scope="module")
def file(folder: Path) -> Path:
    export(str(folder), folder.with_name("kept.gguf"), kind="q8_0")
    return folder.with_name("kept.gguf")


NOISE = """
import os, sys, threading, time

def write():
    while True:
        os.write(1, b"\\xff ")
        time.sleep(0.001)

if sys.flags.safe_path:  # the process that packs
    os.write(1, b"[1]\\n")
    threading.Thread(target=write, daemon=True).start()
"""


def started(
    model: Path,
    cache: Path,
    apart: bool = True,
    kind: str = "file",
    python: str = "",
    more: str = "",
    flags: tuple[str, ...] = (),
) -> subprocess.Popen[str]:
    """A process that loads a model, whose kernels are compiled and of which nothing is kept."""
    library()
    cache.mkdir(exist_ok=True)
    if not (cache / "kernels").exists():
        (cache / "kernels").symlink_to(cache_folder("kernels"))
    program = f"import sys; sys.executable = {python!r}\n{LOADS}" if python else LOADS
    if flags:  # they may hide the environment's PYTHONPATH
        program = f"import sys; sys.path[:0] = {sys.path!r}\n{program}"
    return subprocess.Popen(
        [sys.executable, *flags, "-c", program, str(model), "0" if apart else str(1 << 60), kind],
        env=os.environ | {"LMWORKS_CACHE": str(cache), "PYTHONPATH": f"{more}{os.environ.get('PYTHONPATH', '')}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def kept(cache: Path) -> list[Path]:
    return sorted(one for one in (cache / "packed").iterdir() if one.suffix != ".lock")


@pytest.mark.parametrize("kind", ["file", "directory", "int4", "stretched"])
def test_what_is_packed_apart_is_what_a_process_packs_itself(kind: str, folder: Path, file: Path, tmp_path: Path):
    model = folder if kind == "directory" else file
    said = []
    for name, apart in (("apart", True), ("itself", False)):
        process = started(model, tmp_path / name, apart, kind)
        output, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        assert "packing weights  100 %" in errors
        said.append(output.splitlines())
    (without, text), (with_it, same) = said
    assert (without, with_it) == ("False", "True") and text == same
    (apart,), (itself,) = kept(tmp_path / "apart"), kept(tmp_path / "itself")
    assert apart.name == itself.name and apart.read_bytes() == itself.read_bytes()


def test_where_no_process_starts_a_model_is_packed_as_before(file: Path, tmp_path: Path):
    for python in ("/nowhere/python", "/bin/false"):
        cache = tmp_path / python.replace("/", "-")
        output, errors = started(file, cache, python=python).communicate(timeout=300)
        assert output.startswith("True\n") and len(kept(cache)) == 1, errors


def test_what_others_write_to_its_standard_output_is_no_message(file: Path, tmp_path: Path):
    (tmp_path / "sitecustomize.py").write_text(NOISE)
    output, errors = started(file, tmp_path / "cache", more=f"{tmp_path}{os.pathsep}").communicate(timeout=300)
    assert output.startswith("False\n") and errors.count("packing weights  100 %") == 1, errors


def test_it_is_as_isolated_as_the_program_that_asks(file: Path, tmp_path: Path):
    """Python's options -I, -E and -s keep the environment's code out of both."""
    (tmp_path / "sitecustomize.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()")
    more = f"{tmp_path}{os.pathsep}"
    for flags, runs in (("-I",), False), (("-E",), False), ((), True):
        cache = tmp_path / "".join(("cache", *flags))
        output, errors = started(file, cache, more=more, flags=flags).communicate(timeout=300)
        assert output.startswith("False\n") and len(kept(cache)) == 1, errors
        assert (tmp_path / "ran").exists() is runs


def test_what_is_wrong_with_a_model_is_said_as_before(file: Path, tmp_path: Path):
    broken = tmp_path / "broken.gguf"
    shutil.copy(file, broken)
    with broken.open("r+b") as data:
        data.seek(GGUFFile(broken).info("blk.3.ffn_down.weight").offset)
        data.write(b"\x00\x7e")  # NaN, as the scale of a group
    errors = [started(broken, tmp_path / str(apart), apart).communicate(timeout=300)[1] for apart in (True, False)]
    assert [one.count("Traceback") for one in errors] == [1, 1]
    last = [one.splitlines()[-1] for one in errors]
    assert last[0] == last[1] and "blocks.3.feed_forward.down.weight holds values that are not finite" in last[0]
    assert kept(tmp_path / "True") == []


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="children of a process are found as Linux lists them")
@pytest.mark.parametrize("ends", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("asks", ["the process", "its group"])
def test_who_is_stopped_leaves_no_process_and_no_file(ends: signal.Signals, asks: str, file: Path, tmp_path: Path):
    """Ctrl-C reaches both, `kill` one of them."""
    process = started(file, tmp_path / "cache")
    packed = tmp_path / "cache" / "packed"
    while not (packed.exists() and list(packed.glob(".*.packed.*"))):
        assert process.poll() is None
        time.sleep(0.005)
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    (os.kill if asks == "the process" else os.killpg)(process.pid, ends)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == -ends and errors.count("Traceback") == (ends == signal.SIGINT)
    until = time.monotonic() + 30
    while Path(f"/proc/{child}").exists() and time.monotonic() < until:
        time.sleep(0.01)
    assert not Path(f"/proc/{child}").exists()
    if ends == signal.SIGINT or asks == "the process":
        assert kept(tmp_path / "cache") == []


def test_files_of_few_weights_and_processes_with_pytorch_are_packed_where_they_are(monkeypatch: pytest.MonkeyPatch):
    assert not packing_apart.can_pack_apart(1 << 40)  # PyTorch is here
    monkeypatch.delitem(sys.modules, "torch")
    assert packing_apart.can_pack_apart(packing_apart.APART)
    assert not packing_apart.can_pack_apart(packing_apart.APART - 1)
    monkeypatch.setattr(sys, "executable", "")
    assert not packing_apart.can_pack_apart(1 << 40)
