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
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from lmworks.basics import progress
from lmworks.basics.amounts import counted
from lmworks.basics.errors import DataError
from lmworks.basics.files import regular
from lmworks.text import hub, registry
from lmworks.text.document import Document
from lmworks.text.formats.format import formats_named, reader_for
from lmworks.text.plain import UnreadableError, newlines

PYTHON_REFERENCE = "python-reference"
HUB_FILES = ("*.txt", "*.jsonl", "*.csv", "*.parquet")
FOLLOW_LINKS = "LMWORKS_FOLLOW_LINKS"
"""The variable that `--follow-links` sets to 1, for the processes that a verb starts too."""
OF_RECORDS = " records; the first: "
"""In the reason why records of a file that is read were not."""
_SHOWN = 5  # skipped files named in an error


@dataclass(frozen=True)
class Skipped:
    """A file that was not read, or not all of it."""

    path: str
    """Relative to the folder that was read."""
    reason: str
    """For people: "binary, not text"."""
    unseen: bool = False
    """Whether it could not even be looked at: of a folder, nothing is known of what it holds now."""


@dataclass(frozen=True)
class Reading:
    """What a data reference held."""

    documents: list[Document]
    """Never empty, but for a share; in the order of the sorted paths. None is blank."""
    skipped: list[Skipped]
    name: str
    """Short, for titles and file names: the folder's name, the registry's name, org/name."""
    blank: int = 0
    """Records and rows without any text, left out of files that hold others."""


Refusal = Callable[[Document], str | None]
"""Why a conversation cannot be learnt, in a sentence; None where it can."""
WHOLE = (0, 1)
NO_TEXT = "no text in it"
"""The reason for a file that was read and holds none."""


def read(reference: str | Path, share: tuple[int, int] = WHOLE, look_up: bool = False) -> Reading:
    """All documents of a data reference; DataError if there are none, or no such reference.

    Tables give whole rows where facts are to be looked up (`look_up`), else their text.

    A share (number, count) of a folder is every count-th file from that number on; anything else is in share 0
    as a whole. The shares together are everything; one of them may be empty.
    """
    if isinstance(reference, str):
        if reference == PYTHON_REFERENCE:
            return Reading([] if share[0] else _python_reference(), [], reference)
        if reference in registry.ENTRIES:
            return Reading([] if share[0] else registry.documents(reference), [], reference)
        if reference.startswith(hub.PREFIX):
            folder = hub.snapshot(reference, "dataset", HUB_FILES)
            return _read_folder(folder, reference.removeprefix(hub.PREFIX), share, follow=True, look_up=look_up)
    path = Path(reference)
    name, kind = _found(path)
    if stat.S_ISDIR(kind):
        return _read_folder(path, name, share, look_up=look_up)
    if share[0]:
        return Reading([], [], name)
    documents, skipped, blank = read_file(path, name, look_up)
    if not documents:
        reason = skipped.reason if skipped else "no text in it"
        others = "" if OF_RECORDS in reason else f"; a file may be {formats_named()}"
        raise DataError(f"{_shown(path)} cannot be used: {reason}{others}")
    return Reading(documents, [skipped] if skipped else [], name, blank)


def must_be_somewhere(reference: str | Path) -> None:
    """DataError for a name or a path of nothing; nothing is read or fetched."""
    named = reference == PYTHON_REFERENCE or reference in registry.ENTRIES
    if not named and not str(reference).startswith(hub.PREFIX):
        _found(Path(reference))


def _found(path: Path) -> tuple[str, int]:
    """The name of what lies there, and its mode."""
    try:
        return _shown(path.resolve().name) or "root", path.stat().st_mode
    except FileNotFoundError:
        raise DataError(_unknown(str(path))) from None
    except (OSError, RuntimeError, ValueError) as error:  # no permission, a loop of links; a zero byte
        raise DataError(f"{_shown(path)!r} cannot be read ({why(error)})") from None


def read_answered(reference: str | Path, refusal: Refusal | None = None) -> Reading:
    """All documents of a data reference that a model can be trained on or measured by: conversations in which nobody
    answers, or that begin with the assistant's turn, are among what was skipped, and those that `refusal` refuses.
    DataError as by `read`, and where none is left."""
    reading = _without(
        read(reference), lambda one: None if one.is_answered else "", "without an answer by the assistant"
    )
    return reading if refusal is None else without_refused(reading, refusal)


def without_refused(reading: Reading, refusal: Refusal) -> Reading:
    """A reading whose refused conversations are among what was skipped, the first of a file with its reason. DataError
    where none is left."""
    return _without(reading, refusal, "that cannot be learnt")


def _without(reading: Reading, refusal: Refusal, which: str) -> Reading:
    by_file: dict[str, list[str]] = {}
    kept = []
    with progress.task(f"looking through {reading.name}", len(reading.documents), "documents", stays=False) as advance:
        for one in reading.documents:
            if (why_not := refusal(one)) is None:
                kept.append(one)
            else:
                named = f"{one.source}: {why_not}" if why_not else one.source
                by_file.setdefault(one.source.rpartition("#")[0], []).append(named)
            advance(1)
    left_out = [
        Skipped(file, f"{counted(len(some), 'conversation')} {which}; the first: {some[0]}")
        for file, some in by_file.items()
    ]
    if not kept:
        reasons = "; ".join(one.reason for one in [*left_out, *reading.skipped][:_SHOWN])
        raise DataError(f"{reading.name} holds nothing to train on or to measure: {reasons}")
    skipped = sorted([*reading.skipped, *left_out], key=lambda one: one.path)
    return replace(reading, documents=kept, skipped=skipped)


def listing(reference: str, skipped: list[Skipped] | None = None) -> list[tuple[str, int, int]]:
    """The files of a data reference: name, bytes, time of the last change (ns; 0 for a named text).

    Nothing is read; what could not be entered is added to `skipped`. DataError if there is no such reference.
    """
    if reference == PYTHON_REFERENCE:
        return [(reference, 0, 0)]
    if reference in registry.ENTRIES:
        return [(reference, registry.ENTRIES[reference].bytes, 0)]
    on_hub = reference.startswith(hub.PREFIX)
    path = hub.snapshot(reference, "dataset", HUB_FILES) if on_hub else Path(reference)
    if not path.exists():
        raise DataError(_unknown(reference))
    if not path.is_dir():
        return [(_shown(path), path.stat().st_size, path.stat().st_mtime_ns)]
    found = entries(path, [] if skipped is None else skipped, follow=on_hub)
    return [(_shown(file), status.st_size, status.st_mtime_ns) for file, _, status in found]


def entries(folder: Path, skipped: list[Skipped], follow: bool = False) -> list[tuple[Path, str, os.stat_result]]:
    """The files of a folder, in order: path, name within the folder as it can be written, and state.

    Nothing is read; what could not be entered is added to `skipped`.
    """
    found = []
    for path in sorted(_files(folder, skipped, follow)):
        name = _shown(path.relative_to(folder))
        try:
            found.append((path, name, path.stat()))
        except FileNotFoundError:
            continue  # a link may lead nowhere, and a file may go meanwhile
        except OSError as error:
            skipped.append(Skipped(name, why(error), unseen=True))
    return found


def _read_folder(
    folder: Path, name: str, share: tuple[int, int], follow: bool = False, look_up: bool = False
) -> Reading:
    documents: list[Document] = []
    skipped: list[Skipped] = []
    blank, (number, shares) = 0, share
    found = _files(folder, skipped, follow)
    files = sorted(found, key=lambda path: path.relative_to(folder).as_posix())[number::shares]
    if number:
        skipped = []  # what could not be entered: named once
    with progress.task(f"reading {name}", len(files), "files") as advance:
        for path in files:
            read_here, left_out, without_text = read_file(path, _shown(path.relative_to(folder)), look_up)
            documents += read_here
            blank += without_text
            skipped += [left_out] if left_out else []
            advance(1)
    skipped.sort(key=lambda one: one.path)
    if not documents and share == WHOLE:
        raise DataError(_nothing(folder, skipped))
    return Reading(documents, skipped, name, blank)


def _files(folder: Path, skipped: list[Skipped], follow: bool) -> Iterator[Path]:
    """Every file below the folder, hidden ones left out.

    Links to folders are not followed, so no loop is walked. Links to files are where they stay in the folder, so that
    one from elsewhere cannot name /etc/passwd as a text; `follow` (the hub's caches are built of links) or
    `--follow-links` lets them lead anywhere.
    """
    follow = follow or os.environ.get(FOLLOW_LINKS) == "1"
    home = os.path.realpath(folder)

    def denied(error: OSError) -> None:
        skipped.append(Skipped(_shown(Path(error.filename).relative_to(folder)), why(error), unseen=True))

    for parent, folders, names in os.walk(folder, onerror=denied):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in folders:
            if (path := Path(parent, name)).is_symlink():
                skipped.append(Skipped(_shown(path.relative_to(folder)), "a link to a folder; give that folder itself"))
        for path in (Path(parent, name) for name in names if not name.startswith(".")):
            if follow or not path.is_symlink() or Path(os.path.realpath(path)).is_relative_to(home):
                yield path
            else:
                skipped.append(Skipped(_shown(path.relative_to(folder)), _LEAVES))


_LEAVES = "a link that leaves the folder; --follow-links reads it"


def read_file(path: Path, name: str, look_up: bool = False) -> tuple[list[Document], Skipped | None, int]:
    """The documents of one file, what was left out of it, and how many records had no text."""
    documents: list[Document] = []
    problems: list[UnreadableError] = []
    blank = 0
    try:
        if not regular(path).stat().st_size:
            raise UnreadableError("empty")
        for found in reader_for(path, look_up)(path, name):
            if isinstance(found, UnreadableError):
                problems.append(found)
            elif found.text.strip():
                documents.append(found)
            else:
                blank += 1
    except (UnreadableError, OSError) as error:
        return [], Skipped(name, why(error)), 0
    if problems:
        share = f"{len(problems):,} of {len(problems) + len(documents):,}"
        return documents, Skipped(name, f"{share}{OF_RECORDS}{problems[0]}"), blank
    return (documents, None, blank) if documents else ([], Skipped(name, NO_TEXT), 0)


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
    holds = f"it may hold {formats_named()}"
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
    others = (
        f"give a path, hf:org/name, {PYTHON_REFERENCE}, or a name of the data registry (wikitext2, sst2-train, ...)"
    )
    hint = f"did you mean {_shown(close[0])}?" if close else others
    return f"{reference} does not exist; {hint}"


def why(error: Exception) -> str:
    """An error of a file as a reason that users are told."""
    return (error.strerror or str(error)).lower() if isinstance(error, OSError) else str(error)


def _shown(path: Path | str) -> str:
    """A path as text that can be printed and written, whatever bytes its name is made of."""
    return os.fsencode(path).decode("utf-8", "replace")
