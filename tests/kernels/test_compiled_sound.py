"""A network that hears on its tape beside PyTorch: what stands before its encoder, states, logits, what is kept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("numba")

import hearing
from test_engine import apart, beside_its_tape

import lmworks as lm
from lmworks.basics.errors import ConfigError
from lmworks.basics.files import cache_folder
from lmworks.hearing_model import HearingModel
from lmworks.kernels import CompiledRunner, unavailable
from lmworks.models.hearing.front import Front, gelu
from lmworks.models.hearing.network import SoundNetwork
from lmworks.models.memory import Memory

if unavailable() is not None:
    pytest.skip(str(unavailable()), allow_module_level=True)

COVERED = {"dim": 64, "heads": 4, "hidden_dim": 96, "sound_places": 90}
ERROR = 0.05
"""Relative error of a stack's states that activations in 8 bits leave."""


def features(rows: int = 2, seed: int = 0) -> torch.Tensor:
    return 2 * torch.rand(rows, 80, 180, generator=torch.Generator().manual_seed(seed)) - 0.5


def network() -> SoundNetwork:
    made = hearing.model(**COVERED).network
    assert isinstance(made, SoundNetwork)
    return made


def front_of(made: SoundNetwork) -> Front:
    vectors = {name: one.flatten().numpy() for name, one in made.encoder.state_dict().items() if "conv" in name}
    return Front.of(made.config, {name: np.append(one, np.float32(7)) for name, one in vectors.items()})


@torch.no_grad()
def test_convolutions_by_numpy_are_those_of_pytorch():
    made, given = network(), features()
    expected = made.encoder.placed(given).numpy()
    np.testing.assert_allclose(front_of(made)(given.numpy()), expected, rtol=1e-5, atol=1e-5)
    x = torch.linspace(-9, 9, 4001)
    np.testing.assert_allclose(gelu(x.numpy()), torch.nn.functional.gelu(x).numpy(), atol=1e-6)
    with pytest.raises(ConfigError, match=r"features \[batch, 80, 180\]"):
        front_of(made)(np.zeros((1, 80, 181), np.float32))


@torch.no_grad()
def test_logits_after_sound_are_those_of_the_network():
    same, engine = beside_its_tape(network())
    given, written = features(), torch.randint(0, 256, (2, 40), generator=torch.Generator().manual_seed(5))
    cache = engine.new_cache(2, memory=engine.hear(given.numpy()))
    hidden, memory = engine.hidden(written, None, cache), same.encode(given)
    assert apart(hidden, same.hidden(written, memory=memory)) < 2 * ERROR
    others = same.hidden(written, memory=Memory(memory.states.flip(0), None))
    assert apart(others, hidden) > 2 * ERROR, "the sound makes no difference, and the test says nothing"


@torch.no_grad()
def test_sound_beside_other_sound_changes_nothing_to_the_bit():
    runner, given = CompiledRunner(network(), 8), features(3).numpy()
    tokens = np.array([[257], [258], [259]])
    together = runner.next_logits(tokens, runner.new_cache(3, memory=runner.encode(given)))
    for row in range(3):
        alone = runner.new_cache(1, memory=runner.encode(given[row : row + 1]))
        np.testing.assert_array_equal(runner.next_logits(tokens[row : row + 1], alone)[0], together[row])


def test_a_model_runs_compiled_unless_somebody_says_otherwise(tmp_path: Path):
    hearing.model(**COVERED).save(tmp_path / "a")
    compiled, plain = lm.load(tmp_path / "a"), lm.load(tmp_path / "a", compress="none")
    assert isinstance(compiled, HearingModel) and isinstance(plain, HearingModel)
    assert (compiled.runner.name, plain.runner.name) == ("compiled", "PyTorch")
    assert lm.load(tmp_path / "a", dtype="float32").runner.name == "PyTorch"
    logits = []
    for model in (compiled, plain):
        memory = model.hear(hearing.noise(1.5))
        logits.append(model.runner.next_logits(np.array([[257]]), model.runner.new_cache(1, memory=memory))[0])
    assert np.corrcoef(*logits)[0, 1] > 0.999


def test_weights_are_counted_without_making_any():
    for settings in ({}, {"layers": 3, "encoder_layers": None, "mels": 128, "hidden_dim": 32}):
        made = hearing.model(**settings).network
        assert made.config.parameters == sum(one.numel() for one in made.parameters())


def test_what_is_kept_hears_without_pytorch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    kernels = cache_folder("kernels")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "kernels").symlink_to(kernels)
    monkeypatch.setenv("LMWORKS_CACHE", str(tmp_path / "cache"))
    hearing.model(**COVERED).save(tmp_path / "a")
    path = hearing.wav(tmp_path / "a.wav", hearing.noise(1.8))
    script = (
        "import sys, lmworks as lm\n"
        "from lmworks.generation.speech import write_down\n"
        "from lmworks.generation.strategies import Greedy\n"
        "from lmworks.kernels import keeping\n"
        "from lmworks.text.sound.reading import Path, read_sound\n"
        "keeping.LEAST = 0\n"
        f"model = lm.load({str(tmp_path / 'a')!r})\n"
        f"memory = model.hear(read_sound(Path({str(path)!r}), 16_000))\n"
        "given = model.runner, model.tokenizer, memory, model.speech, [model.speech.start], Greedy()\n"
        "print(write_down(*given).tokens)\n"
        "print('torch' in sys.modules, file=sys.stderr)"
    )
    first, again = (
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True) for _ in range(2)
    )
    assert first.stdout == again.stdout and first.stdout.startswith("(")
    assert first.stderr.endswith("True\n") and again.stderr.endswith("False\n")
