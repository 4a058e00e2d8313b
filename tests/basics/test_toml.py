"""Tables written as TOML are read back as they were."""

from __future__ import annotations

import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lmworks.basics.config import to_toml

SCALARS = st.one_of(st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False), st.text(max_size=8))
VALUES = SCALARS | st.lists(SCALARS, max_size=3)
TABLES = st.recursive(
    st.dictionaries(st.text(max_size=5), VALUES, max_size=3),
    lambda inner: st.dictionaries(st.text(max_size=5), VALUES | inner, max_size=3),
    max_leaves=8,
)


@given(TABLES)
def test_what_is_written_is_read_back(tables: dict[str, Any]):
    assert tomllib.loads(to_toml(tables)) == tables


def test_what_is_none_is_left_out():
    assert to_toml({"training": {"steps": None, "rows": 4}, "name": None}) == "[training]\nrows = 4\n"
