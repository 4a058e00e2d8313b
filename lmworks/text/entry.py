"""One text of the registry, and how files of common forms become documents."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from lmworks.text.document import Document


def whole(text: str, name: str) -> list[Document]:
    """All of it as one."""
    return [Document(text, name)]


def lines(text: str, name: str) -> list[Document]:
    """One text per line."""
    return [Document(line, f"{name}#{number}") for number, line in enumerate(text.split("\n"), 1) if line.strip()]


def pair(question: str, answer: str, source: str) -> Document:
    """A question and its answer."""
    turns = ({"role": "user", "content": question}, {"role": "assistant", "content": answer})
    return Document.conversation(turns, source)


def records(key: str) -> Callable[[str, str], list[Document]]:
    """One field of each record of a JSON list or JSON lines; whoever wants the others reads `content`."""

    def documents(text: str, name: str) -> list[Document]:
        records = json.loads(text) if text.startswith("[") else map(json.loads, text.splitlines())
        return [Document(one[key], f"{name}#{number}") for number, one in enumerate(records, 1)]

    return documents


@dataclass(frozen=True)
class Entry:
    """One text of the registry."""

    folder: str
    """Its folder inside those of `LMWORKS_DATA`."""
    repository: str
    commit: str
    path: str
    sha256: str
    """Of the content, not of a compressed file."""
    bytes: int
    licence: str
    what: str
    documents: Callable[[str, str], list[Document]] = whole
    """(text, name) -> documents."""
    members: str | None = None
    """Of an archive (zip): a pattern that the whole names of its texts match, in whose order they are read."""
    local: str | None = None
    """Its name inside those folders, where it is not the published one."""
    pair_of: tuple[str, str] | None = None
    """Names of two texts whose lines belong together: the second's are answers to (translations of) the first's."""
    package: str | None = None
    """A package of npm with its version, which npm fetches from the registry of the user's own settings."""

    @property
    def file(self) -> str:
        """The file's name."""
        return self.path.rpartition("/")[2]

    @property
    def address(self) -> str:
        """Where it is published, of what is no package."""
        return f"https://raw.githubusercontent.com/{self.repository}/{self.commit}/{self.path}"
