"""Arrays that take a while to make, kept in the cache and checked by their SHA-256 when they are read."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmworks.basics.files import written_whole

if TYPE_CHECKING:
    import numpy as np

Arrays = Mapping[str, "np.ndarray[Any, Any]"]

DIGEST = "sha256"


def kept(path: Path, source: str, make: Callable[[], Arrays]) -> Arrays:
    """The arrays of an .npz file; made and written where it is not there, was made from another `source` (a checksum,
    say, and a size), or does not hold what was written."""
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
        if str(found.pop(DIGEST)) == _digest(source, found):
            return found
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass  # not there, or damaged
    made = make()
    written: dict[str, Any] = {**made, DIGEST: np.array(_digest(source, made))}
    with written_whole(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **written)
    return made


def _digest(source: str, arrays: Arrays) -> str:
    hashed = hashlib.sha256(source.encode())
    for name, array in sorted(arrays.items()):
        hashed.update(f"\n{name} {array.dtype} {array.shape}\n".encode())
        hashed.update(array.tobytes())
    return hashed.hexdigest()
