"""Losses over pairs of answers: the published formulas, their gradients, and what they count."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import tiny
import torch
from adaptation.adapted import adapted, randomise_adapters

from lmworks.adaptation.dora import DoRALinear
from lmworks.adaptation.lora import LoRAConfig, LoRALinear, add_lora, lora_layers, merge_adapters
from lmworks.adaptation.reference import references
from lmworks.basics.errors import ConfigError
from lmworks.models.network import Network
from lmworks.objectives import CausalLM
from lmworks.objectives.cross_entropy import log_probabilities
from lmworks.objectives.preference import Preference, preference_losses
from lmworks.tokens.answer_pairs import AnswerPair, pack_pairs, with_references
from lmworks.tokens.batch import Batch, Example, Row, stack
from lmworks.tokens.rows import ExampleRows
from lmworks.training.blocks import fast_blocks
from lmworks.training.settings import TrainingConfig
from lmworks.training.step import accumulate

LOSSES = preference_losses()
LN_2 = float(torch.tensor(2.0).log())
SETTINGS = {"dpo": {"beta": 0.3}, "ipo": {"beta": 0.2}, "simpo": {"beta": 1.5, "gamma": 0.4}}


def example(prompt: list[int], length: int, seed: int, reference: float | None = None) -> Example:
    answer = tiny.text(1, length, seed=seed)[0].tolist()
    return Example([*prompt, *answer], [False] * len(prompt) + [True] * length, f"random {seed}", reference)


def pairs(count: int = 5) -> list[AnswerPair]:
    prompts = [tiny.text(1, 3 + number, seed=100 + number)[0].tolist() for number in range(count)]
    return [
        AnswerPair(example(prompt, 4 + number, 2 * number), example(prompt, 9 - number, 2 * number + 1))
        for number, prompt in enumerate(prompts)
    ]


def rows() -> list[Row]:
    """Five pairs in rows, with a reference for each answer."""
    packed = pack_pairs(pairs(), 64, seed=0)
    return with_references(packed, [[-20.0 - 3 * at - 2 * n for at in range(len(row))] for n, row in enumerate(packed)])


def objective(name: str) -> Preference:
    return Preference(LOSSES[name], LOSSES[name].settings(**SETTINGS[name]))


def by_hand(name: str, network: Network, every: list[Row]) -> torch.Tensor:
    """The mean of the published formulas, an answer at a time, each read by itself."""
    beta, losses = SETTINGS[name]["beta"], []
    for row in every:
        for better, worse in zip(row[::2], row[1::2], strict=True):
            sums, sizes, past = [], [], []
            for one in (better, worse):
                logs = network(torch.tensor([one.tokens]))[0].log_softmax(-1)
                places = [place for place, learnt in enumerate(one.supervised) if learnt]
                sums.append(sum(logs[place - 1, one.tokens[place]] for place in places))
                sizes.append(len(places))
                past.append(one.reference)
            if name == "dpo":
                odds = beta * ((sums[0] - past[0]) - (sums[1] - past[1]))
                losses.append((1 + (-odds).exp()).log())
            elif name == "ipo":
                apart = (sums[0] - past[0]) / sizes[0] - (sums[1] - past[1]) / sizes[1]
                losses.append((apart - 0.5 / beta) ** 2)
            else:
                odds = beta * (sums[0] / sizes[0] - sums[1] / sizes[1]) - SETTINGS[name]["gamma"]
                losses.append((1 + (-odds).exp()).log())
    return torch.stack(losses).mean()


@pytest.mark.parametrize("trained", ["whole", "adapters"])
@pytest.mark.parametrize("name", LOSSES)
def test_loss_and_gradients_are_those_of_the_formula_in_float64(name: str, trained: str):
    network = adapted() if trained == "adapters" else tiny.network(tied=False).requires_grad_(True)
    network.double()
    every, wanted = rows(), [one for one in network.parameters() if one.requires_grad]
    loss = by_hand(name, network, every)
    formula = torch.autograd.grad(loss, wanted)
    ours = objective(name)(network, stack(every)).mean
    assert ours.item() == pytest.approx(loss.item(), rel=1e-5)
    for one, other in zip(torch.autograd.grad(ours, wanted), formula, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cap", [None, 3.0], ids=["plain", "capped"])
def test_log_probabilities_and_both_gradients_are_those_of_a_softmax(cap: float | None):
    generator = torch.Generator().manual_seed(0)
    states, head = (torch.randn(n, 8, generator=generator, dtype=torch.float64) for n in (600, 20))
    labels, weights = torch.arange(600) % 20, torch.randn(600, generator=generator, dtype=torch.float64)
    results = []
    for own in (True, False):
        one, two = states.clone().requires_grad_(), head.clone().requires_grad_()
        if own:
            found = log_probabilities(one, two, labels, cap)
        else:
            logits = one @ two.T if cap is None else cap * (one @ two.T / cap).tanh()
            found = logits.log_softmax(1)[torch.arange(600), labels]
        (found * weights).sum().backward()
        results.append((found, one.grad, two.grad))
    for ours, formula in zip(*results, strict=True):
        torch.testing.assert_close(ours, formula, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", LOSSES)
def test_any_split_into_micro_batches_gives_the_same_gradient(name: str):
    """Rows hold one pair or several, and one of them old text."""
    plain = (example([1, 2], 7, 50), example([3], 5, 51))
    found = []
    for size in (1, 2, 4):
        network = tiny.network().requires_grad_(True)
        every = [*rows(), plain]
        split = [stack(every[start : start + size]) for start in range(0, len(every), size)]
        loss, count = accumulate(network, objective(name), split)
        assert count == 5
        found.append([torch.tensor(loss), *(one.grad for one in network.parameters())])
    for others in found[1:]:
        for one, other in zip(found[0], others, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_old_text_is_learnt_as_ever_and_prompts_are_not():
    network, every = tiny.network(), rows()
    plain = (example([1, 2], 7, 50),)
    alone = objective("dpo")(network, stack([plain]))
    torch.testing.assert_close(alone.mean, CausalLM()(network, stack([plain])).mean)
    assert alone.counts == (0, 7) == objective("dpo").counts(stack([plain]))
    mixed = objective("dpo")(network, stack([*every, plain]))
    assert mixed.counts == (5, 7)
    torch.testing.assert_close(mixed.mean, alone.mean + objective("dpo")(network, stack(every)).mean)


KINDS = {"LoRA": LoRALinear, "DoRA": DoRALinear}


LEARNED = {"family": "gpt2", "positions": "learned", "norm": "layer", "kv_heads": 4}


@pytest.mark.parametrize("settings", [{}, LEARNED], ids=["by hand", "plain"])
@pytest.mark.parametrize("way", ["LoRA", "DoRA", "whole"])
def test_what_has_not_moved_is_at_no_distance_to_the_bit(way: str, settings: dict):
    """However a step runs, the loss of the first is ln 2."""
    network = tiny.network(**settings)
    if way in KINDS:
        add_lora(network, LoRAConfig(rank=4), kind=KINDS[way])
    else:
        network.requires_grad_(True)
    config = TrainingConfig(rows=2, context=32, seed=3)
    packed = pack_pairs(pairs(), 32, seed=0)
    values = references(network, packed, config)
    every = ExampleRows(with_references(packed, values))
    network.train()
    with fast_blocks(network, config, lambda: None):
        for places in every.order(2, 0, config.seed):
            loss, count = accumulate(
                network, Preference(LOSSES["dpo"], LOSSES["dpo"].settings()), [every.batch(places)]
            )
            assert count and loss == LN_2


def test_the_reference_is_what_training_begins_with():
    """Adapters that have been trained already are a part of it; and the network is left as it was."""
    network, packed = adapted(), pack_pairs(pairs(), 64, seed=0)
    config = TrainingConfig(rows=1, context=64)
    before = [one.clone() for one in network.parameters()]
    found = references(network, packed, config)
    merged = references(merge_adapters(copy.deepcopy(network)), packed, config)
    bare = references(tiny.network(), packed, config)
    for ours, other, plain in zip(found, merged, bare, strict=True):
        assert ours == pytest.approx(other, rel=1e-4) and ours != pytest.approx(plain, rel=1e-2)
    assert not network.training and all(layer.enabled for layer in lora_layers(network).values())
    assert all(torch.equal(one, other) for one, other in zip(before, network.parameters(), strict=True))


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_adapters_that_are_off_run_by_hand_as_the_base_does(kind: type[LoRALinear]):
    """With gradients to the states, which a part of the network before them may want."""
    layer = lora_layers(randomise_adapters(add_lora(tiny.network(), LoRAConfig(rank=4), kind=kind)))
    one = next(iter(layer.values()))
    x, gradient = torch.randn(6, one.base.in_features), torch.randn(6, one.base.out_features)
    on = one.forward_by_hand(x)[0]
    one.enabled = False
    y, kept = one.forward_by_hand(x)
    assert one.by_hand and not one.trained() and kept is None and not torch.allclose(on, y)
    torch.testing.assert_close(y, one.base(x))
    to_x, others = one.backward_by_hand(gradient, x, kept)
    assert not others
    torch.testing.assert_close(to_x, gradient @ one.base.weight)


def test_an_encoder_and_an_adaptive_softmax_are_refused():
    batch = stack(rows())
    encoder = tiny.network(family="lmworks", arrangement="encoder")
    with pytest.raises(ConfigError, match=r"Preference compares what follows a prompt, and the network is an encoder"):
        (objective("dpo") + CausalLM())(encoder, batch)
    with pytest.raises(ConfigError, match=r"Preference compares"):
        objective("dpo")(encoder, batch)
    adaptive = tiny.network(family="lmworks", tied=False, adaptive_cutoffs=(20, 50))
    with pytest.raises(ConfigError, match=r"answers are compared by a plain softmax"):
        objective("dpo")(adaptive, batch)


def test_a_batch_keeps_what_each_answer_is_compared_with():
    batch: Batch = stack([*rows()[:1], (example([1], 3, 60),)])
    assert batch.references is not None and batch.references.isnan().tolist()[1] == [True] * batch.references.shape[1]
    assert replace(batch).to("cpu").references is not None and stack([(example([1], 3, 60),)]).references is None
