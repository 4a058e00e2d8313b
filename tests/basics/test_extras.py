"""What is said where a package is missing installs it into this Python's environment, whatever `pip` is found first."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lmworks.basics.errors import LmworksError
from lmworks.basics.extras import installing, require


def test_pip_is_that_of_this_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    own, other = tmp_path / "own", tmp_path / "other's own"
    for folder in (own, other):
        folder.mkdir()
        (folder / "pip").touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(own / "python"))
    monkeypatch.setenv("PATH", f"{own}:{other}")
    assert installing("serve") == "pip install 'lmworks[serve]'"
    monkeypatch.setenv("PATH", f"{other}:{own}")
    assert installing("serve") == f"{own}/python -m pip install 'lmworks[serve]'"
    monkeypatch.setattr(sys, "executable", str(other / "python"))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(LmworksError, match=r"run: '.*other's own/python' -m pip|run: '.*-m pip install 'lmworks\[x\]'"):
        require("no_such_package", "x")
