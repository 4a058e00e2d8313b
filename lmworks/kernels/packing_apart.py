"""Packs a model's weights in a separate process, so that PyTorch's memory is freed when it ends: PyTorch takes twice as
much as a small model's packed weights, and generating text from these does not need it.

    pack_apart(path)          # True: the weights are packed, and `Keeper.opened` finds them

The process has this one's import path and options of Python, and reports its progress on standard output, one line of
JSON a message.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from lmworks.basics import progress
from lmworks.kernels.choice import most_bits, packed_later
from lmworks.kernels.coverage import too_large, uncovered
from lmworks.kernels.emit.instructions import features, take_features
from lmworks.kernels.keeping import LEAST, Keeper
from lmworks.kernels.packed import Stored
from lmworks.models.config import ModelConfig, RopeScaling, stretched
from lmworks.models.files.gguf_config import runs_as_stored
from lmworks.models.files.gguf_file import GGUFFile
from lmworks.models.files.model_folder import weight_files

PROGRAM = (
    "import gc, sys; gc.disable(); sys.path[:] = sys.argv[2:]; from lmworks.kernels.packing_apart import main; main()"
)
"""Nothing is collected while modules are imported (`_pack` begins with it), which would take a fifth of that time."""
STDOUT, STDERR = 1, 2
APART = 4 * LEAST
"""Files of fewer bytes are not worth a process: as many as the weights of the smallest network that is kept take in
float32."""


def keeper_of(weights: GGUFFile | Path) -> Keeper:
    """What keeps the packed weights of a model's files."""
    if isinstance(weights, GGUFFile):
        return Keeper(weights.path, weights.files)
    return Keeper(weights, [weights / "config.json", *weight_files(weights)])


def stored_in(weights: GGUFFile | Path, config: ModelConfig) -> Stored | None:
    """What a model's files hold in few bits; None where they hold floats."""
    if isinstance(weights, GGUFFile):
        from lmworks.models.files.gguf_groups import StoredInGGUF

        return StoredInGGUF(weights, config) if runs_as_stored(weights, config) else None
    from lmworks.models.files.compressed_groups import StoredInDirectory

    return StoredInDirectory.of(weights, config)


def can_pack_apart(size: int) -> bool:
    """Is it worth packing files of this many bytes in a separate process? They must be large enough, PyTorch not be
    loaded here yet, and this program must be able to start another Python."""
    return size >= APART and "torch" not in sys.modules and bool(sys.executable) and not getattr(sys, "frozen", False)


def pack_apart(path: Path, compress: str | None = None, rope_scaling: RopeScaling | None = None) -> bool:
    """Have a model packed as `LanguageModel.load` would pack it with these settings. False where that failed, whatever
    the reason: the caller then packs the weights itself and meets the same error, with its sentence."""
    scaling = None if rope_scaling is None else rope_scaling.model_dump()
    given = {"model": str(path), "compress": compress, "rope_scaling": scaling, "features": sorted(features())}
    try:
        process = subprocess.Popen(
            [sys.executable, *_flags(), "-P", "-c", PROGRAM, json.dumps(given), *map(str, sys.path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            errors="replace",
            env={"THP_MEM_ALLOC_ENABLE": "1"} | os.environ,  # PyTorch asks for large pages, which come much quicker
        )
    except OSError:
        return False
    assert process.stdout is not None
    try:
        with progress.received() as take:
            for line in process.stdout:
                with contextlib.suppress(ValueError):  # what was written before `main` began
                    take(json.loads(line))
        return process.wait() == 0
    finally:
        process.terminate()  # it removes what it has begun
        process.wait()
        process.stdout.close()


def _flags() -> list[str]:
    """Python's options of this process, as `multiprocessing` passes them on: a program that ignores the environment
    (-I, -E) starts no process that runs what stands there."""
    return subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined, no-any-return]


def main() -> None:
    """Pack what the arguments say; the status is 0 where it is kept."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who called is interrupted, and ends this process
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    messages, alone = os.fdopen(os.dup(STDOUT), "w", encoding="utf-8"), threading.Lock()
    os.dup2(STDERR, STDOUT)  # what libraries print, those in C too, is no message
    print(file=messages)  # ends a line that was begun
    given: dict[str, Any] = json.loads(sys.argv[1])
    take_features(given["features"])

    def send(message: list[Any]) -> None:
        with alone:
            print(json.dumps(message), file=messages, flush=True)

    with progress.sent(send):
        is_kept = _pack(Path(given["model"]), given["compress"], given["rope_scaling"])
    os._exit(0 if is_kept else 1)  # Python takes a tenth of a second to take PyTorch down


def _pack(path: Path, compress: str | None, scaling: dict[str, Any] | None) -> bool:
    from lmworks.basics.threads import one_thread
    from lmworks.kernels.packer import Packer
    from lmworks.models.files.directory import read_network
    from lmworks.models.files.gguf import read_gguf_network, stored_dtype
    from lmworks.models.precision import fast_dtype

    gc.freeze()  # what was imported stays, and is not looked through again
    gc.enable()
    file = GGUFFile(path) if path.suffix == ".gguf" else None
    weights, later = path if file is None else file, packed_later(compress, few_bits=True)
    with one_thread():
        if file is None:
            network = read_network(path, None, later)
        else:
            network = read_gguf_network(file, stored_dtype(file) or fast_dtype("cpu"), later)
        if scaling is not None:
            network.config = stretched(network.config, RopeScaling(**scaling))
        stored = stored_in(weights, network.config)
        bits = most_bits(compress)
        if (compress is None and stored is None) or (uncovered(network) or too_large(network, bits, stored)):
            return False
        return keeper_of(weights).pack(Packer(network, bits, stored))
