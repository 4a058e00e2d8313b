"""Networks with experts on their tape beside PyTorch: which experts are chosen, and what comes of it. What holds of
every network (caches, batches, adapters, helpers) is in test_engine.py and test_team.py, with experts among their
kinds."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

pytest.importorskip("numba")

from frames import Bench, address, numbers
from test_engine import beside_its_tape, scattered_outliers  # noqa: F401 (used for every test)
from test_forms import mixed_file
from tiny import network, randomise, text

from lmworks.basics import progress
from lmworks.kernels import CompiledRunner, compiled, unavailable, uncovered
from lmworks.kernels.footprint import Footprint
from lmworks.kernels.packing import unpacked
from lmworks.kernels.run.weights import is_multiplied
from lmworks.models.config import ExpertSettings, RopeScaling
from lmworks.models.experts import Router, expert_layers
from lmworks.models.files.compressed_groups import StoredInDirectory
from lmworks.models.files.directory import read_network, write_network
from lmworks.models.files.gguf import read_gguf_network
from lmworks.models.files.gguf_file import GGUFFile
from lmworks.models.files.gguf_groups import StoredInGGUF
from lmworks.models.hooks import hook_points, hooked
from lmworks.models.network import Network
from lmworks.models.unread import peek, peeked, present, unread_of

if unavailable() is not None:
    pytest.skip(str(unavailable()), allow_module_level=True)

from lmworks.kernels.operations.route import Route
from lmworks.kernels.operations.score import Score
from lmworks.kernels.run.library import library
from lmworks.kernels.run.network import CompiledNetwork

SHAPE = {"dim": 64, "heads": 4, "kv_heads": 2, "head_dim": 16, "hidden_dim": 96, "context": 256, "tied": False}
KINDS: dict[str, dict[str, object]] = {
    "mixtral": {"experts": ExpertSettings(count=6, top_k=2)},
    "olmoe": {"experts": ExpertSettings(count=16, top_k=4, normalised=False), "qk_norm": True, "qk_norm_over": "row"},
    "qwen3_moe": {
        "experts": ExpertSettings(count=20, top_k=5, hidden_dim=32, layers=(1,)),
        "qk_norm": True,
        "vocab_size": 101,
    },
    "granitemoe": {
        "experts": ExpertSettings(count=5, top_k=2, shared_dim=128),
        "embedding_scale": 3.0,
        "residual_scale": 0.22,
        "head_scale": 0.2,
        "attention_scale": 0.1,
    },
    "qwen2_moe": {
        "experts": ExpertSettings(count=6, top_k=2, hidden_dim=32, shared_dim=64, shared_gate=True, normalised=False),
        "qkv_bias": True,
        "window": 20,
        "window_layers": (0,),
    },
    "a gate and a norm after it": {
        "experts": ExpertSettings(count=5, top_k=2, shared_dim=128, shared_gate=True, layers=(1,)),
        "feed_forward_bias": True,
        "norm_place": "both",
    },
    "gpt_oss": {
        "experts": ExpertSettings(count=6, top_k=2, router_bias=True),
        "feed_forward_bias": True,
        "qkv_bias": True,
        "output_bias": True,
        "activation": "quick_gelu",
        "gate_limit": 0.5,
        "gate_shift": True,
        "sinks": True,
        "window": 20,
        "window_layers": (0,),
        "rope_scaling": RopeScaling(kind="yarn", factor=4.0, original_context=32, truncate=False),
    },
    "glm4_moe": {
        "experts": ExpertSettings(
            count=12,
            top_k=3,
            hidden_dim=32,
            shared_dim=64,
            scores="sigmoid",
            choice_bias=True,
            scale=2.5,
            groups=4,
            top_groups=2,
            layers=(1,),
        ),
        "qk_norm": True,
        "rotary_dim": 16,
        "head_dim": 32,
    },
    "a bias that was trained": {"experts": ExpertSettings(count=5, top_k=2, bias_rate=0.02)},
    "biases": {
        "experts": ExpertSettings(count=7, top_k=3, router_bias=True, scale=2.5),
        "feed_forward_bias": True,
        "gated": False,
        "activation": "gelu",
        "norm_place": "both",
    },
    "all of them": {"experts": ExpertSettings(count=3, top_k=3, normalised=False)},
    "one of them": {"experts": ExpertSettings(count=18, top_k=1, normalised=False)},
}
ERROR = 0.06
"""Relative error of hidden states that activations in 8 bits leave in these random networks; 0.01 to 0.044 are seen."""


def both(kind: str, bits: int = 8) -> tuple[Network, CompiledNetwork]:
    """A network of this kind beside its tape."""
    made = network(**(SHAPE | KINDS[kind])).requires_grad_(False)
    for _, experts in expert_layers(made):
        prefer(experts.router)
    return beside_its_tape(made, bits)


def prefer(router: Router) -> Tensor | None:
    """Biases that change who is chosen, where the router has such: what they come to."""
    if router.settings.choice_bias:
        router.choice_bias.copy_(numbers(router.settings.count, seed=5, scale=0.2))
    if router.settings.bias_rate:
        router.lifts.copy_(numbers(router.settings.count, seed=6, scale=6.0).long())
    return router.preference


def choices(engine: CompiledNetwork, tokens: Tensor) -> Iterator[Tensor]:
    """The experts that the tape chooses in each layer that has some, [tokens, top_k]."""
    engine.hidden(tokens, None, None)  # so that there is room for the tokens, and tapes stay
    whole, number = engine.workspace.tapes, library().numbers[Route]
    for place in (whole.hidden[:, 0] == number).nonzero()[0]:
        engine.workspace.tapes = dataclasses.replace(whole, hidden=whole.hidden[: place + 1].copy())
        engine.hidden(tokens, None, None)
        assert engine.workspace.buffers.routed is not None
        yield torch.from_numpy(engine.workspace.buffers.routed.chosen[: tokens.numel()].copy())
    engine.workspace.tapes = whole


def choosing(monkeypatch: pytest.MonkeyPatch, chosen: Sequence[Tensor]) -> None:
    """Let PyTorch's routers choose these, layer after layer."""
    left = iter(chosen)

    def preferred(_: Router, scores: Tensor) -> Tensor:
        return torch.zeros_like(scores).scatter(1, next(left), 1.0)

    monkeypatch.setattr(Router, "_preferred", preferred)


def chosen_by(router: Router, logits: Tensor) -> Tensor:
    """Each row's experts, in the order of their numbers."""
    return router.choose(logits)[1].sort(-1).values


def apart(one: Tensor, other: Tensor) -> float:
    """Relative to the other's size."""
    return float((one - other).norm() / other.norm())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(2, 90), (1, 1), (3, 1)])
@torch.no_grad()
def test_hidden_states_and_logits_are_those_of_the_same_experts(
    kind: str, shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
):
    same, engine = both(kind)
    tokens = text(*shape, seed=3)
    choosing(monkeypatch, list(choices(engine, tokens)))
    hidden, expected = engine.hidden(tokens, None, None), same.hidden(tokens)
    assert apart(hidden, expected) < ERROR
    assert (hidden - expected).norm(dim=-1).max() < 3 * ERROR * expected.norm(dim=-1).mean()
    assert apart(engine.logits(expected), same.logits(expected)) < 0.02


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_the_experts_are_those_that_pytorch_chooses_where_scores_differ_by_more_than_rounding(kind: str):
    """In the first layer that has some: what later ones read hangs on the choices before."""
    same, engine = both(kind)
    tokens, seen = text(2, 90), []
    first = next(name for name in hook_points(same) if name.endswith("router_logits"))
    with hooked(same, {first: lambda value: seen.append(value.clone())}):
        same.hidden(tokens)
    router = next(expert_layers(same))[1].router
    expected, chosen = chosen_by(router, seen[0]), next(choices(engine, tokens)).sort(-1).values
    noise = (ERROR * seen[0].std(-1, keepdim=True) * numbers(*seen[0].shape, seed=number) for number in range(20))
    same_beside = [(chosen_by(router, seen[0] + one) == expected).all(-1) for one in noise]
    clear = torch.stack(same_beside).all(0)
    assert clear.float().mean() > 0.2
    assert torch.equal(chosen[clear], expected[clear])
    assert len(chosen.unique()) > router.settings.count / 2


ROUTERS: dict[str, dict[str, Any]] = {
    "all": {},
    "sigmoids": {"scores": "sigmoid"},
    "a bias": {"choice_bias": True},
    "a trained bias": {"bias_rate": 0.05, "scores": "sigmoid"},
    "both": {"bias_rate": 0.05, "choice_bias": True},
    "groups": {"groups": 5, "top_groups": 2},
    "groups of sigmoids": {"groups": 10, "top_groups": 9, "scores": "sigmoid", "choice_bias": True},
}


@pytest.mark.parametrize(
    ("count", "kind"),
    [(count, kind) for count in (5, 64, 100) for kind in ROUTERS if count == 100 or not ROUTERS[kind].get("groups")],
)
@pytest.mark.parametrize("normalised", [False, True])
@torch.no_grad()
def test_a_router_chooses_and_weighs_as_pytorchs_does(count: int, kind: str, normalised: bool):
    settings = ExpertSettings(count=count, top_k=4, normalised=normalised, router_bias=True, scale=2.5, **ROUTERS[kind])
    router, x, tokens = Router(96, settings), numbers(37, 96), 37
    randomise(router)
    preference = prefer(router)
    weights, chosen = router.choose(router(x))
    padded = -(-count // 16) * 16
    logits, bias = numbers(tokens, padded, seed=1), torch.cat([router.bias, torch.zeros(padded - count)])
    found, shares = torch.zeros(tokens, 4, dtype=torch.long), torch.zeros(tokens, 4)
    rows = {"logits": address(logits), "logits_stride": 4 * padded, "experts": count}
    score = Score.step(source=address(x), width=96, weights=address(router.weight), **rows)
    choice = {"top_k": 4, "normalised": normalised, "scale": 2.5, "chosen": address(found), "weights": address(shares)}
    choice |= {"sigmoids": settings.scores == "sigmoid", "preference": 0 if preference is None else address(preference)}
    choice |= {"groups": settings.groups, "top_groups": settings.top_groups or 0}
    Bench(tokens, 96).run(score, Route.step(bias=address(bias), **rows, **choice))
    assert torch.equal(found, chosen)
    torch.testing.assert_close(shares, weights, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_a_file_with_experts_runs_as_it_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Gate and up in Q4_K, down in Q6_K, all experts in one tensor; read when they are packed, and not before."""
    path = mixed_file(tmp_path / "m.gguf", family="mixtral", experts=ExpertSettings(count=5, top_k=2))
    file = GGUFFile(path)
    network = read_gguf_network(file, torch.float32, lambda config: is_multiplied).eval()
    for parameter in peeked(network).values():
        parameter.requires_grad_(False)
    assert unread_of(peek(network.blocks[1].feed_forward.experts[4].down, "weight")) is not None
    engine = compiled(network, 8, StoredInGGUF(file, network.config))
    forms = {"up": "q4_k", "down": "q6_k"}
    every = dict(read_gguf_network(file, torch.float32).named_parameters())
    for name, matrix in engine.weights.matrices.items():
        assert torch.equal(unpacked(matrix), every[name]), name
        if ".experts." in name:
            assert [part.form for part in matrix.every] == [forms[name.split(".")[-2]]]
    tokens = text(2, 20)
    choosing(monkeypatch, list(choices(engine, tokens)))
    hidden, expected = engine.hidden(tokens, None, None), network.hidden(tokens)
    each = (hidden - expected).norm(dim=-1) / expected.norm(dim=-1)
    assert each.median() < 0.02, "single tokens stray, also without experts: the file's weights are anything"


@torch.no_grad()
def test_a_bias_that_moves_is_seen(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(progress, "_said", set())
    runner = CompiledRunner(network(**(SHAPE | KINDS["a bias that was trained"])).requires_grad_(False), 8)
    assert runner.stands()
    next(expert_layers(runner.network))[1].router.move_bias(torch.tensor([9, 0, 0, 0, 0]))
    with pytest.warns(UserWarning, match="not what was compiled"):
        assert not runner.stands()
    tokens = text(1, 9)
    assert torch.equal(runner.hidden(tokens), runner.network.hidden(tokens))


def in_mxfp4(folder: Path, seed: int = 0) -> Path:
    """A directory of gpt-oss as it is published: experts in MXFP4, each value by chance, the rest in 16 bits."""
    shape = SHAPE | KINDS["gpt_oss"] | {"family": "gpt_oss", "norm_eps": 1e-5}
    write_network(folder, network(**shape).to(torch.bfloat16))
    file, draws = folder / "model.safetensors", torch.Generator().manual_seed(seed)
    tensors = load_file(file)
    for name in [name for name in tensors if name.endswith(("gate_up_proj", "down_proj"))]:
        experts, inputs, outputs = tensors.pop(name).shape
        tensors |= {
            f"{name}_blocks": torch.randint(0, 256, (experts, outputs, inputs // 32, 16), generator=draws).byte(),
            f"{name}_scales": torch.randint(118, 124, (experts, outputs, inputs // 32), generator=draws).byte(),
        }
    save_file(tensors, file, metadata={"format": "pt"})
    said = json.loads((folder / "config.json").read_text()) | {"quantization_config": {"quant_method": "mxfp4"}}
    (folder / "config.json").write_text(json.dumps(said))
    return folder


@torch.no_grad()
def test_a_directory_in_mxfp4_runs_as_it_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Read when it is packed, an expert after another, and not before; what is not packed there gets 8 bits."""
    folder = in_mxfp4(tmp_path)
    later = read_network(folder, torch.float32, lambda config: is_multiplied).eval()
    for parameter in peeked(later).values():
        parameter.requires_grad_(False)
    assert unread_of(peek(later.blocks[1].feed_forward.experts[4].up, "weight")) is not None
    engine = compiled(later, 8, StoredInDirectory.of(folder, later.config))
    same = read_network(folder, torch.float32).eval()
    for name, weight in same.named_parameters():
        if ".experts." in name and name.endswith("weight"):
            assert [part.form for part in engine.weights.matrices[name].every] == ["mxfp4"]
            assert torch.equal(unpacked(engine.weights.matrices[name]), weight)
            assert torch.equal(present(peeked(later)[name]), weight)
        elif name in engine.weights.matrices:
            assert engine.weights.matrices[name].form == "int8"
            weight.copy_(unpacked(engine.weights.matrices[name]))
    assert Footprint.of(folder).bytes() == pytest.approx(engine.weights.bytes, rel=0.05)
    tokens = text(2, 60)
    choosing(monkeypatch, list(choices(engine, tokens)))
    assert apart(engine.hidden(tokens, None, None), same.hidden(tokens)) < ERROR


@pytest.mark.parametrize(
    ("kind", "part"), [("mixtral", "router"), ("qwen2_moe", "router"), ("qwen2_moe", "shared_gate")]
)
@torch.no_grad()
def test_a_fault_of_the_router_shows(kind: str, part: str):
    plain = network(**(SHAPE | KINDS[kind])).requires_grad_(False)
    next(expert_layers(plain))[1].get_submodule(part).weight[0, 5] = torch.nan
    assert compiled(plain, 8).hidden(text(1, 5), None, None).isnan().all()


@pytest.mark.parametrize(
    ("settings", "others", "reason"),
    [
        ({"shared_dim": 40}, {}, "shared_dim is 40"),
        ({"hidden_dim": 40}, {}, "hidden_dim is 40"),
        ({}, {"norm_place": "result"}, "pre-norm"),
        ({}, {"parallel": True}, "pre-norm"),
    ],
)
def test_other_experts_are_refused_plainly(settings: dict[str, object], others: dict[str, object], reason: str):
    made = network(**(SHAPE | others), experts=ExpertSettings(**({"count": 6} | settings))).requires_grad_(False)
    assert reason in str(uncovered(made))
