"""The main job on a tiny model and a few small texts: what is written, who can load it, and what goes wrong."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from full_disk import full_disk
from training.runs import Interfering

from jobs.small_builds import TOKENS, contents, logits, recipe, stopped
from lmworks.adaptation.lora import lora_layers
from lmworks.basics.errors import ConfigError, DataError, LmworksError, ModelError, Stopped
from lmworks.cli.answer_options import AnswerOptions
from lmworks.evaluation.likelihood import measure
from lmworks.jobs.build import BuildResult, build
from lmworks.jobs.recipe import Recipe
from lmworks.language_model import LanguageModel
from lmworks.loading import facts_of, fingerprint, load
from lmworks.models.files.compressed import Compression
from lmworks.models.files.directory import write_network
from lmworks.models.network import Network
from lmworks.text.sources import read
from lmworks.text.splits import data_hash, split
from lmworks.tokens.batch import IGNORE, Batch


def test_a_result_loads_and_says_where_it_comes_from(here: Path):
    lines: list[str] = []
    result = build(out="models/notes", recipe=recipe(), say=lines.append)
    assert isinstance(result, BuildResult) and result.folder == Path("models/notes")
    assert not Path("models/notes.run").exists() and sorted(path.name for path in Path("models").iterdir()) == ["notes"]
    back = load(result.folder)
    assert torch.equal(logits(back), logits(result.model))
    assert (logits(back) - logits(LanguageModel.load("base"))).abs().max() > 1e-3
    assert back.generate([5, 6], max_new_tokens=5) == result.model.generate([5, 6], max_new_tokens=5)

    facts = json.loads((result.folder / "lmworks.json").read_text())
    parts = split(read("notes").documents, 0.25)
    assert facts["recipe"] == recipe().model_dump(mode="json") and Recipe(**facts["recipe"]) == recipe()
    assert facts["base"] == {"reference": "base", "sha256": fingerprint(here / "base")}
    assert facts["data"]["train"] == data_hash(parts.train) and facts["data"]["held_out"] == data_hash(parts.held_out)
    assert facts["data"]["documents"] == [len(parts.train), len(parts.held_out)] and facts["seeds"] == [5]
    assert [one["name"] for one in facts["measurements"]] == [
        *(f"{text}, {what}" for text in ("held-out text", "general text") for what in ("before", "after", "change")),
        "KL(base, tuned) on held-out text",
    ]
    assert facts["measurements"] == [one.to_json() for one in result.measurements]
    assert set(facts["versions"]) == {"lmworks", "torch", "tokenizers", "safetensors", "python"}
    assert facts["training"]["steps"] == 4 and facts["training"]["last_loss"] == result.training.losses[-1]
    assert len((result.folder / "log.jsonl").read_text().splitlines()) == 5
    assert any(f"train {len(parts.train)} documents" in line for line in lines) and result.drift is None


def test_the_result_has_learnt_what_it_read(here: Path):
    result = build(out="out", recipe=recipe(steps=60, context=128))
    held_out, _ = result.comparisons
    assert held_out.change == "better" and held_out.after.value < held_out.before.value - 1
    assert result.training.losses[-1] < result.training.losses[0] - 1


def test_a_build_is_the_same_when_it_is_made_again_over_the_first(here: Path):
    first = contents(build(out="out", recipe=recipe()).folder)
    second = contents(build(out="out", recipe=recipe()).folder)
    assert first["adapter_model.safetensors"] == second["adapter_model.safetensors"]
    ours, again = (json.loads(one["lmworks.json"]) for one in (first, second))
    assert ours["measurements"] == again["measurements"]


def test_a_merged_result_loads_in_transformers(here: Path):
    transformers = pytest.importorskip("transformers", reason="pip install 'lmworks[dev]'")
    transformers.logging.set_verbosity_error()
    result = build(out="out", recipe=recipe(), merge=True)
    assert not lora_layers(result.model.network)
    wanted = logits(load("out"))
    theirs = transformers.AutoModelForCausalLM.from_pretrained("out", dtype=torch.float32).eval()
    with torch.no_grad():
        torch.testing.assert_close(theirs(TOKENS).logits, wanted, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(logits(result.model), wanted, rtol=0, atol=0)
    assert transformers.AutoTokenizer.from_pretrained("out").encode("a page") == result.model.tokenizer.encode("a page")
    adapter = build(out="adapter", recipe=recipe())
    torch.testing.assert_close(logits(adapter.model), wanted, rtol=1e-4, atol=1e-4)


def test_a_merged_result_of_a_short_run_in_bfloat16_is_the_adapter(here: Path):
    """Its small update would be rounded away, so that whole weights are written in float32, which is said."""
    chosen = recipe(learning_rate=3e-4)
    chosen = chosen.but(model=chosen.model.but(dtype="bfloat16"))
    adapter, base = build(out="adapter", recipe=chosen), LanguageModel.load("base", dtype="bfloat16")
    lines: list[str] = []
    result = build(out="out", recipe=chosen, merge=True, say=lines.append)
    [said] = [line for line in lines if line.startswith("merged ")]
    assert re.fullmatch(r"merged         in float32: bfloat16 would lose \d\d% of what was learnt", said)
    made = load("out")
    assert made.network.dtype == result.model.network.dtype == torch.float32
    assert torch.equal(logits(made), logits(result.model))
    for path, layer in lora_layers(adapter.model.network).items():
        update = made.network.get_submodule(path).weight - base.network.get_submodule(path).weight.float()
        torch.testing.assert_close(update, layer.delta(), rtol=1e-3, atol=1e-6)
    assert result.weight_bytes > 1.9 * (here / "base" / "model.safetensors").stat().st_size / 2


def test_an_adapter_loads_in_peft(here: Path):
    transformers = pytest.importorskip("transformers", reason="pip install 'lmworks[dev]'")
    peft = pytest.importorskip("peft", reason="pip install 'lmworks[dev]'")
    result = build(out="out", recipe=recipe())
    base = json.loads(Path("out/adapter_config.json").read_text())["base_model_name_or_path"]
    theirs = peft.PeftModel.from_pretrained(transformers.AutoModelForCausalLM.from_pretrained(base), "out").eval()
    with torch.no_grad():
        torch.testing.assert_close(theirs(TOKENS).logits, logits(result.model), rtol=1e-5, atol=1e-5)


def test_a_result_is_found_from_another_folder(here: Path, monkeypatch: pytest.MonkeyPatch):
    wanted = logits(build(out="out", recipe=recipe()).model)
    (here / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert torch.equal(logits(load("../out")), wanted)


def test_an_adapter_on_other_weights_is_refused(here: Path):
    build(out="out", recipe=recipe())
    tiny.language_model(seed=8, context=160).save("base")
    with pytest.raises(ModelError, match=r"was trained on other weights than .*base holds now"):
        load("out")
    assert lora_layers(load("out", base="base").network)  # said twice, it is meant
    with pytest.raises(ModelError, match=r"was trained on other weights than .*base holds now"):
        AnswerOptions().loaded("base", None, None, ["out"])


def test_facts_of_another_kind_beside_an_adapter_do_no_harm(here: Path):
    wanted = logits(build(out="out", recipe=recipe()).model)
    Path("out/lmworks.json").write_text('{"base": "base"}')
    assert torch.equal(logits(load("out")), wanted)


def test_an_adapter_is_measured_as_it_will_run(here: Path):
    """Compiled, on a base in 4 bits: the figures before and after are those of base and result as they load."""
    pytest.importorskip("numba")
    base = tiny.language_model(context=160, dim=64, heads=4, head_dim=16, hidden_dim=96)
    shutil.rmtree("base")
    Path("base").mkdir()
    write_network(Path("base"), base.network, compression=Compression(4))
    base.write_tokenizer(Path("base"))
    settings = recipe().but(model=recipe().model.but(dtype=None))
    held_out = split(read("notes").documents, 0.25).held_out
    for merge in (False, True):
        result = build(out="out", recipe=settings, merge=merge)
        figures = [result.comparisons[0].before.value, result.comparisons[0].after.value]
        loaded = [LanguageModel.load("base", compress="none" if merge else None), load("out")]
        assert [one.runner.name == "compiled" for one in (*loaded, result.model)] == [not merge] * 3
        again = [measure(one, held_out, "held-out text", window=128, tokens=2000) for one in loaded]
        found = [one.bits_per_byte("held-out text").value for one in again]
        assert figures == pytest.approx(found, rel=1e-2 if merge else 1e-9)  # merged weights are rounded to bfloat16
        assert figures[0] != figures[1]


@pytest.mark.parametrize("base", ["out", "other"])
def test_an_adapter_that_names_an_adapter_as_its_base_is_one_sentence(here: Path, base: str):
    build(out="out", recipe=recipe())
    shutil.copytree("out", "other")
    facts = json.loads(Path("out/adapter_config.json").read_text())
    Path("out/adapter_config.json").write_text(json.dumps(facts | {"base_model_name_or_path": base}))
    for act in (load, facts_of):
        with pytest.raises(ModelError, match="as its base model, which is an adapter too; give a whole model"):
            act("out")


@pytest.mark.parametrize("merge", [False, True], ids=["adapter", "merged"])
def test_a_general_text_that_cannot_be_had_is_replaced_by_the_drift(
    merge: bool, here: Path, monkeypatch: pytest.MonkeyPatch
):
    lines: list[str] = []
    monkeypatch.setenv("LMWORKS_DATA", "")
    monkeypatch.setenv("LMWORKS_CACHE", str(here.parent / "empty-cache"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing listens there: a machine without a network
    chosen = recipe().but(data=recipe().data.but(general="wikitext2"))
    result = build(out="out", recipe=chosen, merge=merge, say=lines.append)
    assert [one.text for one in result.comparisons] == ["held-out text"]
    assert result.drift is not None and result.drift.value > 0 and result.drift.unit == "bits/token"
    assert json.loads(Path("out/lmworks.json").read_text())["measurements"][-1] == result.drift.to_json()
    [place] = [number for number, line in enumerate(lines) if line.startswith("general text")]
    assert "wikitext2 is not on this machine" in lines[place] and "LMWORKS_DATA" in lines[place]
    assert "drift from the base" in lines[place + 1] and all(len(line) < 120 for line in lines)


def test_a_general_text_that_is_misspelt_is_an_error_and_not_replaced(here: Path):
    with pytest.raises(DataError, match="wikitxt2"):
        build(out="out", recipe=recipe().but(data=recipe().data.but(general="wikitxt2")))
    assert not Path("out").exists()


def test_ctrl_c_and_resume_equal_a_straight_run(here: Path, monkeypatch: pytest.MonkeyPatch):
    straight = build(out="straight", recipe=recipe(steps=6))
    stopped(recipe(steps=6), monkeypatch)
    assert not Path("out").exists()
    with pytest.raises(ConfigError, match=r"out.run holds a run that was stopped; go on with --resume"):
        build(out="out", recipe=recipe(steps=6))
    with pytest.raises(ConfigError, match=r"^training.learning_rate is 0.5 and was 0.01 when the run was started"):
        build(out="out", recipe=recipe(steps=6, learning_rate=0.5), resume=True)
    changed = Path("notes", split(read("notes").documents, 0.25).train[0].source)
    before = changed.read_text()
    changed.write_text(before + " and more")
    with pytest.raises(ConfigError, match="notes does not hold what the run was started with"):
        build(out="out", recipe=recipe(steps=6), resume=True)
    changed.write_text(before)
    resumed = build(out="out", recipe=recipe(steps=6), resume=True)
    assert resumed.training.losses == straight.training.losses[3:]
    assert contents(Path("out"))["adapter_model.safetensors"] == contents(Path("straight"))["adapter_model.safetensors"]
    assert [one.to_json() for one in resumed.measurements] == [one.to_json() for one in straight.measurements]
    lines: list[str] = []
    build(out="out", recipe=recipe(steps=6), say=lines.append)
    assert sum(line.startswith("replaces       out,") for line in lines) == 1
    Path("out.run").mkdir()
    Path("out.run/recipe.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"out.run holds a run that ended before its first checkpoint"):
        build(out="out", recipe=recipe(steps=6), resume=True)
    Path("out.run/recipe.json").unlink()
    with pytest.raises(ConfigError, match=r"out.run does not hold a run to resume"):
        build(out="out", recipe=recipe(steps=6), resume=True)


def test_ctrl_c_while_the_result_is_measured_goes_on_from_the_last_step(here: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupted(*given: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("lmworks.jobs.build._Job.measure_before", interrupted)
        with pytest.raises(Stopped, match=r"^stopped before the first checkpoint; the same command starts it") as early:
            build(out="out", recipe=recipe())
        assert not early.value.resume
        patch.undo()
        patch.setattr("lmworks.jobs.build._Job.measure_after", interrupted)
        told: pytest.ExceptionInfo[BaseException]
        with pytest.raises((Stopped, KeyboardInterrupt)) as told:
            build(out="out", recipe=recipe())
    assert str(told.value).startswith("stopped; go on with the same command and --resume (checkpoint in")
    assert isinstance(told.value, Stopped) and told.value.resume
    assert build(out="out", recipe=recipe(), resume=True).training.losses == []


def test_a_full_disk_leaves_the_earlier_model_and_the_run(here: Path):
    build(out="out", recipe=recipe())
    before = contents(Path("out"))
    room = 60_000  # for a checkpoint, not for the merged model
    with full_disk(room), pytest.raises(LmworksError, match=r"File too large|disk is full") as caught:
        build(out="out", recipe=recipe(seed=6), merge=True)
    assert "\n" not in str(caught.value) and contents(Path("out")) == before
    assert sorted(path.name for path in here.iterdir()) == ["base", "general", "notes", "out", "out.run"]
    finished = build(out="out", recipe=recipe(seed=6), merge=True, resume=True)
    assert finished.training.losses == [] and torch.equal(logits(load("out")), logits(finished.model))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere; run it as a user")
def test_no_permission_to_write_is_one_sentence(here: Path):
    (here / "locked").mkdir(mode=0o500)
    with pytest.raises(LmworksError, match="no permission to write there"):
        build(out="locked/out", recipe=recipe())


def test_a_place_that_cannot_be_written_is_one_sentence(here: Path):
    (here / "file").write_text("not a folder")
    with pytest.raises(LmworksError) as caught:
        build(out="file/out", recipe=recipe())
    assert "file/out" in str(caught.value) and "\n" not in str(caught.value)


def test_a_folder_with_other_files_is_not_replaced(here: Path):
    (here / "mine").mkdir()
    (here / "mine" / "thesis.doc").write_text("years of work")
    with pytest.raises(ModelError, match=r"mine holds thesis.doc and is not a model directory"):
        build(out="mine", recipe=recipe())
    assert contents(here / "mine") == {"thesis.doc": b"years of work"}


def test_an_empty_folder_is_an_error_that_leaves_nothing_behind(here: Path):
    (here / "empty").mkdir()
    with pytest.raises(DataError, match="empty is an empty folder"):
        build("empty", out="out", recipe=recipe())
    with pytest.raises(DataError, match=r"nots does not exist; did you mean notes\?$"):
        build("nots", out="out", recipe=recipe())
    assert sorted(path.name for path in here.iterdir()) == ["base", "empty", "general", "notes"]


def test_the_result_is_named_after_the_text(here: Path, monkeypatch: pytest.MonkeyPatch):
    assert build("notes/", recipe=recipe()).folder == Path("models/notes")
    monkeypatch.chdir("notes")
    assert build(
        ".", str(here / "base"), recipe=recipe().but(data=recipe().data.but(general="../general"))
    ).folder == Path("models/notes")


def test_changes_count_for_a_recipe_that_is_an_object_too(here: Path):
    result = build(out="out", recipe=recipe(), changes=["training.steps=2", "lora.rank=3"])
    assert result.training.steps == 2 and result.recipe.lora.rank == 3 and result.recipe.training.seed == 5
    with pytest.raises(ConfigError, match=r"^training.step is not a setting; did you mean training.steps\?$"):
        build(out="out", recipe=recipe(), changes=["training.step=2"])


def test_a_run_may_be_ended_by_the_clock(here: Path):
    lines: list[str] = []
    result = build(out="out", recipe=recipe(steps=None, max_seconds=0.05), say=lines.append)
    assert result.training.steps > 0 and any(line.endswith(" rows of 64 tokens, 0.05 s") for line in lines)


def test_of_a_conversation_only_the_assistants_words_are_learnt(here: Path, monkeypatch: pytest.MonkeyPatch):
    """Pitfalls 2 and 3: and the token that closes each of its turns."""
    Path("chats").mkdir()
    turns = [
        [{"role": "user", "content": f"question {number}"}, {"role": "assistant", "content": f"answer {number}"}]
        for number in range(8)
    ]
    Path("chats/all.jsonl").write_text("\n".join(json.dumps({"messages": messages}) for messages in turns))
    learnt: list[str] = []
    tokenizer = tiny.byte_tokenizer()

    class Watching(Interfering):
        def __call__(self, network: Network, batch: Batch) -> Any:
            for row in batch.labels.tolist():
                learnt.append(b"".join(tokenizer.bytes_of([label for label in row if label != IGNORE])).decode())
                stops = sum(label in tokenizer.stop_ids for label in row)
                assert stops == learnt[-1].count("answer") > 0
            return super().__call__(network, batch)

    monkeypatch.setattr("lmworks.jobs.learning.CausalLM", lambda: Watching(-1, lambda network: None))
    build("chats", out="out", recipe=recipe())
    assert learnt and not any("question" in text or "user" in text for text in learnt)
    assert set("".join(learnt).replace("answer ", "")) <= set("01234567")
