"""A file or a folder out of a wheel of PyPI: a model's weights, a pipeline of spaCy.

    fetched(PIPELINE)    # the folder, in the cache

pip fetches that one wheel without its dependencies, from whatever index the user's pip is set up for; the file is taken
out, checked by SHA-256 and kept in the cache. One process fetches at a time, and an interrupted fetch leaves nothing
that counts.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lmworks.basics import progress
from lmworks.basics.errors import ModelError
from lmworks.basics.files import cache_folder, flush, says_why, sha256, write_json, written_whole

_WORK = "fetching-"  # folders of fetches, finished or not, inside an alias's cache folder


@dataclass(frozen=True)
class Alias:
    """What one wheel of one package carries, by a short name: one file, or one folder."""

    name: str
    package: str
    version: str
    wheel_sha256: str
    wheel_bytes: int
    member: str
    """The file's path inside the wheel; a folder's ends with a slash."""
    member_sha256: str
    """Of the file; of a folder, of its list of names and checksums (`checksum`), those of `adds` included."""
    bytes: int
    """Size of the file, or of all files of the folder."""
    licence: str
    what: str
    adds: Mapping[str, Mapping[str, Any] | Path] = field(default_factory=dict)
    """JSON files of a model directory that the package leaves out, or in place of its own; a path is that of a file
    that holds one."""


def kept_at(alias: Alias) -> Path:
    """Where its file or folder is in the cache, or will be."""
    return cache_folder("models", alias.name) / _last(alias)


def _last(alias: Alias) -> str:
    return alias.member.rstrip("/").rpartition("/")[2]


def _files(path: Path) -> list[Path]:
    """The file itself, or all files of a folder in the order of their names."""
    if not path.is_dir():
        return [path]
    return sorted(
        (file for file in path.rglob("*") if file.is_file()), key=lambda file: file.relative_to(path).as_posix()
    )


def checksum(path: Path) -> str:
    """SHA-256 of a file; of a folder, that of its lines "name sha256"."""
    if not path.is_dir():
        return sha256(path)
    lines = (f"{file.relative_to(path).as_posix()} {sha256(file)}\n" for file in _files(path))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _record(file: Path) -> Path:
    """Beside the file: the checksum that it had when it was put there."""
    return file.with_name(f"{file.name}.sha256")


def trusted(file: Path, alias: Alias, verify: bool = False) -> bool:
    """Whether the file or folder is there, whole and unchanged."""
    with says_why(file):
        if not file.exists() or sum(one.stat().st_size for one in _files(file)) != alias.bytes:
            return False
        record = _record(file)
        noted = record.is_file() and record.read_bytes() == alias.member_sha256.encode()
        return checksum(file) == alias.member_sha256 if verify or not noted else True


def fetched(alias: Alias, verify: bool = False) -> Path:
    """The file or folder of an alias, put into the cache where it has to be. A cached one is trusted by
    its size and the checksum noted when it was fetched; `verify` reads it again. ModelError (a wrong checksum, no
    network), LmworksError (disk)."""
    file = kept_at(alias)
    if not trusted(file, alias, verify):  # no lock until here: a shared cache may be read-only
        with _alone(file.parent, alias):
            if not trusted(file, alias, verify):
                _fetch(alias, file)
    return file


def removed(alias: Alias) -> list[tuple[Path, int]]:
    """Remove what was fetched for an alias: what it was, and its bytes; nothing where it is not here."""
    file = kept_at(alias)
    with _alone(file.parent, alias), says_why(file):
        _record(file).unlink(missing_ok=True)  # first: what is left of a removal that was stopped is not trusted
        if not file.exists():
            return []
        gone = [(file, sum(one.stat().st_size for one in _files(file)))]
        shutil.rmtree(file) if file.is_dir() else file.unlink()
    return gone


@contextlib.contextmanager
def _alone(folder: Path, alias: Alias) -> Iterator[None]:
    """One process at a time. The lock ends with its process, so a killed one holds nobody up."""
    from filelock import FileLock, Timeout

    lock = FileLock(folder / ".lock")
    with says_why(folder):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            with progress.task(f"waiting: another process fetches {alias.name}"):
                lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _fetch(alias: Alias, file: Path) -> None:
    """Put the file into its place, whole and checked. The caller holds the lock."""
    with says_why(file.parent):
        for stale in file.parent.glob(f"{_WORK}*"):  # of a process that was killed
            shutil.rmtree(stale, ignore_errors=True)
        work = Path(tempfile.mkdtemp(prefix=_WORK, dir=file.parent))
        try:
            taken_out = _take_out(alias, _download(alias, work), work)
            # What is wrong must never stand beside the new note.
            shutil.rmtree(file) if file.is_dir() else file.unlink(missing_ok=True)
            with written_whole(_record(file)) as note:
                note.write_text(alias.member_sha256)
            taken_out.replace(file)
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _download(alias: Alias, work: Path) -> Path:
    """The package's wheel in `work`, by pip; its SHA-256 is the published one."""
    if importlib.util.find_spec("pip") is None:
        raise ModelError(
            f"this Python has no pip to fetch {alias.name} with; run: {sys.executable} "
            f"-m ensurepip (or: uv pip install pip){_by_path(alias)}"
        )
    wheels, log = work / "wheels", work / "pip.log"
    code = _run_pip(alias, work, wheels, log)
    wheel = next(wheels.glob("*.whl"), None)
    if code or wheel is None:
        raise ModelError(f"{alias.name} could not be fetched: {_why(log)}{_by_path(alias)}")
    if sha256(wheel) != alias.wheel_sha256:
        raise ModelError(
            f"the wheel {wheel.name} that pip fetched is not the published one (wrong SHA-256); "
            f"the package index or something on the way changed it{_by_path(alias)}"
        )
    return wheel


def _run_pip(alias: Alias, work: Path, wheels: Path, log: Path) -> int:
    """Run pip and show the bytes as they come; returns its exit code."""
    temporary = work / "tmp"  # pip downloads into its temporary folder: ours, to watch it grow
    temporary.mkdir()
    command = [
        sys.executable,
        "-P",
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--no-input",
        "--progress-bar=off",
        "--disable-pip-version-check",
        "--retries=2",
        f"--dest={wheels}",
        f"{alias.package}=={alias.version}",
    ]
    environment = os.environ | {"TMPDIR": str(temporary), "TEMP": str(temporary), "TMP": str(temporary)}
    with log.open("wb") as output, progress.task(f"fetching {alias.name}", alias.wheel_bytes, "bytes") as advance:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=output
        )
        try:
            done, code = 0, None
            while code is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    code = process.wait(0.2)
                size = max(done, _largest_file(temporary), _largest_file(wheels))
                advance(size - done)
                done = size
            return code
        finally:  # Ctrl-C: pip ends with us
            process.kill()
            process.wait()


def _take_out(alias: Alias, wheel: Path, work: Path) -> Path:
    """The member, unpacked into `work` and on the disk; its SHA-256 is the published one."""
    target = work / "member"
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            inside = name.removeprefix(alias.member)
            below = alias.member.endswith("/") and name.startswith(alias.member) and inside
            if not (below or name == alias.member) or name.endswith("/") or ".." in Path(inside).parts:
                continue
            file = target / inside if inside else target
            file.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(name) as packed, file.open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked, 2**20)
            flush(file)
            file.chmod(0o644)
    for name, added in alias.adds.items() if target.is_dir() else ():
        write_json(target / name, content(added))
    if not target.exists() or checksum(target) != alias.member_sha256:
        raise ModelError(f"{alias.member} in {wheel.name} is not the published file (wrong SHA-256){_by_path(alias)}")
    return target


def content(added: Mapping[str, Any] | Path) -> dict[str, Any]:
    """A JSON file that an alias adds: itself, or what the file at the path holds."""
    if not isinstance(added, Path):
        return dict(added)
    found: dict[str, Any] = json.loads(added.read_text(encoding="utf-8"))
    return found


def _largest_file(folder: Path) -> int:
    """Bytes; files may come and go meanwhile."""
    largest = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                largest = max(largest, Path(parent, name).stat().st_size)
    return largest


def _why(log: Path) -> str:
    """The last line of pip's complaint, and a word on the network where that is the cause."""
    lines = [line.strip() for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    last = [*lines[-1:], *errors][-1] if lines else "nothing"
    offline = any("Retrying (" in line for line in lines)
    return f"{'no connection to the package index; ' if offline else ''}pip says: {last}"


def _by_path(alias: Alias) -> str:
    name = _last(alias)
    return f"; or copy {name} here from elsewhere and give its path instead of {alias.name}"
