"""Losses on routers: by hand, beside other objectives, whatever the split. tests/reference has transformers'."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from training.runs import CONFIG, logged, rows

from lmworks.basics.errors import ConfigError
from lmworks.models.experts import expert_layers
from lmworks.models.hooks import hooked
from lmworks.models.network import Network
from lmworks.objectives import L2, CausalLM, LoadBalance, Objective, RouterZLoss, SequenceToSequence
from lmworks.tokens.batch import Batch, batches
from lmworks.tokens.pairs import PairRows
from lmworks.training.blocks import fast_blocks
from lmworks.training.by_hand.fused_block import choose_blocks
from lmworks.training.loop import train
from lmworks.training.step import accumulate

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
ALL = CausalLM() + LoadBalance(0.3) + RouterZLoss(0.05)


def network(seed: int = 0, **chosen: Any) -> Network:
    experts = {"count": 4, "hidden_dim": 12, "layers": (0, 2)} | chosen
    return tiny.network(seed, layers=3, dim=16, heads=2, kv_heads=1, hidden_dim=24, experts=experts).train()


def packed(size: int = 7) -> Batch:
    """Rows of 3 to 31 tokens: much of them is padding."""
    return next(batches(rows(), size, seed=0, epoch=0))


def heard(model: Network, batch: Batch) -> tuple[torch.Tensor, ...]:
    """The routers' logits of each layer, without padding."""
    kept: dict[int, torch.Tensor] = {}
    points = {
        f"blocks.{layer}.feed_forward.router_logits": lambda logits, layer=layer: kept.update({layer: logits.detach()})
        for layer in (0, 2)
    }
    with hooked(model, points):
        model.hidden(batch.tokens, documents=batch.documents)
    return tuple(kept.values())


def test_the_z_loss_is_the_squared_normaliser_by_hand():
    model, batch = network(), packed()
    logits = heard(model, batch)
    wanted = sum(float(row.exp().sum().log()) ** 2 for layer in logits for row in layer) / 2 / len(logits[0])
    loss = (CausalLM() + RouterZLoss(0.05))(model, batch)
    assert loss.others[0].mean.item() == pytest.approx(0.05 * wanted, rel=1e-5)


SIZES = [(5, 3), (17, 9), (2, 1), (11, 20), (8, 8)]
"""Tokens of sources and targets."""


def translator() -> Network:
    experts = {"count": 4, "hidden_dim": 12, "layers": (1,)}
    shape = {"dim": 16, "heads": 2, "kv_heads": 1, "hidden_dim": 24, "vocab_size": 300}
    return tiny.network(arrangement="encoder-decoder", family="lmworks", experts=experts, **shape).train()


def pairs(places: list[int]) -> Batch:
    texts = [tiny.text(1, size, 90, at)[0].tolist() for at, size in enumerate(sum(SIZES, ()))]
    return PairRows(texts, tiny.byte_tokenizer(), 32).batch(places)


def test_an_encoder_is_judged_over_its_own_tokens():
    """The z-loss by hand: of the encoder's layer over the source's tokens, of the decoder's over the target's."""
    model, batch, kept = translator(), pairs([0, 1, 2, 3, 4]), {}
    points = {
        f"{path}.router_logits": lambda logits, path=path: kept.update({path: logits.detach()})
        for path, _ in expert_layers(model)
    }
    with hooked(model, points):
        loss = (SequenceToSequence() + RouterZLoss(0.05))(model, batch)
    sizes = {path.split(".")[0]: len(logits) for path, logits in kept.items()}
    assert sizes == {"encoder": int(batch.source_real.sum()), "blocks": int((batch.documents >= 0).sum())}
    assert loss.counts[1:] == (sizes["blocks"], sizes["encoder"])
    wanted = sum(float(logits.logsumexp(-1).square().mean()) for logits in kept.values()) / 2
    assert (loss.mean - SequenceToSequence()(model, batch).mean).item() == pytest.approx(0.05 * wanted, rel=1e-4)


@pytest.mark.parametrize("split", [[[0], [1], [2], [3], [4]], [[3, 0], [1], [2, 4]]], ids=["one by one", "unequal"])
def test_any_split_of_pairs_gives_the_same_gradient(split: list[list[int]]):
    """Pitfall 19 with experts on both sides: sources and targets of a micro-batch are as long as they are."""
    found = []
    for places in ([[0, 1, 2, 3, 4]], split):
        model = translator()
        loss, _ = accumulate(model, SequenceToSequence() + RouterZLoss(0.05), [pairs(one) for one in places])
        found.append((loss, [parameter.grad for parameter in model.parameters()]))
    (one_loss, one), (other_loss, other) = found
    assert one_loss == pytest.approx(other_loss, rel=1e-6)
    for first, second in zip(one, other, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-6)


def test_an_even_load_has_the_least_balance_loss():
    even = LoadBalance(1.0).over_tokens(torch.zeros(8, 4), torch.full((4,), 4), torch.zeros(4), "softmax")
    skewed = torch.tensor([[4.0, 0.0, 0.0, 0.0]]).expand(8, 4)
    uneven = LoadBalance(1.0).over_tokens(skewed, torch.tensor([8, 8, 0, 0]), torch.zeros(4), "softmax")
    assert float(even) == pytest.approx(8 * 2) and float(uneven) > 1.5 * float(even)


def test_what_a_capacity_dropped_was_sent_all_the_same():
    logits, sent = torch.randn(8, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([8, 4, 3, 1])
    kept, dropped = sent.clamp(max=4), (sent - 4).clamp(min=0)
    whole = LoadBalance(1.0).over_tokens(logits, sent, torch.zeros(4), "softmax")
    torch.testing.assert_close(LoadBalance(1.0).over_tokens(logits, kept, dropped, "softmax"), whole)


def gradients(objective: Objective, split: list[Batch], **chosen: Any) -> tuple[float, list[torch.Tensor]]:
    model = network(**chosen)
    loss, _ = accumulate(model, objective, split)
    return loss, [parameter.grad for parameter in model.parameters()]


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("objective", [CausalLM(), CausalLM() + RouterZLoss(0.05)], ids=["experts", "z-loss"])
def test_any_split_into_micro_batches_gives_the_same_gradient(objective: Objective, size: int):
    """Pitfall 19, with experts and their z-loss; the balance is a micro-batch's own and is left out."""
    whole, *_ = batches(rows(), 7, seed=0, epoch=0)
    one_loss, one = gradients(objective, [whole])
    other_loss, other = gradients(objective, list(batches(rows(), size, seed=0, epoch=0)))
    assert one_loss == pytest.approx(other_loss, rel=1e-6)
    for first, second in zip(one, other, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-6)


def test_the_balance_of_two_micro_batches_is_the_mean_of_theirs_by_tokens():
    """What its docstring says of the split."""
    parts = list(batches(rows(), 4, seed=0, epoch=0))
    objective = CausalLM() + LoadBalance(0.3)
    loss, _ = accumulate(network(), objective, parts)
    alone = [objective(network(), part) for part in parts]
    tokens = [int((part.documents >= 0).sum()) for part in parts]
    balance = sum(one.others[0].total for one in alone) / sum(tokens)
    text = sum(one.total for one in alone) / sum(part.supervised for part in parts)
    assert loss == pytest.approx((text + balance).item(), rel=1e-6)


@pytest.mark.parametrize(
    "objective", [ALL, CausalLM() + (LoadBalance(0.3) + RouterZLoss(0.05)), CausalLM() + L2(0.0) + LoadBalance(0.3)]
)
def test_they_add_up_at_any_place_after_the_pass(objective: Objective):
    model, batch = network(), packed()
    loss = objective(model, batch)
    assert loss.counts == objective.counts(batch)
    plain = CausalLM()(model, batch)
    assert loss.mean.item() > plain.mean.item() + 0.1
    loss.mean.backward()
    assert all(layer.feed_forward.router.weight.grad.abs().sum() > 0 for layer in (model.blocks[0], model.blocks[2]))
    points = [point for block in (model.blocks[0], model.blocks[2]) for point in vars(block.feed_forward).values()]
    assert not any(getattr(point, "functions", None) for point in points)  # nobody listens any more


@pytest.mark.parametrize("recompute", [False, True], ids=["kept", "recomputed"])
def test_recomputing_changes_no_gradient(recompute: bool):
    found = []
    for again in (False, recompute):
        model = network()
        choose_blocks(model, again)
        accumulate(model, ALL, [packed(3)])
        found.append([parameter.grad for parameter in model.parameters()])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_a_loss_on_routers_that_saw_no_pass_is_refused():
    model, batch = network(), packed()
    with pytest.raises(ConfigError, match=r"LoadBalance judges the pass of the objective before it in a sum; write"):
        LoadBalance(0.1)(model, batch)
    with pytest.raises(ConfigError, match="RouterZLoss judges the pass of the objective before it"):
        (RouterZLoss(0.1) + CausalLM())(model, batch)
    with pytest.raises(ConfigError, match="the network has no experts; leave it out"):
        (CausalLM() + LoadBalance(0.1))(tiny.network(), batch)
    with pytest.raises(ConfigError, match="the strength of LoadBalance is -1"):
        LoadBalance(-1.0)


@pytest.mark.parametrize("recompute", [False, True], ids=["kept", "recomputed"])
def test_the_log_says_what_each_expert_was_sent(recompute: bool, tmp_path: Path):
    """Pitfall 16: tokens x k in every layer, over all micro-batches of a step, counted once."""
    model = network(capacity=0.75)
    train(model, ALL, rows(), CONFIG.but(recompute=recompute), tmp_path / "capped")
    train(network(), ALL, rows(), CONFIG.but(recompute=recompute), tmp_path / "all")
    for capped, line in zip(logged(tmp_path / "capped"), logged(tmp_path / "all"), strict=True):
        assert set(line["expert_load"]) == {"blocks.0.feed_forward", "blocks.2.feed_forward"}
        sent = {sum(load) for load in line["expert_load"].values()}
        assert len(sent) == 1 and line["experts_dropped"] == 0
        assert sent.pop() > 2 * line["tokens"]  # the last token of a document is sent, and predicts nothing
        assert capped["experts_dropped"] > 0.1
        left = {round(sum(load) / (1 - capped["experts_dropped"])) for load in capped["expert_load"].values()}
        assert all(abs(one - sum(line["expert_load"]["blocks.0.feed_forward"])) < 60 for one in left)


def test_biases_move_by_the_load_of_the_step_and_no_gradient(tmp_path: Path):
    model = network(bias_rate=0.01)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    train(model, CausalLM(), rows(), CONFIG.but(learning_rate=1e-12, weight_decay=0.0, steps=2), tmp_path)
    first, second = (line["expert_load"]["blocks.2.feed_forward"] for line in logged(tmp_path))
    by_hand = [0, 0, 0, 0]
    for load in (first, second):
        mean = sum(load) / 4
        by_hand = [lift + (one < mean) - (one > mean) for lift, one in zip(by_hand, load, strict=True)]
    assert model.blocks[2].feed_forward.router.lifts.tolist() == by_hand != [0, 0, 0, 0]
    for name, weight in model.state_dict().items():
        assert name.endswith("lifts") or torch.allclose(weight, before[name], atol=1e-9)


def test_a_resumed_run_has_the_same_biases(tmp_path: Path):
    """Pitfall 20: they are no parameters, and part of where a run stands."""
    straight, stopped = network(bias_rate=0.01), network(bias_rate=0.01)
    train(straight, ALL, rows(), CONFIG, tmp_path / "straight")

    def stop(model: Network) -> None:
        raise KeyboardInterrupt

    from training.runs import Interfering

    with pytest.raises(KeyboardInterrupt):
        train(stopped, Interfering(17, stop) + LoadBalance(0.3) + RouterZLoss(0.05), rows(), CONFIG, tmp_path / "two")
    resumed = network(seed=9, bias_rate=0.01)
    train(resumed, ALL, rows(), CONFIG, tmp_path / "two", resume=True)
    assert logged(tmp_path / "two") == logged(tmp_path / "straight")
    for name, weight in straight.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], weight), name


def test_compiling_experts_is_refused():
    model = network()
    with (
        pytest.raises(ConfigError, match=r"training\.compile does not go with experts"),
        fast_blocks(model, CONFIG.but(compile=True), lambda: None),
    ):
        pass
