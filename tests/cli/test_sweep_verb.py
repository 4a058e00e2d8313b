"""lmworks sweep as its users meet it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from jobs.sweeping.small import here

from cli.conftest import Ran

__all__ = ["here"]
pytest.importorskip("optuna", reason="pip install 'lmworks[search]'")
Run = Callable[..., Ran]


def test_a_table_and_json_say_the_same_and_the_charts_are_there(run: Run, here: Path):
    shown = run("sweep", "r.toml", "--space", "space.toml", "--trials", "8", "--set", "training.steps=4")
    facts = run("sweep", "r.toml", "--space", "space.toml", "--trials", "8", "--set", "training.steps=4", "--json").json
    assert shown.code == 0
    assert f"{facts['best']['value']:.4f}" in shown.out and "the recipe as it stands" in shown.out
    assert "8 trials: " in shown.out and "n 8 trials" in shown.out and "its figure flatters" in shown.out
    assert facts["folder"] == "sweeps/r" and facts["pictures"] == ["sweeps/r/importance.png", "sweeps/r/importance.svg"]
    assert all(Path(picture).stat().st_size > 1000 for picture in facts["pictures"])
    for one in facts["importance"]:
        assert one["setting"] in shown.out and f"{one['share']:.0%}" in shown.out
    assert "lmworks train sweeps/r/best.toml" in shown.out
    trained = run("train", "sweeps/r/best.toml", "--json").json
    assert trained["recipe"]["training"]["steps"] == 4


def test_the_rate_finder_shows_a_curve_and_what_to_do_next(run: Run, here: Path):
    facts = run("sweep", "r.toml", "--find-rate", "--json").json
    assert 1e-3 < facts["suggestion"] < facts["lowest"] < 1
    shown = run("sweep", "r.toml", "--find-rate")
    assert f"training.learning_rate={facts['suggestion']:.3g}" in shown.out and not Path("sweeps").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "needs --space FILE and --trials N"),
        (("--space", "nowhere.toml", "--trials", "3"), "nowhere.toml does not exist"),
        (("--space", "space.toml", "--trials", "0"), "trials is 0"),
        (("--space", "bad.toml", "--trials", "3"), "bad.toml: training.rows.low (4) is not below"),
        (("--space", "space.toml", "--trials", "3", "--set", "training.stepz=4"), "did you mean training.steps?"),
        (
            ("--space", "space.toml", "--trials", "3", "--storage", "postgresql://me:secret@127.0.0.1:9/none"),
            "the database postgresql://me@127.0.0.1:9/none cannot be used",
        ),
    ],
)
def test_a_mistake_is_one_sentence(run: Run, here: Path, arguments: tuple[str, ...], words: str):
    Path("bad.toml").write_text("[training.rows]\nlow = 4\nhigh = 4\n")
    ran = run("sweep", "r.toml", *arguments)
    (sentence,) = [line for line in ran.err.splitlines() if line.startswith("lmworks: ")]
    assert (
        ran.code == 1 and words in sentence and "secret" not in ran.err and "Traceback" not in ran.err and not ran.out
    )
