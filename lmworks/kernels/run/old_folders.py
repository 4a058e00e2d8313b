"""Folders of compiled kernels that nobody needs any more: a change of the sources, or a new version, makes another.

    hold(folder)                # until this process ends
    remove_old(folder.parent)   # those that nobody has used for a week, but for the newest few

A process holds a lock on a file in the folder that it uses, so that no other process takes it away.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows, where nothing is removed
    fcntl = None  # type: ignore[assignment]

KEPT = 4
"""The newest folders, which are kept however old they are."""
WEEK = 7 * 24 * 3600.0
USED = "used"
"""The file that is locked; it was changed when a process began to use the folder."""

_held: list[IO[bytes]] = []


def hold(folder: Path) -> None:
    """Use a folder until this process ends. One that cannot be written is left as it is."""
    while fcntl is not None:
        try:
            folder.mkdir(exist_ok=True)
            file = (folder / USED).open("ab")
            fcntl.flock(file, fcntl.LOCK_SH)
        except OSError:
            return
        if os.fstat(file.fileno()).st_nlink:  # else another process removed the folder meanwhile
            os.utime(file.fileno())
            _held.append(file)
            return
        file.close()


def remove_old(beside: Path) -> None:
    """Remove the folders in `beside` that no process has begun to use for a week and none uses now, with their
    locks."""
    if fcntl is None:
        return
    folders = sorted((one for one in beside.iterdir() if one.is_dir()), key=_last_used, reverse=True)
    for folder in folders[KEPT:]:
        with contextlib.suppress(OSError):  # somebody else's, or in use
            if time.time() - _last_used(folder) > WEEK:
                with (folder / USED).open("ab") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder)
                folder.with_name(f"{folder.name}.lock").unlink(missing_ok=True)


def _last_used(folder: Path) -> float:
    used = folder / USED
    with contextlib.suppress(OSError):
        return (used if used.exists() else folder).stat().st_mtime
    return 0.0
