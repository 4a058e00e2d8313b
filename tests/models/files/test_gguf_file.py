"""The GGUF container: equal to the gguf package on every kind of value, and safe with any bytes."""

from __future__ import annotations

import resource
import struct
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmworks.basics.errors import ModelError
from lmworks.models.files.gguf_file import GGUFFile


def write(path: Path, tensors: dict[str, np.ndarray], **metadata) -> Path:
    writer = gguf.GGUFWriter(path, "llama")
    for key, (method, *values) in metadata.items():
        getattr(writer, f"add_{method}")(f"test.{key}", *values)
    for name, value in tensors.items():
        kind = Kind.F32 if value.dtype == np.float32 else None
        writer.add_tensor(name, value, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> bytes:
    path = write(
        tmp_path_factory.mktemp("gguf") / "small.gguf",
        {"a": np.arange(8, dtype=np.float32).reshape(2, 4), "b": np.ones(3, np.float16)},
        text=("string", "wörld"),
        flag=("bool", True),
        number=("int32", -5),
        real=("float64", 0.5),
        names=("array", ["x", "yy"]),
        numbers=("array", [1, 2, 3]),
    )
    return path.read_bytes()


@pytest.fixture
def damaged(tmp_path):
    def write_bytes(data: bytes) -> Path:
        path = tmp_path / "damaged.gguf"
        path.write_bytes(data)
        return path

    return write_bytes


def test_metadata_of_every_type_equals_what_was_written(tmp_path):
    values = {
        "u8": ("uint8", 255),
        "i8": ("int8", -128),
        "u16": ("uint16", 65535),
        "i16": ("int16", -32768),
        "u32": ("uint32", 2**32 - 1),
        "i32": ("int32", -(2**31)),
        "u64": ("uint64", 2**64 - 1),
        "i64": ("int64", -(2**63)),
        "f32": ("float32", 0.25),
        "f64": ("float64", 1e300),
        "b": ("bool", False),
        "s": ("string", "héllo 🎉"),
        "ints": ("array", [1, -2, 3]),
        "floats": ("array", [0.5, 1.5]),
        "flags": ("array", [True, False]),
        "texts": ("array", ["", "a", "日本"]),
    }
    file = GGUFFile(write(tmp_path / "m.gguf", {"x": np.zeros(4, np.float32)}, **values))
    assert {key.removeprefix("test."): value for key, value in file.metadata.items() if key.startswith("test.")} == {
        key: value for key, (_, value) in values.items()
    }
    assert file.metadata["general.architecture"] == "llama"


def test_every_quantisation_reads_as_the_gguf_package_reads_it(tmp_path):
    generator = np.random.default_rng(0)
    writer = gguf.GGUFWriter(tmp_path / "q.gguf", "llama")
    written = {}
    for kind in Kind:
        block, size = gguf.GGML_QUANT_SIZES[kind]
        columns = max(block, 32) * 2
        numbers = generator.standard_normal((3, columns)).astype(np.float32)
        try:
            rows = gguf.quantize(numbers, kind)
        except (NotImplementedError, KeyError):  # random blocks; the exponents stay small, so no NaN
            rows = generator.integers(0, 64, (3, columns // block * size), dtype=np.uint8)
        writer.add_tensor(kind.name, np.ascontiguousarray(rows).view(np.uint8), raw_dtype=kind)
        written[kind.name] = rows
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    ours, theirs = GGUFFile(tmp_path / "q.gguf"), gguf.GGUFReader(tmp_path / "q.gguf")
    assert list(ours.tensors) == [tensor.name for tensor in theirs.tensors]
    readable = 0
    for tensor in theirs.tensors:
        info = ours.tensors[tensor.name]
        assert info.shape == tuple(int(size) for size in reversed(tensor.shape)), tensor.name
        assert (info.kind, info.offset, info.bytes) == (
            tensor.tensor_type,
            tensor.data_offset,
            tensor.n_bytes,
        )
        assert ours.raw(tensor.name).tobytes() == np.ascontiguousarray(tensor.data).tobytes()
        try:
            expected = gguf.dequantize(tensor.data, tensor.tensor_type)
        except NotImplementedError:
            with pytest.raises(ModelError, match=f"tensor {tensor.name} is stored as {tensor.name}"):
                ours.read(tensor.name)
            continue
        read = ours.read(tensor.name)
        assert read.dtype == np.float32 and read.shape == info.shape
        np.testing.assert_array_equal(read, expected.reshape(info.shape))
        readable += 1
    assert readable >= 20


def test_a_file_with_another_alignment_reads_the_same(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "llama")
    writer.add_custom_alignment(256)
    values = {"a": np.arange(5, dtype=np.float32), "b": np.arange(7, dtype=np.float32)}
    for name, value in values.items():
        writer.add_tensor(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    file = GGUFFile(tmp_path / "a.gguf")
    assert all(info.offset % 256 == 0 for info in file.tensors.values())
    for name, value in values.items():
        np.testing.assert_array_equal(file.read(name), value)


def test_a_truncated_file_says_how_many_bytes_are_missing(damaged, small):
    whole = GGUFFile(damaged(small))
    end = max(info.offset + info.bytes for info in whole.tensors.values())
    with pytest.raises(ModelError, match=r"damaged.gguf ends 5 bytes early \(cut off while copying"):
        GGUFFile(damaged(small[: end - 5]))


def test_what_is_no_gguf_file_is_named(damaged, tmp_path):
    with pytest.raises(ModelError, match="is not a GGUF file"):
        GGUFFile(damaged(b"PK\x03\x04" + b"\0" * 100))
    with pytest.raises(ModelError, match="is not a GGUF file"):
        GGUFFile(damaged(b""))
    with pytest.raises(ModelError, match="is a Git LFS pointer in place of the file; fetch it with: git lfs pull"):
        GGUFFile(damaged(b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"))
    with pytest.raises(ModelError, match="ends in the middle of its header"):
        GGUFFile(damaged(b"GGUF"))
    with pytest.raises(ModelError, match="cannot be read"):
        GGUFFile(tmp_path / "absent.gguf")
    with pytest.raises(ModelError, match="cannot be read"):
        GGUFFile(tmp_path)


def header(tensors: int, entries: int, body: bytes = b"", version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, entries) + body


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def entry(name: bytes, dimensions: tuple[int, ...], kind: int = 0, offset: int = 0) -> bytes:
    return (
        text(name)
        + struct.pack("<I", len(dimensions))
        + struct.pack(f"<{len(dimensions)}Q", *dimensions)
        + struct.pack("<IQ", kind, offset)
    )


HOSTILE = {
    "version 1": (header(0, 0, version=1), "has version 1"),
    "big endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "is big-endian"),
    "a billion entries": (header(0, 10**9), "announces 1,000,000,000 metadata entries"),
    "2**63 tensors": (header(2**63, 0), "announces .* tensors"),
    "a string beyond the file": (header(0, 1, struct.pack("<Q", 2**60) + b"x" * 20), "ends in the middle"),
    "a key twice": (header(0, 2, (text(b"k") + struct.pack("<IB", 0, 1)) * 2), "names 'k' twice"),
    "a huge array": (header(0, 1, text(b"k") + struct.pack("<IIQ", 9, 10, 2**61)), "announces .* numbers"),
    "a huge array of strings": (
        header(0, 1, text(b"k") + struct.pack("<IIQ", 9, 8, 2**50)),
        "announces .* strings",
    ),
    "arrays in arrays": (
        header(0, 1, text(b"k") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 50),
        "deep",
    ),
    "an unknown type": (header(0, 1, text(b"k") + struct.pack("<I", 77) + b"x" * 20), "unknown type 77"),
    "a truth value of 2": (header(0, 1, text(b"k") + struct.pack("<IB", 7, 2)), "truth value"),
    "bytes that are no text": (header(0, 1, text(b"\xff\xfe") + struct.pack("<IB", 0, 2)), "not UTF-8"),
    "no power of two": (header(0, 1, text(b"general.alignment") + struct.pack("<II", 4, 12)), "power of two"),
    "alignment 0": (header(0, 1, text(b"general.alignment") + struct.pack("<II", 4, 0)), "power of two"),
    "a tensor twice": (header(2, 0, entry(b"t", (1,)) * 2) + b"\0" * 64, "names the tensor t twice"),
    "no dimensions": (header(1, 0, entry(b"t", ())) + b"\0" * 64, "0 dimensions"),
    "nine dimensions": (header(1, 0, entry(b"t", (1,) * 9)) + b"\0" * 64, "9 dimensions"),
    "an empty dimension": (header(1, 0, entry(b"t", (0,))) + b"\0" * 64, "cannot have"),
    "a product over 2**64": (header(1, 0, entry(b"t", (2**62, 2**62))) + b"\0" * 64, "bytes early"),
    "a row of half a block": (header(1, 0, entry(b"t", (16,), 8)) + b"\0" * 64, "which Q8_0 cannot have"),
    "an unknown kind": (header(1, 0, entry(b"t", (32,), 99)) + b"\0" * 64, "tensor t has the kind 99"),
    "an offset beyond": (header(1, 0, entry(b"t", (1,), 0, 2**40)) + b"\0" * 64, "bytes early"),
    "an odd offset": (header(1, 0, entry(b"t", (1,), 0, 3)) + b"\0" * 64, "not a multiple of 32"),
    "an overlap": (
        header(2, 0, entry(b"s", (64,)) + entry(b"t", (1,), 0, 32)) + b"\0" * 999,
        "s and t overlap",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_header_is_one_sentence(name, damaged):
    data, sentence = HOSTILE[name]
    with pytest.raises(ModelError, match=sentence):
        GGUFFile(damaged(data))


def test_an_absent_tensor_is_named(damaged, small):
    with pytest.raises(ModelError, match="has no tensor nothing"):
        GGUFFile(damaged(small)).read("nothing")


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_flipped_and_cut_bytes_give_a_file_or_a_model_error(data, small, damaged):
    """No other exception, and no allocation out of proportion to the file's few hundred bytes."""
    changed = bytearray(small)
    for _ in range(data.draw(st.integers(0, 3))):
        place = data.draw(st.integers(0, len(changed) - 1))
        changed[place] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del changed[data.draw(st.integers(0, len(changed))) :]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        file = GGUFFile(damaged(bytes(changed)))
        for name in file.tensors:
            file.read(name)
    except ModelError as error:
        assert str(error)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kilobytes


def split(folder: Path, count: int = 3) -> list[Path]:
    """A model in several files, as llama.cpp splits one: metadata in the first, a tensor in each."""
    files = []
    for number in range(count):
        writer = gguf.GGUFWriter(folder / f"m-{number + 1:05}-of-{count:05}.gguf", "llama")
        writer.add_uint16("split.no", number)
        writer.add_uint16("split.count", count)
        writer.add_int32("split.tensors.count", count)
        if number == 0:
            writer.add_string("test.text", "first")
        writer.add_tensor(f"t{number}", np.full((2, 32), number, np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        files.append(folder / f"m-{number + 1:05}-of-{count:05}.gguf")
    return files


def test_any_part_of_a_split_model_finds_the_others(tmp_path):
    files = split(tmp_path)
    for file in files:
        found = GGUFFile(file)
        assert found.path == files[0] and found.files == files and found.metadata["test.text"] == "first"
        assert [float(found.read(f"t{number}").mean()) for number in range(3)] == [0, 1, 2]


def test_a_part_that_is_missing_or_another_one_is_named(tmp_path):
    files = split(tmp_path)
    whole = files[2].read_bytes()
    files[2].unlink()
    with pytest.raises(ModelError, match=r"m-00003-of-00003\.gguf is missing, a part of the model"):
        GGUFFile(files[0])
    files[2].write_bytes(files[1].read_bytes())
    with pytest.raises(ModelError, match=r"00003-of-00003\.gguf says that it is part 1 .*of 3, and is named 2 of 3"):
        GGUFFile(files[0])
    files[2].write_bytes(whole[: len(whole) - 40])
    with pytest.raises(ModelError, match=r"00003-of-00003\.gguf ends 40 bytes early"):
        GGUFFile(files[0])
    (tmp_path / "other.gguf").write_bytes(files[0].read_bytes())
    with pytest.raises(ModelError, match=r"other\.gguf is one of 3 parts .*its name does not say so"):
        GGUFFile(tmp_path / "other.gguf")
