"""Every family against transformers: equal logits from random weights, both ways, every switch on."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch

from lmworks.models.config import ExpertSettings, ModelConfig, RopeScaling
from lmworks.models.files.directory import read_network, write_network
from lmworks.models.files.model_folder import INDEX, read_json
from lmworks.models.network import Network

transformers = pytest.importorskip("transformers", reason="pip install 'lmworks[dev]'")
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
LENGTH = 40  # longer than every window and every original context below
SMALL = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
}
SMALL_GPT2 = {
    "vocab_size": 96,
    "n_embd": 32,
    "n_layer": 3,
    "n_head": 4,
    "n_positions": 128,
    "bos_token_id": None,
    "eos_token_id": None,
}


@dataclass(frozen=True)
class Variant:
    """One switch of a family: how transformers is told it, what our config must say, and its opposite."""

    family: str
    name: str
    theirs: dict[str, Any] = field(default_factory=dict)
    ours: dict[str, Any] = field(default_factory=dict)
    off: dict[str, Any] = field(default_factory=dict)
    """Our settings without the switch: logits must differ (pitfall 40)."""

    def config(self) -> Any:
        small = SMALL_GPT2 if self.family == "gpt2" else SMALL
        if self.family in ("qwen2", "qwen2_moe"):
            small = {key: value for key, value in small.items() if key != "head_dim"}
        return transformers.AutoConfig.for_model(self.family, **(small | self.theirs))


def rope(kind: str, **settings: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 500.0, **settings}}


NO_SCALING = {"rope_scaling": None}
WINDOW = {"use_sliding_window": True, "sliding_window": 7}
FEW = {"num_experts": 5, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "intermediate_size": 48}
SHARED = FEW | {"shared_expert_intermediate_size": 40}


def experts(**settings: Any) -> dict[str, Any]:
    """Our config's experts: what `FEW` says, and more."""
    return {"experts": ExpertSettings(**({"count": 5, "top_k": 2, "hidden_dim": 24} | settings))}


def of_qwen2(**settings: Any) -> dict[str, Any]:
    return experts(**({"shared_dim": 40, "shared_gate": True, "normalised": False} | settings))


MIXTURES = [
    Variant(
        "mixtral",
        "eight experts",
        {},
        {"experts": ExpertSettings(count=8), "hidden_dim": 48},
        {"experts": ExpertSettings(count=8, normalised=False)},
    ),
    Variant(
        "mixtral",
        "three of five, a window, one key for all heads",
        {"num_local_experts": 5, "num_experts_per_tok": 3, "sliding_window": 7, "num_key_value_heads": 1},
        {"experts": ExpertSettings(count=5, top_k=3), "window": 7},
        {"experts": ExpertSettings(count=5, top_k=2)},
    ),
    Variant(
        "mixtral", "tied, wide heads", {"tie_word_embeddings": True, "head_dim": 20}, {"tied": True}, {"tied": False}
    ),
    Variant("mixtral", "theta", rope("default"), {"rope_theta": 500.0}, {"rope_theta": 1e6}),
    Variant(
        "qwen2_moe",
        "a shared expert with its gate",
        SHARED,
        of_qwen2() | {"qkv_bias": True},
        of_qwen2(shared_dim=0, shared_gate=False),
    ),
    Variant("qwen2_moe", "the gate", SHARED, of_qwen2(), of_qwen2(shared_gate=False)),
    Variant(
        "qwen2_moe",
        "normalised",
        SHARED | {"norm_topk_prob": True},
        of_qwen2(normalised=True),
        of_qwen2(normalised=False),
    ),
    Variant("qwen2_moe", "no bias", SHARED | {"qkv_bias": False}, {"qkv_bias": False}, {"qkv_bias": True}),
    Variant(
        "qwen2_moe",
        "a layer without experts",
        SHARED | {"mlp_only_layers": [1]},
        of_qwen2(layers=(0, 2)),
        of_qwen2(),
    ),
    Variant(
        "qwen2_moe",
        "a window on every other layer",
        SHARED | WINDOW | {"max_window_layers": 3},
        {"window": 7, "window_layers": (0, 2)},
        {"window": None, "window_layers": None},
    ),
    Variant(
        "qwen2_moe",
        "window by names",
        SHARED | WINDOW | {"layer_types": ["full_attention", "sliding_attention", "full_attention"]},
        {"window": 7, "window_layers": (1,)},
        {"window_layers": (2,)},
    ),
    Variant("qwen3_moe", "as they come out", FEW, experts(normalised=False), experts()),
    Variant("qwen3_moe", "normalised", FEW | {"norm_topk_prob": True}, experts(), experts(normalised=False)),
    Variant(
        "qwen3_moe",
        "experts in every other layer",
        FEW | {"decoder_sparse_step": 2},
        experts(layers=(1,), normalised=False),
        experts(layers=(0,), normalised=False),
    ),
    Variant(
        "qwen3_moe",
        "dense layers named and stepped over",
        FEW | {"decoder_sparse_step": 1, "mlp_only_layers": [0, 2]},
        experts(layers=(1,), normalised=False),
        experts(normalised=False),
    ),
    Variant("qwen3_moe", "norms of query and key", FEW | {"head_dim": 20}, {"qk_norm": True}, {"qk_norm": False}),
    Variant(
        "qwen3_moe",
        "attention bias",
        FEW | {"attention_bias": True},
        {"qkv_bias": True, "output_bias": True},
        {"qkv_bias": False},
    ),
    Variant("qwen3_moe", "window", FEW | WINDOW, {"window": 7}, {"window": None}),
]
VARIANTS = [
    Variant("llama", "theta", rope("default"), {"rope_theta": 500.0}, {"rope_theta": 10_000.0}),
    Variant("llama", "one key for all heads", {"num_key_value_heads": 1}, {"kv_heads": 1}),
    Variant("llama", "a key for each head", {"num_key_value_heads": 4}, {"kv_heads": 4}),
    Variant("llama", "wide heads", {"head_dim": 20}, {"head_dim": 20}),
    Variant(
        "llama",
        "attention bias",
        {"attention_bias": True},
        {"qkv_bias": True, "output_bias": True},
        {"qkv_bias": False},
    ),
    Variant("llama", "output bias", {"attention_bias": True}, {"output_bias": True}, {"output_bias": False}),
    Variant(
        "llama",
        "feed-forward bias",
        {"mlp_bias": True},
        {"feed_forward_bias": True},
        {"feed_forward_bias": False},
    ),
    Variant("llama", "tied", {"tie_word_embeddings": True}, {"tied": True}, {"tied": False}),
    Variant("llama", "untied", {"tie_word_embeddings": False}, {"tied": False}, {"tied": True}),
    Variant("llama", "norm epsilon", {"rms_norm_eps": 0.1}, {"norm_eps": 0.1}, {"norm_eps": 1e-5}),
    Variant("llama", "gelu", {"hidden_act": "gelu"}, {"activation": "gelu"}, {"activation": "gelu_tanh"}),
    Variant("llama", "gelu_new", {"hidden_act": "gelu_new"}, {"activation": "gelu_tanh"}, {"activation": "gelu"}),
    Variant("llama", "relu", {"hidden_act": "relu"}, {"activation": "relu"}, {"activation": "silu"}),
    Variant(
        "llama",
        "linear",
        rope("linear", factor=4.0),
        off=NO_SCALING,
        ours={"rope_scaling": RopeScaling(kind="linear", factor=4.0)},
    ),
    Variant(
        "llama",
        "dynamic",
        rope("dynamic", factor=3.0) | {"max_position_embeddings": 16},
        off=NO_SCALING,
        ours={"rope_scaling": RopeScaling(kind="dynamic", factor=3.0)},
    ),
    Variant(
        "llama",
        "dynamic, with a setting that it does not look at",
        rope("dynamic", factor=3.0, original_max_position_embeddings=8) | {"max_position_embeddings": 16},
        off=NO_SCALING,
        ours={"rope_scaling": RopeScaling(kind="dynamic", factor=3.0)},
    ),
    Variant(
        "llama",
        "yarn",
        rope("yarn", factor=4.0, original_max_position_embeddings=32) | {"head_dim": 16},
        off=NO_SCALING,
        ours={"rope_scaling": RopeScaling(kind="yarn", factor=4.0, original_context=32)},
    ),
    Variant(
        "llama",
        "yarn with every setting",
        rope(
            "yarn",
            factor=8.0,
            original_max_position_embeddings=16,
            beta_fast=8.0,
            beta_slow=0.5,
            attention_factor=1.7,
        )
        | {"head_dim": 16},
        off=NO_SCALING,
        ours={
            "rope_scaling": RopeScaling(
                kind="yarn",
                factor=8.0,
                original_context=16,
                fast_turns=8.0,
                slow_turns=0.5,
                attention_factor=1.7,
            )
        },
    ),
    Variant(
        "llama",
        "llama3",
        rope(
            "llama3",
            factor=8.0,
            original_max_position_embeddings=16,
            low_freq_factor=0.5,
            high_freq_factor=2.0,
        )
        | {"head_dim": 16},
        off=NO_SCALING,
        ours={
            "rope_scaling": RopeScaling(
                kind="llama3",
                factor=8.0,
                original_context=16,
                low_frequency_factor=0.5,
                high_frequency_factor=2.0,
            )
        },
    ),
    Variant("mistral", "window", {"sliding_window": 7}, {"window": 7, "window_layers": None}, {"window": None}),
    Variant("mistral", "no window", {"sliding_window": None}, {"window": None}, {"window": 7}),
    Variant(
        "mistral",
        "wide heads, tied",
        {"head_dim": 20, "tie_word_embeddings": True},
        {"head_dim": 20},
        {"tied": False},
    ),
    Variant(
        "qwen2",
        "query, key and value bias",
        {},
        {"qkv_bias": True, "output_bias": False},
        {"qkv_bias": False},
    ),
    Variant("qwen2", "a window it does not use", {"sliding_window": 7}, {"window": None}, {"window": 7}),
    Variant(
        "qwen2",
        "window on the last layer",
        WINDOW | {"max_window_layers": 2},
        {"window": 7, "window_layers": (2,)},
        {"window": None, "window_layers": None},
    ),
    Variant(
        "qwen2",
        "window by names",
        WINDOW | {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
        {"window": 7, "window_layers": (0, 2)},
        {"window_layers": (2,)},
    ),
    Variant("qwen2", "tied", {"tie_word_embeddings": True}, {"tied": True}, {"tied": False}),
    Variant(
        "qwen2",
        "yarn",
        rope("yarn", factor=4.0, original_max_position_embeddings=32),
        off=NO_SCALING,
        ours={"rope_scaling": RopeScaling(kind="yarn", factor=4.0, original_context=32)},
    ),
    Variant(
        "qwen3",
        "norms of query and key",
        {"head_dim": 20},
        {"qk_norm": True, "head_dim": 20},
        {"qk_norm": False},
    ),
    Variant(
        "qwen3",
        "attention bias",
        {"attention_bias": True},
        {"qkv_bias": True, "output_bias": True},
        {"qkv_bias": False},
    ),
    Variant(
        "qwen3",
        "window on every layer",
        WINDOW | {"max_window_layers": 0},
        {"window": 7},
        {"window": None, "window_layers": None},
    ),
    Variant("qwen3", "tied", {"tie_word_embeddings": True}, {"tied": True}, {"tied": False}),
    Variant(
        "gemma",
        "unit offset",
        {"head_dim": 20},
        {"norm_unit_offset": True, "tied": True},
        {"norm_unit_offset": False},
    ),
    Variant("gemma", "scaled embedding", {}, {"scale_embedding": True}, {"scale_embedding": False}),
    Variant(
        "gemma",
        "tanh gelu under its old name",
        {"hidden_act": "gelu"},
        {"activation": "gelu_tanh"},
        {"activation": "gelu"},
    ),
    Variant(
        "gemma",
        "another activation",
        {"hidden_act": "relu"},
        {"activation": "relu"},
        {"activation": "gelu_tanh"},
    ),
    Variant("gemma", "one key for all heads", {"num_key_value_heads": 1}, {"kv_heads": 1}),
    Variant(
        "gemma",
        "attention bias",
        {"attention_bias": True},
        {"qkv_bias": True, "output_bias": True},
        {"qkv_bias": False},
    ),
    Variant("gemma", "untied", {"tie_word_embeddings": False}, {"tied": False}, {"tied": True}),
    *MIXTURES,
    Variant("gpt2", "learned positions", {}, {"positions": "learned", "hidden_dim": 128}, {"positions": "none"}),
    Variant("gpt2", "inner width", {"n_inner": 40}, {"hidden_dim": 40}),
    Variant("gpt2", "biases", {}, {"qkv_bias": True, "output_bias": True}, {"qkv_bias": False}),
    Variant("gpt2", "feed-forward bias", {}, {"feed_forward_bias": True}, {"feed_forward_bias": False}),
    Variant(
        "gpt2",
        "exact gelu",
        {"activation_function": "gelu"},
        {"activation": "gelu"},
        {"activation": "gelu_tanh"},
    ),
    Variant("gpt2", "untied", {"tie_word_embeddings": False}, {"tied": False}, {"tied": True}),
]
each_variant = pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: f"{variant.family}: {variant.name}")


def their_logits(model: Any, tokens: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return model.eval()(tokens).logits


def our_logits(network: Network, tokens: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return network(tokens)


def without(network: Network, off: dict[str, Any]) -> Network:
    """The same weights in a network without the switch; what it has more of is random."""
    other = Network(network.config.but(**off))
    tiny.randomise(other, seed=9)
    kept = other.state_dict()
    other.load_state_dict({name: tensor for name, tensor in network.state_dict().items() if name in kept}, strict=False)
    return other.eval()


@each_variant
def test_a_model_that_transformers_saved_gives_equal_logits(variant: Variant, tmp_path: Path):
    model = transformers.AutoModelForCausalLM.from_config(variant.config(), dtype=torch.float32)
    tiny.randomise(model)
    model.save_pretrained(tmp_path)
    network = read_network(tmp_path)
    tokens = tiny.text(2, LENGTH)
    torch.testing.assert_close(our_logits(network, tokens), their_logits(model, tokens), **CLOSE)
    assert {key: getattr(network.config, key) for key in variant.ours} == variant.ours
    if variant.off:
        assert not torch.allclose(
            our_logits(without(network, variant.off), tokens), our_logits(network, tokens), **CLOSE
        )


@each_variant
def test_transformers_loads_what_we_write_with_equal_logits(variant: Variant, tmp_path: Path):
    variant.config().save_pretrained(tmp_path / "theirs")
    from lmworks.models.files.model_folder import read_config

    network = Network(read_config(tmp_path / "theirs")).initialise().eval()
    tiny.randomise(network, seed=1)
    (tmp_path / "ours").mkdir()
    write_network(tmp_path / "ours", network)
    assert_transformers_agrees(tmp_path / "ours", network)
    assert read_network(tmp_path / "ours").config == network.config


def assert_transformers_agrees(folder: Path, network: Network) -> None:
    model, report = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True
    )
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")), report
    tokens = tiny.text(2, LENGTH)
    torch.testing.assert_close(their_logits(model, tokens), our_logits(network, tokens), **CLOSE)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_shards_are_read_by_transformers_and_by_us(family: str, tmp_path: Path):
    settings = {"family": "llama"}
    if family == "gpt2":
        settings = {
            "family": "gpt2",
            "positions": "learned",
            "norm": "layer",
            "gated": False,
            "qkv_bias": True,
            "kv_heads": 4,
            "output_bias": True,
            "feed_forward_bias": True,
            "activation": "gelu_tanh",
        }
    network = tiny.network(**settings)
    write_network(tmp_path, network, shard_bytes=10_000)
    files = sorted(tmp_path.glob("*.safetensors"))
    assert len(files) > 3 and not (tmp_path / "model.safetensors").exists()
    assert all(file.stat().st_size < 20_000 for file in files)
    total = read_json(tmp_path / INDEX)["metadata"]["total_size"]
    assert total == sum(weight.numel() * 4 for weight in network.parameters())
    assert_transformers_agrees(tmp_path, network)
    torch.testing.assert_close(read_network(tmp_path).state_dict(), network.state_dict(), rtol=0, atol=0)


def test_shards_that_transformers_wrote_are_read(tmp_path: Path):
    model = transformers.AutoModelForCausalLM.from_config(Variant("qwen3", "").config(), dtype=torch.float32)
    tiny.randomise(model)
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    tokens = tiny.text(2, LENGTH)
    torch.testing.assert_close(our_logits(read_network(tmp_path), tokens), their_logits(model, tokens), **CLOSE)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_number_format_survives_the_round_trip(dtype: torch.dtype, tmp_path: Path):
    network = tiny.network().to(dtype)
    write_network(tmp_path, network)
    assert read_json(tmp_path / "config.json")["torch_dtype"] == str(dtype).removeprefix("torch.")
    assert transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype="auto").dtype == dtype
    back = read_network(tmp_path)
    assert back.dtype == dtype
    torch.testing.assert_close(back.state_dict(), network.state_dict(), rtol=0, atol=0)
    assert read_network(tmp_path, torch.float32).dtype == torch.float32


def test_old_spellings_of_rotary_settings_mean_the_same(tmp_path: Path):
    """Files from before transformers 5 say rope_theta and rope_scaling, and older ones `type`."""
    from lmworks.models.families import family_of

    base = {key: value for key, value in SMALL.items() if value is not None}
    scaling = {"factor": 4.0, "original_max_position_embeddings": 32}
    new = base | {"rope_parameters": {"rope_type": "yarn", "rope_theta": 500.0} | scaling}
    old = base | {"rope_theta": 500.0, "rope_scaling": {"type": "yarn"} | scaling}
    family = family_of("llama")
    assert family.config_from(new) == family.config_from(old)
    assert family.config_from(new).rope_theta == 500.0


LINEAR = {"rope_type": "linear", "factor": 4.0}
KINDS = {
    "full_attention": {"rope_type": "default", "rope_theta": 700.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 50.0},
}
LATENT = {
    "head_dim": None,
    "num_key_value_heads": 4,
    "kv_lora_rank": 8,
    "q_lora_rank": None,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "n_group": 1,
    "topk_group": 1,
}


@pytest.mark.parametrize(
    "family, theirs, said",
    [
        ("llama", {}, {"rope_scaling": LINEAR}),
        ("llama", {}, {"rope_scaling": {}}),
        ("llama", {}, {"rope_scaling": LINEAR | {"rope_theta": 300.0}}),
        ("gpt_neox", {}, {"rope_scaling": LINEAR, "rotary_emb_base": 500.0, "rotary_pct": 1.0}),
        ("phi", {}, {"rope_scaling": LINEAR | {"partial_rotary_factor": 0.5}}),
        ("hunyuan_v1_dense", {}, {"rope_scaling": {"rope_type": "dynamic", "alpha": 9.0, "factor": 1.0}}),
        ("deepseek_v3", LATENT, {"rope_scaling": LINEAR | {"mscale_all_dim": 1.0}}),
        (
            "gemma3_text",
            {"sliding_window": 7, "sliding_window_pattern": 2},
            {"rope_scaling": LINEAR, "rope_parameters": KINDS},
        ),
    ],
)
def test_rotary_settings_in_two_spellings_at_once(
    family: str, theirs: dict[str, Any], said: dict[str, Any], tmp_path: Path
):
    """The one that transformers takes, and where it changes the other, the two together."""
    both = {"rope_theta": 500.0, "rope_parameters": {"rope_type": "default", "rope_theta": 5000.0}} | said
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(family, **SMALL | theirs)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(read_json(tmp_path / "config.json") | both))
    reference = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    ids = torch.randint(SMALL["vocab_size"], (2, LENGTH))
    torch.testing.assert_close(read_network(tmp_path, torch.float32)(ids), reference(ids).logits, **CLOSE)


SIZES = {
    "vocab_size": 96,
    "hidden_size": 512,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 64,
    "max_position_embeddings": 128,
}
SPARSE = [
    ("llama", {}),
    ("llama", {"num_key_value_heads": None, "head_dim": None}),
    ("mistral", {}),
    ("mistral", {"sliding_window": None}),
    ("qwen2", {}),
    ("qwen2", {"sliding_window": 7, "max_window_layers": 0}),
    ("qwen2", WINDOW),
    ("qwen2", WINDOW | {"max_window_layers": 1}),
    ("qwen2", WINDOW | {"max_window_layers": 1, "sliding_window": None}),
    ("qwen3", {}),
    ("qwen3", WINDOW | {"max_window_layers": 2}),
    ("mixtral", {}),
    ("mixtral", {"sliding_window": 9}),
    ("qwen2_moe", {}),
    ("qwen2_moe", WINDOW | {"max_window_layers": 2}),
    ("qwen3_moe", {}),
    ("qwen3_moe", WINDOW),
    ("gemma", {}),
    ("gemma", {"hidden_act": "gelu"}),
    ("gpt2", {}),
    ("gpt2", {"n_inner": None, "activation_function": "gelu"}),
]


@pytest.mark.parametrize("family, settings", SPARSE, ids=str)
def test_what_a_config_leaves_out_means_what_transformers_takes(family: str, settings: dict[str, Any]):
    """Older files name fewer keys; transformers fills them in, and we read both alike."""
    from lmworks.models.families import family_of

    sizes = {"vocab_size": 96, "n_embd": 64, "n_layer": 3, "n_head": 4} if family == "gpt2" else SIZES
    filled_in = transformers.AutoConfig.for_model(family, **(sizes | settings)).to_dict()
    assert len(filled_in) > len(sizes | settings) + 5
    assert family_of(family).config_from(sizes | settings) == family_of(family).config_from(filled_in)


def test_a_first_hour_gpt2_file_without_prefix_is_read(tmp_path: Path):
    from safetensors.torch import load_file, save_file

    model = transformers.AutoModelForCausalLM.from_config(Variant("gpt2", "").config(), dtype=torch.float32)
    tiny.randomise(model)
    model.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    bare = {name.removeprefix("transformer."): tensor for name, tensor in load_file(file).items()}
    bare |= {f"h.{layer}.attn.bias": torch.ones(1, 1, 128, 128).tril() for layer in range(3)}  # as the first files
    save_file(bare, file, metadata={"format": "pt"})
    tokens = tiny.text(2, LENGTH)
    torch.testing.assert_close(our_logits(read_network(tmp_path), tokens), their_logits(model, tokens), **CLOSE)


def test_initialised_weights_have_the_documented_deviations():
    network = Network(ModelConfig(vocab_size=512, dim=128, layers=4, heads=4, context=64)).initialise(seed=3)
    block = network.blocks[0]
    assert block.attention.qkv.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert block.attention.output.weight.std().item() == pytest.approx(0.02 / 8**0.5, rel=0.05)
    again = Network(network.config).initialise(seed=3)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))
