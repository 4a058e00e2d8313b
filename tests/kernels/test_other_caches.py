"""Caches that keep something else than keys and values of heads: rows that leave, become more and join, beginnings and
weights that are kept, answers beside others. Short convolutions (LFM2) and latent attention (DeepSeek)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch

pytest.importorskip("numba")

from other_caches import CONVOLUTIONS, LATENT, alone, model_of, running
from test_engine import scattered_outliers  # noqa: F401 (used for every test)
from test_keeping import keep_small

from lmworks.generation.engine import Engine
from lmworks.generation.guessing import Lookup
from lmworks.generation.strategies import Beam, Greedy, Sample
from lmworks.kernels import CompiledRunner, unavailable
from lmworks.kernels.keeping import Keeper
from lmworks.kernels.packer import Packer
from lmworks.models.config import ModelConfig
from lmworks.models.convolution_settings import ConvolutionSettings
from lmworks.models.latent_settings import LatentSettings
from lmworks.models.later_network import LaterNetwork

if unavailable() is not None:
    pytest.skip(str(unavailable()), allow_module_level=True)

LAYERS: tuple[tuple[int, ...], ...] = ((0, 2), (1,), (0, 1, 2))
each = pytest.mark.parametrize("shape", [CONVOLUTIONS, LATENT], ids=["convolutions", "latent"])


@each
@pytest.mark.parametrize("past", [3, 63, 64, 66])
@torch.no_grad()
def test_rows_that_leave_become_more_or_join_keep_their_tokens(shape: dict[str, Any], past: int):
    """Before, at and after the border of a page, whose last tokens the next one's first read."""
    runner, texts = running(shape), tiny.text(3, past, seed=7).tolist()
    cache = runner.new_cache(3)
    runner.read(np.array(texts), cache)
    cache.keep([2, 0, 0])
    aside = cache.fork([1])
    late = runner.new_cache(1)
    runner.read(np.array([[4]]), late)
    cache.join(late)
    cache.keep([3, 0, 1, 2])
    before = [[4], texts[2], texts[0], texts[0]]
    for number in range(3):  # rows with the same beginning go on differently
        new = [[5 + number], [6 + number], [7 + number], [9 + 2 * number]]
        logits = runner.next_logits(np.array(new), cache)
        before = [[*row, *more] for row, more in zip(before, new, strict=True)]
        assert np.array_equal(logits, np.stack([alone(runner, row) for row in before])), number
    assert np.array_equal(runner.next_logits(np.array([[8]]), aside)[0], alone(runner, [*texts[0], 8]))
    cache.cut([0, 2, 1, 3])  # what is forgotten is read no more
    before = [row[: len(row) - count] for row, count in zip(before, (0, 2, 1, 3), strict=True)]
    logits = runner.next_logits(np.array([[11]] * 4), cache)
    assert np.array_equal(logits, np.stack([alone(runner, [*row, 11]) for row in before]))


@each
@torch.no_grad()
def test_a_beginning_that_was_kept_is_read_no_more_and_gives_the_same(shape: dict[str, Any]):
    runner, text = running(shape), tiny.text(1, 150, seed=2)[0].tolist()
    prefixes = runner.new_prefixes(2**20)
    assert prefixes is not None
    first = runner.new_cache(1)
    runner.read(np.array([text]), first)
    prefixes.keep(first, 0, text)
    again = runner.new_cache(1)
    assert prefixes.begin(again, 0, [*text[:130], 7]) == 128
    runner.read(np.array([text[128:130]]), again)
    assert np.array_equal(runner.next_logits(np.array([[7]]), again)[0], alone(runner, [*text[:130], 7]))


ASKED = {
    "greedy": Greedy(min_new_tokens=30),
    "drawn": Sample(seed=3, min_new_tokens=30),
    "beams": Beam(width=4, min_new_tokens=10),
    "more": Greedy(min_new_tokens=9),
}


@pytest.mark.parametrize(
    ("shape", "others"),
    [
        *((CONVOLUTIONS, {"convolution": ConvolutionSettings(layers=one, width=3, bias=True)}) for one in LAYERS),
        *((LATENT, {"latent": LatentSettings(rank=64, query_rank=one, value_dim=32)}) for one in (None, 96)),
    ],
    ids=["some layers", "one layer", "all layers", "queries", "narrow queries"],
)
def test_what_is_written_does_not_depend_on_those_beside_it(shape: dict[str, Any], others: dict[str, Any]):
    model = model_of(shape, **others)
    texts = ["the model", "a" * 100, "x", "reads a folder of text"]
    by_itself = [model.generate(text, one, max_new_tokens=40) for text, one in zip(texts, ASKED.values(), strict=True)]
    together = model.generate_batch(texts, list(ASKED.values()), max_new_tokens=40)
    with Engine(model, seats=10) as engine:
        handles = [engine.submit(text, one, max_new_tokens=40) for text, one in zip(texts, ASKED.values(), strict=True)]
        served = [handle.answer(60) for handle in handles]
    for one, other, third in zip(by_itself, together, served, strict=True):
        assert one.tokens == other.tokens == third.tokens and one.logprobs == other.logprobs
        assert [each.tokens for each in one.others] == [each.tokens for each in other.others]
    guessed = model.generate(texts[0], ASKED["greedy"], max_new_tokens=40, guess=Lookup(match=1))
    assert guessed.tokens == by_itself[0].tokens and guessed.logprobs == by_itself[0].logprobs


@pytest.mark.parametrize(
    ("shape", "others"),
    [
        (CONVOLUTIONS, {"convolution": ConvolutionSettings(layers=(0, 2), width=5, bias=True)}),
        (CONVOLUTIONS, {"convolution": None, "activation": "xielu", "gated": False}),
        (LATENT, {}),
    ],
    ids=["lfm2", "apertus", "deepseek"],
)
@torch.no_grad()
def test_what_is_kept_runs_without_the_network(
    shape: dict[str, Any], others: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Kernels, biases and the numbers that an activation learns among it."""
    runner, text = running(shape, **others), [1, 2, 3, 4, 5, 6, 7]
    keep_small(tmp_path, monkeypatch)
    (tmp_path / "weights").touch()
    keeper, config = Keeper(tmp_path, [tmp_path / "weights"]), runner.config
    assert keeper.kept(Packer(runner.network, 8)) is not None
    config = ModelConfig.model_validate_json(config.model_dump_json())
    opened = keeper.opened(config, 8)
    assert opened is not None
    late = CompiledRunner(LaterNetwork(config, lambda: pytest.fail("the network is built")), 8, kept=opened)
    assert np.array_equal(alone(late, text), alone(runner, text))
