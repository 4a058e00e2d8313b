"""Finite scalar quantisation: laws of the codes, gradients, and vector-quantize-pytorch's formula."""

from __future__ import annotations

import pytest
import torch

from lmworks.basics.errors import DataError
from lmworks.models.vision.fsq import FSQ

LEVELS = [(8, 5, 5, 5), (8, 6, 5), (7, 5, 5, 5, 5), (2, 3)]


@pytest.mark.parametrize("levels", LEVELS)
def test_codes_become_levels_and_levels_the_same_codes(levels: tuple[int, ...]):
    quantiser = FSQ(levels)
    codes = torch.arange(quantiser.codes)
    values = quantiser.values_of(codes)
    assert torch.equal(quantiser.codes_of(values), codes)
    assert len(values.unique(dim=0)) == quantiser.codes and values.min() >= -1 and values.max() <= 1


@pytest.mark.parametrize("levels", LEVELS)
def test_what_is_rounded_is_the_value_of_its_code(levels: tuple[int, ...]):
    quantiser = FSQ(levels)
    states = 3 * torch.randn(50, 7, len(levels), generator=torch.Generator().manual_seed(0))
    values = quantiser(states)
    torch.testing.assert_close(quantiser.values_of(quantiser.codes_of(values)), values, rtol=0, atol=1e-6)
    whole = quantiser(20 * torch.randn(20_000, len(levels), generator=torch.Generator().manual_seed(1)))
    assert len(quantiser.codes_of(whole).unique()) > 2 ** len(levels) - 1  # the outermost levels are reached


def test_all_codes_are_reached():
    quantiser = FSQ((8, 5, 5, 5))
    values = quantiser(1.5 * torch.randn(60_000, 4, generator=torch.Generator().manual_seed(0)))
    assert len(quantiser.codes_of(values).unique()) == 1000


def test_gradients_pass_the_rounding():
    states = torch.randn(9, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    FSQ((8, 5, 5, 5))(states).sum().backward()
    assert states.grad is not None and (states.grad > 0).all()


@pytest.mark.parametrize("code", [-1, 1000])
def test_a_number_that_is_no_code_is_refused(code: int):
    with pytest.raises(DataError, match="0 to 999"):
        FSQ((8, 5, 5, 5)).values_of(torch.tensor([code]))


@pytest.mark.parametrize("levels", LEVELS)
def test_it_is_vector_quantize_pytorchs(levels: tuple[int, ...]):
    """Its formula (finite_scalar_quantization.py, `bound`, `quantize`, `codes_to_indices`), written out."""
    states = 2 * torch.randn(400, len(levels), generator=torch.Generator().manual_seed(2))
    many = torch.tensor(levels)
    half_l = (many - 1) * (1 + 1e-3) / 2
    offset = torch.where(many % 2 == 0, 0.5, 0.0)
    shift = (offset / half_l).atanh()
    half_width = many // 2
    theirs = ((states + shift).tanh() * half_l - offset).round() / half_width
    basis = torch.cumprod(torch.tensor([1, *levels[:-1]]), dim=0)
    indices = ((theirs * half_width + half_width) * basis).sum(-1).round().long()
    quantiser = FSQ(levels)
    torch.testing.assert_close(quantiser(states), theirs, rtol=1e-5, atol=1e-5)
    assert torch.equal(quantiser.codes_of(quantiser(states)), indices)
