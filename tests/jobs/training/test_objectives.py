"""Recipes of other objectives than the next token: each trains, validates, saves, loads, and shows what it can do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch

from lmworks.basics.declared import declared
from lmworks.basics.errors import ConfigError, DataError
from lmworks.checks.recipes import check_recipe
from lmworks.cli import main
from lmworks.jobs.tasks.task import TaskKind, task_of
from lmworks.jobs.train import pretrain, sample
from lmworks.jobs.training_recipe import TrainRecipe
from lmworks.loading import load
from lmworks.objectives.declaration import ObjectiveSettings
from lmworks.training.settings import TrainingConfig

MASKED: dict[str, Any] = {
    "data": {"text": "notes", "held_out": 0.3},
    "tokenizer": {"kind": "wordpiece", "vocab_size": 80},
    "model": {"dim": 16, "layers": 1, "heads": 2, "context": 32},
    "training": {"context": 32, "rows": 4, "steps": 6, "learning_rate": 1e-2, "checkpoint_every": 3},
    "dtype": "float32",
}
SPANS = MASKED | {"tokenizer": {"kind": "bpe", "vocab_size": 300, "sentinels": 12}}
KINDS: dict[str, dict[str, Any]] = {
    "prefix": SPANS | {"sample": {"prompt": "The", "max_new_tokens": 8}},
    "masked": MASKED,
    "masked+next-sentence": MASKED,
    "masked+sentence-order": MASKED,
    "spans": SPANS,
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a text of sentences."""
    (tmp_path / "notes").mkdir()
    for number in range(12):
        words = [tiny.WORDS[(number * (place + 1) + place) % len(tiny.WORDS)] for place in range(60)]
        lines = [" ".join(words[start : start + 6]).capitalize() + "." for start in range(0, 60, 6)]
        (tmp_path / "notes" / f"{number}.txt").write_text(" ".join(lines))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def recipe(kind: str, **changes: Any) -> TrainRecipe:
    return TrainRecipe(**KINDS[kind] | changes | {"objective": {"kind": kind} | changes.get("objective", {})})


def test_every_objective_has_a_task_and_a_network():
    tasks = declared("lmworks.jobs.tasks", TaskKind)
    assert {one.task for one in ObjectiveSettings.parts().values()} == tasks.keys()
    for name, objective in ObjectiveSettings.parts().items():
        assert TrainRecipe(objective={"kind": name}).network(vocab_size=300).arrangement == objective.arrangement


def test_the_handbook_names_every_objective_and_optimiser():
    page = (Path(__file__).parents[3] / "docs" / "training.md").read_text(encoding="utf-8")
    assert [name for name in ObjectiveSettings.parts() if f"`{name}`" not in page] == []
    assert [name for name in TrainingConfig.parts() if f'"{name}"' not in page] == []


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_becomes_a_model_that_loads_as_it_was_trained(kind: str):
    result = pretrain(recipe(kind), "out")
    facts = json.loads(Path("out/lmworks.json").read_text())
    back = load("out")
    apart = {"encoder_layers"}  # T5 says how many also where they are as many as the decoder's
    assert back.config.model_dump(exclude=apart) == result.model.config.model_dump(exclude=apart)
    for name, one in result.model.network.state_dict().items():
        assert torch.equal(one, back.network.state_dict()[name]), name
    figures = {one["name"]: one for one in facts["measurements"]}
    assert facts["validation_loss"] == result.validation_loss
    assert "".join(sample(result)) and task_of(result.recipe).next_steps(result.folder)
    if kind.startswith("masked"):
        masked = figures["masked tokens"]
        assert masked["value"] < masked["chance"] + 0.5 and masked["interval"] is not None
        pair = {"masked+next-sentence": "next sentence", "masked+sentence-order": "sentence order"}.get(kind)
        assert set(figures) == {"masked tokens", "masked tokens restored", pair} - {None}
        restored = figures["masked tokens restored"]
        assert 0 <= restored["value"] <= 1 and 0.02 < restored["chance"] < 0.9 and restored["n"] == masked["n"]
        assert pair is None or (figures[pair]["chance"] == 0.5 and figures[pair]["n"] > 1)
        assert "bits_per_byte" not in facts
        with pytest.raises(ConfigError, match="has no bits per byte"):
            _ = result.bits_per_byte
        (guesses,) = back.fill("The model [MASK] a folder.", top=4)
        assert [one.probability for one in guesses] == sorted((one.probability for one in guesses), reverse=True)
        assert back.embed(["the model"]).shape == (1, 16)
    if kind == "spans":
        assert "<extra_id_0>" in "".join(sample(result))


def test_the_validation_loss_has_fixed_masks():
    """The same network twice, and as the loop and the end measured it; another network has another."""
    made = recipe("masked+next-sentence")
    result = pretrain(made, "out")
    assert result.training.validation[-1][1] == result.validation_loss
    again = pretrain(made, "again")
    assert again.validation_loss == result.validation_loss
    more = pretrain(recipe("masked+next-sentence", training=MASKED["training"] | {"steps": 12}), "more")
    assert more.validation_loss != result.validation_loss


def test_a_trained_bert_is_what_transformers_reads():
    transformers = pytest.importorskip("transformers", reason="pip install 'lmworks[dev]'")
    result = pretrain(recipe("masked+next-sentence", objective={"whole_word": True, "l2": 1e-4}), "out")
    theirs = transformers.BertForPreTraining.from_pretrained("out").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained("out")
    text = "The model reads."
    ours = result.model.tokenizer.encode(text)
    assert tokenizer(text)["input_ids"] == ours
    found = theirs(torch.tensor([ours]))
    torch.testing.assert_close(result.model.logits([ours]), found.prediction_logits, rtol=1e-4, atol=1e-5)
    hidden = result.model.network.hidden(torch.tensor([ours]))
    torch.testing.assert_close(
        result.model.network.classify(hidden), found.seq_relationship_logits, rtol=1e-4, atol=1e-5
    )
    pipe = transformers.pipeline("fill-mask", model="out", tokenizer="out", top_k=3)
    (guesses,) = result.model.fill("The [MASK] reads.", top=3)
    assert [one["token"] for one in pipe("The [MASK] reads.")] == [one.token for one in guesses]


def test_what_tells_pairs_is_no_classifier_of_texts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Its labels say whether a second text follows; a text alone has none of them."""
    result = pretrain(recipe("masked+next-sentence"), "out")
    with pytest.raises(ConfigError, match="the network has no classifier of texts, but one of pairs of them"):
        result.model.classify(["The model reads."])
    monkeypatch.setattr("sys.argv", ["lmworks", "evaluate", "out", "notes"])
    with pytest.raises(SystemExit):
        main()
    assert "out is an encoder and does not write or score text token by token" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["masked+sentence-order", "spans"])
def test_lmworks_check_knows_each_kind(kind: str):
    from lmworks.basics.config import to_toml

    tables = KINDS[kind] | {"objective": {"kind": kind}}
    Path("mine.toml").write_text(to_toml(tables))
    results = list(check_recipe("mine.toml"))
    assert not [one for one in results if one.status == "FAILED"]
    assert {"labels are what is to be predicted", "resumed is straight"} <= {
        one.name for one in results if one.status == "ok"
    }


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"objective": {"kind": "mask"}}, "objective.kind is 'mask'"),
    (
        {"objective": {"whole_word": True}},
        "objective.whole_word is for objective.kind masked, and objective.kind is 'causal'",
    ),
    ({"objective": {"kind": "spans", "whole_word": True}}, "objective.whole_word is for objective.kind masked"),
    (
        {"objective": {"kind": "masked"}, "model": {"arrangement": "decoder", "family": "llama"}},
        "trains the arrangement 'encoder'",
    ),
    (
        {"objective": {"kind": "masked"}, "model": {"pooler": True}},
        "model.pooler is not trained by objective.kind = 'masked'",
    ),
    (
        {"objective": {"kind": "masked+next-sentence"}, "model": {"labels": ["a", "b", "c"]}},
        "model.labels are the two answers",
    ),
]


@pytest.mark.parametrize("tables, message", WRONG, ids=[message[:40] for _, message in WRONG])
def test_what_a_kind_does_not_take_is_refused(tables: dict[str, Any], message: str):
    with pytest.raises(ConfigError) as raised:
        TrainRecipe(**tables)
    assert message in str(raised.value)


@pytest.mark.parametrize("positions", ["rope", "alibi", "learned"])
def test_a_translator_with_other_positions_needs_no_word_on_where_learned_ones_begin(positions: str):
    said = {"family": "lmworks", "positions": positions}
    config = TrainRecipe(objective={"kind": "seq2seq"}, model=said).network(vocab_size=300)
    assert (config.positions, config.position_offset) == (positions, 2 if positions == "learned" else 0)


UNUSABLE = {
    "masked+next-sentence": r"^the held-out text \(kept\) has one document of two sentences or more",
    "masked+sentence-order": r"^the held-out text \(kept\) has no document of 2 sentences",
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_held_out_text_without_a_row_is_told_before_a_step_is_made(kind: str, here: Path):
    """It is read at the end of what may have been hours."""
    (here / "kept").mkdir()
    kept = {"masked+next-sentence": "The model reads. It learns.", "masked+sentence-order": "The model reads."}
    (here / "kept" / "0.txt").write_text(kept.get(kind, "a"))
    with pytest.raises(DataError, match=UNUSABLE[kind]):
        pretrain(recipe(kind, data={"text": "notes", "validation": "kept"}), "out")
    assert not (here / "out.run" / "log.jsonl").exists()


def test_a_run_whose_tokenizer_lacks_the_mask_or_sentinels_ends_with_a_sentence():
    for kind, message in (("masked", "has no mask token"), ("spans", "has no sentinels")):
        tables = recipe(kind).model_dump()
        with pytest.raises((ConfigError, DataError), match=message):
            pretrain(TrainRecipe(**tables | {"tokenizer": {"kind": "byte"}}), "out")
        assert not Path("out").exists()
