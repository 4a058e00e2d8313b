"""16-bit numbers where the processor multiplies none: what runs in float32 instead is as exact as 16 bits are."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from lmworks.models import linear, precision
from lmworks.models.attention import attend
from lmworks.models.linear import Linear
from lmworks.models.masks import Visibility

SIXTEEN = [torch.bfloat16, torch.float16]
STEP = {torch.bfloat16: 2**-7, torch.float16: 2**-9}


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=[True, False], ids=["in float32", "as here"])
def in_float32(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way of a processor without such products, whatever this one has."""
    if request.param:
        for module in (precision, linear):
            monkeypatch.setattr(module, "multiplied", lambda dtype: dtype == torch.float32)


@pytest.mark.usefixtures("in_float32")
@pytest.mark.parametrize("dtype", SIXTEEN, ids=str)
@pytest.mark.parametrize("rows", [1, 2, 3, 40])
@pytest.mark.parametrize("bias", [True, False])
@torch.no_grad()
def test_products(dtype: torch.dtype, rows: int, bias: bool):
    torch.manual_seed(0)
    layer = Linear(96, 160, bias).to(dtype).eval().requires_grad_(False)
    x = numbers(rows, 96).to(dtype)
    exact = F.linear(x.double(), layer.weight.double(), None if layer.bias is None else layer.bias.double())
    result = layer(x)
    assert result.dtype == dtype
    torch.testing.assert_close(result.double(), exact, rtol=STEP[dtype], atol=STEP[dtype])


@pytest.mark.usefixtures("in_float32")
@pytest.mark.parametrize("dtype", SIXTEEN, ids=str)
@pytest.mark.parametrize("case", ["causal", "one query", "after a cache", "mask", "bias"])
@torch.no_grad()
def test_attention(dtype: torch.dtype, case: str):
    queries, keys = {"one query": (1, 9), "after a cache": (4, 9)}.get(case, (70, 70))
    mask = numbers(1, 1, queries, keys, seed=3) > 0
    mask[..., 0] = True
    masked = Visibility(mask, causal=False)
    sees = {"mask": masked, "bias": masked.biased(numbers(1, 4, queries, keys, seed=4).to(dtype))}.get(
        case, Visibility(None, causal=True)
    )
    shapes = ((2, 4, queries, 32), (2, 2, keys, 32), (2, 2, keys, 32))
    query, key, value = (numbers(*shape, seed=seed).to(dtype) for seed, shape in enumerate(shapes))
    result = attend(query, key, value, sees)
    exact = attend(query.double(), key.double(), value.double(), sees, kernel="explicit")
    assert result.dtype == dtype
    torch.testing.assert_close(result.double(), exact, rtol=4 * STEP[dtype], atol=4 * STEP[dtype])
