"""Packed weights on the disk: written once, read by every process that runs the model.

    keeper = Keeper(path, files)
    keeper.opened(config, bits)            # what is kept, or None: without PyTorch
    keeper.kept(packer)                    # packed first, where it is not
    forget(path)                           # what is kept for a model

A file lies in the cache folder, one for each model and way to pack it. It begins with a page that says where its table
is; then come the matrices and the vectors, at multiples of 64 bytes; then the table, in JSON: what they were made of,
where each is, and their checksum. A file that was cut off or damaged (as far as `Checksum` tells), that was made of
another state of the model, by other sources of ours or on another processor (which rounds PyTorch's choice of outliers
differently) is made anew, and a line says why.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import json
import mmap
import os
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lmworks.basics import progress
from lmworks.basics.ahead import in_order, pool_of, usable_cores
from lmworks.basics.errors import LmworksError, ModelError
from lmworks.basics.files import alone, cache_folder, written_whole
from lmworks.basics.memory import available_bytes
from lmworks.kernels.checksum import BLOCK, Checksum, sums_of
from lmworks.kernels.emit.instructions import features
from lmworks.kernels.packed import Each, Packed
from lmworks.models.config import ModelConfig

if TYPE_CHECKING:
    from lmworks.kernels.packer import Packer

MAGIC, HEAD, FIRST = b"lmworks\npacked\n\0", struct.Struct("<16sQQ32s"), 4096
SOURCES = (
    "adaptation/bottleneck.py",
    "adaptation/dora.py",
    "adaptation/lora*.py",
    "adaptation/peft_format.py",
    "grounding/heads/files.py",
    "grounding/heads/network.py",
    "grounding/heads/recipe.py",
    "kernels/adapters.py",
    "kernels/checksum.py",
    "kernels/keeping.py",
    "kernels/outlier_search.py",
    "kernels/outliers.py",
    "kernels/packed.py",
    "kernels/packer.py",
    "kernels/packing.py",
    "kernels/quantisation.py",
    "kernels/quantisations/*.py",
    "kernels/run/turns.py",
    "kernels/run/weights.py",
    "kernels/text_classifier.py",
    "models/adapted.py",
    "models/files/*.py",
    "models/latent_attention.py",
)
"""What decides how weights are packed, and what an adapter or a reader makes of them before."""
SMALL = 1 << 23
"""Bytes up to which a file is known again by all of its content, whenever it was written: a head, as each checkout has
it. That takes some milliseconds."""
ENDS, SAMPLES, SAMPLE = 1 << 16, 16, 1 << 12
"""Bytes of a larger file's beginning and end, and the number and size of other parts, by which it is known again."""

SPAN = 16 * BLOCK
"""Bytes that a thread reads and sums in one go."""
LARGE_PAGE = 1 << 21
"""Bytes of a page that NumPy asks for."""
LEAST = 1 << 24
"""Weights from which on they are kept: fewer are packed as quickly as a file is found."""


class Kept(NamedTuple):
    """What a file holds."""

    matrices: dict[str, Packed]
    vectors: dict[str, np.ndarray]
    """In float32, or what is read as such (adapters.py)."""


class _Unusable(Exception):
    """Why a file of packed weights is made anew."""


@dataclass(frozen=True)
class Keeper:
    """Looks after the packed weights of a model's files."""

    source: Path
    """The model."""
    files: Sequence[Path]
    """What its weights are read from."""
    base: Keeper | None = None
    """Of an adapter, the keeper of the base beside which it was packed."""

    def opened(self, config: ModelConfig, bits: int) -> Kept | None:
        """What is kept of a network with this config; None where nothing is that can be used, or that can be read."""
        try:
            return self._opened(self._path(config, bits), self._identity(config, bits))
        except (LmworksError, OSError):
            return None

    def kept(self, packer: Packer) -> Kept | None:
        """The weights of a network, which are those of the files; packed first where they are not kept. None where
        nothing can be kept, or it is not worth it."""
        if packer.weights < LEAST:
            return None
        config, bits = packer.network.config, packer.bits
        try:
            identity, path = self._identity(config, bits), self._path(config, bits)
            if (found := self._opened(path, identity)) is not None:
                return found
            found = self._packed(packer, path, identity)
            return _read(path, identity) if found is None else found
        except ModelError:
            raise
        except (LmworksError, OSError, _Unusable) as error:
            progress.note(f"packed weights cannot be kept for the next start ({error})")
            return None

    def pack(self, packer: Packer) -> bool:
        """Keep the weights of a network, which are those of the files, unless they are kept; False where they are too
        few. What goes wrong is raised."""
        if packer.weights < LEAST:
            return False
        config, bits = packer.network.config, packer.bits
        self._packed(packer, self._path(config, bits), self._identity(config, bits))
        return True

    def _packed(self, packer: Packer, path: Path, identity: dict[str, Any]) -> Kept | None:
        """What another process has kept by the time that nobody else packs it; None where this one has packed it."""
        with alone(path.with_suffix(".lock"), f"waiting: another process packs {self.source.name}"):
            if (found := self._opened(path, identity, tells=True)) is not None:
                return found
            for left in path.parent.glob(f".{path.name}.*"):  # of a process that was killed
                left.unlink(missing_ok=True)
            _write(path, identity, packer.each(), packer.vectors(), lambda name: packer.outliers.get(name, ()))
            return None

    def state(self) -> list[Any]:
        """The state of the files (None for one that is missing), and of the base's."""
        own = [(file.name, _state(file) if file.is_file() else None) for file in self.files]
        return own if self.base is None else own + self.base.state()

    def watch(self) -> Callable[[], None]:
        """A check, to be called later, that raises ModelError if the files have changed by then."""
        now = self.state()

        def check() -> None:
            if self.state() != now:
                raise ModelError(f"{self.source} has changed since it was loaded; load it again")

        return check

    def keep(self, config: ModelConfig, bits: int, packed: Kept) -> None:
        """Keep an adapter that is packed already, however small, if its base is kept too."""
        path = self._path(config, bits)
        if self.base is None or not self.base._path(config, bits).exists():
            return
        each = ((name, iter(one.every)) for name, one in packed.matrices.items())
        try:
            with alone(path.with_suffix(".lock"), f"waiting: another process packs {self.source.name}"):
                identity = self._identity(config, bits)
                if self._opened(path, identity, tells=True) is None:
                    _write(path, identity, each, packed.vectors, lambda name: packed.matrices[name].outliers)
        except (LmworksError, OSError) as error:
            progress.note(f"packed weights cannot be kept for the next start ({error})")

    def _path(self, config: ModelConfig, bits: int) -> Path:
        of_base = "" if self.base is None else f"{_of_source(self.base.source)}-"  # so that they are forgotten with it
        name = f"{of_base}{_of_source(self.source)}-{_digest(config.model_dump_json(), bits)[:8]}"
        return _folder() / f"{name}.packed"

    def _opened(self, path: Path, identity: dict[str, Any], tells: bool = False) -> Kept | None:
        try:
            return _read(path, identity) if path.exists() else None
        except (_Unusable, OSError) as reason:
            if tells:
                name = "/".join(self.source.parts[-2:])  # of an alias: minilm/model
                progress.note(f"the packed weights of {name} {reason}; they are packed anew")
            return None

    def _identity(self, config: ModelConfig, bits: int) -> dict[str, Any]:
        """What the packed weights depend on; first what makes the rest look different."""
        return {
            "layout": _layout(),
            "model": [[file.name, *_state(file)] for file in self.files],
            "config": config.model_dump_json(),
            "bits": bits,
            "processor": _digest(*sorted(features())),
            "base": None if self.base is None else self.base._identity(config, bits),
        }


REASONS = {
    "layout": "were made by another version of lmworks",
    "processor": "were made on another processor",
}


def forget(source: Path) -> list[tuple[Path, int]]:
    """Remove what is kept for a model, and for adapters beside it; what was removed, and its bytes."""
    start, removed = _of_source(source), []
    for file in sorted(one for name in (f"{start}-*", f".{start}-*", f"*-{start}-*") for one in _folder().glob(name)):
        if file.suffix != ".lock":
            removed.append((file, file.stat().st_size))
        file.unlink(missing_ok=True)
    return removed


def _folder() -> Path:
    return cache_folder("packed")


def _of_source(source: Path) -> str:
    """How the files that are kept for a model begin."""
    name = "".join(one if one.isalnum() or one in "._-" else "_" for one in source.resolve().name)[:40]
    name = name.encode()[:60].decode(errors="ignore")  # two of them are part of one file's name
    return f"{name}-{_digest(source.resolve())[:12]}"


def _digest(*parts: object) -> str:
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()


def _state(file: Path) -> tuple[int, int | None, str]:
    """Size of a file and a hash of its content; of one that is not small its time of change, and a hash of its
    beginning, its end and some parts between."""
    now, digest = file.stat(), hashlib.sha256()
    if now.st_size <= SMALL:
        return now.st_size, None, hashlib.sha256(file.read_bytes()).hexdigest()
    with file.open("rb") as data:
        digest.update(data.read(ENDS))
        for number in range(SAMPLES):
            data.seek(now.st_size * number // SAMPLES)
            digest.update(data.read(SAMPLE))
        data.seek(max(now.st_size - ENDS, 0))
        digest.update(data.read(ENDS))
    return now.st_size, now.st_mtime_ns, digest.hexdigest()


@functools.cache
def _layout() -> str:
    root, digest = Path(__file__).parents[1], hashlib.sha256()
    for file in sorted(file for pattern in SOURCES for file in root.glob(pattern)):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _write(
    path: Path,
    identity: dict[str, Any],
    each: Each,
    numbers_of: Mapping[str, np.ndarray],
    outliers: Callable[[str], Sequence[int]],
) -> None:
    """Whole, or not at all; the outliers of a matrix are asked for after the last of them."""
    table: dict[str, Any] = {}
    checksum = Checksum()
    with written_whole(path, flushed=False) as temporary, temporary.open("wb") as file, contextlib.closing(each):

        def put(data: memoryview | bytes) -> None:
            file.write(data)
            checksum.add(data)

        file.seek(FIRST)
        for name, parts in each:
            put(bytes(-file.tell() % 64))
            table[name] = []
            for form, alike in itertools.groupby(parts, key=lambda part: part.form):
                begin, rows = file.tell(), 0
                for part in alike:
                    put(part.data.data)
                    rows += part.rows
                about = {"form": form, "rows": rows, "columns": part.columns, "heads": part.heads}
                table[name].append({**about, "data": [begin, file.tell() - begin]})
        for name, parts_of in table.items():
            for about in parts_of:
                about["outliers"] = outliers(name)
        vectors = {}
        for name, numbers in numbers_of.items():
            put(bytes(-file.tell() % 64))
            vectors[name] = [file.tell(), numbers.nbytes]
            put(numbers.data)
        said = json.dumps(
            {"identity": identity, "matrices": table, "vectors": vectors, "checksum": checksum.hexdigest()}
        ).encode()
        begin = file.tell()
        file.write(said)
        file.seek(0)
        file.write(HEAD.pack(MAGIC, begin, len(said), hashlib.sha256(said).digest()))


def _read(path: Path, identity: dict[str, Any]) -> Kept:
    """What a file holds that was made for `identity`."""
    with path.open("rb") as file:
        head = file.read(HEAD.size)
        magic, begin, size, digest = HEAD.unpack(head) if len(head) == HEAD.size else (b"", 0, 0, b"")
        whole = magic == MAGIC and begin + size == path.stat().st_size
        file.seek(begin if whole else 0)
        said = file.read(size) if whole else b""
        if not whole or hashlib.sha256(said).digest() != digest:
            raise _Unusable("are damaged or cut off")
        table = json.loads(said)
        for key, value in json.loads(json.dumps(identity)).items():
            if table["identity"].get(key) != value:
                raise _Unusable(REASONS.get(key, "were made before its files changed"))
        checksum = Checksum()
        data = _bytes(file, range(FIRST, begin), checksum)
        if checksum.hexdigest() != table["checksum"]:
            raise _Unusable("are damaged or cut off")
    matrices = {}
    for name, parts in table["matrices"].items():
        first, *more = (_part(data, **about) for about in parts)
        matrices[name] = replace(first, more=tuple(more))
    vectors: Mapping[str, tuple[int, int]] = table["vectors"]
    return Kept(matrices, {name: data[at : at + size].view(np.float32) for name, (at, size) in vectors.items()})


def _bytes(file: BufferedReader, summed: range, checksum: Checksum) -> np.ndarray:
    """All bytes of a file: read into memory of the process's own by all cores, or mapped where that would take much of
    what is free, or where nobody says what is. Those that are to be summed are added to the checksum.

    A token reads every weight, and a file's pages are small: from large ones a stream is 5 to 20 % faster (SmolLM2).
    """
    size = os.fstat(file.fileno()).st_size
    try:
        room = np.empty(size + LARGE_PAGE, np.uint8) if size <= (available_bytes() or 0) // 2 else None
    except MemoryError:  # a limit for this process
        room = None
    if room is None:
        data = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY), np.uint8)  # nobody writes into it
        checksum.add(data[summed.start : summed.stop].data)
        return data
    begin = -room.ctypes.data % LARGE_PAGE
    data = room[begin : begin + size]
    cores = usable_cores() if hasattr(os, "preadv") else 1
    places = range(summed.start, summed.start + len(summed) // BLOCK * BLOCK, SPAN)
    ends = [min(start + SPAN, summed.start + len(summed) // BLOCK * BLOCK) for start in places]
    with pool_of(cores, "reading") as pool:
        spans = [partial(_summed, file, data[start:end], start) for start, end in zip(places, ends, strict=True)]
        for sums in in_order(pool, spans, 2 * cores):
            checksum.add_sums(sums)
    last = data[ends[-1] if ends else summed.start :]
    _read_at(file, data[: summed.start], 0)
    _read_at(file, last, size - len(last))
    checksum.add(last[: len(last) - size + summed.stop].data)
    return data


def _summed(file: BufferedReader, part: np.ndarray, at: int) -> np.ndarray:
    """The checksum's sums of whole blocks of a file, each of which is summed as soon as it is read, while the
    processor's cache holds it."""
    sums = []
    for start in range(0, len(part), BLOCK):
        block = part[start : start + BLOCK]
        _read_at(file, block, at + start)
        sums.append(sums_of(block))
    return np.concatenate(sums)


def _read_at(file: BufferedReader, part: np.ndarray, at: int) -> None:
    """Fill a part of the memory with what stands at a place of the file."""
    while len(part):
        if hasattr(os, "preadv"):
            count = os.preadv(file.fileno(), [part.data], at)
        else:
            file.seek(at)
            count = file.readinto(part.data)
        if not count:
            raise _Unusable("are damaged or cut off")
        part, at = part[count:], at + count


def _part(memory: np.ndarray, data: Sequence[int], outliers: Sequence[int], **about: Any) -> Packed:
    begin, size = data
    return Packed(data=memory[begin : begin + size], outliers=tuple(outliers), **about)
