"""Objectives that add up, whatever each of them counts, and penalties on the weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
from objectives.small_texts import bert, sentences, tokenizer
from training.runs import CONFIG, network, rows, run

from lmworks.adaptation.lora import LoRAConfig, add_lora
from lmworks.basics.errors import ConfigError
from lmworks.checks.training import resume_differences
from lmworks.models.hooks import hooked
from lmworks.models.network import Network
from lmworks.objectives import L1, L2, CausalLM, Loss, MaskedLM, NextSentence, Objective, SentenceOrder
from lmworks.tokens.batch import Batch, batches
from lmworks.tokens.sentence_pairs import SentencePairs
from lmworks.training.loop import row_seed, train
from lmworks.training.step import accumulate

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


class Sentences(Objective):
    """An objective that counts rows and not tokens, as next-sentence prediction does."""

    def __call__(self, model: Network, batch: Batch) -> Loss:
        return Loss(model.hidden(batch.tokens)[:, 0].square().sum(), len(batch.tokens))

    def counts(self, batch: Batch) -> tuple[int, ...]:
        return (len(batch.tokens),)


SUMS = {
    "L2": CausalLM() + L2(0.3),
    "L1": CausalLM() + L1(0.02),
    "another count": CausalLM() + Sentences(),
    "the other way round": L2(0.3) + (Sentences() + CausalLM(label_smoothing=0.1, z_loss=0.01)),
    "many": CausalLM() + Sentences() + L2(0.3) + L1(0.02),
}
each_sum = pytest.mark.parametrize("objective", SUMS.values(), ids=SUMS)


def gradients(objective: Objective, split: list[Batch]) -> tuple[float, list[torch.Tensor]]:
    model = network(dropout=0.0)
    loss, tokens = accumulate(model, objective, split)
    assert tokens == sum(objective.counts(batch)[0] for batch in split)
    return loss, [parameter.grad for parameter in model.parameters()]


@pytest.mark.parametrize("size", [1, 2, 3])
@each_sum
def test_any_split_into_micro_batches_gives_the_same_gradient(objective: Objective, size: int):
    """Pitfall 19, with parts that count tokens, rows and nothing: the rows hold from 3 to 31 tokens."""
    whole, *_ = batches(rows(), 7, seed=0, epoch=0)
    one_loss, one = gradients(objective, [whole])
    other_loss, other = gradients(objective, list(batches(rows(), size, seed=0, epoch=0)))
    assert one_loss == pytest.approx(other_loss, rel=1e-6)
    for first, second in zip(one, other, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-6, atol=1e-6)


@each_sum
def test_any_split_into_micro_batches_gives_the_same_parameters(objective: Objective, tmp_path: Path):
    """Pitfall 19, through the loop: eight rows a step as 8 x 1 or 1 x 8."""
    made = []
    for size in (1, 8):
        model = network(dropout=0.0).double()
        made.append(model)
        config = CONFIG.but(rows=size, accumulate=8 // size, steps=3, warmup=0.0)
        train(model, objective, [*rows(), *rows()[:1]], config, tmp_path / str(size))
    for first, second in zip(*(model.parameters() for model in made), strict=True):
        torch.testing.assert_close(first, second, rtol=1e-6, atol=1e-6)


PREPARED = {
    "masked + next sentence + L2": (lambda: MaskedLM.of(tokenizer()) + NextSentence() + L2(0.3), "random"),
    "whole words + order": (lambda: MaskedLM.of(tokenizer(), whole_word=True) + SentenceOrder(), "swapped"),
}


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("made, wrong", PREPARED.values(), ids=PREPARED)
def test_any_split_of_prepared_rows_gives_the_same_gradient(made, wrong, size: int, tmp_path: Path):
    """Pitfall 19 with masks and pairs: what is masked and drawn belongs to the row, not to the micro-batch."""
    rows, objective = SentencePairs(sentences(tmp_path), tokenizer(), 64, wrong=wrong).at_epoch(1, 5), made()

    def gradient(split: list[list[int]]) -> tuple[float, list[torch.Tensor]]:
        model = bert().requires_grad_(True)
        micro = [objective.prepare(rows.batch(places), [row_seed(5, 1, place) for place in places]) for places in split]
        loss, _ = accumulate(model, objective, micro)
        return loss, [one.grad for one in model.parameters()]

    one_loss, one = gradient([list(range(7))])
    other_loss, other = gradient([list(range(start, min(start + size, 7))) for start in range(0, 7, size)])
    assert one_loss == pytest.approx(other_loss, rel=1e-6)
    for first, second in zip(one, other, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-6)


def test_a_sum_of_objectives_of_one_encoder_runs_it_once(tmp_path: Path):
    objective, model, seen = MaskedLM.of(tokenizer()) + NextSentence() + L2(0.1), bert(), []
    rows = SentencePairs(sentences(tmp_path), tokenizer(), 64)
    batch = objective.prepare(rows.batch([0, 1]), [0, 1])
    apart = [one(model, batch).mean for one in objective.parts()]
    with hooked(model, {"blocks.0.residual_in": lambda one: seen.append(1)}):
        together = objective(model, batch)
    assert len(seen) == 1
    torch.testing.assert_close(together.mean, sum(apart))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"labels": ("a", "b", "c")}, "NextSentence tells two classes, and the network has 3 labels"),
        ({"labels_of": "tokens", "pooler": False}, "NextSentence tells classes of texts"),
    ],
)
def test_every_part_of_a_sum_says_what_the_network_lacks(settings, said: str, tmp_path: Path):
    """Not only the first one, which has the states made."""
    objective = MaskedLM.of(tokenizer()) + NextSentence()
    rows = SentencePairs(sentences(tmp_path), tokenizer(), 64)
    with pytest.raises(ConfigError, match=said):
        objective(bert(**settings), objective.prepare(rows.batch([0, 1]), [0, 1]))


def test_dynamic_masks_resume_to_the_bit(tmp_path: Path):
    """Pitfall 20 with masks and pairs drawn anew each epoch: four epochs at once, and cut in the middle."""
    rows, objective = SentencePairs(sentences(tmp_path), tokenizer(), 64), MaskedLM.of(tokenizer()) + NextSentence()
    weights, losses = resume_differences(
        bert(dropout=0.1).requires_grad_(True), objective, rows, CONFIG.but(context=64)
    )
    assert weights.value == losses.value == 0


def test_a_sum_is_the_sum_of_the_means():
    model, (batch, *_) = network(dropout=0.0), batches(rows(), 3, seed=0, epoch=0)
    text, sentences, penalty = (one(model, batch) for one in (CausalLM(), Sentences(), L2(0.3)))
    both = (CausalLM() + Sentences() + L2(0.3))(model, batch)
    assert both.counts == (batch.supervised, 3, 1)
    torch.testing.assert_close(both.mean, text.mean + sentences.mean + penalty.mean)
    nested = (CausalLM() + (Sentences() + L2(0.3)))(model, batch)
    assert nested.counts == both.counts
    torch.testing.assert_close(nested.mean, both.mean)


class Changed(CausalLM):
    """The next token of tokens that were changed."""

    def __init__(self, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.change = change

    def prepare(self, batch: Batch, seeds: Sequence[int]) -> Batch:
        return replace(batch, tokens=self.change(batch.tokens))


def test_a_sum_prepares_as_its_first_wants_it_and_then_as_its_second():
    batch, *_ = batches(rows(), 3, seed=0, epoch=0)
    twice, more = Changed(lambda tokens: 2 * tokens), Changed(lambda tokens: tokens + 1)
    assert torch.equal((twice + more).prepare(batch, [0, 1, 2]).tokens, 2 * batch.tokens + 1)
    assert torch.equal((more + (CausalLM() + twice)).prepare(batch, [0, 1, 2]).tokens, 2 * (batch.tokens + 1))


def test_an_objective_that_counts_otherwise_than_it_says_is_refused(tmp_path: Path):
    class Forgetful(Sentences):
        counts = Objective.counts

    with pytest.raises(ConfigError, match=r"Forgetful counted \(2,\) in a batch and its counts\(\) says \(\d+,\)"):
        run(tmp_path, Forgetful())


def penalty_by_hand(model: Network, of) -> float:
    return math.fsum(
        of(float(value))
        for name, parameter in model.named_parameters()
        if "norm" not in name and not name.endswith("bias")
        for value in parameter.detach().double().flatten()
    )


BIASED = {"qkv_bias": True, "output_bias": True, "feed_forward_bias": True, "norm": "layer"}


@pytest.mark.parametrize(
    "penalty, of, slope",
    [
        (L2(0.3), lambda value: 0.15 * value**2, lambda weight: 0.3 * weight),
        (L1(0.3), lambda value: 0.3 * abs(value), lambda weight: 0.3 * weight.sign()),
    ],
    ids=["L2", "L1"],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_penalty_is_that_of_the_matrices_alone(penalty: Objective, of, slope, dtype: torch.dtype):
    model, (batch, *_) = tiny.network(**BIASED).to(dtype), batches(rows(), 3, seed=0, epoch=0)
    loss = penalty(model, batch)
    assert loss.count == 1 and loss.total.dtype == torch.float32
    assert loss.total.item() == pytest.approx(penalty_by_hand(model, of), rel=1e-5)
    loss.total.backward()
    named = dict(model.named_parameters())
    untouched = {name for name, parameter in named.items() if parameter.grad is None}
    assert untouched == {name for name in named if "norm" in name or name.endswith("bias")} != set()
    for name in named.keys() - untouched:
        torch.testing.assert_close(named[name].grad, slope(named[name].detach()), rtol=1e-2, atol=1e-5)


def test_a_tied_matrix_is_penalised_once():
    model, (batch, *_) = tiny.network(), batches(rows(), 3, seed=0, epoch=0)
    wanted = {parameter.data_ptr(): parameter for parameter in model.parameters() if parameter.ndim > 1}.values()
    assert L2(2.0)(model, batch).total.item() == pytest.approx(
        sum(float(one.detach().square().sum()) for one in wanted), rel=1e-5
    )


def test_frozen_parameters_are_not_penalised():
    model, (batch, *_) = add_lora(tiny.network(), LoRAConfig(rank=2)), batches(rows(), 3, seed=0, epoch=0)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    loss = L1(0.5)(model, batch).total
    assert loss.item() == pytest.approx(0.5 * sum(float(one.detach().abs().sum()) for one in trained), rel=1e-5)
    assert L1(0.5)(model.requires_grad_(False), batch).total.item() == 0.0


@pytest.mark.parametrize("penalty", [L1(0.05), L2(5.0)], ids=["L1", "L2"])
def test_training_with_a_penalty_leaves_smaller_weights(penalty: Objective, tmp_path: Path):
    sizes = []
    for name, objective in (("without", CausalLM()), ("with", CausalLM() + penalty)):
        model = network(dropout=0.0)
        train(model, objective, rows(), CONFIG.but(weight_decay=0.0, steps=20), tmp_path / name)
        sizes.append(penalty(model.requires_grad_(True), stack_of_one()).total.item())
    assert sizes[1] < 0.8 * sizes[0]


def stack_of_one() -> Batch:
    return next(batches(rows(), 1, seed=0, epoch=0))


@pytest.mark.parametrize("strength", [-1.0, math.nan, math.inf])
def test_a_strength_below_zero_or_not_finite_is_refused(strength: float):
    with pytest.raises(ConfigError, match=r"the strength of L2 is .*; it must be at least 0 and a finite number"):
        L2(strength)
