"""Norms, gates and the softmax of a training step, each in one pass, against PyTorch in float64; NF4 to the bit."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from lmworks.adaptation import nf4
from lmworks.adaptation.nf4 import NF4
from lmworks.kernels import between
from lmworks.kernels.between import FORMS, Kernels, kernels_for
from lmworks.kernels.coverage import unavailable
from lmworks.models.rotation import rotate, rotate_back

pytestmark = pytest.mark.skipif(unavailable() is not None, reason=str(unavailable()))
ROWS, EPS = 5, 1e-5
NEAR = {"float32": 3e-6, "bfloat16": 2**-8}
"""Of the largest number: what one rounding moves, and in float32 some."""


@pytest.fixture(params=FORMS)
def dtype(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> torch.dtype:
    monkeypatch.setattr(between, "FEWEST", 1)
    return getattr(torch, request.param)  # type: ignore[no-any-return]


def values(rows: int, width: int, dtype: torch.dtype, seed: int = 0, spread: float = 1.0) -> Tensor:
    return (torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)) * spread).to(dtype)


def kernels(states: Tensor) -> Kernels:
    found = kernels_for(states)
    assert found is not None
    return found


def same(found: Tensor, wanted: Tensor) -> None:
    near = NEAR[str(found.dtype).removeprefix("torch.")]
    assert (found.double() - wanted).abs().max() <= near * wanted.abs().max()


@pytest.mark.parametrize("width", [16, 80])
def test_a_norm_and_its_gradient_beside_the_stream(dtype: torch.dtype, width: int):
    x, gradient, stream = (values(ROWS, width, dtype, seed, 3.0) for seed in range(3))
    weight = values(1, width, dtype, 3)[0]
    x[1] = 0  # a row of zeros has a gradient too
    exact = x.double().requires_grad_()
    normed = F.rms_norm(exact, (width,), weight.double(), EPS)
    normed.backward(gradient.double())
    assert exact.grad is not None
    same(kernels(x).norm(x, weight, EPS), normed.detach())
    found = kernels(x).norm_back(gradient, x, weight, stream, EPS)
    for row, wanted in zip(found, exact.grad + stream.double(), strict=True):  # zeros have a gradient of 1 / sqrt(eps)
        same(row, wanted)


@pytest.mark.parametrize("width", [16, 80])
def test_a_gate_and_its_gradient(dtype: torch.dtype, width: int):
    inner, gradient = values(ROWS, 2 * width, dtype, 1, 4.0), values(ROWS, width, dtype, 2)
    inner[0, :2] = torch.tensor([200.0, -200.0])
    exact = inner.double().requires_grad_()
    gate, up = exact.chunk(2, dim=-1)
    gated = F.silu(gate) * up
    gated.backward(gradient.double())
    assert exact.grad is not None
    same(kernels(inner).gate(inner), gated.detach())
    same(kernels(inner).gate_back(gradient, inner), exact.grad)


@pytest.mark.parametrize("rows", [1, 2], ids=["one table for all rows", "a table for each"])
def test_heads_turned_into_tiles_and_back(dtype: torch.dtype, rows: int):
    seq, heads, tile, width = 6, 3, 2, 32
    angles = torch.randn(rows, 1, seq, width // 2, generator=torch.Generator().manual_seed(1))
    by = angles.cos().to(dtype), angles.sin().to(dtype)
    wide = values(2 * seq, 5 * width, dtype).view(2, seq, -1)
    flat = wide[..., width : (1 + heads) * width]  # columns of wider rows
    apart = wide.new_empty(seq // tile, 2, heads, tile, width)
    kernels(wide).turn(flat, apart, by, 0.5)
    cos, sin = (one.double() for one in by)
    turned = rotate(flat.double().unflatten(2, (heads, width)).transpose(1, 2), (cos, sin)) * 0.5
    same(apart, turned.unflatten(2, (seq // tile, tile)).permute(2, 0, 1, 3, 4))
    before, given = wide.clone(), values(apart.numel(), 1, dtype, 2).view(apart.shape)
    kernels(wide).turn(flat, given, by, 0.5, back=True)
    wanted = rotate_back(given.double().permute(1, 2, 0, 3, 4).flatten(2, 3), (cos, sin)) * 0.5
    same(flat, wanted.transpose(1, 2).flatten(2))
    assert torch.equal(wide[..., :width], before[..., :width])  # nothing beside it was written
    assert torch.equal(wide[..., (1 + heads) * width :], before[..., (1 + heads) * width :])


def test_a_softmax_and_the_log_of_its_sum(dtype: torch.dtype):
    logits = values(ROWS, 4_096, dtype, 1, 8.0)
    logits[0] += 3_000  # far above what e^x holds
    logits[1, 7] = 300
    made = logits.clone()
    log_sums = kernels(made).softmax(made)
    same(made, logits.double().softmax(1))
    wanted = logits.double().logsumexp(1, keepdim=True)
    assert log_sums.dtype == torch.float32
    assert (log_sums.double() - wanted).abs().max() <= 1e-6 * wanted.abs().max()


@pytest.mark.parametrize("rows", [(96, 40, 33), (1,), (820,)], ids=["parts", "one block", "many groups of blocks"])
def test_the_values_of_nf4_to_the_bit(dtype: torch.dtype, rows: tuple[int, ...], monkeypatch: pytest.MonkeyPatch):
    width = 64 if len(rows) == 1 else 320
    weight = values(sum(rows), width, torch.float32, 4, 0.02)
    weight[0] = 0
    packed = NF4.of(weight, rows=rows)
    asked: list[Tensor] = []

    def counted(made: Tensor) -> Kernels | None:
        asked.append(made)
        return kernels_for(made)

    monkeypatch.setattr(nf4, "kernels_for", counted)
    found = packed.weights(dtype)
    assert len(asked) == 1 and found is asked[0]  # the kernels filled it
    monkeypatch.setattr(nf4, "kernels_for", lambda _: None)
    wanted = packed.weights(dtype)
    assert torch.equal(found, wanted) and found.dtype == dtype and found.shape == weight.shape


def test_a_number_that_is_not_finite_shows(dtype: torch.dtype):
    for wrong in (float("nan"), float("inf")):
        logits, states = values(3, 64, dtype), values(3, 64, dtype)
        logits[1, 5] = states[1, 5] = wrong
        found = kernels(logits).softmax(logits), kernels(states).norm(states, states[0], EPS)
        for one in found:
            assert one.isfinite().all(1).tolist() == [True, False, True]


def test_pytorch_does_what_they_do_not_cover(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch):
    assert kernels_for(values(2, 24, dtype)) is None  # no whole vectors
    assert kernels_for(values(2, 32, torch.float64)) is None
    assert kernels_for(values(2, 32, dtype).to("meta")) is None
    monkeypatch.setattr(between, "FEWEST", 65)
    assert kernels_for(values(2, 32, dtype)) is None  # too few to wait for a compiler
    monkeypatch.setattr(between, "FEWEST", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2 * between.THREADS)
    assert kernels_for(values(2, 32, dtype)) is None


def test_a_plan_follows_them_by_tensors_without_values(dtype: torch.dtype):
    def steps(states: Tensor, gradient: Tensor, logits: Tensor) -> list[Tensor]:
        asked, weight = kernels(states), states[0]
        normed, gated = asked.norm(states, weight, EPS), asked.gate(states)
        backs = asked.norm_back(states, states, weight, states, EPS), asked.gate_back(gradient, states)
        return [normed, gated, *backs, asked.softmax(logits)]

    given = values(ROWS, 64, dtype), values(ROWS, 32, dtype), values(ROWS, 64, dtype)
    with FakeTensorMode() as mode:
        followed = steps(*[mode.from_tensor(one) for one in given])
        assert kernels_for(mode.from_tensor(values(2, 32, torch.float64))) is None  # as of real ones
    assert all(type(one) is FakeTensor for one in followed)
    for one, real in zip(followed, steps(*given), strict=True):
        assert (one.shape, one.dtype, one.stride()) == (real.shape, real.dtype, real.stride())
