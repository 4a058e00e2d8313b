"""Dropout drops the share that it says, keeps the mean, and gives the gradient of what it kept."""

from __future__ import annotations

import pytest
import torch

from lmworks.models.dropout import Dropout, dropped


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("share", [0.001, 0.1, 0.3, 0.9])
def test_the_share_is_dropped_and_the_rest_makes_up_for_it(share: float, dtype: torch.dtype):
    torch.manual_seed(0)
    out = dropped(torch.ones(1001, 999, dtype=dtype), share).float()
    count = out.numel()
    assert (out == 0).float().mean().item() == pytest.approx(share, abs=5 * (share * (1 - share) / count) ** 0.5)
    kept = out[out != 0]
    torch.testing.assert_close(
        kept, torch.full_like(kept, 1 / (1 - share)), rtol=1e-2 if dtype.itemsize == 2 else 1e-4, atol=0
    )


@pytest.mark.parametrize("share", [0.99999, 1 - 1e-9])
def test_a_share_near_one_keeps_hardly_anything(share: float):
    torch.manual_seed(0)
    out = dropped(torch.ones(1001, 999), share)
    assert out.isfinite().all() and (out != 0).float().mean() < 1e-3


def test_elements_are_dropped_independently():
    """Four share one draw: neither neighbours nor rows may drop together."""
    torch.manual_seed(0)
    gone = (dropped(torch.ones(4096, 256), 0.5) == 0).float() - 0.5
    for distance in (1, 2, 3, 4, 256):
        flat = gone.flatten()
        assert abs(float((flat[:-distance] * flat[distance:]).mean())) < 5 * 0.25 / flat.numel() ** 0.5


def test_the_gradient_is_that_of_what_was_kept():
    torch.manual_seed(0)
    x = torch.randn(33, 17, requires_grad=True)
    out = dropped(x, 0.4)
    out.sum().backward()
    torch.testing.assert_close(x.grad * x, out)


def test_a_seed_gives_it_again_and_evaluation_drops_nothing():
    layer, x = Dropout(0.5), torch.randn(40, 7)
    torch.manual_seed(3)
    first = layer(x)
    torch.manual_seed(3)
    assert torch.equal(first, layer(x)) and not torch.equal(first, layer(x))
    assert layer.eval()(x) is x and dropped(x, 0.0) is x
