"""What was added, changed or deleted in the documents of an index since it was made; read one file at a time."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from lmworks.basics.errors import DataError
from lmworks.basics.files import regular, sha256
from lmworks.text.document import Document
from lmworks.text.formats.format import reader_for
from lmworks.text.plain import UnreadableError, check_size
from lmworks.text.sources import NO_TEXT, Skipped, entries, listing, read, read_file, why

State = tuple[int, int, str]
"""Bytes, time of the last change in nanoseconds, and SHA-256 of a file (of a document that is no file, as
`_state` has it, with its text's first); -1 bytes for one to be looked at again."""
FileState = tuple[str, int, int, str]
"""A file's name and state."""
UNSURE = 2 * 10**9
"""Nanoseconds: a file that was changed so shortly before it is read may change again without a later time."""
TICK = 2 * 10**7
"""Nanoseconds by which a file system's clock may lag."""
PARTS = ("index.sqlite", "vectors.i8")
"""Files of an index; a folder that holds them is no document of another."""


@dataclass(frozen=True)
class Changes:
    """Names of files."""

    added: list[str]
    changed: list[str]
    deleted: list[str]
    skipped: list[Skipped] = field(default_factory=list)
    """Files that could not be read, with the reason."""

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.deleted)

    def and_of(self, images: Changes) -> Changes:
        """These of texts and those of images together; what both could not read is named once."""
        named = {one.path for one in self.skipped}
        return Changes(
            sorted([*self.added, *images.added]),
            sorted([*self.changed, *images.changed]),
            sorted([*self.deleted, *images.deleted]),
            [*self.skipped, *(one for one in images.skipped if one.path not in named)],
        )


@dataclass(frozen=True)
class Read:
    """A file that is not as the index knows it."""

    state: FileState
    documents: list[Document]
    known: bool
    """Whether the index holds something of it, which goes."""
    bytes: int
    """Its share of `Found.bytes`."""


@dataclass(frozen=True)
class FoundChanges:
    """Changes, and what an index needs to follow them."""

    changes: Changes
    """Complete when all files have been read."""
    files: Iterator[Read]
    """Files to be indexed; each is read when it is asked for."""
    bytes: int
    """Of the files that may have to be read."""


def changes_of(
    reference: str,
    known: Mapping[str, State],
    looked: int | None = None,
    leave: Callable[[str], bool] = lambda name: False,
) -> FoundChanges:
    """Compare the files of a reference with those that an index knows; only files that differ are read.

    A file whose size and time are as they were is taken to be the same; one whose bytes are the same, too. `looked` is
    when the index last looked, in nanoseconds: a file that was put there since with the size and time of the one before
    (unpacked from an archive that dates all files alike) is read too. What lies where nobody could look (a folder
    without permission) is as it was. Files of a folder that `leave` says so of are not read. DataError where no file is
    left of those that are known: a drive that is not mounted is an empty folder.
    """
    folder, changes = Path(reference), Changes([], [], [])
    if not folder.is_dir():
        return _whole_reference(reference, known)
    there: dict[str, tuple[Path, int, int]] = {}
    touched: set[str] = set()
    left = 0
    for path, name, status in entries(folder, changes.skipped):
        if _of_an_index(path, folder):
            continue
        if leave(name):
            left += 1
            continue
        if name in there:
            changes.skipped.append(Skipped(name, "another file's name is the same once it is written as UTF-8"))
        else:
            there[name] = (path, status.st_size, status.st_mtime_ns)
            if put_there_since(status, looked):
                touched.add(name)
    changes.deleted.extend(gone(known, there, changes.skipped))
    if known and not there and not left and len(changes.deleted) == len(known):
        raise nothing_left(str(folder), len(known))
    differ = {
        name: one for name, one in there.items() if name not in known or known[name][:2] != one[1:] or name in touched
    }
    files = (read for name, one in differ.items() for read in _read(name, *one, known.get(name), changes))
    return FoundChanges(changes, files, sum(size for _, size, _ in differ.values()))


def to_read_again(known: Mapping[str, State]) -> dict[str, State]:
    """Known files as none of them is any more, so that all differ."""
    return {name: (-1, changed, "read in another way") for name, (_, changed, _) in known.items()}


def put_there_since(status: os.stat_result, looked: int | None) -> bool:
    """Whether a file may have been put into its place since an index looked last."""
    return looked is not None and status.st_ctime_ns > looked - TICK


def nothing_left(folder: str, known: int) -> DataError:
    """What is said of a folder that has lost all of its files."""
    return DataError(
        f"{folder} holds no file any more, and the index knows {known:,} of it; it stays as it is. "
        "Mount the drive if that is why, or delete the index if it is no longer wanted"
    )


def size_seen(size: int, changed: int) -> int:
    """The size of a file as its state has it: -1 for one that was changed so shortly ago that it is looked at again."""
    return -1 if time.time_ns() - changed < UNSURE else size


def gone(known: Iterable[str], there: Container[str], skipped: list[Skipped]) -> list[str]:
    """Known files that are gone. Those in a folder that could not be entered count as there; the reason for it says how
    many they are."""
    missing = [name for name in known if name not in there]
    for place, one in enumerate(skipped):
        if one.unseen:
            left = [name for name in missing if one.path != "." and not f"{name}/".startswith(f"{one.path}/")]
            if kept := len(missing) - len(left):
                files = "1 file of it stays" if kept == 1 else f"{kept:,} files of it stay"
                skipped[place] = replace(one, reason=f"{one.reason}; {files} in the index")
            missing = left
    return missing


def _read(name: str, path: Path, size: int, changed: int, before: State | None, changes: Changes) -> Iterator[Read]:
    """One file, if it differs; its reason among what was skipped, if it cannot be read. Of such a file no hash is kept:
    it is named at the next update too, and read once that is possible (a package was installed)."""
    seen = size_seen(size, changed)
    documents: list[Document] = []
    try:
        reader_for(path, look_up=True)  # before its bytes are hashed: it may be a film
        check_size(path)
        digest = sha256(regular(path))
    except (UnreadableError, OSError) as error:  # too large; deleted meanwhile, no permission, a pipe
        changes.skipped.append(Skipped(name, why(error)))
        digest = ""
    if digest and (before is None or before[2] != digest):
        documents, skipped, _ = read_file(path, name, look_up=True)
        if skipped:
            changes.skipped.append(skipped)
            digest = digest if documents or skipped.reason == NO_TEXT else ""
    if before and before[2] == digest:
        yield Read((name, seen if digest else -1, changed, digest), [], known=False, bytes=size)
        return
    if before:  # also one that has no text any more: what it had goes
        changes.changed.append(name)
    elif documents:
        changes.added.append(name)
    if digest or before:
        yield Read((name, seen if digest else -1, changed, digest), documents, before is not None, size)


def _of_an_index(path: Path, folder: Path) -> bool:
    """Whether a file is part of an index that lies in the folder."""
    return path.name in PARTS and path.parent != folder and all((path.parent / part).exists() for part in PARTS)


def _whole_reference(reference: str, known: Mapping[str, State]) -> FoundChanges:
    """A file or a named text, whose documents are its files; each has the file's date."""
    reading = read(reference, look_up=True)
    date = max(date for _, _, date in listing(reference))
    return changes_of_documents(reading.documents, known, date, reading.skipped)


def changes_of_documents(
    documents: Sequence[Document], known: Mapping[str, State], date: int = 0, skipped: Sequence[Skipped] = ()
) -> FoundChanges:
    """Compare documents, by their sources, with those that an index knows. Each gets the date, and `skipped` is passed
    on."""
    now = {document.source: document for document in documents}
    states = {name: _state(document) for name, document in now.items()}
    added = [name for name in now if name not in known]
    changed = [name for name, state in states.items() if name in known and known[name][2] != state]
    changes = Changes(added, changed, [name for name in known if name not in now], list(skipped))
    differ, gone = {*added, *changed}, {*changed}
    files = (
        Read((name, len(one.text), date, states[name]), [one] if name in differ else [], name in gone, len(one.text))
        for name, one in now.items()
    )
    return FoundChanges(changes, files, sum(len(now[name].text) for name in differ))


def _state(document: Document) -> str:
    """What tells whether a document is as it was: the hash of its text, then that of what it says of itself."""
    said = json.dumps(document.metadata, sort_keys=True) if document.metadata else ""
    return document.hash + (hashlib.sha256(said.encode()).hexdigest() if said else "")
