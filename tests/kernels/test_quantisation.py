"""Quantisations: what their planes hold is what was packed, and the layouts of 4 and 8 bits are those of the
kernels."""

from __future__ import annotations

import pytest
import torch
from frames import numbers

from lmworks.basics.errors import ConfigError
from lmworks.kernels.quantisation import Quantisation, quantisation_of, quantisations
from lmworks.models.files.gguf_kinds import Kind
from lmworks.models.files.quantise import GROUP, ggml

PLANES = [(1,), (2,), (2, 1), (4,), (4, 1), (4, 2), (4, 2, 1), (8,)]


@pytest.mark.parametrize("planes", PLANES)
def test_unpacking_gives_the_codes_that_were_packed(planes: tuple[int, ...]):
    one = Quantisation(planes)
    codes = torch.randint(0, 1 << one.bits, (3, 5, 8, 64), generator=torch.Generator().manual_seed(0)).byte()
    packed = one.pack(codes)
    assert packed.shape == (3, 5, one.bits, 64)
    assert torch.equal(one.unpack(packed), codes)


@pytest.mark.parametrize("planes", PLANES)
def test_a_place_is_where_a_code_is(planes: tuple[int, ...]):
    """As the kernels read a single code: a vector and a shift for each plane."""
    one = Quantisation(planes)
    codes = torch.randint(0, 1 << one.bits, (8, 64), generator=torch.Generator().manual_seed(1)).byte()
    packed = one.pack(codes)
    for quad in range(8):
        found = torch.zeros(64, dtype=torch.uint8)
        for plane in one.places:
            vector, shift = plane.place(quad)
            found |= (packed[vector] >> shift & plane.mask) << plane.up
        assert torch.equal(found, codes[quad])


def test_four_bits_are_nibbles_and_eight_are_bytes():
    codes = torch.randint(0, 16, (8, 64), generator=torch.Generator().manual_seed(2)).byte()
    assert torch.equal(quantisation_of(4).pack(codes), codes[:4] | codes[4:] << 4)
    assert torch.equal(quantisation_of(8).pack(codes), codes)


def test_rounding_between_extremes_errs_by_half_a_step_at_most():
    weight = numbers(6, 96)
    for bits in (2, 3, 5, 6, 7):
        groups = Quantisation({2: (2,), 3: (2, 1), 5: (4, 1), 6: (4, 2), 7: (4, 2, 1)}[bits]).quantise(weight)
        grouped = weight.view(6, -1, GROUP)
        step = (grouped.amax(-1) - grouped.amin(-1)) / ((1 << bits) - 1)
        error = (groups.weights() - weight).abs().view(6, -1, GROUP).amax(-1)
        assert (error <= 0.5 * step + 2e-3).all() and int(groups.values.max()) == (1 << bits) - 1


def test_a_file_s_values_take_the_fewest_bits_that_hold_them():
    few, many = ggml(numbers(4, 64), Kind.Q4_0), ggml(numbers(4, 64), Kind.Q8_0)
    assert next(bits for bits, one in quantisations().items() if one.holds(few)) == 4
    assert not quantisation_of(4).holds(many) and quantisation_of(8).holds(many)


def test_bits_that_there_are_none_of_are_one_sentence():
    with pytest.raises(ConfigError, match="weights are compressed to 4, 8 or 16 bits, not 5"):
        quantisation_of(5)
    with pytest.raises(ValueError, match="planes"):
        Quantisation((3,))
