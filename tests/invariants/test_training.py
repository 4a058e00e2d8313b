"""Silent errors of training and adaptation: shifted labels, micro-batches, resuming, what moves, merging, ties."""

from __future__ import annotations

import copy
import json
import math
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
import torch
from adaptation.adapted import GPT2, adapted, randomise_adapters
from training.runs import CONFIG, Interfering, logged, network, rows, run, saved

from lmworks.adaptation.declaration import Setup
from lmworks.adaptation.lora import LoRAConfig, add_lora, lora_layers, merge_adapters
from lmworks.adaptation.methods import METHODS
from lmworks.basics.errors import Stopped
from lmworks.checks.training import group_differences, split_differences
from lmworks.models.files.directory import read_network, write_network
from lmworks.models.network import Network
from lmworks.objectives import CausalLM, Loss
from lmworks.tokens.batch import Batch, Example, batches, stack
from lmworks.training.by_hand.fused_block import use_fused_blocks
from lmworks.training.checkpoint import State, load_checkpoint, save_checkpoint
from lmworks.training.loop import train
from lmworks.training.optimiser import trainable
from lmworks.training.optimisers.adamw import adamw
from lmworks.training.step import accumulate

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
FAMILIES = {"llama": {}, "gpt2": GPT2}
each_family = pytest.mark.parametrize("family", FAMILIES)


def example(tokens: list[int]) -> Example:
    return Example(tokens, [False] + [True] * (len(tokens) - 1), "by hand")


def test_the_loss_is_that_of_the_next_tokens_by_hand():
    """Pitfall 7: each label is the token one place on, neither its own place nor two places on."""
    model, tokens = tiny.network(), [11, 5, 70, 5, 33]
    loss = CausalLM()(model, stack([(example(tokens),)]))
    by_hand = 0.0
    for end in range(1, len(tokens)):  # a pass for each prefix: nothing could be shifted
        scores = model(torch.tensor([tokens[:end]]))[0, -1].detach().double().exp()
        by_hand -= math.log(scores[tokens[end]] / scores.sum())
    assert loss.count == 4 and loss.total.item() == pytest.approx(by_hand, rel=1e-5)


def test_a_model_that_copies_its_input_has_a_high_loss():
    """Pitfall 7: with labels that are not shifted, copying would be perfect."""
    model = tiny.network(dim=96, vocab_size=96)
    with torch.no_grad():
        model.embedding.weight.copy_(10 * torch.eye(96))
        model.norm.weight.fill_(1.0)
        for block in model.blocks:
            block.attention.output.weight.zero_()
            block.feed_forward.down.weight.zero_()
    tokens = list(range(20, 50))
    assert model(torch.tensor([tokens])).argmax(-1).tolist() == [tokens]
    assert CausalLM()(model, stack([(example(tokens),)])).mean.item() > 10


def test_dropout_is_on_in_training_and_off_after_it(tmp_path: Path):
    """Pitfall 18."""
    tokens, modes = tiny.text(1, 20), []

    def look(model: Network) -> None:
        modes.append((model.training, torch.equal(model(tokens), model(tokens))))

    model = network(dropout=0.3)
    train(model, Interfering(1, look), rows(), CONFIG, tmp_path)
    assert modes == [(True, False)]
    assert not model.training and torch.equal(model(tokens), model(tokens))


def test_any_split_into_micro_batches_gives_the_same_gradient():
    """Pitfall 19: the rows hold from 3 to 31 tokens, so a mean of means would be another gradient."""
    gradient, loss = split_differences(network(dropout=0.0), CausalLM(), rows())
    assert gradient.value < 1e-6 and loss.value < 1e-6
    assert {len(row[0].tokens) for row in rows()} >= {3, 31}


def test_norms_and_biases_do_not_decay_and_every_parameter_has_one_optimiser():
    """Pitfall 24, for both optimisers and with something frozen."""
    for model in (network(), tiny.network(**GPT2), adapted()):
        for optimiser in ("adamw", "muon"):
            differences = group_differences(model, CONFIG.but(optimiser=optimiser))
            assert [one.value for one in differences] == [0, 0, 0]


def test_any_split_into_micro_batches_gives_the_same_parameters(tmp_path: Path):
    """Pitfall 19, through the loop: eight rows a step as 8 x 1, 4 x 2 or 1 x 8."""
    made = []
    for size in (1, 2, 8):
        model = network(dropout=0.0).double()
        made.append(model)
        train(
            model,
            CausalLM(),
            [*rows(), *rows()[:1]],
            CONFIG.but(rows=size, accumulate=8 // size, steps=3, warmup=0.0),
            tmp_path / str(size),
        )
    for other in made[1:]:
        for first, second in zip(made[0].parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(first, second, rtol=1e-6, atol=1e-6)


def interrupted(number: int) -> Callable[[Network], None]:
    return lambda model: os.kill(os.getpid(), number)


def out_of_memory(model: Network) -> None:
    raise MemoryError


STOPS = {
    "Ctrl-C": (interrupted(signal.SIGINT), Stopped),
    "SIGTERM": (interrupted(signal.SIGTERM), Stopped),
    "an error": (out_of_memory, MemoryError),
}


@pytest.mark.parametrize(
    "how, step",
    [("Ctrl-C", 0), ("Ctrl-C", 3), ("Ctrl-C", 5), ("SIGTERM", 1), ("SIGTERM", 7), ("an error", 5), ("an error", 8)],
)
def test_a_run_that_was_stopped_and_resumed_equals_a_straight_one(how: str, step: int, tmp_path: Path):
    """Pitfall 20, with dropout, over the ends of epochs: losses, rates, parameters, optimiser and random state."""
    straight = run(tmp_path / "straight")
    act, kind = STOPS[how]
    with pytest.raises(kind) as caught:
        run(tmp_path / "stopped", Interfering(3 * step + 1, act))
    if kind is Stopped:
        assert str(caught.value).startswith(
            f"stopped after step {step + 1} of 9; go on with the same command and --resume"
        )
    torch.manual_seed(12345)  # whatever else has happened in the meantime
    resumed = run(tmp_path / "stopped", resume=True)
    begin = step + 1 if kind is Stopped else step // CONFIG.checkpoint_every * CONFIG.checkpoint_every
    assert resumed.losses == straight.losses[begin:] and resumed.tokens == straight.tokens
    assert logged(tmp_path / "stopped") == logged(tmp_path / "straight")
    assert saved(tmp_path / "stopped") == saved(tmp_path / "straight")


def test_the_data_of_a_run_is_every_row_once_an_epoch(tmp_path: Path):
    """Pitfall 20: nothing is replayed or left out, also across a resume."""
    seen: list[int] = []

    class Watching(Interfering):
        def __call__(self, model: Network, batch: Batch) -> Loss:
            seen.extend(batch.tokens[:, :3].sum(dim=1).tolist())
            return super().__call__(model, batch)

    config, watching = CONFIG.but(rows=1, accumulate=1, steps=21), Watching(9, interrupted(signal.SIGTERM))
    with pytest.raises(Stopped):
        train(network(), watching, rows(), config, tmp_path)
    train(network(), watching, rows(), config, tmp_path, resume=True)
    epochs = [sorted(seen[start : start + 7]) for start in (0, 7, 14)]
    assert len(seen) == 21 and epochs[0] == epochs[1] == epochs[2]
    assert seen[:7] != seen[7:14]


@pytest.mark.parametrize("fused", [False, True], ids=["plain", "fused"])
def test_a_step_changes_exactly_the_adapters(fused: bool, tmp_path: Path):
    """Pitfall 23."""
    model = adapted(("q_proj", "down_proj"))
    assert not fused or use_fused_blocks(model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    train(model, CausalLM(), rows(), CONFIG.but(steps=1, weight_decay=0.0), tmp_path)
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == {f"{path}.{name}" for path in lora_layers(model) for name in ("down", "up.0")}


def test_a_step_changes_every_weight_of_a_network_that_is_trained_whole(tmp_path: Path):
    """Pitfall 23, the other way round; tokens that did not occur keep their row only where it is not the head too."""
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    train(model, CausalLM(), rows(), CONFIG.but(steps=1), tmp_path)
    assert [name for name, tensor in model.state_dict().items() if torch.equal(tensor, before[name])] == []


def test_groups_and_rates_are_in_the_log(tmp_path: Path):
    """Pitfall 24: norms do not decay; the rate moves once a step, not once a micro-batch."""
    run(tmp_path)
    header, *_ = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    decays, stays = header["groups"]
    names = dict(network().named_parameters())
    assert decays["weight_decay"] == 0.1 and stays["weight_decay"] == 0.0
    assert set(stays["names"]) == {name for name, parameter in names.items() if parameter.ndim == 1} != set()
    assert sorted(decays["names"] + stays["names"]) == sorted(names)
    assert (header["steps"], header["rows"]) == (9, 7)
    lines = logged(tmp_path)
    assert [line["step"] for line in lines] == [*range(9)]
    wanted = [1 / 3, 2 / 3, *(0.1 + 0.45 * (1 + math.cos(math.pi * at / 6)) for at in range(7))]
    assert [line["learning_rate"] for line in lines] == pytest.approx([1e-2 * share for share in wanted])


def test_a_step_is_adamw_by_hand(tmp_path: Path):
    """Pitfall 24: the rate and the decay in the log are the ones that were used."""
    model = network(dropout=0.0)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    batch, *_ = batches(rows(), 7, CONFIG.seed, epoch=0)
    accumulate(model, CausalLM(), [batch])
    gradients = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    train(model, CausalLM(), rows(), CONFIG.but(rows=7, accumulate=1, steps=1, clip=1e9), tmp_path)
    rate = logged(tmp_path)[0]["learning_rate"]
    for name, parameter in model.named_parameters():
        decay = 0.1 if parameter.ndim > 1 else 0.0
        wanted = before[name] * (1 - rate * decay) - rate * gradients[name] / (gradients[name].abs() + 1e-8)
        torch.testing.assert_close(parameter.detach(), wanted, rtol=1e-4, atol=1e-5)


def test_optimiser_state_goes_through_a_checkpoint(tmp_path: Path):
    """Pitfall 25: one state a parameter, equal to the bit, in float32."""
    model = network()
    parameters = trainable(model)
    optimiser = adamw(parameters, CONFIG)
    CausalLM()(model, stack(rows())).mean.backward()
    optimiser.step()
    save_checkpoint(tmp_path / "checkpoint", parameters, optimiser, State(step=1, tokens=7))
    other = network(seed=9)
    others = trainable(other)
    fresh = adamw(others, CONFIG)
    assert load_checkpoint(tmp_path / "checkpoint", others, fresh) == State(step=1, tokens=7)
    assert len(fresh.state) == len(others)
    for name, parameter in parameters.items():
        assert torch.equal(parameter, others[name])
        ours, theirs = optimiser.state[parameter], fresh.state[others[name]]
        assert set(ours) == set(theirs) == {"step", "exp_avg", "exp_avg_sq"}
        assert all(torch.equal(ours[key], theirs[key]) and ours[key].dtype == theirs[key].dtype for key in ours)


def test_adapters_of_a_bfloat16_network_are_trained_in_float32(tmp_path: Path):
    """Pitfall 25: steps smaller than a bfloat16 digit are not rounded away."""
    model = randomise_adapters(add_lora(tiny.network().bfloat16(), LoRAConfig(rank=4)))
    before = [parameter.clone() for parameter in trainable(model).values()]
    train(model, CausalLM(), rows(), CONFIG.but(steps=1, learning_rate=1e-5, warmup=0.0, weight_decay=0.0), tmp_path)
    for parameter, earlier in zip(trainable(model).values(), before, strict=True):
        assert parameter.dtype == torch.float32
        assert 0.9e-5 < (parameter - earlier).abs().median() < 1.1e-5


@each_family
def test_merged_and_unmerged_adapters_agree(family: str):
    """Pitfall 22: equal outputs; a second merge changes nothing; unmerging gives back the base to the bit."""
    model, tokens = adapted(**FAMILIES[family]), tiny.text(2, 20)
    layers = lora_layers(model).values()
    base = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    unmerged = model(tokens)
    assert (unmerged - tiny.network(**FAMILIES[family])(tokens)).abs().max() > 0.1
    for layer in layers:
        layer.merge()
    once = model(tokens)
    torch.testing.assert_close(once, unmerged, rtol=1e-4, atol=1e-4)
    for layer in layers:
        layer.merge()
    assert torch.equal(model(tokens), once)
    for layer in layers:
        layer.unmerge()
    assert all(torch.equal(tensor, base[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(model(tokens), unmerged)
    assert torch.equal(merge_adapters(model)(tokens), once) and not lora_layers(model)


def test_a_bfloat16_network_is_unmerged_to_the_bit():
    """Pitfall 22: subtracting the update again would not give back what rounding took."""
    model = adapted().bfloat16()
    base = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for layer in lora_layers(model).values():
        layer.merge()
        assert not torch.equal(
            layer.base.weight,
            base[next(name for name, tensor in base.items() if tensor.shape == layer.base.weight.shape)],
        )
        layer.unmerge()
    assert all(torch.equal(tensor, base[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("kind", ["lora", "rslora", "dora", "qlora"])
def test_a_thousand_cycles_of_merging_and_unmerging_leave_the_weights_to_the_bit(kind: str):
    """Pitfall 22, of each kind that merges, in bfloat16: rounding would add up."""
    method = METHODS[kind.removeprefix("rs")]
    settings = {"rank": 4, "rank_stabilised": kind == "rslora", "targets": ("k_proj", "down_proj")}
    network = tiny.network(dim=64, hidden_dim=128, layers=1).bfloat16()
    method.settle(method.prepare(Setup(network, CausalLM(), []), method.settings(**settings)).network)
    layers = list(lora_layers(randomise_adapters(network)).values())
    base = [layer.base.weight.clone() for layer in layers]
    for layer, before in zip(layers, base, strict=True):
        layer.merge()
        merged = layer.base.weight.clone()
        layer.unmerge()
        for _ in range(1000):
            layer.merge()
            layer.unmerge()
        assert torch.equal(layer.base.weight, before) and not torch.equal(merged, before)
        layer.merge()
        assert torch.equal(layer.base.weight, merged)


@each_family
def test_a_tied_head_stays_tied(family: str, tmp_path: Path):
    """Pitfall 15: by storage, with adapters, trained, merged, saved and loaded."""
    model = adapted(**FAMILIES[family])

    def tied(one: Network) -> bool:
        return one.head_weight.data_ptr() == one.embedding.weight.data_ptr()

    assert tied(model)
    train(model, CausalLM(), rows(), CONFIG.but(steps=1), tmp_path / "run")
    assert tied(model) and tied(merge_adapters(model)) and tied(copy.deepcopy(model))
    (tmp_path / "model").mkdir()
    write_network(tmp_path / "model", model)
    back = read_network(tmp_path / "model")
    assert tied(back) and torch.equal(back(tiny.text(1, 9)), model(tiny.text(1, 9)))
