"""Parts are found by the files that declare them."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from lmworks.basics.declared import declared


@dataclass(frozen=True)
class Part:
    name: str


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A folder of parts, under a name of its own."""
    folder = tmp_path / f"parts_{tmp_path.name.replace('-', '_')}"
    folder.mkdir()
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    for name in [name for name in sys.modules if name.split(".")[0] == folder.name]:
        del sys.modules[name]


def write(folder: Path, file: str, *names: str) -> None:
    lines = [f"{name.upper()} = Part({name!r})" for name in names]
    (folder / f"{file}.py").write_text("\n".join(["from test_declared import Part", *lines]), encoding="utf-8")


def test_a_part_is_found_by_its_file_alone(package):
    write(package, "b", "second", "third")
    write(package, "a", "first")
    assert list(declared(package.name, Part)) == ["first", "second", "third"]


def test_two_parts_of_one_name_are_an_error(package):
    write(package, "a", "same")
    write(package, "b", "same")
    with pytest.raises(ValueError, match="declares 'same', which another file"):
        declared(package.name, Part)
