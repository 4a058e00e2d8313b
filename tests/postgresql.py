"""A PostgreSQL server of the tests' own."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


def programs() -> Path | None:
    """Where the newest PostgreSQL's programs lie: Debian keeps them out of the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    place = str(found[-1]) if found else shutil.which("initdb")
    return Path(place).parent if place else None


@contextlib.contextmanager
def server() -> Iterator[str]:
    """A server that listens on nothing but a socket in its folder; the address of its database."""
    pytest.importorskip("psycopg", reason="pip install 'lmworks[scale]'")
    place = programs()
    if place is None:
        pytest.skip("PostgreSQL is not installed; on Debian: apt-get install postgresql-17 postgresql-17-pgvector")
    folder = Path(tempfile.mkdtemp(prefix="lmworks-postgresql-"))
    user = "postgres" if os.getuid() == 0 else None  # it does not run as root
    if user:
        os.chown(folder, pwd.getpwnam(user).pw_uid, -1)

    def run(*command: str) -> None:
        with (folder / "output").open("a") as output:
            subprocess.run(command, user=user, cwd=folder, check=True, stdout=output, stderr=output)

    data = str(folder / "data")
    try:
        run(str(place / "initdb"), "-D", data, "-U", "lmworks", "--auth", "trust", "--no-sync")
        options = f"-k {folder} -c listen_addresses='' -c fsync=off"
        run(str(place / "pg_ctl"), "-D", data, "-w", "-o", options, "start")
        yield f"postgresql://lmworks@/postgres?host={folder}"
    finally:
        if (folder / "data" / "postmaster.pid").exists():
            run(str(place / "pg_ctl"), "-D", data, "-w", "-m", "immediate", "stop")
        shutil.rmtree(folder)
