"""Frozen matrices in 8 bits: how near their products are, that no token's rounding depends on another's, and where
they are taken."""

from __future__ import annotations

import pytest
import tiny
import torch
from adaptation.adapted import adapted, packed
from torch import Tensor

from lmworks.adaptation.nf4 import freeze_in_nf4
from lmworks.basics.errors import ConfigError
from lmworks.models.linear import Linear
from lmworks.models.network import Network
from lmworks.objectives import CausalLM
from lmworks.training.blocks import fast_blocks
from lmworks.training.by_hand import eight_bits
from lmworks.training.by_hand.eight_bits import BYTES, EightBits, choose_products, in_eight_bits, multiplies_bytes
from lmworks.training.by_hand.fused_block import use_fused_blocks
from lmworks.training.optimiser import trainable
from lmworks.training.settings import TrainingConfig

needs_bytes = pytest.mark.skipif(not multiplies_bytes(), reason="this processor adds no products of bytes to 32 bits")


def values(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@needs_bytes
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_both_products_are_those_of_rounded_rows(dtype: torch.dtype):
    weight, bias, x, gradient = values(48, 80), values(48, seed=1), values(6, 80, seed=2), values(6, 48, seed=3)
    x[0], x[1] = 0, x[1] * 1e4  # a row of zeros, and a token whose states are large
    x, gradient = x.to(dtype), gradient.to(dtype)
    made = EightBits(weight)

    def rounded(rows: Tensor) -> Tensor:
        scale = rows.abs().amax(1, keepdim=True).clamp_min(1e-30) / 127
        return (rows / scale).round().clamp(-127, 127) * scale

    for found, wanted in (
        (made.times(x, bias), rounded(x.double()) @ rounded(weight.double()).T + bias),
        (made.times_back(gradient), rounded(gradient.double()) @ rounded(weight.double().T).T),
    ):
        assert found.dtype == dtype
        near = 1e-2 if dtype == torch.bfloat16 else 1e-5
        apart = (found.double() - wanted).abs().amax(1) / wanted.abs().amax(1)
        # a value halfway between two whole numbers may fall on either side
        assert apart.max() <= near + 0.01 and apart.median() <= near
    exact = x.double() @ weight.double().T
    assert (made.times(x).double() - exact)[2:].norm() <= 0.02 * exact[2:].norm()


@needs_bytes
def test_a_number_that_is_not_finite_shows():
    made = EightBits(values(8, 16))
    for wrong in (float("nan"), float("inf")):
        x = values(3, 16, seed=1)
        x[1, 5] = wrong
        finite = made.times(x).isfinite().all(1)
        assert finite.tolist() == [True, False, True]


def gradients(network: Network, rows: tuple[int, ...]) -> tuple[Tensor, dict[str, Tensor]]:
    for parameter in trainable(network).values():
        parameter.grad = None
    loss = CausalLM()(network, packed(rows)).mean
    loss.backward()
    return loss.detach(), {name: one.grad for name, one in trainable(network).items() if one.grad is not None}


@needs_bytes
@pytest.mark.parametrize("recompute", [False, True], ids=["kept", "recomputed"])
@pytest.mark.parametrize("base", ["floats", "few bits"])
def test_a_step_is_near_the_exact_one_and_all_else_is_exact(base: str, recompute: bool):
    network = adapted().train()
    if base == "few bits":
        freeze_in_nf4(network)
    assert use_fused_blocks(network, recompute)
    loss, wanted = gradients(network, (20, 9))
    tokens = packed((20, 9)).tokens
    with torch.no_grad():
        hidden = network.hidden(tokens)
    with in_eight_bits(network):
        near, made = gradients(network, (20, 9))
        with torch.no_grad():
            assert torch.equal(network.hidden(tokens), hidden)
    assert 0 < (near - loss).abs() < 0.01
    apart = {name: (gradient - wanted[name]).norm() for name, gradient in made.items()}
    assert all(apart.values())
    whole = sum(one.norm() ** 2 for one in wanted.values())
    assert sum(one**2 for one in apart.values()) <= 0.1**2 * whole
    again, after = gradients(network, (20, 9))
    assert torch.equal(again, loss) and all(torch.equal(after[name], wanted[name]) for name in wanted)


@needs_bytes
def test_a_run_takes_them_for_its_length():
    network = adapted().train()
    layers = [one for one in network.blocks.modules() if isinstance(one, Linear)]
    for products in ("exact", "int8"):
        with fast_blocks(network, TrainingConfig(frozen_products=products), lambda: None):
            assert {one.in_eight_bits is not None for one in layers} == {products == "int8"}
    assert all(one.in_eight_bits is None for one in layers)


CONFIG = tiny.network().config


@needs_bytes
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"adapter": False}, "the weights themselves are trained"),
        ({"compares": True}, "the loss compares with the base"),
        ({"training": TrainingConfig(compile=True)}, "training.compile"),
        ({"config": CONFIG.but(norm="layer")}, "no hand-written backward"),
    ],
)
def test_where_they_cannot_be_they_are_refused_and_never_chosen(change, reason):
    asked = {"training": TrainingConfig(), "config": CONFIG, "dtype": torch.float32, "adapter": True} | change
    asked.setdefault("compares", False)
    training = asked.pop("training")
    assert choose_products(training, **asked).frozen_products == "exact"
    with pytest.raises(ConfigError, match=reason):
        choose_products(training.but(frozen_products="int8"), **asked)


@needs_bytes
def test_a_base_in_few_bits_has_them_where_they_are_asked_for_alone():
    asked = {"config": CONFIG, "dtype": torch.float32, "adapter": True, "compares": False, "few_bits": True}
    assert choose_products(TrainingConfig(), **asked).frozen_products == "exact"
    assert choose_products(TrainingConfig(frozen_products="int8"), **asked).frozen_products == "int8"


def test_without_sums_of_32_bits_they_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(eight_bits, "multiplies_bytes", lambda: False)
    asked = {"config": CONFIG, "dtype": torch.float32, "adapter": True, "compares": False}
    assert choose_products(TrainingConfig(), **asked).frozen_products == "exact"
    with pytest.raises(ConfigError, match="this processor cannot add products of bytes"):
        choose_products(TrainingConfig(frozen_products="int8"), **asked)


@needs_bytes
def test_plans_count_the_bytes_that_are_held():
    weight = values(96, 160)
    held = sum(one.packed.nbytes for one in (EightBits(weight)._forward, EightBits(weight)._back))
    assert held == BYTES * weight.numel()


def test_what_is_asked_for_is_taken_and_bfloat16_is_quick_enough():
    asked = {"config": CONFIG, "adapter": True, "compares": False}
    assert (
        choose_products(TrainingConfig(frozen_products="exact"), dtype=torch.float32, **asked).frozen_products
        == "exact"
    )
    assert choose_products(TrainingConfig(), dtype=torch.bfloat16, **asked).frozen_products == "exact"
    if multiplies_bytes():
        assert (
            choose_products(TrainingConfig(frozen_products="int8"), dtype=torch.bfloat16, **asked).frozen_products
            == "int8"
        )
