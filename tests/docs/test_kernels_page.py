"""docs/kernels.md: the operation that it adds works as the page says."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

pytest.importorskip("numba")

from lmworks.kernels import unavailable

if unavailable() is not None:
    pytest.skip(str(unavailable()), allow_module_level=True)

from test_extending import BLOCK, ROOT, files_of


def test_the_page_adds_an_operation(tmp_path):
    page = (ROOT / "docs" / "kernels.md").read_text(encoding="utf-8")
    ignored = shutil.ignore_patterns("__pycache__", "results")
    shutil.copytree(ROOT / "lmworks", tmp_path / "lmworks", ignore=ignored)
    files = files_of(page)
    assert files
    for name, code in files.items():
        assert not (tmp_path / name).exists()
        (tmp_path / name).write_text(code, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", BLOCK.findall(page)[-1][1]]
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
