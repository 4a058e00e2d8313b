"""Texts beyond the context: an end that is told, a window that slides, positions that are stretched."""

from __future__ import annotations

import pytest
import tiny
import torch

from lmworks.basics.errors import ConfigError, ModelError
from lmworks.generation.engine import Engine
from lmworks.generation.guessing import Lookup
from lmworks.generation.strategies import Beam, Contrastive, Greedy, Sample
from lmworks.kernels import CompiledRunner, unavailable
from lmworks.language_model import LanguageModel
from lmworks.loading import load
from lmworks.models.config import RopeScaling

SHAPE = {"dim": 64, "heads": 4, "kv_heads": 2, "head_dim": 16, "hidden_dim": 96, "context": 64}
LONG = Greedy(min_new_tokens=10**6)


@pytest.fixture(scope="module", params=["plain", "compiled"])
def model(request: pytest.FixtureRequest) -> LanguageModel:
    made = tiny.language_model(seed=4, **SHAPE)
    made.network.requires_grad_(False)
    if request.param == "compiled":
        if unavailable() is not None:
            pytest.skip(str(unavailable()))
        made.runner = CompiledRunner(made.network, 8)
    return made


@torch.inference_mode()
def by_hand(model: LanguageModel, prompt: list[int], size: int) -> tuple[list[int], int]:
    """Greedy without a cache; what the window holds is read anew for every token."""
    text, written, slid, banned = list(prompt), [], 0, sorted(model.tokenizer.stop_ids)
    if len(text) >= 64:
        text, slid = text[:4] + text[-28:], 1
    while len(written) < size:
        logits = model.logits([text])[0, -1]
        logits[banned] = -torch.inf
        written.append(int(logits.argmax()))
        text.append(written[-1])
        if len(text) > 64 and len(written) < size:
            text, slid = text[:4] + text[-28:], slid + 1
    return written, slid


@pytest.mark.parametrize("size", [1, 40, 63, 64, 65, 200])
def test_a_window_that_slides_goes_on_behind_the_first_tokens_and_the_last_half(model: LanguageModel, size: int):
    prompt = model.tokenizer.encode("".join(chr(97 + 7 * at % 26) for at in range(size)))
    written, slid = by_hand(model, prompt, 150)
    for guess in (None, Lookup(match=1)):
        answer = model.generate(prompt, LONG, max_new_tokens=150, window="slide", guess=guess)
        assert answer.tokens == written and answer.slid == slid > 0 and answer.finish == "length"
        assert answer.prompt == prompt


def test_windows_that_slide_beside_others(model: LanguageModel):
    asked = [("a" * size, Sample(seed=size, min_new_tokens=10**6), 90) for size in (5, 30, 63, 64, 120)]
    with Engine(model, seats=3, chunk=16) as engine:
        handles = [engine.submit(p, s, max_new_tokens=n, window="slide") for p, s, n in asked]
        beside = engine.submit("b", max_new_tokens=30)
        for (prompt, strategy, size), handle in zip(asked, handles, strict=True):
            alone = model.generate(prompt, strategy, max_new_tokens=size, window="slide")
            answer = handle.answer(30)
            assert answer.tokens == alone.tokens and answer.slid == alone.slid > 0
            assert "".join(delta.text for delta in handle) in answer
        assert beside.answer(30) == model.generate("b", max_new_tokens=30)
        handle = engine.submit("a" * 60, LONG, max_new_tokens=10**6, window="slide")
        for _, _delta in zip(range(200), handle, strict=False):
            pass  # leaving the loop cancels, whether it was just reading or writing
        assert handle.cancelled and handle.answer(30).finish == "cancelled" and handle.sequence.slid > 2


def test_without_it_the_end_is_told(model: LanguageModel):
    answer = model.generate("a" * 60, LONG, max_new_tokens=100)
    assert answer.finish == "window" and len(answer.tokens) == 4 and answer.slid == 0
    with pytest.raises(
        ConfigError, match=r"the prompt has 64 tokens and the model reads 64; shorten it, or let the window"
    ):
        model.generate("a" * 64)


@pytest.mark.parametrize("strategy", [Beam(width=2), Contrastive()], ids=str)
def test_windows_slide_over_one_text(model: LanguageModel, strategy):
    with pytest.raises(ConfigError, match="a window slides over one text that is written token by token"):
        model.generate("a", strategy, window="slide")


@pytest.mark.parametrize("kind", ["linear", "dynamic", "yarn"])
def test_stretched_positions_read_longer_texts(tmp_path, kind: str):
    """A saved model is loaded for four times its context; it is the network whose config says so."""
    made = tiny.language_model(seed=4, **SHAPE)
    made.save(tmp_path / "model")
    longer = load(tmp_path / "model", rope_scaling=RopeScaling(kind=kind, factor=4))
    assert longer.config.context == 256 and longer.config.rope_scaling.original_context == 64
    scaled = tiny.network(seed=4, **(SHAPE | {"vocab_size": made.config.vocab_size, "context": 256}))
    scaled.config = scaled.config.but(rope_scaling=RopeScaling(kind=kind, factor=4, original_context=64))
    tokens = tiny.text(1, 200)
    torch.testing.assert_close(longer.logits(tokens), scaled(tokens).detach())
    assert not torch.allclose(longer.logits(tokens), made.logits(tokens))
    assert longer.generate("a" * 100, LONG, max_new_tokens=20).finish == "length"
    if kind == "dynamic":  # public files have no place for it
        with pytest.raises(ModelError, match="choose the family lmworks"):
            longer.save(tmp_path / "longer")
    else:
        longer.save(tmp_path / "longer")
        assert load(tmp_path / "longer").config == longer.config


def test_what_cannot_be_stretched_is_one_sentence(tmp_path):
    made = tiny.language_model(seed=4, **SHAPE)
    made.save(tmp_path / "model")
    with pytest.raises(ConfigError, match=r"is 0\.5; above 1"):
        load(tmp_path / "model", rope_scaling=RopeScaling(kind="linear", factor=0.5))
    load(tmp_path / "model", rope_scaling=RopeScaling(kind="yarn", factor=2)).save(tmp_path / "longer")
    with pytest.raises(ConfigError, match="stretched already"):
        load(tmp_path / "longer", rope_scaling=RopeScaling(kind="linear", factor=2))
