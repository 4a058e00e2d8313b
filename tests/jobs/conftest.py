"""A folder to build in."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.small_builds import prepare


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a base model, a text, and a general text."""
    prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path
