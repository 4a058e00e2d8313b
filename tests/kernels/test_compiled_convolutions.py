"""Short convolutions on their tape: pages that are shared, copied, joined and kept, answers beside others, files. How
near states are to PyTorch's, caches and threads: test_engine.py and test_team.py, with LFM2 among their kinds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch

pytest.importorskip("numba")

from gguf import GGMLQuantizationType as Kind
from kernels.test_engine import apart, scattered_outliers  # noqa: F401 (used for every test)
from kernels.test_keeping import keep_small
from models.files.test_gguf import write

from lmworks.generation.engine import Engine
from lmworks.generation.guessing import Lookup
from lmworks.generation.strategies import Beam, Greedy, Sample
from lmworks.kernels import CompiledRunner, compiled, unavailable
from lmworks.kernels.keeping import Keeper
from lmworks.kernels.outlier_search import outliers
from lmworks.kernels.packer import Packer
from lmworks.kernels.packing import Unchanged, unpacked
from lmworks.language_model import LanguageModel
from lmworks.models.adapted import own_parameters
from lmworks.models.config import ModelConfig
from lmworks.models.convolution_settings import ConvolutionSettings
from lmworks.models.files.gguf import read_gguf_network
from lmworks.models.files.gguf_file import GGUFFile
from lmworks.models.files.gguf_groups import StoredInGGUF
from lmworks.models.later_network import LaterNetwork

if unavailable() is not None:
    pytest.skip(str(unavailable()), allow_module_level=True)

SHAPE: dict[str, Any] = {"dim": 64, "heads": 4, "kv_heads": 2, "head_dim": 16, "hidden_dim": 96, "context": 256}
SHAPE |= {"layers": 3, "qk_norm": True, "convolution": ConvolutionSettings(layers=(0, 2), width=5)}


def running(**others: object) -> CompiledRunner:
    """A network's runner."""
    return CompiledRunner(tiny.network(**(SHAPE | others)).requires_grad_(False), 8)


def model_of(**others: object) -> LanguageModel:
    """A model that reads bytes, compiled."""
    model = tiny.language_model(seed=4, **(SHAPE | others))
    model.runner = CompiledRunner(model.network.requires_grad_(False), 8)
    return model


def alone(runner: CompiledRunner, text: list[int]) -> np.ndarray:
    """The logits after a text by itself."""
    return runner.next_logits(np.array([text]), runner.new_cache(1))[0]


@pytest.mark.parametrize("past", [3, 63, 64, 66])
@torch.no_grad()
def test_rows_that_leave_become_more_or_join_keep_their_tokens(past: int):
    """Before, at and after the border of a page, whose last tokens the next one's first read."""
    runner, texts = running(), tiny.text(3, past, seed=7).tolist()
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


@torch.no_grad()
def test_a_beginning_that_was_kept_is_read_no_more_and_gives_the_same():
    runner, text = running(), tiny.text(1, 150, seed=2)[0].tolist()
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


@pytest.mark.parametrize("layers", [(0, 2), (1,), (0, 1, 2)])
def test_what_is_written_does_not_depend_on_those_beside_it(layers: tuple[int, ...]):
    model = model_of(convolution=ConvolutionSettings(layers=layers, width=3, bias=True))
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


@torch.no_grad()
def test_a_page_holds_what_each_layer_keeps_and_no_more():
    """A layer with a convolution keeps 64 numbers of a token, one with attention 32 of its key and 32 of its value;
    with more heads of these, twice as many."""
    for kv_heads, numbers in ((2, 64 + 64 + 64), (4, 64 + 128 + 64)):
        runner = running(kv_heads=kv_heads)
        cache = runner.new_cache(1)
        runner.read(np.full((1, 65), 3), cache)
        assert cache.bytes == 2 * 64 * 2 * numbers
        assert runner.token_bytes == 2 * numbers == 2 * runner.config.cached_numbers
    model = model_of()
    with Engine(model, seats=1, prefix_bytes=0) as engine:
        most = engine.most_cache_bytes
    cache = model.runner.new_cache(1)
    model.runner.read(np.full((1, 256), 3), cache)
    assert cache.bytes == most


@torch.no_grad()
def test_outliers_are_found_before_and_after_a_convolution():
    plain = tiny.network(**SHAPE).requires_grad_(False)
    plain.blocks[2].attention_norm.weight[7] = 60.0  # type: ignore[index]
    plain.blocks[2].attention.kernel[9] *= 500.0  # type: ignore[operator]
    found = outliers(plain)
    assert 7 in found["blocks.2.attention.inward.weight"] and 9 in found["blocks.2.attention.outward.weight"]


@torch.no_grad()
def test_a_fault_of_a_kernel_shows():
    plain = tiny.network(**SHAPE).requires_grad_(False)
    plain.blocks[2].attention.kernel[5, 0, 1] = torch.nan  # type: ignore[index, operator]
    states = compiled(plain, 8).hidden(tiny.text(1, 6), None, None)[0]
    assert [bool(one.isnan().any()) for one in states] == [False] * 3 + [True] * 3, "from where a token is so far away"


@torch.no_grad()
def test_a_file_runs_in_its_own_bits(tmp_path: Path):
    """With kernels as the file has them, though the network holds them in bfloat16."""
    write(tmp_path / "lfm2.gguf", tiny.network(**SHAPE, family="lfm2"), Kind.Q8_0)
    file = GGUFFile(tmp_path / "lfm2.gguf")
    network, exact = (read_gguf_network(file, dtype).eval() for dtype in (torch.bfloat16, torch.float32))
    stored = Unchanged(StoredInGGUF(file, network.config), own_parameters(network))
    engine = compiled(network.requires_grad_(False), 8, stored)
    for name, matrix in engine.weights.matrices.items():
        assert torch.equal(unpacked(matrix), exact.get_parameter(name)), name
    kernel = exact.get_parameter("blocks.0.attention.kernel")
    assert engine.weights.vectors["blocks.0.attention.kernel"].tolist() == kernel[:, 0].T.flatten().tolist()
    assert not torch.equal(network.get_parameter("blocks.0.attention.kernel").float(), kernel)
    tokens = tiny.text(1, 40)
    assert apart(engine.hidden(tokens, None, None), exact.hidden(tokens)) < 0.05


@pytest.mark.parametrize("kind", ["lfm2", "apertus"])
@torch.no_grad()
def test_what_is_kept_runs_without_the_network(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Kernels, biases and the numbers that an activation learns among it."""
    others: dict[str, Any] = {"convolution": ConvolutionSettings(layers=(0, 2), width=5, bias=True)}
    if kind == "apertus":
        others = {"convolution": None, "activation": "xielu", "gated": False}
    runner, text = running(**others), [1, 2, 3, 4, 5, 6, 7]
    keep_small(tmp_path, monkeypatch)
    (tmp_path / "weights").touch()
    keeper, config = Keeper(tmp_path, [tmp_path / "weights"]), runner.config
    assert keeper.kept(Packer(runner.network, 8)) is not None
    config = ModelConfig.model_validate_json(config.model_dump_json())
    opened = keeper.opened(config, 8)
    assert opened is not None
    late = CompiledRunner(LaterNetwork(config, lambda: pytest.fail("the network is built")), 8, kept=opened)
    assert np.array_equal(alone(late, text), alone(runner, text))
