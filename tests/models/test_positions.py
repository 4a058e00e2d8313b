"""Positional encodings that a file adds: found by their name, and run in every way that the network's own are."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from torch import Tensor

from lmworks.basics import declared
from lmworks.basics.errors import ConfigError
from lmworks.inside.backward import span_backward
from lmworks.inside.jacobians import blocks_at
from lmworks.models import positions
from lmworks.models.config import ModelConfig
from lmworks.models.network import Network, run_plainly
from lmworks.models.positions.encoding import encodings
from lmworks.training.by_hand.fused_block import use_fused_blocks

SOMETIMES = """
from pydantic import Field

from lmworks.basics.config import Config
from lmworks.models.positions.rope import RotaryPositions


class Settings(Config):
    every: int = Field(default=2, gt=1)


class Sometimes(RotaryPositions):
    name = "sometimes"
    settings = Settings

    def rotates_in(self, config, layer):
        return (layer + 1) % config.position_settings.every != 0


SOMETIMES = Sometimes()
"""
LOGARITHMIC = '''
import torch
from torch import nn

from lmworks.models.positions.encoding import PositionalEncoding


class Slopes(nn.Module):
    def __init__(self, heads):
        super().__init__()
        self.slope = nn.Parameter(torch.ones(heads))


class Logarithmic(PositionalEncoding):
    """Scores fall with the logarithm of the distance, by a learned slope of each head."""

    name = "logarithmic"
    acts_on = "scores"
    weights = ("slope",)

    def part(self, config):
        return Slopes(config.heads)

    def bias(self, config, part, distances):
        return -part.slope[None, :, None, None] * torch.log1p(distances.abs()[:, None].float())


LOGARITHMIC = Logarithmic()
'''
SHAPE: dict[str, Any] = {"family": "lmworks", "vocab_size": 96, "dim": 32, "layers": 4, "heads": 4, "context": 128}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose files count as files of lmworks/models/positions."""
    (tmp_path / "sometimes.py").write_text(SOMETIMES)
    (tmp_path / "logarithmic.py").write_text(LOGARITHMIC)
    monkeypatch.setattr(positions, "__path__", [*positions.__path__, str(tmp_path)])
    declared._found.cache_clear()
    yield tmp_path
    declared._found.cache_clear()
    for name in ("sometimes", "logarithmic"):
        sys.modules.pop(f"lmworks.models.positions.{name}", None)


def test_a_name_that_nothing_declares_is_an_error_with_the_list():
    with pytest.raises(ConfigError, match=r"^positions is 'ropee'; take one of alibi, learned, learned_relative, "):
        ModelConfig(**SHAPE, positions="ropee")


def test_every_encoding_has_the_name_that_it_is_found_by():
    assert list(encodings()) == ["alibi", "learned", "learned_relative", "none", "relative", "rope", "sinusoidal"]


def test_the_settings_of_an_encoding_are_made_checked_and_kept(folder: Path):
    config = ModelConfig(**SHAPE, positions="sometimes")
    assert config.model_dump(mode="json")["position_settings"] == {"every": 2}
    other = ModelConfig(**SHAPE, positions="sometimes", position_settings={"every": 3})
    assert other != config and other.but(layers=5).position_settings == other.position_settings
    assert ModelConfig(**other.model_dump(mode="json")) == other
    with pytest.raises(ConfigError, match=r"^position_settings\.evry is not a setting; did you mean .*\.every\?"):
        ModelConfig(**SHAPE, positions="sometimes", position_settings={"evry": 3})
    with pytest.raises(ConfigError, match=r"^position_settings is 3, and positions = 'sometimes' takes a table"):
        ModelConfig(**SHAPE, positions="sometimes", position_settings=3)
    with pytest.raises(ConfigError, match=r"and positions = 'rope' has no settings of its own; leave it out"):
        other.but(positions="rope")


def test_settings_of_the_rotation_belong_to_both_encodings_that_read_them(folder: Path):
    assert ModelConfig(**SHAPE, positions="sometimes", rope_theta=5e5).rope_theta == 5e5
    with pytest.raises(ConfigError, match=r"rope_theta \(500000.0\) is for positions = 'rope' or 'sometimes'"):
        ModelConfig(**SHAPE, positions="none", rope_theta=5e5)


def made(name: str, **settings: object) -> Network:
    network = Network(ModelConfig(**SHAPE, positions=name, **settings)).double()
    tiny.randomise(network)
    return network.eval()


@pytest.mark.parametrize("name", ["sometimes", "logarithmic"])
@torch.no_grad()
def test_a_cache_changes_nothing(folder: Path, name: str):
    network, tokens = made(name), tiny.text(2, 20)
    mask = torch.ones(2, 20, dtype=torch.bool)
    mask[1, :6] = False
    cache = network.new_cache(2)
    parts = [network(tokens[:, at], mask[:, at], cache=cache) for at in (slice(0, 11), slice(11, 12), slice(12, 20))]
    torch.testing.assert_close(torch.cat(parts, dim=1)[mask], network(tokens, mask)[mask])


@torch.no_grad()
def test_only_the_layers_that_it_names_rotate(folder: Path):
    network = made("sometimes")
    seen = network.run_with_cache(tiny.text(1, 12))[1]
    for layer, block in enumerate(network.blocks):
        joint = block.attention.qkv(block.attention_norm(seen[f"blocks.{layer}.residual_in"]))
        projected = joint[..., :32].unflatten(-1, (4, 8)).transpose(1, 2)
        query = seen[f"blocks.{layer}.attention.query"]
        assert torch.allclose(query, projected) == (layer in (1, 3))


def test_hand_written_blocks_give_autograds_gradients(folder: Path):
    network, tokens = made("sometimes"), tiny.text(2, 32)

    def gradients() -> dict[str, Tensor]:
        network.zero_grad()
        (network.hidden(tokens).square() * torch.arange(32)[None, :, None]).sum().backward()
        return {name: one.grad for name, one in network.named_parameters() if one.grad is not None}

    network.train().run_block = run_plainly
    wanted = gradients()
    assert use_fused_blocks(network)
    for name, gradient in gradients().items():
        torch.testing.assert_close(gradient, wanted[name], rtol=1e-8, atol=1e-8)


def test_the_backward_pass_that_is_written_out_gives_autograds_gradients(folder: Path):
    network = made("sometimes")
    span = blocks_at(network, tiny.text(1, 9), 0, 4)
    change = torch.randn(span.x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(span_backward(span, change)[0], span.vjp(change))


def test_the_compiled_path_runs_it(folder: Path):
    pytest.importorskip("numba")
    from lmworks.kernels import compiled, unavailable, uncovered
    from lmworks.kernels.packing import unpacked

    if (reason := unavailable()) is not None:
        pytest.skip(reason)
    shape = SHAPE | {"dim": 64, "head_dim": 16, "hidden_dim": 96}
    network = Network(ModelConfig(**shape, positions="sometimes"))
    tiny.randomise(network)
    network.eval().requires_grad_(False)
    engine, same = compiled(network, 8), copy.deepcopy(network)
    with torch.no_grad():
        for name, weight in same.named_parameters():
            if name in engine.weights.matrices:
                weight.copy_(unpacked(engine.weights.matrices[name]))
        tokens = tiny.text(1, 90)
        got, wanted = engine.hidden(tokens, None, None), same.hidden(tokens)
        rotated = Network(same.config.but(positions="rope", position_settings=None)).eval()
        rotated.load_state_dict(same.state_dict())
        assert (got - wanted).norm() < 0.1 * wanted.norm() < (rotated.hidden(tokens) - wanted).norm()
        assert "has no logarithmic positions" in str(uncovered(made("logarithmic").float().requires_grad_(False)))


SAVES = """
import sys

import torch

import lmworks.models.positions as positions

positions.__path__.append(sys.argv[1])

import tiny
from lmworks.models.files.directory import read_network, write_network
from lmworks.models.network import Network
from lmworks.models.config import ModelConfig
from pathlib import Path

network = Network(ModelConfig(**{shape!r}, positions="logarithmic"))
tiny.randomise(network)
folder = Path(sys.argv[1]) / "model"
folder.mkdir()
write_network(folder, network)
again = read_network(folder, None)
assert torch.equal(again.position.slope, network.position.slope) and again.config == network.config
assert "position.slope" in network.state_dict()
"""


def test_weights_that_it_learns_are_saved_and_read(folder: Path):
    tests = Path(__file__).parents[1]
    command = [sys.executable, "-c", SAVES.replace("{shape!r}", repr(SHAPE)), str(folder)]
    environment = os.environ | {"PYTHONPATH": f"{tests.parent}{os.pathsep}{tests}"}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_dynamic_scaling_of_one_pair_is_refused():
    """Its exponent divides by the dimensions beyond that pair."""
    small: dict[str, Any] = {"vocab_size": 16, "context": 16, "dim": 8, "layers": 1, "heads": 2, "kv_heads": 2}
    scaling = {"kind": "dynamic", "factor": 2.0}
    with pytest.raises(ConfigError, match="dynamic needs more than 2 dimensions that turn"):
        ModelConfig(**small, hidden_dim=8, rotary_dim=2, rope_scaling=scaling)
    assert ModelConfig(**small, hidden_dim=8, rope_scaling=scaling).rotates
