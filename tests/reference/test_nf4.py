"""NF4 against bitsandbytes: its codes, its scales, its values, and those of whole models beside PEFT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from adaptation.adapted import GPT2, randomise_adapters
from later import Later

from lmworks.adaptation.declaration import Setup
from lmworks.adaptation.frozen import FrozenLinear
from lmworks.adaptation.lora import adaptable, adapters_off, add_lora, lora_layers
from lmworks.adaptation.lora_config import LoRAConfig
from lmworks.adaptation.methods.qlora import QLORA, QLoRAConfig
from lmworks.adaptation.nf4 import BLOCK, NF4, freeze_in_nf4, scale_levels
from lmworks.adaptation.peft_format import read_adapter, write_adapter
from lmworks.basics.errors import ConfigError
from lmworks.models.files.directory import read_network, write_network
from lmworks.models.network import Network
from lmworks.objectives import CausalLM

functional = Later("bitsandbytes.functional")
transformers, peft = Later("transformers"), Later("peft")


def weight(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return (0.02 * torch.randn(shape, generator=torch.Generator().manual_seed(0))).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(96, 64), (33, 320), (1536, 576), (4096, 1024)])  # the last with values at a border
def test_codes_and_values_are_those_of_bitsandbytes(shape: tuple[int, int], dtype: torch.dtype):
    matrix = weight(*shape, dtype=dtype)
    codes, state = functional.quantize_4bit(matrix, blocksize=BLOCK, quant_type="nf4")
    ours = NF4.of(matrix, double=False)
    assert torch.equal(ours.codes, codes.flatten()) and torch.equal(ours.sizes, state.absmax)
    assert torch.equal(ours.weights(dtype), functional.dequantize_4bit(codes, state))


@pytest.mark.parametrize("shape", [(96, 64), (33, 320), (1536, 576)])
def test_scales_of_scales_are_those_of_bitsandbytes_where_it_finds_the_nearest(shape: tuple[int, int]):
    matrix = weight(*shape)
    codes, state = functional.quantize_4bit(matrix, blocksize=BLOCK, quant_type="nf4", compress_statistics=True)
    ours = NF4.of(matrix)
    assert torch.equal(scale_levels(), state.state2.code)
    assert torch.equal(ours.codes, codes.flatten()) and ours.means == state.offset
    torch.testing.assert_close(ours.scales, state.state2.absmax, rtol=0, atol=0)
    theirs = NF4(ours.shape, ours.rows, codes.flatten(), state.absmax, state.state2.absmax, state.offset[None])
    assert torch.equal(theirs.weights(), functional.dequantize_4bit(codes, state))

    def far(packed: NF4) -> torch.Tensor:
        largest = matrix.view(-1, BLOCK).abs().amax(1)
        scales = packed.scales.repeat_interleave(256)[: len(largest)]
        return (scale_levels()[packed.sizes.int()] * scales + packed.means - largest).abs()

    other = ours.sizes != state.absmax
    assert other.float().mean() < 0.005
    assert (far(ours)[other] <= far(theirs)[other]).all()


def test_a_block_of_zeros_stays_zero_and_what_has_no_whole_blocks_is_refused():
    matrix = weight(4, 64)
    matrix[1] = 0
    assert not NF4.of(matrix, double=False).weights()[1].any()
    with pytest.raises(ConfigError, match=r"\[3, 30\] has no whole blocks of 64 values"):
        NF4.of(weight(3, 30))
    with pytest.raises(ConfigError, match=r"\[3, 32\] has no whole blocks of 64 values"):
        NF4.of(weight(8, 32), rows=[3, 5])


def test_rows_of_a_joined_matrix_are_packed_as_matrices_by_themselves():
    """Query, key and value, none of whole groups of 256 scales."""
    rows = [96, 40, 33]
    joined = weight(sum(rows), 320) * torch.tensor([1.0, 4.0, 0.25]).repeat_interleave(torch.tensor(rows))[:, None]
    ours = NF4.of(joined, rows=rows)
    apart = [NF4.of(part) for part in joined.split(rows)]
    assert torch.equal(ours.weights(), torch.cat([one.weights() for one in apart]))
    assert ours.nbytes == sum(one.nbytes for one in apart)
    assert not torch.equal(ours.weights(), NF4.of(joined).weights())
    sketch = NF4.of(joined.to("meta"), rows=rows)
    assert sketch.nbytes == ours.nbytes and sketch.rows == ours.rows and sketch.weights().shape == joined.shape


FAMILIES: dict[str, dict[str, Any]] = {"llama": {"kv_heads": 2, "tied": False}, "gpt2": GPT2 | {"kv_heads": 8}}


@pytest.fixture(scope="module", params=FAMILIES)
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Llama, whose query, key, value, gate and up are not alike, or GPT-2, whose matrices lie turned and joined
    in its files."""
    folder = tmp_path_factory.mktemp("base")
    network = tiny.network(**({"dim": 256, "hidden_dim": 1024, "heads": 8} | FAMILIES[request.param]))
    with torch.no_grad():
        for path, parts in adaptable(network).items():
            for at, part in enumerate(parts):
                network.get_submodule(path).weight[part.rows] *= 0.5 * 2**-at
    write_network(folder, network)
    return folder


def of_bitsandbytes(base: Path, double: bool) -> Any:
    """The model as transformers loads it in 4 bits, in float32: in evaluation mode bitsandbytes would take bfloat16 on
    processors that have it, whatever is asked for, and nothing is dropped here in training mode."""
    bits = transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=double,
        bnb_4bit_compute_dtype=torch.float32,
    )
    load = transformers.AutoModelForCausalLM.from_pretrained
    return load(base, quantization_config=bits, dtype=torch.float32, device_map="cpu").train()


def matrices_of_bitsandbytes(model: Any) -> dict[str, Any]:
    """Those in 4 bits by their path in the model's files, whether or not PEFT's adapters sit on them."""
    return {
        path.removeprefix("base_model.model.").removesuffix(".base_layer"): module.weight
        for path, module in model.named_modules()
        if type(module).__name__ == "Linear4bit"
    }


def values_by_bitsandbytes(model: Any) -> dict[str, torch.Tensor]:
    """Of each matrix in 4 bits."""
    found = matrices_of_bitsandbytes(model)
    return {path: functional.dequantize_4bit(one.data, one.quant_state) for path, one in found.items()}


def values_by_us(network: Network) -> dict[str, torch.Tensor]:
    """The same of ours; views where the network is not kept in 4 bits."""
    adapted, values = lora_layers(network), {}
    for path, parts in adaptable(network).items():
        weight = network.get_submodule(f"{path}.base" if path in adapted else path).weight
        values |= {part.module: weight[part.rows] for part in parts}
    return values


@torch.no_grad()
def logits(network: Any) -> torch.Tensor:
    out = network(tiny.text(2, 20))
    return out if isinstance(out, torch.Tensor) else out.logits


@pytest.mark.parametrize("double", [True, False], ids=["double", "single"])
def test_each_matrix_of_a_models_files_has_the_values_that_bitsandbytes_gives_it(base: Path, double: bool):
    network, model = read_network(base), of_bitsandbytes(base, double)
    parts = adaptable(network)
    freeze_in_nf4(network, double)
    wanted, found = values_by_bitsandbytes(model), values_by_us(network)
    assert wanted.keys() == found.keys() and len(found) == sum(map(len, parts.values()))
    for path, values in found.items():
        if double:  # some scales are neighbours of theirs, whose search misses the nearest level
            assert (values != wanted[path]).float().mean() < 0.01, path
            torch.testing.assert_close(values, wanted[path], rtol=0.03, atol=0, msg=path)
        else:
            assert torch.equal(values, wanted[path]), path
    theirs = matrices_of_bitsandbytes(model)
    for path in parts:
        layer = network.get_submodule(path)
        assert isinstance(layer, FrozenLinear) and isinstance(layer.packed, NF4)
        assert torch.equal(layer.packed.codes, torch.cat([theirs[part.module].data.flatten() for part in parts[path]]))


def test_peft_on_bitsandbytes_without_double_quantisation_says_what_we_say(base: Path, tmp_path: Path):
    """The values are equal to the bit there: the usual distance holds for all but the missed scales."""
    network = add_lora(read_network(base), LoRAConfig(rank=4, alpha=8))
    freeze_in_nf4(network, double=False)
    randomise_adapters(network, size=0.1)
    write_adapter(tmp_path, network, str(base))
    model = peft.PeftModel.from_pretrained(of_bitsandbytes(base, double=False), tmp_path).train()
    torch.testing.assert_close(logits(model), logits(network), rtol=1e-5, atol=2e-5)  # of logits up to 16


def test_peft_on_bitsandbytes_loads_an_adapter_of_qlora(base: Path, tmp_path: Path):
    """As `tune --method qlora` saves it. The scales that bitsandbytes' search misses move logits of a spread of 3 by
    0.01 (one joined matrix in the place of three would move them by 0.3); without them nothing is left."""
    network = read_network(base)
    QLORA.prepare(Setup(network, CausalLM(), []), QLoRAConfig(rank=4, alpha=8))
    randomise_adapters(network, size=0.1)
    assert QLORA.adapter is not None
    QLORA.adapter.write(tmp_path, network, str(base))
    read = read_adapter(tmp_path, read_network(base))
    torch.testing.assert_close(logits(read), logits(network), rtol=1e-5, atol=2e-5)
    with adapters_off(read):
        assert (logits(read) - logits(network)).abs().max() > 1  # the adapter does something
    model = peft.PeftModel.from_pretrained(of_bitsandbytes(base, double=True), tmp_path).train()
    torch.testing.assert_close(logits(model), logits(read), rtol=0, atol=0.05)
    wanted = values_by_bitsandbytes(model)
    with torch.no_grad():
        for path, values in values_by_us(read).items():
            values.copy_(wanted[path])
    torch.testing.assert_close(logits(model), logits(read), rtol=1e-5, atol=2e-5)
