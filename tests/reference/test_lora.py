"""LoRA against PEFT: one adapter file on one base gives equal logits in both, whoever wrote it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from later import Later
from safetensors.torch import load_file, save_file

from lmworks.adaptation.adapter_files import CONFIG, WEIGHTS
from lmworks.adaptation.dora import DoRALinear
from lmworks.adaptation.lora import LoRALinear, add_lora, lora_layers, merge_adapters
from lmworks.adaptation.lora_config import LoRAConfig
from lmworks.adaptation.peft_format import read_adapter, write_adapter
from lmworks.basics.errors import ModelError
from lmworks.models.files.directory import read_network, write_network
from lmworks.models.network import Network, run_plainly

transformers = pytest.importorskip("transformers", reason="pip install 'lmworks[dev]'")
peft = Later("peft")
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"tied": False},
    "gpt2": {
        "family": "gpt2",
        "positions": "learned",
        "norm": "layer",
        "activation": "gelu_tanh",
        "gated": False,
        "kv_heads": 4,
        "qkv_bias": True,
        "output_bias": True,
        "feed_forward_bias": True,
    },
}
DENSE = tuple(FAMILIES)
FAMILIES |= {  # the experts themselves are no layers in either, and get no adapter
    "mixtral": {"family": "mixtral", "tied": False, "experts": {"count": 4}},
    "qwen2_moe": {
        "family": "qwen2_moe",
        "qkv_bias": True,
        "tied": False,
        "experts": {"count": 4, "hidden_dim": 24, "shared_dim": 20, "shared_gate": True, "layers": (1,)},
    },
}
TARGETS = {
    # PEFT's all-linear gives Mixtral a rank_pattern for its joined experts, which is refused here in a sentence.
    "mixtral": [("q_proj", "k_proj", "v_proj", "o_proj")],
    "qwen2_moe": ["all", ("gate_proj", "shared_expert_gate")],
    "llama": ["all", ("q_proj",), ("k_proj", "v_proj", "gate_proj"), ("o_proj", "down_proj")],
    "gpt2": ["all", ("c_attn",), ("c_fc",), ("c_proj",)],
}
each = pytest.mark.parametrize("family, targets", [(family, one) for family in FAMILIES for one in TARGETS[family]])


@pytest.fixture(params=DENSE)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@torch.no_grad()
def randomise_adapters(network: torch.nn.Module) -> None:
    generator = torch.Generator().manual_seed(5)
    for name, parameter in sorted(network.named_parameters()):
        if parameter.requires_grad:
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
            assert "lora" in name or ".up." in name or ".down" in name or ".magnitude." in name


def on_disk(folder: Path, family: str) -> Path:
    """A random base model."""
    folder.mkdir()
    write_network(folder, tiny.network(**FAMILIES[family]))
    return folder


def theirs(base: Path) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(base).eval()


@torch.no_grad()
def logits(network: Any, tokens: torch.Tensor) -> torch.Tensor:
    out = network(tokens)
    return out if isinstance(out, torch.Tensor) else out.logits.float()


def peft_adapter(folder: Path, base: Path, **settings: Any) -> Any:
    """Have PEFT make an adapter with random weights and save it; its model."""
    settings = {"r": 4, "lora_alpha": 12, "target_modules": "all-linear", "task_type": "CAUSAL_LM"} | settings
    model = peft.get_peft_model(theirs(base), peft.LoraConfig(**settings))
    randomise_adapters(model)
    model.save_pretrained(folder)
    return model.eval()


kinds = pytest.mark.parametrize("kind", [LoRALinear, DoRALinear], ids=["lora", "dora"])


@each
@kinds
def test_peft_loads_what_we_write(family: str, targets: Any, kind: type[LoRALinear], tmp_path: Path):
    base, tokens = on_disk(tmp_path / "base", family), tiny.text(2, 20)
    network = add_lora(read_network(base), LoRAConfig(rank=4, alpha=12, targets=targets), kind=kind)
    randomise_adapters(network)
    (tmp_path / "adapter").mkdir()
    write_adapter(tmp_path / "adapter", network, str(base))
    model = peft.PeftModel.from_pretrained(theirs(base), tmp_path / "adapter").eval()
    torch.testing.assert_close(logits(model, tokens), logits(network, tokens), **CLOSE)
    plain = logits(theirs(base), tokens)
    assert (logits(model, tokens) - plain).abs().max() > 0.1  # the adapter does something (pitfall 40)


@each
@pytest.mark.parametrize("variant", [{}, {"use_rslora": True}, {"use_dora": True}], ids=["lora", "rslora", "dora"])
def test_we_load_what_peft_writes(family: str, targets: Any, variant: dict[str, bool], tmp_path: Path):
    base, tokens = on_disk(tmp_path / "base", family), tiny.text(2, 20)
    chosen = "all-linear" if targets == "all" else list(targets)
    model = peft_adapter(tmp_path / "adapter", base, target_modules=chosen, **variant, fan_in_fan_out=family == "gpt2")
    network = read_adapter(tmp_path / "adapter", read_network(base))
    torch.testing.assert_close(logits(network, tokens), logits(model, tokens), **CLOSE)
    (tmp_path / "again").mkdir()
    write_adapter(tmp_path / "again", network, str(base))  # rsLoRA's scale is kept as an alpha
    again = read_adapter(tmp_path / "again", read_network(base))
    torch.testing.assert_close(logits(again, tokens), logits(network, tokens), **CLOSE)


@pytest.mark.parametrize("dora", [False, True], ids=["lora", "dora"])
def test_merged_weights_equal_pefts(family: str, dora: bool, tmp_path: Path):
    base = on_disk(tmp_path / "base", family)
    model = peft_adapter(tmp_path / "adapter", base, use_dora=dora, fan_in_fan_out=family == "gpt2")
    (tmp_path / "merged").mkdir()
    write_network(tmp_path / "merged", merge_adapters(read_adapter(tmp_path / "adapter", read_network(base))))
    written, wanted = load_file(tmp_path / "merged" / "model.safetensors"), model.merge_and_unload().state_dict()
    assert written
    for name, tensor in written.items():
        torch.testing.assert_close(tensor, wanted[name], **CLOSE)


@pytest.mark.parametrize("dora", [False, True], ids=["lora", "dora"])
def test_gradients_equal_pefts(family: str, dora: bool, tmp_path: Path):
    base, tokens = on_disk(tmp_path / "base", family), tiny.text(2, 20)
    model = peft_adapter(tmp_path / "adapter", base, use_dora=dora, fan_in_fan_out=family == "gpt2")
    network = read_adapter(tmp_path / "adapter", read_network(base))
    model(tokens).logits.logsumexp(-1).sum().backward()
    network(tokens).logsumexp(-1).sum().backward()
    wanted = {
        name.replace(".default", ""): parameter.grad
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    for layer in lora_layers(network).values():
        names = ("lora_A.weight", "lora_B.weight", "lora_magnitude_vector.weight")
        downs = layer.down.grad.split(layer.rank)
        ours = (downs, [up.grad for up in layer.up], [one.grad for one in getattr(layer, "magnitude", [])])
        for name, gradients in zip(names, ours, strict=True):
            for part, gradient in zip(layer.parts, gradients, strict=bool(gradients)):
                theirs_ = wanted.pop(f"base_model.model.{part.module}.{name}")
                torch.testing.assert_close(gradient, theirs_.view_as(gradient), rtol=1e-4, atol=1e-4)
    assert not wanted


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """A good adapter for `tiny.network(tied=False)`, to be spoilt."""
    network = add_lora(tiny.network(**FAMILIES["llama"]), LoRAConfig(rank=4))
    randomise_adapters(network)
    (tmp_path / "adapter").mkdir()
    write_adapter(tmp_path / "adapter", network, "base")
    return tmp_path / "adapter"


def refusal(folder: Path, network: Network | None = None) -> str:
    """The one sentence that reading ends with; the network has to stay as it was (pitfall 21)."""
    network = network or tiny.network(**FAMILIES["llama"])
    before = logits(network, tiny.text(1, 9))
    with pytest.raises(ModelError) as caught:
        read_adapter(folder, network)
    sentence = str(caught.value)
    assert str(folder) in sentence and "\n" not in sentence and len(sentence) < 400
    assert not lora_layers(network) and torch.equal(logits(network, tiny.text(1, 9)), before)
    return sentence


FIRST = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
SECOND = FIRST.replace("lora_A", "lora_B")


def change_tensors(folder: Path, changes: dict[str, torch.Tensor | None]) -> None:
    tensors = load_file(folder / WEIGHTS) | changes
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, folder / WEIGHTS)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({FIRST: None}, f"lacks {FIRST} (1 missing, 0 unexpected)"),
        ({SECOND: None}, f"lacks {SECOND} (1 missing, 0 unexpected)"),
        ({FIRST: None, FIRST.replace("layers.0", "layers.7"): torch.ones(4, 32)}, "(1 missing, 1 unexpected)"),
        (
            {"base_model.model.lm_head.lora_B.weight": torch.ones(96, 4)},
            "holds base_model.model.lm_head.lora_B.weight, which",
        ),
        ({FIRST: torch.ones(4, 33)}, f"{FIRST} has the shape [4, 33], and this model needs [4, 32]"),
        ({FIRST: torch.ones(5, 32)}, f"{FIRST} has 5 rows, and adapter_config.json says r = 4"),
        ({SECOND: torch.ones(31, 4)}, "has the shape [31, 4]"),
        ({FIRST: torch.full((4, 32), torch.nan)}, f"{FIRST} holds values that are not finite"),
    ],
    ids=[
        "missing A",
        "missing B",
        "elsewhere",
        "unexpected",
        "wrong width",
        "wrong rank",
        "wrong rows",
        "not a number",
    ],
)
def test_a_spoilt_adapter_is_one_sentence_and_the_network_stays(changes: dict, words: str, adapter: Path):
    change_tensors(adapter, changes)
    assert words in refusal(adapter)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"use_dora": True}, "lora_magnitude_vector (14 missing, 0 unexpected)"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save = ['lm_head'] is not supported"),
        ({"bias": "all"}, "bias = 'all' is not supported"),
        ({"rank_pattern": {"q_proj": 2}}, "rank_pattern = {'q_proj': 2} is not supported"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights = 'pissa' is not supported"),
        ({"alora_invocation_tokens": [1]}, "alora_invocation_tokens = [1] is not supported"),
        ({"target_modules": r".*\.q_proj"}, "a list of names is supported"),
        ({"target_modules": ["q_proj", "query"]}, "this model has no projection query; it has down_proj, gate_proj"),
        ({"target_modules": ["q_proj"]}, "unexpected); the adapter was made for another model"),
        ({"r": 1_000_000_000}, "has 4 rows, and adapter_config.json says r = 1000000000"),
        ({"r": "four"}, "rank is 'four'"),
        ({"r": 0}, "rank is 0"),
        ({"r": 33, "target_modules": ["q_proj"]}, "has 4 rows, and adapter_config.json says r = 33"),
        ({"lora_alpha": -1}, "alpha is -1"),
    ],
)
def test_an_adapter_that_asks_for_what_is_not_done_is_refused(changes: dict, words: str, adapter: Path):
    settings = json.loads((adapter / CONFIG).read_text())
    (adapter / CONFIG).write_text(json.dumps(settings | changes))
    assert words in refusal(adapter)


def test_a_cut_off_adapter_and_one_without_weights_are_one_sentence(adapter: Path):
    content = (adapter / WEIGHTS).read_bytes()
    (adapter / WEIGHTS).write_bytes(content[:-100])
    assert "ends 100 bytes early" in refusal(adapter)
    (adapter / WEIGHTS).unlink()
    assert "does not exist" in refusal(adapter)


def test_an_adapter_for_another_architecture_is_refused(adapter: Path):
    assert "no projection down_proj; it has c_attn, c_fc, c_proj" in refusal(adapter, tiny.network(**FAMILIES["gpt2"]))


def test_a_network_that_refused_an_adapter_takes_a_good_one(adapter: Path):
    network = tiny.network(**FAMILIES["llama"])
    good = load_file(adapter / WEIGHTS)
    change_tensors(adapter, {FIRST: torch.full((4, 32), torch.nan)})
    refusal(adapter, network)
    save_file(good, adapter / WEIGHTS)
    assert len(lora_layers(read_adapter(adapter, network))) == 8
    assert network.run_block is run_plainly
