"""What only runs compiled holds packed weights alone, and the next start finds them on the disk."""

from __future__ import annotations

import copy
import gc
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

pytest.importorskip("numba")

import gguf
import tiny
from adaptation.adapted import randomise_adapters
from jobs.small_files import tokenizer

import lmworks as lm
from lmworks.adaptation.adapter_files import BASE_VALUES, CONFIG, WEIGHTS
from lmworks.adaptation.bottleneck import BottleneckLinear, add_bottlenecks, write_bottlenecks
from lmworks.adaptation.bottleneck_config import BottleneckConfig
from lmworks.adaptation.dora import DoRALinear
from lmworks.adaptation.lora import LoRALinear, add_lora
from lmworks.adaptation.lora_config import LoRAConfig
from lmworks.adaptation.nf4 import VALUES
from lmworks.adaptation.peft_format import write_adapter
from lmworks.basics import progress
from lmworks.basics.errors import ModelError
from lmworks.basics.files import cache_folder, write_json
from lmworks.jobs.export import export
from lmworks.kernels import CompiledRunner, keeping, packer, unavailable
from lmworks.kernels.checksum import BLOCK, Checksum
from lmworks.kernels.keeping import FIRST, HEAD
from lmworks.kernels.outlier_search import outliers
from lmworks.kernels.packing import pack, quantised
from lmworks.kernels.run.library import library
from lmworks.language_model import LanguageModel
from lmworks.loading import forget
from lmworks.models.adapted import AdaptedLinear, adapted_layers
from lmworks.models.files.compressed import Compression
from lmworks.models.files.directory import write_network
from lmworks.models.files.model_folder import read_json
from lmworks.models.hooks import hooked
from lmworks.models.unread import peeked, unread_of

if unavailable() is not None:
    pytest.skip(str(unavailable()), allow_module_level=True)

SHAPE = {"family": "llama", "dim": 64, "heads": 4, "kv_heads": 2, "head_dim": 16, "hidden_dim": 96, "context": 128}
TOKENS = tiny.text(2, 24)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model's directory."""
    network = tiny.network(vocab_size=tokenizer().vocab_size, **SHAPE)
    return LanguageModel(network, tokenizer()).save(tmp_path_factory.mktemp("models") / "small")


@pytest.fixture(params=["q4_0", "q8_0", "directory", "compressed"])
def loaded(request: pytest.FixtureRequest, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What loads the model of a file: one in few bits as it is, another in 8. It keeps in a folder of its own."""
    keep_small(tmp_path, monkeypatch)
    path = folder
    if request.param == "compressed":
        path = tmp_path / "small"
        shutil.copytree(folder, path)
        write_network(path, LanguageModel.load(folder).network, compression=Compression(4))
    elif request.param != "directory":
        export(str(folder), tmp_path / "small.gguf", kind=request.param)
        path = tmp_path / "small.gguf"
    chosen = {"compress": "int8"} if path is folder else {}
    return lambda **more: LanguageModel.load(path, **(chosen | more))


def keep_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep small networks too, in a folder of this test's own; the kernels are where they are for all tests."""
    library()
    monkeypatch.setenv("LMWORKS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(keeping, "LEAST", 0)
    monkeypatch.setattr(progress, "_said", set())


def kept(tmp_path: Path) -> list[Path]:
    """The files of packed weights."""
    return sorted((tmp_path / "cache" / "packed").glob("*.packed"))


def never(*_: object) -> Any:
    """Nobody packs anything."""
    raise AssertionError("packed again")


def test_kept_weights_are_those_that_are_packed_afresh(
    loaded: Callable[..., LanguageModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as without:
        without.setattr(LanguageModel, "_keeper", lambda *_: None)
        fresh = loaded()
    first = loaded()
    assert len(kept(tmp_path)) == 1
    monkeypatch.setattr(packer, "outliers", never)
    monkeypatch.setattr(packer, "pack", never)
    second = loaded()
    monkeypatch.setattr(keeping, "available_bytes", lambda: 1000)
    mapped = loaded()
    logits = fresh.logits(TOKENS)
    for one in (first, second, mapped):
        assert one.runner.name == "compiled"
        assert torch.equal(one.logits(TOKENS), logits)
        for name, matrix in fresh.runner.compiled.weights.matrices.items():
            other = one.runner.compiled.weights.matrices[name]
            assert (matrix.data == other.data).all() and matrix.address % 64 == other.address % 64 == 0
            assert (matrix.rows, matrix.columns, matrix.outliers) == (other.rows, other.columns, other.outliers)


@pytest.mark.parametrize("threads", ["1", "2", "5"])
def test_a_network_is_packed_alike_by_any_number_of_threads(
    threads: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    keep_small(tmp_path, monkeypatch)
    monkeypatch.setenv("LMWORKS_THREADS", threads)
    monkeypatch.setattr(packer, "AT_ONCE", 16 * 64)  # many parts of each matrix
    folder = tiny.language_model(**SHAPE).save(tmp_path / "small")
    packed_by: set[str] = set()
    monkeypatch.setattr(packer, "pack", lambda *a: (packed_by.add(threading.current_thread().name), pack(*a))[1])
    model = lm.load(folder, compress="int8")
    assert len(packed_by) <= int(threads) and all(name.startswith("lmworks-packing") for name in packed_by)
    network, (file,) = model.network, kept(tmp_path)
    data, found = file.read_bytes(), outliers(network)
    begin, size = HEAD.unpack(data[: HEAD.size])[1:3]
    for name, (about,) in json.loads(data[begin : begin + size])["matrices"].items():
        start, length = about["data"]
        whole = pack(quantised(name, network.get_parameter(name), 8), 8)
        assert data[start : start + length] == whole.data.tobytes()
        assert tuple(about["outliers"]) == found.get(name, ())


@pytest.mark.parametrize("stops_at", ["packing", "the search"])
def test_packing_that_is_stopped_leaves_no_thread_and_no_file(
    stops_at: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """As Ctrl-C does it: in the thread that waits. What another thread fails with is raised there too."""
    keep_small(tmp_path, monkeypatch)
    monkeypatch.setenv("LMWORKS_THREADS", "2")

    def stopped(*_: object) -> Any:
        raise KeyboardInterrupt

    if stops_at == "packing":
        monkeypatch.setattr(Checksum, "add", stopped)
        search, waits = packer.outliers, threading.Event()
        monkeypatch.setattr(packer, "outliers", lambda *given: (waits.wait(0.2), search(*given))[1])
    else:
        monkeypatch.setattr(packer, "outliers", stopped)
    with pytest.raises(KeyboardInterrupt):
        lm.load(folder, compress="int8")
    assert not [one for one in threading.enumerate() if one.name.startswith("lmworks-packing")]
    assert [one.suffix for one in (tmp_path / "cache" / "packed").iterdir()] == [".lock"]


@pytest.mark.parametrize(("free", "is_mapped"), [(200, False), (199, True), (None, True), (1 << 62, False)])
def test_a_file_is_mapped_where_it_would_take_over_half_of_what_is_free(
    free: int | None, is_mapped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "file").write_bytes(bytes(range(100)))
    monkeypatch.setattr(keeping, "available_bytes", lambda: free)
    for wants, mapped in ((np.empty, is_mapped), (no_memory, True)):
        of_some, checksum = Checksum(), Checksum()
        of_some.add(bytes(range(10, 90)))
        monkeypatch.setattr(keeping.np, "empty", wants)
        with (tmp_path / "file").open("rb") as file:
            data = keeping._bytes(file, range(10, 90), checksum)
        assert data.tobytes() == bytes(range(100))
        assert checksum.hexdigest() == of_some.hexdigest()
        whole = data
        while isinstance(whole.base, np.ndarray):
            whole = whole.base
        assert (whole.base is not None) == mapped


@pytest.mark.parametrize("threads", ["1", "2", "5"])
@pytest.mark.parametrize("size", [3 * BLOCK - 1, 3 * BLOCK, 6 * BLOCK + 700])
def test_a_file_is_read_and_summed_alike_by_any_number_of_threads(
    threads: str, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("LMWORKS_THREADS", threads)
    monkeypatch.setattr(keeping, "SPAN", 2 * BLOCK)
    written = np.random.default_rng(size).integers(0, 256, 100 + size + 50, np.uint8)
    written.tofile(tmp_path / "file")
    of_some, checksum = Checksum(), Checksum()
    of_some.add(written[100 : 100 + size].data)
    with (tmp_path / "file").open("rb") as file:
        assert (keeping._bytes(file, range(100, 100 + size), checksum) == written).all()
    assert checksum.hexdigest() == of_some.hexdigest()
    assert not [one for one in threading.enumerate() if one.name.startswith("lmworks-reading")]


def no_memory(*_: object) -> Any:
    """As under a limit of the process."""
    raise MemoryError


def test_no_matrix_is_read_as_floats_until_somebody_asks(loaded: Callable[..., LanguageModel], tmp_path: Path):
    model, eager = loaded(), loaded(compress="none")
    matrices = model.runner.compiled.weights.matrices
    before = model.logits(TOKENS)
    model.generate("the model", max_new_tokens=5)
    model.score("the model reads")
    assert all(unread_of(one) is not None for name, one in peeked(model.network).items() if name in matrices)
    assert model.network.dtype == eager.network.dtype and model.network.device == eager.network.device
    # One layer is asked for, and one is read.
    assert torch.equal(model.network.blocks[0].attention.qkv.weight, eager.network.blocks[0].attention.qkv.weight)
    assert sum(unread_of(one) is None for name, one in peeked(model.network).items() if name in matrices) == 1
    assert model.runner.stands() and torch.equal(model.logits(TOKENS), before)
    # Hooks, PyTorch and files see the weights of a model that was read at once.
    seen: list[torch.Tensor] = []
    with hooked(model.network, {"blocks.1.residual_out": lambda x: seen.append(x.clone())}):
        by_hook = model.logits(TOKENS)
    assert seen and torch.equal(by_hook, eager.network(TOKENS))
    assert torch.equal(model.logits(TOKENS), before) and model.runner.name == "compiled"
    loaded().save(tmp_path / "saved")
    eager.save(tmp_path / "saved at once")
    saved, at_once = (load_file(tmp_path / one / "model.safetensors") for one in ("saved", "saved at once"))
    assert saved.keys() == at_once.keys() and all(torch.equal(one, at_once[name]) for name, one in saved.items())


def test_a_changed_weight_is_noticed(loaded: Callable[..., LanguageModel]):
    model = loaded()
    before = model.logits(TOKENS)
    with torch.no_grad():
        model.network.blocks[1].feed_forward.down.weight.mul_(2)
    with pytest.warns(UserWarning, match="not what was compiled"):
        after = model.logits(TOKENS)
    assert not torch.equal(before, after)
    model.choose_runner("int8")
    assert model.runner.name == "compiled" and not torch.equal(model.logits(TOKENS), before)


def test_weights_that_are_read_late_train_like_others(loaded: Callable[..., LanguageModel]):
    """Somebody looked at them inside torch.inference_mode first."""
    gradients = []
    for model in (loaded(), loaded(compress="none")):
        with torch.inference_mode():
            model.network(TOKENS)
        other = copy.deepcopy(model.network).float().train().requires_grad_(True)
        other(TOKENS).sum().backward()
        gradients.append(other.blocks[0].attention.qkv.weight.grad)
    assert gradients[0] is not None and torch.equal(*gradients)


def test_an_encoder_that_embeds_is_kept_while_its_weights_are_those_of_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    keep_small(tmp_path, monkeypatch)
    shape = {"family": "lmworks", "arrangement": "encoder", **{name: SHAPE[name] for name in SHAPE if name != "family"}}
    folder = tiny.language_model(**shape).save(tmp_path / "encoder")
    first = lm.load(folder).embed(["the model"])
    assert len(kept(tmp_path)) == 1
    model = lm.load(folder)
    with monkeypatch.context() as packed:
        packed.setattr(packer, "pack", never)
        assert torch.equal(model.embed(["the model"]), first)
    with torch.no_grad():
        model.network.blocks[0].feed_forward.up.weight.mul_(-1)
    assert not torch.equal(model.embed(["the model"]), first)
    changed = lm.load(folder)
    with torch.no_grad():
        changed.network.blocks[0].feed_forward.up.weight.mul_(-1)
    assert not torch.equal(changed.embed(["the model"]), first)
    assert torch.equal(lm.load(folder).embed(["the model"]), first)
    other = lm.load(folder)
    other.network = copy.deepcopy(changed.network)
    assert torch.allclose(other.embed(["the model"]), changed.embed(["the model"]), atol=1e-2)
    assert not torch.allclose(other.embed(["the model"]), first, atol=1e-2)


@pytest.mark.parametrize("change", ["other weights", "no memory"])
def test_a_network_that_is_built_late_is_that_of_its_files_and_fits(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    keep_small(tmp_path, monkeypatch)
    shape = {"family": "lmworks", "arrangement": "encoder", **{name: SHAPE[name] for name in SHAPE if name != "family"}}
    folder = tiny.language_model(**shape).save(tmp_path / "encoder")
    vectors = lm.load(folder).vectors(["the model"])
    model = lm.load(folder)
    if change == "other weights":
        tiny.language_model(seed=9, **shape).save(folder)
    else:
        monkeypatch.setattr("lmworks.kernels.footprint.available_bytes", lambda: 1000)
    assert np.array_equal(model.vectors(["the model"]), vectors)
    with pytest.raises(ModelError, match="has changed since" if change == "other weights" else "of memory are free"):
        _ = model.network


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def flipped_at(place: int) -> Callable[[Path], None]:
    def flip(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[place] ^= 1
        path.write_bytes(data)

    return flip


def zeroed_at(share: float, count: int) -> Callable[[Path], None]:
    """Zeros over what is no zero, from this share of the weights on."""

    def overwrite(path: Path) -> None:
        data = bytearray(path.read_bytes())
        end = HEAD.unpack(data[: HEAD.size])[1]
        while data[end - 1] == 0:  # before the table nothing lies but what fills up
            end -= 1
        begin = FIRST + int(share * (end - count - FIRST))
        assert any(data[begin : begin + count])
        data[begin : begin + count] = bytes(count)
        path.write_bytes(data)

    return overwrite


def turned(path: Path) -> None:
    """Two pages of the disk in each other's place."""
    data = bytearray(path.read_bytes())
    first, second = (slice(begin, begin + 4096) for begin in (FIRST, FIRST + 3 * 4096))
    assert data[first] != data[second]
    data[first], data[second] = data[second], data[first]
    path.write_bytes(data)


FAULTS = {
    "cut": (cut, "are damaged or cut off"),
    "empty": (lambda path: path.write_bytes(b""), "are damaged or cut off"),
    "half a head": (lambda path: path.write_bytes(path.read_bytes()[:30]), "are damaged or cut off"),
    "magic": (flipped_at(3), "are damaged or cut off"),
    "place of the table": (flipped_at(17), "are damaged or cut off"),
    "size of the table": (flipped_at(30), "are damaged or cut off"),
    "hash": (flipped_at(40), "are damaged or cut off"),
    "table": (flipped_at(-20), "are damaged or cut off"),
    "first bit of the weights": (flipped_at(FIRST), "are damaged or cut off"),
    "bytes at the start": (zeroed_at(0, 64), "are damaged or cut off"),
    "bytes in the middle": (zeroed_at(0.5, 4096), "are damaged or cut off"),
    "last bytes": (zeroed_at(1, 4), "are damaged or cut off"),
    "two pages in turn": (turned, "are damaged or cut off"),
}


@pytest.mark.parametrize("is_mapped", [False, True])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_file_is_made_anew_and_said_in_one_line(
    fault: str, is_mapped: bool, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    keep_small(tmp_path, monkeypatch)
    if is_mapped:
        monkeypatch.setattr(keeping, "available_bytes", lambda: None)
    logits = lm.load(folder, compress="int8").logits(TOKENS)
    (file,) = kept(tmp_path)
    whole = file.read_bytes()
    damage, reason = FAULTS[fault]
    damage(file)
    with pytest.warns(UserWarning, match=rf"the packed weights of [^ ]*small {reason}; they are packed anew"):
        assert torch.equal(lm.load(folder, compress="int8").logits(TOKENS), logits)
    assert file.read_bytes() == whole


BEGINS_AT_ONCE = """
import sys
import time
from pathlib import Path

import lmworks as lm
from lmworks.kernels import keeping, packer

model, ready, go = map(Path, sys.argv[1:])
keeping.LEAST, pack, parts = 0, packer.pack, []

def packs_slowly(*given):
    parts.append(time.sleep(0.05))
    return pack(*given)

packer.pack = packs_slowly
ready.touch()
while not go.exists():
    time.sleep(0.001)
print(repr(lm.load(model).generate("the model", max_new_tokens=5).text))
print(len(parts))
"""


def test_two_processes_that_begin_at_once_pack_a_new_file_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    kernels = cache_folder("kernels")
    keep_small(tmp_path, monkeypatch)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "kernels").symlink_to(kernels)
    path, go = tmp_path / "small.gguf", tmp_path / "go"
    export(str(folder), path, kind="q4_0")
    ready = [tmp_path / "first is ready", tmp_path / "second is ready"]
    given = [sys.executable, "-c", BEGINS_AT_ONCE, path]
    processes = [subprocess.Popen([*given, one, go], stdout=subprocess.PIPE, text=True) for one in ready]
    try:
        while not all(one.exists() for one in ready):
            assert all(one.poll() is None for one in processes)
            time.sleep(0.01)
        go.touch()
        texts, packed = zip(*(one.communicate(timeout=300)[0].splitlines() for one in processes), strict=True)
    finally:
        for one in processes:
            one.kill()
    assert texts[0] == texts[1] and len(kept(tmp_path)) == 1
    assert "0" in packed and max(map(int, packed)) > 0


def test_a_hundred_cuts_and_a_hundred_flips_of_what_is_kept_are_all_noticed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    keep_small(tmp_path, monkeypatch)
    model = lm.load(folder, compress="int8")
    (file,), keeper = kept(tmp_path), model._keeper(True)
    whole, draw = file.read_bytes(), random.Random(0)
    assert keeper is not None and keeper.opened(model.network.config, 8) is not None
    places = [*range(0, HEAD.size, 4), *(draw.randrange(FIRST, len(whole)) for _ in range(84))]
    damaged = [whole[:end] for end in (0, 1, HEAD.size, FIRST, *(draw.randrange(len(whole)) for _ in range(96)))]
    for place in places:
        flipped = bytearray(whole)
        flipped[place] ^= 1 << draw.randrange(8)
        damaged.append(bytes(flipped))
    assert len(damaged) == 200
    for number, data in enumerate(damaged):
        file.write_bytes(data)
        assert keeper.opened(model.network.config, 8) is None, number
        if number % 10 == 0:
            monkeypatch.setattr(progress, "_said", set())
            with pytest.warns(UserWarning, match="are damaged or cut off; they are packed anew"):
                assert keeper.kept(packer.Packer(model.network, 8)) is not None
            assert file.read_bytes() == whole


def test_a_small_file_is_known_by_its_content_and_a_large_one_by_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    keep_small(tmp_path, monkeypatch)
    folder = tiny.language_model(**SHAPE).save(tmp_path / "small")
    lm.load(folder, compress="int8")
    (weights,) = folder.glob("*.safetensors")
    os.utime(weights, (1e9, 1e9))  # as in another checkout
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lm.load(folder, compress="int8")
    state, data = keeping._state(weights), bytearray(weights.read_bytes())
    data[len(data) * 21 // 50] ^= 1  # between the parts that would be looked at of a large file
    weights.write_bytes(data)
    os.utime(weights, (1e9, 1e9))
    assert keeping._state(weights) != state
    monkeypatch.setattr(keeping, "SMALL", 0)
    state = keeping._state(weights)
    os.utime(weights, (2e9, 2e9))
    assert keeping._state(weights) != state


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("_layout", "were made by another version of lmworks"),
        ("features", "were made on another processor"),
        ("file", "were made before its files changed"),
    ],
)
def test_a_stale_file_is_made_anew_and_said_in_one_line(
    change: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    keep_small(tmp_path, monkeypatch)
    folder = tiny.language_model(**SHAPE).save(tmp_path / "small")
    before = lm.load(folder, compress="int8").logits(TOKENS)
    (file,) = kept(tmp_path)
    if change == "file":
        other = tiny.language_model(seed=1, **SHAPE).save(tmp_path / "small")
        assert other == folder
    else:
        monkeypatch.setattr(keeping, change, lambda: "another")
    if change == "_layout":
        monkeypatch.setattr(keeping, "SMALL", 0)  # another version may tell files by something else
    with pytest.warns(UserWarning, match=rf"the packed weights of [^ ]*small {reason}; they are packed anew"):
        after = lm.load(folder, compress="int8").logits(TOKENS)
    assert torch.equal(before, after) == (change != "file")
    assert kept(tmp_path) == [file]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(lm.load(folder, compress="int8").logits(TOKENS), after)


def test_a_write_that_fails_leaves_nothing_and_the_model_runs(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    keep_small(tmp_path, monkeypatch)
    logits = lm.load(folder, compress="int8").logits(TOKENS)
    (file,) = kept(tmp_path)
    file.unlink()
    stale = file.with_name(f".{file.name}.killed")
    stale.write_bytes(b"half")

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as interrupted, pytest.raises(KeyboardInterrupt):
        interrupted.setattr(keeping, "HEAD", SimpleNamespace(pack=stopped))  # when all matrices are written
        lm.load(folder, compress="int8")
    assert [one.suffix for one in file.parent.iterdir()] == [".lock"]

    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keeping, "_write", no_space)
    with pytest.warns(UserWarning, match="cannot be kept for the next start"):
        assert torch.equal(lm.load(folder, compress="int8").logits(TOKENS), logits)
    (tmp_path / "no folder").write_text("")
    monkeypatch.setenv("LMWORKS_CACHE", str(tmp_path / "no folder"))
    with pytest.warns(UserWarning, match="cannot be kept for the next start"):
        assert torch.equal(lm.load(folder, compress="int8").logits(TOKENS), logits)


def test_what_is_kept_of_a_model_is_forgotten(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    keep_small(tmp_path, monkeypatch)
    other = tiny.language_model(**SHAPE).save(tmp_path / "other")
    for path in (folder, other):
        for bits in ("int8", "int4"):
            lm.load(path, compress=bits)
    assert len(kept(tmp_path)) == 4
    own = [(one, one.stat().st_size) for one in kept(tmp_path) if one.name.startswith("small-")]
    assert forget(str(folder)) == own and all(size > FIRST for _, size in own)
    assert [one.name.split("-")[0] for one in kept(tmp_path)] == ["other", "other"]
    assert forget(str(folder)) == [] and folder.is_dir()


def test_what_is_kept_of_adapters_is_forgotten_with_them_and_with_their_base(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """However many bytes their names have."""
    keep_small(tmp_path, monkeypatch)
    path = tmp_path / f"{'模' * 60}.gguf"
    export(str(folder), path, kind="q4_0")
    first, second = (adapted(tmp_path / name, path, size=0.5) for name in ("first", "型" * 60))
    for one in (path, first, second):
        lm.load(one)
    base, of_first, of_second = kept(tmp_path)
    assert [removed for removed, _ in forget(str(first))] == [of_first]
    assert kept(tmp_path) == [base, of_second]
    assert [removed for removed, _ in forget(str(path))] == [base, of_second]
    assert kept(tmp_path) == []


@pytest.mark.parametrize("named", [1, 2, 3])
@pytest.mark.parametrize("is_there", [True, False])
def test_what_is_kept_of_a_model_in_parts_is_forgotten_by_any_of_them(
    named: int, is_there: bool, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    keep_small(tmp_path, monkeypatch)
    export(str(folder), tmp_path / "m.gguf", kind="q4_0")
    parts = in_parts(tmp_path / "m.gguf", 3)
    lm.load(parts[1])
    (file,) = kept(tmp_path)
    size = file.stat().st_size
    for part in parts if not is_there else ():
        part.unlink()
    assert forget(str(parts[named - 1])) == [(file, size)]
    assert kept(tmp_path) == [] and all(part.exists() is is_there for part in parts)


def in_parts(path: Path, count: int) -> list[Path]:
    """A file's model in several, as llama.cpp splits it: metadata in the first, tensors in turn."""
    whole, paths = gguf.GGUFReader(path), []
    for number in range(count):
        part = path.with_name(f"{path.stem}-{number + 1:05}-of-{count:05}.gguf")
        writer = gguf.GGUFWriter(part, "llama")
        for field in whole.fields.values() if number == 0 else ():
            kind, value = field.types[0], field.contents()
            if field.name.startswith("GGUF.") or field.name == "general.architecture":
                continue
            if kind == gguf.GGUFValueType.ARRAY:
                writer.add_array(field.name, value)
            else:
                writer.add_key_value(field.name, value, kind)
        writer.add_uint16("split.count", count)
        writer.add_uint16("split.no", number)
        writer.add_int32("split.tensors.count", len(whole.tensors))
        for tensor in whole.tensors[number::count]:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        paths.append(part)
    return paths


def test_small_networks_are_not_kept(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LMWORKS_CACHE", str(tmp_path / "cache"))
    lm.load(folder, compress="int8")
    assert kept(tmp_path) == []


@pytest.mark.parametrize("name", ["embedding.weight", "blocks.1.attention.qkv.weight"])
def test_a_matrix_that_is_not_finite_is_refused_whatever_runs_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    keep_small(tmp_path, monkeypatch)
    model = tiny.language_model(**SHAPE)
    with torch.no_grad():
        model.network.get_parameter(name)[3, 5] = float("nan")
    model.save(tmp_path / "broken")
    for compress in ("int8", "none", None):
        with pytest.raises(ModelError, match=rf"{name} holds values that are not finite"):
            lm.load(tmp_path / "broken", compress=compress)
    assert kept(tmp_path) == []


WRITES = """
import sys

from fastapi.testclient import TestClient

import lmworks as lm
from lmworks.serving.app import create_app
from lmworks.serving.models import ServedModels
from lmworks.serving.service import Service

model = lm.load(sys.argv[1])
odd = lm.Sample(seed=1, typical_p=0.9, repetition_penalty=1.1)
choices = [lm.Greedy(), lm.Sample(seed=1, top_p=0.9), odd, lm.Beam(width=2)]
texts = [model.generate("the model", one, max_new_tokens=5).text for one in choices]
assert "".join(model.stream("the model", max_new_tokens=5)) == texts[0]
with TestClient(create_app(ServedModels.of(Service(model, name="small")))) as client:
    said = client.post("/v1/completions", json={"prompt": "the model", "max_tokens": 5, "temperature": 0})
    about = client.get("/v1/models").json()["data"][0]["about"]
assert said.json()["choices"][0]["text"] == texts[0], said.text
assert about["parameters"] == int(sys.argv[2])
print(*[name for name in ("torch", "numba", "transformers", "gguf", "jaxtyping", "pooch") if name in sys.modules])
model.score("the model")
print("torch" in sys.modules, *map(repr, texts), sep="\\n")
"""


def test_what_is_kept_writes_and_serves_without_pytorch(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    kernels = cache_folder("kernels")
    pytest.importorskip("fastapi")
    keep_small(tmp_path, monkeypatch)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "kernels").symlink_to(kernels)
    path = tmp_path / "small.gguf"
    export(str(folder), path, kind="q4_0")
    model = LanguageModel.load(path)
    given = [str(path), str(model.parameters)]
    ran = subprocess.run([sys.executable, "-c", WRITES, *given], capture_output=True, text=True, check=True)
    loaded_too, later, *texts = ran.stdout.splitlines()
    assert (loaded_too, later) == ("", "True") and texts[0] == repr(model.generate("the model", max_new_tokens=5).text)


WRITES_ADAPTED = """
import sys

import lmworks as lm

model = lm.load(sys.argv[1])
print(repr(model.generate("the model", max_new_tokens=5).text))
print("torch" in sys.modules)
print(model.score("the model").bits)
"""


def adapted(folder: Path, base: Path, size: float, kind: type[AdaptedLinear] = LoRALinear) -> Path:
    """An adapter of random numbers on a file."""
    network = LanguageModel.load(base, dtype="float32").network
    folder.mkdir(exist_ok=True)
    if issubclass(kind, LoRALinear):
        add_lora(network, LoRAConfig(rank=4), kind=kind)
        write_adapter(folder, randomise_adapters(network, size=size), str(base))
    else:
        add_bottlenecks(network, BottleneckConfig(size=5))
        write_bottlenecks(folder, randomise_adapters(network, size=size), str(base))
    return folder


@pytest.mark.parametrize("kind", [LoRALinear, DoRALinear, BottleneckLinear])
def test_an_adapter_is_packed_once_and_then_runs_without_pytorch(
    kind: type[AdaptedLinear], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    kernels = cache_folder("kernels")
    keep_small(tmp_path, monkeypatch)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "kernels").symlink_to(kernels)
    path = tmp_path / "small.gguf"
    export(str(folder), path, kind="q4_0")
    adapter = adapted(tmp_path / "adapter", path, size=0.5, kind=kind)
    base = LanguageModel.load(path)  # kept from here on
    first = lm.load(adapter)
    gc.collect()
    made = [one for one in gc.get_objects() if isinstance(one, CompiledRunner) and one._later.is_built]
    assert sum(one.network is first.network for one in made) == 1  # of packed weights there is one set
    del made
    before = first.logits(TOKENS)
    assert first.runner.name == "compiled" and not torch.equal(before, base.logits(TOKENS)) and len(kept(tmp_path)) == 2
    ran = subprocess.run([sys.executable, "-c", WRITES_ADAPTED, adapter], capture_output=True, text=True, check=False)
    assert not ran.returncode, ran.stderr
    text, waits, bits = ran.stdout.splitlines()
    assert (text, waits) == (repr(first.generate("the model", max_new_tokens=5).text), "False")
    assert float(bits) == first.score("the model").bits
    second = lm.load(adapter)
    assert not second._later.is_built and torch.equal(second.logits(TOKENS), before)
    network = second.network  # built now, with the adapter on it
    assert adapted_layers(network) and second.runner.stands() and torch.equal(second.logits(TOKENS), before)
    adapted(tmp_path / "adapter", path, size=1.0, kind=kind)
    changed = lm.load(adapter)
    assert not torch.equal(changed.logits(TOKENS), before) and len(kept(tmp_path)) == 2
    assert torch.equal(lm.load(adapter).logits(TOKENS), changed.logits(TOKENS))
    again = lm.load(adapter)
    adapted(tmp_path / "adapter", path, size=0.5, kind=kind)
    with pytest.raises(ModelError, match="has changed since it was loaded; load it again"):
        _ = again.network
    (adapter / WEIGHTS).unlink()
    with pytest.raises(ModelError, match=r"adapter_model\.safetensors"):
        lm.load(adapter)


def test_a_damaged_file_of_an_adapter_is_made_anew_and_said_in_one_line(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    keep_small(tmp_path, monkeypatch)
    path = tmp_path / "small.gguf"
    export(str(folder), path, kind="q4_0")
    LanguageModel.load(path)
    (base,) = kept(tmp_path)
    adapter = adapted(tmp_path / "adapter", path, size=0.5)
    logits = lm.load(adapter).logits(TOKENS)
    (file,) = {*kept(tmp_path)} - {base}
    whole = file.read_bytes()
    zeroed_at(0.5, 64)(file)
    with pytest.warns(UserWarning, match=r"the packed weights of [^ ]*adapter are damaged or cut off; they are packed"):
        assert torch.equal(lm.load(adapter).logits(TOKENS), logits)
    assert file.read_bytes() == whole


def test_adapters_of_a_file_in_few_bits_stand_beside_one_another(folder: Path, tmp_path: Path):
    """As QLoRA on a file's grid makes them: each is to the bit what it is alone, of any kind."""
    path = tmp_path / "small.gguf"
    export(str(folder), path, kind="q4_0")
    model = LanguageModel.load(path)
    kinds = {"lora": LoRALinear, "dora": DoRALinear, "bottleneck": BottleneckLinear}
    for name, kind in kinds.items():
        lm.add_adapter(model, name, adapted(tmp_path / name, path, 0.5, kind))
    text = "the model reads a text"
    alone = {name: lm.load(tmp_path / name) for name in kinds} | {None: LanguageModel.load(path)}
    assert all(one.runner.name == "compiled" for one in (model, *alone.values()))
    scores = {name: model.score(text, adapter=name).logprobs for name in alone}
    assert scores == {name: one.score(text).logprobs for name, one in alone.items()}
    assert len({tuple(one) for one in scores.values()}) == 4


def test_an_adapter_of_a_rounded_base_runs_on_what_it_was_trained_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """QLoRA in NF4: the values of the file would be others, and nobody would see it."""
    keep_small(tmp_path, monkeypatch)
    path = tmp_path / "small.gguf"
    export(str(folder), path, kind="q4_0")
    adapter = adapted(tmp_path / "adapter", path, size=0.5)

    def bits(model: LanguageModel) -> int:
        return model.runner.compiled.weights.matrices["blocks.0.attention.qkv.weight"].bits  # type: ignore[attr-defined]

    plain = lm.load(adapter)
    assert bits(plain) == 4  # those of the file
    write_json(adapter / CONFIG, read_json(adapter / CONFIG) | {BASE_VALUES: VALUES})
    for model in (lm.load(adapter), lm.load(adapter)):
        assert bits(model) == 8  # other values, rounded anew
        assert not torch.equal(model.logits(TOKENS), plain.logits(TOKENS))
