"""QLoRA on the grid of the base's own file: nothing is rounded, and nothing but the file's bytes stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from adaptation.adapted import packed, randomise_adapters
from models.files.test_gguf import FAMILIES, WIDE, held_apart, llama_cpp_tensors, write
from training.test_fused_block import assert_equal_to_plain

from lmworks.adaptation.adapter_files import BASE_VALUES
from lmworks.adaptation.declaration import Chosen, Setup
from lmworks.adaptation.file_grid import StoredRows
from lmworks.adaptation.frozen import FrozenLinear, bytes_in_few_bits
from lmworks.adaptation.lora import adapters_off, lora_layers, merge_adapters
from lmworks.adaptation.methods.lora import LORA
from lmworks.adaptation.methods.qlora import QLORA, QLoRAConfig
from lmworks.adaptation.peft_format import read_adapter
from lmworks.basics.errors import ConfigError
from lmworks.models.files.gguf import read_gguf_network
from lmworks.models.files.gguf_file import GGUFFile
from lmworks.models.files.gguf_groups import StoredInGGUF
from lmworks.models.files.gguf_kinds import Kind
from lmworks.models.files.model_folder import read_json
from lmworks.models.network import Network
from lmworks.objectives import CausalLM
from lmworks.tokens.batch import Batch
from lmworks.training.by_hand.fused_block import use_fused_blocks
from lmworks.training.optimiser import make_optimiser
from lmworks.training.settings import TrainingConfig

SHAPE: dict[str, Any] = {"dim": 64, "heads": 4, "kv_heads": 2, "hidden_dim": 96, "vocab_size": 300, "context": 128}
BITS = {"Q4_0": 4.5, "Q4_1": 5.0, "Q8_0": 8.5}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, GGUFFile]:
    """One small network in each kind of file."""
    folder, network = tmp_path_factory.mktemp("files"), tiny.network(**SHAPE)
    for kind in (*BITS, "F16"):
        write(folder / kind, network, Kind[kind])
    return {kind: GGUFFile(folder / kind) for kind in (*BITS, "F16")}


def plain(file: GGUFFile, dtype: torch.dtype = torch.float32) -> Network:
    return read_gguf_network(file, dtype)


def on_its_grid(file: GGUFFile, dtype: torch.dtype = torch.float32) -> Network:
    """As the method prepares it, with adapters that do something."""
    network = plain(file, dtype)
    setup = Setup(network, CausalLM(), [], stored=StoredInGGUF(file, network.config))
    QLORA.prepare(setup, QLoRAConfig(grid="file", rank=4, alpha=8))
    return randomise_adapters(network)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", BITS)
def test_the_base_is_the_file_to_the_bit_in_the_files_bytes(kind: str, dtype: torch.dtype, files: dict[str, GGUFFile]):
    network, tokens = on_its_grid(files[kind], dtype), tiny.text(2, 20)
    frozen = [one for one in network.modules() if isinstance(one, FrozenLinear)]
    assert len(frozen) == 4 * len(network.blocks)
    assert all(isinstance(one.packed, StoredRows) for one in frozen)
    values = sum(one.in_features * one.out_features for one in frozen)
    assert bytes_in_few_bits(network) == values * BITS[kind] / 8
    wanted = plain(files[kind], dtype)
    assert torch.equal(frozen[0].weight, wanted.blocks[0].attention.qkv.weight)  # with query and key in our order
    with adapters_off(network), torch.no_grad():
        found = network(tokens)
    assert torch.equal(found, wanted(tokens).detach())
    assert not torch.equal(network(tokens).detach(), found)


def test_what_the_file_holds_in_another_form_stays_floats(tmp_path: Path):
    """DeepSeek's newer files have no matrix that makes keys and values of a latent state, but one for each."""
    network = tiny.network(**(WIDE | FAMILIES["deepseek_v3"]))
    tensors = llama_cpp_tensors(network)
    for name, apart in (("whole", tensors), ("apart", held_apart(tensors))):
        write(tmp_path / name, network, Kind.Q8_0, tensors=apart)
        made = on_its_grid(GGUFFile(tmp_path / name))
        frozen = [path for path, one in made.named_modules() if isinstance(one, FrozenLinear)]
        assert any("expand" in path for path in frozen) is (name == "whole")
        assert sum("attention.output" in path for path in frozen) == 2


@pytest.mark.parametrize("recompute", [False, True], ids=["kept", "recomputed"])
def test_gradients_equal_autograds(recompute: bool, files: dict[str, GGUFFile]):
    assert_equal_to_plain(on_its_grid(files["Q4_1"]), packed((33, 20), (50,)), recompute, 1e-4)


def losses(file: GGUFFile, chosen: Chosen, batch: Batch, steps: int) -> list[float]:
    """Of some steps by AdamW in hand-written blocks."""
    network = plain(file)
    with_stored = replace(chosen, stored=StoredInGGUF(file, network.config))
    with_stored.prepare(Setup(network, CausalLM(), [], seed=7))
    assert use_fused_blocks(network.train())
    optimiser, found = make_optimiser(network, TrainingConfig(learning_rate=1e-3)), []
    for _ in range(steps):
        loss = CausalLM()(network, batch).mean
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        found.append(float(loss.detach()))
    return found


def test_training_is_loras_to_the_bit_and_nf4s_is_not(files: dict[str, GGUFFile]):
    batch = packed((33, 20), (50,))
    lora, stored, nf4 = (
        losses(files["Q4_1"], chosen, batch, 3)
        for chosen in (
            Chosen(LORA, LORA.settings(rank=4)),
            Chosen(QLORA, QLoRAConfig(rank=4, grid="file")),
            Chosen(QLORA, QLoRAConfig(rank=4)),
        )
    )
    assert stored == lora and lora[2] < lora[0] and nf4 != lora


@pytest.mark.slow
def test_smollm2_is_trained_as_by_lora_to_the_bit(smollm2_path: Path):
    file, batch = GGUFFile(smollm2_path), packed((60,), (64,))
    ways = Chosen(LORA, LORA.settings()), Chosen(QLORA, QLoRAConfig(grid="file"))
    lora, stored = (losses(file, chosen, batch, 3) for chosen in ways)
    assert stored == lora and lora[2] < lora[0]


def test_settled_it_is_an_adapter_on_the_file_as_it_is(files: dict[str, GGUFFile], tmp_path: Path):
    network, tokens = on_its_grid(files["Q8_0"]), tiny.text(2, 20)
    before = network(tokens).detach()
    QLORA.settle(network)
    assert not any(isinstance(one, FrozenLinear) for one in network.modules())
    assert QLORA.adapter is not None
    QLORA.adapter.write(tmp_path, network, "base")
    assert BASE_VALUES not in read_json(tmp_path / "adapter_config.json")
    read = read_adapter(tmp_path, plain(files["Q8_0"]))
    assert torch.equal(read(tokens).detach(), before) and len(lora_layers(read)) == 8
    torch.testing.assert_close(merge_adapters(read)(tokens).detach(), before, rtol=1e-4, atol=1e-4)


def test_a_base_without_a_grid_is_refused_with_what_to_do(files: dict[str, GGUFFile]):
    floats = StoredInGGUF(files["F16"], plain(files["F16"]).config)
    for stored, words in ((None, r"no GGUF file in few bits; take grid = 'nf4'"), (floats, r"no matrix .*; take lora")):
        with pytest.raises(ConfigError, match=rf"^grid = 'file' leaves the base as its .*{words}"):
            QLORA.prepare(Setup(plain(files["F16"]), CausalLM(), [], stored=stored), QLoRAConfig(grid="file"))
    with pytest.raises(ConfigError, match=r"^qlora\.grid = 'file'"):
        Chosen(QLORA, QLoRAConfig(grid="file")).prepare(Setup(plain(files["F16"]), CausalLM(), []))
