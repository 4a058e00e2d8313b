"""Folders of compiled kernels that nobody uses any more are removed; one in use never is."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

pytest.importorskip("fcntl")

from lmworks.kernels.run.old_folders import KEPT, USED, WEEK, hold, remove_old


def test_what_nobody_used_for_a_week_goes_but_for_the_newest_and_what_is_in_use(tmp_path: Path, monkeypatch):
    held: list = []
    monkeypatch.setattr("lmworks.kernels.run.old_folders._held", held)
    folders = [tmp_path / f"avx512-{number}" for number in range(KEPT + 3)]
    for age, folder in enumerate(folders, start=1):
        folder.mkdir()
        (folder / "Norm.o").write_bytes(b"code")
        folder.with_name(f"{folder.name}.lock").touch()
        then = time.time() - WEEK - 60 * age
        os.utime(folder, (then, then))
    hold(folders[-1])
    long_ago = time.time() - 9 * WEEK  # by a process that has run since
    os.utime(folders[-1] / USED, (long_ago, long_ago))
    remove_old(tmp_path)
    assert sorted(one.name for one in tmp_path.iterdir() if one.is_dir()) == sorted(
        one.name for one in [*folders[:KEPT], folders[-1]]
    )
    assert not folders[KEPT].with_name(f"{folders[KEPT].name}.lock").exists()
    held.pop().close()
    remove_old(tmp_path)
    assert not folders[-1].exists()


def test_a_folder_that_was_used_within_a_week_stays(tmp_path: Path):
    for number in range(KEPT + 3):
        (tmp_path / f"avx512-{number}").mkdir()
    remove_old(tmp_path)
    assert len(list(tmp_path.iterdir())) == KEPT + 3
