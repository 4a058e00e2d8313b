"""Numbers with their words."""

from __future__ import annotations

import pytest

from lmworks.basics.amounts import counted, size


def test_one_of_a_thing_is_singular():
    assert [counted(number, "row") for number in (0, 1, 2, 1200)] == ["0 rows", "1 row", "2 rows", "1,200 rows"]


@pytest.mark.parametrize(
    ("bytes_", "said"),
    [
        (1, "1 byte"),
        (999, "999 bytes"),
        (1_000, "1.0 KB"),
        (9_949, "9.9 KB"),
        (9_950, "10 KB"),
        (999_499, "999 KB"),
        (999_500, "1.0 MB"),
        (144_800_000, "144.8 MB"),
        (999_949_999, "999.9 MB"),
        (999_950_000, "1.0 GB"),
        (1_234_000_000_000, "1,234.0 GB"),
    ],
)
def test_bytes_are_said_in_the_largest_unit_that_leaves_a_whole_one(bytes_, said):
    assert size(bytes_) == said
