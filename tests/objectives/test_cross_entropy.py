"""Cross-entropy through a large head, against PyTorch's own and the formulas, and the objective that stands on it."""

from __future__ import annotations

import math

import pytest
import tiny
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lmworks.basics.errors import ConfigError
from lmworks.basics.memory import begin_peak, peak_megabytes
from lmworks.kernels import between
from lmworks.kernels.coverage import unavailable
from lmworks.objectives import CausalLM
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
    # A factor on the loss reaches the gradients, which were made before it was known.
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


TERMS = {
    "label smoothing": {"label_smoothing": 0.2},
    "z-loss": {"z_loss": 0.05},
    "logit cap": {"logit_cap": 3.0},
    "all": {"label_smoothing": 0.2, "z_loss": 0.05, "logit_cap": 3.0},
}


def by_formula(
    hidden: Tensor,
    head: Tensor,
    labels: Tensor,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    logit_cap: float | None = None,
) -> Tensor:
    """The sum over rows of -sum(target log p) + z_loss log^2 Z, in float64."""
    logits = (hidden.double() @ head.double().T)[labels != IGNORE]
    if logit_cap is not None:
        logits = logit_cap * torch.tanh(logits / logit_cap)
    wanted = labels[labels != IGNORE]
    target = torch.full_like(logits, label_smoothing / len(head))
    target[torch.arange(len(wanted)), wanted] += 1 - label_smoothing
    log_sum = logits.logsumexp(1)
    return (-(target * logits.log_softmax(1)).sum(1) + z_loss * log_sum**2).sum()


@pytest.mark.parametrize("terms", TERMS.values(), ids=TERMS)
@pytest.mark.parametrize("count", [7, 2 * ROWS + 5])
def test_each_term_and_its_gradients_equal_the_formula_in_float64(terms: dict[str, float], count: int):
    hidden, head, labels = rows(count)
    ours, theirs = cross_entropy(hidden, head, labels, **terms), by_formula(hidden, head, labels, **terms)
    assert abs(theirs - by_formula(hidden, head, labels)) > 1e-3 * theirs  # the term is on
    torch.testing.assert_close(ours.double(), theirs, **CLOSE)
    wanted = torch.autograd.grad(0.3 * theirs, (hidden, head))
    made = torch.autograd.grad(0.3 * ours, (hidden, head))
    for one, other in zip(made, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("terms", TERMS.values(), ids=TERMS)
def test_in_float64_loss_and_gradients_are_exact(terms: dict[str, float]):
    hidden, head, labels = rows(50, torch.float64)
    ours, theirs = cross_entropy(hidden, head, labels, **terms), by_formula(hidden, head, labels, **terms)
    assert ours.dtype == torch.float64
    made, wanted = (torch.autograd.grad(one, (hidden, head)) for one in (ours, theirs))
    for one, other in zip((ours, *made), (theirs, *wanted), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_label_smoothing_equals_pytorchs():
    hidden, head, labels = rows(50)
    theirs = F.cross_entropy(hidden @ head.T, labels, ignore_index=IGNORE, reduction="sum", label_smoothing=0.1)
    ours = cross_entropy(hidden, head, labels, label_smoothing=0.1)
    torch.testing.assert_close(ours, theirs, **CLOSE)
    pairs = zip(torch.autograd.grad(ours, (hidden, head)), torch.autograd.grad(theirs, (hidden, head)), strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("terms", TERMS.values(), ids=TERMS)
def test_each_term_in_bfloat16_is_as_near_as_its_digits_allow(terms: dict[str, float]):
    hidden, head, labels = rows(300, torch.bfloat16)
    loss, wanted_loss = cross_entropy(hidden, head, labels, **terms), by_formula(hidden, head, labels, **terms)
    torch.testing.assert_close(loss.double(), wanted_loss, rtol=2e-3, atol=0.0)
    made, wanted = (torch.autograd.grad(one, (hidden, head)) for one in (loss, wanted_loss))
    for one, other in zip(made, wanted, strict=True):
        assert one.dtype == torch.bfloat16
        assert (one.float() - other.float()).norm() < 0.02 * other.float().norm()


class Largest(TorchDispatchMode):
    """The number of elements of the largest tensor that an operation made."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        made = operation(*args, **(kwargs or {}))
        self.elements = max([self.elements, *(part.numel() for part in tree_leaves(made) if isinstance(part, Tensor))])
        return made


@pytest.mark.parametrize("terms", [{}, TERMS["all"]], ids=["plain", "all terms"])
def test_no_tensor_grows_with_tokens_times_vocabulary(terms: dict[str, float]):
    made = []
    for count in (4 * ROWS, 8 * ROWS):
        hidden, head = torch.randn(count, 8, requires_grad=True), torch.randn(500, 8, requires_grad=True)
        with Largest() as largest:
            cross_entropy(hidden, head, torch.randint(0, 500, (count,)), **terms).backward()
        made.append(largest.elements)
    assert made == [ROWS * 500, ROWS * 500]


def test_bfloat16_logits_are_never_copied_in_float32():
    """PyTorch's scatter_ would, on a CPU: 200 MB for 1,024 rows of 49,152, and a tenth of a second."""
    if unavailable() is not None:
        pytest.skip(str(unavailable()))
    hidden = torch.randn(256, 32, dtype=torch.bfloat16).requires_grad_()
    head, labels = torch.randn(49_152, 32, dtype=torch.bfloat16), torch.randint(0, 49_152, (256,))
    cross_entropy(hidden, head, labels)  # what is loaded once
    if not begin_peak():
        pytest.skip("the peak of a stretch can be had on Linux with glibc alone")
    before = peak_megabytes()
    cross_entropy(hidden, head, labels)
    assert peak_megabytes() - before < 1.5 * 256 * 49_152 * 2 / 1e6


@pytest.mark.parametrize(
    "terms, problem",
    [
        ({"label_smoothing": 1.0}, "label_smoothing is 1.0; it must be at least 0 and below 1"),
        ({"label_smoothing": -0.1}, "label_smoothing is -0.1; it must be at least 0 and below 1"),
        ({"z_loss": math.inf}, "z_loss is inf; it must be at least 0 and a finite number"),
        ({"z_loss": math.nan}, "z_loss is nan; it must be at least 0 and a finite number"),
    ],
)
def test_a_strength_that_makes_no_sense_is_refused(terms: dict[str, float], problem: str):
    with pytest.raises(ConfigError) as caught:
        CausalLM(**terms)
    assert str(caught.value) == problem


def test_the_objective_hands_its_terms_on():
    network, batch = tiny.network(logit_cap=3.0, family="lmworks"), stack(two_documents())
    loss = CausalLM(label_smoothing=0.2, z_loss=0.05)(network, batch)
    states = network.hidden(batch.tokens, documents=batch.documents).flatten(0, 1)
    wanted = by_formula(states, network.head_weight, batch.labels.flatten(), **TERMS["all"])
    torch.testing.assert_close(loss.total.double(), wanted, **CLOSE)


@pytest.mark.skipif(unavailable() is not None, reason=str(unavailable()))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("trains_head", [False, True])
def test_a_softmax_in_one_pass_is_as_near_as_pytorchs(
    dtype: torch.dtype, trains_head: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(between, "FEWEST", 1)
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(40, 24, generator=generator).to(dtype).requires_grad_()
    head = torch.randn(96, 24, generator=generator).to(dtype).requires_grad_(trains_head)
    labels = torch.randint(0, 96, (40,), generator=generator)
    with torch.no_grad():
        # A row that is sure of its label: 1 - p would be lost in a rounded p.
        hidden[0] = 3 * head[labels[0]] / head[labels[0]].norm()
    wanted = reference(hidden.double(), head.double(), labels)
    exact = torch.autograd.grad(wanted, [hidden, head] if trains_head else [hidden])
    apart: dict[int, list[Tensor]] = {}
    sure: list[Tensor] = []
    for fewest in (1, 1 << 62):  # in one pass, and by PyTorch
        monkeypatch.setattr(between, "FEWEST", fewest)
        loss = cross_entropy(hidden, head, labels)
        found = torch.autograd.grad(loss, [hidden, head] if trains_head else [hidden])
        pairs = zip((loss, *found), (wanted, *exact), strict=True)
        sure.append(found[0][0])
        apart[fewest] = [(one - other).norm() / other.norm() for one, other in pairs]
    assert (sure[0] - sure[1]).norm() <= 0.01 * sure[1].norm()
    near = 2e-6 if dtype == torch.float32 else 2**-8
    assert all(one <= max(1.2 * other, near) for one, other in zip(apart[1], apart[1 << 62], strict=True))
