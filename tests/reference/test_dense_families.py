"""Dense decoders against transformers: equal logits from random weights, both ways, cached and not, every switch on.

A family is its declaration and a line below: what its small config says beside SMALL, and what ours then has.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch

from lmworks.basics.errors import ModelError
from lmworks.models.config import ModelConfig, RopeScaling
from lmworks.models.families import family_of
from lmworks.models.files.directory import read_network, write_network
from lmworks.models.network import Network
from tests.reference.test_families import CLOSE, LENGTH, SMALL, assert_transformers_agrees, rope, their_logits, without

transformers = pytest.importorskip("transformers", reason="pip install 'lmworks[dev]'")

HALF_TURNED = {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 0.5}}
KINDS = {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"], "sliding_window": 7}
WINDOWS = {"window": 7, "window_layers": (0, 2)}
BIASES = {"qkv_bias": True, "output_bias": True}
YARN = {"rope_type": "yarn", "rope_theta": 500.0, "factor": 4.0, "original_max_position_embeddings": 32}
OUR_YARN = RopeScaling(kind="yarn", factor=4.0, original_context=32)
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 500.0,
    "partial_rotary_factor": 0.5,
    "short_factor": [1.0, 1.5],
    "long_factor": [2.0, 4.0],
}
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any], list[dict[str, Any]]]] = {
    # what it shows: family, theirs, ours, and for each switch ours without it
    "gemma2": (
        "gemma2",
        KINDS
        | rope("default")
        | {"query_pre_attn_scalar": 5, "attn_logit_softcapping": 0.5, "final_logit_softcapping": 2.0}
        | {"attention_bias": True},
        WINDOWS | BIASES | {"norm_place": "both", "attention_scale": 5**-0.5, "attention_cap": 0.5, "logit_cap": 2.0},
        [
            {"attention_cap": None},
            {"logit_cap": None},
            {"norm_place": "before"},
            {"window": None, "window_layers": None},
        ],
    ),
    "gemma2 without caps": (
        "gemma2",
        {"attn_logit_softcapping": None, "final_logit_softcapping": None, "sliding_window": 7},
        WINDOWS | {"attention_cap": None, "logit_cap": None},
        [{"norm_unit_offset": False}],
    ),
    "gemma3": (
        "gemma3_text",
        KINDS
        | {
            "rope_parameters": {
                "full_attention": YARN,
                "sliding_attention": {"rope_type": "default", "rope_theta": 50.0},
            }
        },
        WINDOWS | {"qk_norm": True, "rope_theta": 500.0, "window_theta": 50.0, "rope_scaling": OUR_YARN},
        [{"window_theta": None}, {"qk_norm": False}, {"norm_unit_offset": False}, {"rope_scaling": None}],
    ),
    "gemma3 by its pattern, capped": (
        "gemma3_text",
        {"sliding_window": 7, "sliding_window_pattern": 2, "final_logit_softcapping": 2.0},
        WINDOWS | {"rope_theta": 1e6, "window_theta": 1e4, "logit_cap": 2.0},
        [],
    ),
    "gemma3 without a window": (
        "gemma3_text",
        {"layer_types": ["full_attention"] * 3},
        {"window": None, "window_theta": None},
        [],
    ),
    "phi3": ("phi3", rope("default") | {"sliding_window": 7}, {"window": 7, "rotary_dim": None}, [{"window": None}]),
    "phi3 longer": (
        "phi3",
        {"rope_parameters": LONGROPE, "original_max_position_embeddings": 32, "tie_word_embeddings": True},
        {"rotary_dim": 4, "tied": True}
        | {
            "rope_scaling": RopeScaling(
                kind="longrope", factor=4.0, original_context=32, short_factors=(1.0, 1.5), long_factors=(2.0, 4.0)
            )
        },
        [{"rope_scaling": None}],
    ),
    "phi3 shorter": (
        "phi3",
        {"rope_parameters": LONGROPE | {"attention_factor": 1.3}, "original_max_position_embeddings": 64},
        {},
        [{"rope_scaling": None}],
    ),
    "smollm3": (
        "smollm3",
        {"no_rope_layers": [1, 0, 1], "use_sliding_window": True, "sliding_window": 7, "attention_bias": True},
        {"rope_layers": (0, 2), "window": 7, "window_layers": (1,)} | BIASES,
        [{"rope_layers": None}, {"window": None, "window_layers": None}],
    ),
    "smollm3 by its interval": (
        "smollm3",
        {"no_rope_layer_interval": 2, "mlp_bias": True},
        {"rope_layers": (0, 2), "feed_forward_bias": True},
        [],
    ),
    "granite": (
        "granite",
        {"embedding_multiplier": 12.0, "residual_multiplier": 0.22, "logits_scaling": 6.0, "attention_multiplier": 0.5},
        {"embedding_scale": 12.0, "residual_scale": 0.22, "head_scale": 0.16666666666667, "attention_scale": 0.5},
        [{"embedding_scale": None}, {"residual_scale": None}, {"head_scale": None}, {"attention_scale": None}],
    ),
    "granite without factors": (
        "granite",
        {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
        {"embedding_scale": None, "residual_scale": None, "head_scale": None, "attention_scale": 1.0} | BIASES,
        [],
    ),
    "olmo": ("olmo", {"attention_bias": True}, {"norm_weight": False, "norm_bias": False} | BIASES, [{"norm": "rms"}]),
    "olmo2": (
        "olmo2",
        rope("default") | {"attention_bias": True},
        {"norm_place": "result", "qk_norm_over": "row"} | BIASES,
        [{"norm_place": "before"}, {"qk_norm": False, "qk_norm_over": "head"}],
    ),
    "olmo3": (
        "olmo3",
        KINDS
        | {
            "rope_parameters": {
                "full_attention": YARN,
                "sliding_attention": {"rope_type": "default", "rope_theta": 500.0},
            }
        },
        WINDOWS | {"rope_scaling": OUR_YARN, "window_theta": 500.0},
        [{"window_theta": None}],
    ),
    "phi": (
        "phi",
        HALF_TURNED,
        {"rotary_dim": 4, "shared_norm": True, "parallel": True, "head_bias": True},
        [{"rotary_dim": None}, {"shared_norm": False, "parallel": False}, {"head_bias": False}],
    ),
    "cohere": (
        "cohere",
        {"attention_bias": True, "logit_scale": 0.3},
        {"head_scale": 0.3, "norm_bias": False, "shared_norm": True} | BIASES,
        [{"head_scale": None}, {"norm": "rms"}],
    ),
    "cohere2": ("cohere2", KINDS, WINDOWS | {"rope_layers": (0, 2)}, [{"rope_layers": None}]),
    "cohere2 without a window": ("cohere2", {"layer_types": ["full_attention"] * 3}, {"rope_layers": ()}, []),
    "glm": ("glm", {"head_dim": 12}, {"rotary_dim": 6, "qkv_bias": True, "output_bias": False}, [{"rotary_dim": None}]),
    "glm4": ("glm4", {"attention_bias": False}, {"norm_place": "both", "rotary_dim": 4}, [{"norm_place": "before"}]),
    "starcoder2": ("starcoder2", {"sliding_window": 7}, {"window": 7} | BIASES, [{"window": None}, {"norm": "rms"}]),
    "starcoder2 without biases": ("starcoder2", {"use_bias": False}, {"feed_forward_bias": False}, []),
    "stablelm": ("stablelm", HALF_TURNED | {"use_qkv_bias": True}, {"rotary_dim": 4, "qkv_bias": True}, []),
    "stablelm in parallel": (
        "stablelm",
        {"use_parallel_residual": True},
        {"shared_norm": True},
        [{"shared_norm": False}],
    ),
    "nemotron": (
        "nemotron",
        {"attention_bias": True, "mlp_bias": True, "head_dim": 12},
        {"norm_unit_offset": True, "rotary_dim": 6, "activation": "relu_squared"} | BIASES,
        [{"norm_unit_offset": False}, {"activation": "relu"}],
    ),
    "exaone4": (
        "exaone4",
        KINDS,
        WINDOWS | {"norm_place": "result", "rope_layers": (0, 2)},
        [{"rope_layers": None}, {"norm_place": "before"}],
    ),
    "exaone4 without a window": (
        "exaone4",
        {"sliding_window": None, "layer_types": ["full_attention"] * 3},
        {"rope_layers": None, "window": None},
        [],
    ),
    "ernie4_5": ("ernie4_5", {"use_bias": True}, {"feed_forward_bias": True} | BIASES, []),
    "seed_oss": ("seed_oss", {"attention_out_bias": True, "mlp_bias": True}, {"feed_forward_bias": True} | BIASES, []),
    "hunyuan": (
        "hunyuan_v1_dense",
        {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 500.0, "alpha": 9.0, "factor": 1.0}}
        | {"attention_bias": True},
        {"qk_norm_after": True} | BIASES,
        [{"qk_norm_after": False}, {"rope_theta": 500.0}],
    ),
    "apertus": ("apertus", rope("default"), {"activation": "xielu", "qk_norm": True}, [{"activation": "relu_squared"}]),
    "apertus stretched": (
        "apertus",
        {},
        {"rope_scaling": RopeScaling(kind="llama3", factor=8.0, original_context=8192), "rope_theta": 12e6},
        [{"rope_theta": 1e4}],
    ),
    "arcee": ("arcee", {"mlp_bias": True}, {"activation": "relu_squared", "gated": False}, [{"activation": "relu"}]),
    "helium": ("helium", {"attention_bias": True, "mlp_bias": True}, {"qkv_bias": True, "output_bias": False}, []),
}
GEMMA2 = {"family": "gemma2", **family_of("gemma2").fixed}
each_case = pytest.mark.parametrize("case", CASES)


def logits(network: Network, tokens: torch.Tensor, cached: bool = False) -> torch.Tensor:
    """Of the whole text at once, or in parts through a cache."""
    cache = network.new_cache(len(tokens)) if cached else None
    with torch.inference_mode():
        parts = tokens.split([17, 1, 1, 21], dim=1) if cached else [tokens]
        return torch.cat([network(part, cache=cache) for part in parts], dim=1)


@each_case
def test_logits_are_those_of_transformers_both_ways(case: str, tmp_path: Path):
    family, theirs, ours, without_each = CASES[case]
    config = transformers.AutoConfig.for_model(family, **(SMALL | theirs))
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    tiny.randomise(model)
    model.save_pretrained(tmp_path / "theirs")
    network, tokens = read_network(tmp_path / "theirs"), tiny.text(2, LENGTH)
    assert {key: getattr(network.config, key) for key in ours} == ours
    expected = their_logits(model, tokens)
    torch.testing.assert_close(logits(network, tokens), expected, **CLOSE)
    scaling = network.config.rope_scaling
    if scaling is None or not scaling.turns_with_length:
        torch.testing.assert_close(logits(network, tokens, cached=True), expected, **CLOSE)
    for off in without_each:
        assert not torch.allclose(logits(without(network, off), tokens), expected, **CLOSE), off
    (tmp_path / "ours").mkdir()
    write_network(tmp_path / "ours", network)
    assert_transformers_agrees(tmp_path / "ours", network)
    assert read_network(tmp_path / "ours").config == network.config


def test_the_text_part_of_a_gemma3_that_sees_images_is_read(tmp_path: Path):
    text = SMALL | KINDS | {"model_type": "gemma3_text"}
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    images = sizes | {"image_size": 8, "patch_size": 4, "model_type": "siglip_vision_model"}
    config = transformers.Gemma3Config(text_config=text, vision_config=images, mm_tokens_per_image=4)
    model = transformers.Gemma3ForConditionalGeneration(config).float()
    tiny.randomise(model)
    model.save_pretrained(tmp_path)
    network, tokens = read_network(tmp_path), tiny.text(2, LENGTH)
    assert network.config.family == "gemma3_text"
    torch.testing.assert_close(logits(network, tokens), their_logits(model, tokens), **CLOSE)


def test_phi3s_first_files_have_another_name_for_its_rotary_scaling():
    theirs = SMALL | {"rope_scaling": {"type": "su", "short_factor": [1.0] * 4, "long_factor": [2.0] * 4}}
    config = family_of("phi3").config_from(theirs | {"original_max_position_embeddings": 32})
    assert config.rope_scaling is not None and config.rope_scaling.kind == "longrope"


def test_what_a_family_cannot_say_is_not_written():
    small = {"vocab_size": 96, "dim": 32, "layers": 4, "heads": 4, "context": 64}
    cases = [
        ({"family": "phi3", "rope_scaling": {"kind": "linear", "factor": 2.0}}, "only longrope"),
        (GEMMA2 | {"attention_scale": 0.3}, "no whole number"),
        ({"family": "olmo2", **family_of("olmo2").fixed, "window": 7}, "cannot have window = 7"),
        ({"family": "olmo3", **family_of("olmo3").fixed, "window": 7, "rope_scaling": OUR_YARN}, "give window_theta"),
        ({"family": "cohere2", **family_of("cohere2").fixed}, "rotates in the layers with a window"),
        ({"family": "exaone4", **family_of("exaone4").fixed, "rope_layers": (1,)}, "rotates in all layers"),
        ({"family": "helium", "head_dim": 16}, "cannot have 4 heads of 16"),
        ({"family": "starcoder2", **family_of("starcoder2").fixed, "window": 7, "window_layers": (1,)}, "starcoder2"),
    ]
    for settings, words in cases:
        config = ModelConfig(**small | settings)
        with pytest.raises(ModelError, match=words):
            family_of(config.family).config_to(config)


@pytest.mark.parametrize("family", sorted({family for family, *_ in CASES.values()}))
def test_what_a_config_leaves_out_means_what_transformers_takes(family: str):
    sizes = {key: SMALL[key] for key in ("vocab_size", "num_hidden_layers", "intermediate_size")}
    sizes |= {"hidden_size": 1280, "num_attention_heads": 160}  # a multiple of every usual number of key heads
    filled_in = transformers.AutoConfig.for_model(family, **sizes).to_dict()
    assert family_of(family).config_from(sizes) == family_of(family).config_from(filled_in)
