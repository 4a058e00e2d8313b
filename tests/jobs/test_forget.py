"""A sequence of tasks: what is run, what is kept, what comes out of it."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli.conftest import Ran, run
from training.runs import Interfering

import lmworks as lm
from jobs import small_builds
from lmworks.basics.config import to_toml
from lmworks.basics.errors import ConfigError, DataError, LmworksError, Stopped
from lmworks.evaluation.likelihood import measure
from lmworks.evaluation.measurement import Measurement
from lmworks.jobs.forget import forget, slid
from lmworks.jobs.forget_recipe import GENERAL, NAIVE, ForgetRecipe
from lmworks.jobs.forget_report import Forgetting, Point, finding
from lmworks.jobs.forget_texts import SequenceTexts, write_joint, write_old
from lmworks.language_model import LanguageModel
from lmworks.text.corpus.folder import read_split
from lmworks.text.document import Document
from lmworks.text.sources import read
from lmworks.text.splits import Split

__all__ = ["run"]
TABLES: dict[str, Any] = {
    "tasks": {"first": {"text": "notes"}, "second": {"text": "more"}},
    "build": {
        "model": {"reference": "base"},
        "lora": {"rank": 2},
        "data": {"held_out": 0.3, "general": "general"},
        "training": {"context": 32, "rows": 4, "steps": 4, "learning_rate": 3e-2, "warmup": 0.0},
        "evaluation": {"tokens": 1500, "window": 64},
    },
    "slider": [0.0, 0.5, 1.0],
}
MORE = {"ways": {"rehearsed": {"retain": "rehearsal"}}, "router": True, "seeds": [0, 1], "keep_models": True}


def prepare(folder: Path) -> None:
    small_builds.prepare(folder)
    (folder / "more").mkdir()
    for number in range(20):
        words = [str(number * place % 7) * 3 for place in range(30)]
        (folder / "more" / f"{number}.txt").write_text(f"numbers {number}: " + " ".join(words))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def sequence(tmp_path_factory: pytest.TempPathFactory) -> Forgetting:
    """Two seeds of everything."""
    folder = tmp_path_factory.mktemp("sequence")
    prepare(folder)
    before = Path.cwd()
    os.chdir(folder)
    try:
        return lm.forget(ForgetRecipe(**TABLES | MORE), folder / "out")
    finally:
        os.chdir(before)


@pytest.fixture
def there(sequence: Forgetting, monkeypatch: pytest.MonkeyPatch) -> Forgetting:
    """The sequence, in its folder."""
    monkeypatch.chdir(sequence.folder.parent)
    return sequence


def test_the_matrix_holds_what_each_model_is_measured_at(there: Forgetting):
    texts = SequenceTexts.of(there.recipe).measured
    places = {0: ["base", "base"]} | {
        after: [str(there.folder / "models" / f"seed-{seed}" / "naive" / name) for seed in (0, 1)]
        for after, name in ((1, "1-first"), (2, "2-second"))
    }
    for after, models in places.items():
        loaded = [LanguageModel.load(one, dtype="float32") for one in models]
        for column, name in enumerate(("first", "second", GENERAL)):
            figures = [measure(one, texts[name], name, window=64, tokens=1500).bits_per_byte(name) for one in loaded]
            expected = np.mean([one.value for one in figures])
            assert there.matrices["naive"][after][column] == pytest.approx(expected, rel=1e-6)
    assert there.matrices["rehearsed"][:2] == there.matrices["naive"][:2] and len(there.matrices["joint"]) == 1
    assert there.columns == ["first", "second", GENERAL] and set(there.summaries) == {"naive", "rehearsed", "router"}


def test_points_are_differences_of_the_matrix_and_the_sliders_ends_are_known_models(there: Forgetting):
    naive, joint = np.array(there.matrices["naive"]), np.array(there.matrices["joint"])
    point = there.point("joint")
    assert point.gained.value == pytest.approx(naive[1, 1] - joint[0, 1])
    assert point.forgotten.value == pytest.approx(joint[0, 0] - naive[1, 0])
    assert point.general.value == pytest.approx(joint[0, 2] - naive[0, 2])
    assert point.gained.seeds == (0, 1) and there.summaries["naive"][1].value == pytest.approx(
        naive[1, 0] - naive[2, 0]
    )
    whole, none = there.point("slider", 1.0), there.point("slider", 0.0)
    assert whole.gained == there.point("naive").gained and whole.forgotten == there.point("naive").forgotten
    assert none.gained.value == none.forgotten.value == 0.0
    between = there.point("slider", 0.5).gained.value
    assert between > 0 and between not in (whole.gained.value, none.gained.value)


def test_without_an_interval_nothing_is_said_of_what_is_forgotten():
    one = Measurement(name="one text", value=0.3, unit="bits/byte", n=1, difference=True)
    assert finding([Point(NAIVE, None, one, one, one)]).startswith("open: n 1 gives no interval; hold out more text")


def test_the_slider_at_its_ends_is_the_models_themselves_to_the_bit(there: Forgetting):
    folder = there.folder / "models" / "seed-0" / "naive"
    ends = [LanguageModel.load(str(folder / name), dtype="float32") for name in ("1-first", "2-second")]
    for share, end in ((0.0, ends[0]), (1.0, ends[1])):
        made = slid(*ends, share).network.state_dict()
        assert all(torch.equal(made[name], one) for name, one in end.network.state_dict().items())
    half = slid(*ends, 0.5).network.state_dict()
    changed = [name for name, one in ends[0].network.state_dict().items() if not torch.equal(half[name], one)]
    assert changed and all(
        torch.allclose(half[name], (ends[0].network.state_dict()[name] + ends[1].network.state_dict()[name]) / 2)
        for name in changed
    )


def test_later_tasks_go_on_from_the_first_and_rehearse_its_text_alone(there: Forgetting):
    folder = there.folder / "models" / "seed-1"
    said = json.loads((folder / "rehearsed" / "2-second" / "lmworks.json").read_text())
    assert said["base"]["reference"].endswith("seed-1/naive/1-first") and said["seeds"] == [1]
    alone = json.loads((folder / "router" / "2-second" / "lmworks.json").read_text())
    assert alone["base"]["reference"] == "base" and not (folder / "router" / "1-first").exists()
    trained = {one.text for one in SequenceTexts.of(there.recipe).parts["first"].train}
    old = read(str(there.folder / "texts" / "seed-1" / "rehearsed-2.jsonl")).documents
    assert said["recipe"]["rehearsal"]["text"].endswith("rehearsed-2.jsonl") and {one.text for one in old} == trained


def test_the_router_reads_each_document_by_one_of_its_models(there: Forgetting):
    """Kinds of text as different as these are told apart: each column is that of the model that learnt it."""
    texts = SequenceTexts.of(there.recipe).measured
    for column, (name, folder) in enumerate((("first", "naive/1-first"), ("second", "router/2-second"))):
        models = [str(there.folder / "models" / f"seed-{seed}" / folder) for seed in (0, 1)]
        expected = np.mean(
            [
                measure(LanguageModel.load(one, dtype="float32"), texts[name], name, window=64)
                .bits_per_byte(name)
                .value
                for one in models
            ]
        )
        assert there.matrices["router"][-1][column] == pytest.approx(expected, rel=1e-6)


def test_called_again_nothing_is_run_again_and_one_more_seed_is_run_alone(there: Forgetting):
    lines: list[str] = []
    again = forget(there.recipe, there.folder, say=lines.append)
    assert again.facts() == there.facts() and not lines
    with pytest.raises(ConfigError, match=r"was measured with other recipes than this recipe has; give another --out"):
        forget(ForgetRecipe(**TABLES | MORE | {"build": TABLES["build"] | {"lora": {"rank": 3}}}), there.folder)


def test_the_verb_prints_what_json_says_and_draws_the_frontier(there: Forgetting, run: Callable[..., Ran]):
    Path("r.toml").write_text(to_toml(there.recipe.model_dump(mode="json")))
    shown = run("forget", "r.toml", "--out", "out")
    facts = run("forget", "r.toml", "--out", "out", "--json").json
    assert shown.code == 0 and facts["finding"] == there.finding and f"finding {there.finding}" in shown.out
    for way, rows in facts["matrices"].items():
        assert way in shown.out and (
            way != "naive" or all(f"{value:.3f}" in shown.out for row in rows for value in row)
        )
    assert all(f"slider {share}" in shown.out for share in ("0%", "50%", "100%")) and "backward transfer" in shown.out
    assert facts["pictures"] == ["out/frontier.png", "out/frontier.svg"] and "2 seeds, n 3" in shown.out
    assert all(Path(picture).stat().st_size > 1000 for picture in facts["pictures"])
    assert run("forget", "r.toml", "--set", "sped=1").err == (
        "lmworks: r.toml: sped is not a setting; did you mean seeds?\n"
    )


def test_a_run_that_was_stopped_in_the_middle_goes_on_to_the_same_figures(here: Path, monkeypatch: pytest.MonkeyPatch):
    chosen = ForgetRecipe(**TABLES | {"ways": {"near": {"retain": "kl"}}})
    straight = forget(chosen, "straight")
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        made = iter(
            [Interfering(9, lambda model: None), Interfering(2, lambda model: os.kill(os.getpid(), signal.SIGINT))]
        )
        patch.setattr("lmworks.jobs.learning.CausalLM", lambda: next(made))
        patch.setattr("lmworks.jobs.build.check_fit", lambda *given: None)
        patch.setattr("lmworks.jobs.forget.check_fit", lambda *given: None)
        forget(chosen, "out")
    assert Path("out/figures/seed-0/naive/1-first.json").exists()
    assert Path("out/models/seed-0/naive/2-second.run/checkpoint").exists()
    lines: list[str] = []
    resumed = forget(chosen, "out", say=lines.append)
    runs = [line.strip() for line in lines if "seed 0" in line]
    assert [line.partition("seed 0, ")[2] for line in runs] == ["naive: second", "near: second", "joint: all tasks"]
    assert resumed.facts() | {"folder": ""} == straight.facts() | {"folder": ""}
    assert not Path("out/models/seed-0").exists() and json.loads(Path("out/forget.json").read_text()) == resumed.facts()


def test_online_springs_go_from_task_to_task_with_the_last_text_alone(here: Path):
    (here / "third.jsonl").write_text("\n".join(json.dumps({"text": f"third {at} " * 20}) for at in range(12)))
    more = {"tasks": TABLES["tasks"] | {"third": {"text": "third.jsonl"}}, "keep_models": True}
    short = TABLES["build"] | {"training": TABLES["build"]["training"] | {"steps": 1}}
    online = {"online": {"retain": "ewc", "ewc": {"kept": "springs", "tokens": 64}}}
    result = forget(ForgetRecipe(**TABLES | more | {"build": short, "ways": online, "slider": [0, 1]}), "out")
    said = [
        json.loads((here / "out/models/seed-0/online" / name / "lmworks.json").read_text())["recipe"]["ewc"]
        for name in ("2-second", "3-third")
    ]
    assert said[0]["earlier"] is None and said[1]["earlier"] == said[0]["kept"] != said[1]["kept"]
    trained = {one.text for one in SequenceTexts.of(result.recipe).parts["second"].train}
    assert {one.text for one in read(said[1]["text"]).documents} == trained
    assert [len(rows) for rows in result.matrices.values()] == [4, 4, 1] and len(result.summaries["online"]) == 5


def test_every_way_multiplies_frozen_matrices_alike():
    chosen = ForgetRecipe(**TABLES | {"ways": {"near": {"retain": "kl"}}})
    assert {chosen.stage(way, 0).training.frozen_products for way in (NAIVE, "near")} == {"exact"}
    asked = TABLES["build"]["training"] | {"frozen_products": "int8"}
    chosen = ForgetRecipe(**TABLES | {"build": TABLES["build"] | {"training": asked}})
    assert chosen.stage(NAIVE, 0).training.frozen_products == "int8"


def test_joint_training_reads_as_much_of_each_task_and_nothing_that_measures(tmp_path: Path):
    splits = [
        Split([Document(f"{name} {at} " + "word " * 20, "") for at in range(count)], [Document(f"held {name}", "")], 0)
        for name, count in (("few", 3), ("many", 90))
    ]
    folder = write_joint(tmp_path / "joint", splits, 1000, lambda document: len(document.text), seed=0)
    _, parts = read_split(folder)
    sizes = {name: sum(len(one.text) for one in parts.train if one.text.startswith(name)) for name in ("few", "many")}
    assert all(1000 <= size < 1120 for size in sizes.values())
    assert {one.text for one in parts.held_out} == {"held few", "held many"}
    whole = read_split(write_joint(tmp_path / "whole", splits, None, lambda document: 1, seed=0))[1]
    assert sorted(one.hash for one in whole.train) == sorted(one.hash for split in splits for one in split.train)


def test_old_texts_take_turns_however_long_their_documents_are(tmp_path: Path):
    long = Document("\n\n".join(f"paragraph {at} " + "of a manual " * 40 for at in range(40)), "manual")
    short = [Document(f"a line {at}", "") for at in range(50)]
    chat = Document.conversation(({"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}), "chat")
    old = read(write_old(tmp_path / "old.jsonl", [[long], short, [chat]], seed=0)).documents
    assert (
        old[2].messages == chat.messages
        and [one.text.startswith("a line") for one in old[:7:2]] == [False] * 2 + [True] * 2
    )
    assert all("manual" in one.text for one in (old[0], old[3], old[5])) and len(old) > 60


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "one task": ({"tasks": {"a": {"text": "notes"}}}, "tasks are 1; give at least two"),
    "a task's name": ({"tasks": {"a/b": {"text": "n"}, "c": {"text": "n"}}}, "tasks has one called 'a/b'"),
    "a way's name": ({"ways": {"joint": {}}}, "ways has one called 'joint'"),
    "an unknown key": ({"speed": 3}, "speed is not a setting"),
    "an unknown retention": ({"ways": {"x": {"retain": "ew"}}}, "ways.x.retain is 'ew'; did you mean 'ewc'"),
    "a way that changes the data": ({"ways": {"x": {"data": {}}}}, "ways.x.data is nothing that a way can change"),
    "a setting of a way": (
        {"ways": {"x": {"retain": "kl", "kl": {"strenth": 1}}}},
        "ways.x.kl.strenth is not a setting",
    ),
    "naive that retains": ({"build": {"retain": "kl"}}, "build.retain is of naive training"),
    "a text of its own": ({"build": {"data": {"text": "notes"}}}, "build.data.text is not read in a sequence"),
    "the clock": ({"build": {"training": {"max_seconds": 3}}}, "build.training.max_seconds would give"),
    "a method that is never merged": (
        {"ways": {"x": {"method": "prompt"}}},
        "ways.x.method is 'prompt'; .* fits into no weight; take another method",
    ),
    "naive training by one": ({"build": {"method": "bottleneck"}}, "build.method is 'bottleneck'; each task begins"),
    "a grid that a merged model has not": (
        {"ways": {"x": {"method": "qlora", "qlora": {"grid": "file"}}}},
        "ways.x.method is 'qlora'; .* needs a base in a GGUF file",
    ),
    "no seed": ({"seeds": []}, "seeds are"),
    "the same seed": ({"seeds": [1, 1]}, r"seeds are \[1, 1\]; give different"),
    "a slider without its ends": ({"slider": [0.5]}, r"slider is \[0.5\]; give shares"),
    "a measure": ({"measure": "f1"}, "measure is 'f1'"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_a_recipe_is_one_sentence(name: str):
    tables, sentence = MISTAKES[name]
    with pytest.raises(ConfigError, match=sentence):
        ForgetRecipe(**TABLES | tables)


def test_a_mistake_that_only_the_texts_or_the_model_show_is_told_before_training(here: Path):
    def refused(kind: type[Exception], sentence: str, out: str = "out", **tables: Any) -> None:
        with pytest.raises(kind, match=sentence):
            forget(ForgetRecipe(**TABLES | tables), out)
        assert not (here / out / "models").exists()

    refused(DataError, "nothing-here", tasks={"first": {"text": "notes"}, "second": {"text": "nothing-here"}})
    refused(ConfigError, "lora.targets: this model has no projection q", ways={"x": {"lora": {"targets": ["q"]}}})
    refused(ConfigError, r"ways.x.retain is 'router'; .* router = true measures that", ways={"x": {"retain": "router"}})
    refused(ConfigError, "notes holds 0.txt and no sequence of tasks", out="notes")
    parts = SequenceTexts.of(ForgetRecipe(**TABLES)).parts
    swapped = Split(parts["first"].held_out, parts["second"].held_out, 0)
    write_joint(here / "both", [swapped], None, lambda document: 1, seed=0)
    overlapping = {"first": {"text": "notes"}, "second": {"text": "both"}}
    count = len(parts["first"].held_out)
    refused(DataError, f"the task second trains on {count} of the documents that measure first", tasks=overlapping)


def test_what_compares_seeds_is_missed_before_training(here: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "scipy.stats", None)  # as if it were not installed
    with pytest.raises(LmworksError, match=r"pip install 'lmworks\[lab\]'"):
        lm.forget(ForgetRecipe(**TABLES | {"seeds": [0, 1]}), here / "out")
    assert not (here / "out").exists()


def test_answers_are_counted_where_the_model_would_write_all_of_each(here: Path):
    for name, word in (("one", "yes"), ("two", "no")):
        records = [{"prompt": f"{name} {at}", "response": word} for at in range(20)]
        (here / f"{name}.jsonl").write_text("\n".join(map(json.dumps, records)))
    tables = {"tasks": {"one": {"text": "one.jsonl"}, "two": {"text": "two.jsonl"}}, "measure": "answers"}
    steps = TABLES["build"]["training"] | {"steps": 14, "context": 64}
    result = forget(ForgetRecipe(**TABLES | tables | {"build": TABLES["build"] | {"training": steps}}), "out")
    scores = np.array(result.matrices["naive"])[:, :2]
    assert scores[0].tolist() == [0, 0] and scores[1, 0] == 1 and scores[2, 1] == 1 and scores[2, 0] == 0
    assert result.point("naive").forgotten.value == 1 and result.point("naive").forgotten.unit == ""
    assert result.summaries["naive"][1].value == -1 and result.matrices["naive"][0][2] > 1
    with pytest.raises(DataError, match=r"one: \d+\.txt has no answer; give records with answers"):
        forget(
            ForgetRecipe(**TABLES | tables | {"tasks": {"one": {"text": "notes"}, "two": {"text": "more"}}}), "other"
        )
