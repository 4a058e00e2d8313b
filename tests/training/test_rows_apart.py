"""Rows of a batch on threads of their own: the gradients of one pass over all, the same bits each time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from adaptation.adapted import adapted, packed
from training import runs

from lmworks.basics.errors import Stopped
from lmworks.models.hooks import hooked
from lmworks.objectives import L2, CausalLM, Objective
from lmworks.training import rows_apart
from lmworks.training.by_hand.fused_block import use_fused_blocks
from lmworks.training.optimiser import make_optimiser, trainable
from lmworks.training.settings import TrainingConfig
from lmworks.training.step import accumulate, take_step


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def network(**changes: Any) -> Any:
    made = adapted(**changes)
    assert use_fused_blocks(made)
    return made.train()


def gradients_by(way: Any, objective: Objective, micro: list[Any]) -> tuple[float, int, dict[str, torch.Tensor]]:
    model = network()
    mean, count = way(model, objective, micro)
    return mean, count, {name: one.grad for name, one in trainable(model).items() if one.grad is not None}


def test_gradients_are_those_of_one_pass_and_the_same_bits_each_time():
    micro = [packed((40,), (9, 20), (33,), (12, 12)), packed((31,), (20,), (25,), seed=1)]  # 3 rows stay together
    assert rows_apart.go_apart(network(), CausalLM(), micro)
    mean, count, whole = gradients_by(accumulate, CausalLM(), micro)
    again = [gradients_by(rows_apart.gradients, CausalLM(), micro) for _ in range(3)]
    for other_mean, other_count, found in again:
        assert (other_mean, other_count) == (pytest.approx(mean, rel=1e-6), count)
        assert found.keys() == whole.keys()
        for name, gradient in found.items():
            torch.testing.assert_close(gradient, whole[name], rtol=1e-4, atol=1e-6)
            assert torch.equal(gradient, again[0][2][name])
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_adapters_step_to_where_one_pass_over_all_rows_takes_them(kind: Any):
    """Fused AdamW reads gradients in the order of its parameters in memory: those of other strides would be shuffled,
    and training would go on, only worse."""
    micro = [packed((40,), (9, 20))]
    after = []
    for gradients in (None, rows_apart.gradients):
        model = network()
        optimiser = make_optimiser(model, TrainingConfig.model_validate({"optimiser": kind, "learning_rate": 0.01}))
        for _ in range(4):
            take_step(model, CausalLM(), micro, optimiser, 1.0, 1.0, gradients=gradients)
        after.append(trainable(model))
    for name, parameter in after[0].items():
        torch.testing.assert_close(after[1][name], parameter, rtol=1e-3, atol=1e-4)


def test_gradients_of_any_strides_are_stepped_alike():
    def turned(model: Any, objective: Objective, given: Any) -> tuple[float, int]:
        """The same gradients, column after column in memory."""
        mean, counted = accumulate(model, objective, given)
        for one in trainable(model).values():
            if one.grad is not None and one.ndim == 2:
                one.grad = one.grad.T.contiguous().T
        return mean, counted

    micro, after = [packed((40,), (9, 20))], []
    for gradients in (None, turned):
        model = network()
        take_step(model, CausalLM(), micro, make_optimiser(model, TrainingConfig()), 1.0, 1.0, gradients=gradients)
        after.append(trainable(model))
    assert all(torch.equal(after[1][name], one) for name, one in after[0].items())


def test_a_run_goes_on_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Resumed from the third of six steps it ends as in one go, and near where the plain way ends."""

    def ends(done: float, _: float) -> None:
        if done > 0.6:
            raise Stopped("enough")

    changes: dict[str, Any] = {"dropout": 0.0, "steps": 6, "checkpoint_every": 3, "evaluate_every": 4}
    changes["validate"] = lambda _: 1.0
    whole = runs.run(tmp_path / "whole", **changes)
    with pytest.raises(Stopped):
        runs.run(tmp_path / "cut", report=ends, **changes)
    runs.run(tmp_path / "cut", resume=True, **changes)
    assert runs.saved(tmp_path / "cut") == runs.saved(tmp_path / "whole")
    monkeypatch.setattr(rows_apart, "gradients", lambda *given: pytest.fail("it is done apart"))
    with pytest.raises(pytest.fail.Exception):
        runs.run(tmp_path / "apart", **changes)
    torch.set_num_threads(1)
    assert runs.run(tmp_path / "plain", **changes).losses == pytest.approx(whole.losses, rel=1e-4)


@pytest.mark.parametrize("why", ["a sum of objectives", "a hook", "large", "one thread", "plain blocks", "one row"])
def test_where_it_is_not_done(why: str, monkeypatch: pytest.MonkeyPatch):
    model, objective, batch = network(), CausalLM(), packed((40,), (30,))
    assert rows_apart.go_apart(model, objective, [batch])
    if why == "a sum of objectives":
        objective = CausalLM() + L2(0.1)
    elif why == "large":
        monkeypatch.setattr(rows_apart, "MOST", 100)
    elif why == "one thread":
        torch.set_num_threads(1)
    elif why == "plain blocks":
        model = adapted()
    elif why == "one row":
        batch = packed((40,))
    with hooked(model, {"blocks.0.residual_out": print} if why == "a hook" else {}):
        assert not rows_apart.go_apart(model, objective, [batch])
