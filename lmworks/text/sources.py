"""Read a data reference: a folder, a file, `python-reference`, a name of the registry, or `hf:org/name`.

    reading = read("notes")
    reading.documents, reading.skipped

What cannot be read is named with its reason and skipped; nothing that can be read is an error. Text is
changed in its line ends only. A name counts before a path of the same name; `./wikitext2` is the path.
"""

from __future__ import annotations

import difflib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lmworks.basics import progress
from lmworks.basics.errors import DataError
from lmworks.text import hub, registry
from lmworks.text.document import Document
from lmworks.text.formats import NAMED, reader_for
from lmworks.text.plain import UnreadableError, newlines

PYTHON_REFERENCE = "python-reference"
HUB_FILES = ("*.txt", "*.jsonl", "*.csv", "*.parquet")
_SHOWN = 5  # skipped files named in an error


@dataclass(frozen=True)
class Skipped:
    """A file that was not read, or not all of it."""

    path: str
    """Relative to the folder that was read."""
    reason: str
    """For people: "binary, not text"."""


@dataclass(frozen=True)
class Reading:
    """What a data reference held."""

    documents: list[Document]
    """Never empty; in the order of the sorted paths. None is blank."""
    skipped: list[Skipped]
    name: str
    """Short, for titles and file names: the folder's name, the registry's name, org/name."""


def read(reference: str | Path) -> Reading:
    """All documents of a data reference; DataError if there are none, or no such reference."""
    if isinstance(reference, str):
        if reference == PYTHON_REFERENCE:
            return Reading(_python_reference(), [], reference)
        if reference in registry.ENTRIES:
            return Reading(registry.documents(reference), [], reference)
        if reference.startswith(hub.PREFIX):
            folder = hub.snapshot(reference, "dataset", HUB_FILES)
            return _read_folder(folder, reference.removeprefix(hub.PREFIX))
    path = Path(reference)
    try:
        name, kind = _shown(path.resolve().name) or "root", path.stat().st_mode
    except FileNotFoundError:
        raise DataError(_unknown(str(reference))) from None
    except (OSError, RuntimeError, ValueError) as error:  # no permission, a loop of links; a zero byte
        raise DataError(f"{_shown(path)!r} cannot be read ({_reason(error)})") from None
    if stat.S_ISDIR(kind):
        return _read_folder(path, name)
    documents, skipped = _read_file(path, name)
    if not documents:
        reason = skipped.reason if skipped else "no text in it"
        raise DataError(f"{_shown(path)} cannot be used: {reason}; a file may be {NAMED}")
    return Reading(documents, [skipped] if skipped else [], name)


def _read_folder(folder: Path, name: str) -> Reading:
    documents: list[Document] = []
    skipped: list[Skipped] = []
    files = sorted(_files(folder, skipped), key=lambda path: path.relative_to(folder).as_posix())
    with progress.task(f"reading {name}", len(files), "files") as advance:
        for path in files:
            found, left_out = _read_file(path, _shown(path.relative_to(folder)))
            documents += found
            skipped += [left_out] if left_out else []
            advance(1)
    skipped.sort(key=lambda one: one.path)
    if not documents:
        raise DataError(_nothing(folder, skipped))
    return Reading(documents, skipped, name)


def _files(folder: Path, skipped: list[Skipped]) -> Iterator[Path]:
    """Every file below the folder, hidden ones left out.

    Links to files are followed (caches are built of them), links to folders are not: so no loop is walked,
    and a folder from elsewhere cannot lead through the whole disk.
    """

    def denied(error: OSError) -> None:
        skipped.append(Skipped(_shown(Path(error.filename).relative_to(folder)), _reason(error)))

    for parent, folders, names in os.walk(folder, onerror=denied):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in folders:
            if (path := Path(parent, name)).is_symlink():
                skipped.append(Skipped(_shown(path.relative_to(folder)), "a link to a folder; give that folder itself"))
        yield from (Path(parent, name) for name in names if not name.startswith("."))


def _read_file(path: Path, name: str) -> tuple[list[Document], Skipped | None]:
    """The documents of one file, and what was left out of it."""
    documents: list[Document] = []
    problems: list[UnreadableError] = []
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableError("not a file of data (a pipe, socket or device)")
        if not status.st_size:
            raise UnreadableError("empty")
        for found in reader_for(path)(path, name):
            if isinstance(found, UnreadableError):
                problems.append(found)
            elif found.text.strip():
                documents.append(found)
    except (UnreadableError, OSError) as error:
        return [], Skipped(name, _reason(error))
    if problems:
        share = f"{len(problems):,} of {len(problems) + len(documents):,} records"
        return documents, Skipped(name, f"{share}; the first: {problems[0]}")
    return documents, None if documents else Skipped(name, "no text in it")


def _python_reference() -> list[Document]:
    """The language reference that every Python carries for help(), a document a topic.

    Topics that repeat a part of a longer one (`class` of `compound`) are left out, so that nothing held out
    is trained on within another. They differ in how headings are underlined only.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise DataError(
            "this Python comes without its reference (pydoc_data.topics); install the whole of "
            "Python's standard library, or give a folder of text"
        ) from None
    lines = {
        topic: {line.strip() for line in text.splitlines()[2:] if line.strip(' =-*~^"')}
        for topic, text in topics.items()
    }

    def repeated(topic: str) -> bool:
        return any(lines[topic] < lines[other] or (lines[topic] == lines[other] and other < topic) for other in topics)

    return [
        Document(newlines(text), f"{PYTHON_REFERENCE}#{topic}")
        for topic, text in sorted(topics.items())
        if text.strip() and not repeated(topic)
    ]


def _nothing(folder: Path, skipped: list[Skipped]) -> str:
    holds = f"it may hold {NAMED}"
    if not skipped:
        return f"{_shown(folder)} is an empty folder; {holds}"
    named = "; ".join(f"{one.path}: {one.reason}" for one in skipped[:_SHOWN])
    more = f"; and {len(skipped) - _SHOWN:,} more" if len(skipped) > _SHOWN else ""
    return f"{_shown(folder)} holds nothing that can be read; {holds}. Skipped: {named}{more}"


def _unknown(reference: str) -> str:
    names = [PYTHON_REFERENCE, *registry.ENTRIES]
    beside = Path(reference).parent
    neighbours = [str(beside / path.name) for path in beside.iterdir()] if beside.is_dir() else []
    close = difflib.get_close_matches(reference, [*names, *neighbours], n=1)
    others = f"give a path, hf:org/name, or {', '.join(names)}"
    hint = f"did you mean {_shown(close[0])}?" if close else others
    return f"{reference} does not exist; {hint}"


def _reason(error: Exception) -> str:
    return (error.strerror or str(error)).lower() if isinstance(error, OSError) else str(error)


def _shown(path: Path | str) -> str:
    """A path as text that can be printed and written, whatever bytes its name is made of."""
    return os.fsencode(path).decode("utf-8", "replace")
