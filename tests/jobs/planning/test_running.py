"""What runs a network, and how fast: by counted bytes and operations; the clock's rates are given here."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny

import lmworks as lm
from lmworks.jobs.planning.devices import Device
from lmworks.jobs.planning.flops import Flops, forward_flops
from lmworks.jobs.planning.parameters import count_parameters
from lmworks.jobs.planning.reading import read_subject
from lmworks.jobs.planning.running import PYTHON, path_of, running
from lmworks.jobs.planning.timing import AT_ONCE, Rates, deep_blocks, narrowed, shrunk, two_rates
from lmworks.kernels.run.weights import is_expert
from lmworks.models.config import ModelConfig
from lmworks.models.files.compressed import Compression
from lmworks.models.files.directory import write_network
from lmworks.objectives.declaration import FullRow

SMOLLM2 = ModelConfig(
    vocab_size=49152, dim=576, layers=30, heads=9, kv_heads=3, hidden_dim=1536, context=8192, tied=True
)
LLAMA_8B = ModelConfig(
    vocab_size=128256, dim=4096, layers=32, heads=32, kv_heads=8, hidden_dim=14336, context=8192, tied=False
)
SLOW = Device("cpu", 8e9, 1e12, 1e9, "a test")
EVEN = Rates(1e-9, 1e-9, 1e-9, 1e-9, 1e-9)


def shares(config: ModelConfig, seq: int = 256) -> list[float]:
    """How much of the operations is the head's and attention's."""
    flops = forward_flops(config, count_parameters(config), seq)
    return [flops.head / flops.all, flops.attention / flops.all]


@pytest.mark.parametrize("config", [SMOLLM2, LLAMA_8B], ids=["smollm2", "8b"])
def test_what_is_timed_is_made_up_as_the_whole_is(config: ModelConfig):
    assert shares(shrunk(config)) == pytest.approx(shares(config), rel=0.02)
    assert shrunk(config).layers == 2


def test_both_sides_shrink_alike():
    config = SMOLLM2.but(arrangement="encoder-decoder", layers=6, encoder_layers=12, family="lmworks")
    small = shrunk(config)
    assert (small.layers, small.encoder().layers, small.vocab_size) == (2, 4, 16384)
    assert shrunk(small).layers == 2 and shrunk(small).vocab_size == 16384


def test_large_blocks_are_timed_narrower_and_in_proportion():
    narrow = narrowed(LLAMA_8B)
    assert narrow.head_dim == LLAMA_8B.head_dim and narrow.heads // narrow.kv_heads == 4
    assert 2e6 < count_parameters(narrow.but(layers=1)).block < 6e6
    assert narrow.hidden_dim / narrow.dim == pytest.approx(LLAMA_8B.hidden_dim / LLAMA_8B.dim, rel=0.1)
    assert narrowed(SMOLLM2) == SMOLLM2


def test_two_texts_tell_products_from_attention():
    short, long = Flops(100.0, 5.0, 20.0), Flops(400.0, 80.0, 20.0)
    times = [2.0 * (one.matrices + one.head) + 7.0 * one.attention for one in (short, long)]
    assert two_rates(short, times[0], long, times[1]) == pytest.approx((2.0, 7.0))
    assert two_rates(short, 1.0, long, 1.0) == pytest.approx((2 / 625, 2 / 625)), "noise makes no time negative"


def test_a_written_token_takes_the_time_of_its_bytes_or_of_its_operations(tmp_path: Path):
    tiny.language_model(dim=64, hidden_dim=96, context=512).save(tmp_path / "m")
    subject = read_subject(str(tmp_path / "m"))
    path = path_of(subject, "float32")
    assert path.bits is None and path.how.startswith("in PyTorch")
    config = subject.model
    found = running(config, path, EVEN, SLOW)
    bytes_ = path.weights + 256 * 2 * config.layers * config.kv_heads * config.head_dim * 4
    assert 1 / found.generate == pytest.approx(bytes_ / 1e9), "memory is slow here: each weight is read once"
    fast = running(config, path, EVEN, Device("cpu", 8e9, 1e12, 1e15, "a test"))
    assert 1 / fast.generate > count_parameters(config).matrices * 1e-9 and fast.serve == pytest.approx(
        AT_ONCE / (1 / fast.generate + AT_ONCE * PYTHON)
    )
    every = forward_flops(config, count_parameters(config), 512, FullRow(512, 0, 512))
    assert found.evaluate == pytest.approx((512 - 128) / (every.all * 1e-9)), "windows overlap by a quarter"


@pytest.mark.parametrize("bits", [4, 8])
def test_a_model_in_few_bits_runs_compiled_and_reads_its_packed_weights(tmp_path: Path, bits: int):
    model = tiny.language_model(dim=128, hidden_dim=512, layers=4)
    model.save(tmp_path)
    write_network(tmp_path, model.network, compression=Compression(bits, 8))
    path = path_of(read_subject(str(tmp_path)), "bfloat16")
    loaded = lm.load(tmp_path)
    assert path.bits == bits and path.how.startswith("compiled")
    assert path.read == pytest.approx(loaded.runner.compiled.weights.bytes, rel=0.1)  # type: ignore[attr-defined]


def test_of_experts_a_token_reads_those_that_it_is_sent_to(tmp_path: Path):
    mixture = {"family": "mixtral", "experts": {"count": 8, "top_k": 2}}
    model = tiny.language_model(dim=128, hidden_dim=256, layers=4, **mixture)
    model.save(tmp_path)
    write_network(tmp_path, model.network, compression=Compression(4, 8))
    path, weights = path_of(read_subject(str(tmp_path)), "bfloat16"), lm.load(tmp_path).runner.compiled.weights  # type: ignore[attr-defined]
    of_experts = sum(one.data.nbytes for name, one in weights.matrices.items() if is_expert(name))
    assert path.bits == 4 and path.how.startswith("compiled")
    assert path.read == pytest.approx(weights.bytes - 6 / 8 * of_experts, rel=0.1)


def test_this_machine_runs_what_is_planned_and_others_are_assumed(tmp_path: Path):
    from lmworks.jobs.planning.devices import find_device
    from lmworks.jobs.planning.plan import make_plan

    model = tiny.language_model(dim=64, hidden_dim=96, context=512)
    model.save(tmp_path)
    write_network(tmp_path, model.network, compression=Compression(8, 8))
    subject = read_subject(str(tmp_path), ["training.context=64"])
    here, elsewhere = (make_plan(subject, find_device(name)) for name in ("cpu", "H100"))
    assert here.running is not None and here.running.how == "compiled, in the bits of its file"
    assert here.ways[-1].tokens_per_second == here.running.generate > 0 and here.running.evaluate > 0
    assert here.to_json()["running"]["serve"] == here.running.serve
    assert elsewhere.running is None and elsewhere.to_json()["running"] is None


def test_tokens_are_written_by_all_blocks_or_as_many_as_caches_do_not_hold():
    assert deep_blocks(SMOLLM2) == SMOLLM2.layers
    narrow = narrowed(LLAMA_8B)
    large = narrow.but(layers=80)
    assert 2 < deep_blocks(large) < 80
    assert count_parameters(shrunk(large, deep_blocks(large))).base == pytest.approx(160e6, rel=0.1)
