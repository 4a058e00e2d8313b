"""Muon and AdamW in one optimiser, against torch's own of both and against the singular value decomposition."""

from __future__ import annotations

import pytest
import tiny
import torch
from torch import nn

from lmworks.models.families.bart import MARIAN
from lmworks.objectives import CausalLM, SequenceToSequence
from lmworks.tokens.batch import Batch
from lmworks.training.optimiser import make_optimiser
from lmworks.training.optimisers.adamw import RULE as ADAMW_RULE
from lmworks.training.optimisers.muon import orthogonalised
from lmworks.training.rules import Rules
from lmworks.training.settings import TrainingConfig

CONFIG = TrainingConfig(optimiser="muon", learning_rate=0.02, embedding_learning_rate=3e-3, weight_decay=0.1)
KELLER = ((3.4445, -4.7750, 2.0315),) * 5


def matrices(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", [(4, 48, 20), (2, 20, 48), (1, 32, 32)], ids=str)
def test_an_orthogonalised_matrix_keeps_its_directions_and_loses_its_sizes(shape: tuple[int, ...]):
    given = matrices(*shape)
    left, _, right = torch.linalg.svd(given, full_matrices=False)
    found = orthogonalised(given)
    sizes = torch.diagonal(left.mT @ found @ right.mT, dim1=-2, dim2=-1)
    assert sizes.min() > 0.42 and sizes.max() < 1.57
    torch.testing.assert_close(left @ torch.diag_embed(sizes) @ right, found, rtol=1e-4, atol=1e-4)


def test_the_iteration_is_that_of_torch():
    from torch.optim._muon import _zeropower_via_newtonschulz

    given = matrices(3, 40, 24)
    found = orthogonalised(given, KELLER, torch.bfloat16, margin=1.0)
    for one, ours in zip(given, found, strict=True):
        torch.testing.assert_close(
            ours, _zeropower_via_newtonschulz(one, KELLER[0], 5, 1e-7).float(), rtol=0, atol=0.02
        )


def steps(optimiser: torch.optim.Optimizer, parameter: nn.Parameter, count: int = 5) -> torch.Tensor:
    target = matrices(*parameter.shape).to(parameter.dtype)
    for _ in range(count):
        (parameter - target).square().sum().backward()
        optimiser.step()
        optimiser.zero_grad()
    return parameter.detach().clone()


def test_adamw_is_torchs():
    ours, theirs = nn.Parameter(torch.ones(6, 5)), nn.Parameter(torch.ones(6, 5))
    group = {"params": [ours], "rule": ADAMW_RULE, "lr": 0.02, "weight_decay": 0.1}
    found = steps(Rules([group], CONFIG), ours)
    expected = steps(torch.optim.AdamW([theirs], lr=0.02, betas=(0.9, 0.95), weight_decay=0.1), theirs)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_the_matrices_of_blocks_have_one_rate_and_the_rest_its_own():
    network = tiny.network()
    rates = {
        name: group["highest"] for group in make_optimiser(network, CONFIG).param_groups for name in group["names"]
    }
    assert rates == {
        name: 0.02 if name.startswith("blocks.") and one.ndim == 2 else 3e-3 for name, one in network.named_parameters()
    }
    assert set(rates.values()) == {0.02, 3e-3}


def test_small_steps_are_not_lost_in_bfloat16():
    """A step of 1e-4 from 1 rounds to nothing; a hundred of them do not."""
    parameter = nn.Parameter(torch.ones(4, 4, dtype=torch.bfloat16))
    optimiser = Rules([{"params": [parameter], "rule": ADAMW_RULE, "lr": 1e-4, "weight_decay": 0.0}], CONFIG)
    for _ in range(100):
        parameter.grad = torch.ones_like(parameter)
        optimiser.step()
    torch.testing.assert_close(parameter.float(), torch.full((4, 4), 0.99), rtol=0, atol=2e-3)


def trained(**settings: object) -> tuple[Rules, object]:
    network = tiny.network(**settings).train()
    optimiser = make_optimiser(network, CONFIG)
    tokens = tiny.text(16, 16)
    labels = tokens.roll(-1, 1)
    batch = Batch(tokens, labels, torch.arange(16).expand(16, -1), torch.zeros_like(tokens))
    before = {name: one.detach().clone() for name, one in network.named_parameters()}
    CausalLM()(network, batch).mean.backward()
    optimiser.step()
    return optimiser, {name: one.detach() - before[name] * (1 - 0.02 * 0.1) for name, one in network.named_parameters()}


def test_what_shares_a_matrix_is_orthogonalised_apart():
    """Pitfall 24 too: which group has what."""
    optimiser, moved = trained()
    muon = [group for group in optimiser.param_groups if group["rule"].name == "muon"]
    assert len(muon) == 1 and all(name.startswith("blocks.") for name in muon[0]["names"])
    rest = {name for group in optimiser.param_groups if group["rule"].name == "adamw" for name in group["names"]}
    assert rest == {
        "embedding.weight",
        "norm.weight",
        *(f"blocks.{i}.{part}_norm.weight" for i in (0, 1) for part in ("attention", "feed_forward")),
    }
    decays = {name: group["weight_decay"] for group in optimiser.param_groups for name in group["names"]}
    assert {name for name, decay in decays.items() if not decay} == {name for name in decays if "norm" in name}
    for name, heights in (
        ("blocks.0.attention.qkv.weight", [32, 16, 16]),
        ("blocks.1.feed_forward.up.weight", [48, 48]),
    ):
        for part in moved[name].split(heights):  # each part has singular values near the rate, times its shape's scale
            sizes = torch.linalg.svdvals(part) / (0.02 * max(1, part.shape[0] / part.shape[1]) ** 0.5)
            assert sizes.max() < 1.6 and sizes[: len(sizes) // 2].min() > 0.42, name


def test_routers_are_adamws():
    """A row of scores for each expert: no direction of it is as good as another."""
    experts = {"count": 4, "hidden_dim": 12, "shared_dim": 8, "shared_gate": True}
    optimiser = make_optimiser(tiny.network(experts=experts), CONFIG)
    names = {group["rule"].name: group["names"] for group in optimiser.param_groups if group["weight_decay"]}
    gates = [f"blocks.{layer}.feed_forward.{part}.weight" for layer in (0, 1) for part in ("router", "shared_gate")]
    assert set(names["adamw"]) == {"embedding.weight", *gates}
    assert any(".experts." in name for name in names["muon"]) and not set(gates) & set(names["muon"])


def test_the_matrices_of_both_stacks_of_an_encoder_decoder_are_orthogonalised():
    """An encoder that AdamW trains at the embedding's rate is lost, and the decoder learns to do without the source."""
    network = tiny.network(family="marian", kv_heads=4, activation="relu", **MARIAN.fixed).train()
    optimiser = make_optimiser(network, CONFIG)
    (muon,) = (group for group in optimiser.param_groups if group["rule"].name == "muon")
    matrices = {name for name, one in network.named_parameters() if one.ndim == 2}
    assert set(muon["names"]) == matrices - {"embedding.weight"}
    assert {name.partition("blocks.")[0] for name in muon["names"]} == {"", "encoder."}
    tokens = tiny.text(16, 16)
    places, real = torch.arange(16).expand(16, -1), torch.ones_like(tokens, dtype=torch.bool)
    batch = Batch(tokens, tokens.roll(-1, 1), places, torch.zeros_like(tokens), source=tokens.flip(1), source_real=real)
    name = "blocks.0.cross_attention.kv.weight"
    weight = network.get_parameter(name)
    before = weight.detach().clone()
    SequenceToSequence()(network, batch).mean.backward()
    optimiser.step()
    for part in (weight.detach() - before * (1 - 0.02 * 0.1)).split([32, 32]):
        sizes = torch.linalg.svdvals(part) / 0.02
        assert sizes.max() < 1.6 and sizes[:8].min() > 0.42


def test_masters_and_moments_are_there_before_the_first_step():
    network = tiny.network().to(torch.bfloat16)
    optimiser = make_optimiser(network, CONFIG)
    for parameter in network.parameters():
        torch.testing.assert_close(optimiser.state[parameter]["master"], parameter.float())
        assert len(optimiser.state[parameter]) >= 3
