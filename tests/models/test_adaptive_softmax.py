"""The adaptive softmax against PyTorch's, its order of tokens, what it costs, and how it is saved."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from training.runs import CONFIG, rows

from lmworks.basics.errors import ConfigError, ModelError
from lmworks.models.adaptive_softmax import AdaptiveSoftmax
from lmworks.models.config import ModelConfig
from lmworks.models.files.directory import read_network, write_network
from lmworks.models.network import Network
from lmworks.objectives import CausalLM
from lmworks.objectives.cross_entropy import cross_entropy
from lmworks.tokens.batch import IGNORE, stack
from lmworks.training.loop import train

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
HEAD = {"tied": False, "adaptive_cutoffs": (10, 40), "adaptive_divisor": 2.0, "family": "lmworks"}


def network(**settings: object) -> Network:
    """A small network with an adaptive head whose order of tokens is not that of their ids."""
    made = tiny.network(**(HEAD | settings))
    made.head.order_by(torch.randint(0, 50, (96,), generator=torch.Generator().manual_seed(1)))
    return made


def pytorchs(head: AdaptiveSoftmax) -> nn.AdaptiveLogSoftmaxWithLoss:
    """PyTorch's with the same weights; it knows ranks, not ids."""
    theirs = nn.AdaptiveLogSoftmaxWithLoss(32, 96, [10, 40], div_value=2.0)
    with torch.no_grad():
        theirs.head.weight.copy_(head.shortlist.weight)
        for tail, cluster in zip(theirs.tail, head.clusters, strict=True):
            tail[0].weight.copy_(cluster.down.weight)
            tail[1].weight.copy_(cluster.up.weight)
    return theirs


def states(count: int) -> tuple[Tensor, Tensor]:
    """Hidden states and labels; every third label is IGNORE."""
    generator = torch.Generator().manual_seed(count)
    labels = torch.randint(0, 96, (count,), generator=generator)
    labels[::3] = IGNORE
    return torch.randn(count, 32, generator=generator, requires_grad=True), labels


def test_full_log_probabilities_equal_pytorchs_at_each_rank():
    head, (hidden, _) = network().head, states(20)
    assert head.rank.tolist() != list(range(96))
    ours, theirs = head.log_probabilities(hidden), pytorchs(head).log_prob(hidden)
    torch.testing.assert_close(ours, theirs[:, head.rank], **CLOSE)
    torch.testing.assert_close(ours.exp().sum(1), torch.ones(20), **CLOSE)


def test_loss_and_gradients_equal_pytorchs(tmp_path: Path):
    model = network()
    batch = stack(rows())
    theirs, carries = pytorchs(model.head), batch.labels != IGNORE
    ours = CausalLM()(model, batch)
    ours.total.backward()
    hidden = model.hidden(batch.tokens, documents=batch.documents)
    wanted = -theirs(hidden[carries], model.head.rank[batch.labels[carries]]).output.sum()
    assert {
        int(cluster) for cluster in torch.bucketize(model.head.rank[batch.labels[carries]], torch.tensor([10, 40]))
    } == {0, 1, 2}
    torch.testing.assert_close(ours.total, wanted, **CLOSE)
    body = [parameter for name, parameter in model.named_parameters() if not name.startswith("head.")]
    made = [parameter.grad for parameter in body] + [parameter.grad for parameter in model.head.parameters()]
    gradients = torch.autograd.grad(wanted, [*body, *theirs.parameters()])
    for one, other in zip(made, gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-4)


def test_a_plain_head_is_one_softmax():
    model, (hidden, labels) = tiny.network(tied=False), states(9)
    assert [tuple(map(id, one)) for one in model.softmaxes(hidden, labels)] == [
        (id(hidden), id(model.head.weight), id(labels))
    ]


def test_the_log_probability_of_a_label_is_that_of_the_softmaxes_it_goes_through():
    model, (hidden, labels) = network(), states(60)
    carries = labels != IGNORE
    wanted = model.logits(hidden)[carries].gather(1, labels[carries][:, None]).sum()
    parts = list(model.softmaxes(hidden, labels))
    made = sum(
        (inputs[at] @ matrix.T).log_softmax(0)[label]
        for inputs, matrix, wanted_here in parts
        for at, label in enumerate(wanted_here.tolist())
        if label != IGNORE
    )
    torch.testing.assert_close(made, wanted, rtol=1e-5, atol=1e-4)
    # Only the rows whose token lies in a cluster go through it.
    places = torch.bucketize(model.head.rank[labels[carries]], torch.tensor([10, 40]), right=True)
    assert [len(inputs) for inputs, *_ in parts] == [60, int((places == 1).sum()), int((places == 2).sum())]


def test_every_weight_has_a_gradient_also_where_a_cluster_has_no_token():
    model, (hidden, _) = network(), states(6)
    frequent = model.head.rank.argsort()[torch.tensor([0, 1, 2, 3, 4, 9])]
    sum(cross_entropy(*one) for one in model.softmaxes(hidden, frequent)).backward()
    gradients = [parameter.grad for parameter in model.head.parameters()]
    assert [bool((gradient != 0).any()) for gradient in gradients] == [True, False, False, False, False]


def test_the_most_frequent_tokens_have_the_first_ranks():
    head = network().head
    counts = torch.randint(0, 20, (96,), generator=torch.Generator().manual_seed(5))
    head.order_by(counts)
    by_hand = sorted(range(96), key=lambda token: (-int(counts[token]), token))
    assert head.rank.argsort().tolist() == by_hand and int(head.rank[by_hand[7]]) == 7
    head.check_ranks()
    with pytest.raises(ConfigError, match="95 counts were given for a vocabulary of 96 tokens"):
        head.order_by(counts[1:])


def test_ids_keep_their_order_until_they_are_counted():
    assert Network(ModelConfig(vocab_size=96, dim=32, layers=1, heads=2, context=8, **HEAD)).head.rank.tolist() == [
        *range(96)
    ]


def test_the_order_changes_the_loss_and_not_the_sum_of_probabilities():
    model, batch = network(), stack(rows())
    first = CausalLM()(model, batch).total.item()
    model.head.order_by(torch.arange(96))
    assert CausalLM()(model, batch).total.item() != pytest.approx(first, rel=1e-3)
    torch.testing.assert_close(model(batch.tokens).exp().sum(-1), torch.ones(batch.tokens.shape), rtol=1e-4, atol=1e-4)


def test_bfloat16_is_as_near_as_its_digits_allow():
    exact, batch = network(), stack(rows())
    rounded = copy.deepcopy(exact).bfloat16()
    assert rounded.head.rank.dtype == torch.int64 and torch.equal(rounded.head.rank, exact.head.rank)
    assert rounded(batch.tokens).dtype == torch.float32
    one, other = (CausalLM()(model, batch).mean.item() for model in (exact, rounded))
    assert one == pytest.approx(other, rel=0.02)


def test_a_head_that_begins_at_zero_gives_each_softmax_no_preference():
    head = network().initialise(0, "zero-output").head
    log_probabilities = head.log_probabilities(torch.randn(32))[head.rank.argsort()]
    wanted = torch.tensor([1 / 12] * 10 + [1 / 12 / 30] * 30 + [1 / 12 / 56] * 56)
    torch.testing.assert_close(log_probabilities.exp(), wanted)
    assert all(bool((cluster.down.weight != 0).all()) for cluster in head.clusters)


def test_a_network_with_an_adaptive_head_learns(tmp_path: Path):
    model = network()
    made = train(model, CausalLM(), rows(), CONFIG.but(steps=40, accumulate=1, warmup=0.0), tmp_path)
    assert made.losses[-1] < made.losses[0] - 1


def test_a_saved_network_has_the_same_log_probabilities_and_order(tmp_path: Path):
    model, tokens = network(), tiny.text(2, 12)
    write_network(tmp_path, model)
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "lmworks"
    back = read_network(tmp_path)
    assert back.config == model.config and torch.equal(back.head.rank, model.head.rank)
    assert torch.equal(back(tokens), model(tokens))
    half = read_network(tmp_path, torch.bfloat16)
    assert half.dtype == torch.bfloat16 and torch.equal(half.head.rank, model.head.rank)


def test_a_public_architecture_has_no_place_for_it(tmp_path: Path):
    with pytest.raises(ModelError, match="a llama model cannot have adaptive_cutoffs"):
        write_network(tmp_path, network(family="llama"))
    assert not (tmp_path / "config.json").exists()


@pytest.mark.parametrize("value", [96, -1, 3], ids=["beyond the end", "negative", "twice"])
def test_an_order_that_is_none_is_refused(value: int, tmp_path: Path):
    model = network()
    write_network(tmp_path, model)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["head.rank"][int((model.head.rank == 5).nonzero())] = value
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=r"head\.rank is not an order of the vocabulary"):
        read_network(tmp_path)


def test_ranks_that_are_no_whole_numbers_are_refused(tmp_path: Path):
    write_network(tmp_path, network())
    tensors = load_file(tmp_path / "model.safetensors")
    save_file(tensors | {"head.rank": tensors["head.rank"].float()}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=r"head\.rank is not an order of the vocabulary"):
        read_network(tmp_path)


@pytest.mark.parametrize(
    "settings, problem",
    [
        ({"adaptive_cutoffs": (40, 10)}, "adaptive_cutoffs (40, 10) must rise and stay below vocab_size (96)"),
        ({"adaptive_cutoffs": (10, 96)}, "adaptive_cutoffs (10, 96) must rise and stay below vocab_size (96)"),
        ({"tied": True}, "adaptive_cutoffs needs tied = false"),
        ({"logit_cap": 5.0}, "logit_cap is for one softmax over all"),
        ({"adaptive_divisor": 8.0}, "adaptive_divisor (8) leaves cluster 2 no dimension of dim (32)"),
        ({"adaptive_cutoffs": ()}, "adaptive_cutoffs is ()"),
        ({"adaptive_cutoffs": (0, 10)}, "greater than 0"),
        ({"adaptive_cutoffs": tuple(range(1, 20))}, "at most 16"),
    ],
)
def test_contradictions_are_refused(settings: dict[str, object], problem: str):
    with pytest.raises(ConfigError) as caught:
        network(**settings)
    assert problem in str(caught.value)


def test_label_smoothing_through_it_is_refused():
    with pytest.raises(ConfigError, match="leave out label_smoothing, or adaptive_cutoffs"):
        CausalLM(label_smoothing=0.1)(network(), stack(rows()))


def test_it_has_no_single_matrix():
    with pytest.raises(ConfigError, match="no single head matrix"):
        _ = network().head_weight
