"""`lmworks draw`: where a drawing goes."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("PIL.Image", reason="the extra vision is not installed")

from serving.drawer import drawer


def test_a_drawing_replaces_none_whose_name_was_not_given(run, tmp_path, monkeypatch):
    drawer().save(tmp_path / "drawer")
    monkeypatch.chdir(tmp_path)
    said = [run("draw", "drawer", "a red apple", "--seed", str(seed)).out for seed in (1, 2, 3)]
    names = ["drawing.png", "drawing-2.png", "drawing-3.png"]
    assert [one.split()[1] for one in said] == names
    assert len({Path(name).read_bytes() for name in names}) == 3
    assert run("draw", "drawer", "a red apple", "--seed", "1", "--out", "drawing-2.png").code == 0  # that one is meant
    assert Path("drawing-2.png").read_bytes() == Path("drawing.png").read_bytes()
