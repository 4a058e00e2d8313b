"""docs/extending.md does what it says: its files lie beside lmworks as if they were in it, and its last block runs.

They are not written into a copy of lmworks: its kernels would be compiled anew for each section.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "extending.md"
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# (lmworks/\S+\.py)\n")

BESIDE = """
import sys
from importlib.machinery import PathFinder
from pathlib import Path


class Beside:
    def find_spec(name, path=None, target=None):
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.submodule_search_locations is not None and name.partition(".")[0] == "lmworks":
            spec.submodule_search_locations.append(str(Path(__file__).parent.joinpath(*name.split("."))))
        return spec


sys.meta_path.insert(0, Beside)
"""
"""What Python runs first: every package of lmworks also holds the files of a folder beside it."""
LOADED = """
import json, os, sys, traceback
import numba, numpy, pydantic, tokenizers, torch, typer

for line in sys.stdin:
    folder, path, code = json.loads(line)
    if not (pid := os.fork()):
        os.chdir(folder)
        sys.path[:0], os.environ["PYTHONPATH"], ended = path, os.pathsep.join(path), 1
        for number in (1, 2):
            os.dup2(os.open("said", os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
        try:
            first = folder + "/sitecustomize.py"
            exec(open(first).read(), {"__file__": first})
            exec(compile(code, "the page", "exec"), {"__name__": "__main__"})
            ended = 0
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        os._exit(ended)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""
"""A process that has loaded what lmworks takes from others, seconds of it, and runs Python's blocks in copies of
itself."""


@pytest.fixture(scope="module")
def loaded() -> Iterator[subprocess.Popen[str]]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-P", "-c", LOADED]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/", env=environment
    ) as process:
        yield process
        process.kill()


def run_python(loaded: subprocess.Popen[str], folder: Path, code: str) -> tuple[int, str]:
    """How a block ended in a folder, and what it said."""
    assert loaded.stdin is not None and loaded.stdout is not None
    print(json.dumps([str(folder), [str(folder), str(ROOT)], code]), file=loaded.stdin, flush=True)
    return int(loaded.stdout.readline()), (folder / "said").read_text(encoding="utf-8")


def run_shell(folder: Path, code: str) -> tuple[int, str]:
    environment = os.environ | {
        "PYTHONPATH": f"{folder}:{ROOT}",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    command = ["bash", "-euc", code]
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False)
    return ran.returncode, ran.stdout + ran.stderr


def sections() -> dict[str, str]:
    """The page's sections by their headings; those that hold no code yet are left out."""
    parts = re.split(r"^## (.+)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return {title: body for title, body in zip(parts[::2], parts[1::2], strict=True) if BLOCK.search(body)}


def files_of(body: str) -> dict[str, str]:
    """What a section adds: code blocks that open with a path, which may continue in a later block."""
    found: dict[str, str] = {}
    for kind, code in BLOCK.findall(body):
        if kind == "python" and (named := FILE.match(code)):
            found[named[1]] = found.get(named[1], "") + code
    return found


@pytest.mark.parametrize("title", sections())
def test_a_section_adds_its_part(title, tmp_path, loaded):
    body = sections()[title]
    files = files_of(body)
    assert files, f"the section {title!r} adds no file"
    for name, code in files.items():
        path = tmp_path / name
        assert not (ROOT / name).exists(), f"{name} is there already; a section adds files and edits none"
        assert (ROOT / name).parent.is_dir(), f"{name} is in no folder of lmworks"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code, encoding="utf-8")
    shutil.copytree(
        ROOT / "lmworks" / "basics", tmp_path / "lmworks" / "basics", dirs_exist_ok=True
    )  # a folder of text
    (tmp_path / "sitecustomize.py").write_text(BESIDE, encoding="utf-8")
    kind, code = BLOCK.findall(body)[-1]
    ended, said = run_python(loaded, tmp_path, code) if kind == "python" else run_shell(tmp_path, code)
    assert ended == 0, said
