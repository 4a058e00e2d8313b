"""Encoder-decoders on their tapes beside PyTorch: sources, what decoders attend to of them, beams, batches, caches."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("numba")

import tiny
from gguf import GGMLQuantizationType as Kind
from models.files.test_gguf import write
from test_engine import apart, beside_its_tape, scattered_outliers  # noqa: F401 (used for every test)
from test_keeping import keep_small

from lmworks.basics import progress
from lmworks.basics.errors import ConfigError
from lmworks.basics.files import cache_folder
from lmworks.generation.engine import Engine
from lmworks.generation.guessing import Lookup
from lmworks.generation.scoring import target_logprobs
from lmworks.generation.strategies import Beam, Greedy, Sample
from lmworks.kernels import CompiledRunner, compiled, unavailable
from lmworks.kernels.keeping import Keeper
from lmworks.kernels.outlier_search import outliers
from lmworks.kernels.packer import Packer
from lmworks.kernels.packing import unpacked
from lmworks.kernels.pages import PagedCache
from lmworks.language_model import LanguageModel
from lmworks.models.files.gguf import read_gguf_network
from lmworks.models.files.gguf_file import GGUFFile
from lmworks.models.files.gguf_groups import StoredInGGUF
from lmworks.models.memory import Memory
from lmworks.models.network import Network
from lmworks.models.torch_runner import TorchRunner
from lmworks.tokens.source import target_start

if unavailable() is not None:
    pytest.skip(str(unavailable()), allow_module_level=True)

from lmworks.kernels.run.network import CompiledNetwork

SHAPE = {"dim": 64, "heads": 4, "kv_heads": 4, "head_dim": 16, "hidden_dim": 96, "context": 256}
SHAPE |= {"arrangement": "encoder-decoder", "encoder_layers": 3}
BIASES = {"norm": "layer", "gated": False, "qkv_bias": True, "output_bias": True, "feed_forward_bias": True}
MARIAN = BIASES | {"norm_place": "after", "positions": "sinusoidal", "activation": "relu", "scale_embedding": True}
KINDS: dict[str, dict[str, object]] = {
    "marian": MARIAN | {"head_bias": True},
    "bart": MARIAN | {"positions": "learned", "position_offset": 2, "embedding_norm": "layer", "activation": "gelu"},
    "pegasus": MARIAN | {"norm_place": "before"},
    "m2m_100": MARIAN | {"norm_place": "before", "waves_include_end": True, "position_offset": 2},
    "t5": {
        "positions": "relative",
        "relative_buckets": 8,
        "relative_distance": 20,
        "gated": False,
        "activation": "relu",
    }
    | {"attention_scale": 0.3, "head_scale": 0.125},
    "mt5": {"positions": "relative", "relative_distance": 70, "activation": "gelu_tanh", "tied": False},
    "with windows": MARIAN | {"norm_place": "before", "window": 7, "window_layers": (1,)},
    "own": {"kv_heads": 2, "head_dim": 32, "qk_norm": True, "tied": False, "gated": False, "residual_scale": 0.5}
    | {"attention_scale": 0.2, "attention_cap": 2.0, "encoder_layers": None, "norm_eps": 0.05},
}
ERROR = 0.05
"""Relative error of a stack's states that activations in 8 bits leave; 0.01 to 0.045 are seen."""


def both(kind: str) -> tuple[Network, CompiledNetwork]:
    """A network of this kind beside its tape."""
    return beside_its_tape(tiny.network(**(SHAPE | KINDS[kind])).requires_grad_(False))


def running(kind: str = "marian", **others: object) -> CompiledRunner:
    """A network's runner."""
    return CompiledRunner(tiny.network(**(SHAPE | KINDS[kind] | others)).requires_grad_(False), 8)


def sources(*sizes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Random texts of these sizes, padded on the right."""
    longest = max(sizes)
    tokens = tiny.text(len(sizes), longest, seed=seed).numpy()
    return tokens, np.arange(longest) < np.array(sizes)[:, None]


def after(runner: CompiledRunner, rows: Sequence[tuple[np.ndarray, Sequence[int]]]) -> list[np.ndarray]:
    """The logits after each text behind its source, each by itself."""
    found = []
    for source, text in rows:
        cache = runner.new_cache(1, memory=runner.encode(source[None]))
        found.append(runner.next_logits(np.array([text]), cache)[0])
    return found


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_states_and_logits_are_those_of_the_network(kind: str):
    """Of either stack: what the encoder's rounding moves, a decoder of random weights makes twice as large."""
    same, engine = both(kind)
    (tokens, real), written = sources(150, 41), tiny.text(2, 90, seed=5)
    source, mask = torch.from_numpy(tokens), torch.from_numpy(real)
    assert engine.encoder is not None and same.encoder is not None
    states, memory = engine.encoder.hidden(source, mask, None), same.encode(source, mask)
    assert apart(states[mask], memory.states[mask]) < ERROR
    cache = engine.new_cache(2, memory=engine.encode(tokens, real))
    hidden, expected = engine.hidden(written, None, cache), same.hidden(written, memory=Memory(states, mask))
    assert apart(hidden, expected) < ERROR
    assert (hidden - expected).norm(dim=-1).max() < 3 * ERROR * expected.norm(dim=-1).mean()
    others = same.hidden(written, memory=Memory(states.flip(0), mask.flip(0)))
    assert apart(others, expected) > 2 * ERROR, "the source makes no difference, and the test says nothing"
    assert apart(engine.logits(expected), same.logits(expected)) < 0.02


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_caches_parts_and_neighbours_change_nothing_to_the_bit(kind: str):
    """Past the border of a page, with sources of several pages."""
    runner, (tokens, real), written = running(kind), sources(70, 200, 1), tiny.text(3, 130, seed=5)
    caches = [runner.new_cache(3, memory=runner.encode(tokens, real)) for _ in range(3)]
    whole = runner.hidden(written, cache=caches[0])
    parts = [runner.hidden(part, cache=caches[1]) for part in written.split([60, 1, 1, 67, 1], dim=1)]
    assert torch.equal(torch.cat(parts, dim=1), whole)
    runner.read(written[:, :40].numpy(), caches[2])
    runner.next_logits(written[:, 40:129].numpy(), caches[2])
    last = runner.next_logits(written[:, 129:].numpy(), caches[2])
    assert np.array_equal(last, runner.logits(whole[:, -1]).numpy())
    rows = [(tokens[row, : real[row].sum()], written[row].tolist()) for row in range(3)]
    assert np.array_equal(np.stack(after(runner, rows)), last)


@torch.no_grad()
def test_rows_that_leave_become_more_or_join_keep_their_sources():
    runner, (tokens, real), (other, _) = running(), sources(70, 9, 30), sources(12, seed=3)
    cache = runner.new_cache(3, memory=runner.encode(tokens, real))
    runner.read(np.array([[1, 2, 3]] * 3), cache)
    held = cache.bytes
    cache.keep([2, 0, 0])
    aside = cache.fork([1])
    assert cache.bytes < held and aside.bytes < cache.bytes
    late = runner.new_cache(1, memory=runner.encode(other))
    runner.read(np.array([[4]]), late)
    cache.join(late)
    cache.keep([3, 0, 1, 2])
    logits = runner.next_logits(np.array([[5], [6], [7], [8]]), cache)
    alone = runner.next_logits(np.array([[7]]), aside)
    rows = [(other[0], [4, 5]), (tokens[2, :30], [1, 2, 3, 6]), (tokens[0], [1, 2, 3, 7]), (tokens[0], [1, 2, 3, 8])]
    assert np.array_equal(logits, np.stack(after(runner, rows)))
    assert np.array_equal(alone[0], logits[2])


def model_of(kind: str = "marian", **others: object) -> LanguageModel:
    """A model that reads bytes, compiled."""
    settings = SHAPE | KINDS[kind] | {"context": 400} | others
    model = tiny.language_model(seed=4, **settings)
    model.runner = CompiledRunner(model.network.requires_grad_(False), 8)
    return model


ASKED = {
    "greedy": Greedy(min_new_tokens=30),
    "drawn": Sample(seed=3, min_new_tokens=30),
    "beams": Beam(width=4, min_new_tokens=10),
    "groups": Beam(width=4, groups=2, diversity_penalty=0.5),
}


def test_what_is_written_does_not_depend_on_those_beside_it():
    model, texts = model_of(), ["Guten Tag", "a" * 300, "x", "wie geht es"]
    alone = [model.generate(text, one, max_new_tokens=40) for text, one in zip(texts, ASKED.values(), strict=True)]
    together = model.generate_batch(texts, list(ASKED.values()), max_new_tokens=40)
    with Engine(model, seats=10) as engine:
        handles = [engine.submit(text, one, max_new_tokens=40) for text, one in zip(texts, ASKED.values(), strict=True)]
        served = [handle.answer(60) for handle in handles]
    for one, other, third in zip(alone, together, served, strict=True):
        assert one.tokens == other.tokens == third.tokens and one.logprobs == other.logprobs
        assert [each.tokens for each in one.others] == [each.tokens for each in other.others]
    guessed = model.generate(texts[0], ASKED["greedy"], max_new_tokens=40, guess=Lookup(match=1))
    assert guessed.tokens == alone[0].tokens


def test_scores_of_beams_are_those_that_pytorch_gives_the_same_targets():
    model = model_of()
    answer = model.generate("Guten Tag", Beam(width=3), max_new_tokens=20)
    source, plain = model.encode_prompt("Guten Tag"), LanguageModel(copy.deepcopy(model.network), model.tokenizer)
    target = [target_start(model.tokenizer), *answer.tokens]
    scored, expected = (target_logprobs(one.runner, source, target) for one in (model, plain))
    assert answer.logprobs == pytest.approx(scored, abs=1e-4)
    assert scored == pytest.approx(expected, abs=0.2) and scored != expected
    best = plain.generate("Guten Tag", Beam(width=3), max_new_tokens=20)
    assert answer.score == pytest.approx(best.score, abs=0.1)


@torch.no_grad()
def test_a_full_seat_holds_what_is_told_as_the_most():
    model = model_of(context=256)
    with Engine(model, seats=1) as engine:
        most = engine.most_cache_bytes
    cache = model.runner.new_cache(1, memory=model.runner.encode(*sources(256)))
    model.runner.read(np.full((1, 256), 3), cache)
    assert cache.bytes == most


def test_a_source_is_read_once_whatever_the_beams(monkeypatch: pytest.MonkeyPatch):
    model, seen = model_of(), []
    encode = CompiledNetwork.encode
    monkeypatch.setattr(CompiledNetwork, "encode", lambda *args: seen.append(args[1].shape) or encode(*args))
    monkeypatch.setattr(Network, "encode", lambda *_: pytest.fail("PyTorch encodes"))
    model.generate_batch(["one", "three", "a"], Beam(width=4), max_new_tokens=12)
    assert seen == [(3, 6)]


@pytest.mark.filterwarnings("ignore:the network is not what was compiled")
@torch.no_grad()
def test_where_the_network_changes_pytorch_encodes_and_old_sources_are_refused():
    runner, (tokens, real) = running(), sources(12, 5)
    old = runner.encode(tokens, real)
    assert isinstance(old, PagedCache)
    before = runner.weights_version
    runner.network.encoder.blocks[1].attention.output.weight.mul_(2)  # type: ignore[union-attr]
    memory = runner.encode(tokens, real)
    assert isinstance(memory, Memory) and before != runner.weights_version
    assert runner.next_logits(np.array([[1], [1]]), runner.new_cache(2, memory=memory)).shape == (2, 96)
    with pytest.raises(ConfigError, match="make a new cache"):
        runner.new_cache(2, memory=old)


def test_a_compiled_path_that_fails_while_it_encodes_goes_on_in_pytorch(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(progress, "_said", set())
    model = model_of()
    assert model.runner.compiled.encoder is not None
    monkeypatch.setattr(model.runner.compiled.encoder.workspace, "run", lambda *_: 1 / 0)
    with pytest.warns(UserWarning, match="the compiled path failed .* PyTorch"):
        answer = model.generate("Guten Tag", Beam(width=3), max_new_tokens=20)
    model.runner = TorchRunner(model.network)
    assert answer.tokens == model.generate("Guten Tag", Beam(width=3), max_new_tokens=20).tokens


def test_what_does_not_fit_is_one_sentence():
    runner, (tokens, real) = running(), sources(12, 5)
    with pytest.raises(ConfigError, match="holds 2 sources for 3 rows"):
        runner.new_cache(3, memory=runner.encode(tokens, real))
    with pytest.raises(ConfigError, match="attends to a source"):
        runner.read(tokens, runner.new_cache(2))
    with pytest.raises(ConfigError, match="attends to a source"):
        runner.hidden(torch.from_numpy(tokens))
    with pytest.raises(ConfigError, match="a source has no tokens"):
        runner.encode(tokens, real & (np.arange(2)[:, None] == 0))
    with pytest.raises(ConfigError, match="a source has no tokens"):
        runner.encode(tokens[:0])
    with pytest.raises(ConfigError, match="vocabulary has 96"):
        runner.encode(tokens + 90, real)
    with pytest.raises(ConfigError, match="257 tokens and the network has learned 256"):
        runner.encode(*sources(257))
    decoder = CompiledRunner(tiny.network(dim=64, hidden_dim=96, head_dim=16).requires_grad_(False), 8)
    with pytest.raises(ConfigError, match="no second stack"):
        decoder.encode(tokens, real)
    with pytest.raises(ConfigError, match="attends to no source"):
        decoder.new_cache(2, memory=runner.encode(tokens, real))
    assert isinstance(runner.encode([[1, 2, 3]], [[True, True, False]]), PagedCache), "lists are taken, too"
    assert runner.new_prefixes(2**20) is None, "what a target's beginning holds hangs on its source"


@torch.no_grad()
def test_outliers_are_found_in_both_stacks():
    plain = tiny.network(**(SHAPE | KINDS["marian"])).requires_grad_(False)
    plain.encoder.blocks[-1].feed_forward_norm.weight[7] = 60.0  # type: ignore[union-attr, index]
    found = outliers(plain)
    assert 7 in found["blocks.1.cross_attention.kv.weight"]
    assert "blocks.0.cross_attention.query.weight" in found and "encoder.blocks.1.attention.qkv.weight" in found


@torch.no_grad()
def test_a_t5_file_runs_in_its_own_bits(tmp_path: Path):
    """With 32 heads, as their biases are stored in groups of 32 here."""
    shape = {"family": "t5", "dim": 64, "heads": 32, "kv_heads": 32, "head_dim": 16, "hidden_dim": 96, "layers": 2}
    shape |= {"arrangement": "encoder-decoder", "positions": "relative", "attention_scale": 1.0, "tied": False}
    made = tiny.network(**shape)
    for name, weight in made.named_parameters():  # as small as T5's, which divides no scores
        weight.mul_(0.3 if name.endswith(("query.weight", "kv.weight", "qkv.weight")) else 1.0)
    write(tmp_path / "t5.gguf", made, Kind.Q8_0)
    file = GGUFFile(tmp_path / "t5.gguf")
    network = read_gguf_network(file, torch.float32).eval().requires_grad_(False)
    engine = compiled(network, 8, StoredInGGUF(file, network.config))
    for name, matrix in engine.weights.matrices.items():
        assert torch.equal(unpacked(matrix), network.get_parameter(name)), name
    assert "encoder.blocks.1.attention.qkv.weight" in engine.weights.matrices
    tokens, written = tiny.text(1, 20), tiny.text(1, 12, seed=1)
    hidden = engine.hidden(written, None, engine.new_cache(1, memory=engine.encode(tokens.numpy(), None)))
    assert apart(hidden, network.hidden(written, memory=network.encode(tokens))) < ERROR


WRITES = """
import sys
from pathlib import Path

import numpy as np

from lmworks.kernels import CompiledRunner
from lmworks.kernels.keeping import Keeper
from lmworks.models.config import ModelConfig
from lmworks.models.later_network import LaterNetwork

folder = Path(sys.argv[1])
config = ModelConfig.model_validate_json((folder / "config").read_text())
kept = Keeper(folder, [folder / "weights"]).opened(config, 8)
runner = CompiledRunner(LaterNetwork(config, lambda: 1 / 0), 8, kept=kept)
cache = runner.new_cache(1, memory=runner.encode(np.array([[1, 2, 3]])))
print(runner.next_logits(np.array([[4, 5]]), cache).argmax(), "torch" in sys.modules)
"""


@pytest.mark.parametrize("kind", ["marian", "t5"])
def test_what_is_kept_reads_a_source_and_writes_without_pytorch(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    runner, kernels = running(kind), cache_folder("kernels")
    keep_small(tmp_path, monkeypatch)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "kernels").symlink_to(kernels)
    (tmp_path / "weights").touch()
    (tmp_path / "config").write_text(runner.config.model_dump_json())
    assert Keeper(tmp_path, [tmp_path / "weights"]).kept(Packer(runner.network, 8)) is not None
    cache = runner.new_cache(1, memory=runner.encode(np.array([[1, 2, 3]])))
    expected = runner.next_logits(np.array([[4, 5]]), cache).argmax()
    ran = subprocess.run([sys.executable, "-c", WRITES, str(tmp_path)], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == [str(expected), "False"]
