"""Packed products give what the plain ones give, and never what a weight was before it changed."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from lmworks.models.linear import Linear, packable, packed_products

INPUTS, OUTPUTS = 96, 160

needs_packing = pytest.mark.skipif(
    not packable(torch.ones(1, 1, dtype=torch.bfloat16)), reason="this PyTorch has no packed product for bfloat16"
)


def layer(bias: bool = True, trainable: bool = False) -> Linear:
    torch.manual_seed(0)
    return Linear(INPUTS, OUTPUTS, bias).bfloat16().eval().requires_grad_(trainable)


def states(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, INPUTS, generator=torch.Generator().manual_seed(1)).bfloat16()


def assert_as_written(linear: Linear, x: torch.Tensor):
    """What the layer gives is x W^T + b with the weights as they are now, rounded to bfloat16 once."""
    with torch.no_grad():
        exact = F.linear(x.double(), linear.weight.double(), None if linear.bias is None else linear.bias.double())
        torch.testing.assert_close(linear(x).double(), exact, rtol=2**-7, atol=2**-7)


@needs_packing
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 1), (2, 7), (300,)], ids=str)
def test_a_packed_product_is_the_product(shape: tuple[int, ...], bias: bool):
    linear = layer(bias)
    assert_as_written(linear, states(*shape))
    assert linear.product._packed is not None  # it did run packed


@needs_packing
def test_a_weight_that_changed_is_packed_again():
    linear, x = layer(), states(2, 3)
    assert_as_written(linear, x)
    linear.weight.mul_(-2)
    assert_as_written(linear, x)
    linear.weight = torch.nn.Parameter(linear.weight * 3, requires_grad=False)
    assert_as_written(linear, x)


@pytest.mark.parametrize("training", [True, False])
def test_a_fused_optimiser_leaves_no_stale_copy(training: bool):
    """Fused AdamW does not count its steps in `_version`; so what it may change is never packed."""
    linear, x = layer(trainable=True).train(training), states(2, 3)
    optimiser = torch.optim.AdamW(linear.parameters(), lr=0.5, fused=True)
    for _ in range(2):
        assert_as_written(linear, x)
        linear(x).float().square().sum().backward()
        optimiser.step()
        optimiser.zero_grad()
    assert_as_written(linear, x)


@needs_packing
def test_training_drops_the_packed_copy_and_evaluation_keeps_it():
    linear = layer()
    assert_as_written(linear, states(1))
    linear.eval()
    assert linear.product._packed is not None
    assert copy.deepcopy(linear).product._packed is None
    linear.train()
    assert linear.product._packed is None


def test_where_a_gradient_is_needed_there_is_one():
    linear, x = layer(), states(4).requires_grad_()
    linear(x).float().sum().backward()
    torch.testing.assert_close(x.grad.float(), linear.weight.float().sum(0).expand(4, -1), rtol=2e-2, atol=2e-2)


@needs_packing
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_float32_weights_are_packed_where_it_is_asked_for_and_only_there(dtype: torch.dtype):
    linear, x = layer().float(), states(2, 7).float()
    with torch.no_grad():
        plain = linear(x)
        assert linear.product._packed is None
        for factor in (1, -2):
            linear.weight.mul_(factor)
            linear.bias.mul_(factor)
            with packed_products(dtype, x.device):
                packed = linear(x)
            assert packed.dtype == dtype and linear.product._made_from[-1] == dtype
            rounding = 1e-5 if dtype == torch.float32 else 2**-6
            torch.testing.assert_close(packed.float(), factor * plain, rtol=rounding, atol=rounding)
        assert linear(x).dtype == torch.float32
    with packed_products(dtype, x.device):
        linear.requires_grad_(True)
        assert linear(x).grad_fn is not None  # gradients go the ordinary way


def test_bfloat16_weights_multiply_on_every_processor():
    """oneDNN refuses to pack bfloat16 for a processor that it can't multiply it on (AVX2 alone): these take the plain
    product."""
    assert_as_written(layer(), states(2, 7))
