"""Learning from pairs of answers: what is learnt and told, resumed runs, and what is refused."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch

import lmworks as lm
from jobs import small_builds
from lmworks.adaptation.methods import METHODS
from lmworks.adaptation.reference import kept_references
from lmworks.basics.errors import ConfigError, DataError, Stopped
from lmworks.jobs.prefer import Preferring, preview
from lmworks.jobs.prefer_recipe import PreferRecipe, recipe_of
from lmworks.objectives.preference import Preference

CHANGES = [
    *("training.context=160", "training.rows=1", "training.learning_rate=3e-3", "training.warmup=0", "lora.rank=2"),
    *("data.general=general", "data.held_out=0.2", "model.dtype=float32"),
]


def records() -> list[dict[str, Any]]:
    words = tiny.WORDS
    return [{"prompt": f"Say {w}.", "chosen": f"{w}, please!", "rejected": f"{w}, fool."} for w in words]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A base, a general text, and pairs of which some are of no use."""
    monkeypatch.chdir(tmp_path)
    small_builds.prepare(tmp_path)
    odd = [
        {"prompt": "Say it.", "chosen": "a", "rejected": "a "},
        {"prompt": "Say it.", "chosen": "a", "rejected": ""},
        {"prompt": "Say it.", "chosen": "a"},
        {"prompt": [{"role": "boss", "content": "x"}], "chosen": "a", "rejected": "b"},
        {"prompt": "Say the.", "chosen": "yes", "rejected": "no"},
        {"prompt": "Say it.", "chosen": "x" * 5000, "rejected": "no"},
    ]
    write([*records(), *odd])
    return tmp_path


def write(every: list[dict[str, Any]], name: str = "pairs.jsonl") -> None:
    Path(name).write_text("\n".join(map(json.dumps, every)))


def prefer(out: str, *more: str, **named: Any) -> Any:
    return lm.prefer("base", "pairs.jsonl", out=out, changes=[*CHANGES, *more], **named)


def test_the_better_answer_is_learnt_and_everything_is_told(folder: Path):
    said: list[str] = []
    result = prefer("out", "training.epochs=2", "training.learning_rate=6e-3", say=said.append)
    figures = {one.name: one for one in result.measurements}
    assert figures["chosen rewarded more"].value == 1 and figures["chosen rewarded more"].chance == 0.5
    assert figures["reward margin"].interval[0] > 0 and figures["KL(base, tuned) on the answers"].value > 0
    assert {"chosen preferred, before", "chosen preferred, after", "length of the chosen"} <= figures.keys()
    assert [one.text for one in result.comparisons] == ["held-out text", "general text"]
    saved = json.loads(Path("out/lmworks.json").read_text())
    assert saved["training"]["first_loss"] == pytest.approx(0.69314718, abs=1e-8)
    assert saved["training"]["last_loss"] < 0.5 and saved["recipe"]["dpo"] == {"beta": 0.1}
    assert [one["name"] for one in saved["measurements"]] == [one.name for one in result.measurements]
    assert saved["data"]["pairs"]["learnt"] == result.training.tokens // 2
    told = "\n".join(said)
    assert "2 of 24 records; the first: line 21: it has none of" in told
    assert "left out       1 with an empty answer, the first pairs.jsonl#20" in told
    assert "left out       1 with two answers that are equal, the first pairs.jsonl#19" in told
    assert "prompts        repeated 1 times" in told and "pairs that do not fit a row, the first pairs.jsonl#24" in told
    assert lm.load("out", dtype="float32", compress="none").generate("Say the.", max_new_tokens=2) is not None


def test_a_pair_that_the_template_refuses_is_left_out_and_named(folder: Path):
    refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('Start with the user.') }}{% endif %}"
    Path("base/chat_template.jinja").write_text(refusing + tiny.CHATML)
    prompt = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say it."}]
    write([{"prompt": prompt, "chosen": "yes", "rejected": "no"}, *records()])
    said: list[str] = []
    assert len(preview("base", "pairs.jsonl", 99, said.append)) == len(records())
    assert said[0].startswith(
        "skipped        pairs.jsonl: 1 conversation that cannot be learnt; the first: pairs.jsonl#1"
    )
    parts = Preferring().read(recipe_of(changes=["data.text=pairs.jsonl", "model.reference=base"]), said.append)
    assert said[1] == said[0] and len(parts.train) + len(parts.held_out) == len(records())


@pytest.mark.parametrize(
    "loss, retain, method", [("ipo", "kl", "full"), ("simpo", "rehearsal", "dora"), ("dpo", "ewc", "lora")]
)
def test_every_loss_and_every_retention(loss: str, retain: str, method: str, folder: Path):
    more = ["training.steps=3", *(["ewc.tokens=200"] if retain == "ewc" else [])]
    changes = [one for one in [*CHANGES, *more] if method == "lora" or not one.startswith("lora")]
    result = lm.prefer("base", "pairs.jsonl", method, retain, 0.4, loss, "out", changes=changes)
    recipe = json.loads(Path("out/lmworks.json").read_text())["recipe"]
    assert (recipe["loss"], recipe["retain"], recipe["method"], recipe[loss]["beta"]) == (loss, retain, method, 0.4)
    assert result.further and result.whole == (method == "full") and Path("out/lmworks.json").is_file()


@pytest.mark.parametrize("method", METHODS)
def test_every_method_begins_at_ln_2_to_the_bit(method: str, folder: Path):
    """The reference is the model before its first step: a trained prompt begins elsewhere than its base."""
    small = [f"{method}.size=8"] if method == "bottleneck" else []
    less = ["training.steps=1", "training.context=140", "evaluation.tokens=100"]  # a prompt takes some of the 160
    changes = [*(one for one in CHANGES if not one.startswith("lora")), *small, *less]
    lm.prefer("base", "pairs.jsonl", method, out="out", changes=changes)
    saved = json.loads(Path("out/lmworks.json").read_text())
    assert saved["training"]["first_loss"] == float(torch.tensor(2.0).log())


@pytest.mark.parametrize("retain", ["nothing", "kl"])
def test_beside_a_rounded_base_it_begins_at_that_base(retain: str, folder: Path):
    changes = ["training.steps=1", *(one for one in CHANGES if not one.startswith("lora"))]
    lm.prefer("base", "pairs.jsonl", "qlora", retain, 0.4, "dpo", "out", changes=changes)
    saved = json.loads(Path("out/lmworks.json").read_text())
    assert saved["training"]["first_loss"] == pytest.approx(0.69314718, abs=1e-6)


def test_a_corpus_of_pairs_keeps_its_split(folder: Path, smollm2_path: Path):
    some, said = records(), list[str]()
    for at, part in enumerate(("train", "held_out", "dropped")):
        Path("corpus", part).mkdir(parents=True)
        write(some[at::3], f"corpus/{part}/0.jsonl")
    Path("corpus/corpus.json").write_text("{}")
    [shown] = preview("smollm2", "corpus", 1)
    assert some[0]["chosen"] in shown
    lm.prefer("base", "corpus", out="out", changes=[*CHANGES, "training.steps=1"], say=said.append)
    assert json.loads(Path("out/lmworks.json").read_text())["data"]["documents"] == [len(some[at::3]) for at in (0, 1)]
    assert not [line for line in said if line.startswith(("skipped", "left out"))]


def stopped(monkeypatch: pytest.MonkeyPatch, out: str) -> None:
    """A run that Ctrl-C ends after two of its steps."""
    before, steps = Preference.of_states, []

    def counted(self: Preference, *given: Any) -> Any:
        steps.append(1)
        if len(steps) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return before(self, *given)

    with monkeypatch.context() as patch, pytest.raises(Stopped, match="stopped after step 2 of"):
        patch.setattr(Preference, "of_states", counted)
        prefer(out)


def test_a_resumed_run_is_the_straight_one_and_reads_its_reference_once(folder: Path, monkeypatch: pytest.MonkeyPatch):
    prefer("straight")
    stopped(monkeypatch, "resumed")
    monkeypatch.setattr("lmworks.jobs.prefer.references", lambda *given: pytest.fail("it was computed again"))
    prefer("resumed", resume=True)
    names = ("adapter_model.safetensors",)
    assert all(Path("straight", name).read_bytes() == Path("resumed", name).read_bytes() for name in names)


def test_a_reference_of_another_model_template_or_text_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch):
    stopped(monkeypatch, "out")
    kept = Path("out.run/reference.json").read_text()
    for was in ("model", "set of pairs", "chat template or tokenizer"):
        facts = json.loads(kept)
        facts["depends_on"][was] = "another"
        Path("out.run/reference.json").write_text(json.dumps(facts))
        with pytest.raises(ConfigError, match=rf"reference.json holds the reference of a run with another {was}; put"):
            prefer("out", resume=True)
    Path("out.run/reference.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"reference.json cannot be read; remove it"):
        prefer("out", resume=True)
    Path("out.run/reference.json").write_text(kept)
    template = Path("base/chat_template.jinja")
    template.write_text(template.read_text().replace("<|im_end|>", "<|im_end|> "))
    with pytest.raises(ConfigError, match="another chat template or tokenizer"):
        prefer("out", resume=True)


def test_what_is_kept_is_not_computed_again(tmp_path: Path):
    path, calls = tmp_path / "reference.json", []
    for _ in range(2):
        assert kept_references(path, {"model": "a"}, lambda: calls.append(1) or [[-1.5, -2.25]]) == [[-1.5, -2.25]]
    assert len(calls) == 1


@pytest.mark.parametrize(
    "every, reason",
    [
        ([{"prompt": "x", "chosen": "a", "rejected": "a"}], "#1 has two answers that are equal; give records with"),
        ([{"prompt": "x", "chosen": "", "rejected": "a"}], "#1 has an empty answer; give records with"),
        ([{"prompt": "x", "response": "a"}], "#1 has no two answers to prefer one of; give records with"),
        (
            [{"prompt": "x", "chosen": "a", "refused": "b"}],
            "1 of 1 records; the first: line 1: it has none of",
        ),
        ([{"prompt": "x", "chosen": "a", "rejected": "b"}], "there are 1 prompts, too few to hold some of them out"),
        ([{"prompt": f"{n}" * 90, "chosen": "a", "rejected": "b"} for n in range(9)], "raise training.context"),
    ],
)
def test_pairs_of_no_use_are_told_in_a_sentence(every: list[dict[str, Any]], reason: str, folder: Path):
    write(every)
    with pytest.raises(DataError) as told:
        prefer("out")
    assert reason in str(told.value) and "\n" not in str(told.value) and not Path("out").exists()


def test_a_preview_shows_both_answers_and_what_is_learnt_of_them(folder: Path):
    [first] = preview("base", "pairs.jsonl", 1)
    assert first.count("Say the.<|im_end|>") == 2
    chosen, rejected = first.split("\n\nrejected: ")
    assert chosen.startswith("chosen: ") and "please!" in chosen and "fool." in rejected
    assert "[the, please!<|im_end|>]" in first and "[the, fool.<|im_end|>]" in first and first.count("[") == 2


def test_a_recipe_says_what_is_chosen_and_refuses_the_rest(tmp_path: Path):
    mine = tmp_path / "mine.toml"
    mine.write_text('loss = "ipo"\nmethod = "full"\n[ipo]\nbeta = 0.7\n')
    found = recipe_of(mine)
    assert (found.loss, found.method, found.ipo.beta, found.grounding.index) == ("ipo", "full", 0.7, False)
    assert recipe_of(mine, beta=0.2).ipo.beta == 0.2
    with pytest.raises(ConfigError, match=r"the table ipo is for loss = 'ipo', and loss is 'dpo'"):
        recipe_of(mine, loss="dpo")
    with pytest.raises(ConfigError, match=r"loss is 'dop'; did you mean 'dpo'\? it can be dpo, ipo, simpo"):
        recipe_of("pairs", loss="dop")
    with pytest.raises(ConfigError, match=r"dpo.beta .*greater than 0"):
        recipe_of("pairs", beta=-1.0)
    dumped = recipe_of("pairs", loss="simpo").model_dump(mode="json")
    assert dumped["simpo"] == {"beta": 2.0, "gamma": 1.0} and not {"dpo", "ipo", "dora"} & dumped.keys()
    assert isinstance(Preferring().objective(PreferRecipe(**dumped)), Preference)
