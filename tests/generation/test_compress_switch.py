"""`compress`: what runs a loaded model, by one switch; the same calls, whatever it is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

pytest.importorskip("numba")

from tiny import language_model

import lmworks as lm
from lmworks.basics.errors import ConfigError
from lmworks.generation.strategies import Beam, Chooser
from lmworks.kernels import unavailable

if unavailable() is not None:
    pytest.skip(str(unavailable()), allow_module_level=True)

SHAPE = {"dim": 64, "heads": 4, "kv_heads": 2, "head_dim": 16, "hidden_dim": 96, "context": 128}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model's directory."""
    return language_model(**SHAPE).save(tmp_path_factory.mktemp("models") / "small")


@pytest.mark.parametrize("bits", [4, 8])
def test_a_directory_runs_in_the_bits_that_are_asked_for(folder: Path, bits: int):
    model = lm.load(folder, compress=f"int{bits}")
    assert {one.bits for name, one in model.network.engine.weights.matrices.items() if "blocks" in name} == {bits}
    plain = lm.load(folder)
    assert plain.network.engine is None
    text = "the model reads a folder of text"
    assert model.score(text).bits == pytest.approx(plain.score(text).bits, rel=0.2 if bits == 4 else 0.03)
    ids = torch.tensor([model.tokenizer.encode(text)])
    assert not torch.equal(model.logits(ids), plain.logits(ids))


def test_answers_do_not_depend_on_their_neighbours(folder: Path):
    """Prompts of unequal length, in a batch that shrinks, and beams."""
    model = lm.load(folder, compress="int8")
    prompts = ["the", "the model reads a folder of text and learns", "words follow"]
    together = model.generate_batch(prompts, max_new_tokens=30)
    alone = [model.generate(prompt, max_new_tokens=30) for prompt in prompts]
    assert [one.tokens for one in together] == [one.tokens for one in alone]
    assert [one.logprobs for one in together] == [one.logprobs for one in alone]
    beams = model.generate_batch(prompts, Beam(width=3), max_new_tokens=12)
    assert [one.tokens for one in beams] == [
        model.generate(one, Beam(width=3), max_new_tokens=12).tokens for one in prompts
    ]


@pytest.mark.parametrize(("compress", "while_choosing"), [("int8", 1), ("none", 2)])
def test_pytorch_has_one_thread_while_an_engine_decodes_and_all_of_them_again_behind_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, compress: str, while_choosing: int
):
    seen, choose, before = set(), Chooser.choose, torch.get_num_threads()
    monkeypatch.setattr(
        Chooser, "choose", lambda self, *given: (seen.add(torch.get_num_threads()), choose(self, *given))[1]
    )
    torch.set_num_threads(2)
    try:
        lm.load(folder, compress=compress).generate("the model", max_new_tokens=4)
        assert seen == {while_choosing}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_gguf_file_runs_as_it_is(smollm2_path: Path):
    model = lm.load(smollm2_path)
    assert {one.bits for name, one in model.network.engine.weights.matrices.items() if "blocks" in name} == {4}
    assert lm.load(smollm2_path, compress="none").network.engine is None
    assert lm.load(smollm2_path, dtype="float32").network.engine is None
    assert "Paris" in model.generate("The capital of France is", max_new_tokens=8)


@pytest.mark.parametrize(
    ("settings", "named"),
    [({"compress": "int3"}, "int3"), ({"compress": "int4", "dtype": "float32"}, "give one of them")],
)
def test_what_cannot_be_is_one_sentence(folder: Path, settings: dict[str, str], named: str):
    with pytest.raises(ConfigError, match=named):
        lm.load(folder, **settings)


def test_what_the_tape_does_not_cover_is_refused_where_it_was_asked_for(tmp_path: Path):
    folder = language_model(**SHAPE | {"head_dim": 8}).save(tmp_path / "small")
    with pytest.raises(ConfigError, match="head_dim is 8"):
        lm.load(folder, compress="int8")
