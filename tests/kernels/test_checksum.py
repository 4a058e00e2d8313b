"""A checksum that tells any bytes from those that a disk may give in their place."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from lmworks.kernels.checksum import BLOCK, Checksum, sums_of

PAGE = 4096


@pytest.fixture(scope="module")
def data() -> np.ndarray:
    """Two blocks and some more."""
    return np.random.default_rng(0).integers(1, 256, 2 * BLOCK + 5 * PAGE + 3, np.uint8)


def of(*parts: np.ndarray | bytes) -> str:
    checksum = Checksum()
    for part in parts:
        checksum.add(memoryview(part))
    return checksum.hexdigest()


@pytest.mark.parametrize("size", [0, 1, 7, PAGE, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK])
def test_it_does_not_matter_how_the_bytes_are_cut(size: int, data: np.ndarray):
    whole = of(data)
    assert of(data[:size], data[size:]) == of(data[:size].tobytes(), b"", data[size:].tobytes()) == whole
    assert of(*(data[at : at + 100_003] for at in range(0, len(data), 100_003))) == whole
    floats = data[: BLOCK // 4 * 4].view(np.float32).reshape(2, -1)
    assert of(np.empty((0, 3)), floats) == of(data[: BLOCK // 4 * 4])


def test_sums_of_whole_blocks_stand_for_their_bytes(data: np.ndarray):
    checksum = Checksum()
    checksum.add_sums(sums_of(data[: 2 * BLOCK]))
    checksum.add(data[2 * BLOCK :].data)
    assert checksum.hexdigest() == of(data)


def zeros(data: np.ndarray, at: int) -> None:
    data[at : at + PAGE] = 0


def one_bit(data: np.ndarray, at: int) -> None:
    data[at] ^= 128


def one_from_the_next(data: np.ndarray, at: int) -> None:
    """What a sum of everything would not see."""
    data[at : at + 16].view(np.uint64)[:] += np.array([1, 2**64 - 1], np.uint64)


@pytest.mark.parametrize("change", [zeros, one_bit, one_from_the_next])
@pytest.mark.parametrize("at", [0, PAGE, BLOCK - 8, BLOCK, BLOCK + PAGE, 2 * BLOCK, 2 * BLOCK + 5 * PAGE - 16])
def test_any_change_is_seen(change: Callable[[np.ndarray, int], None], at: int, data: np.ndarray):
    changed = data.copy()
    change(changed, at)
    assert of(changed) != of(data)


def test_a_byte_more_or_less_at_the_end_is_seen(data: np.ndarray):
    assert len({of(data), of(data[:-1]), of(data, b"\0"), of(data, bytes(8)), of(data[:BLOCK]), of(b"")}) == 6


def test_pages_that_stand_in_each_others_place_are_seen_however_far_they_are_apart(data: np.ndarray):
    whole = of(data)
    for apart in range(1, len(data) // PAGE):
        changed = data.copy()
        changed[:PAGE], changed[apart * PAGE :][:PAGE] = data[apart * PAGE :][:PAGE], data[:PAGE]
        assert of(changed) != whole, apart
