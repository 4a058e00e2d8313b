"""Cross-entropy through a large head, against PyTorch's own, and the objective that stands on it."""

from __future__ import annotations

import pytest
import tiny
import torch
import torch.nn.functional as F
from torch import Tensor

from lmworks.objectives import CausalLM, Loss, Objective
from lmworks.objectives.cross_entropy import ROWS, cross_entropy
from lmworks.tokens.batch import IGNORE, Example, stack

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def rows(count: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden states, a head and labels; every third label is IGNORE."""
    generator = torch.Generator().manual_seed(count)
    hidden = torch.randn(count, 24, generator=generator).to(dtype).requires_grad_()
    head = torch.randn(90, 24, generator=generator).to(dtype).requires_grad_()
    labels = torch.randint(0, 90, (count,), generator=generator)
    labels[::3] = IGNORE
    return hidden, head, labels


def reference(hidden: Tensor, head: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy((hidden @ head.T).float(), labels, ignore_index=IGNORE, reduction="sum")


@pytest.mark.parametrize("count", [1, 2, 7, 2 * ROWS + 5])
def test_loss_and_both_gradients_equal_pytorchs(count: int):
    hidden, head, labels = rows(count)
    ours, theirs = cross_entropy(hidden, head, labels), reference(hidden, head, labels)
    torch.testing.assert_close(ours, theirs, **CLOSE)
    # A factor behind the loss reaches the gradients, which were made before it was known.
    wanted = torch.autograd.grad(0.3 * theirs, (hidden, head))
    made = torch.autograd.grad(0.3 * ours, (hidden, head))
    for one, other in zip(made, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-4)
    assert made[0][::3].abs().sum() == 0


@pytest.mark.parametrize("trained", ["hidden", "head"])
def test_the_gradient_is_the_same_when_only_one_side_wants_it(trained: str):
    hidden, head, labels = rows(11)
    still, moving = (head, hidden) if trained == "hidden" else (hidden, head)
    (wanted,) = torch.autograd.grad(reference(hidden, head, labels), moving)
    still.requires_grad_(False)
    (made,) = torch.autograd.grad(cross_entropy(hidden, head, labels), moving)
    torch.testing.assert_close(made, wanted, **CLOSE)


def test_without_a_supervised_row_loss_and_gradients_are_zero():
    hidden, head, labels = rows(5)
    loss = cross_entropy(hidden, head, torch.full_like(labels, IGNORE))
    gradients = torch.autograd.grad(loss, (hidden, head))
    assert loss.item() == 0.0
    assert all(bool((gradient == 0).all()) for gradient in gradients)


def test_bfloat16_is_as_near_to_float32_as_its_digits_allow():
    hidden, head, labels = rows(300, torch.bfloat16)
    exact = tuple(part.detach().float().requires_grad_() for part in (hidden, head))
    loss, wanted_loss = cross_entropy(hidden, head, labels), reference(*exact, labels)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, wanted_loss, rtol=2e-3, atol=0.0)
    made = torch.autograd.grad(loss, (hidden, head))
    wanted = torch.autograd.grad(wanted_loss, exact)
    for one, other in zip(made, wanted, strict=True):
        assert one.dtype == torch.bfloat16
        assert (one.float() - other).norm() < 0.02 * other.norm()


def test_a_label_without_probability_has_a_finite_loss():
    hidden = torch.tensor([[1000.0, 0.0]], requires_grad=True)
    head = torch.eye(2)
    loss = cross_entropy(hidden, head, torch.tensor([1]))
    assert loss.item() == 1000.0
    (gradient,) = torch.autograd.grad(loss, hidden)
    assert torch.equal(gradient, torch.tensor([[1.0, -1.0]]))


def test_nothing_is_kept_for_a_backward_that_nobody_wants():
    hidden, head, labels = rows(9)
    with torch.no_grad():
        assert not cross_entropy(hidden, head, labels).requires_grad


def two_documents() -> list[tuple[Example, ...]]:
    first = Example([5, 6, 7, 8, 9], [False, True, True, False, True], "first")
    second = Example([30, 31, 32], [False, True, True], "second")
    return [(first, second)]


def test_packed_documents_have_the_loss_that_they_have_alone():
    network, (row,) = tiny.network(), two_documents()
    together = CausalLM()(network, stack([row]))
    alone = [CausalLM()(network, stack([(example,)])) for example in row]
    torch.testing.assert_close(together.total, alone[0].total + alone[1].total, **CLOSE)
    assert together.count == sum(one.count for one in alone) == 5
    torch.testing.assert_close(together.mean, together.total / 5)


def test_objectives_add_up():
    class Weights(Objective):
        """A penalty that knows no tokens: its count is 1."""

        def __call__(self, network, batch):
            return Loss(network.embedding.weight.square().sum(), 1)

    network, batch = tiny.network(), stack(two_documents())
    text, penalty = CausalLM()(network, batch), Weights()(network, batch)
    both = (CausalLM() + Weights())(network, batch)
    assert both.count == text.count
    torch.testing.assert_close(both.mean, text.mean + penalty.mean)
    three = (CausalLM() + Weights() + CausalLM())(network, batch)
    torch.testing.assert_close(three.mean, 2 * text.mean + penalty.mean)
