"""The text that a model was trained on, as its lmworks.json names it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmworks.evaluation.training_text import is_here


@pytest.mark.parametrize("name", ["x" * 5000, "hf:foo/bar", "nowhere"])
def test_what_is_no_file_is_not_here(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A folder of the hub's name fetches nothing, either."""
    monkeypatch.chdir(tmp_path)
    Path("hf:foo/bar").mkdir(parents=True)
    assert not is_here(name)
