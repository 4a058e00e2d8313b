"""OLMoE, Granite's experts, gpt-oss, DeepSeek-V2 and V3, GLM-4.5 and LFM2 against transformers: as test_families.py,
and cached too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file

from lmworks.basics.errors import ModelError
from lmworks.models.config import ConvolutionSettings, ExpertSettings, LatentSettings, RopeScaling
from lmworks.models.families import family_of
from lmworks.models.files.directory import read_network, write_network
from lmworks.models.files.model_folder import read_config
from lmworks.models.network import Network
from reference.test_families import (
    CLOSE,
    LENGTH,
    SMALL,
    Variant,
    assert_transformers_agrees,
    our_logits,
    rope,
    their_logits,
    transformers,
    without,
)
from reference.test_older_families import try_wrong_values

YARN = {"factor": 4.0, "original_max_position_embeddings": 16}
FEW = {"num_experts_per_tok": 2, "moe_intermediate_size": 24, "n_routed_experts": 6, "n_shared_experts": 2}
LATENT = {"kv_lora_rank": 12, "q_lora_rank": 20, "qk_rope_head_dim": 4, "qk_nope_head_dim": 8, "v_head_dim": 6}
GROUPED = {"n_group": 3, "topk_group": 2, "first_k_dense_replace": 1}
GRANITE = {"num_local_experts": 5, "num_experts_per_tok": 2, "attention_multiplier": 0.3}
OF: dict[str, dict[str, Any]] = {
    "olmoe": {"num_experts": 5, "num_experts_per_tok": 2, "head_dim": None},
    "gpt_oss": {"num_local_experts": 5, "num_experts_per_tok": 2, "sliding_window": 7, "rope_parameters": None},
    "deepseek_v3": FEW | LATENT | GROUPED | {"num_key_value_heads": 4, "head_dim": None},
    "deepseek_v2": FEW | LATENT | {"num_key_value_heads": 4, "head_dim": None, "first_k_dense_replace": 1},
    "glm4_moe": FEW | GROUPED,
    "granitemoe": GRANITE | {"head_dim": None},
    "granitemoeshared": GRANITE | {"head_dim": None, "shared_intermediate_size": 40},
    "granitemoehybrid": GRANITE
    | {"head_dim": None, "layer_types": ["full_attention"] * 3, "mamba_n_heads": 4, "shared_intermediate_size": 40},
    "lfm2": {"layer_types": ["conv", "full_attention", "conv"], "block_multiple_of": 16, "head_dim": None},
}


class OfExperts(Variant):
    """A switch of one of these families."""

    def config(self) -> Any:
        small = {key: value for key, value in (SMALL | OF[self.family]).items() if value is not None or "token" in key}
        return transformers.AutoConfig.for_model(self.family, **(small | self.theirs))


def routed(**settings: Any) -> dict[str, Any]:
    """Our config's experts: what `FEW` and `GROUPED` say, and more."""
    said = {"count": 6, "top_k": 2, "hidden_dim": 24, "scores": "sigmoid", "choice_bias": True, "shared_dim": 48}
    groups = {"groups": 3, "top_groups": 2, "layers": (1, 2), "scale": 2.5}
    return {"experts": ExpertSettings(**(said | groups | settings))}


def greedily(**settings: Any) -> dict[str, Any]:
    """The same of DeepSeek-V2's."""
    chosen = {"scores": "softmax", "choice_bias": False, "normalised": False, "groups": 1, "top_groups": None}
    return routed(**(chosen | {"scale": 1.0} | settings))


def few(**settings: Any) -> dict[str, Any]:
    return {"experts": ExpertSettings(**({"count": 5, "top_k": 2} | settings))}


LATENTLY = LatentSettings(rank=12, query_rank=20, value_dim=6)
FACTORS = {"embedding_multiplier": 3.0, "residual_multiplier": 0.5, "logits_scaling": 4.0}
CONVOLVED = ConvolutionSettings(layers=(0, 2))
VARIANTS = [
    OfExperts("olmoe", "norms over the row", {}, {"qk_norm_over": "row"}, {"qk_norm": False, "qk_norm_over": "head"}),
    OfExperts("olmoe", "as they come out", {}, few(normalised=False), few()),
    OfExperts("olmoe", "normalised", {"norm_topk_prob": True}, few(), few(normalised=False)),
    OfExperts("olmoe", "attention bias", {"attention_bias": True}, {"qkv_bias": True, "output_bias": True}),
    OfExperts("gpt_oss", "sinks", {}, {"sinks": True}, {"sinks": False}),
    OfExperts("gpt_oss", "windows", {}, {"window": 7, "window_layers": (0, 2)}, {"window_layers": (1,)}),
    OfExperts("gpt_oss", "no window", {"layer_types": ["full_attention"] * 3}, {"window": None}, {"window": 7}),
    OfExperts("gpt_oss", "cut off", {"swiglu_limit": 0.2}, {"gate_limit": 0.2}, {"gate_limit": 7.0}),
    OfExperts("gpt_oss", "shifted", {}, {"gate_shift": True, "gate_limit": 7.0}, {"gate_shift": False}),
    OfExperts("gpt_oss", "quick gelu", {}, {"activation": "quick_gelu"}, {"activation": "silu"}),
    OfExperts("gpt_oss", "biases", {}, few(router_bias=True), few()),
    OfExperts("gpt_oss", "no attention bias", {"attention_bias": False}, {"qkv_bias": False, "output_bias": False}),
    OfExperts(
        "gpt_oss",
        "YaRN between dimensions",
        rope("yarn", truncate=False, **YARN) | {"head_dim": 16},
        {"rope_scaling": RopeScaling(kind="yarn", factor=4.0, original_context=16, truncate=False)},
        {"rope_scaling": RopeScaling(kind="yarn", factor=4.0, original_context=16)},
    ),
    OfExperts(
        "gpt_oss", "plain rotation, tied", rope("default") | {"tie_word_embeddings": True}, {"rope_scaling": None}
    ),
    OfExperts("deepseek_v3", "latent", {}, {"latent": LATENTLY, "head_dim": 12, "rotary_dim": 4}),
    OfExperts("deepseek_v3", "plain queries", {"q_lora_rank": None}, {"latent": LatentSettings(rank=12, value_dim=6)}),
    OfExperts("deepseek_v3", "groups", {}, routed(), routed(groups=1, top_groups=None)),
    OfExperts("deepseek_v3", "the stored bias", {}, routed(), routed(choice_bias=False)),
    OfExperts("deepseek_v3", "not normalised", {"norm_topk_prob": False}, routed(normalised=False), routed()),
    OfExperts("deepseek_v3", "biases", {"attention_bias": True}, {"qkv_bias": True, "output_bias": True}),
    OfExperts("deepseek_v3", "experts everywhere", {"first_k_dense_replace": 0}, routed(layers=None)),
    OfExperts(
        "deepseek_v3",
        "YaRN with both mscales",
        rope("yarn", mscale=1.0, mscale_all_dim=0.7, **YARN) | {"qk_rope_head_dim": 8},
        {"attention_scale": 16**-0.5 * (0.07 * 1.3862943611198906 + 1) ** 2},
        {"attention_scale": None},
    ),
    OfExperts("deepseek_v2", "latent", {}, {"latent": LATENTLY, "head_dim": 12, "rotary_dim": 4}),
    OfExperts("deepseek_v2", "a softmax", {"q_lora_rank": None}, greedily(), greedily(normalised=True)),
    OfExperts("deepseek_v2", "scaled", {"routed_scaling_factor": 2.5}, greedily(scale=2.5), greedily()),
    OfExperts("deepseek_v2", "biases", {"attention_bias": True}, {"qkv_bias": True, "output_bias": True}),
    OfExperts(
        "deepseek_v2",
        "YaRN with both mscales",
        rope("yarn", mscale=0.7, mscale_all_dim=0.7, **YARN) | {"qk_rope_head_dim": 8},
        {"attention_scale": 16**-0.5 * (0.07 * 1.3862943611198906 + 1) ** 2},
        {"attention_scale": None},
    ),
    OfExperts("glm4_moe", "turned in part", {"head_dim": 16}, {"rotary_dim": 8}, {"rotary_dim": None}),
    OfExperts("glm4_moe", "norms of query and key", {"use_qk_norm": True}, {"qk_norm": True}, {"qk_norm": False}),
    OfExperts("glm4_moe", "one group", {"n_group": 1, "topk_group": 1}, routed(groups=1, top_groups=None, scale=1.0)),
    OfExperts("granitemoe", "experts", {}, few() | {"attention_scale": 0.3}, {"attention_scale": None}),
    OfExperts("granitemoe", "factors", FACTORS, {"residual_scale": 0.5, "head_scale": 0.25}, {"residual_scale": None}),
    OfExperts("granitemoeshared", "a shared one", {"attention_bias": True}, few(shared_dim=40), few()),
    OfExperts("granitemoeshared", "none shared", {"shared_intermediate_size": 0}, few(shared_dim=0)),
    OfExperts(
        "granitemoehybrid", "no positions", {}, few(shared_dim=40) | {"positions": "none"}, {"positions": "rope"}
    ),
    OfExperts(
        "granitemoehybrid",
        "dense and rotated",
        FACTORS | rope("default") | {"num_local_experts": 0, "position_embedding_type": "rope"},
        {"experts": None, "hidden_dim": 40, "rope_theta": 500.0},
    ),
    OfExperts("lfm2", "convolutions", {}, {"convolution": CONVOLVED, "hidden_dim": 32}),
    OfExperts("lfm2", "wide, with biases", {"conv_L_cache": 5, "conv_bias": True}),
    OfExperts("lfm2", "first of all attention", {"layer_types": ["full_attention"] * 3}, {"convolution": None}),
    OfExperts("lfm2", "as wide as it says", {"block_auto_adjust_ff_dim": False}, {"hidden_dim": 48}),
    OfExperts("lfm2", "untied", {"tie_word_embeddings": False}, {"tied": False, "qk_norm": True}, {"qk_norm": False}),
    OfExperts("glm4_moe", "biases", {"attention_bias": True}, {"qkv_bias": True, "output_bias": False}),
]
each_variant = pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: f"{variant.family}: {variant.name}")


def fill_biases(module: torch.nn.Module) -> None:
    """Stored biases are no parameters, and those of 0 would show nothing."""
    for name, buffer in module.named_buffers():
        if name.endswith(("e_score_correction_bias", "choice_bias")):
            buffer.copy_(torch.linspace(0.4, -0.4, len(buffer)))


@each_variant
def test_a_model_that_transformers_saved_gives_equal_logits_cached_too(variant: OfExperts, tmp_path: Path):
    model = transformers.AutoModelForCausalLM.from_config(variant.config(), dtype=torch.float32)
    tiny.randomise(model)
    fill_biases(model)
    model.save_pretrained(tmp_path)
    network = read_network(tmp_path)
    tokens = tiny.text(2, LENGTH)
    ours = our_logits(network, tokens)
    torch.testing.assert_close(ours, their_logits(model, tokens), **CLOSE)
    assert {key: getattr(network.config, key) for key in variant.ours} == variant.ours
    cache = network.new_cache(2)
    with torch.inference_mode():
        parts = [network(part, cache=cache) for part in tokens.split([25, 1, 5, 9], dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), ours, **CLOSE)
    if variant.off:
        assert not torch.allclose(our_logits(without(network, variant.off), tokens), ours, **CLOSE)


def test_mxfp4_is_read_as_the_values_that_it_stands_for(tmp_path: Path):
    """As gpt-oss is published: against transformers' own unpacking, in bfloat16, which holds each value exactly."""
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors

    config = OfExperts("gpt_oss", "", {"intermediate_size": 64, "hidden_size": 64}).config()
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    tiny.randomise(model)
    model.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors, generator = load_file(file), torch.Generator().manual_seed(2)
    for name in [name for name in tensors if name.endswith(("gate_up_proj", "down_proj"))]:
        experts, inputs, outputs = tensors.pop(name).shape
        blocks = torch.randint(0, 256, (experts, outputs, inputs // 32, 16), dtype=torch.uint8, generator=generator)
        scales = torch.randint(118, 126, (experts, outputs, inputs // 32), dtype=torch.uint8, generator=generator)
        tensors |= {f"{name}_blocks": blocks, f"{name}_scales": scales}
        model.get_parameter(name).data = convert_moe_packed_tensors(blocks, scales)
    save_file(tensors, file, metadata={"format": "pt"})
    config.quantization_config = {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}
    config.save_pretrained(tmp_path)
    network, tokens = read_network(tmp_path, torch.float32), tiny.text(2, LENGTH)
    theirs = their_logits(model.float(), tokens)
    largest = float(theirs.abs().max())
    torch.testing.assert_close(our_logits(network, tokens) / largest, theirs / largest, **CLOSE)
    assert read_network(tmp_path).dtype == torch.bfloat16
    for name, changed in damaged(tensors):
        save_file(changed, file, metadata={"format": "pt"})
        with pytest.raises(ModelError, match=name):
            read_network(tmp_path)


def damaged(tensors: dict[str, torch.Tensor]) -> list[tuple[str, dict[str, torch.Tensor]]]:
    """Files with one fault each, and what the error names."""
    at = "model.layers.1.mlp.experts.down_proj"
    blocks, scales = tensors[f"{at}_blocks"], tensors[f"{at}_scales"]
    without_scales = {name: tensor for name, tensor in tensors.items() if name != f"{at}_scales"}
    return [
        ("down_proj", without_scales),
        ("down_proj", tensors | {f"{at}_blocks": blocks[..., :15].contiguous()}),
        ("no number", tensors | {f"{at}_scales": torch.full_like(scales, 255)}),
        ("twice", tensors | {at: torch.zeros(5, 64, 64)}),
        ("5 experts", tensors | {f"{at}_blocks": blocks[:3].contiguous(), f"{at}_scales": scales[:3].contiguous()}),
        ("down", tensors | {f"{at}_blocks": blocks[:, :32].contiguous(), f"{at}_scales": scales[:, :32].contiguous()}),
    ]


@each_variant
def test_transformers_loads_what_we_write_with_equal_logits(variant: OfExperts, tmp_path: Path):
    variant.config().save_pretrained(tmp_path / "theirs")
    network = Network(read_config(tmp_path / "theirs")).initialise().eval()
    tiny.randomise(network, seed=1)
    fill_biases(network)
    (tmp_path / "ours").mkdir()
    write_network(tmp_path / "ours", network)
    assert_transformers_agrees(tmp_path / "ours", network)
    assert read_network(tmp_path / "ours").config == network.config


def test_a_stored_bias_is_not_rounded_with_the_weights(tmp_path: Path):
    config = family_of("deepseek_v3").config_from(SMALL | OF["deepseek_v3"])
    network = Network(config).initialise()
    fill_biases(network)
    exact = network.state_dict()["blocks.1.feed_forward.router.choice_bias"].clone()
    assert not torch.equal(exact.bfloat16().float(), exact)
    write_network(tmp_path, network.to(torch.bfloat16))
    back = read_network(tmp_path)
    assert back.dtype == torch.bfloat16
    for one in (network, back, read_network(tmp_path, torch.float16)):
        bias = one.state_dict()["blocks.1.feed_forward.router.choice_bias"]
        torch.testing.assert_close(bias, exact, rtol=0, atol=0)


SIZES = {"vocab_size": 96, "hidden_size": 512, "num_hidden_layers": 4, "num_attention_heads": 8}
SPARSE = [
    ("olmoe", {}),
    ("granitemoe", {}),
    ("granitemoeshared", {}),
    ("granitemoehybrid", {"layer_types": ["attention"] * 4}),
    ("gpt_oss", {}),
    ("gpt_oss", {"sliding_window": 9, "layer_types": ["full_attention"] * 3 + ["sliding_attention"]}),
    ("deepseek_v3", {}),
    ("deepseek_v3", {"q_lora_rank": None, "n_group": 1, "topk_group": 1}),
    ("deepseek_v2", {"num_experts_per_tok": 2, "moe_intermediate_size": 96}),
    ("deepseek_v2", {"num_experts_per_tok": 2, "q_lora_rank": None, "first_k_dense_replace": 1}),
    ("lfm2", {}),
    ("lfm2", {"full_attn_idxs": [1, 3], "block_ff_dim": 640, "tie_embedding": False}),
    ("glm4_moe", {}),
    ("glm4_moe", {"first_k_dense_replace": 4}),
]


@pytest.mark.parametrize(("family", "settings"), SPARSE, ids=str)
def test_what_a_config_leaves_out_means_what_transformers_takes(family: str, settings: dict[str, Any]):
    filled_in = transformers.AutoConfig.for_model(family, **(SIZES | settings)).to_dict()
    assert len(filled_in) > len(SIZES | settings) + 5
    assert family_of(family).config_from(SIZES | settings) == family_of(family).config_from(filled_in)


@pytest.mark.parametrize("family", OF)
def test_values_of_the_wrong_kind_are_read_or_refused(family: str):
    said = {"rope_theta": 500.0, "rope_scaling": {"rope_type": "yarn", "mscale": 1.0, "mscale_all_dim": 1.0} | YARN}
    try_wrong_values(family, SMALL | OF[family] | said)


def test_layers_that_predict_further_tokens_are_left_out(tmp_path: Path):
    """As DeepSeek-V3 and GLM-4.5 are published; a layer too many elsewhere is still an error."""
    model = transformers.AutoModelForCausalLM.from_config(OfExperts("deepseek_v3", "").config(), dtype=torch.float32)
    tiny.randomise(model)
    model.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    further = {"model.layers.3.eh_proj.weight": torch.ones(32, 64), "model.layers.3.enorm.weight": torch.ones(32)}
    tokens = tiny.text(1, 9)
    before = our_logits(read_network(tmp_path), tokens)
    save_file(load_file(file) | further, file, metadata={"format": "pt"})
    torch.testing.assert_close(our_logits(read_network(tmp_path), tokens), before, **CLOSE)
    save_file(load_file(file) | {"model.layers.2.extra": torch.ones(1)}, file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"layers\.2\.extra"):
        read_network(tmp_path)


@pytest.mark.parametrize(
    ("family", "settings", "says"),
    [
        ("lfm2", {"layer_types": ["conv", "full_attention", "linear_attention"]}, "layer_types"),
        ("lfm2", {"conv_L_cache": 1}, "width"),
        ("granitemoehybrid", {"layer_types": ["mamba", "attention", "attention"]}, "mamba"),
        ("olmoe", {"clip_qkv": 8.0}, "clip_qkv"),
        ("gpt_oss", {"swiglu_alpha": 1.5}, "swiglu_alpha"),
        ("gpt_oss", {"layer_types": ["full_attention"]}, "each of the 3 layers"),
        ("deepseek_v3", {"rope_interleave": False}, "rope_interleave"),
        ("deepseek_v3", {"kv_lora_rank": 0}, "rank"),
        ("deepseek_v2", {"topk_method": "group_limited_greedy"}, "topk_method"),
        ("deepseek_v3", {"n_group": 4}, "groups"),
        ("glm4_moe", {"num_experts_per_tok": 5}, "top_k"),
    ],
)
def test_what_the_network_does_not_do_is_refused(family: str, settings: dict[str, Any], says: str):
    with pytest.raises(ModelError, match=says):
        family_of(family).config_from(SMALL | OF[family] | settings)


@pytest.mark.parametrize(
    ("family", "changed", "says"),
    [
        ("olmoe", few(router_bias=True), "router_bias"),
        ("gpt_oss", few(router_bias=True, scale=2.0), "scale"),
        ("gpt_oss", {"gate_shift": False}, "gate_shift"),
        ("deepseek_v3", {"attention_scale": 0.5}, "attention_scale"),
        ("deepseek_v3", routed(scores="softmax"), "scores"),
        ("deepseek_v2", routed(), "scores"),
        ("deepseek_v2", greedily(normalised=True), "normalised"),
        ("glm4_moe", routed(layers=(0, 2)), "dense layers at the beginning"),
        ("glm4_moe", {"sinks": True}, "sinks"),
    ],
)
def test_what_a_family_cannot_express_is_not_written(family: str, changed: dict[str, Any], says: str):
    config = family_of(family).config_from(SMALL | OF[family]).but(**changed)
    with pytest.raises(ModelError, match=says):
        family_of(family).config_to(config)
