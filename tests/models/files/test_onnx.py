"""Weights from ONNX files: names and turns of an export, 8 bits, and files that lie."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch

from lmworks.basics.errors import ModelError
from lmworks.basics.files import write_json
from lmworks.loading import fingerprint
from lmworks.models.families.bert import BERT
from lmworks.models.files import onnx_file
from lmworks.models.files.directory import read_network, write_network
from lmworks.models.files.onnx import read_onnx
from lmworks.models.network import Network

onnx = pytest.importorskip("onnx", reason="pip install 'lmworks[dev]'")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

SMALL = {**BERT.fixed, "family": "bert", "segments": 2, "activation": "gelu", "norm_eps": 1e-12, "kv_heads": 4}


def exported(tensors: dict[str, Any], path: Path, *, quantised: bool, named: bool = True) -> None:
    """Write a body's weights as an export does: matrices turned and without their names, in 8 bits or in float32."""
    nodes, stored = [], []
    for number, (name, tensor) in enumerate(tensors.items()):
        values, module = tensor.numpy(), name.removesuffix(".weight").replace(".", "/")
        matrix = values.ndim == 2 and "embeddings" not in name
        kept = f"onnx::MatMul_{number}" if matrix else name
        values = np.ascontiguousarray(values.T) if matrix else values
        if quantised and values.ndim == 2:
            zero = np.uint8(7)
            scale = np.abs(values).max(axis=0 if matrix else None) / 127
            if matrix:  # as the whole numbers of an export: one scale and zero point a column
                packed, zero = np.rint(values / scale).astype(np.int8), np.zeros(len(scale), np.int8)
            else:
                packed = (np.rint(values / scale).clip(-7, 248) + 7).astype(np.uint8)
            parts = {"_quantized": packed, "_scale": scale.astype(np.float32), "_zero_point": zero}
            stored += [numpy_helper.from_array(np.asarray(part), kept + end) for end, part in parts.items()]
            kept += "_quantized"
        else:
            stored.append(numpy_helper.from_array(values, kept))
        if matrix:
            kind = "MatMulInteger" if quantised else "MatMul"
            nodes.append(helper.make_node(kind, ["x", kept], [f"y{number}"], name=f"/{module}/MatMul" if named else ""))
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", [], [], stored)), path)


@pytest.fixture
def body() -> Network:
    return tiny.network(**SMALL)


@pytest.fixture
def folder(body: Network, tmp_path: Path) -> Path:
    """The body as an ONNX file beside its config.json."""
    folder = tmp_path / "model"
    folder.mkdir()
    theirs = BERT.config_to(body.config)
    assert theirs["add_pooling_layer"] is False
    write_json(folder / "config.json", theirs)
    exported(BERT.tensors_to(body.state_dict(), body.config), folder / "model.onnx", quantised=False)
    return folder


def test_a_folder_with_an_onnx_file_is_the_network_that_was_exported(body: Network, folder: Path, tmp_path: Path):
    read = read_network(folder)
    assert read.config == body.config
    for name, weight in body.state_dict().items():
        torch.testing.assert_close(read.state_dict()[name], weight, rtol=0, atol=0)
    (tmp_path / "again").mkdir()
    write_network(tmp_path / "again", read)
    assert torch.equal(read_network(tmp_path / "again")(tiny.text(2, 9)), body(tiny.text(2, 9)))
    assert fingerprint(folder) != fingerprint(tmp_path / "again")


def test_eight_bits_are_taken_back_by_column_and_by_tensor(body: Network, folder: Path):
    theirs = BERT.tensors_to(body.state_dict(), body.config)
    exported(theirs, folder / "model.onnx", quantised=True)
    read = read_onnx(folder / "model.onnx")
    assert set(read) == set(theirs)
    for name, weight in theirs.items():
        steps = weight.abs().amax(dim=1, keepdim=True) / 127 if weight.ndim == 2 else torch.zeros(())
        steps = steps.max() if "embeddings" in name else steps
        clipped = "embeddings" in name  # below -7 steps
        assert clipped or ((read[name] - weight).abs() <= 0.51 * steps).all(), name
    held = theirs["embeddings.word_embeddings.weight"]
    step = held.abs().max() / 127
    expected = (held / step).round().clip(-7, 248) * step
    torch.testing.assert_close(read["embeddings.word_embeddings.weight"], expected)
    read_network(folder)


def test_values_one_by_one_are_those_of_the_library(tmp_path: Path):
    """Scales and zero points are stored as packed or single numbers, not as raw bytes."""
    stored = [
        helper.make_tensor("floats", TensorProto.FLOAT, [3], [0.5, -2.0, 1e-3]),
        helper.make_tensor("bytes", TensorProto.INT8, [2, 2], [-128, -1, 0, 127]),
        helper.make_tensor("halves", TensorProto.FLOAT16, [2], [0.5, -3.25]),
        helper.make_tensor("one", TensorProto.UINT8, [], [200]),
        numpy_helper.from_array(np.arange(6, dtype=np.int64).reshape(2, 3), "long"),
    ]
    onnx.save(helper.make_model(helper.make_graph([], "g", [], [], stored)), tmp_path / "model.onnx")
    held = onnx_file.ONNXFile(tmp_path / "model.onnx").tensors
    for tensor in stored:
        np.testing.assert_array_equal(held[tensor.name], numpy_helper.to_array(tensor))
        assert held[tensor.name].dtype == numpy_helper.to_array(tensor).dtype


def test_what_cannot_be_read_is_a_sentence(body: Network, folder: Path, monkeypatch):
    path = folder / "model.onnx"
    theirs = BERT.tensors_to(body.state_dict(), body.config)

    def refusal(*stored: Any) -> str:
        if stored:
            onnx.save(helper.make_model(helper.make_graph([], "g", [], [], list(stored))), path)
        with pytest.raises(ModelError) as caught:
            read_onnx(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
        return str(caught.value)

    exported(theirs, path, quantised=False, named=False)
    assert "does not say in which module" in refusal()
    elsewhere = numpy_helper.from_array(np.zeros(4, np.float32), "w")
    elsewhere.ClearField("raw_data")
    elsewhere.data_location = TensorProto.EXTERNAL
    elsewhere.external_data.add(key="location", value="../../etc/passwd")
    assert "keeps weights in another file" in refusal(elsewhere)
    large = numpy_helper.from_array(np.zeros(4, np.float32), "w")
    large.dims[:] = [2**40, 2**40]
    assert "and 4 values" in refusal(large)
    large.dims[:] = [-4, -1]
    assert "the shape [-4, -1]" in refusal(large)
    assert "is stored as ONNX type 8" in refusal(helper.make_tensor("w", TensorProto.STRING, [1], ["x"]))
    twice = numpy_helper.from_array(np.zeros(4, np.float32), "w")
    assert "names the tensor w twice" in refusal(twice, twice)
    bare = numpy_helper.from_array(np.zeros((2, 4), np.int8), "w_quantized")
    assert "no scale that fits w" in refusal(bare)
    three = [numpy_helper.from_array(np.ones(3, np.float32), "w_scale"), helper.make_tensor("w_zero_point", 3, [], [0])]
    assert "no scale that fits w" in refusal(bare, *three)
    exported(theirs, path, quantised=True)
    path.write_bytes(path.read_bytes()[:-10])
    assert "ends in the middle of an entry" in refusal()
    monkeypatch.setattr(onnx_file, "MOST_FIELDS", 50)
    assert "more than 50 entries" in refusal(*(numpy_helper.from_array(np.zeros(1), str(one)) for one in range(20)))
    for content in (b"", b"\x00", b"GGUF" * 99):
        path.write_bytes(content)
        refusal()
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    assert "is a Git LFS pointer in place of the file; fetch it with: git lfs pull" in refusal()


def test_a_damaged_file_is_refused_or_read_and_never_a_traceback(body: Network, folder: Path):
    path, chance = folder / "model.onnx", random.Random(0)
    exported(BERT.tensors_to(body.state_dict(), body.config), path, quantised=True)
    whole = path.read_bytes()
    refused = 0
    for turn in range(120):
        damaged = bytearray(whole)
        if turn % 3 == 0:
            del damaged[chance.randrange(len(whole)) :]
        for _ in range(turn % 3):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        path.write_bytes(damaged)
        try:
            read_network(folder)
        except ModelError:
            refused += 1
    assert refused >= 40
