"""Classes of texts by NumPy beside the network's own, and a kept cross-encoder that needs no PyTorch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch

pytest.importorskip("numba")

from test_keeping import keep_small

import lmworks as lm
from lmworks.basics.files import cache_folder
from lmworks.kernels import CompiledRunner, unavailable
from lmworks.kernels.text_classifier import TextClassifier

if unavailable() is not None:
    pytest.skip(str(unavailable()), allow_module_level=True)

SHAPE: dict[str, object] = {
    "arrangement": "encoder",
    "labels": ("a", "b", "c"),
    "norm": "layer",
    "norm_place": "after",
    "family": "bert",
}
SHAPE |= {"positions": "learned", "segments": 2, "embedding_norm": "layer", "gated": False, "activation": "gelu"}
SHAPE |= {"qkv_bias": True, "output_bias": True, "feed_forward_bias": True, "context": 64}
SHAPE |= {"dim": 64, "heads": 4, "kv_heads": 4, "head_dim": 16, "hidden_dim": 96}
KINDS: dict[str, dict[str, object]] = {
    "pooler": {"pooler": True},
    "relu": {"pooler": True, "pooler_activation": "relu"},
    "no pooler": {},
    "mean": {"text_state": "mean", "pooler": True},
}


def runner_of(**settings: object) -> CompiledRunner:
    """A classifier's."""
    network = tiny.network(**(SHAPE | settings)).requires_grad_(False)
    if network.classifier is not None:
        network.classifier.bias.normal_()
    return CompiledRunner(network, 8)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_classes_of_states_are_those_of_the_network(kind: str):
    runner = runner_of(**KINDS[kind])
    found = TextClassifier.of(runner.config, runner.compiled.weights.vectors)
    assert found is not None
    states = torch.randn(3, 9, runner.config.dim, generator=torch.Generator().manual_seed(0))
    real = torch.arange(9) < torch.tensor([[9], [4], [1]])
    real[1, :2] = False  # padding on the left
    expected = runner.network.classify(states, real)
    torch.testing.assert_close(torch.from_numpy(found(states.numpy(), real.numpy())), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("settings", [{}, {"pooler": True, "pooler_activation": "gelu"}], ids=["numpy", "pytorch"])
def test_a_runner_tells_classes_whoever_reads_and_whoever_tells(settings: dict[str, object]):
    """On the compiled path by NumPy or by PyTorch's classifier, and by PyTorch alone once the network changed."""
    runner = runner_of(**settings)
    assert (runner._classifier is None) is bool(settings)
    tokens = tiny.text(2, 9).numpy()
    mask = np.ones(tokens.shape, bool)
    mask[1, 5:] = False
    expected = runner.plain.classes(tokens, mask, exact=True)
    assert expected.shape == (2, 3)
    away = runner.classes(tokens, mask) - expected
    assert np.linalg.norm(away) < 0.05 * np.linalg.norm(expected)
    runner.network.classifier.weight.mul_(-2)  # type: ignore[union-attr]
    turned = runner.classes(tokens, mask, exact=True)
    bias = runner.network.classifier.bias.numpy()  # type: ignore[union-attr]
    np.testing.assert_allclose(turned - bias, -2 * (expected - bias), rtol=1e-4, atol=1e-5)


SCORES = """
import sys

import lmworks as lm

model = lm.load(sys.argv[1])
print(model.scores([("who?", "she did"), ("who?", "it rained")]).tolist())
print("torch" in sys.modules)
"""


def test_a_kept_cross_encoder_scores_pairs_without_pytorch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    kernels = cache_folder("kernels")
    keep_small(tmp_path, monkeypatch)
    (tmp_path / "cache").mkdir(exist_ok=True)
    (tmp_path / "cache" / "kernels").symlink_to(kernels)
    folder = tiny.language_model(**(SHAPE | {"pooler": True, "labels": ("relevance",)})).save(tmp_path / "cross")
    scores = lm.load(folder).scores([("who?", "she did"), ("who?", "it rained")])
    assert scores[0] != scores[1]
    ran = subprocess.run([sys.executable, "-c", SCORES, str(folder)], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == [str(scores.tolist()), "False"]
