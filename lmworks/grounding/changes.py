"""What was added, changed or deleted in the documents of an index since it was made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lmworks.basics.files import sha256
from lmworks.text.document import Document
from lmworks.text.sources import Skipped, listing, read, read_file

State = tuple[int, int, str]
"""Bytes, time of the last change in nanoseconds, and SHA-256 of a file."""
FileState = tuple[str, int, int, str]
"""The name of a file, and its state."""


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


@dataclass(frozen=True)
class Found:
    """Changes, and what an index needs to follow them."""

    changes: Changes
    documents: list[tuple[Document, str]]
    """Documents to be indexed, each with its file."""
    files: list[FileState]
    """Files as they are now."""


def changes_of(reference: str, known: Mapping[str, State]) -> Found:
    """Compare the files of a reference with those that an index knows; only files that differ are read.

    A file whose size and time are as they were is taken to be the same; one whose bytes are the same, too.
    """
    folder = Path(reference)
    if not folder.is_dir():
        return _whole_reference(reference, known)
    changes, found = Changes([], [], []), Found(Changes([], [], []), [], [])
    there: set[str] = set()
    for place, size, changed in listing(reference, changes.skipped):
        path = Path(place)
        name = path.relative_to(folder).as_posix()
        there.add(name)
        before = known.get(name)
        if before and before[:2] == (size, changed):
            continue
        digest = sha256(path)
        found.files.append((name, size, changed, digest))
        if before and before[2] == digest:
            continue
        documents, skipped, _ = read_file(path, name)
        found.documents.extend((document, name) for document in documents)
        if skipped:
            changes.skipped.append(skipped)
        if before:  # also one that has no text any more: what it had goes
            changes.changed.append(name)
        elif documents:
            changes.added.append(name)
    changes.deleted.extend(name for name in known if name not in there)
    return Found(changes, found.documents, found.files)


def _whole_reference(reference: str, known: Mapping[str, State]) -> Found:
    """A file or a named text, whose documents are its files; each has the file's date."""
    reading = read(reference)
    now = {document.source: document for document in reading.documents}
    states = {name: _state(document) for name, document in now.items()}
    added = [name for name in now if name not in known]
    changed = [name for name, state in states.items() if name in known and known[name][2] != state]
    deleted = [name for name in known if name not in now]
    documents = [(now[name], name) for name in (*added, *changed)]
    date = max(date for _, _, date in listing(reference))
    files = [(name, len(document.text), date, states[name]) for name, document in now.items()]
    return Found(Changes(added, changed, deleted, list(reading.skipped)), documents, files)


def _state(document: Document) -> str:
    """What tells whether a document is as it was: its text, and what it says of itself."""
    said = json.dumps(document.metadata, sort_keys=True) if document.metadata else ""
    return hashlib.sha256(f"{document.hash}{said}".encode()).hexdigest()
