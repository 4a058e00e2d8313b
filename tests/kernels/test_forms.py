"""Matrices as GGUF files hold them, in the kernels: no weight is changed, and products are those of the gguf package's
weights with the inputs that were rounded to 8 bits."""

from __future__ import annotations

import random
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
from blocks import HALVES, Kind, random_blocks
from frames import Bench, address, numbers
from models.files.test_gguf import llama_cpp_tensors, said_of_experts

from lmworks.basics.errors import ModelError
from lmworks.kernels.frame import Field
from lmworks.kernels.operations.embed import embed_step
from lmworks.kernels.operations.matrix import multiply
from lmworks.kernels.packing import bits_of, pack, unpacked
from lmworks.models.files.gguf import read_gguf_network
from lmworks.models.files.gguf_blocks import stored_groups
from lmworks.models.files.gguf_config import gguf_config
from lmworks.models.files.gguf_file import GGUFFile
from lmworks.models.files.gguf_groups import StoredInGGUF
from lmworks.models.files.quantise import Groups

OFTEN = {Kind.Q4_K, Kind.Q6_K, Kind.IQ4_XS}
"""A kind for each way to read scales and codes; each of the others takes seconds to compile."""
KINDS = [kind if kind in OFTEN else pytest.param(kind, marks=pytest.mark.slow) for kind in HALVES]
ROWS, COLUMNS = 50, 512


def matrix(kind: Kind) -> tuple[Groups, torch.Tensor]:
    """Random groups of a kind, and the gguf package's weights."""
    data = random_blocks(kind, ROWS, COLUMNS)
    groups = stored_groups(torch.from_numpy(data), kind)
    assert groups is not None
    return groups, torch.from_numpy(gguf.dequantize(data, kind))


@pytest.mark.parametrize("kind", HALVES, ids=lambda kind: kind.name)
def test_packed_weights_are_those_of_the_file(kind: Kind):
    groups, weights = matrix(kind)
    packed = pack(groups, bits_of(groups))
    assert torch.equal(unpacked(packed), weights)
    size, block = gguf.GGML_QUANT_SIZES[kind]
    in_file = 64 * COLUMNS // size * block
    assert packed.data.nbytes <= 1.2 * in_file


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_products(kind: Kind):
    groups, weights = matrix(kind)
    outliers = 0, 3, 17, 31, 100, 255, 256, 511
    packed = pack(groups, bits_of(groups), outliers)
    for tokens in (1, 2, 3, 4, 8, 31, 85):
        bench, output = Bench(tokens, COLUMNS), numbers(tokens, 64, seed=2)
        x, before = numbers(tokens, COLUMNS, seed=1), output.clone()
        x[:, list(outliers)] *= 50
        x = bench.quantise(x, outliers)
        bench.run(multiply(packed, address(output), 256, adds=True))
        expected = F.linear(x.double(), weights.double()) + before[:, :ROWS]
        assert (output[:, :ROWS] - expected).abs().max() < 2e-6 * expected.abs().max()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_product_does_not_depend_on_how_many_tokens_there_are_to_the_bit(kind: Kind):
    packed, x, found = pack(matrix(kind)[0], bits_of(matrix(kind)[0])), numbers(85, COLUMNS, seed=1), []
    for tokens in (1, 8, 15, 16, 24, 64, 85):
        bench, output = Bench(tokens, COLUMNS), torch.zeros(tokens, 64)
        bench.quantise(x[:tokens].clone())
        bench.run(multiply(packed, address(output), 256))
        found.append(output)
    for output in found:
        assert torch.equal(output, found[-1][: len(output)])


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_embeddings_are_the_weights_to_the_bit(kind: Kind):
    groups, weights = matrix(kind)
    bench, ids, stream = Bench(3, COLUMNS), np.array([0, 17, 49]), torch.zeros(3, COLUMNS)
    bench.put(Field.IDS, ids)
    bench.put(Field.STREAM, stream)
    packed = pack(groups, bits_of(groups))
    bench.run(embed_step(packed, 2.0))
    assert torch.equal(stream, 2 * weights[ids])


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_largest_numbers_do_not_overflow(kind: Kind):
    """Codes of all ones and of all zeros, times values of 127."""
    for code in (0xFF, 0):
        data = np.full_like(random_blocks(kind, 16, 256), code)
        size = gguf.GGML_QUANT_SIZES[kind][1]
        for place in HALVES[kind]:
            data.reshape(-1, size)[:, place : place + 2] = np.array([1.0], np.float16).view(np.uint8)
        if kind == Kind.MXFP4:
            data.reshape(-1, size)[:, 0] = 127
        groups = stored_groups(torch.from_numpy(data), kind)
        assert groups is not None
        packed = pack(groups, bits_of(groups))
        for tokens in (1, 16):
            bench, output = Bench(tokens, 256), torch.zeros(tokens, 16)
            x = bench.quantise(torch.full((tokens, 256), -2.0))
            bench.run(multiply(packed, address(output), 64))
            expected = F.linear(x.double(), torch.from_numpy(gguf.dequantize(data, kind)).double())
            torch.testing.assert_close(output.double(), expected, rtol=1e-5, atol=1e-4)


def mixed_file(path: Path, **settings: Any) -> Path:
    """A llama file with kinds mixed as llama-quantize does, or with these settings one of Mixtral."""
    small = {"dim": 256, "hidden_dim": 512, "heads": 4, "kv_heads": 2, "layers": 2, "vocab_size": 96}
    network = tiny.network(**(small | settings))
    writer = gguf.GGUFWriter(path, "llama")
    for key, value in (("block_count", 2), ("context_length", 64), ("embedding_length", 256)):
        writer.add_uint32(f"llama.{key}", value)
    for key, value in (("feed_forward_length", 512), ("attention.head_count", 4), ("attention.head_count_kv", 2)):
        writer.add_uint32(f"llama.{key}", value)
    for key, value in said_of_experts(network.config).items():
        writer.add_uint32(f"llama.{key}", value)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    for number, (name, weight) in enumerate(llama_cpp_tensors(network).items()):
        if weight.ndim == 1 or "gate_inp" in name:
            writer.add_tensor(name, np.ones_like(weight) if weight.ndim == 1 else weight)
            continue
        kind = Kind.Q6_K if "attn_v" in name or "ffn_down" in name or "embd" in name else Kind.Q4_K
        data = random_blocks(kind, weight.size // weight.shape[-1], weight.shape[-1], seed=number)
        size = gguf.GGML_QUANT_SIZES[kind][1]
        for place in HALVES[kind]:  # small enough for a network
            data.reshape(-1, size)[:, place : place + 2] = np.array([2e-4], np.float16).view(np.uint8)
        writer.add_tensor(name, data.reshape(*weight.shape[:-1], -1), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@torch.no_grad()
def test_a_network_whose_joined_matrices_are_of_several_kinds(tmp_path: Path):
    """Query and key in Q4_K, value in Q6_K: one matrix here, and two steps."""
    file = GGUFFile(mixed_file(tmp_path / "m.gguf"))
    network = read_gguf_network(file, torch.float32).requires_grad_(False)
    engine = compiled(network, 8, StoredInGGUF(file, network.config))
    for name, weight in network.named_parameters():
        if name in engine.weights.matrices:
            assert torch.equal(unpacked(engine.weights.matrices[name]), weight), name
    qkv = engine.weights.matrices["blocks.0.attention.qkv.weight"]
    assert [(part.form, part.rows) for part in qkv.every] == [("q4_k", 384), ("q6_k", 128)]
    tokens = torch.randint(0, 96, (2, 20), generator=torch.Generator().manual_seed(0))
    exact = network.hidden(tokens)
    of_file, of_8_bits = (
        (one.hidden(tokens, None, None) - exact).std(-1).median() for one in (engine, compiled(network, 8))
    )
    assert of_file < of_8_bits < 0.01


@torch.no_grad()
def test_damaged_files_give_weights_or_one_sentence(tmp_path: Path):
    whole, draws = mixed_file(tmp_path / "m.gguf").read_bytes(), random.Random(0)
    header = GGUFFile(tmp_path / "m.gguf").tensors["token_embd.weight"].offset
    path = tmp_path / "damaged.gguf"
    for number in range(200):
        data = bytearray(whole[: draws.randrange(len(whole))] if number < 100 else whole)
        if number >= 100:
            data[draws.randrange(header if number % 2 else len(data))] ^= 1 << draws.randrange(8)
        path.write_bytes(data)
        try:
            file = GGUFFile(path)
            stored = StoredInGGUF(file, gguf_config(file))
            for rows in stored.alike("blocks.0.attention.qkv.weight") or []:
                pack(stored.groups("blocks.0.attention.qkv.weight", rows), 8)
        except ModelError as error:
            assert "\n" not in str(error)
