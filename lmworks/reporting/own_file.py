"""A file of one's own questions, read as what it can be: a task, or questions to the documents of a model."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from lmworks.basics.errors import ConfigError, DataError
from lmworks.evaluation.tasks.declaration import Task
from lmworks.evaluation.tasks.own import SUFFIXES, own_task
from lmworks.evaluation.tasks.own_file import text_of
from lmworks.grounding.own_questions import OwnQuestion, read_questions


@dataclass(frozen=True)
class OwnFile:
    """Either a task that the model is asked, or questions that its documents answer."""

    name: str
    sha256: str
    task: Task | None = None
    questions: tuple[OwnQuestion, ...] = ()

    @classmethod
    def of(cls, path: Path, to_documents: bool) -> OwnFile:
        """Read a .csv or .jsonl file. Plain questions, some perhaps without an answer, are asked of the documents where
        there are some. DataError or ConfigError, with the place, for what cannot be asked."""
        must_hold_text(path)
        if not to_documents:
            return cls(path.name, _hash(path), own_task(path))
        try:
            task = own_task(path)
        except DataError:  # a question without an answer, perhaps: of documents that is one to be refused
            task = None
        if task is not None and not task.waits:
            return cls(path.name, _hash(path), task)
        return cls(path.name, _hash(path), questions=tuple(read_questions(path)))


def must_hold_text(path: Path) -> None:
    """ConfigError for a file of another kind, DataError for one that is not there or no text."""
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"{path} is no .csv or .jsonl file; give one of questions with answers or choices")
    text_of(path)


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
