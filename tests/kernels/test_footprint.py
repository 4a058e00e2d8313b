"""What a model takes, counted from its files' headers; and what is said where that is too much."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from math import prod
from pathlib import Path

import gguf
import numpy as np
import pytest
import tiny
import torch
from jobs.small_files import tokenizer

import lmworks as lm
from lmworks.basics.errors import ModelError
from lmworks.jobs.export import export
from lmworks.kernels import coverage, footprint
from lmworks.kernels.choice import foreseen
from lmworks.kernels.coverage import too_large
from lmworks.kernels.footprint import Footprint
from lmworks.language_model import LanguageModel
from lmworks.loading import facts_of
from lmworks.models.files.gguf_file import GGUFFile
from lmworks.models.files.gguf_groups import StoredInGGUF
from lmworks.models.files.gguf_kinds import Kind
from lmworks.models.files.gguf_writing import network_entries, network_tensors, write_gguf

WIDE = {"dim": 128, "hidden_dim": 512, "heads": 4, "kv_heads": 4, "layers": 4}


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return tiny.language_model(**WIDE)


@pytest.fixture(scope="module")
def folder(model: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model.save(tmp_path_factory.mktemp("models") / "wide")


@pytest.mark.parametrize("compress", ["int4", "int8", "bf16"])
def test_packed_weights_are_counted(folder: Path, compress: str):
    loaded = lm.load(folder, compress=compress)
    packed = loaded.runner.compiled.weights.bytes  # type: ignore[attr-defined]
    assert Footprint.of(folder).bytes(compress) == pytest.approx(packed, rel=0.03)  # norms are vectors


@pytest.mark.parametrize(("dtype", "width"), [(None, 4), (torch.float32, 4), (torch.bfloat16, 2)])
def test_the_weights_of_pytorch_are_counted(folder: Path, dtype: torch.dtype | None, width: int):
    count = sum(one.numel() for one in tiny.network(**WIDE, vocab_size=259).parameters())
    assert Footprint.of(folder).bytes("none" if dtype is None else None, dtype) == width * count


@pytest.mark.parametrize(("kind", "form"), [(Kind.Q4_0, "int4"), (Kind.Q8_0, "int8"), (Kind.F16, "bf16")])
def test_a_file_that_runs_as_it_is_stored_takes_its_bits(model: LanguageModel, tmp_path: Path, kind: Kind, form: str):
    entries = network_entries(model.config) | {"general.architecture": "llama"}
    write_gguf(tmp_path / "m.gguf", entries, network_tensors(model.network), kind)
    found = Footprint.of(tmp_path / "m.gguf")
    assert found.parameters == sum(one.numel() for one in model.network.parameters())
    assert found.bytes() == pytest.approx(found.bytes(form), rel=0.1)


def without_reading(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(footprint, "available_bytes", lambda: free)
    monkeypatch.setattr("lmworks.language_model._read_network", None)


@pytest.mark.parametrize(
    ("short", "said"),
    [
        (lambda found: found.bytes("none") - 1, r"or load it in bf16 \(--compress bf16\), which takes 2\.\d MB$"),
        (lambda found: found.bytes("bf16") - 1, r"or load it in int8 \(--compress int8\), which takes 1\.\d MB$"),
        (lambda found: found.bytes("int8") - 1, r"or load it in int4 \(--compress int4\), which takes 0\.\d MB$"),
        (
            lambda found: found.bytes("int4") - 1,
            r"or take a model of at most 1\.\d\d million weights, which",
        ),
    ],
    ids=["in float32", "in 16 bits", "in 8 bits", "in 4 bits"],
)
def test_what_does_not_fit_is_refused_before_it_is_read_and_names_what_would(
    folder: Path, monkeypatch: pytest.MonkeyPatch, short: Callable[[Footprint], int], said: str
):
    without_reading(monkeypatch, short(Footprint.of(folder)))
    with pytest.raises(ModelError, match=rf"wide takes 4\.\d MB, and \d\.\d MB of memory are free; close .*, {said}"):
        lm.load(folder)


def test_a_network_that_is_not_compiled_is_told_how_large_one_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tiny.language_model(dim=48, heads=2, head_dim=24).save(tmp_path / "odd")
    without_reading(monkeypatch, 40_000)
    with pytest.raises(ModelError, match=r"or take a model of at most 0\.01 million weights, which would fit in 32"):
        lm.load(tmp_path / "odd")


def test_a_file_in_few_bits_runs_compiled_where_eight_bits_would_not_fit(
    model: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A model of 8 billion weights in 4 bits takes 5 GB packed, and in 8 bits 9."""
    path = tmp_path / "m.gguf"
    entries = network_entries(model.config) | {"general.architecture": "llama"}
    write_gguf(path, entries, network_tensors(model.network), Kind.Q4_0)
    found = Footprint.of(path)
    packed = found.bytes()
    assert packed < 0.7 * found.bytes("int8")
    for free, compiled in ((round(1.2 * packed), True), (round(0.9 * packed), False)):
        monkeypatch.setattr(coverage, "available_bytes", lambda free=free: free)
        way = foreseen(found.config, found.few_bits, found.parameters)
        assert way.compiled is compiled
        stored = StoredInGGUF(GGUFFile(path), found.config)
        reason = too_large(model.network, 8, stored)
        assert (reason is None) is compiled
        assert compiled or ("the bits of the file" in str(reason) and "the bits of the file" in way.how)


def larger_than_memory(path: Path, like: Path) -> Path:
    """A sparse file that takes twice the memory of this machine: as another, with wider layers and more of them."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    whole, writer, wide = gguf.GGUFReader(like), gguf.GGUFWriter(path, "llama"), 10**8
    layers = 1 + 2 * total // (3 * 64 * wide // 32 * 18)
    for field in whole.fields.values():
        if not field.name.startswith("GGUF.") and field.name != "general.architecture":
            value = {"llama.feed_forward_length": wide, "llama.block_count": layers}.get(field.name, field.contents())
            if field.types[0] == gguf.GGUFValueType.ARRAY:
                writer.add_array(field.name, value)
            else:
                writer.add_key_value(field.name, value, field.types[0])
    of_a_layer = [one for one in whole.tensors if one.name.startswith("blk.0.")]
    written = [(one.name, one) for one in whole.tensors if not one.name.startswith("blk.")]
    written += [(one.name.replace("0", str(layer), 1), one) for layer in range(layers) for one in of_a_layer]
    end = 0
    for name, tensor in written:
        shape = [int(size) for size in reversed(tensor.shape)]
        if ".ffn_" in name and len(shape) == 2:
            shape = [shape[0], wide] if "down" in name else [wide, shape[1]]
        is_float = tensor.tensor_type == gguf.GGMLQuantizationType.F32
        block, size = gguf.GGML_QUANT_SIZES[tensor.tensor_type]
        count = prod(shape) // block * size
        in_bytes = shape if is_float else [*shape[:-1], shape[-1] // block * size]
        dtype, kind = (np.float32, None) if is_float else (np.uint8, tensor.tensor_type)
        writer.add_tensor_info(name, in_bytes, np.dtype(dtype), count, raw_dtype=kind)
        end += -(-count // 32) * 32
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    os.truncate(path, -(-path.stat().st_size // 32) * 32 + end)
    return path


def test_a_file_larger_than_memory_is_refused_ahead_in_the_words_of_the_refusal(tmp_path: Path):
    words = tokenizer()
    small = tiny.network(vocab_size=words.vocab_size, family="llama", dim=64, heads=4, head_dim=16, hidden_dim=96)
    made = LanguageModel(small, words).save(tmp_path / "small")
    export(str(made), tmp_path / "small.gguf", kind="q4_0")
    path = larger_than_memory(tmp_path / "huge.gguf", tmp_path / "small.gguf")
    with pytest.raises(ModelError, match=r"of memory are free; close other programs, or ") as refusal:
        lm.load(path)
    way = facts_of(path).way
    said = [re.sub(r"[\d.,]+ (GB|billion)", "some", one) for one in (way.how, f"refused: {refusal.value}")]
    assert not way.compiled and said[0] == said[1]
