"""Files that are whole or not there: atomic writes, checksums, the cache folder, locks between processes."""

from __future__ import annotations

import contextlib
import errno
import functools
import glob
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, overload

from lmworks.basics.errors import LmworksError, ModelError


def cache_folder(*parts: str) -> Path:
    """Where downloads are kept: `LMWORKS_CACHE`, or the user's cache folder. Made when missing."""
    import platformdirs

    folder = Path(os.environ.get("LMWORKS_CACHE") or platformdirs.user_cache_dir("lmworks")).joinpath(*parts)
    with says_why(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


FULL = "the disk is full, or a limit (quota, ulimit) is reached"
_NO_MORE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def says_why(path: Path) -> Iterator[None]:
    """Turn an OSError of the block, and a full disk by whatever name, into a sentence that names `path`."""
    try:
        yield
    except Exception as error:
        if is_full(error):
            raise LmworksError(
                f"{path}: {FULL}; free some space and run it again (what was there before is untouched)"
            ) from error
        if not isinstance(error, OSError):
            raise
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise LmworksError(
                f"{path}: no permission to write there; choose another place, or change the folder's owner"
            ) from error
        raise LmworksError(f"{path}: {error.strerror or error}") from error


def must_be_writable(path: Path) -> None:
    """LmworksError for a path that nothing can be written to: asked before the work whose result is to go there."""
    with says_why(path):
        above = path.absolute().parent
        while not above.exists():
            above = above.parent
        if not above.is_dir():
            raise LmworksError(f"{path}: {above} is a file and no folder; choose another place")
        if not os.access(above, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "no permission", str(above))
        try:
            with tempfile.TemporaryDirectory(prefix=".lmworks-", dir=above):  # permissions alone allow root anything
                pass
        except FileNotFoundError:
            raise LmworksError(f"{path}: nothing can be made in {above}; choose another place") from None


def must_be_elsewhere(folder: Path) -> None:
    """LmworksError for the folder in which the user is, and which is about to be replaced as a whole: the shell would
    stand in one that is gone."""
    if folder.resolve() == Path.cwd():
        raise LmworksError(
            f"{folder} is the folder in which you are, and would be replaced as a whole; give a new one, such as "
            f"{folder}/mine"
        )


LEFT_BY_DESKTOPS = {".DS_Store", "Thumbs.db", "desktop.ini", ".directory"}
"""Files that show how a folder was looked at, which nobody put there."""


def names_in(folder: Path) -> list[str]:
    """The sorted names of what a folder holds, but for what desktops leave there; none where it does not exist."""
    return sorted({one.name for one in folder.iterdir()} - LEFT_BY_DESKTOPS) if folder.is_dir() else []


def beside(path: Path, before: str, after: str) -> Path:
    """The path beside another with its name between these two; `.` and `..` have the names of their folders."""
    path = path.resolve() if path.name in ("", "..") else path
    return path.parent / f"{before}{path.name}{after}"


@overload
def as_reference(given: str | os.PathLike[str]) -> str: ...
@overload
def as_reference(given: str | os.PathLike[str] | None) -> str | None: ...
def as_reference(given: str | os.PathLike[str] | None) -> str | None:
    """A name or a path as recipes and files have it, a text; None as it is."""
    return None if given is None else os.fspath(given)


def must_be_a_writable_file(path: Path) -> None:
    """As `must_be_writable`, for a file: LmworksError for a folder of that name, too."""
    if path.is_dir():
        raise LmworksError(f"{path} is a folder; give the name of a file")
    must_be_writable(path)


def is_full(error: BaseException) -> bool:
    """Whether an error says that no more bytes fit: Python's, or that of a library which tells it in words alone.

    numpy writes "20352 requested and 14640 written", the Rust libraries "No space left on device (os error 28)".
    """
    if isinstance(error, OSError) and error.errno in _NO_MORE:
        return True
    return bool(re.search(r"\(os error (28|122|27)\)|^\d+ requested and \d+ written$", str(error)))


@contextlib.contextmanager
def written_whole(path: Path, *, flushed: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it into place only when the block ends without an error.

    The file is flushed to disk before the rename, so a power cut or kill -9 leaves the old file or the new
    one, never a part. One that is only a copy, and whose checksum every reader compares, need not wait for the disk:
    after a power cut it may be damaged where it was not `flushed`.
    """
    path = Path(path)
    with says_why(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            temporary.chmod(0o644)
            if flushed:
                flush(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def directory_written_whole(path: Path, *, alone: bool = False) -> Iterator[Path]:
    """As `written_whole` for a directory: the earlier one stays until the new one is complete.

    Directories cannot be exchanged in one step everywhere: the old one is moved aside first, and
    `restore_directory` puts it back if the process died between the two renames. Where nobody else writes this
    directory (`alone`), what processes left that were killed on the way is removed.
    """
    path = Path(path)
    must_be_elsewhere(path)
    restore_directory(path)
    for left in path.parent.glob(f".{glob.escape(path.name)}.*") if alone else ():
        shutil.rmtree(left, ignore_errors=True)
    with says_why(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        aside = beside(path, ".", ".earlier")
        try:
            yield temporary
            temporary.chmod(0o755)
            for file in temporary.rglob("*"):
                if file.is_file():
                    file.chmod(0o644)  # safetensors makes its files readable for their owner alone
                    flush(file)
            if path.exists():
                path.replace(aside)
            temporary.replace(path)
            shutil.rmtree(aside, ignore_errors=True)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def restore_directory(path: Path) -> None:
    """Put back the directory that an interrupted `directory_written_whole` had moved aside."""
    aside = beside(path, ".", ".earlier")
    if aside.exists():
        if path.exists():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.replace(path)


def regular(path: Path) -> Path:
    """The path of a file that is to be read; OSError for a pipe, a socket or a device, which could keep it waiting."""
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, "not a file of data (a pipe, socket or device)", str(path))
    return path


_POINTER = b"version https://git-lfs.github.com/"


def refuse_pointer(path: Path) -> None:
    """ModelError for what a clone without Git LFS holds in place of a large file of a model."""
    with regular(path).open("rb") as file:
        if file.read(len(_POINTER)) == _POINTER:
            raise ModelError(f"{path} is a Git LFS pointer in place of the file; fetch it with: git lfs pull")


def flush(path: Path) -> None:
    """Force a file's bytes to the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


@contextlib.contextmanager
def alone(lock: Path, waiting: str) -> Iterator[None]:
    """One process at a time; while it waits for another, progress says so. The lock ends with its process, so that a
    killed one holds nobody up."""
    from filelock import FileLock, Timeout

    from lmworks.basics import progress

    held = FileLock(lock)
    try:
        held.acquire(timeout=0)
    except Timeout:
        with progress.task(waiting):
            held.acquire()
    try:
        yield
    finally:
        held.release()


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_once(path: Path) -> str:
    """The same, read once by a process as long as the file's size and time of change stay."""
    now = path.stat()
    return _sha256_at(path.resolve(), now.st_ino, now.st_size, now.st_mtime_ns)


@functools.lru_cache(maxsize=2**14)
def _sha256_at(path: Path, *state: int) -> str:
    return sha256(path)
