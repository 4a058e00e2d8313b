"""Pairs and labelled texts through the whole of `lmworks train`, and what transformers makes of the result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from lmworks.basics.errors import ConfigError, DataError, LmworksError, Stopped
from lmworks.checks.run import check_anything
from lmworks.evaluation.answers import answers_measured
from lmworks.evaluation.labels import accuracy
from lmworks.generation.strategies import Beam, Greedy
from lmworks.jobs.tasks.task import task_of
from lmworks.jobs.train import PretrainResult, pretrain, sample
from lmworks.jobs.training_recipe import TrainRecipe
from lmworks.language_model import LanguageModel
from lmworks.loading import load
from lmworks.text.sources import read

WORDS = {"one": "eins", "two": "zwei", "three": "drei", "four": "vier", "five": "fünf", "six": "sechs"}
SMALL: dict[str, Any] = {
    "tokenizer": {"kind": "byte"},
    "model": {"dim": 32, "layers": 1, "heads": 2, "hidden_dim": 48, "context": 32},
    "training": {"rows": 16, "accumulate": 1, "steps": 60, "learning_rate": 1e-2, "checkpoint_every": 4},
    "dtype": "float32",
    "validation": {"beams": 2},
}
MUON = {"optimiser": "muon", "learning_rate": 0.02, "embedding_learning_rate": 1e-2, "steps": 200}
BATCH = ["one two three", "four", "six six one five"]


def write(path: Path, pairs: list[tuple[str, str]]) -> str:
    path.write_text("".join(json.dumps({"prompt": a, "response": b}) + "\n" for a, b in pairs))
    return str(path)


def numbers(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Numbers in words and their translation, all different."""
    draw = torch.Generator().manual_seed(seed)
    names = list(WORDS)
    chosen: dict[str, str] = {}
    while len(chosen) < count:
        picked = torch.randint(0, len(names), (int(torch.randint(1, 5, (1,), generator=draw)),), generator=draw)
        english = [names[place] for place in picked.tolist()]
        chosen[" ".join(english)] = " ".join(WORDS[word] for word in english)
    return list(chosen.items())


def translation(folder: Path, **changes: Any) -> TrainRecipe:
    train, kept = (
        write(folder / f"{name}.jsonl", numbers(count, seed))
        for name, count, seed in (("train", 200, 1), ("kept", 20, 2))
    )
    return recipe(data={"text": train, "validation": kept}, objective={"kind": "seq2seq"}, **changes)


def classification(folder: Path, **changes: Any) -> TrainRecipe:
    train, kept = (
        write(folder / f"{name}.jsonl", [(text, text.split()[0]) for text, _ in numbers(count, seed)])
        for name, count, seed in (("train", 200, 1), ("kept", 20, 2))
    )
    changes.setdefault("tokenizer", {"kind": "wordpiece", "vocab_size": 40})
    return recipe(data={"text": train, "validation": kept}, objective={"kind": "classification"}, **changes)


def recipe(**changes: Any) -> TrainRecipe:
    tables = {**SMALL}
    for section, values in changes.items():
        tables[section] = {**tables.get(section, {}), **values} if isinstance(values, dict) else values
    return TrainRecipe(**tables)


@pytest.fixture(scope="module")
def translator(tmp_path_factory: pytest.TempPathFactory) -> PretrainResult:
    folder = tmp_path_factory.mktemp("translator")
    return pretrain(translation(folder, training=MUON), folder / "out")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> PretrainResult:
    folder = tmp_path_factory.mktemp("classifier")
    return pretrain(classification(folder), folder / "out")


@pytest.fixture(scope="module")
def transformers() -> Any:
    module = pytest.importorskip("transformers", reason="pip install 'lmworks[dev]'")
    module.logging.set_verbosity_error()
    module.logging.disable_progress_bar()
    return module


def test_a_translator_learns_is_measured_and_shows_what_it_writes(translator: PretrainResult):
    names = [one.name.split()[0] for one in translator.measurements]
    bleu, chrf = translator.measurements
    assert names == ["BLEU", "chrF"] and bleu.n == 20
    assert chrf.value > chrf.chance + 20 and bleu.interval[0] <= bleu.value <= bleu.interval[1]
    assert translator.training.losses[-1] < translator.training.losses[0] / 2
    facts = json.loads((translator.folder / "lmworks.json").read_text())
    assert [one["name"] for one in facts["measurements"]] == [one.name for one in translator.measurements]
    shown = "".join(sample(translator))
    assert shown.count("source ") == shown.count("written ") == shown.count("reference ") == 3


def test_transformers_translates_as_we_do(translator: PretrainResult, transformers: Any):
    theirs = transformers.MBartForConditionalGeneration.from_pretrained(translator.folder).eval()
    ours = LanguageModel.load(translator.folder)
    for source in BATCH:
        ids = torch.tensor([ours.encode_prompt(source)])
        target = torch.tensor([[theirs.generation_config.decoder_start_token_id, 5, 60, 61]])
        logits = ours.network(target, memory=ours.network.encode(ids))
        torch.testing.assert_close(logits, theirs(input_ids=ids, decoder_input_ids=target).logits, rtol=1e-5, atol=1e-5)
        written = ours.generate(source, Greedy(), max_new_tokens=12).tokens
        expected = theirs.generate(input_ids=ids, max_new_tokens=12, do_sample=False, num_beams=1)[0, 1:].tolist()
        assert written and expected[: len(written)] == written
        assert [one for one in expected[len(written) :] if one not in ours.tokenizer.stop_ids] == []


def test_a_classifier_learns_is_measured_and_shows_what_it_tells(classifier: PretrainResult):
    (right,) = classifier.measurements
    assert (right.name, right.unit, right.n) == ("classes", "right", 20)
    assert right.value > 0.8 > 0.5 > right.chance
    assert classifier.model.config.labels == tuple(sorted(WORDS))
    assert "".join(sample(classifier)).count("told ") == 3
    told = load(str(classifier.folder)).classify(["two one", "six five four three"])
    assert [one.label for one in told] == ["two", "six"]
    assert all(sum(one.probabilities.values()) == pytest.approx(1) for one in told)


def test_transformers_classifies_as_we_do(classifier: PretrainResult, transformers: Any):
    theirs = transformers.BertForSequenceClassification.from_pretrained(classifier.folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(classifier.folder)
    assert theirs.config.id2label == dict(enumerate(sorted(WORDS)))
    inputs = tokenizer(BATCH, padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = theirs(**inputs).logits.softmax(-1)
    for row, one in zip(expected, load(str(classifier.folder)).classify(BATCH), strict=True):
        found = [one.probabilities[label] for label in sorted(WORDS)]
        torch.testing.assert_close(torch.tensor(found), row, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", [translation, classification])
def test_stopped_and_resumed_is_straight(kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Pitfall 20, over the end of an epoch: 13 batches are one."""
    few = {"training": {"steps": 16}, "model": {"dropout": 0.1}}
    straight = pretrain(kind(tmp_path, **few), tmp_path / "straight")
    saved = LanguageModel.save

    def stop(*_: Any) -> None:
        raise Stopped("before the folder is written")

    monkeypatch.setattr(LanguageModel, "save", stop)
    with pytest.raises(Stopped):
        pretrain(kind(tmp_path, **few), tmp_path / "resumed")
    monkeypatch.setattr(LanguageModel, "save", saved)
    resumed = pretrain(kind(tmp_path, **few), tmp_path / "resumed", resume=True)
    assert resumed.validation_loss == straight.validation_loss
    for one, other in zip(straight.model.network.parameters(), resumed.model.network.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("kind", [translation, classification])
def test_a_recipe_and_its_model_pass_every_check(kind: Any, tmp_path: Path, request: pytest.FixtureRequest):
    path = tmp_path / "recipe.toml"
    kind(tmp_path)
    names = {translation: ("seq2seq", "translator"), classification: ("classification", "classifier")}[kind]
    path.write_text(
        f'[data]\ntext = "{tmp_path}/train.jsonl"\nvalidation = "{tmp_path}/kept.jsonl"\n'
        f'[objective]\nkind = "{names[0]}"\n'
        '[tokenizer]\nkind = "wordpiece"\nvocab_size = 40\n'
        "[model]\ndim = 32\nlayers = 1\nhidden_dim = 48\ncontext = 32\n[training]\nrows = 16\nsteps = 60\n"
    )
    for what in (str(path), str(request.getfixturevalue(names[1]).folder)):
        _, checks = check_anything(what)
        assert [(one.name, one.detail) for one in checks if one.status == "FAILED"] == []


@pytest.mark.parametrize(
    ("pairs", "kept", "kind", "said"),
    [
        ([("one", "")] * 2, numbers(3), translation, "`response` is an answer that says nothing"),
        ([("one", "eins " * 90)], numbers(3), translation, "a target has more than 31 tokens"),
        (
            [("one", "a"), ("two", "b")],
            [("six", "c")],
            classification,
            "the label 'c' is not among those of the training",
        ),
        ([("one", "a"), ("two", "a")], [("six", "a")], classification, "one class"),
    ],
    ids=["empty", "long", "unknown label", "one class"],
)
def test_text_that_cannot_be_learnt_is_one_sentence(pairs: Any, kept: Any, kind: Any, said: str, tmp_path: Path):
    made = kind(tmp_path)
    write(tmp_path / "train.jsonl", pairs)
    write(tmp_path / "kept.jsonl", kept)
    with pytest.raises(LmworksError, match=said):
        pretrain(made, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_the_test_or_the_validation_text_asks_is_not_trained_on(tmp_path: Path):
    """Whatever the answer, and white space and case aside: it would be told by heart."""
    asked = numbers(6, 3)
    train = write(tmp_path / "train.jsonl", [*asked[:2], (f" {asked[2][0].title()} ", "else"), *asked[3:5]])
    kept, test = write(tmp_path / "kept.jsonl", [asked[1], asked[5]]), write(tmp_path / "test.jsonl", [asked[2]])
    made = recipe(data={"text": train, "validation": kept, "test": test}, objective={"kind": "seq2seq"})
    said: list[str] = []
    parts = task_of(made).read(said.append)
    assert [one.pair for one in parts.train] == [asked[0], *asked[3:5]]
    assert "left out       1 pairs to train on, whose source is in the test or validation text too" in said
    with pytest.raises(DataError, match="holds nothing to train on that the test or validation text does not hold too"):
        task_of(made.but(data=made.data.but(test=train))).read(said.append)


@pytest.mark.parametrize("side", ["kept", "test"])
def test_a_run_is_not_resumed_with_another_text_to_be_measured_on(side: str, tmp_path: Path, monkeypatch):
    made = translation(tmp_path, training={"steps": 4})
    write(tmp_path / "test.jsonl", numbers(3, 7))
    made = made.but(data=made.data.but(test=str(tmp_path / "test.jsonl")))

    def fail(*_: Any) -> None:
        raise Stopped("before the folder is written")

    monkeypatch.setattr(LanguageModel, "save", fail)
    with pytest.raises(Stopped):
        pretrain(made, tmp_path / "out")
    write(tmp_path / f"{side}.jsonl", numbers(4, 9))
    with pytest.raises(ConfigError, match=f"{side}.jsonl does not hold what the run was started with"):
        pretrain(made, tmp_path / "out", resume=True)


def test_text_without_pairs_and_a_test_text_that_is_not_there_are_told_before_training(tmp_path: Path):
    made = translation(tmp_path)
    (tmp_path / "plain.txt").write_text("no pair")
    with pytest.raises(DataError, match=r"plain.txt.* has no answer or label"):
        pretrain(made.but(data=made.data.but(text=str(tmp_path / "plain.txt"))), tmp_path / "out")
    with pytest.raises(DataError, match="nowhere"):
        pretrain(made.but(data=made.data.but(test=str(tmp_path / "nowhere.jsonl"))), tmp_path / "out")
    write(tmp_path / "test.jsonl", [("seven", "c")])
    labelled = classification(tmp_path)
    with pytest.raises(DataError, match="the label 'c' is not among"):
        pretrain(labelled.but(data=labelled.data.but(test=str(tmp_path / "test.jsonl"))), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigError, match=r"data\.test is for objective\.kind classification and seq2seq"):
        recipe(data={"text": "x", "test": "y"})


def test_finished_models_are_measured_on_other_text(
    translator: PretrainResult, classifier: PretrainResult, tmp_path: Path
):
    documents = read(write(tmp_path / "kept.jsonl", numbers(20, 2))).documents
    assert answers_measured(translator.model, documents, ["bleu", "chrf"], Beam(width=2)) == translator.measurements
    assert [one.name.partition(")")[2] for one in translator.measurements] == [", the best of 2 beams"] * 2
    greedy = answers_measured(translator.model, documents[:2], ["chrf"], longest=9)
    assert greedy[0].name.endswith("), most probable, at most 9 tokens")
    with pytest.raises(ConfigError, match="'blue' is no figure; there are bleu, chrf, rouge"):
        answers_measured(translator.model, documents, ["bleu", "blue"])
    with pytest.raises(DataError, match="the label 'vier' is not among those of the model"):
        accuracy(classifier.model, documents)


def test_what_a_classifier_cannot_read_is_one_sentence(translator: PretrainResult, classifier: PretrainResult):
    with pytest.raises(DataError, match=r"has 270 tokens and the model reads 30; split it, or give cut=True"):
        classifier.model.classify(["one " * 90])
    assert classifier.model.classify(["one " * 90], cut=True)[0].label == "one"
    assert classifier.model.classify([]) == []
    with pytest.raises(DataError, match="takes a list of texts"):
        classifier.model.classify("one")
    with pytest.raises(ConfigError, match="the network has no classifier of texts"):
        translator.model.classify(["one"])
