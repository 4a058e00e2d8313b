"""A model from nothing, from raw text to a folder that loads: what is written, what resumes, what goes wrong."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch

from lmworks.basics.errors import ConfigError, DataError, ModelError, Stopped
from lmworks.jobs.planning.reading import read_subject
from lmworks.jobs.train import PretrainResult, pretrain, sample
from lmworks.jobs.training_recipe import TrainRecipe
from lmworks.language_model import LN_2
from lmworks.loading import load
from lmworks.objectives import CausalLM
from lmworks.text.sources import read
from lmworks.text.splits import split
from lmworks.tokens.shards import tokenizer_hash
from lmworks.training.loop import DivergedError, _Run

SMALL: dict[str, Any] = {
    "data": {"text": "notes", "held_out": 0.2},
    "tokenizer": {"kind": "character", "byte_fallback": False},
    "model": {"dim": 32, "layers": 2, "heads": 2, "context": 32},
    "training": {"context": 32, "rows": 4, "steps": 12, "learning_rate": 1e-2, "checkpoint_every": 4},
    "dtype": "float32",
    "sample": {"prompt": "the", "max_new_tokens": 20},
}
OWN = {
    "family": "lmworks",
    "norm_weight": False,
    "qk_norm": True,
    "embedding_norm": "rms",
    "tied": False,
    "logit_cap": 15.0,
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a small text that repeats itself."""
    (tmp_path / "notes").mkdir()
    for number in range(12):
        words = [tiny.WORDS[(number * (place + 1) + place) % len(tiny.WORDS)] for place in range(60)]
        (tmp_path / "notes" / f"{number}.txt").write_text(f"{number}: " + " ".join(words))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def recipe(**changes: Any) -> TrainRecipe:
    tables = {**SMALL}
    for section, values in changes.items():
        tables[section] = {**tables.get(section, {}), **values} if isinstance(values, dict) else values
    return TrainRecipe(**tables)


def make(out: str = "out", resume: bool = False, **changes: Any) -> PretrainResult:
    return pretrain(recipe(**changes), out, resume=resume)


@pytest.mark.parametrize("rows", ["stream", "documents"])
def test_a_text_becomes_a_model_that_knows_it_better_than_chance(rows: str, here: Path):
    result = make(data={"rows": rows}, training={"steps": 60})
    facts = json.loads(Path("out/lmworks.json").read_text())
    assert facts["validation_loss"] == result.validation_loss < 2.3 < result.training.losses[0]
    assert facts["bits_per_byte"] == result.bits_per_byte.value < 4
    assert facts["recipe"]["training"]["steps"] == 60 and facts["data"]["documents"] == [9, 3]
    back = load("out")
    text = Path("notes/0.txt").read_text()
    assert back.score(text).bits_per_byte == pytest.approx(result.model.score(text).bits_per_byte)
    assert len("".join(sample(result))) == 20
    assert not Path("out.run").exists() and Path("out/log.jsonl").exists()


def test_the_validation_loss_is_that_of_every_held_out_token(here: Path):
    """By hand: the stream in windows of 32, each token from those before it in its window."""
    result = make()
    model, shards = result.model, result.facts["data"]["tokens"][1]
    total = count = 0
    around = ([] if one is None else [one] for one in (model.tokenizer.document_start, model.tokenizer.document_end))
    first, last = around
    ids = [
        token
        for document in split(read("notes").documents, 0.2).held_out
        for token in (*first, *model.tokenizer.encode(document.text, special=False), *last)
    ]
    for start in range(0, len(ids) - 1, 32):
        window = torch.tensor([ids[start : start + 33]])
        logprobs = model.logits(window[:, :-1]).log_softmax(-1)
        total -= float(logprobs.gather(2, window[:, 1:, None]).sum())
        count += window.shape[1] - 1
    assert count == len(ids) - 1 == shards - 1
    assert result.validation_loss == pytest.approx(total / count, rel=1e-5)
    assert result.bits_per_byte.value == pytest.approx(total / count / LN_2, rel=0.2)


def test_our_own_architecture_with_muon_and_bfloat16(here: Path):
    result = make(
        model=OWN,
        ngrams={"longest": 3},
        initialisation="zero-output",
        dtype="bfloat16",
        training={"optimiser": "muon", "learning_rate": 0.02, "embedding_learning_rate": 4e-3, "steps": 40},
    )
    assert result.validation_loss < 2 < result.training.losses[0]
    assert result.model.network.dtype == torch.bfloat16 and result.model.config.ngrams[0] > 50
    text = Path("notes/0.txt").read_text()
    assert load("out").score(text).bits == pytest.approx(result.model.score(text).bits, rel=1e-3)


class Interrupted(CausalLM):
    """Ctrl-C in the middle of the run's sixth step."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.seen = 0

    def __call__(self, network: Any, batch: Any) -> Any:
        self.seen += 1
        if self.seen == 6:
            os.kill(os.getpid(), signal.SIGINT)
        return super().__call__(network, batch)


@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
def test_stop_and_resume_equal_a_straight_run(optimiser: str, here: Path, monkeypatch: pytest.MonkeyPatch):
    """Pitfalls 20 and 25: data order, rate, random numbers, masters and moments, to the bit."""
    changes = {
        "model": {"dropout": 0.1},
        "dtype": "bfloat16",
        "training": {"optimiser": optimiser, "evaluate_every": 4, "patience": 10, "skip_spikes": 50.0},
    }
    straight = make("straight", **changes)
    with monkeypatch.context() as patch, pytest.raises(Stopped, match="stopped after step 6 of 12"):
        patch.setattr("lmworks.objectives.kinds.causal.CausalLM", Interrupted)
        make("cut", **changes)
    assert Path("cut.run/checkpoint").exists() and not Path("cut").exists()
    with pytest.raises(ConfigError, match=r"training\.learning_rate is 0\.5 and was 0\.01"):
        make("cut", resume=True, **changes | {"training": {**changes["training"], "learning_rate": 0.5}})
    with pytest.raises(ConfigError, match="go on with --resume"):
        make("cut", **changes)
    resumed = make("cut", resume=True, **changes)
    assert resumed.training.losses == straight.training.losses[6:]
    assert resumed.validation_loss == straight.validation_loss
    assert Path("cut/model.safetensors").read_bytes() == Path("straight/model.safetensors").read_bytes()


def test_a_run_that_diverged_moves_aside_for_the_next_one(here: Path):
    """Nothing is to be removed by hand, and the last that diverged is kept; one that was stopped is not touched."""
    lines: list[str] = []
    with pytest.raises(DivergedError, match=r"^the validation loss is nan; the parameters of step 1 are in"):
        pretrain(recipe(training={"learning_rate": 1e38, "steps": 1}), "out", say=lines.append)
    with pytest.raises(DivergedError, match=r"^step \d: the loss is .* --set training\.learning_rate=3e\+28 "):
        pretrain(recipe(training={"learning_rate": 1e29}), "out", say=lines.append)
    with pytest.raises(ConfigError, match=r"training\.learning_rate is 0\.01 and was 1e\+29"):
        make(resume=True)
    with pytest.raises(DivergedError):  # the same step, the same end
        make(training={"learning_rate": 1e29}, resume=True)
    assert pretrain(recipe(), "out", say=lines.append).training.steps == 12
    assert sum(line.startswith("diverged ") and line.endswith("out.run.diverged now") for line in lines) == 2
    kept = Path("out.run.diverged")
    assert json.loads((kept / "recipe.json").read_text())["training"]["learning_rate"] == 1e29
    assert (kept / "checkpoint" / "parameters.safetensors").exists() and (kept / "log.jsonl").exists()
    assert not Path("out.run").exists()


def test_a_fresh_run_takes_nothing_from_one_that_never_reached_a_checkpoint(here: Path):
    """Another recipe after a crash while preparing: its tokenizer must not be that of the crashed one."""
    earlier = make("earlier", tokenizer={"kind": "byte", "byte_fallback": True}).model.tokenizer
    Path("out.run/tokenizer").mkdir(parents=True)
    earlier.save(Path("out.run/tokenizer"))
    assert make().model.tokenizer.vocab_size < 60 < earlier.vocab_size


def test_a_start_that_failed_is_no_run_to_resume_and_a_finished_result_is_replaced_aloud(here: Path):
    with pytest.raises(DataError, match="less than one batch"):
        make(training={"rows": 5000})
    with pytest.raises(ConfigError, match=r"out.run holds a run that ended before its first checkpoint"):
        make(training={"rows": 5000}, resume=True)
    lines: list[str] = []
    pretrain(recipe(), "out", say=lines.append)
    assert not any(line.startswith("replaces") for line in lines)
    pretrain(recipe(), "out", say=lines.append)
    assert sum(line.startswith("replaces       out,") for line in lines) == 1


def test_a_tokenizer_that_is_there_is_taken(here: Path):
    """Of a folder that holds nothing else, and of a model; a plan counts it too."""
    earlier = make("earlier", tokenizer={"kind": "byte", "byte_fallback": True}, training={"steps": 1})
    earlier.model.tokenizer.save(here / "bytes")
    for reference in ("bytes", "earlier"):
        result = make(f"by {reference}", tokenizer=reference, training={"steps": 1})
        assert tokenizer_hash(result.model.tokenizer) == tokenizer_hash(earlier.model.tokenizer)
    (here / "mine.toml").write_text("tokenizer = 'bytes'\n")
    assert read_subject("mine.toml").model.vocab_size == 257
    with pytest.raises(ModelError, match=r"nowhere is neither a known model nor a path"):
        make(tokenizer="nowhere")


def test_patience_goes_back_to_the_best(here: Path, monkeypatch: pytest.MonkeyPatch):
    """Losses are given, so that the second is the best; the parameters must be those after it."""
    given = iter([2.0, 1.0, 1.5, 1.2])
    kept: dict[int, torch.Tensor] = {}
    validate = _Run._validate_where_due

    def watched(self: _Run, *rest: Any) -> None:
        kept[self.state.step] = self.network.embedding.weight.detach().clone()
        self.validate = lambda network: next(given)
        validate(self, *rest)

    monkeypatch.setattr(_Run, "_validate_where_due", watched)
    result = make(training={"evaluate_every": 2, "patience": 2, "steps": 50})
    assert result.training.validation == [(2, 2.0), (4, 1.0), (6, 1.5), (8, 1.2)]
    assert result.training.steps == 8 and result.training.best_step == 4
    assert torch.equal(result.model.network.embedding.weight, kept[4]) and not torch.equal(kept[4], kept[8])


class Clock:
    """A clock that goes on by a tenth of a second whenever it is read, however busy the machine is."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 0.1
        return self.now


def test_a_run_by_the_clock_ends_by_the_clock(here: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("lmworks.training.loop.time", Clock())
    result = make(training={"steps": None, "max_seconds": 2.0, "warmup": 0.0, "schedule": "linear", "final": 0.0})
    log = [json.loads(line) for line in Path("out/log.jsonl").read_text().splitlines()]
    rates = [line["learning_rate"] for line in log if "loss" in line]
    assert len(rates) == result.training.steps and abs(result.training.steps - 20) <= 1  # a step reads it twice
    assert rates[:20] == pytest.approx([0.01 * (1 - step / 20) for step in range(20)])


def test_tensorboards_events_outlive_the_run(here: Path):
    pytest.importorskip("tensorboard", reason="the extra `track` is not installed; run: pip install 'lmworks[track]'")
    make(training={"tensorboard": True, "steps": 2})
    make(training={"tensorboard": True, "steps": 2})  # again, over the first
    assert len(list(Path("out.tensorboard").glob("events.*"))) == 1 and not Path("out.run").exists()


def test_a_spike_is_left_out(here: Path, monkeypatch: pytest.MonkeyPatch):
    class Spiking(Interrupted):
        def __call__(self, network: Any, batch: Any) -> Any:
            self.seen += 1
            loss = CausalLM.__call__(self, network, batch)
            if self.seen == 25:
                loss.total.register_hook(lambda gradient: gradient * 1000)
            return loss

    monkeypatch.setattr("lmworks.objectives.kinds.causal.CausalLM", Spiking)
    result = make(training={"steps": 30, "skip_spikes": 20.0, "clip": 1e9})
    log = [json.loads(line) for line in Path("out/log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log if line.get("skipped")] == [24] and result.training.skipped == 1


WRONG = {
    "an unknown key": (
        {"training": {"step": 3}},
        ConfigError,
        "training.step is not a setting; did you mean training.steps",
    ),
    "an unknown key of the network": (
        {"model": {"dims": 3}},
        ConfigError,
        "model.dims is not a setting; did you mean model.dim",
    ),
    "two ends": ({"training": {"max_seconds": 3}}, ConfigError, "training.steps and training.max_seconds contradict"),
    "patience without validations": ({"training": {"patience": 3}}, ConfigError, "evaluate_every"),
    "n-grams in a public architecture": ({"ngrams": {"longest": 2}}, ConfigError, "model.family = 'lmworks'"),
    "a context longer than the network's": ({"training": {"context": 64}}, ConfigError, "longer than model.context"),
    "a vocabulary that is not the recipe's to say": (
        {"model": {"vocab_size": 9}},
        ConfigError,
        "model.vocab_size follows",
    ),
    "smoothing over what is never computed": (
        {
            "model": {"family": "lmworks", "tied": False, "adaptive_cutoffs": [10, 20]},
            "objective": {"label_smoothing": 0.1},
        },
        ConfigError,
        "objective.label_smoothing spreads over the whole vocabulary, which the softmax of model.adaptive_cutoffs",
    ),
    "more vocabulary than text": (
        {"tokenizer": {"kind": "bpe", "vocab_size": 60_000, "byte_fallback": True}},
        ConfigError,
        "60,000",
    ),
    "less text than a batch": ({"training": {"rows": 4000}}, DataError, "less than one batch of 4000 rows"),
    "fewer documents than fill a batch": (
        {"training": {"rows": 4000}, "data": {"rows": "documents"}},
        DataError,
        "the training text (notes) has 2,692 tokens",
    ),
    "less text than a row": (
        {"training": {"context": 4000}, "model": {"context": 4000}},
        DataError,
        "the training text (notes) has 2,692 tokens",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_makes_no_sense_is_one_sentence_and_writes_nothing(what: str, here: Path):
    changes, kind, sentence = WRONG[what]
    with pytest.raises(kind, match=r"^[^\n]*$") as caught:
        make(**changes)
    assert sentence in str(caught.value), str(caught.value)
    assert not Path("out").exists()


def test_texts_that_cannot_be_trained_on(here: Path):
    for text, sentence in (("", "nothing|no text|empty"), ("x", "too little")):
        for file in Path("notes").iterdir():
            file.unlink()
        Path("notes/0.txt").write_text(text)
        with pytest.raises(DataError, match=sentence):
            make()


def test_the_dial_sets_what_is_open_and_leaves_what_is_said():
    small, large = TrainRecipe(depth=2), TrainRecipe(depth=8)
    assert small.network(100).dim == 128 and large.network(100).dim == 512 and large.network(100).heads == 8
    assert large.training.learning_rate < small.training.learning_rate and large.training.steps > small.training.steps
    said = TrainRecipe(depth=8, model={"dim": 192}, training={"steps": 7, "learning_rate": 0.1, "rows": 3})
    assert (said.network(100).layers, said.network(100).dim, said.network(100).heads) == (8, 192, 3)
    assert (said.training.steps, said.training.learning_rate, said.training.rows, said.training.accumulate) == (
        7,
        0.1,
        3,
        1,
    )


@pytest.mark.parametrize("name", TrainRecipe.shipped())
def test_a_shipped_recipe_makes_sense(name: str):
    assert TrainRecipe.read(name).network(300).layers >= 1


SHRUNKEN = (
    "data.held_out=0.2",
    "tokenizer.vocab_size=300",
    "dtype=float32",
    "model.context=32",
    "model.dim=48",
    "model.heads=4",
    "training.context=32",
    "training.compile=false",
    "training.rows=2",
    "training.accumulate=2",
    "training.steps=30",
    "training.evaluate_every=10",
)


def test_gpt2_small_runs_shrunken_and_is_read_by_transformers(here: Path):
    """The shipped recipe but for its size: twelve blocks of the GPT-2 family, its schedule, decay and accumulation."""
    transformers = pytest.importorskip("transformers")
    result = pretrain("gpt2-small", "out", changes=["data.text=notes", *SHRUNKEN])
    assert result.model.config.layers == 12 and result.model.config.tied
    assert result.validation_loss < result.training.losses[0] - 0.5
    theirs = transformers.AutoModelForCausalLM.from_pretrained("out", dtype=torch.float32)
    tokens = torch.tensor([result.model.tokenizer.encode("the model reads")])
    torch.testing.assert_close(theirs(tokens).logits, result.model.logits(tokens), rtol=1e-4, atol=1e-4)


def test_a_setting_without_its_section_is_told_where_it_is():
    for said, meant in (("steps=5", "training.steps"), ("layers=2", "model.layers"), ("share=0.2", "objective.share")):
        with pytest.raises(ConfigError, match=rf"{said.partition('=')[0]} is not a setting; did you mean {meant}\?"):
            TrainRecipe.read("tiny-stories", [said])
    with pytest.raises(ConfigError, match=r"did you mean model.dim or embedding.glove.dim\?"):
        TrainRecipe.read("tiny-stories", ["dim=64"])
