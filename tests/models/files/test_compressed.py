"""Packed model directories: equal to compressed-tensors both ways, to transformers' loading, and refused where
damaged."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file

from lmworks.basics.errors import ConfigError, LmworksError, ModelError
from lmworks.kernels import unavailable
from lmworks.kernels.choice import foreseen
from lmworks.kernels.footprint import Footprint
from lmworks.kernels.packer import Packer
from lmworks.kernels.packing import unpacked
from lmworks.kernels.run.weights import is_multiplied
from lmworks.loading import facts_of
from lmworks.models.files.compressed import Compression, decompressed
from lmworks.models.files.compressed_groups import StoredInDirectory
from lmworks.models.files.directory import read_network, write_network
from lmworks.models.files.quantise import nearest
from lmworks.models.network import Network

Tensors = dict[str, torch.Tensor]
WIDE: dict[str, Any] = {"dim": 64, "hidden_dim": 96, "heads": 4, "kv_heads": 2}
NEOX: dict[str, Any] = {
    **{"family": "gpt_neox", "positions": "rope", "norm": "layer", "gated": False, "parallel": True, "kv_heads": 4},
    **{"qkv_bias": True, "output_bias": True, "feed_forward_bias": True, "activation": "gelu", "tied": False},
}
NAME = "model.layers.1.mlp.down_proj"


def written(folder: Path, compression: Compression, **settings: Any) -> Network:
    network = tiny.network(seed=5, **(WIDE | settings))
    folder.mkdir()
    write_network(folder, network, compression=compression)
    return network


@pytest.mark.parametrize("embedding_bits", [None, 8])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"tied": False, "qkv_bias": True, "output_bias": True},
        {"family": "qwen3", "qk_norm": True, "head_dim": 32},
        NEOX,
    ],
    ids=["llama", "llama with a head", "qwen3", "gpt_neox"],
)
def test_every_matrix_is_read_back_as_it_was_rounded(
    settings: dict[str, Any], bits: int, embedding_bits: int | None, tmp_path: Path
):
    network = written(tmp_path / "m", Compression(bits, embedding_bits, torch.float32), **settings)
    back = read_network(tmp_path / "m")
    assert back.config == network.config
    expected = network.state_dict()
    for name, weight in back.state_dict().items():
        matrix = "blocks." in name and weight.ndim == 2 and "norm" not in name
        number = bits if matrix else embedding_bits if name in ("embedding.weight", "head.weight") else None
        if number is None:
            assert torch.equal(weight, expected[name]), name
        elif settings.get("family") != "gpt_neox":  # its rows are in another order in the file, which changes no row
            assert torch.equal(weight, nearest(expected[name], number, torch.float32).weights()), name
        else:
            assert 0 < (weight - expected[name]).abs().max() < 0.1
    assert back.dtype == torch.float32 and read_network(tmp_path / "m", torch.bfloat16).dtype == torch.bfloat16


def test_fewer_bits_are_smaller_and_more_bits_nearer(tmp_path: Path):
    tokens, sizes, away = tiny.text(1, 40), [], []
    for bits in (8, 4):
        network = written(tmp_path / str(bits), Compression(bits, dtype=torch.float32), layers=4)
        sizes.append((tmp_path / str(bits) / "model.safetensors").stat().st_size)
        away.append(float((read_network(tmp_path / str(bits))(tokens) - network(tokens)).std()))
    assert sizes[1] < sizes[0] and 0 < away[0] * 8 < away[1]


def test_rows_that_are_not_whole_groups_stay_and_are_named(tmp_path: Path):
    network = written(tmp_path / "m", Compression(4, dtype=torch.float32), hidden_dim=80)
    said = json.loads((tmp_path / "m" / "config.json").read_text())["quantization_config"]
    assert said["ignore"] == ["lm_head", "model.layers.0.mlp.down_proj", "model.layers.1.mlp.down_proj"]
    back = read_network(tmp_path / "m").state_dict()
    assert torch.equal(
        back["blocks.0.feed_forward.down.weight"], network.state_dict()["blocks.0.feed_forward.down.weight"]
    )


def theirs() -> Any:
    pytest.importorskip("compressed_tensors", reason="pip install compressed-tensors")
    from compressed_tensors.compressors.pack_quantized import PackedQuantizationCompressor

    return PackedQuantizationCompressor


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("bits", [4, 8])
def test_what_is_written_their_package_unpacks_to_the_same_weights(bits: int, dtype: torch.dtype, tmp_path: Path):
    package = theirs()
    from compressed_tensors.quantization import QuantizationConfig

    written(tmp_path / "m", Compression(bits, dtype=dtype))
    said = json.loads((tmp_path / "m" / "config.json").read_text())["quantization_config"]
    scheme = QuantizationConfig.model_validate(said).config_groups["group_0"]
    tensors = load_file(tmp_path / "m" / "model.safetensors")
    ours = decompressed(tensors, said)
    bases = [name.removesuffix("_packed") for name in tensors if name.endswith(".weight_packed")]
    assert len(bases) == 14
    for base in bases:
        state = {f"weight{part}": tensors[base + part] for part in ("_packed", "_scale", "_shape")}
        weight = package.decompress(state, scheme)["weight"]
        assert torch.equal(ours[base], weight) and weight.dtype == dtype, base


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("strategy, size", [("group", 32), ("group", 64), ("channel", None)])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [4, 8])
def test_what_their_package_packs_is_read_as_it_unpacks_it(
    bits: int, symmetric: bool, strategy: str, size: int | None, dtype: torch.dtype
):
    package = theirs()
    weight = (torch.randn(20, 192, generator=torch.Generator().manual_seed(0)) * 0.1).to(dtype)
    packed, weights, said = packed_by(
        package, weight, num_bits=bits, strategy=strategy, group_size=size, symmetric=symmetric
    )
    assert ("weight_zero_point" in packed) == (not symmetric)
    ours = decompressed({f"{NAME}.{name}": tensor for name, tensor in packed.items()}, said)
    assert list(ours) == [f"{NAME}.weight"]
    assert torch.equal(ours[f"{NAME}.weight"], weights) and ours[f"{NAME}.weight"].dtype == dtype


FORMS = {"FloatQuantizationCompressor": "float-quantized", "IntQuantizationCompressor": "int-quantized"}


def packed_by(package: Any, weight: torch.Tensor, **arguments: Any) -> tuple[Tensors, torch.Tensor, Any]:
    """What the package stores of a matrix, what that stands for, and the quantization_config that it says so by."""
    from compressed_tensors.quantization import QuantizationArgs, QuantizationConfig, QuantizationScheme
    from compressed_tensors.quantization.utils import calculate_qparams

    weights = QuantizationArgs(**arguments)
    rounds = QuantizationArgs(num_bits=8, type=weights.type, strategy="token", dynamic=True)
    scheme = QuantizationScheme(
        targets=["Linear"], weights=weights, input_activations=rounds if package.__name__ in FORMS else None
    )
    size = weights.group_size or weight.shape[1]
    grouped = weight.reshape(1, -1) if weights.strategy == "tensor" else weight.reshape(len(weight), -1, size)
    if weights.strategy == "block":
        high, wide = weights.block_structure
        whole = torch.nn.functional.pad(weight, (0, -weight.shape[1] % wide, 0, -len(weight) % high))
        grouped = whole.unflatten(1, (-1, wide)).unflatten(0, (-1, high)).transpose(1, 2).flatten(2)
    scale, zero = calculate_qparams(grouped.amin(-1), grouped.amax(-1), weights)
    packed = package.compress({"weight": weight, "weight_scale": scale, "weight_zero_point": zero}, scheme)
    stands_for = package.decompress(packed, scheme)["weight"]
    form = FORMS.get(package.__name__, "pack-quantized")
    config = QuantizationConfig(config_groups={"group_0": scheme}, format=form)
    return packed, stands_for, json.loads(config.model_dump_json())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("strategy, size", [("tensor", None), ("channel", None), ("group", 64)])
def test_what_their_package_stores_in_bytes_is_read_as_it_reads_it(
    strategy: str, size: int | None, symmetric: bool, dtype: torch.dtype
):
    theirs()
    from compressed_tensors.compressors.naive_quantized import IntQuantizationCompressor as Package

    weight = (torch.randn(20, 192, generator=torch.Generator().manual_seed(0)) * 0.1).to(dtype)
    stored, weights, said = packed_by(
        Package, weight, num_bits=8, strategy=strategy, group_size=size, symmetric=symmetric
    )
    assert said["format"] == "int-quantized" and stored["weight"].dtype == torch.int8
    stored |= {"input_scale": torch.ones(1), "input_zero_point": torch.zeros(1, dtype=torch.int8)}
    assert ("weight_zero_point" in stored) == (not symmetric)
    ours = decompressed({f"{NAME}.{name}": tensor for name, tensor in stored.items()}, said)
    assert list(ours) == [f"{NAME}.weight"]
    assert torch.equal(ours[f"{NAME}.weight"], weights) and ours[f"{NAME}.weight"].dtype == dtype


@pytest.mark.parametrize("rows", [256, 300])
def test_fp8_in_blocks_is_read_as_their_package_reads_it(rows: int):
    theirs()
    from compressed_tensors.compressors.naive_quantized import FloatQuantizationCompressor as Package

    weight = (torch.randn(rows, 384, generator=torch.Generator().manual_seed(0)) * 0.1).bfloat16()
    stored, weights, said = packed_by(
        Package, weight, num_bits=8, type="float", strategy="block", block_structure=[128, 128]
    )
    ours = decompressed({f"{NAME}.{name}": tensor for name, tensor in stored.items()}, said)
    assert stored["weight_scale"].shape == (-(-rows // 128), 3)
    assert torch.equal(ours[f"{NAME}.weight"], weights)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("strategy", ["tensor", "channel"])
def test_what_their_package_stores_in_fp8_is_read_as_it_reads_it(strategy: str, dtype: torch.dtype):
    theirs()
    from compressed_tensors.compressors.naive_quantized import FloatQuantizationCompressor

    weight = (torch.randn(20, 192, generator=torch.Generator().manual_seed(0)) * 0.1).to(dtype)
    stored, weights, said = packed_by(FloatQuantizationCompressor, weight, num_bits=8, type="float", strategy=strategy)
    stored["input_scale"] = torch.ones(1)
    ours = decompressed({f"{NAME}.{name}": tensor for name, tensor in stored.items()}, said)
    assert list(ours) == [f"{NAME}.weight"] and stored["weight"].dtype == torch.float8_e4m3fn
    assert torch.equal(ours[f"{NAME}.weight"], weights) and ours[f"{NAME}.weight"].dtype == dtype


def written_by(package: Any, folder: Path, settings: dict[str, Any] | None = None, **arguments: Any) -> Tensors:
    """A directory whose matrices the package stored in bfloat16's scales; returns what they stand for."""
    network = tiny.network(seed=5, **(WIDE | {"dim": 128, "hidden_dim": 256, "layers": 1} | (settings or {})))
    folder.mkdir()
    write_network(folder, network)
    tensors, expected = load_file(folder / "model.safetensors"), {}
    for name in [name for name, one in tensors.items() if "layers." in name and one.ndim == 2]:
        packed, expected[name], said = packed_by(package, tensors.pop(name).bfloat16(), **arguments)
        tensors |= {f"{name.removesuffix('weight')}{part}": tensor for part, tensor in packed.items()}
    save_file(tensors, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": said}))
    return expected


@pytest.mark.parametrize(
    "bits, size, form",
    [(4, 128, "int4_128"), (4, None, "int4_128"), (4, 64, "int5"), (4, 32, "int5"), (8, 32, "int8"), (8, None, "int8")],
)
def test_groups_with_zero_points_run_in_the_form_that_was_foreseen(
    bits: int, size: int | None, form: str, tmp_path: Path
):
    strategy = "channel" if size is None else "group"
    folder, asked = tmp_path / "m", {"num_bits": bits, "group_size": size, "strategy": strategy, "symmetric": False}
    expected = written_by(theirs(), folder, **asked)
    network, found = read_network(folder, torch.float32), Footprint.of(folder)
    matrices = Packer(network, 16, StoredInDirectory.of(folder, network.config)).matrices()
    down, qkv = (f"blocks.0.{name}.weight" for name in ("feed_forward.down", "attention.qkv"))
    for name in (down, qkv):
        assert matrices[name].form == form
        # 8 bits are rounded anew, 4 are as they are: also the package's weights, before it rounds them to bfloat16.
        away = (unpacked(matrices[name]) - network.state_dict()[name]).abs().max()
        assert away == 0 if bits == 4 else 0 < away < 0.01
    whole = expected["model.layers.0.mlp.down_proj.weight"]
    assert torch.equal(network.state_dict()[down].bfloat16(), whole)
    assert found.few_bits == pytest.approx(sum(one.data.nbytes for one in matrices.values()), rel=0.02)
    way = foreseen(network.config, found.few_bits, 1, found.rounded)
    assert way.how.startswith("compiled, in the bits of its file" if bits == 4 else "compiled, in 8") or unavailable()


@pytest.mark.parametrize("strategy, symmetric", [("channel", True), ("tensor", True), ("channel", False)])
def test_a_directory_in_bytes_runs_in_its_bytes_which_is_foreseen(strategy: str, symmetric: bool, tmp_path: Path):
    theirs()
    from compressed_tensors.compressors.naive_quantized import IntQuantizationCompressor as Package

    folder = tmp_path / "m"
    expected = written_by(Package, folder, num_bits=8, strategy=strategy, symmetric=symmetric)
    network, found = read_network(folder, torch.float32), Footprint.of(folder)
    later = read_network(folder, torch.float32, lambda _: is_multiplied)
    matrices = Packer(later, 16, StoredInDirectory.of(folder, network.config)).matrices()
    down, qkv = (f"blocks.0.{name}.weight" for name in ("feed_forward.down", "attention.qkv"))
    for name in (down, qkv):
        assert matrices[name].form == "int8"
        away = (unpacked(matrices[name]) - network.state_dict()[name]).abs().max()
        assert away == 0 if symmetric else 0 < away < 0.01  # with zero points they are rounded anew
    whole = expected["model.layers.0.mlp.down_proj.weight"]
    assert torch.equal(network.state_dict()[down].bfloat16(), whole)
    assert found.few_bits == pytest.approx(sum(one.data.nbytes for one in matrices.values()), rel=0.02)
    assert found.rounded is not symmetric
    tiny.byte_tokenizer().save(folder)
    assert facts_of(folder).way.how.startswith("compiled, in the bits of its file" if symmetric else "compiled, in 8")


@pytest.mark.parametrize(
    "change, words",
    [
        ({"weight_scale": None}, "has no weight_scale"),
        ({"weight": torch.zeros(2, 3, 4, dtype=torch.int8)}, "is no matrix"),
        ({"weight_scale": torch.ones(19, 1)}, r"scales of shape \[19, 1\] \(torch.float32\) for a matrix \[20, 192\]"),
        ({"weight_scale": torch.ones(20, 5)}, "5 scales a row, which 192 columns do not share"),
        ({"weight_scale": torch.full((20, 1), float("nan"))}, "not finite"),
        ({"weight_scale": torch.ones(20, 1, dtype=torch.int64)}, "torch.int64"),
        ({"weight_zero_point": torch.zeros(20, 1)}, r"zero points of shape \[20, 1\] \(torch.float32\)"),
        ({"weight_zero_point": torch.zeros(3, 1, dtype=torch.int8)}, r"zero points of shape \[3, 1\]"),
    ],
)
def test_damaged_bytes_are_one_sentence(change: dict[str, torch.Tensor | None], words: str):
    weights = {"num_bits": 8, "type": "int", "symmetric": "weight_zero_point" not in change, "strategy": "channel"}
    said = {"quant_method": "compressed-tensors", "format": "int-quantized"}
    said |= {"config_groups": {"g": {"targets": ["Linear"], "weights": weights, "input_activations": {"num_bits": 8}}}}
    stored = {"weight": torch.zeros(20, 192, dtype=torch.int8), "weight_scale": torch.ones(20, 1)} | change
    with pytest.raises(ModelError, match=words):
        decompressed({f"{NAME}.{name}": one for name, one in stored.items() if one is not None}, said)


@pytest.mark.parametrize("size", [32, 128])
def test_rows_that_a_family_keeps_by_head_have_their_zero_points(size: int, tmp_path: Path):
    asked = {"num_bits": 4, "group_size": size, "strategy": "group", "symmetric": False}
    written_by(theirs(), tmp_path / "m", NEOX, **asked)
    network = read_network(tmp_path / "m", torch.float32)
    matrices = Packer(network, 16, StoredInDirectory.of(tmp_path / "m", network.config)).matrices()
    qkv = matrices["blocks.0.attention.qkv.weight"]
    assert qkv.form == ("int5" if size == 32 else "int4_128")
    assert torch.equal(unpacked(qkv), network.blocks[0].attention.qkv.weight)


def test_a_directory_in_fp8_is_foreseen_in_pytorch(tmp_path: Path):
    theirs()
    from compressed_tensors.compressors.naive_quantized import FloatQuantizationCompressor

    folder = tmp_path / "m"
    expected = written_by(FloatQuantizationCompressor, folder, num_bits=8, type="float", strategy="channel")
    once, later = read_network(folder), read_network(folder, None, lambda _: is_multiplied)
    down = once.blocks[0].feed_forward.down.weight
    assert torch.equal(down, expected["model.layers.0.mlp.down_proj.weight"])
    assert torch.equal(later.blocks[0].feed_forward.down.weight, down)
    assert Footprint.of(folder).few_bits is None
    assert StoredInDirectory.of(folder, once.config) is None and not facts_of(folder).way.compiled


@pytest.mark.parametrize(
    "change, words",
    [
        ({"strategy": "group", "group_size": 128}, "strategy = 'group'"),
        ({"strategy": "block", "block_structure": [100, 100]}, r"block_structure = \[100, 100\]"),
        ({"strategy": "block"}, "block_structure = None"),
        ({"num_bits": 4}, "num_bits = 4"),
        ({"type": "int"}, "type = 'int'"),
        ({"symmetric": False}, "symmetric = False"),
    ],
)
def test_another_scheme_of_fp8_is_refused_by_name_and_foreseen_so(change: dict[str, Any], words: str, tmp_path: Path):
    write_network(tmp_path, tiny.network(seed=5, **WIDE))
    config = json.loads((tmp_path / "config.json").read_text())
    weights = {"num_bits": 8, "type": "float", "symmetric": True, "strategy": "channel"} | change
    said = {"quant_method": "compressed-tensors", "format": "float-quantized", "config_groups": {"g": {}}}
    said["config_groups"] = {"g": {"targets": ["Linear"], "weights": weights}}
    (tmp_path / "config.json").write_text(json.dumps(config | {"quantization_config": said}))
    with pytest.raises(ModelError, match=words) as refusal:
        read_network(tmp_path)
    assert facts_of(tmp_path).way.how == f"refused: {refusal.value}"


@pytest.mark.parametrize("bits", [4, 8])
def test_transformers_loads_the_directory_and_gives_the_same_logits(bits: int, tmp_path: Path):
    theirs()
    transformers = pytest.importorskip("transformers")
    written(tmp_path / "m", Compression(bits, dtype=torch.float32), tied=False)
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "m", dtype=torch.float32).eval()
    tokens = tiny.text(2, 24)
    torch.testing.assert_close(model(tokens).logits, read_network(tmp_path / "m")(tokens), rtol=1e-5, atol=1e-5)
    assert any("weight_packed" in name for name in load_file(tmp_path / "m" / "model.safetensors"))


def with_(**parts: torch.Tensor) -> Callable[[Tensors], Tensors]:
    return lambda tensors: tensors | {f"{NAME}.{name}": tensor for name, tensor in parts.items()}


def without(part: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {name: tensor for name, tensor in tensors.items() if name != f"{NAME}.{part}"}


NAN = torch.full((64, 3), float("nan"))


@pytest.mark.parametrize(
    "change, words",
    [
        (without("weight_scale"), "has no weight_scale"),
        (without("weight_shape"), "has no weight_shape"),
        (without("weight_packed"), "down_proj.weight is missing from the weights"),
        (with_(weight=torch.zeros(64, 96)), "is there twice"),
        (with_(weight_scale=NAN), "scales that are not finite"),
        (with_(weight_scale=torch.zeros(64, 3) + float("inf")), "scales that are not finite"),
        (with_(weight_scale=torch.zeros(63, 3)), r"scales of shape \[63, 3\]"),
        (with_(weight_scale=torch.zeros(64, 7)), "7 scales a row, which 96 columns do not share"),
        (with_(weight_scale=torch.zeros(64, 0)), r"scales of shape \[64, 0\]"),
        (with_(weight_scale=torch.zeros(64, 3, dtype=torch.int32)), "torch.int32"),
        (with_(weight_shape=torch.tensor([64, 128])), "12 words a row, and 128 values of 4 bits"),
        (with_(weight_shape=torch.tensor([10**12, 96])), r"shape \[64, 12\].* for a matrix \[1000000000000, 96\]"),
        (with_(weight_shape=torch.tensor([64, -96])), "no pair of positive whole numbers"),
        (with_(weight_shape=torch.tensor([64.0, 96.0])), "no pair of positive whole numbers"),
        (with_(weight_shape=torch.tensor([64, 96, 1])), "no pair of positive whole numbers"),
        (with_(weight_packed=torch.zeros(64, 12)), r"packed values of shape \[64, 12\] \(torch.float32\)"),
        (with_(weight_packed=torch.zeros(64 * 12, dtype=torch.int32)), r"packed values of shape \[768\]"),
        (with_(weight_packed=torch.zeros(64, 11, dtype=torch.int32)), "11 words a row"),
        (
            with_(
                weight_packed=torch.zeros(32, 12, dtype=torch.int32),
                weight_scale=torch.zeros(32, 3),
                weight_shape=torch.tensor([32, 96]),
            ),
            r"has the shape \[32, 96\], and the settings ask for \[64, 96\]",
        ),
        (with_(weight_zero_point=torch.zeros(8, 3)), "weight_zero_point, which is not read here"),
        (with_(weight_g_idx=torch.zeros(96)), "weight_g_idx, which is not read here"),
        (lambda tensors: tensors | {"model.extra.weight_scale": torch.zeros(1)}, "hold model.extra.weight_scale"),
    ],
)
def test_a_damaged_directory_is_one_sentence(change: Callable[[Tensors], Tensors], words: str, tmp_path: Path):
    written(tmp_path / "m", Compression(4, dtype=torch.float32))
    file = tmp_path / "m" / "model.safetensors"
    save_file(change(load_file(file)), file)
    with pytest.raises(ModelError, match=words) as caught:
        read_network(tmp_path / "m")
    assert "\n" not in str(caught.value) and str(tmp_path / "m") in str(caught.value)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda said: said | {"quant_method": "hqq"}, "stored as hqq / pack-quantized"),
        (lambda said: {"quant_method": "aqlm"}, "stored as aqlm, which"),
        (lambda said: said | {"format": "marlin-24"}, "compressed-tensors / marlin-24"),
        (lambda said: said | {"kv_cache_scheme": {"num_bits": 8}}, "has a kv_cache_scheme, which is not read"),
        (lambda said: said | {"sparsity_config": ["2:4"]}, "has a sparsity_config, which is not read"),
        (lambda said: said | {"config_groups": {}}, "no table of config_groups"),
        (lambda said: said | {"config_groups": ["W4A16"]}, "no table of config_groups"),
        (lambda said: "4 bits", "quantization_config is no table"),
        (lambda said: group(said, num_bits=3), "num_bits = 3"),
        (lambda said: group(said, symmetric="no"), "symmetric = 'no'"),
        (lambda said: group(said, symmetric=False), "has no weight_zero_point"),
        (lambda said: group(said, type="float"), "type = 'float'"),
        (lambda said: group(said, strategy="block"), "strategy = 'block'"),
        (lambda said: group(said, actorder="group"), "actorder = 'group'"),
        (lambda said: group(said, num_bits=[4]), r"num_bits = \[4\]"),
        (lambda said: group(said, num_bits=8), "12 words a row, and 96 values of 8 bits"),
        (
            lambda said: said | {"config_groups": {"g": {"weights": {"num_bits": 4}, "input_activations": {"a": 1}}}},
            "g quantises activations",
        ),
    ],
)
def test_another_scheme_is_refused_by_name(change: Callable[[Any], Any], words: str, tmp_path: Path):
    written(tmp_path / "m", Compression(4, dtype=torch.float32))
    file = tmp_path / "m" / "config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps(config | {"quantization_config": change(config["quantization_config"])}))
    with pytest.raises(ModelError, match=words) as caught:
        read_network(tmp_path / "m")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "zero, words",
    [
        (torch.zeros(64, 3, dtype=torch.int8), r"zero points of shape \[64, 3\] \(torch.int8\) for scales \[64, 3\]"),
        (torch.zeros(7, 3, dtype=torch.int32), r"zero points of shape \[7, 3\]"),
        (torch.zeros(8, 2, dtype=torch.int32), r"zero points of shape \[8, 2\]"),
        (torch.zeros(0, dtype=torch.int32), r"zero points of shape \[0\]"),
    ],
)
def test_damaged_zero_points_are_one_sentence(zero: torch.Tensor, words: str, tmp_path: Path):
    written(tmp_path / "m", Compression(4, dtype=torch.float32))
    said = json.loads((tmp_path / "m" / "config.json").read_text())["quantization_config"]
    tensors = load_file(tmp_path / "m" / "model.safetensors")
    with pytest.raises(ModelError, match=words):
        decompressed(with_(weight_zero_point=zero)(tensors), said | mixed(said))


def mixed(said: dict[str, Any]) -> dict[str, Any]:
    """With groups of layers of both kinds: with zero points and without."""
    one = said["config_groups"]["group_0"]
    return {"config_groups": {"a": one, "b": one | {"weights": one["weights"] | {"symmetric": False}}}}


def group(said: dict[str, Any], **changes: Any) -> dict[str, Any]:
    one = said["config_groups"]["group_0"]
    return said | {"config_groups": {"group_0": one | {"weights": one["weights"] | changes}}}


def test_weights_that_are_not_finite_are_named_and_turned_families_refused(tmp_path: Path):
    network = tiny.network(**WIDE)
    network.state_dict()["blocks.1.feed_forward.down.weight"][3, 5] = float("nan")
    with pytest.raises(ModelError, match=r"model\.layers\.1\.mlp\.down_proj\.weight holds values that are not finite"):
        write_network(tmp_path, network, compression=Compression(4))
    gpt2 = {"family": "gpt2", "positions": "learned", "norm": "layer", "gated": False, "activation": "gelu_tanh"}
    gpt2 |= {"qkv_bias": True, "output_bias": True, "feed_forward_bias": True}
    with pytest.raises(ConfigError, match="a gpt2 network keeps its matrices turned"):
        write_network(tmp_path, tiny.network(**(WIDE | gpt2 | {"kv_heads": 4})), compression=Compression(4))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "kind, asked",
    [
        ("PackedQuantizationCompressor", {"num_bits": 4, "group_size": 32, "strategy": "group"}),
        ("PackedQuantizationCompressor", {"num_bits": 4, "group_size": 64, "strategy": "group", "symmetric": False}),
        ("IntQuantizationCompressor", {"num_bits": 8, "strategy": "channel"}),
        ("IntQuantizationCompressor", {"num_bits": 8, "strategy": "channel", "symmetric": False}),
        ("FloatQuantizationCompressor", {"num_bits": 8, "type": "float", "strategy": "channel"}),
    ],
)
def test_files_that_are_cut_or_flipped_are_refused_or_read(kind: str, asked: dict[str, Any], tmp_path: Path):
    """A hundred times cut, a hundred times a bit of the header or of config.json flipped: one sentence, or a network
    that can be packed; nothing else is ever raised."""
    package: Any = theirs()
    if kind != "PackedQuantizationCompressor":
        package = getattr(pytest.importorskip("compressed_tensors.compressors.naive_quantized"), kind)
    folder, draw = tmp_path / "m", random.Random(0)
    written_by(package, folder, {"dim": 64, "hidden_dim": 64, "vocab_size": 8}, **asked)
    files = {name: (folder / name).read_bytes() for name in ("model.safetensors", "config.json")}
    header = 8 + int.from_bytes(files["model.safetensors"][:8], "little")
    refused = 0
    for number in range(200):
        name = draw.choice(list(files))
        damaged = bytearray(files[name])
        if number < 100:
            del damaged[draw.randrange(len(damaged)) :]
        else:
            place = draw.randrange(min(header, len(damaged)))
            damaged[place] ^= 1 << draw.randrange(8)
        (folder / name).write_bytes(damaged)
        try:
            network = read_network(folder)
            stored = StoredInDirectory.of(folder, network.config)
            Packer(network, 16, stored).matrices()
        except LmworksError as error:
            assert "\n" not in str(error)
            refused += 1
        (folder / name).write_bytes(files[name])
    assert refused > 120
