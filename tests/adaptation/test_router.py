"""The router among adapters: each text is read by the one that learnt its kind, and who reads it is told."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import tiny
import torch
from adaptation.adapted import adapter_folder
from adaptation.routed import NUMBERS, SHAPE, SIGNS, WORDS, asked, routed_folder
from jobs import small_builds
from safetensors.torch import load_file, save_file

import lmworks as lm
from lmworks.adaptation.declaration import Original, Setup
from lmworks.adaptation.methods import METHODS
from lmworks.adaptation.retention import RETENTIONS
from lmworks.adaptation.router import FILE, openings, without
from lmworks.basics.errors import ConfigError, ModelError
from lmworks.jobs.build import build
from lmworks.language_model import LanguageModel
from lmworks.objectives import CausalLM
from lmworks.tokens.chat.conversation import encode_chat


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return routed_folder(tmp_path_factory.mktemp("routed"))


def beside(root: Path, *names: str) -> LanguageModel:
    model = lm.load(root / "base")
    for name in names:
        lm.add_adapter(model, name, root / name)
    return model


def test_each_text_goes_to_the_adapter_of_its_kind_and_rows_of_a_batch_to_different_ones(root: Path):
    model = beside(root, "words", "numbers")
    prompts = [WORDS[3], NUMBERS[2], SIGNS[1], WORDS[7][:20], asked(NUMBERS[5]), asked(WORDS[5]), asked(SIGNS[0])]
    by = lm.route(model, prompts)
    assert by == ["words", "numbers", None, "words", "numbers", "words", None]
    together = model.generate_batch(prompts, max_new_tokens=6, adapter=by)
    for prompt, name, answer in zip(prompts, by, together, strict=True):
        assert answer.tokens == model.generate(prompt, max_new_tokens=6, adapter=name).tokens
        others = [model.generate(prompt, max_new_tokens=6, adapter=one) for one in ("words", "numbers", None)]
        assert len({tuple(one.logprobs) for one in others}) == 3
    assert lm.route(beside(root, "numbers"), prompts)[1:3] == ["numbers", None]


def test_what_every_conversation_begins_with_tells_nothing():
    tokenizer = tiny.byte_tokenizer()
    begins = openings(tokenizer)
    ids = encode_chat(tokenizer, asked("hello"))
    assert tokenizer.decode(without(begins, ids)).startswith("hello")
    assert without(begins, tokenizer.encode("hello")) == tokenizer.encode("hello")
    start = tokenizer.document_start
    assert start is not None
    assert without(begins, [start, *tokenizer.encode("hello")]) == tokenizer.encode("hello")
    assert without(begins, [start]) == [start]


def test_an_adapter_that_does_not_say_what_it_learnt_from_is_not_chosen(root: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"there is no adapter beside the model to choose"):
        lm.route(lm.load(root / "base"), ["a"])
    model = beside(root, "words")
    adapter_folder(tmp_path / "plain", tiny.language_model(seed=4, **SHAPE).network, str(root / "base"))
    lm.add_adapter(model, "plain", tmp_path / "plain")
    with pytest.raises(ConfigError, match=r"the adapter plain does not say which texts are its own.*--retain router"):
        lm.route(model, ["a"])


def test_a_damaged_file_is_one_sentence_and_nothing_is_put_on(root: Path, tmp_path: Path):
    made = adapter_folder(tmp_path / "one", tiny.language_model(seed=4, **SHAPE).network, str(root / "base"))
    tensors = load_file(root / "words" / FILE)
    save_file({name: one for name, one in tensors.items() if name != "own.mean"}, made / FILE)
    model = lm.load(root / "base")
    with pytest.raises(ModelError, match=r"router.safetensors lacks 'own.mean'"):
        lm.add_adapter(model, "one", made)
    assert model.adapters == []
    save_file({name: one[:5].clone() if one.ndim else one for name, one in tensors.items()}, made / FILE)
    lm.add_adapter(model, "one", made)
    with pytest.raises(ModelError, match=r"of states of 5 numbers, and this model's have 64"):
        lm.route(model, ["a"])


@pytest.mark.parametrize(
    "spoilt",
    [
        {"own.mean": torch.zeros(5)},
        {"own.mean": torch.zeros(5), "own.squares": torch.ones(5)},
        {"base.squares": torch.ones(5)},
        {"own.mean": torch.full((64,), torch.nan)},
        {"own.squares": torch.full((64,), torch.inf)},
        {"own.squares": torch.full((64,), -1.0)},
        {"own.mean": torch.zeros(1, 64), "own.squares": torch.ones(1, 64)},
        {"own.mean": torch.zeros(64, dtype=torch.int64)},
        {"own.count": torch.tensor([3, 4])},
        {"own.count": torch.tensor(0)},
        {"base.count": torch.tensor(-30)},
        {"base.count": torch.tensor(torch.nan)},
    ],
)
def test_numbers_that_no_texts_have_are_refused(spoilt: dict[str, torch.Tensor], root: Path, tmp_path: Path):
    """Not a number would be the nearest to every text."""
    made = shutil.copytree(root / "words", tmp_path / "one")
    save_file(load_file(made / FILE) | spoilt, made / FILE)
    model = lm.load(root / "base")
    with pytest.raises(ModelError, match=r"router.safetensors is damaged \(.*\); copy it again, or train the adap"):
        lm.add_adapter(model, "one", made)
    assert model.adapters == []


def test_a_prompt_that_cannot_be_read_is_refused_as_a_request_is(root: Path):
    model = beside(root, "words")
    with pytest.raises(ConfigError, match="the prompt names the token 4,000"):
        lm.route(model, [[4000]])


@pytest.mark.parametrize("method", ["qlora", "last_layers", "full"])
def test_a_method_whose_adapters_stand_beside_no_others_is_refused(method: str):
    model = tiny.language_model()
    base = Original(model, METHODS[method].adapter, 32, frozenset())
    retention = RETENTIONS["router"]
    with pytest.raises(ConfigError, match=r"text tells apart texts for adapters .*; take lora, dora, .* or kl"):
        retention.prepare(Setup(model.network, CausalLM(), []), base, retention.settings())


@pytest.mark.parametrize(
    ("method", "text"), [("lora", None), *((name, "others") for name in ("lora", "dora", "bottleneck", "prompt"))]
)
def test_a_tuned_adapter_knows_its_own_texts(
    method: str, text: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """From those of the base: such as the model writes, or such as it is told."""
    monkeypatch.chdir(tmp_path)
    small_builds.prepare(tmp_path)
    (tmp_path / "others").mkdir()
    for number, signs in enumerate(SIGNS):
        (tmp_path / "others" / f"{number}.txt").write_text(signs)
    settings = {} if text is None else {"text": text}
    recipe = small_builds.recipe(method).but(retain="router", router=settings)
    made = build(out="made", recipe=recipe)
    again = build(out="again", recipe=recipe)
    assert (made.folder / FILE).read_bytes() == (again.folder / FILE).read_bytes()
    plain = build(out="plain", recipe=small_builds.recipe(method))
    assert not (plain.folder / FILE).exists()
    model = lm.load("base")
    lm.add_adapter(model, "notes", "made")
    notes = [path.read_text() for path in sorted((tmp_path / "notes").iterdir())]
    assert lm.route(model, notes).count("notes") >= 10  # of 12; the network has learnt nothing but these
    assert lm.route(model, [*map(asked, notes)]).count("notes") >= 10
    if text is not None:
        assert lm.route(model, SIGNS) == [None] * len(SIGNS)
    with pytest.raises(ConfigError, match="leave out --merge"):
        build(out="merged", recipe=recipe, merge=True)
