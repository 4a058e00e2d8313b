"""Distillation's loss and gradients against the published formula, finite differences, and the mean of many draws."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny
import torch
from adaptation.adapted import packed
from safetensors.torch import load_file

from lmworks.basics.errors import ConfigError
from lmworks.models.network import Network
from lmworks.objectives import CausalLM
from lmworks.objectives.distillation import MAP, Distillation, Terms, drawn, imitation
from lmworks.objectives.divergence import Predictions
from lmworks.objectives.predicting import predictions_by
from lmworks.tokens.batch import Example, Taught
from lmworks.tokens.labels import IGNORE
from lmworks.training.loop import train
from lmworks.training.settings import TrainingConfig

SMALL = {"vocab_size": 96, "dim": 16, "layers": 1, "heads": 2, "kv_heads": 1, "hidden_dim": 16, "context": 64}


def tensors(rows: int = 300, vocab: int = 20, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, ...]:
    """States and head of a teacher, of a student, and labels."""
    generator = torch.Generator().manual_seed(0)
    sizes = ((rows, 6), (vocab, 6), (rows, 8), (vocab, 8))
    made = [torch.randn(*size, generator=generator, dtype=dtype) for size in sizes]
    return *made, torch.randint(0, vocab, (rows,), generator=generator)


def published(student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor, terms: Terms) -> torch.Tensor:
    """As Hugging Face's distillation of DistilBERT writes it, summed over tokens."""
    share, temperature = terms
    apart = torch.nn.functional.kl_div(
        torch.nn.functional.log_softmax(student / temperature, dim=-1),
        torch.nn.functional.softmax(teacher / temperature, dim=-1),
        reduction="sum",
    )
    return share * apart * temperature**2 + (1 - share) * torch.nn.functional.cross_entropy(
        student, labels, reduction="sum"
    )


@pytest.mark.parametrize("terms", [Terms(0.5, 1.0), Terms(0.7, 2.5), Terms(1.0, 0.5), Terms(0.0, 1.0)], ids=str)
@pytest.mark.parametrize("cap", [None, 3.0], ids=["plain", "capped"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_loss_and_gradients_are_those_of_the_published_formula(terms: Terms, cap: float | None, dtype: torch.dtype):
    states, old, own, head, labels = tensors(dtype=dtype)

    def capped(logits: torch.Tensor) -> torch.Tensor:
        return logits if cap is None else cap * (logits / cap).tanh()

    results = []
    for ours in (True, False):
        one, two = own.clone().requires_grad_(), head.clone().requires_grad_()
        if ours:
            loss = imitation(one, two, labels, Predictions(states, old, cap), terms, cap)
        else:
            loss = published(capped(one @ two.T), capped(states @ old.T), labels, terms)
        (loss / 3).backward()
        results.append((loss, one.grad, two.grad))
    for ours, formula in zip(*results, strict=True):
        torch.testing.assert_close(ours, formula, rtol=1e-5, atol=1e-5)


def test_the_gradient_of_a_whole_network_is_that_of_finite_differences():
    teacher, student = tiny.network(1, **SMALL).double(), tiny.network(2, **SMALL).double().requires_grad_(True)
    objective = Distillation(predictions_by(teacher), share=0.6, temperature=1.7, states=0.4)
    batch = packed((9, 6), (12,))
    objective(student, batch).mean.backward()
    generator = torch.Generator().manual_seed(0)
    for weight in student.parameters():
        toward = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
        ends = []
        with torch.no_grad():
            for step in (1e-5, -2e-5):
                weight.add_(step * toward)
                ends.append(float(objective(student, batch).mean))
            weight.add_(1e-5 * toward)
        assert (ends[0] - ends[1]) / 2e-5 == pytest.approx(float((weight.grad * toward).sum()), rel=1e-5, abs=1e-8)


def errors(draws: int, temperature: float = 1.0) -> tuple[float, float, float]:
    """How far from the exact gradient are: one draw's, the mean over draws, and that of the likeliest tokens."""
    states, old, own, head, labels = tensors(rows=40, vocab=60)
    own.requires_grad_()
    terms = Terms(1.0, temperature)

    def gradient(wanted: Predictions | Taught) -> torch.Tensor:
        [found] = torch.autograd.grad(imitation(own, head, labels, wanted, terms), own)
        return found

    exact = gradient(Predictions(states, old))
    logits, generator = states @ old.T, torch.Generator().manual_seed(0)
    found = [gradient(Taught(*drawn(logits, 4, temperature, generator))) for _ in range(draws)]
    likeliest = logits.topk(4)
    kept = torch.full_like(logits, -1e4).scatter(1, likeliest.indices, likeliest.values)
    biased = gradient(Predictions(kept, torch.eye(60, dtype=torch.float64)))
    scale = exact.norm()
    return tuple(float((one - exact).norm() / scale) for one in (found[0], torch.stack(found).mean(0), biased))


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_gradient_of_samples_is_right_on_average_and_that_of_the_likeliest_tokens_is_not(temperature: float):
    one, mean, biased = errors(2000, temperature)
    assert one > 0.2 and biased > 0.2  # four of sixty tokens say little
    assert mean < 2.5 * one / 2000**0.5


def test_a_token_is_drawn_within_one_of_what_its_probability_asks_for():
    logits = 3 * torch.randn(50, 1000, generator=torch.Generator().manual_seed(1))
    ids, entropy = drawn(logits, 64, 1.3, torch.Generator().manual_seed(2))
    counts = torch.zeros(50, 1000).scatter_add_(1, ids, torch.ones(50, 64))
    likely = (logits / 1.3).softmax(1)
    assert (counts - 64 * likely).abs().max() < 1.001
    torch.testing.assert_close(entropy, torch.distributions.Categorical(likely).entropy(), rtol=1e-4, atol=1e-4)


def test_the_loss_of_samples_is_the_divergence_on_average():
    states, old, own, head, labels = tensors(rows=60)
    exact = imitation(own, head, labels, Predictions(states, old), Terms(1.0, 1.0))
    generator = torch.Generator().manual_seed(3)
    some = [
        imitation(own, head, labels, Taught(*drawn(states @ old.T, 8, 1.0, generator)), Terms(1.0, 1.0))
        for _ in range(300)
    ]
    assert float(torch.stack(some).mean()) == pytest.approx(float(exact), rel=0.01)


def test_a_share_of_nothing_is_the_text_alone_and_asks_no_teacher():
    network, batch = tiny.network(**SMALL), packed((9, 6), (12,))

    def asked(batch: object) -> Predictions:
        raise AssertionError("the teacher was asked")

    objective = Distillation(asked, share=0.0)
    loss = objective(network, batch)
    torch.testing.assert_close(loss.mean, CausalLM()(network, batch).mean, rtol=1e-5, atol=1e-5)
    assert loss.counts == objective.counts(batch) == (batch.supervised,)


def test_a_teacher_of_more_words_than_the_tokenizer_has_is_asked_for_those_of_both():
    states, old, own, head, labels = tensors()
    wide = torch.cat([old, torch.ones(7, 6, dtype=torch.float64)])
    both = [imitation(own, head, labels, Predictions(states, one), Terms(0.5, 1.0)) for one in (old, wide)]
    assert both[0] == both[1]
    padded = torch.cat([head, torch.full((5, 8), -1.0, dtype=torch.float64)])
    expected = published(
        own @ padded.T,
        torch.cat([states @ old.T, torch.full((300, 5), -torch.inf, dtype=torch.float64)], 1),
        labels,
        Terms(0.5, 1.0),
    )
    torch.testing.assert_close(imitation(own, padded, labels, Predictions(states, old), Terms(0.5, 1.0)), expected)


def test_the_teacher_is_not_trained_and_drops_nothing():
    """Pitfall 26: the same loss twice though both have dropout, no gradient of the teacher's, nothing from padding."""
    teacher = tiny.network(1, **SMALL, dropout=0.5).train().requires_grad_(True)
    student, batch = tiny.network(2, **SMALL).requires_grad_(True), packed((9,), (33,))
    objective = Distillation(predictions_by(teacher), share=1.0)
    losses = [objective(student, batch) for _ in range(2)]
    assert losses[0].total == losses[1].total
    losses[0].mean.backward()
    assert all(one.grad is None for one in teacher.parameters())
    with torch.no_grad():
        apart = [
            network(batch.tokens, documents=batch.documents).log_softmax(-1) for network in (teacher.eval(), student)
        ]
    kl = (apart[0].exp() * (apart[0] - apart[1])).sum(-1)[batch.labels != IGNORE]
    assert float(losses[0].mean.detach()) == pytest.approx(float(kl.mean()), rel=1e-5)


def test_what_makes_no_sense_is_told():
    network: Network = tiny.network(**SMALL)
    with pytest.raises(ConfigError, match=r"share is 1\.5"):
        Distillation(share=1.5)
    with pytest.raises(ConfigError, match="temperature is 0"):
        Distillation(temperature=0.0)
    wide = predictions_by(tiny.network(**SMALL | {"dim": 32}))
    with pytest.raises(ConfigError, match=r"states compares states of 16 dimensions with the teacher's of 32, and no"):
        Distillation(wide, states=1.0)(network, packed((9,)))


def test_a_narrower_student_learns_a_map_to_its_teachers_states_which_is_thrown_away(tmp_path: Path):
    """The loss by hand; the map is trained with the network, by one optimiser, and is no part of it afterwards."""
    teacher = tiny.network(1, **SMALL | {"dim": 32})
    objective = Distillation(predictions_by(teacher), share=0.0, states=0.4, width=32)
    network, batch = tiny.network(2, **SMALL).requires_grad_(True), packed((9, 12), (33,))
    names = set(network.state_dict())
    with objective.along(network):
        loss = objective(network, batch)
        mapped = network.hidden(batch.tokens, documents=batch.documents) @ getattr(network, MAP).weight.T
        wanted = teacher.hidden(batch.tokens, documents=batch.documents)
        apart = 1 - torch.cosine_similarity(mapped, wanted, dim=-1)[batch.labels != IGNORE]
        torch.testing.assert_close(loss.others[0].total, 0.4 * apart.sum())
        loss.others[0].total.backward()
        assert getattr(network, MAP).weight.grad.abs().sum() > 0 and network.norm.weight.grad.abs().sum() > 0
    assert set(network.state_dict()) == names
    rows = [(Example(one.tolist(), [False] + [True] * 19, "random"),) for one in tiny.text(6, 20)]
    config = TrainingConfig(rows=2, steps=60, context=20, learning_rate=1e-2, warmup=0.0)
    [before, *_, after] = train(network, objective, rows, config, tmp_path).losses
    [heads] = [json.loads((tmp_path / "log.jsonl").read_text().splitlines()[0])["groups"]]
    assert [name for group in heads for name in group["names"]].count(f"{MAP}.weight") == 1
    assert f"{MAP}.weight" in load_file(tmp_path / "checkpoint" / "parameters.safetensors")
    assert set(network.state_dict()) == names and after < before - 1
    even = tiny.network(3, **SMALL)
    with Distillation(predictions_by(tiny.network(**SMALL)), states=1.0, width=16).along(even):
        assert set(even.state_dict()) == names, "two that are equally wide need none"
