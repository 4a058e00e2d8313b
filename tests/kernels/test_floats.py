"""Weights that are floats of 16 bits, in the kernels: none is changed, and products are those of float32 numbers, which
are rounded to bfloat16 where the processor's tiles multiply them."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("numba")

from lmworks.kernels import compiled, unavailable

if unavailable() is not None:
    pytest.skip(str(unavailable()), allow_module_level=True)

import tiny
from frames import Bench, address, numbers
from models.files.test_gguf import write

import lmworks as lm
from lmworks.adaptation.lora import LoRALinear, Projection, lora_layers
from lmworks.basics.errors import ModelError
from lmworks.kernels.emit.instructions import chosen
from lmworks.kernels.footprint import Footprint
from lmworks.kernels.frame import Field
from lmworks.kernels.operations.embed import embed_step
from lmworks.kernels.operations.matrix import multiply
from lmworks.kernels.operations.quantise import quantise_step
from lmworks.kernels.packed import Packed
from lmworks.kernels.packing import bits_of, pack, unpacked
from lmworks.kernels.runner import CompiledRunner
from lmworks.models.files.gguf_blocks import stored_groups
from lmworks.models.files.gguf_config import gguf_config
from lmworks.models.files.gguf_file import GGUFFile
from lmworks.models.files.gguf_groups import StoredInGGUF
from lmworks.models.files.quantise import Groups
from lmworks.models.linear import Linear
from lmworks.models.network import Network

Kind = gguf.GGMLQuantizationType
KINDS = [Kind.BF16, pytest.param(Kind.F16, marks=pytest.mark.slow)]
ROWS, COLUMNS = 50, 96
WIDE: dict[str, Any] = {"dim": 64, "hidden_dim": 96, "heads": 4, "kv_heads": 2}
LOSS = 0.02 if chosen().name == "amx" else 2e-3
"""Of a hidden state: what rounding values to bfloat16 for tiles leaves, and keys and values in 16 bits."""


def matrix(kind: Kind) -> tuple[Packed, torch.Tensor]:
    """A packed matrix of a kind, and the gguf package's weights."""
    data = gguf.quantize(numbers(ROWS, COLUMNS, seed=3, scale=0.1).numpy(), kind).view(np.uint8)
    groups = stored_groups(torch.from_numpy(data), kind)
    assert groups is not None and bits_of(groups) == 16
    packed = replace(pack(groups, 16), values_in_floats=True)
    return packed, torch.from_numpy(gguf.dequantize(data.view(np.uint8), kind).reshape(ROWS, COLUMNS))


def multiplied(packed: Packed, x: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
    """Add the products of numbers with a matrix to an output; returns what the numbers stood for."""
    bench = Bench(len(x), COLUMNS, in_floats=True)
    bench.run(quantise_step(packed, address(x), COLUMNS * 4), multiply(packed, address(output), 256, adds=True))
    return bench.read_floats()


@pytest.mark.parametrize("kind", [Kind.BF16, Kind.F16], ids=lambda kind: kind.name)
def test_packed_weights_are_those_of_the_file_in_its_size(kind: Kind):
    packed, weights = matrix(kind)
    assert torch.equal(unpacked(packed), weights)
    assert packed.data.nbytes == 2 * 64 * COLUMNS


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_products(kind: Kind):
    packed, weights = matrix(kind)
    for tokens in (1, 2, 3, 4, 8, 31, 101):
        x, output = numbers(tokens, COLUMNS, seed=1), numbers(tokens, 64, seed=2)
        before = output.clone()
        read = multiplied(packed, x, output)
        assert torch.equal(read, x.bfloat16().float() if chosen().name == "amx" else x)
        expected = F.linear(read.double(), weights.double()) + before[:, :ROWS]
        assert (output[:, :ROWS] - expected).abs().max() < 2e-6 * expected.abs().max()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_product_does_not_depend_on_how_many_tokens_there_are_to_the_bit(kind: Kind):
    packed, x, found = matrix(kind)[0], numbers(101, COLUMNS, seed=1), []
    for tokens in (1, 2, 3, 8, 15, 16, 40, 64, 101):
        output = torch.zeros(tokens, 64)
        multiplied(packed, x[:tokens].clone(), output)
        found.append(output)
    for output in found:
        assert torch.equal(output, found[-1][: len(output)])


@pytest.mark.parametrize("rows", [16, 32, 80, 112])
@pytest.mark.parametrize("adds", [False, True], ids=["put", "added"])
def test_blocks_of_rows_side_by_side_give_what_each_gives_by_itself_to_the_bit(rows: int, adds: bool):
    """One, two, four and more blocks, up to 32 tokens at once, in one part and in two: as a single token has it."""
    weights, bias = numbers(rows, COLUMNS, seed=3, scale=0.1).bfloat16(), numbers(rows, seed=4)
    packed = replace(pack(Groups(weights, torch.ones(rows, 1), form="bf16"), 16), values_in_floats=True)
    x, before = numbers(300, COLUMNS, seed=1), numbers(300, rows, seed=2)

    def multiplied_by(tokens: int) -> torch.Tensor:
        output, bench = before[:tokens].clone(), Bench(tokens, COLUMNS, in_floats=True)
        step = multiply(packed, address(output), 4 * rows, bias=address(bias), adds=adds)
        bench.run(quantise_step(packed, address(x), COLUMNS * 4), step)
        return output

    whole = multiplied_by(300)
    for tokens in (1, 4, 16, 17, 31, 32, 48, 63, 256, 257, 287):
        assert torch.equal(multiplied_by(tokens), whole[:tokens]), tokens
    read = x.bfloat16().double() if chosen().name == "amx" else x.double()
    expected = F.linear(read, weights.double(), bias.double()) + (before if adds else 0)
    assert (whole - expected).abs().max() < 2e-6 * expected.abs().max()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_embeddings_are_the_weights_to_the_bit(kind: Kind):
    packed, weights = matrix(kind)
    bench, ids, stream = Bench(3, COLUMNS, in_floats=True), np.array([0, 17, 49]), torch.zeros(3, COLUMNS)
    bench.put(Field.IDS, ids)
    bench.put(Field.STREAM, stream)
    bench.run(embed_step(packed, 2.0))
    assert torch.equal(stream, 2 * weights[ids])


def rounded(**settings: Any) -> Network:
    """A small network whose weights are bfloat16 numbers."""
    network = tiny.network(**(WIDE | settings)).requires_grad_(False)
    for weight in network.parameters():
        weight.copy_(weight.bfloat16())
    return network


EXPERTS: dict[str, Any] = {"family": "mixtral", "experts": {"count": 4, "top_k": 2}, "tied": False}


@pytest.mark.parametrize("settings", [{}, EXPERTS, {"norm_place": "result"}], ids=["dense", "experts", "result"])
@torch.no_grad()
def test_a_network_in_16_bits_is_the_network(settings: dict[str, Any]):
    network, tokens = rounded(**settings), tiny.text(2, 40)
    engine, in_8 = compiled(network, 16), compiled(network, 8)
    for name, packed in engine.weights.matrices.items():
        assert torch.equal(unpacked(packed), network.state_dict()[name]), name
    exact = network.hidden(tokens)
    lost, lost_in_8 = (
        (one.hidden(tokens, None, None) - exact).std(-1).median() / exact.std() for one in (engine, in_8)
    )
    assert lost < LOSS and lost < 0.6 * lost_in_8


class Mixed:
    """A file that holds of each matrix 32 rows in Q8_0, and then others in BF16."""

    def __init__(self, weights: dict[str, torch.Tensor]) -> None:
        self.weights = weights

    def alike(self, name: str) -> list[slice]:
        rows = len(self.weights[name])
        return [slice(0, 32), *([slice(32, rows)] if rows > 32 else [])]

    def groups(self, name: str, rows: slice) -> Groups:
        part, kind = self.weights[name][rows], Kind.Q8_0 if rows.stop <= 32 else Kind.BF16
        found = stored_groups(torch.from_numpy(gguf.quantize(part.numpy(), kind).view(np.uint8)), kind)
        assert found is not None
        return found

    def bits(self, name: str) -> int:
        return 16

    def floats(self, name: str) -> None:
        return None

    def let_go(self) -> None:
        pass

    bytes = 0


@torch.no_grad()
def test_parts_of_a_matrix_may_be_floats_and_others_few_bits():
    """Two steps that read one token's values in both forms; the embedding has only one, and so has the head."""
    network = tiny.network(**WIDE, vocab_size=32).requires_grad_(False)
    engine = compiled(network, 16, Mixed(network.state_dict()))
    qkv = engine.weights.matrices["blocks.0.attention.qkv.weight"]
    assert [(part.form, part.rows) for part in qkv.every] == [("int8", 32), ("bf16", 96)]
    tokens = torch.randint(0, 32, (2, 40), generator=torch.Generator().manual_seed(0))
    exact = network.hidden(tokens)
    assert (engine.hidden(tokens, None, None) - exact).std() < 0.05 * exact.std()


class DecoderInFloats(Mixed):
    """A file that holds an encoder and what reads its states in Q8_0, and the decoder's own matrices in BF16."""

    def alike(self, name: str) -> list[slice]:
        return [slice(0, len(self.weights[name]))]

    def groups(self, name: str, rows: slice) -> Groups:
        kind = Kind.BF16 if self.bits(name) == 16 else Kind.Q8_0
        part = self.weights[name][rows].float().numpy()
        found = stored_groups(torch.from_numpy(gguf.quantize(part, kind).view(np.uint8)), kind)
        assert found is not None
        return found

    def bits(self, name: str) -> int:
        return 8 if name.startswith(("encoder.", "embedding", "head")) or "cross_attention.kv" in name else 16


@torch.no_grad()
def test_an_encoder_has_room_for_floats_that_its_decoder_wants():
    network = tiny.network(**(WIDE | {"kv_heads": 4, "arrangement": "encoder-decoder"})).requires_grad_(False)
    engine = compiled(network, 16, DecoderInFloats(network.state_dict()))
    assert engine.weights.encoder is not None and engine.weights.encoder.in_floats
    source = tiny.text(1, 100)
    exact = network.encode(source).states
    found = engine.encoder.hidden(source, torch.ones_like(source, dtype=torch.bool), None)
    assert (found - exact).std() < 0.08 * exact.std()


def written(path: Path, kind: Kind, **kinds: Kind) -> Path:
    """A small model whose matrices have this kind, but for the second layer's that are named."""
    from jobs.small_files import language_model

    from lmworks.models.files.gguf_vocabulary_writing import vocabulary_entries

    model = language_model("llama")
    entries = vocabulary_entries(model.tokenizer, model.config.vocab_size)
    others = {f"blk.1.{name}.weight": one for name, one in kinds.items()}
    write(path, model.network, kind, {key: one for key, one in entries.items() if not key.endswith("x")}, kinds=others)
    return path


@pytest.fixture(scope="module")
def bf16_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("files") / "model.gguf", Kind.BF16)


def test_a_file_in_bfloat16_runs_as_it_is_stored(bf16_file: Path):
    model, found = lm.load(bf16_file), Footprint.of(bf16_file)
    assert isinstance(model.runner, CompiledRunner) and model.runner.bits == 16
    weights = model.runner.compiled.weights
    assert {part.form for one in weights.matrices.values() for part in one.every} == {"bf16"}
    assert found.few_bits is not None and found.few_bits == pytest.approx(weights.bytes, rel=0.1)
    assert found.bytes("bf16") == pytest.approx(weights.bytes, rel=0.1)
    ids = [[1, 2, 3, 4, 5, 6]]
    exact = lm.load(bf16_file, dtype="float32").logits(ids)
    assert (model.logits(ids) - exact).std() < LOSS * exact.std()
    assert lm.load(bf16_file, compress="none").runner.name == "PyTorch"
    assert {one.form for one in lm.load(bf16_file, compress="int8").runner.compiled.weights.matrices.values()} == {
        "int8"
    }


@pytest.mark.parametrize("kind", [Kind.BF16, Kind.Q8_0], ids=lambda kind: kind.name)
def test_a_matrix_in_32_bits_among_others_gets_16(kind: Kind, tmp_path: Path):
    path = written(tmp_path / "m.gguf", kind, ffn_down=Kind.F32, attn_v=Kind.F32)
    model, exact = lm.load(path), lm.load(path, dtype="float32")
    assert isinstance(model.runner, CompiledRunner)
    matrices, weights = model.runner.compiled.weights.matrices, exact.network.state_dict()
    for name in ("blocks.1.feed_forward.down.weight", "blocks.1.attention.qkv.weight"):
        assert {one.form for one in matrices[name].every} == {"bf16"}
        assert torch.equal(unpacked(matrices[name]), weights[name].bfloat16().float())
    others = {one.form for one in matrices["blocks.0.feed_forward.down.weight"].every}
    assert others == {"bf16" if kind == Kind.BF16 else "int8"}
    found, wanted = (one.logits([[1, 2, 3, 4, 5, 6]]) for one in (model, exact))
    assert (found - wanted).std() < (LOSS if kind == Kind.BF16 else 0.02) * wanted.std()


def test_a_directory_runs_in_bfloat16_where_it_is_asked(bf16_file: Path, tmp_path: Path):
    model = lm.load(bf16_file, dtype="bfloat16")
    folder = model.save(tmp_path / "model")
    asked = lm.load(folder, compress="bf16")
    assert isinstance(asked.runner, CompiledRunner)
    of_file = lm.load(bf16_file)
    assert isinstance(of_file.runner, CompiledRunner)
    for name, packed in of_file.runner.compiled.weights.matrices.items():
        assert np.array_equal(asked.runner.compiled.weights.matrices[name].data, packed.data), name
    assert lm.load(folder).runner.name == "PyTorch"


def adapted(network: Network) -> Network:
    """The network with an adapter, of both stacks where there are two."""
    for path, base in list(network.named_modules()):
        if isinstance(base, Linear):
            network.set_submodule(path, LoRALinear(base, [Projection(path, slice(0, base.out_features))], 4, 1.0))
    for layer in lora_layers(network).values():
        for one in layer.trained():
            one.copy_(0.1 * torch.randn(one.shape, generator=torch.Generator().manual_seed(1)))
    return network.requires_grad_(False)


@pytest.mark.parametrize(
    "settings", [{}, {"kv_heads": 4, "arrangement": "encoder-decoder"}], ids=["decoder", "both stacks"]
)
@torch.no_grad()
def test_an_adapter_that_comes_later_finds_its_values_in_8_bits(settings: dict[str, Any]):
    network, tokens = rounded(**settings), tiny.text(2, 40)
    engine = compiled(network, 16)

    def states(one: Any) -> torch.Tensor:
        if network.encoder is None:
            return one.hidden(tokens, None, None)
        return one.hidden(tokens, None, one.new_cache(2, memory=one.encode(tokens.numpy(), None)))

    before = states(engine)
    assert engine.weights.kept_floats == -1, "nobody reads what is in 8 bits"
    engine.take_adapters(adapted(network))
    found = states(engine)
    assert not torch.equal(found, before)
    expected = compiled(network, 16)
    assert torch.equal(found, states(expected))
    if engine.encoder is not None and expected.encoder is not None:
        of_source, wanted = (one.encoder.hidden(tokens, None, None) for one in (engine, expected))
        assert torch.equal(of_source, wanted)


@torch.no_grad()
def test_adapters_beside_weights_in_16_bits():
    network = adapted(rounded())
    tokens = tiny.text(2, 40)
    exact = network.hidden(tokens)
    assert (compiled(network, 16).hidden(tokens, None, None) - exact).std() < 0.03 * exact.std()


def test_weights_that_are_not_finite_are_named(bf16_file: Path, tmp_path: Path):
    data = bytearray(bf16_file.read_bytes())
    place = GGUFFile(bf16_file).tensors["blk.1.ffn_down.weight"].offset
    data[place : place + 2] = b"\xc0\x7f"
    (tmp_path / "m.gguf").write_bytes(data)
    with pytest.raises(ModelError, match=r"m\.gguf: .*down\.weight holds values that are not finite"):
        lm.load(tmp_path / "m.gguf")


def test_damaged_files_give_weights_or_one_sentence(bf16_file: Path, tmp_path: Path):
    whole, draws, path = bf16_file.read_bytes(), random.Random(0), tmp_path / "damaged.gguf"
    for number in range(200):
        data = bytearray(whole[: draws.randrange(len(whole))] if number < 100 else whole)
        if number >= 100:
            data[draws.randrange(len(data))] ^= 1 << draws.randrange(8)
        path.write_bytes(data)
        try:
            file = GGUFFile(path)
            stored = StoredInGGUF(file, gguf_config(file))
            for rows in stored.alike("blocks.0.attention.qkv.weight") or []:
                pack(stored.groups("blocks.0.attention.qkv.weight", rows), 16)
        except ModelError as error:
            assert "\n" not in str(error)
