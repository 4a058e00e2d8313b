"""An index in PostgreSQL: the tests of every index are in test_index.py, here is what only a server has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import postgresql
import psycopg
import pytest
import tiny

import lmworks as lm
from grounding.test_index import everything
from lmworks.basics.errors import ConfigError, DataError
from lmworks.basics.postgresql import reason_of, without_password
from lmworks.grounding.index import IndexSettings, build, storage_of


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with postgresql.server() as address:
        yield address


@pytest.fixture
def settings(tmp_path: Path) -> IndexSettings:
    return IndexSettings(embedder=tiny.embedder(tmp_path / "encoder"), longest=80, language="english")


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    for number in range(30):
        words = [tiny.WORDS[number * step % len(tiny.WORDS)] for step in range(1, 40)]
        (folder / f"note{number}.txt").write_text(" ".join(words) + f" Note {number} with rent, boat and pier.")
    return folder


def test_it_scores_as_a_folder_does(database: str, notes: Path, settings: IndexSettings, tmp_path: Path):
    """Keywords, vectors and both, equal to the bit: the server multiplies the same whole numbers."""
    here, there = build(notes, tmp_path / "index", settings), build(notes, f"{database}#same", settings)
    assert everything(here) == everything(there) and len(here) == len(there) > 30


def test_a_connection_that_died_is_replaced(database: str, notes: Path, settings: IndexSettings):
    index = build(notes, f"{database}#dies", settings)
    assert index.search("rent", by="keywords")
    with psycopg.connect(database, autocommit=True) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename = user"
        )
    assert index.search("rent", by="keywords")


def test_what_is_read_is_of_one_moment(database: str, notes: Path, settings: IndexSettings):
    index = build(notes, f"{database}#moment", settings)
    with index.storage.reading() as reading:
        before = reading.files()
        (notes / "note1.txt").write_text("A lamp.")
        index.update()
        assert reading.files() == before and reading.document("note1.txt") != "A lamp."
    assert index.document("note1.txt") == "A lamp."


def test_what_belongs_to_somebody_else_is_left_alone(database: str, notes: Path, settings: IndexSettings):
    with psycopg.connect(database, autocommit=True) as other:
        other.execute("CREATE SCHEMA theirs CREATE TABLE settings (name text)")
    assert not storage_of(f"{database}#theirs").exists()
    with pytest.raises(DataError, match=r'schema "theirs" already exists; give another name after the #'):
        build(notes, f"{database}#theirs", settings)


@pytest.mark.parametrize("name", ["pg_notes", "Notes", "a b", 'x"y', "x" * 64])
def test_a_name_that_cannot_be_one_is_a_sentence(name: str):
    with pytest.raises(ConfigError, match="cannot name an index in PostgreSQL"):
        storage_of(f"postgresql://me:secret@host/library#{name}")


def test_a_server_that_is_not_there_is_one_sentence_without_the_password():
    for address in (
        "postgresql://me:s3cret@/library?host=/nowhere#notes",
        "postgresql://me@/library?host=/nowhere&password=s3cret#notes",
        "postgresql://me:s3cret@127.0.0.1:1/library",
        "postgresql://me:s3cret@host:port:port/library",
    ):
        with pytest.raises(DataError, match=r"^postgresql://me@\S+ cannot be reached \(") as caught:
            lm.open_index(address)
        assert "s3cret" not in str(caught.value) and "\n" not in str(caught.value)


def test_a_password_is_in_nothing_that_is_shown():
    address = "postgresql://me:p%40ss@host/library?password=other&sslmode=require"
    assert without_password(address) == "postgresql://me@host/library?sslmode=require"
    assert reason_of(ValueError(f"bad {address}: p@ss, p%40ss, other\nmore"), address) == (
        "bad postgresql://me@host/library?sslmode=require: ***, ***, ***"
    )
