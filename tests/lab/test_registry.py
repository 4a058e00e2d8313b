"""Experiments are found by their file's name, fast, and take settings that are checked."""

from __future__ import annotations

import gc
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from lmworks.basics.errors import ConfigError
from lmworks.lab import registry
from lmworks.lab.contrast import Condition
from lmworks.lab.experiment import Experiment, experiment
from lmworks.lab.metric import Metric
from lmworks.lab.parts import Part, Requirement
from lmworks.lab.run import Run
from lmworks.lab.scale import Count, scaled

SCORE, OURS, THEIRS = Metric("score", margin=0.5), Condition("ours"), Condition("theirs")
BETTER = Part("it is better", SCORE, OURS - THEIRS, above=0)


@experiment(99, claim="x", parts=(BETTER,), requires=(Requirement("it learns", SCORE, OURS, above=1),))
def sample(run: Run, steps: Count = scaled(3, 30), text: str = "wikitext2", rates: tuple[float, ...] = (0.1,)) -> None:
    """Logs nothing."""


def test_listing_loads_neither_torch_nor_numpy():
    code = (
        "import sys; from lmworks.lab import registry, store\n"
        "[store.stored(number) for number in registry.experiments()]\n"
        "print([name for name in ('torch', 'numpy', 'scipy', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_listed_experiment_is_the_one_that_its_file_declares():
    assert set(registry.experiments()) >= {6, 12, 23, 24, 25, 32}
    for number, listing in registry.experiments().items():
        loaded = registry.load(number)
        assert (loaded.question, loaded.claim) == (number, listing.claim)
        assert loaded.measure.__doc__


def test_experiments_import_no_experiments():
    for listing in registry.experiments().values():
        text = (registry.FOLDERS[0] / f"{listing.module.rpartition('.')[2]}.py").read_text(encoding="utf-8")
        assert "lmworks.lab.experiments" not in text, f"claim {listing.question}: share through lab/bench"


def test_defaults_follow_the_scale_and_assignments_come_over_them():
    assert sample.settings("quick") == {"steps": 3, "text": "wikitext2", "rates": (0.1,)}
    assert sample.settings("full")["steps"] == 30
    assert sample.settings("full", ["steps=5", "rates=[0.2, 0.3]", "text=notes"]) == {
        "steps": 5,
        "text": "notes",
        "rates": (0.2, 0.3),
    }


@pytest.mark.parametrize(
    ("assignment", "words"),
    [("step=5", "did you mean steps"), ("steps=0", "steps"), ("steps=many", "steps"), ("steps", "name=value")],
)
def test_a_wrong_setting_is_one_sentence(assignment, words):
    with pytest.raises(ConfigError, match=words):
        sample.settings("quick", [assignment])


def test_an_unknown_scale_or_question_names_what_there_is():
    with pytest.raises(ConfigError, match="quick and full"):
        sample.settings("huge")
    with pytest.raises(ConfigError, match="there is no experiment 51 yet; there are 1, 2"):
        registry.load(51)


def test_rules_hold_everything_that_decides_and_no_words():
    assert sample.rules(sample.looks("full")) == (
        "part: score, ours minus theirs > 0, margin 0.5",
        "requires: score, ours > 1",
        "looks after 4, 8, 16 seeds from 100, one-sided 0.005, 0.008, 0.012",
    )


def test_a_claim_without_parts_or_with_the_same_twice_is_none():
    with pytest.raises(ConfigError, match="claim 98 has no parts"):
        Experiment(98, "x", sample.measure, parts=())
    with pytest.raises(ConfigError, match="two parts say 'it is better'"):
        Experiment(98, "x", sample.measure, parts=(BETTER,), also=(BETTER,))


def test_a_file_that_declares_no_claim_is_named(tmp_path, monkeypatch):
    (tmp_path / "q07_masked.py").write_text("x = 1\n")
    monkeypatch.setattr(registry, "FOLDERS", [tmp_path])
    with pytest.raises(ConfigError, match=r"q07_masked\.py"):
        registry.experiments()


def test_adding_a_file_is_adding_a_claim(tmp_path, monkeypatch):
    text = '@experiment(7, claim="Both " "sides.", parts=())\ndef f(): ...\n'
    (tmp_path / "q07_masked_modelling.py").write_text(text)
    monkeypatch.setattr(registry, "FOLDERS", [tmp_path])
    [found] = registry.experiments().values()
    assert (found.question, found.name, found.claim) == (7, "masked modelling", "Both sides.")


def test_threads_may_list_at_once():
    """A page that is made beside the start of a run: CPython up to 3.11.7 loses count when two threads parse."""

    def take_turns(*_: object) -> None:
        for _ in range(50):
            pass

    interval, thresholds = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(1e-6)
    gc.set_threshold(50)
    gc.callbacks.append(take_turns)  # threads change places within a parse only where Python code runs in it
    try:
        with ThreadPoolExecutor(8) as pool:
            for _ in range(4):
                registry._listing.cache_clear()
                listed = list(pool.map(lambda _: registry.experiments(), range(8)))
                assert all(one == listed[0] for one in listed)
    finally:
        gc.callbacks.remove(take_turns)
        gc.set_threshold(*thresholds)
        sys.setswitchinterval(interval)
