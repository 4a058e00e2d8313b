"""`lmworks privacy`: what a run leaves behind is enough to measure what its model gives away, and what is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import tiny

from jobs.small_builds import recipe
from lmworks.basics.errors import ConfigError, DataError, ModelError
from lmworks.cli import main
from lmworks.cli.privacy import show
from lmworks.evaluation.privacy import canaries
from lmworks.jobs.build import build
from lmworks.jobs.build_text import with_counterparts
from lmworks.jobs.prefer_recipe import PreferRecipe
from lmworks.jobs.privacy import privacy
from lmworks.jobs.recipe import Recipe
from lmworks.reporting.run import sections
from lmworks.reporting.subject import Subject
from lmworks.text.document import Document
from lmworks.text.splits import Split


def planted(**training) -> Recipe:
    """A run that learns one of six times six secrets by heart."""
    chosen = recipe("full", **({"steps": 40, "context": 128, "learning_rate": 1e-2} | training))
    return chosen.but(canaries={"count": 2, "repeats": (1, 24)}, data={**chosen.data.model_dump(), "held_out": 0.5})


@pytest.fixture(autouse=True)
def few_secrets(monkeypatch):
    monkeypatch.setattr(canaries, "WORDS", canaries.WORDS[:6])


def test_a_run_says_all_that_is_needed_to_measure_it(here: Path, monkeypatch, capsys):
    for number in range(12, 24):  # five of each side, at least
        (here / "notes" / f"{number}.txt").write_text((here / "notes" / "3.txt").read_text() + f" {number}")
    lines: list[str] = []
    build(out="out", recipe=planted(), say=lines.append)
    facts = json.loads(Path("out/lmworks.json").read_text())
    assert facts["recipe"]["canaries"] == {"count": 2, "repeats": [1, 24], "seed": 0}
    assert any(
        line.startswith("canaries       4 in 50 places of the text to train on, the first: The") for line in lines
    )
    found = privacy("out")
    (_, _), (often, chance) = found.canaries
    assert often.value > 4 and chance < 0.05  # of log2(36) = 5.2 bits
    assert (found.members, found.others) == tuple(facts["data"]["documents"])
    assert [one.name.removeprefix("membership by ") for one in found.membership] == ["loss", "min-k%++", "reference"]
    assert found.blind.chance == 0.5 and found.private is None
    [base_once, base_often] = [one for one, _ in found.base_canaries]
    assert base_often.value < often.value and base_once.name.endswith("once, the base")

    show(found)
    out = " ".join(capsys.readouterr().out.split())
    assert "exposure of canaries planted 24 times" in out and f"n {found.members} members" in out
    monkeypatch.setattr(sys, "argv", ["lmworks", "privacy", "out", "--limit", "6", "--tokens", "16", "--json"])
    with pytest.raises(SystemExit):
        main()
    told = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in told["measurements"]] == [one.name for one in found.measurements]
    assert (told["members"], told["non_members"]) == (6, 6)

    subject, leakage = Subject.of("out", "quick", here), sections()["leakage"]
    assert subject.trained_on == facts["recipe"]["data"]["text"] and leakage.needs(subject) is None
    names = {one.name: one.n for one in leakage.measure(subject).measurements}
    assert {one.name for one in found.measurements} < set(names)
    assert (
        names["runs of 13 words of the held-out part that stand in the trained part"] == facts["data"]["documents"][1]
    )

    for path in sorted((here / "notes").iterdir())[:4]:
        path.write_text("something else " + path.read_text())
    with pytest.raises(DataError, match="notes is not the text that out was trained on"):
        privacy("out")
    try:
        told = leakage.measure(Subject.of("out", "quick", here)).left_out[0]
    except DataError as error:  # where no public questions are here
        told = str(error)
    assert "put that back, or name it with --trained-on FOLDER" in told and "--members" not in told


def test_canaries_are_measured_where_too_few_texts_are_held_out(here: Path, capsys):
    chosen = planted(steps=1)
    build(out="out", recipe=chosen.but(data=chosen.data.but(held_out=0.1)))
    found = privacy("out")
    assert len(found.canaries) == 2 and found.others < 5 and (found.membership, found.blind) == ([], None)
    show(found)
    out = capsys.readouterr().out
    assert "exposure of canaries planted once" in out and f"was not measured: {found.members} members and" in out


@pytest.mark.slow
def test_shadows_tell_who_was_learnt_and_are_gone_on_with(here: Path, monkeypatch):
    for number in range(12, 20):
        (here / "notes" / f"{number}.txt").write_text(f"{tiny.WORDS[number % 18]} {number} {tiny.WORDS[number - 9]}")
    chosen = planted(steps=12).but(canaries={})
    build(out="out", recipe=chosen.but(data=chosen.data.but(held_out=0.5)))
    found = {one.name: one for one in privacy("out", shadows=4).membership}
    assert found["membership by shadows"].value > 0.7
    made = sorted(path.name for path in Path("out.shadows").iterdir())
    assert made == ["0", "0-text", "1", "1-text", "2", "2-text", "3", "3-text"]
    halves = [(Path("out.shadows") / f"{at}-text" / "train" / "texts.jsonl").read_text().splitlines() for at in (0, 1)]
    assert len({*halves[0]} | {*halves[1]}) == len(halves[0]) + len(halves[1]) == 20
    monkeypatch.setattr("lmworks.jobs.shadows.build", None)  # those that are there are not tuned again
    assert privacy("out", shadows=4).membership[-1] == found["membership by shadows"]
    with pytest.raises(ConfigError, match="3 shadow models are tuned as out was; give 4 or more"):
        privacy("out", shadows=3)


def test_a_run_that_learnt_counterparts_can_be_measured(here: Path):
    for number in range(24):  # five of each side, at least
        (here / "notes" / f"{number}.txt").write_text(f"He reads {tiny.WORDS[number % len(tiny.WORDS)]} {number}.")
    chosen = planted(steps=1)
    build(out="out", recipe=chosen.but(canaries={}, data=chosen.data.but(counterfactual="gender")))
    found, facts = privacy("out"), json.loads(Path("out/lmworks.json").read_text())
    assert [2 * found.members, found.others] == facts["data"]["documents"]


def test_a_counterpart_that_is_held_out_is_not_learnt():
    he, she, other = (Document(text, text) for text in ("He reads.", "She reads.", "She writes."))
    parts = Split(train=[he, other], held_out=[she], duplicates=0)
    assert [one.text for one in with_counterparts(parts, "gender").train] == ["He reads.", "She writes.", "He writes."]


def test_texts_can_be_given_where_the_model_does_not_say(here: Path):
    with pytest.raises(ConfigError, match="base does not say what it was trained on; give --members"):
        privacy("base")
    with pytest.raises(ModelError, match="bas is neither a known model nor a path; did you mean base"):
        privacy("bas")
    with pytest.raises(ConfigError, match="give both texts"):
        privacy("base", members="notes")
    with pytest.raises(DataError, match="are too few to tell them apart; give at least 5 of each"):
        privacy("base", members="notes", others="general", base="nothing")  # said before any model is loaded
    with pytest.raises(DataError, match=r"texts of notes stand in notes too \(.+\), and nobody can tell"):
        privacy("base", members="notes", others="notes")
    for number in range(3, 6):
        (here / "general" / f"{number}.txt").write_text(f"The page reads a folder {number}.")
    found = privacy("base", members="notes", others="general", base="base")
    assert [one.value for one in found.membership][2] == 0.5 and not found.canaries
    assert found.blind.value > 0.5


def test_pairs_take_no_canaries():
    with pytest.raises(ConfigError, match="canaries are for lmworks tune and build, and this is lmworks prefer"):
        PreferRecipe(canaries={"count": 1})
