"""What blocks of a GGUF file hold, unchanged: the weights that the gguf package makes of them, to the bit."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
import torch
from blocks import HALVES, Kind, random_blocks

from lmworks.models.files.gguf_blocks import is_stored_in_groups, stored_groups


@pytest.mark.parametrize("kind", HALVES, ids=lambda kind: kind.name)
def test_groups_are_what_the_public_package_dequantises(kind: Kind):
    data = random_blocks(kind, 3, 512)
    groups = stored_groups(torch.from_numpy(data), kind)
    assert groups is not None and is_stored_in_groups(kind)
    np.testing.assert_array_equal(groups.weights().numpy(), gguf.dequantize(data, kind))


def test_kinds_without_groups_are_none():
    assert stored_groups(torch.zeros(1, 66, dtype=torch.uint8), Kind.IQ2_XXS) is None


@pytest.mark.parametrize("exponent, held", [(0, False), (100, False), (104, True), (140, True), (145, False)])
def test_scales_of_mxfp4_that_float16_does_not_hold_are_not_rounded(exponent: int, held: bool):
    data = random_blocks(Kind.MXFP4, 2, 64)
    data[1, 17] = exponent
    assert (stored_groups(torch.from_numpy(data), Kind.MXFP4) is not None) is held
    data[1, 18:] = 0x80  # only zeros, of either sign, need no scale
    groups = stored_groups(torch.from_numpy(data), Kind.MXFP4)
    assert groups is not None
    np.testing.assert_array_equal(groups.weights().numpy(), gguf.dequantize(data, Kind.MXFP4))
