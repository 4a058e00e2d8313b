"""docs/extending.md does what it says: its files are written into a copy of lmworks, and its last block runs there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "extending.md"
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# (lmworks/\S+\.py)\n")


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
def test_a_section_adds_its_part(title, tmp_path):
    body = sections()[title]
    copy = tmp_path / "lmworks"
    shutil.copytree(ROOT / "lmworks", copy, ignore=shutil.ignore_patterns("results"))
    files = files_of(body)
    assert files, f"the section {title!r} adds no file"
    for name, code in files.items():
        path = tmp_path / name
        assert not path.exists(), f"{name} is there already; a section adds files and edits none"
        path.write_text(code, encoding="utf-8")
    kind, code = BLOCK.findall(body)[-1]
    command = [sys.executable, "-c", code] if kind == "python" else ["bash", "-euc", code]
    environment = os.environ | {
        "PYTHONPATH": str(tmp_path),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    ran = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
