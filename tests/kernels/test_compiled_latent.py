"""Latent attention on its tape: its steps beside PyTorch, pages, adapters of each row, files. Forks, joined and kept
rows, and answers beside others: test_other_caches.py. How near states are to PyTorch's, and threads: test_engine.py and
test_team.py, with it among their kinds."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch

pytest.importorskip("numba")

from adaptation.adapted import adapter_folder, randomise_adapters
from frames import Bench, address, numbers
from gguf import GGMLQuantizationType as Kind
from models.files.test_gguf import write
from other_caches import LATENT, model_of, running
from test_adapters import both
from test_engine import ERROR, apart

import lmworks as lm
from lmworks.adaptation.lora import LoRALinear, Projection, add_lora, lora_layers
from lmworks.adaptation.lora_config import LoRAConfig
from lmworks.generation.engine import Engine
from lmworks.kernels import compiled, unavailable
from lmworks.kernels.adapters import PackedAdapters, pack_by_head
from lmworks.kernels.frame import Field
from lmworks.kernels.operations.bottleneck import bottleneck_step
from lmworks.kernels.operations.latent import Latent
from lmworks.kernels.operations.matrix import multiply
from lmworks.kernels.outlier_search import outliers
from lmworks.kernels.packed import aligned
from lmworks.kernels.packer import Packer
from lmworks.kernels.packing import unpacked
from lmworks.kernels.run.weights import is_multiplied
from lmworks.models.config import ExpertSettings
from lmworks.models.files.gguf import read_gguf_network
from lmworks.models.files.gguf_file import GGUFFile
from lmworks.models.files.gguf_groups import StoredInGGUF
from lmworks.models.latent_attention import LatentAttention
from lmworks.models.latent_settings import LatentSettings
from lmworks.models.rotation import rotate
from lmworks.models.unread import peek, peeked, unread_of

if unavailable() is not None:
    pytest.skip(str(unavailable()), allow_module_level=True)

SHAPE = LATENT
IN_FILE: dict[str, Any] = {"family": "deepseek_v2", "tied": False, "norm_eps": 1e-5}
SAID = {"deepseek2.attention.kv_lora_rank": 64, "deepseek2.attention.q_lora_rank": 96}
SAID |= {"deepseek2.attention.key_length": 48, "deepseek2.attention.value_length": 32}
SAID |= {"deepseek2.rope.dimension_count": 16, "deepseek2.leading_dense_block_count": 1}
SAID |= {"deepseek2.expert_shared_count": 2}
"""What such a file says of the same network."""
PARTS = "query_down", "query_up", "latent", "expand", "output"


def attention_of(heads: int, **others: int) -> LatentAttention:
    """One layer's attention with random weights."""
    settings = {"rank": 64, "value_dim": 32} | others
    made = tiny.network(**(SHAPE | {"heads": heads, "kv_heads": heads, "latent": LatentSettings(**settings)}))
    layer = made.blocks[0].attention.requires_grad_(False)
    assert isinstance(layer, LatentAttention)
    return layer


def packed_by_head(heads: int, bits: int) -> tuple[Packer, dict[str, Any]]:
    """A packer, and what one layer's keys and values are packed as."""
    shape = SHAPE | {"heads": heads, "kv_heads": heads, "layers": 1}
    packer = Packer(tiny.network(**shape).requires_grad_(False), bits)
    found = packer.matrices()
    return packer, {part: found[f"blocks.0.attention.expand.{part}.weight"] for part in ("keys", "values")}


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("tokens", [1, 2, 3, 4, 9, 37])
@pytest.mark.parametrize("rank", [0, 3, 20])
@torch.no_grad()
def test_a_matrix_whose_heads_read_inputs_of_their_own(bits: int, tokens: int, rank: int):
    """What makes keys, turned about, and values, with an adapter of every second token, or without."""
    heads = 3
    packer, matrices = packed_by_head(heads, bits)
    attention = packer.network.blocks[0].attention
    assert isinstance(attention, LatentAttention)
    layer = LoRALinear(attention.expand, [Projection("e", slice(0, heads * 64))], max(rank, 1), 2.0)
    for number, one in enumerate(layer.requires_grad_(False).own()):
        one.copy_(numbers(*one.shape, seed=4 + number))
    adapters = pack_by_head("e", attention, layer, [None])
    (_, down, up), used = next(iter(layer.updates())), torch.arange(tokens) % 2 == 0
    for part, of_head in zip(("keys", "values"), attention.by_head(up @ down), strict=True):
        matrix = matrices[part]
        inputs, rows = matrix.columns, matrix.rows // heads
        made = PackedAdapters(matrix.blocks, [None, adapters[f"e.{part}"][None]])
        bench = Bench(tokens, heads * inputs, after=made.numbers)
        bench.put(Field.ADAPTERS, 2 * used.long())
        x, output = bench.quantise(numbers(tokens, heads * inputs)), numbers(tokens, heads * rows, seed=3)
        each, weights = x.view(tokens, heads, inputs), unpacked(matrix).view(heads, rows, inputs)
        expected = torch.einsum("thi,hri->thr", each, weights).flatten(1) + output
        added = torch.einsum("thi,hri->thr", each, of_head.mT if part == "keys" else of_head).flatten(1)
        steps = [bottleneck_step(made, bench.scales.ctypes.data, bench.scales.strides[0])] if rank else []
        table = made.for_matrix if rank else (0, 0)
        bench.run(*steps, multiply(matrix, address(output), 4 * heads * rows, 0, True, table))
        torch.testing.assert_close(output[~used], expected[~used], rtol=1e-5, atol=1e-4)
        if rank:
            assert apart(output[used] - expected[used], added[used]) < 0.02
        else:
            torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("turned", [0, 32])
@torch.no_grad()
def test_queries_and_states_are_placed(turned: int):
    """Tokens at the end of a page and after it, in the second layer's part; without a rotation or with one."""
    heads, width, rank, tokens, past, place = 3, 96, 64, 7, 60, 512
    row = heads * rank + heads * 32 + rank + 32 + heads * width
    x, norm = numbers(tokens, row), numbers(rank, seed=1)
    first, second, third = heads * rank, heads * (rank + 32), heads * (rank + 32) + rank + 32
    query, state, of_key = x[:, third:].view(tokens, heads, width), x[:, second:third], x[:, second + rank : third]
    positions = past + torch.arange(tokens)
    angles = torch.arange(past + tokens)[:, None] * 100.0 ** -(torch.arange(0, 32, 2) / 32)
    by = angles.cos()[positions], angles.sin()[positions]
    rotated = rotate(query[..., :32].transpose(0, 1), by).transpose(0, 1) if turned else query[..., :32]
    kept = torch.cat(
        [torch.rms_norm(state[:, :rank], (rank,), norm, 1e-6), rotate(of_key, by) if turned else of_key], 1
    )
    expected = 0.3 * rotated, 0.3 * query[..., 32:].flatten(1), kept.half()
    bench = Bench(tokens, heads * (width - 32))
    pages = [aligned(place + 64 * (2 * rank + 32) * 2) for _ in range(2)]
    lists = np.array([page.ctypes.data for page in pages], np.int64)
    bench.put(Field.PAGES, np.full(tokens, lists.ctypes.data, np.int64))
    bench.put(Field.POSITIONS, positions)
    bench.put(Field.TURNS, positions)
    bench.put(Field.COSINES, angles.cos().contiguous())
    bench.put(Field.SINES, angles.sin().contiguous())
    bench.frame[[Field.TURN_BYTES, Field.LAYERS_APART]] = 64, 1
    widths = {"heads": heads, "head_dim": width, "rank": rank, "turned": 32, "half": turned // 2}
    others = {"norm": address(norm), "eps": 1e-6, "scale": 0.3, "place": place}
    bench.run(Latent.step(row=address(x), stride=4 * row, **widths, **others))
    torch.testing.assert_close(x[:, first:second].view(tokens, heads, 32), expected[0], rtol=1e-5, atol=1e-5)
    assert bench.near(expected[1])
    for number, position in enumerate(positions.tolist()):
        halves = torch.from_numpy(pages[position // 64][place:].view(np.float16).copy())
        keys, values = halves[: 64 * (rank + 32)].view(4, rank + 32, 16), halves[64 * (rank + 32) :].view(64, rank)
        inside = position % 64
        torch.testing.assert_close(keys[inside // 16, :, inside % 16], expected[2][number], rtol=2e-3, atol=1e-3)
        assert torch.equal(values[inside], keys[inside // 16, :rank, inside % 16])


@pytest.mark.parametrize("heads", [3, 20])
@torch.no_grad()
def test_experts_beside_it(heads: int):
    """As DeepSeek's networks are: dense layers first."""
    experts = ExpertSettings(
        count=6, top_k=6, hidden_dim=32, shared_dim=64, scores="sigmoid", choice_bias=True, layers=(1,)
    )
    shape = SHAPE | {"heads": heads, "kv_heads": heads, "experts": experts, "family": "deepseek_v3"}
    same, engine = both(tiny.network(**shape).requires_grad_(False))
    for name, matrix in engine.weights.matrices.items():
        if ".experts." in name or ".shared." in name:
            same.get_parameter(name).copy_(unpacked(matrix))
    tokens = tiny.text(2, 90)
    assert apart(engine.hidden(tokens, None, None), same.hidden(tokens)) < 1.5 * ERROR


@torch.no_grad()
def test_a_page_holds_states_and_not_the_keys_of_heads():
    """A key of 64 + 16 numbers and a value of 64, in two layers, however many heads there are."""
    for heads in (4, 12):
        runner = running(SHAPE, heads=heads, kv_heads=heads)
        cache = runner.new_cache(1)
        runner.read(np.full((1, 65), 3), cache)
        assert cache.bytes == 2 * 64 * runner.token_bytes and runner.token_bytes == 2 * 2 * (80 + 64)
    model = model_of(SHAPE)
    with Engine(model, seats=1, prefix_bytes=0) as engine:
        most = engine.most_cache_bytes
    cache = model.runner.new_cache(1)
    model.runner.read(np.full((1, 256), 3), cache)
    assert cache.bytes == most


@torch.no_grad()
def test_outliers_are_the_same_of_what_reads_the_stream():
    for query_rank in (None, 96):
        latent = LatentSettings(rank=64, query_rank=query_rank, value_dim=32)
        plain = tiny.network(**(SHAPE | {"latent": latent})).requires_grad_(False)
        plain.blocks[1].attention_norm.weight[7] = 60.0  # type: ignore[index]
        reading = "query_up" if query_rank is None else "query_down"
        if query_rank is not None:
            plain.blocks[1].attention.query_down_norm.weight[9] = 60.0  # type: ignore[index, union-attr]
        found = outliers(plain)
        assert 7 in found["blocks.1.attention.latent.weight"]
        assert found[f"blocks.1.attention.{reading}.weight"] == found["blocks.1.attention.latent.weight"]
        assert query_rank is None or 9 in found["blocks.1.attention.query_up.weight"]
        assert not any("expand" in name or "output" in name for name in found)


@torch.no_grad()
def test_each_matrix_has_its_adapter():
    """Those of keys and values too, which are packed apart."""
    network = tiny.network(**SHAPE)
    for path, base in list(network.named_modules()):
        if path.startswith("blocks.") and path.endswith(PARTS):
            layer = LoRALinear(base, [Projection(path, slice(0, base.out_features))], 5, 1.6)
            network.set_submodule(path, layer)
    same, engine = both(randomise_adapters(network, size=0.2).requires_grad_(False))
    tokens = tiny.text(1, 90)
    states = engine.hidden(tokens, None, None)
    assert apart(states, same.hidden(tokens)) < 0.08
    for part in PARTS:
        layer = lora_layers(same)[f"blocks.0.attention.{part}"]
        layer.enabled = False
        assert apart(states, same.hidden(tokens)) > 0.12, part
        layer.enabled = True


@torch.no_grad()
def test_each_row_has_its_own_adapter(tmp_path: Path):
    model, texts = model_of(SHAPE, family="lmworks"), ["the model", "reads", "a folder of text", "x"]
    folders = [
        adapter_folder(tmp_path / name, model.network, rank=rank, seed=rank, **targets)
        for name, rank, targets in (("a", 3, {}), ("b", 20, {"targets": ("expand", "query_up")}))
    ]
    for folder in folders:
        lm.add_adapter(model, folder.name, folder)
    assert model.runner.name == "compiled"
    names = ["a", None, "b", "a"]
    together = model.generate_batch(texts, max_new_tokens=8, adapter=names)
    for text, name, answer in zip(texts, names, together, strict=True):
        by_itself = model.generate(text, max_new_tokens=8, adapter=name)
        assert answer.tokens == by_itself.tokens and answer.logprobs == by_itself.logprobs
    assert (
        len({tuple(model.generate(texts[0], max_new_tokens=8, adapter=name).logprobs) for name in ("a", "b", None)})
        == 3
    )


@pytest.mark.parametrize("part", ["latent_norm", "query_down_norm"])
@torch.no_grad()
def test_a_fault_shows(part: str):
    plain = tiny.network(**SHAPE).requires_grad_(False)
    plain.get_parameter(f"blocks.1.attention.{part}.weight")[5] = torch.nan
    states = compiled(plain, 8).hidden(tiny.text(1, 6), None, None)
    assert states.isnan().all()


@torch.no_grad()
def test_a_file_runs_in_its_own_bits_but_for_keys_and_values(tmp_path: Path):
    """Which are turned about, or dealt to heads, and get 8 bits."""
    experts = ExpertSettings(count=6, top_k=6, hidden_dim=32, shared_dim=64, normalised=False, layers=(1,))
    write(tmp_path / "m.gguf", tiny.network(**(SHAPE | IN_FILE), experts=experts), Kind.Q4_0, SAID)
    file = GGUFFile(tmp_path / "m.gguf")
    network = read_gguf_network(file, torch.float32, lambda config: is_multiplied).eval()
    for parameter in peeked(network).values():
        parameter.requires_grad_(False)
    assert unread_of(peek(network.blocks[0].attention.expand, "weight")) is not None
    engine = compiled(network, 8, StoredInGGUF(file, network.config))
    exact = dict(read_gguf_network(file, torch.float32).named_parameters())
    for name, matrix in engine.weights.matrices.items():
        if "expand" in name:
            assert matrix.form == "int8"
        else:
            assert torch.equal(unpacked(matrix), exact[name]) and matrix.form == "int4", name
    tokens = tiny.text(1, 60)
    assert apart(engine.hidden(tokens, None, None), network.hidden(tokens)) < 2 * ERROR


@torch.no_grad()
def test_an_adapter_that_does_nothing_changes_nothing_to_the_bit():
    network = tiny.network(**(SHAPE | {"family": "deepseek_v3"}))
    plain = compiled(copy.deepcopy(network).requires_grad_(False))
    fresh = compiled(add_lora(network, LoRAConfig(rank=8)).requires_grad_(False))  # U is zero
    tokens = tiny.text(1, 50)
    assert torch.equal(fresh.hidden(tokens, None, None), plain.hidden(tokens, None, None))


@torch.no_grad()
def test_beside_weights_of_16_bits_what_heads_read_has_8():
    """Steps leave floats for the matrices that want them; those with numbers of each head's own read 8 bits."""
    network, tokens = tiny.network(**SHAPE).requires_grad_(False), tiny.text(2, 90)
    for weight in network.parameters():
        weight.copy_(weight.bfloat16())
    engine = compiled(network, 16)
    bits = {name: one.bits for name, one in engine.weights.matrices.items()}
    assert {of for name, of in bits.items() if ".expand." in name} == {8}
    assert {of for name, of in bits.items() if ".expand." not in name} == {16}
    exact = network.hidden(tokens)
    lost, lost_in_8 = (
        float((one.hidden(tokens, None, None) - exact).std(-1).median() / exact.std())
        for one in (engine, compiled(network, 8))
    )
    assert lost < 0.8 * lost_in_8
