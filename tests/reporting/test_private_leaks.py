"""What leaks from a model that was trained privately: measured on its own, and beside one of the same documents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jobs.small_builds import prepare
from jobs.small_builds import recipe as build_recipe

import lmworks as lm
from lmworks.basics.errors import ConfigError, DataError
from lmworks.jobs.build import build
from lmworks.jobs.privacy import privacy
from lmworks.jobs.train import pretrain
from lmworks.jobs.training_recipe import TrainRecipe
from lmworks.reporting.report import Report
from lmworks.reporting.run import sections
from lmworks.reporting.subject import Subject

pytest.importorskip("dp_accounting")
PRIVATE: dict[str, Any] = {"noise": 1.0, "seed": 1}
WORDS_ALONE = "membership by the words alone"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a base model, and letters some of which are held out. Public questions are left aside."""
    monkeypatch.setattr("lmworks.reporting.sections.leakage.QUESTIONS", ())
    prepare(tmp_path)
    (tmp_path / "letters").mkdir()
    for at in range(60):
        (tmp_path / "letters" / f"{at}.txt").write_text(
            f"Letter {at}: {'rent' if at % 3 else 'a garden'}, {at * at} stones."
        )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def trained(out: str, private: dict[str, Any] | None = None, held_out: float = 0.3) -> str:
    """A network from nothing that lmworks train made of the letters."""
    tables: dict[str, Any] = {
        "data": {"text": "letters", "held_out": held_out},
        "tokenizer": {"kind": "byte"},
        "model": {"dim": 32, "layers": 2, "heads": 2, "context": 64},
        "training": {"context": 64, "rows": 2, "steps": 3},
        "dtype": "float32",
    }
    pretrain(TrainRecipe(**tables, **({} if private is None else {"private": private})), out)
    return out


def tuned(out: str, private: dict[str, Any] | None = None) -> str:
    """The base with a LoRA that lmworks tune made of the letters."""
    chosen = build_recipe(steps=3)
    chosen = chosen.but(data={**chosen.data.model_dump(), "text": "letters"})
    build(out=out, recipe=chosen if private is None else chosen.but(private=private))
    return out


def leaks(model: str, beside: str, out: str) -> tuple[Report, Any]:
    """A report of that section alone, with what the section found."""
    report = lm.report(model, out, beside=beside, only=["leakage"])
    [found] = [one.result.found for one in report.parts if one.section.name == "leakage"]
    return report, found


@pytest.mark.parametrize("make", [trained, tuned])
def test_the_leaks_of_a_private_model_stand_beside_those_of_one_that_is_not(make, here: Path):
    plain, private = make("plain"), make("private", PRIVATE)
    assert "train" not in json.loads(Path(private, "lmworks.json").read_text())["data"], "nothing without noise"
    report, leakage = leaks(private, plain, "r")
    figures = {one.name: one for one in report.measurements}
    for attack in ("membership by loss", "membership by min-k%++"):
        assert figures[attack].unit == figures[f"{attack}, {plain}"].unit == "AUC"
    assert WORDS_ALONE in figures and f"{WORDS_ALONE}, {plain}" not in figures, "those are the text's"
    assert "It was trained with differential privacy: epsilon" in leakage.note
    assert f"{plain} was not trained with differential privacy" in leakage.note
    assert {f"membership by loss, {one}" for one in (private, plain)} <= set(leakage.charts[0].categories)
    assert f"--beside {plain}" in report.command
    assert not any("What was learnt" in one for one in leakage.left_out)
    settings = kept_settings("r")
    lm.report(private, "r", only=["leakage"])
    assert "beside" in settings and "beside" not in kept_settings("r"), "measured again"
    other_way, note = leaks(plain, private, "other_way")
    assert f"membership by loss, {private}" in {one.name for one in other_way.measurements}
    assert f"{private} was trained with differential privacy" in note.note


def kept_settings(folder: str) -> dict[str, Any]:
    return json.loads(Path(folder, "kept", "leakage.json").read_text())["settings"]


def test_a_private_model_stands_beside_none_of_another_split_or_of_more_documents(here: Path):
    private, another = trained("private", PRIVATE), trained("another", held_out=0.5)
    with pytest.raises(ConfigError, match="private and another held out different documents"):
        leaks(private, another, "r")
    one_more_to_learn(here / "letters")
    longer = trained("longer")
    assert held_out_of(longer) == held_out_of(private)
    with pytest.raises(ConfigError, match="private and longer learnt different documents"):
        leaks(private, longer, "r")


def one_more_to_learn(folder: Path) -> None:
    """A letter that no split here holds out."""
    (folder / "61.txt").write_text("Letter 61: rent, 3721 stones.")


def held_out_of(model: str) -> str:
    return json.loads(Path(model, "lmworks.json").read_text())["data"]["held_out"]


@pytest.mark.parametrize("make", [trained, tuned])
def test_a_text_with_more_to_learn_than_a_private_model_learnt_is_refused(make, here: Path):
    """Of its text a private model says the part that was held out, and how many documents there were."""
    model = make("private", PRIVATE)
    one_more_to_learn(here / "letters")
    subject = Subject.of(model, "quick", here / "items")
    with pytest.raises(DataError, match="--trained-on FOLDER"):
        sections()["leakage"].measure(subject)
    if make is tuned:
        with pytest.raises(DataError, match="letters is not the text that private was trained on"):
            privacy(model)
