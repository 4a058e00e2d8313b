"""The block with a backward of its own against autograd through the network's plain block."""

from __future__ import annotations

from typing import Any

import pytest
import tiny
import torch
from adaptation.adapted import GPT2, adapted, packed, randomise_adapters
from torch import Tensor

from lmworks.adaptation.dora import DoRALinear
from lmworks.adaptation.lora import LoRAConfig, adapters_off, add_lora, lora_layers, merge_adapters
from lmworks.kernels import between
from lmworks.kernels.coverage import unavailable
from lmworks.models.attention import Pass
from lmworks.models.hooks import hooked
from lmworks.models.network import Block, Network, run_plainly, run_recomputing
from lmworks.models.positions.rope import rotation
from lmworks.objectives import CausalLM
from lmworks.tokens.batch import Batch
from lmworks.training.blocks import fast_blocks
from lmworks.training.by_hand.fused_block import FusedBlocks, choose_blocks, use_fused_blocks
from lmworks.training.by_hand.tiled_attention import TiledAttention, tile_of
from lmworks.training.settings import TrainingConfig

KINDS: dict[str, dict[str, Any]] = {
    "grouped queries": {},
    "one key head": {"kv_heads": 1},
    "plain attention": {"kv_heads": 4},
    "window": {"window": 7},
    "window on one layer": {"window": 7, "window_layers": (1,)},
    "untied": {"tied": False},
    "wide heads": {"head_dim": 16},
    "biases, as Qwen 2 has them": {"family": "qwen2", "qkv_bias": True},
    "normed heads": {"family": "qwen3", "qk_norm": True},
    "1 + weight, GELU, as Gemma has them": {
        "family": "gemma",
        "norm_unit_offset": True,
        "activation": "gelu_tanh",
        "scale_embedding": True,
    },
}
WHOLE: dict[str, dict[str, Any]] = KINDS | {
    "our own": tiny.OWN,
    "our own, with a window": tiny.OWN | {"window": 7},
    "learned positions, relu, biases everywhere": {
        "positions": "learned",
        "activation": "relu",
        "gated": False,
        "qkv_bias": True,
        "output_bias": True,
        "feed_forward_bias": True,
    },
    "gelu": {"activation": "gelu", "gated": False},
    "a sigmoid gate": {"activation": "sigmoid"},
    "tanh": {"activation": "tanh", "gated": False},
    "windows with a base of their own, a layer that rotates nothing": {"window": 7, "window_layers": (1,), "layers": 3}
    | {"window_theta": 50.0, "rope_layers": (0, 1)},
}
"""Kinds that are trained whole; not all have a public family, whose names adapters go by."""
LENGTHS = {32: ((20, 9), (32,)), 48: ((10, 30, 8), (25,)), 64: ((40, 20), (7, 3, 50)), 128: ((128,), (60, 66))}


def fused(network: Network, recompute: bool = False) -> Network:
    """The network with the fast way switched on, asserting that a training step takes it."""
    assert use_fused_blocks(network, recompute)
    assert took_the_fast_way(network)
    return network


def took_the_fast_way(network: Network, batch: Batch | None = None) -> bool:
    """Which backward the last block's output comes from."""
    batch = batch or packed((20,))
    seen = []
    run = network.run_block

    def watch(block: Block, x: Tensor, shared: Pass) -> Tensor:
        out = run(block, x, shared)
        parent = None if out.grad_fn is None or not out.grad_fn.next_functions else out.grad_fn.next_functions[0][0]
        seen.append("_FusedBlock" in f"{type(out.grad_fn).__name__} {type(parent).__name__}")
        return out

    network.run_block = watch
    network.hidden(batch.tokens, documents=batch.documents)
    network.run_block = run
    assert len(set(seen)) == 1
    return seen[0]


def gradients(network: Network, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    """The hidden states, and the gradients of the loss and a weighted sum of them by parameter."""
    network.zero_grad()
    hidden = network.hidden(batch.tokens, documents=batch.documents)
    weights = torch.randn(hidden.shape, generator=torch.Generator().manual_seed(3)).to(hidden.dtype)
    real = (batch.documents >= 0)[..., None]
    (hidden * weights * real).sum().backward()
    return hidden[real[..., 0]], {
        name: parameter.grad for name, parameter in network.named_parameters() if parameter.grad is not None
    }


def assert_equal_to_plain(network: Network, batch: Batch, recompute: bool, relative: float) -> None:
    network.run_block = run_plainly
    wanted_hidden, wanted = gradients(network.train(), batch)
    fused(network, recompute)
    hidden, made = gradients(network, batch)
    torch.testing.assert_close(hidden, wanted_hidden, rtol=relative, atol=relative)
    assert set(made) == set(wanted)
    for name, gradient in made.items():
        assert gradient.abs().sum() > 0, name
        assert (gradient - wanted[name]).norm() <= relative * wanted[name].norm(), name


@pytest.mark.parametrize("recompute", [False, True], ids=["kept", "recomputed"])
@pytest.mark.parametrize("width", LENGTHS)
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_equal_autograds_in_float64(kind: str, width: int, recompute: bool):
    network, batch = adapted(**KINDS[kind]).double(), packed(*LENGTHS[width])
    assert batch.tokens.shape[1] == -(-width // 32) * 32
    assert_equal_to_plain(network, batch, recompute, 1e-8)


@pytest.mark.parametrize("recompute", [False, True], ids=["kept", "recomputed"])
@pytest.mark.parametrize("width", [32, 64])
@pytest.mark.parametrize("kind", WHOLE)
def test_gradients_of_all_weights_equal_autograds_in_float64(kind: str, width: int, recompute: bool):
    network = tiny.network(**WHOLE[kind]).double()
    assert_equal_to_plain(network, packed(*LENGTHS[width]), recompute, 1e-8)


# Not ReLU: at its kink a rounding decides between two gradients, and processors round differently; float64 covers it.
@pytest.mark.parametrize("kind", [kind for kind in WHOLE if WHOLE[kind].get("activation") != "relu"])
def test_gradients_of_all_weights_equal_autograds_in_float32(kind: str):
    assert_equal_to_plain(tiny.network(**WHOLE[kind]), packed((40, 20), (7, 3, 50)), False, 1e-5)


@pytest.mark.parametrize("frozen", ["blocks", "embedding", "norm", "bias", "blocks.0", "attention.output"])
def test_gradients_equal_autograds_where_a_part_is_frozen(frozen: str):
    network = tiny.network(**WHOLE["biases, as Qwen 2 has them"] | {"tied": False}).double()
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(frozen not in name)
    plainly = frozen == "blocks"  # autograd goes through them, for the embedding
    assert_equal_to_plain(network, packed((20, 9), (32,)), False, 1e-8)
    assert plainly or any(name.startswith("blocks") and one.requires_grad for name, one in network.named_parameters())


@pytest.mark.slow
@pytest.mark.parametrize("what", ["our own", "grouped queries", "adapters"])
def test_compiled_gradients_equal_autograds(what: str):
    """Two batches whose documents end elsewhere: what was compiled for the first serves the second."""
    network = adapted() if what == "adapters" else tiny.network(**WHOLE[what])
    batches = [packed((40, 20), (7, 3, 50)), packed((64,), (30, 34))]
    wanted = [gradients(network.train(), batch) for batch in batches]
    config = TrainingConfig(compile=True)
    with fast_blocks(network, config, lambda: None):
        for batch, (states, by_name) in zip(batches, wanted, strict=True):
            hidden, made = gradients(network, batch)
            torch.testing.assert_close(hidden, states, rtol=1e-5, atol=1e-5)
            for name, gradient in made.items():
                assert (gradient - by_name[name]).norm() <= 1e-5 * by_name[name].norm(), name
    assert network.run_block is run_plainly


@pytest.mark.parametrize(
    "targets", ["all", ("q_proj",), ("v_proj", "down_proj"), ("o_proj", "gate_proj"), ("up_proj",)]
)
def test_gradients_equal_autograds_with_adapters_on_some_projections(targets: Any):
    assert_equal_to_plain(adapted(targets).double(), packed((33, 20), (50,)), False, 1e-8)


@pytest.mark.parametrize("recompute", [False, True], ids=["kept", "recomputed"])
@pytest.mark.parametrize("targets", ["all", ("v_proj", "down_proj"), ("o_proj", "gate_proj")])
@pytest.mark.parametrize("kind", ["grouped queries", "biases, as Qwen 2 has them"])
def test_gradients_of_scaled_rows_equal_autograds(kind: str, targets: Any, recompute: bool):
    network = adapted(targets, kind=DoRALinear, **KINDS[kind]).double()
    assert_equal_to_plain(network, packed((33, 20), (50,)), recompute, 1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_equal_autograds_in_float32(kind: str):
    assert_equal_to_plain(adapted(**KINDS[kind]), packed((40, 20), (7, 3, 50)), False, 1e-4)


def test_gradients_in_bfloat16_are_within_two_percent_of_float32_and_no_worse_than_autograds():
    batch = packed((60,), (20, 44))
    exact, plain, rounded = (add_lora(tiny.network(dim=64, hidden_dim=96).initialise(), LoRAConfig()) for _ in range(3))
    for network in (exact, plain, rounded):
        randomise_adapters(network, size=0.02)
    for network in (plain, rounded):
        for parameter in network.parameters():
            parameter.data = parameter.data if parameter.requires_grad else parameter.data.bfloat16()
    for exactly, roughly in zip(exact.parameters(), rounded.parameters(), strict=True):
        exactly.data = roughly.data.float()  # the same weights: only the computation is rounded
    fused(rounded)
    (_, wanted), (_, autograds), (_, made) = (gradients(network.train(), batch) for network in (exact, plain, rounded))
    assert all(gradient.dtype == torch.float32 for gradient in made.values())

    def error(gradients: dict[str, Tensor]) -> float:
        differences = torch.cat([(gradients[name] - wanted[name]).flatten() for name in wanted])
        return float(differences.norm() / torch.cat([gradient.flatten() for gradient in wanted.values()]).norm())

    assert 0 < error(made) < min(0.02, 1.2 * error(autograds))


def test_a_width_that_is_no_whole_number_of_tiles_takes_the_largest_tile_that_divides_it():
    assert [tile_of(width) for width in (32, 48, 64, 96, 128, 80, 37)] == [32, 48, 64, 48, 64, 40, 37]
    assert tile_of(67) is None and tile_of(13) is None


UNCOVERED = [
    *({"norm": "layer"}, {"dropout": 0.1}, {"norm_place": "result"}, {"norm_place": "both"}, {"attention_cap": 5.0}),
    *({"residual_scale": 0.5}, {"parallel": True, "shared_norm": True}, {"activation": "xielu"}),
    *({"qk_norm": True, "qk_norm_over": "row"}, {"qk_norm": True, "qk_norm_after": True}),
]


@pytest.mark.parametrize("settings", UNCOVERED, ids=str)
@pytest.mark.parametrize("recompute", [False, True])
def test_a_network_that_is_not_covered_runs_plainly(settings: dict[str, Any], recompute: bool):
    network = tiny.network(**settings)
    assert not use_fused_blocks(network, recompute) and network.run_block is run_plainly
    assert choose_blocks(network, recompute) == ("recomputing" if recompute else "plain")
    assert network.run_block is (run_recomputing if recompute else run_plainly)


def test_who_waits_for_a_module_to_be_called_gets_the_plain_block():
    """Sharded weights are gathered, and per-sample gradients made, in PyTorch's own hooks."""
    network, seen = fused(tiny.network()), []
    handle = network.blocks[1].attention.qkv.register_forward_hook(lambda *call: seen.append(call))
    run, batch = network.run_block, packed((20,))
    network.hidden(batch.tokens, documents=batch.documents)
    assert len(seen) == 1 and isinstance(run, FusedBlocks)
    handle.remove()
    assert took_the_fast_way(network)


def test_narrow_rows_run_plainly():
    network = fused(adapted())
    batch = packed((20,))
    narrow = Batch(*(part[:, :13] for part in (batch.tokens, batch.labels, batch.positions, batch.documents)))
    assert took_the_fast_way(network, batch) and not took_the_fast_way(network, narrow)
    torch.testing.assert_close(network(narrow.tokens), network(batch.tokens)[:, :13], rtol=1e-5, atol=1e-5)


def test_without_gradients_with_padding_and_with_a_cache_the_plain_block_runs():
    network, plain, tokens = fused(adapted()), adapted(), tiny.text(2, 32)
    mask = torch.ones(2, 32, dtype=torch.bool)
    mask[0, :9] = False
    torch.testing.assert_close(network(tokens, mask), plain(tokens, mask), rtol=0, atol=0)
    with torch.no_grad():
        assert torch.equal(network(tokens), plain(tokens))
        assert torch.equal(network(tokens, cache=network.new_cache(2)), plain(tokens, cache=plain.new_cache(2)))


def test_hooks_see_the_plain_block():
    network, seen = fused(adapted()), []
    with hooked(network, {"blocks.0.attention.pattern": lambda pattern: seen.append(pattern.shape)}):
        assert not took_the_fast_way(network)
    assert seen == [(1, 4, 32, 32)] and took_the_fast_way(network)


def test_adapters_that_are_off_add_nothing_and_those_that_are_merged_are_not_counted_by_the_fast_way():
    network, tokens = fused(adapted()), tiny.text(1, 32)
    base = tiny.network()(tokens)
    with adapters_off(network):
        torch.testing.assert_close(network(tokens), base, rtol=1e-5, atol=1e-5)
        with torch.no_grad():
            torch.testing.assert_close(network(tokens), base, rtol=0, atol=0)
    unmerged = network(tokens)
    for layer in lora_layers(network).values():
        layer.merge()
    torch.testing.assert_close(network(tokens), unmerged, rtol=1e-4, atol=1e-4)


def test_a_merged_network_can_be_trained_further():
    network = merge_adapters(fused(adapted()))
    network.requires_grad_(True)
    CausalLM()(network, packed((20,))).total.backward()
    silent = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    assert not silent


def test_blocks_that_are_computed_again_have_the_gradients_of_plain_ones():
    """What `recompute` means where the fast way is not covered."""
    network, batch = adapted(**GPT2), packed((20, 9), (32,))
    assert not use_fused_blocks(network, True)
    (hidden, plain), _ = gradients(network.train(), batch), setattr(network, "run_block", run_recomputing)
    again, recomputed = gradients(network, batch)
    assert torch.equal(hidden, again)
    assert all(torch.equal(plain[name], recomputed[name]) for name in plain)


def test_a_second_backward_through_one_pass_gives_the_same():
    network, batch = fused(adapted()), packed((20,))
    loss = CausalLM()(network, batch).total
    made = []
    for _ in range(2):
        network.zero_grad()
        loss.backward(retain_graph=True)
        made.append([parameter.grad for parameter in network.parameters() if parameter.grad is not None])
    assert all(torch.equal(first, second) for first, second in zip(*made, strict=True)) and made[0]


@pytest.mark.parametrize("by_shape", [False, True])
@pytest.mark.parametrize("window", [None, 5, 40])
@pytest.mark.parametrize("tile", [16, 32, 64])
def test_tiled_attention_equals_the_formula(window: int | None, tile: int, by_shape: bool):
    """Pitfall 17: outputs and gradients of the tiles against softmax(Q K^T / sqrt(d)) V, a query at a time."""
    config = tiny.network().config
    documents = torch.tensor([[0] * 30 + [1] * 10 + [2] * 24, [0] * 64])
    positions = torch.tensor([[*range(30), *range(10), *range(24)], [*range(64)]])
    joint = torch.randn(128, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    turn = rotation(config, positions, torch.float64)
    wanted = formula(joint, documents, window, turn)
    tiles = TiledAttention(config, positions, window, turn, torch.float64, by_shape, tile)
    with torch.no_grad():
        query, key, value = tiles.split(joint)
        torch.testing.assert_close(tiles.forward(query, key, value), wanted, rtol=1e-10, atol=1e-10)
        towards = torch.randn(wanted.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        made = tiles.backward(towards, query, key, value)
    (expected,) = torch.autograd.grad(wanted, joint, towards)
    torch.testing.assert_close(made, expected, rtol=1e-10, atol=1e-10)


def formula(joint: Tensor, documents: Tensor, window: int | None, turn: tuple[Tensor, Tensor]) -> Tensor:
    """Attention of 4 heads over 2 key heads of 8 dimensions, a query at a time."""
    cos, sin = (torch.cat([table, table], dim=-1)[:, 0] for table in turn)
    apart = joint.view(2, 64, 8, 8)

    def turned(x: Tensor) -> Tensor:
        first, second = x.chunk(2, dim=-1)
        return x * cos[:, :, None] + torch.cat([-second, first], dim=-1) * sin[:, :, None]

    query, key, value = turned(apart[:, :, :4]), turned(apart[:, :, 4:6]), apart[:, :, 6:]
    mixed = []
    for row in range(2):
        for at in range(64):
            seen = [
                back
                for back in range(at + 1)
                if documents[row, back] == documents[row, at] and (window is None or at - back < window)
            ]
            mixed.append(
                torch.cat(
                    [
                        torch.softmax(key[row, seen, head // 2] @ query[row, at, head] / 8**0.5, dim=0)
                        @ value[row, seen, head // 2]
                        for head in range(4)
                    ]
                )
            )
    return torch.stack(mixed)


@pytest.mark.skipif(unavailable() is not None, reason=str(unavailable()))
@pytest.mark.parametrize("recompute", [False, True], ids=["kept", "recomputed"])
@pytest.mark.parametrize(
    "kind", ["adapters", "whole", "normed heads", "wide heads", "1 + weight, GELU, as Gemma has them"]
)
def test_passes_in_one_give_the_gradients_of_pytorchs(kind: str, recompute: bool, monkeypatch: pytest.MonkeyPatch):
    settings = {"head_dim": 32} if kind == "wide heads" else KINDS.get(kind, {})
    network = (adapted() if kind == "adapters" else tiny.network(**settings)).train()
    network = fused(network.requires_grad_(True) if kind != "adapters" else network, recompute)
    asked: list[str] = []
    plain = between.Kernels

    class Watched(plain):  # type: ignore[misc, valid-type]
        def __getattribute__(self, name: str) -> Any:
            asked.append(name)
            return super().__getattribute__(name)

    def found(fewest: int) -> list[Tensor]:
        monkeypatch.setattr(between, "FEWEST", fewest)
        trained = [one for one in network.parameters() if one.requires_grad]
        loss = CausalLM()(network, packed((20, 9))).mean
        return [loss.detach(), *torch.autograd.grad(loss, trained)]

    wanted = found(1 << 62)
    monkeypatch.setattr(between, "Kernels", Watched)
    between._kernels.cache_clear()
    try:
        made = found(1)
    finally:
        between._kernels.cache_clear()
    gemma = "GELU" in kind  # whose norms begin at 0 and whose gate is no silu
    assert {"softmax"} | (set() if gemma else {"norm", "gate", "gate_back"}) <= set(asked)
    assert ("turn" in asked) == (kind == "wide heads")  # others' halves are no whole vectors
    assert ("norm_back" in asked) == (kind == "adapters")  # a norm's own gradient is PyTorch's
    for one, other in zip(made, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
