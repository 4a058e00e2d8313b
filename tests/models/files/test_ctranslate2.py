"""A Whisper in CTranslate2's format: its weights under transformers' names, and files that lie."""

from __future__ import annotations

import random
import struct
from pathlib import Path
from typing import Any

import hearing
import numpy as np
import pytest
import torch

from lmworks.basics.errors import ModelError
from lmworks.basics.files import write_json
from lmworks.loading import fingerprint
from lmworks.models.families.whisper import WHISPER
from lmworks.models.files.ctranslate2 import BESIDE, PARTS
from lmworks.models.files.ctranslate2_file import CTranslate2File, is_ctranslate2
from lmworks.models.files.directory import read_network
from lmworks.models.files.model_folder import weight_files
from lmworks.models.network import Network

TYPES = {"float32": 0, "int8": 1, "int16": 2, "float16": 4}


def text(name: str) -> bytes:
    return struct.pack("<H", len(name) + 1) + name.encode() + b"\0"


def entry(name: str, values: np.ndarray) -> bytes:
    shape = struct.pack(f"<B{values.ndim}I", values.ndim, *values.shape)
    return text(name) + shape + struct.pack("<BI", TYPES[values.dtype.name], values.nbytes) + values.tobytes()


def container(entries: list[bytes], version: int = 6, spec: str = "WhisperSpec") -> bytes:
    alias = struct.pack("<I", 1) + text("decoder/projection/weight") + text("decoder/embeddings/weight")
    return struct.pack("<I", version) + text(spec) + struct.pack("<II", 3, len(entries)) + b"".join(entries) + alias


def named(network: Network) -> dict[str, np.ndarray]:
    """A network's weights as CTranslate2 names and joins them."""
    theirs = {name: one.numpy() for name, one in WHISPER.tensors_to(network.state_dict(), network.config).items()}
    ends = {"weight": "gamma", "bias": "beta"}
    found: dict[str, np.ndarray] = {}
    for stack in ("encoder", "decoder"):
        for ours, part in BESIDE.items():
            for kind in ("weight", "bias"):
                key = f"model.{stack}.{part}.{kind}"
                end = "encodings" if "positions" in part else ends[kind] if "norm" in part else kind
                if key in theirs:
                    found[f"{stack}/{ours}/{end}"] = theirs[key]
        for layer in range(8):
            for ours, parts in PARTS.items():
                for kind in ("weight", "bias"):
                    keys = [f"model.{stack}.layers.{layer}.{part}.{kind}" for part in parts]
                    if keys[-1] in theirs:
                        width = len(theirs[keys[-1]])
                        rows = [theirs[key] if key in theirs else np.zeros(width, np.float32) for key in keys]
                        end = ends[kind] if "norm" in ours else kind
                        found[f"{stack}/layer_{layer}/{ours}/{end}"] = np.concatenate(rows)
    return found


@pytest.fixture
def network() -> Network:
    return hearing.model().network


@pytest.fixture
def folder(network: Network, tmp_path: Path) -> Path:
    write_json(tmp_path / "config.json", WHISPER.config_to(network.config))
    settings: list[Any] = [entry("decoder/num_heads", np.array(4, np.int16)), entry("decoder/pre_norm", np.int8(1))]
    entries = [entry(name, values) for name, values in named(network).items()]
    (tmp_path / "model.bin").write_bytes(container(settings + entries))
    return tmp_path


def test_weights_are_read_and_are_those_of_the_network(network: Network, folder: Path):
    read = read_network(folder)
    expected = {  # keys have no bias in any file
        name: one.index_fill(0, torch.arange(32, 64), 0.0) if name.endswith("qkv.bias") else one
        for name, one in network.state_dict().items()
    }
    expected = {
        name: one.index_fill(0, torch.arange(32), 0.0) if name.endswith("kv.bias") and "cross" in name else one
        for name, one in expected.items()
    }
    torch.testing.assert_close(read.state_dict(), expected, rtol=0, atol=0)
    assert weight_files(folder) == [folder / "model.bin"] and is_ctranslate2(folder / "model.bin")
    before = fingerprint(folder)
    with (folder / "model.bin").open("ab") as file:
        file.write(b"x")
    assert fingerprint(folder) != before


def test_half_precision_is_read(network: Network, folder: Path):
    entries = [entry(name, values.astype(np.float16)) for name, values in named(network).items()]
    (folder / "model.bin").write_bytes(container(entries))
    assert read_network(folder).dtype == torch.float16
    read = read_network(folder, torch.float32).state_dict()["embedding.weight"]
    torch.testing.assert_close(read, network.state_dict()["embedding.weight"], rtol=1e-3, atol=1e-3)


def test_a_pickle_of_that_name_is_still_refused(folder: Path):
    for content in (b"\x80\x04K\x01.", b"", b"\6\0\0\0", b"PK\3\4"):
        (folder / "model.bin").write_bytes(content)
        assert not is_ctranslate2(folder / "model.bin")
        with pytest.raises(ModelError, match=r"model\.bin, a pickle, which can run code"):
            read_network(folder)


def test_eight_bits_and_tensors_of_others_are_named(network: Network, folder: Path):
    entries = [entry(name, values) for name, values in named(network).items()]
    eight = entry("decoder/layer_0/ffn/linear_0/weight", np.ones((2, 2), np.int8))
    (folder / "model.bin").write_bytes(container([*entries, eight]))
    with pytest.raises(ModelError, match="twice"):
        read_network(folder)
    other = entry("decoder/layer_0/ffn/linear_0/weight_scale", np.ones(2, np.float32))
    (folder / "model.bin").write_bytes(container([*entries, other]))
    with pytest.raises(ModelError, match="linear_0/weight_scale, which a Whisper does not have"):
        read_network(folder)
    kept = [entry(name, values) for name, values in named(network).items() if name != "decoder/embeddings/weight"]
    eight = entry("decoder/embeddings/weight", np.ones((317, 32), np.int8))
    (folder / "model.bin").write_bytes(container([*kept, eight]))
    with pytest.raises(ModelError, match="embeddings/weight in int8, which is not read"):
        read_network(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (container([], version=7), "version 7 of CTranslate2's format"),
        (container([], version=6)[:-3], "ends in the middle of an entry"),
        (container([]), "gives a second name to 'decoder/embeddings/weight'"),
        (container([entry("decoder/embeddings/weight", np.ones(3, np.float32))]) + b"xy", "goes on for 2 bytes"),
        (container([text("a") + b"\x09"]), "9 dimensions"),
        (container([text("a") + struct.pack("<BIBI", 1, 3, 0, 11) + bytes(11)]), r"shape \[3\] and 11 bytes"),
        (container([text("a") + struct.pack("<BIBI", 1, 2**32 - 1, 0, 12) + bytes(12)]), "and 12 bytes"),
        (container([text("a") + struct.pack("<BIBI", 1, 3, 77, 3) + bytes(3)]), "is stored as type 77"),
        (struct.pack("<I", 6) + text("WhisperSpec") + struct.pack("<II", 3, 2**31), "lists 2,147,483,648 tensors"),
        (container([struct.pack("<H", 2) + b"\xff\xfe" + bytes(9)]), "not UTF-8"),
    ],
)
def test_files_that_lie_are_one_sentence(content: bytes, message: str, tmp_path: Path):
    path = tmp_path / "model.bin"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message):
        CTranslate2File(path)


def test_whatever_is_cut_off_or_flipped_is_a_sentence(folder: Path):
    path, chance = folder / "model.bin", random.Random(0)
    whole = path.read_bytes()
    for size in [chance.randrange(len(whole)) for _ in range(60)]:
        path.write_bytes(whole[:size])
        with pytest.raises(ModelError):
            read_network(folder)
    for _ in range(150):
        changed = bytearray(whole)
        for _ in range(4):
            changed[chance.randrange(1500 if chance.random() < 0.7 else len(whole))] ^= 1 << chance.randrange(8)
        path.write_bytes(changed)
        try:
            read_network(folder)
        except ModelError as error:
            assert "\n" not in str(error)
