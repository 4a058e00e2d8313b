"""`compress`: what runs a loaded model, by one switch; the same calls, whatever it is."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

pytest.importorskip("numba")

import tiny
from tiny import language_model

import lmworks as lm
from lmworks import language_model as language_model_
from lmworks.basics.errors import ConfigError, ModelError
from lmworks.generation.strategies import Beam, Contrastive
from lmworks.kernels import unavailable
from lmworks.kernels.packing import pack, unpacked
from lmworks.models.families import FAMILIES
from lmworks.models.files import directory
from lmworks.models.files.compressed import Compression
from lmworks.models.files.compressed_groups import StoredInDirectory
from lmworks.models.files.directory import write_network
from lmworks.models.files.quantise import from_words

if unavailable() is not None:
    pytest.skip(str(unavailable()), allow_module_level=True)

SHAPE = {"dim": 64, "heads": 4, "kv_heads": 2, "head_dim": 16, "hidden_dim": 96, "context": 128}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model's directory."""
    return language_model(**SHAPE).save(tmp_path_factory.mktemp("models") / "small")


@pytest.mark.parametrize("bits", [4, 8])
def test_a_directory_runs_in_the_bits_that_are_asked_for(folder: Path, bits: int):
    model = lm.load(folder, compress=f"int{bits}")
    assert {one.bits for name, one in model.runner.compiled.weights.matrices.items() if "blocks" in name} == {bits}
    plain = lm.load(folder)
    assert plain.runner.name == "PyTorch"
    text = "the model reads a folder of text"
    assert model.score(text).bits == pytest.approx(plain.score(text).bits, rel=0.2 if bits == 4 else 0.03)
    ids = torch.tensor([model.tokenizer.encode(text)])
    assert not torch.equal(model.logits(ids), plain.logits(ids))


def test_answers_do_not_depend_on_their_neighbours(folder: Path):
    """Prompts of unequal length, in a batch that shrinks, and beams."""
    model = lm.load(folder, compress="int8")
    prompts = ["the", "the model reads a folder of text and learns", "words follow"]
    together = model.generate_batch(prompts, max_new_tokens=30)
    alone = [model.generate(prompt, max_new_tokens=30) for prompt in prompts]
    assert [one.tokens for one in together] == [one.tokens for one in alone]
    assert [one.logprobs for one in together] == [one.logprobs for one in alone]
    beams = model.generate_batch(prompts, Beam(width=3), max_new_tokens=12)
    assert [one.tokens for one in beams] == [
        model.generate(one, Beam(width=3), max_new_tokens=12).tokens for one in prompts
    ]


@pytest.mark.parametrize(("compress", "threads"), [("int8", 1), ("none", 2)])
def test_pytorch_has_one_thread_beside_the_compiled_path_and_all_of_them_again_behind_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, compress: str, threads: int
):
    """Where a strategy looks at states, which are PyTorch's."""
    runner = (model := lm.load(folder, compress=compress)).runner
    seen, logits, before = set(), runner.logits, torch.get_num_threads()
    monkeypatch.setattr(runner, "logits", lambda *given: (seen.add(torch.get_num_threads()), logits(*given))[1])
    torch.set_num_threads(2)
    try:
        model.generate("the model", Contrastive(top_k=2), max_new_tokens=4)
        assert seen == {threads}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("compress", ["none", "int4"])
def test_models_are_read_and_packed_with_one_thread_and_run_with_all(
    folder: Path, monkeypatch: pytest.MonkeyPatch, compress: str
):
    seen, before = [], torch.get_num_threads()
    for module, name in ((directory, "read_network"), (language_model_, "runner_for")):

        def watched(*given: object, does: Callable[..., object] = getattr(module, name)) -> object:
            seen.append(torch.get_num_threads())
            return does(*given)

        monkeypatch.setattr(module, name, watched)
    torch.set_num_threads(2)
    try:
        lm.load(folder, compress=compress)
        assert seen == [1, 1] and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_gguf_file_runs_as_it_is(smollm2_path: Path):
    model = lm.load(smollm2_path)
    assert {one.bits for name, one in model.runner.compiled.weights.matrices.items() if "blocks" in name} == {4}
    assert lm.load(smollm2_path, compress="none").runner.name == "PyTorch"
    assert lm.load(smollm2_path, dtype="float32").runner.name == "PyTorch"
    assert "Paris" in model.generate("The capital of France is", max_new_tokens=8)


NEOX = {"family": "gpt_neox", "norm": "layer", "gated": False, "parallel": True, "kv_heads": 4, "qkv_bias": True}
NEOX |= {"output_bias": True, "feed_forward_bias": True, "activation": "gelu", "tied": False}
PACKED = {
    "4 bits": (Compression(4), {}),
    "8 bits": (Compression(8), {}),
    "embedding in 8": (Compression(4, 8, torch.float16), {"tied": False}),
    "rows in another order": (Compression(4), NEOX),
}


@pytest.mark.parametrize("kind", PACKED)
def test_a_compressed_directory_runs_as_it_is(kind: str, tmp_path: Path):
    compression, settings = PACKED[kind]
    whole = language_model(**SHAPE | settings)
    write_network(tmp_path, whole.network, compression=compression)
    whole.write_tokenizer(tmp_path)
    model, exact = lm.load(tmp_path), lm.load(tmp_path, dtype="float32")
    assert model.runner.name == "compiled" and exact.runner.name == "PyTorch"
    weights = dict(exact.network.named_parameters())
    for name, packed in model.runner.compiled.weights.matrices.items():
        if "blocks" in name or compression.embedding_bits:
            assert torch.equal(unpacked(packed), weights[name]), name
            assert packed.bits == (compression.bits if "blocks" in name else 8)
    text = "the model reads a folder of text"
    assert model.score(text).bits == pytest.approx(exact.score(text).bits, rel=0.02)
    assert lm.load(tmp_path, compress="none").runner.name == "PyTorch"
    fewer = lm.load(tmp_path, compress="int4").runner.compiled
    assert {one.bits for name, one in fewer.weights.matrices.items() if "blocks" in name} == {4}


@pytest.mark.parametrize("columns", [32, 96, 48])
def test_larger_groups_are_groups_of_32_with_one_scale_and_others_are_made_anew(columns: int):
    """A scale a row, as other tools write it; 96 columns a group, or 48."""
    network = tiny.network(**SHAPE | {"hidden_dim": 192}).requires_grad_(False)
    name = "model.layers.0.mlp.down_proj"
    tensors, said = Compression(8, dtype=torch.float16).of(
        FAMILIES["llama"].tensors_to(network.state_dict(), network.config), FAMILIES["llama"], network.config
    )
    scale = torch.rand(64, 192 // columns).half() / 100
    tensors[f"{name}.weight_scale"] = scale
    stored, ours = StoredInDirectory(tensors, said, network.config), "blocks.0.feed_forward.down.weight"
    if columns % 32:
        assert stored.alike(ours) is None
        return
    assert stored.alike(ours) == [slice(0, 64)]
    groups = stored.groups(ours, slice(0, 64))
    values = from_words(tensors[f"{name}.weight_packed"], 8)
    expected = values.float() * scale.float().repeat_interleave(columns, dim=1)
    assert torch.equal(unpacked(pack(groups, 8)), expected)


def test_a_scale_that_float16_does_not_hold_is_not_rounded():
    network = tiny.network(**SHAPE).requires_grad_(False)
    theirs = FAMILIES["llama"].tensors_to(network.state_dict(), network.config)
    tensors, said = Compression(4).of(theirs, FAMILIES["llama"], network.config)
    stored = StoredInDirectory(tensors, said, network.config)
    assert stored.alike("blocks.0.feed_forward.down.weight") is not None
    tensors["model.layers.0.mlp.down_proj.weight_scale"][3, 1] = 1e-8
    stored = StoredInDirectory(tensors, said, network.config)
    assert stored.alike("blocks.0.feed_forward.down.weight") is None


@pytest.mark.parametrize(
    ("settings", "named"),
    [({"compress": "int3"}, "int3"), ({"compress": "int4", "dtype": "float32"}, "give one of them")],
)
def test_what_cannot_be_is_one_sentence(folder: Path, settings: dict[str, str], named: str):
    with pytest.raises(ConfigError, match=named):
        lm.load(folder, **settings)


def test_what_the_tape_does_not_cover_is_refused_where_it_was_asked_for(tmp_path: Path):
    folder = language_model(**SHAPE | {"head_dim": 8}).save(tmp_path / "small")
    with pytest.raises(ConfigError, match="head_dim is 8"):
        lm.load(folder, compress="int8")


def test_a_processor_without_vectors_runs_pytorch_and_says_so(
    folder: Path, smollm2_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("LMWORKS_INSTRUCTIONS", "none")
    with pytest.warns(UserWarning, match=r"no vector instructions .* \(AVX2 .*\); PyTorch runs the network"):
        model = lm.load(smollm2_path)
    assert model.runner.name == "PyTorch"
    assert "Paris" in model.generate("The capital of France is", max_new_tokens=4)
    with pytest.raises(ConfigError, match="compress=int8 cannot be had: the processor has no vector instructions"):
        lm.load(folder, compress="int8")
    assert lm.load(folder, compress="none").runner.name == "PyTorch"


def test_nan_in_the_weights_is_named_before_anything_is_compiled(folder: Path, tmp_path: Path):
    shutil.copytree(folder, tmp_path / "broken")
    file = tmp_path / "broken" / "model.safetensors"
    tensors = load_file(file)
    name = next(name for name in tensors if name.endswith("down_proj.weight"))
    tensors[name][3, 5] = float("nan")
    save_file(tensors, file)
    with pytest.raises(ModelError, match=r"feed_forward\.down\.weight holds values that are not finite"):
        lm.load(tmp_path / "broken", compress="int8")
