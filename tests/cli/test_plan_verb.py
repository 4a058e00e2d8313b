"""`lmworks plan` as its users meet it: tables that say the same as --json, and mistakes."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import tiny

from lmworks.cli.plan import size
from lmworks.jobs.planning.reading import LIKE
from lmworks.jobs.training_recipe import TrainRecipe


def test_the_command_prints_what_json_holds(run, model_folder: str):
    options = ("plan", model_folder, "--device", "4x A100", "--method", "dora")
    options += ("--set", "training.steps=5", "--set", "training.context=64")
    shown, facts = run(*options), run(*options, "--json").json
    ways = {way["name"]: way for way in facts["ways"]}
    assert shown.code == 0 and {"from nothing", "full", "dora", "qlora, nf4", "prompt", "serving"} <= {*ways}
    assert f"all {facts['parameters']['all']:,}" in shown.out and "4x A100" in shown.out
    for name, way in ways.items():
        assert way["peak_bytes"] == pytest.approx(sum(way["bytes_at_peak"].values()))
        assert name in shown.out.lower() and size(way["peak_bytes"]) in shown.out
        assert f"{way['tokens_per_second']:,.0f}" in shown.out
    asked = ways["dora"]
    assert f"Memory of dora at its peak, {asked['moment']};" in shown.out
    assert f"A step: {asked['flops']['all']:.3g} FLOPs" in shown.out
    assert all(part in shown.out for part in asked["bytes"])


def test_a_tune_of_ones_own_data_is_planned_with_the_command_that_starts_it(run, model_folder: str, text_folder: str):
    options = (model_folder, "--data", text_folder, "--method", "prompt")
    options += ("--set", "training.epochs=2", "--set", "training.context=64")
    shown = run("plan", *options, "--device", "L4")
    facts = run("plan", *options, "--device", "L4", "--json").json
    data, ways = facts["data"], {way["name"]: way for way in facts["ways"]}
    assert shown.code == 0 and not {"from nothing", "serving"} & {*ways}
    assert f"{data['tokens']:,} tokens in a pass, {data['learnt']:,} of them learnt" in shown.out
    assert "2 passes over the text" in shown.out and f"{data['steps']:,} steps" in shown.out
    assert "skipped        picture.png" in shown.err and max(map(len, shown.out.splitlines()[:-1])) <= 100
    assert shown.out.splitlines()[-1] == f"next    lmworks tune {' '.join(options)}"
    assert ways["full"]["checkpoint_bytes"] > ways["full"]["result_bytes"] > ways["prompt"]["checkpoint_bytes"]


def test_conversations_that_would_be_cut_come_with_the_setting_that_keeps_them(run, model_folder: str, tmp_path):
    turns = [{"role": "user", "content": "Who is it?"}, {"role": "assistant", "content": "It is Ann. " * 5}]
    chats = tmp_path / "chats.jsonl"
    chats.write_text(
        "\n".join(json.dumps({"messages": [*turns, turns[0], turns[1] | {"content": one}]}) for one in "ab")
    )
    asked = ("plan", model_folder, "--data", str(chats), "--device", "L4", "--method", "prompt")
    cut = run(*asked, "--set", "training.context=16")
    found = re.search(r"but     conversations are cut; .* --set training\.context=(\d+)\n", cut.out)
    assert found is not None, cut.out + cut.err
    whole = run(*asked, "--set", f"training.context={found[1]}")
    assert whole.code == 0 and "are cut" not in whole.out and "\ncut " not in whole.out


def test_what_does_not_fit_is_said_with_what_would(run, model_folder: str, text_folder: str, monkeypatch):
    from lmworks.jobs.planning import devices

    def of(memory: float, data: bool = True, times: str = "") -> str:
        monkeypatch.setitem(devices.KNOWN, "L4", replace(devices.KNOWN["L4"], memory=memory))
        options = ("--data", text_folder) if data else ("--set", "training.context=256")
        shown = run("plan", model_folder, *options, "--device", f"{times}L4")
        return " ".join(next(line for line in shown.out.splitlines() if line.startswith("but")).split())

    none = of(100.0)
    assert re.match(
        r"but the weights of lora alone take 0\.\d+ MB on each device, which has 0\.0001 MB; [\d,]+ devices would ho",
        none,
    )
    assert f'(--device "{re.findall(r"([0-9,]+) devices", none)[0].replace(",", "")}x L4")' in none
    facts = run("plan", model_folder, "--set", "training.context=256", "--device", "L4", "--json").json
    ways = {way["name"]: way["peak_bytes"] for way in facts["ways"]}
    less = [*("--set", "training.context=256", "--set", "training.rows=1", "--set", "training.recompute=true")]
    facts = run("plan", model_folder, *less, "--device", "L4", "--json").json
    needed = {way["name"]: way["peak_bytes"] for way in facts["ways"]}["lora"]
    assert needed < ways["qlora, nf4"] < ways["lora"]
    with_less = "with less at once it does: --set training.rows=1 --set training.recompute=true"
    assert of(needed + 1, data=False) == f"but lora does not fit; {with_less}"
    assert of(needed - 1, data=False).startswith(
        "but lora does not fit; no method does, and it does not with --set tra"
    )
    assert of(ways["qlora, nf4"], data=False).endswith(f"would, and {with_less}")


def test_rows_are_as_long_as_a_model_reads(run, tmp_path: Path):
    """A default longer than its learned positions is cut, and what was asked for is not."""
    tiny.language_model(context=64, positions="learned", family="lmworks").save(tmp_path)
    shown = run("plan", str(tmp_path), "--device", "L4")
    assert "2 x 64 tokens at once on each device, all that the model reads" in " ".join(shown.out.split())
    assert run("plan", str(tmp_path), "--device", "L4", "--set", "training.context=32", "--json").json["context"] == 32
    shown = run("plan", str(tmp_path), "--device", "L4", "--set", "training.context=100000000")
    assert "training.context is 100,000,000, and the network has learned 64 positions; give training.context=64" in (
        " ".join(shown.err.split())
    )


def test_rows_longer_than_an_encoder_reads_are_refused_as_by_train(run, tmp_path: Path):
    tiny.language_model(context=64, arrangement="encoder", positions="learned", family="lmworks").save(tmp_path)
    shown = run("plan", str(tmp_path), "--device", "L4", "--set", "training.context=100000000")
    said = "training.context (100000000) is longer than model.context (64), which is all that the network reads"
    assert shown.code == 1 and said in " ".join(shown.err.split())


def test_figures_far_below_one_and_far_above_are_no_zeros_and_no_days(run, tmp_path: Path, monkeypatch):
    from lmworks.jobs.planning import devices

    tiny.language_model(context=64).save(tmp_path)
    monkeypatch.setitem(devices.KNOWN, "L4", replace(devices.KNOWN["L4"], flops=1.0, bandwidth=1.0))
    shown = run("plan", str(tmp_path), "--device", "L4").out
    assert re.search(r" 0\.0\d+ tokens/s after it| \d(\.\d)?e-\d+ tokens/s", " ".join(shown.split()))
    assert " years" in shown and " 0% of it" not in shown and "; its time is assumed\n" in shown


def test_the_command_prints_published_figures_beside_ours(run):
    shown, facts = run("plan", "--published"), run("plan", "--published", "--json").json
    assert shown.code == 0 and all(line["what"] in shown.out for line in facts)
    assert all(f"{line['difference']:+.1%}" in shown.out for line in facts)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("--device", "H10"), "did you mean H100?"),
        (("--device", "0x H100"), "asks for 0 devices"),
        (("--set", "training.stepz=4"), "did you mean training.steps?"),
        (("--method", "lorra"), "method is 'lorra'; did you mean 'lora'?"),
        (("--retain", "kll"), "retain is 'kll'; did you mean 'kl'?"),
        (("--data", "nowhere.jsonl"), "nowhere.jsonl does not exist; give a path"),
        (("--method", "last_layers", "--set", "last_layers.layers=9"), "last_layers.layers is 9, and the network has"),
    ],
)
def test_a_mistake_is_one_sentence(run, model_folder, arguments, words):
    ran = run("plan", model_folder, *arguments)
    assert ran.code == 1 and words in ran.err and len(ran.err.splitlines()) == 1 and not ran.out


def test_a_recipe_that_makes_a_model_tunes_none(run):
    for option in (("--data", "notes"), ("--method", "lora"), ("--retain", "kl")):
        ran = run("plan", "shakespeare-char", *option)
        assert ran.code == 1 and "shakespeare-char trains a model from nothing" in ran.err and not ran.out


@pytest.mark.parametrize("option", [("--data", "TEXT"), ("--method", "lora"), ("--retain", "kl")], ids="/".join)
@pytest.mark.parametrize("arrangement", ["encoder", "encoder-decoder"])
def test_a_model_that_does_not_write_is_not_planned_to_be_tuned(run, tmp_path, text_folder, arrangement, option):
    """As `lmworks tune` refuses it, in the same sentence."""
    folder, options = str(tmp_path / "one"), [text_folder if one == "TEXT" else one for one in option]
    tiny.language_model(seed=4, context=64, arrangement=arrangement, family="lmworks").save(tmp_path / "one")
    planned, tuned = run("plan", folder, *options), run("tune", folder, "--data", "nowhere")
    assert planned.code == tuned.code == 1 and f"{folder} is an {arrangement}" in planned.err
    assert planned.err == tuned.err and len(planned.err.splitlines()) == 1


@pytest.mark.parametrize(("arrangement", "like"), [("encoder", "bert-mini"), ("encoder-decoder", "translate-en-de")])
def test_a_model_that_does_not_write_is_planned_as_train_makes_it(run, tmp_path, arrangement: str, like: str):
    tiny.language_model(seed=4, context=64, arrangement=arrangement, family="lmworks").save(tmp_path / "one")
    options = (str(tmp_path / "one"), "--device", "L4", "--set", "training.context=64")
    shown, facts = run("plan", *options), run("plan", *options, "--json").json
    assert [way["name"] for way in facts["ways"]] == ["from nothing", "serving"]
    assert f"as `lmworks train` makes an {arrangement} with" in " ".join(shown.out.split())
    assert shown.out.splitlines()[-1] == f"next    lmworks train {like}     one of its kind, from nothing"


def test_the_recipes_that_stand_for_such_models_learn_as_they_are_planned():
    for kind, name in LIKE.items():
        assert kind in TrainRecipe.read(name).objective.kind  # masked tokens, perhaps with pairs of sentences
