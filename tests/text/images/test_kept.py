"""Arrays in the cache are those that were made, or are made again."""

from __future__ import annotations

import numpy as np
import pytest

from lmworks.text.images.kept import kept


@pytest.fixture
def calls():
    return []


@pytest.fixture
def arrays(tmp_path, calls):
    def read(source="one"):
        return kept(tmp_path / "a.npz", source, lambda: calls.append(source) or {"a": np.arange(6), "b": np.eye(2)})

    return read


def test_arrays_are_made_once(arrays, calls):
    first, second = arrays(), arrays()
    assert calls == ["one"] and sorted(second) == ["a", "b"]
    np.testing.assert_array_equal(first["a"], second["a"])


def test_arrays_are_made_again_where_the_file_does_not_hold_what_was_written(arrays, calls, tmp_path):
    arrays()
    path = tmp_path / "a.npz"
    with np.load(path) as file:
        found = dict(file)
    np.savez(path, **found | {"a": found["a"] + 1})  # a file that is whole, and holds something else
    np.testing.assert_array_equal(arrays()["a"], np.arange(6))
    assert len(calls) == 2
    path.write_bytes(path.read_bytes()[:100])
    arrays()
    path.write_bytes(b"")
    arrays()
    assert len(calls) == 4


def test_arrays_of_another_source_are_not_taken(arrays, calls):
    arrays("one"), arrays("two"), arrays("two")
    assert calls == ["one", "two"]


def test_nothing_is_unpickled(arrays, calls, tmp_path):
    np.savez(tmp_path / "a.npz", a=np.array([{}], dtype=object), allow_pickle=True)
    arrays()
    assert calls == ["one"]
