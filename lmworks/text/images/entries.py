"""The files of a folder, a zip or a tar, each as a name and what reads it; nothing is unpacked to the disk.

A name is only ever looked up among those that are listed here, so none leads out of the folder or the archive.
"""

from __future__ import annotations

import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Self

from lmworks.basics.files import regular
from lmworks.text.plain import MEBIBYTE, UnreadableError
from lmworks.text.sources import Skipped, entries, why

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2")
_DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    NotImplementedError,  # a way of packing that Python does not know
    RuntimeError,  # a zip with a password
)


@dataclass(frozen=True)
class ImageFile:
    """A file that may be an image, a caption or neither."""

    name: str
    """Within the folder or archive, with slashes."""
    size: int
    """Bytes, as its folder or archive says."""
    _open: Callable[[], IO[bytes]]
    file: str
    """The file that it lies in: the archive, else itself."""

    def content(self, most: int) -> bytes:
        """All of it; UnreadableError where that is more than `most` bytes, or cannot be read."""
        if self.size > most:
            raise UnreadableError(f"over {most / MEBIBYTE:.3g} MiB, which is the most that is read")
        try:
            with self._open() as file:
                content = file.read(self.size + 1)
        except _DAMAGED as error:
            raise UnreadableError(f"cannot be read ({why(error)})") from None
        if len(content) != self.size:
            raise UnreadableError("not of the size that its folder or archive says (cut off while copying?)")
        return content


def is_archive(name: str) -> bool:
    """Whether a file's name is that of a zip or a tar."""
    return name.lower().endswith(ARCHIVES)


def entries_of(path: Path, skipped: list[Skipped], follow: bool = False) -> Iterator[ImageFile]:
    """Every file of a folder or archive, archives in a folder opened too (shards of a large set).

    Those of an archive can be read until the next one is asked for. What cannot be read is added to `skipped`.
    """
    if not path.is_dir():
        yield from _packed(path, "", skipped)
        return
    for file, name, status in entries(path, skipped, follow):
        if is_archive(name):
            yield from _packed(file, f"{name}/", skipped)
        else:
            yield _plain(file, name, status.st_size)


def one_image(path: Path) -> list[Path]:
    """An image and the files of its name beside it, which may say what it shows; nothing else is looked at."""
    try:
        near = sorted(one for one in path.parent.iterdir() if one.stem == path.stem and one != path)
    except OSError:  # a folder that may not be listed, of which the image can still be read
        near = []
    return [path, *(one for one in near if one.is_file() and not one.is_symlink())]


def entries_of_one(path: Path) -> Iterator[ImageFile]:
    """The files of `one_image`."""
    for file in one_image(path):
        yield _plain(file, file.name, file.stat().st_size)


def _plain(path: Path, name: str, size: int) -> ImageFile:
    return ImageFile(name, size, lambda: regular(path).open("rb"), name)


def _packed(path: Path, below: str, skipped: list[Skipped]) -> Iterator[ImageFile]:
    read = _of_zip if path.suffix.lower() == ".zip" else _of_tar
    try:
        for entry in read(regular(path)):
            name = entry.name.replace("\\", "/").removeprefix("./")
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\0" in name:
                skipped.append(Skipped(below + name, "a path that leaves the archive"))
            elif not any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts):
                yield ImageFile(below + name, entry.size, entry._open, below.rstrip("/") or path.name)
    except _DAMAGED as error:
        skipped.append(Skipped(below or path.name, f"the archive is damaged from here on ({why(error)})"))


def _of_zip(path: Path) -> Iterator[ImageFile]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if not member.is_dir():
                yield ImageFile(member.filename, member.file_size, partial(archive.open, member), path.name)


LONGEST_HEADER = MEBIBYTE
"""Bytes of a tar's header that is no file (a long name, say), which tarfile reads whole whatever it says."""
_HEADERS = frozenset(b"xgXLK")
"""Types of such headers: pax, of one file or all, Solaris' own, and GNU's long names and links."""


class _Member(tarfile.TarInfo):
    """A member of a tar, which says where the tar breaks off: tarfile takes that for its end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        found = super().frombuf(buf, encoding, errors)
        if found.type[0] in _HEADERS and found.size > LONGEST_HEADER:
            raise tarfile.ReadError(f"a name or header of {found.size:,} bytes")
        return found

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # the stubs leave it out
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"{error}; cut off while copying?") from None


def _of_tar(path: Path) -> Iterator[ImageFile]:
    with tarfile.open(path, "r|*", tarinfo=_Member) as archive:
        for member in archive:
            if member.isfile():  # a link's target may be anything

                def opened(member: tarfile.TarInfo = member) -> IO[bytes]:
                    return archive.extractfile(member) or io.BytesIO()

                yield ImageFile(member.name, member.size, opened, path.name)
            archive.members = []  # type: ignore[attr-defined]  # which it keeps of a whole archive, of millions of images
