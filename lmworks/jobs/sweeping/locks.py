"""Locks that die with their holder: kernel locks on files, or PostgreSQL's advisory locks.

A sweep needs two: one to claim a trial, and one that each worker holds for as long as it lives. A trial whose worker's
lock is free was abandoned, whatever killed its worker.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout


class Locks(Protocol):
    """Named locks that several workers see."""

    def hold(self, name: str) -> AbstractContextManager[Any]:
        """Wait for a lock and hold it for the length of a block."""

    def is_held(self, name: str) -> bool:
        """Does anybody else hold it now?"""


class FileLocks:
    """Locks of workers that share a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def hold(self, name: str) -> AbstractContextManager[Any]:
        """Wait for a lock and hold it for the length of a block."""
        return FileLock(self.folder / f"{name}.lock")

    def is_held(self, name: str) -> bool:
        """Does anybody else hold it now?"""
        path = self.folder / f"{name}.lock"
        if not path.exists():
            return False
        try:
            with FileLock(path, timeout=0):
                return False
        except Timeout:
            return True


class DatabaseLocks:
    """Locks of workers that share a PostgreSQL database, on whatever machine; gone when the connection is."""

    def __init__(self, connection: Any, study: str) -> None:
        self.connection, self.study = connection, study

    @contextmanager
    def hold(self, name: str) -> Iterator[None]:
        """Wait for a lock and hold it for the length of a block."""
        self._call("pg_advisory_lock", name)
        try:
            yield
        finally:
            self._call("pg_advisory_unlock", name)

    def is_held(self, name: str) -> bool:
        """Does anybody else hold it now?"""
        got = self._call("pg_try_advisory_lock", name)
        if got:
            self._call("pg_advisory_unlock", name)
        return not got

    def _call(self, function: str, name: str) -> Any:
        digest = hashlib.sha256(f"lmworks/{self.study}/{name}".encode()).digest()
        number = int.from_bytes(digest[:8], "big", signed=True)
        return self.connection.execute(f"SELECT {function}(%s)", (number,)).fetchone()[0]
