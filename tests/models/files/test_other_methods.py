"""Directories that GPTQ, AWQ and FP8 made, written here as their packages lay them out."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from frames import numbers
from safetensors.torch import load_file, save_file
from torch import Tensor

from lmworks.basics.errors import ModelError
from lmworks.kernels import unavailable
from lmworks.kernels.choice import foreseen
from lmworks.kernels.footprint import Footprint
from lmworks.kernels.packer import Packer
from lmworks.kernels.packing import pack, unpacked
from lmworks.kernels.run.weights import is_multiplied
from lmworks.loading import facts_of
from lmworks.models.files.bitsandbytes import without_bitsandbytes
from lmworks.models.files.compressed import Compression, decompressed
from lmworks.models.files.compressed_groups import StoredInDirectory
from lmworks.models.files.directory import read_network, write_network
from lmworks.models.files.model_folder import NO_GROUPS, read_config, runs_as_stored
from lmworks.models.files.other_methods import UNPACKED, other_method
from lmworks.models.files.safetensors_header import described
from lmworks.models.unread import peek, unread_of

WIDE: dict[str, Any] = {"dim": 128, "hidden_dim": 256, "heads": 4, "kv_heads": 2, "layers": 1}
SAID: dict[str, dict[str, Any]] = {
    "gptq": {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": False},
    "gptq in another order": {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": True, "sym": False},
    "gptq_v2": {"quant_method": "gptq", "bits": 4, "group_size": 128, "checkpoint_format": "gptq_v2"},
    "awq": {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"},
    "fp8": {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]},
    **{method: {"quant_method": "bitsandbytes"} for method in ("nf4", "fp4", "nf4 in one step", "int8")},
}
ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
"""AutoAWQ's order_map: the place in a word is of this output."""


def packed(values: Tensor, order: Any = range(8)) -> Tensor:
    """Eight neighbouring columns in a word of int32."""
    eight = values.view(len(values), -1, 8).long()
    words = sum(eight[..., column] << 4 * place for place, column in enumerate(order))
    return torch.where(words >= 2**31, words - 2**32, words).to(torch.int32)


def stored(
    base: str, weight: Tensor, method: str, size: int = 128, middle: bool = False
) -> tuple[dict[str, Tensor], Tensor]:
    """A matrix as a method stores it, and what it stands for; zero points may all be the `middle`, 8."""
    out, inputs = weight.shape
    if method == "fp8":
        blocks = weight.unfold(0, min(128, out), min(128, out)).unfold(1, 128, 128).abs().amax((-1, -2)) / 400
        whole = blocks.repeat_interleave(min(128, out), 0).repeat_interleave(128, 1)
        small = (weight / whole).to(torch.float8_e4m3fn)
        return {f"{base}.weight": small, f"{base}.weight_scale_inv": blocks}, small.float() * whole
    order = torch.randperm(inputs) if "order" in method else torch.arange(inputs)
    grouped = weight[:, order].view(out, -1, size)
    low = grouped.amin(-1)
    scale = ((grouped.amax(-1) - low) / 15).half()
    if middle:
        scale = (grouped.abs().amax(-1) / 7).half()
    zero = torch.full_like(low, 8) if middle else (-low / scale.float()).round().clamp(1, 15)
    codes = ((grouped / scale.float()[..., None]).round() + zero[..., None]).clamp(0, 15)
    group_of = torch.empty(inputs, dtype=torch.int32)
    group_of[order] = torch.arange(inputs, dtype=torch.int32) // size
    codes = torch.empty(out, inputs).index_copy_(1, order, codes.reshape(out, inputs))
    expected = (codes - zero[:, group_of.long()]) * scale.float()[:, group_of.long()]
    codes, less = codes.T.contiguous(), 1 if method.startswith("gptq") and method != "gptq_v2" else 0
    words = packed(codes, ORDER) if method == "awq" else packed(codes.T.contiguous()).T.contiguous()
    zeros = packed(zero.T.contiguous() - less, ORDER if method == "awq" else range(8))
    parts = {"qweight": words, "qzeros": zeros, "scales": scale.T.contiguous()}
    if method.startswith("gptq") and method != "gptq_v2":
        parts["g_idx"] = group_of
    return {f"{base}.{name}": tensor for name, tensor in parts.items()}, expected


def stored_by_bitsandbytes(base: str, weight: Tensor, method: str) -> tuple[dict[str, Tensor], Tensor]:
    """The same by the package itself."""
    import bitsandbytes.functional as bnb

    if method == "int8":
        codes, rows, _ = bnb.int8_vectorwise_quant(weight.half())
        return {f"{base}.weight": codes, f"{base}.SCB": rows}, bnb.int8_vectorwise_dequant(codes, rows)
    codes, state = bnb.quantize_4bit(
        weight.bfloat16(), blocksize=64, compress_statistics="step" not in method, quant_type=method[:3]
    )
    parts = {f"{base}.weight.{name}": tensor.clone() for name, tensor in state.as_dict(packed=True).items()}
    return {f"{base}.weight": codes, **parts}, bnb.dequantize_4bit(codes, state).float()


def written(folder: Path, method: str, size: int = 128, middle: bool = False) -> dict[str, Tensor]:
    """A directory; returns what its matrices stand for."""
    folder.mkdir()
    write_network(folder, tiny.network(seed=5, **WIDE))
    tensors, expected = load_file(folder / "model.safetensors"), {}
    for name in [name for name in tensors if "proj" in name]:
        store = stored_by_bitsandbytes if SAID[method]["quant_method"] == "bitsandbytes" else stored
        more = (size, middle) if store is stored else ()
        parts, expected[name] = store(name.removesuffix(".weight"), tensors.pop(name), method, *more)
        tensors |= parts
    save_file(tensors, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps(config | {"quantization_config": SAID[method] | ({"sym": True} if middle else {})})
    )
    return expected


@pytest.mark.parametrize(
    "method, size",
    [
        *(("gptq", 128), ("gptq", 32), ("gptq_v2", 128), ("awq", 128), ("awq", 64), ("fp8", 0)),
        *(("gptq in another order", 128), ("gptq in another order", 32)),
        *(("nf4", 0), ("fp4", 0), ("nf4 in one step", 0), ("int8", 0)),
    ],
)
def test_weights_are_those_that_the_method_stands_for(method: str, size: int, tmp_path: Path):
    expected = written(tmp_path / "m", method, size)
    network = read_network(tmp_path / "m", torch.float32)
    down = network.blocks[0].feed_forward.down.weight
    assert torch.equal(down, expected["model.layers.0.mlp.down_proj.weight"])
    joined = [expected[f"model.layers.0.self_attn.{one}_proj.weight"] for one in "qkv"]
    assert torch.equal(network.blocks[0].attention.qkv.weight, torch.cat(joined))


@pytest.mark.parametrize("method", ["gptq", "awq"])
def test_groups_of_128_run_as_they_are(method: str, tmp_path: Path):
    expected = written(tmp_path / "m", method)
    held = StoredInDirectory.of(tmp_path / "m", read_config(tmp_path / "m"))
    name = "blocks.0.feed_forward.down.weight"
    assert held is not None and held.alike(name) == [slice(0, 128)] and held.alike("embedding.weight") is None
    groups = held.groups(name, slice(0, 128))
    assert groups.form == "int4_128"
    assert torch.equal(unpacked(pack(groups, 4)), expected["model.layers.0.mlp.down_proj.weight"])


@pytest.mark.parametrize(
    "method, size, middle, form",
    [
        *(("gptq", 32, True, "int4"), ("gptq_v2", 64, True, "int4"), ("awq", 64, True, "int4")),
        *(("gptq", 64, False, "int5"), ("awq", 32, False, "int5"), ("awq", 128, False, "int4_128")),
    ],
)
def test_every_group_runs_as_it_is_and_takes_what_was_foreseen(
    method: str, size: int, middle: bool, form: str, tmp_path: Path
):
    expected = written(tmp_path / "m", method, size, middle)
    config = read_config(tmp_path / "m")
    held = StoredInDirectory.of(tmp_path / "m", config)
    network = read_network(tmp_path / "m", torch.float32, lambda _: is_multiplied)
    matrices = Packer(network, 16, held).matrices()
    down, qkv = (matrices[f"blocks.0.{name}.weight"] for name in ("feed_forward.down", "attention.qkv"))
    assert down.form == qkv.form == form
    assert torch.equal(unpacked(down), expected["model.layers.0.mlp.down_proj.weight"])
    joined = [expected[f"model.layers.0.self_attn.{one}_proj.weight"] for one in "qkv"]
    assert torch.equal(unpacked(qkv), torch.cat(joined))
    found = Footprint.of(tmp_path / "m")
    assert found.few_bits == pytest.approx(sum(one.data.nbytes for one in matrices.values()), rel=0.02)
    assert foreseen(config, found.few_bits, 1, found.rounded).how == "compiled, in the bits of its file"


def test_a_minimum_that_float16_does_not_hold_takes_five_bits_and_none_is_rounded():
    parts, expected = stored("x", numbers(16, 128), "awq", 32)
    method = other_method(SAID["awq"])
    assert method is not None
    groups = method.groups(["x"], parts)
    assert groups is not None and groups.form == "int5" and groups.least is None
    assert torch.equal(unpacked(pack(groups, 5)), expected)
    parts["x.scales"][0, 0] = 60000  # times 16 it would be infinite
    assert method.groups(["x"], parts) is None
    parts["x.scales"][0, 0], parts["x.qzeros"][:] = 8000, -0x77777778
    groups = method.groups(["x"], parts)
    assert groups is not None and not groups.form
    assert torch.equal(unpacked(pack(groups, 4)), groups.weights())


@pytest.mark.parametrize("method", SAID)
def test_matrices_stay_in_the_file_until_somebody_asks(method: str, tmp_path: Path):
    expected = written(tmp_path / "m", method)
    apart = decompressed(load_file(tmp_path / "m" / "model.safetensors"), SAID[method], later=True)
    assert all(unread_of(apart[name]) is not None for name in expected)
    network = read_network(tmp_path / "m", torch.float32, lambda _: is_multiplied)
    down, qkv = network.blocks[0].feed_forward.down, network.blocks[0].attention.qkv
    unread = unread_of(peek(down, "weight"))
    assert unread is not None and unread_of(peek(qkv, "weight")) is not None
    whole = expected["model.layers.0.mlp.down_proj.weight"]
    assert torch.equal(unread.rows(3, 21), whole[3:21])
    assert torch.equal(down.weight, whole)
    joined = [expected[f"model.layers.0.self_attn.{one}_proj.weight"] for one in "qkv"]
    assert torch.equal(qkv.weight, torch.cat(joined))


@pytest.mark.parametrize("held", [True, False])
def test_scales_that_float16_does_not_hold_are_foreseen_in_eight_bits(held: bool, tmp_path: Path):
    network = tiny.network(seed=5, **WIDE)
    write_network(tmp_path, network, compression=Compression(4, dtype=torch.bfloat16 if held else torch.float32))
    config, found = read_config(tmp_path), Footprint.of(tmp_path)
    matrices = Packer(network, 16, StoredInDirectory.of(tmp_path, config)).matrices()
    assert matrices["blocks.0.feed_forward.down.weight"].form == ("int4" if held else "int8")
    assert found.few_bits == pytest.approx(sum(one.data.nbytes for one in matrices.values()), rel=0.02)
    way = foreseen(config, found.few_bits, 1, found.rounded)
    assert way.compiled and way.how.startswith("compiled, in the bits of its file" if held else "compiled, in 8 bits")


@pytest.mark.parametrize(
    "said, words",
    [
        (SAID["gptq"] | {"bits": 3}, "gptq with bits = 3"),
        (SAID["awq"] | {"version": "gemv"}, "awq in the version 'gemv'"),
    ],
)
def test_what_is_not_read_is_one_sentence(said: dict[str, Any], words: str):
    with pytest.raises(ModelError, match=words):
        other_method(said)


def test_groups_of_inputs_in_another_order_are_the_formula_in_any_rows_and_rounded_to_eight_bits(tmp_path: Path):
    parts, expected = stored("x", numbers(24, 256), "gptq in another order", 64)
    method = other_method(SAID["gptq in another order"])
    assert method is not None and method.groups(["x"], parts) is None
    unread = method.matrix("x", parts).unread(torch.float32)
    assert torch.equal(unread.rows(5, 19), expected[5:19])
    expected = written(tmp_path / "m", "gptq in another order", 64)
    config, found = read_config(tmp_path / "m"), Footprint.of(tmp_path / "m")
    network = read_network(tmp_path / "m", torch.float32, lambda _: is_multiplied)
    matrices = Packer(network, 16, StoredInDirectory.of(tmp_path / "m", config)).matrices()
    down = matrices["blocks.0.feed_forward.down.weight"]
    whole = expected["model.layers.0.mlp.down_proj.weight"]
    assert down.form == "int8" and (unpacked(down) - whole).abs().max() < whole.abs().max() / 200
    assert found.few_bits == pytest.approx(sum(one.data.nbytes for one in matrices.values()), rel=0.02)
    way = foreseen(config, found.few_bits, 1, found.rounded)
    assert way.how.startswith("compiled, in 8 bits") or unavailable()


def test_groups_of_neighbours_run_as_they_are_whatever_order_is_said():
    parts, expected = stored("x", numbers(16, 256), "gptq")
    method = other_method(SAID["gptq in another order"])
    assert method is not None
    groups = method.groups(["x"], parts)
    assert groups is not None and torch.equal(unpacked(pack(groups, 4)), expected)


@pytest.mark.parametrize(
    "group_of, words",
    [
        (torch.zeros(255, dtype=torch.int32), r"a g_idx of shape \[255\] \(torch.int32\) for 256 inputs"),
        (torch.zeros(256), r"a g_idx of shape \[256\] \(torch.float32\)"),
        (torch.arange(256) // 64, "groups from 0 to 3 in its g_idx, and scales for 2"),
        (torch.arange(256) // 128 - 1, "groups from -1 to 0 in its g_idx"),
    ],
)
def test_groups_that_are_not_there_are_damage(group_of: Tensor, words: str):
    parts, _ = stored("x", numbers(16, 256), "gptq")
    method = other_method(SAID["gptq in another order"])
    assert method is not None
    with pytest.raises(ModelError, match=words):
        method.weights(parts | {"x.g_idx": group_of}, None)


@pytest.mark.parametrize("change", ["version", "groups"])
def test_what_is_not_read_is_said_ahead_in_the_words_of_the_refusal(change: str, tmp_path: Path):
    folder = tmp_path / "m"
    written(folder, "awq" if change == "version" else "gptq", 16 if change == "groups" else 128)
    tiny.byte_tokenizer().save(folder)
    assert change == "groups" or facts_of(folder).way.compiled or unavailable()
    config = json.loads((folder / "config.json").read_text())
    if change == "version":
        config["quantization_config"]["version"] = "exllama"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="which is not read here") as refusal:
        read_network(folder)
    way = facts_of(folder).way
    assert (way.compiled, way.how) == (False, f"refused: {refusal.value}")


@pytest.mark.parametrize("method", SAID)
def test_damaged_directories_give_a_network_or_one_sentence(method: str, tmp_path: Path):
    written(tmp_path / "m", method)
    file, draws = tmp_path / "m" / "model.safetensors", random.Random(0)
    whole = file.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    for number in range(200):
        data = bytearray(whole[: draws.randrange(len(whole))] if number < 100 else whole)
        if number >= 100:
            data[draws.randrange(header if number % 2 else len(data))] ^= 1 << draws.randrange(8)
        file.write_bytes(data)
        try:
            read_network(tmp_path / "m", torch.float32)
        except ModelError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"blocksize": 2**31}, "no usable shape, blocksize or dtype"),
        ({"shape": [2**40, 2**40]}, "other codes than those of a matrix"),
        ({"nested_offset": "x"}, "scales in 8 bits without all"),
    ],
)
def test_what_bitsandbytes_says_of_a_matrix_is_not_believed(change: dict[str, Any], words: str):
    parts, _ = stored_by_bitsandbytes("x", numbers(16, 256), "nf4")
    name = "x.weight.quant_state.bitsandbytes__nf4"
    said = json.loads(bytes(parts[name].tolist())) | change
    parts[name] = torch.tensor(list(json.dumps(said).encode()), dtype=torch.uint8)
    with pytest.raises(ModelError, match=words):
        without_bitsandbytes(parts, None)


def test_a_model_of_bitsandbytes_is_foreseen_in_pytorch(tmp_path: Path):
    written(tmp_path / "m", "nf4")
    written(tmp_path / "g", "gptq")
    assert Footprint.of(tmp_path / "m").few_bits is None and Footprint.of(tmp_path / "g").few_bits is not None
    assert StoredInDirectory.of(tmp_path / "m", read_config(tmp_path / "m")) is None


def test_what_is_no_groups_is_known_without_reading_it():
    assert set(UNPACKED) == NO_GROUPS


@pytest.mark.parametrize("said", ["4 bits", [], {}, {"config_groups": [1]}, {"config_groups": {"g": {"weights": [4]}}}])
def test_what_nobody_can_mean_is_foreseen_as_something_and_refused_where_it_is_read(said: Any, tmp_path: Path):
    write_network(tmp_path, tiny.network(seed=5, **WIDE), compression=Compression(4))
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"quantization_config": said}))
    assert Footprint.of(tmp_path).bytes() > 0
    with pytest.raises(ModelError, match="is not read here"):
        read_network(tmp_path)


@pytest.mark.parametrize("said", [{"quant_method": ["gptq"]}, {"quant_method": {}}, {"quant_method": 5}])
def test_a_method_that_is_no_name_is_none_of_these(said: dict[str, Any]):
    assert other_method(said) is None and runs_as_stored(said)


@pytest.mark.parametrize("form", ["gptq", "compressed-tensors"])
def test_scales_of_no_groups_are_foreseen_as_something_and_refused_where_they_are_read(form: str, tmp_path: Path):
    if form == "gptq":
        written(tmp_path / "m", form)
    else:
        (tmp_path / "m").mkdir()
        write_network(tmp_path / "m", tiny.network(seed=5, **WIDE), compression=Compression(4))
    file = tmp_path / "m" / "model.safetensors"
    none = torch.zeros(0, 128) if form == "gptq" else torch.zeros(128, 0)
    save_file({name: none if "scale" in name else one for name, one in load_file(file).items()}, file)
    assert Footprint.of(tmp_path / "m").bytes() > 0
    with pytest.raises(ModelError, match="has scales of shape"):
        read_network(tmp_path / "m")


@pytest.mark.parametrize("version", [5, True, [1], {"a": 1}])
def test_another_version_of_awq_is_refused_whatever_it_is(version: Any):
    with pytest.raises(ModelError, match="awq in the version"):
        other_method({"quant_method": "awq", "bits": 4, "version": version})


def test_an_empty_tensor_hides_no_others(tmp_path: Path):
    save_file({"empty": torch.zeros(0), "full": torch.zeros(2, 3)}, tmp_path / "a.safetensors")
    assert described(tmp_path / "a.safetensors")["full"].shape == (2, 3)


@pytest.mark.parametrize("method", SAID)
def test_what_is_read_later_is_what_is_read_at_once(method: str, tmp_path: Path):
    """Of a network of float32, too, whose matrices have a type of their own."""
    written(tmp_path / "m", method)
    tensors = load_file(tmp_path / "m" / "model.safetensors")
    float32 = {name: one.float() if "norm" in name or "embed" in name else one for name, one in tensors.items()}
    save_file(float32, tmp_path / "m" / "model.safetensors")
    once, later = read_network(tmp_path / "m"), read_network(tmp_path / "m", None, lambda _: is_multiplied)
    for name, one in once.state_dict().items():
        torch.testing.assert_close(later.state_dict()[name], one, rtol=0, atol=0, msg=name)
