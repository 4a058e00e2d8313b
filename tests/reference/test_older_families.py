"""GPT-J, GPT-Neo, OPT, BLOOM, Falcon and MPT against transformers: as test_families.py, and cached too."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch

from lmworks.basics.errors import ModelError
from lmworks.models.families import family_of
from lmworks.models.files.directory import read_network, write_network
from lmworks.models.files.model_folder import read_config
from lmworks.models.network import Network
from lmworks.models.positions.alibi import ALiBiSettings
from lmworks.models.positions.encoding import encoding_of
from reference.test_families import (
    CLOSE,
    LENGTH,
    Variant,
    assert_transformers_agrees,
    our_logits,
    rope,
    their_logits,
    transformers,
    without,
)

NO_TOKENS = {"bos_token_id": None, "eos_token_id": None}
SMALL: dict[str, dict[str, Any]] = {
    "gptj": {"n_embd": 32, "n_layer": 3, "n_head": 2, "n_positions": 64, "rotary_dim": 4},
    "gpt_neo": {
        "hidden_size": 32,
        "num_layers": 3,
        "num_heads": 4,
        "max_position_embeddings": 64,
        "attention_types": [[["global", "local"], 1], [["global"], 1]],
        "window_size": 7,
    },
    "opt": {
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "ffn_dim": 48,
        "max_position_embeddings": 64,
        "pad_token_id": None,
    },
    "bloom": {"hidden_size": 32, "n_layer": 3, "n_head": 4},
    "falcon": {
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
    },
    "mpt": {"d_model": 32, "n_layers": 3, "n_heads": 4, "max_seq_len": 64},
}


@dataclass(frozen=True)
class Older(Variant):
    """A switch of one of these families."""

    def config(self) -> Any:
        return transformers.AutoConfig.for_model(
            self.family, vocab_size=96, **(NO_TOKENS | SMALL[self.family] | self.theirs)
        )


NEW = {"new_decoder_architecture": True, "num_kv_heads": 2}
RW = {"alibi": True, "parallel_attn": False, "multi_query": False, "bias": True}
UNTIED = {"tie_word_embeddings": False}
VARIANTS = [
    Older("gptj", "one norm for both parts", {}, {"shared_norm": True}, {"shared_norm": False}),
    Older("gptj", "turned in part", {}, {"rotary_dim": 4}, {"rotary_dim": None}),
    Older("gptj", "turned wholly", {"rotary_dim": 16}, {"rotary_dim": None}, {"rotary_dim": 4}),
    Older("gptj", "bias on logits", {}, {"head_bias": True, "tied": False}, {"head_bias": False}),
    Older("gptj", "inner width, tied", {"n_inner": 40} | {"tie_word_embeddings": True}, {"hidden_dim": 40}),
    Older(
        "gpt_neo", "a local layer", {}, {"window": 7, "window_layers": (1,)}, {"window": None, "window_layers": None}
    ),
    Older("gpt_neo", "all layers local", {"attention_types": [[["local"], 3]]}, {"window": 7, "window_layers": None}),
    Older("gpt_neo", "no local layer", {"attention_types": [[["global"], 3]]}, {"window": None}, {"window": 7}),
    Older("gpt_neo", "scores not scaled", {}, {"attention_scale": 1.0}, {"attention_scale": None}),
    Older("gpt_neo", "untied, inner width", UNTIED | {"intermediate_size": 40}, {"tied": False, "hidden_dim": 40}),
    Older("opt", "positions from row 2", {}, {"position_offset": 2, "activation": "relu"}, {"activation": "silu"}),
    Older("opt", "norms after", {"do_layer_norm_before": False}, {"norm_place": "after"}),
    Older("opt", "no biases", {"enable_bias": False}, {"qkv_bias": False, "feed_forward_bias": False}),
    Older("opt", "untied", UNTIED | {"activation_function": "gelu"}, {"tied": False, "activation": "gelu"}),
    Older("bloom", "ALiBi", {}, {"position_settings": ALiBiSettings()}, {"position_settings": {"scale": 0.5}}),
    Older("bloom", "three heads", {"n_head": 3, "hidden_size": 48}, {"heads": 3}),
    Older("bloom", "norm over embeddings", {}, {"embedding_norm": "layer"}, {"embedding_norm": None}),
    Older("bloom", "untied", UNTIED, {"tied": False}),
    Older("falcon", "one key for all heads", {}, {"kv_heads": 1, "shared_norm": True}, {"shared_norm": False}),
    Older("falcon", "groups, two norms", NEW, {"kv_heads": 2, "parallel": True}, {"parallel": False}),
    Older("falcon", "groups, one norm", NEW | {"num_ln_in_parallel_attn": 1}, {"kv_heads": 2, "shared_norm": True}),
    Older("falcon", "a key for each head", {"multi_query": False}, {"kv_heads": 4}),
    Older("falcon", "in turn, inner width", {"parallel_attn": False, "ffn_hidden_size": 40}, {"parallel": False}),
    Older("falcon", "biases, theta", rope("default") | {"bias": True}, {"qkv_bias": True, "rope_theta": 500.0}),
    Older("falcon", "RW", RW, {"position_settings": ALiBiSettings(scale=8**-0.5)}, {"position_settings": None}),
    Older("falcon", "untied", UNTIED | {"activation": "gelu_new"}, {"tied": False, "activation": "gelu_tanh"}),
    Older("mpt", "no bias anywhere", {}, {"norm_bias": False, "qkv_bias": False}, {"norm": "rms", "norm_bias": True}),
    Older("mpt", "scale", {"attn_config": {"softmax_scale": 0.7}}, {"attention_scale": 0.7}, {"attention_scale": None}),
    Older("mpt", "six heads, untied", UNTIED | {"n_heads": 6, "d_model": 48}, {"tied": False}),
]
each_variant = pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: f"{variant.family}: {variant.name}")


@each_variant
def test_a_model_that_transformers_saved_gives_equal_logits_cached_too(variant: Older, tmp_path: Path):
    model = transformers.AutoModelForCausalLM.from_config(variant.config(), dtype=torch.float32)
    tiny.randomise(model)
    model.save_pretrained(tmp_path)
    network = read_network(tmp_path)
    tokens = tiny.text(2, LENGTH)
    ours = our_logits(network, tokens)
    torch.testing.assert_close(ours, their_logits(model, tokens), **CLOSE)
    assert {key: getattr(network.config, key) for key in variant.ours} == variant.ours
    cache = network.new_cache(2)
    with torch.inference_mode():
        parts = [network(part, cache=cache) for part in tokens.split([30, 1, 1, 8], dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), ours, **CLOSE)
    if variant.off:
        assert not torch.allclose(our_logits(without(network, variant.off), tokens), ours, **CLOSE)


@each_variant
def test_transformers_loads_what_we_write_with_equal_logits(variant: Older, tmp_path: Path):
    variant.config().save_pretrained(tmp_path / "theirs")
    network = Network(read_config(tmp_path / "theirs")).initialise().eval()
    tiny.randomise(network, seed=1)
    (tmp_path / "ours").mkdir()
    write_network(tmp_path / "ours", network)
    assert_transformers_agrees(tmp_path / "ours", network)
    assert read_network(tmp_path / "ours").config == network.config


@pytest.mark.parametrize("family", SMALL)
def test_what_a_config_leaves_out_means_what_transformers_takes(family: str):
    """Older files name fewer keys; transformers fills them in, and we read both alike."""
    sizes = {"vocab_size": 96} | SMALL[family] | ({"num_layers": 24} if family == "gpt_neo" else {})
    for key in (
        "rotary_dim",
        "n_positions",
        "max_position_embeddings",
        "max_seq_len",
        "attention_types",
        "window_size",
    ):
        sizes.pop(key, None)
    if family == "gptj":
        sizes |= {"n_embd": 256}  # its heads are wider than the dimensions that it turns unless told
    filled_in = transformers.AutoConfig.for_model(family, **sizes).to_dict()
    assert family_of(family).config_from(sizes) == family_of(family).config_from(filled_in)


@pytest.mark.parametrize(
    ("family", "settings", "says"),
    [
        ("opt", {"word_embed_proj_dim": 16}, "OPT-350M"),
        ("gpt_neo", {"attention_types": [[["global"], 10**9]]}, "each of the 3 layers"),
        ("gpt_neo", {"attention_types": 7}, "wrong kind"),
        ("mpt", {"attn_config": {"clip_qkv": 6.0}}, "clip_qkv"),
        ("mpt", {"logit_scale": 0.5}, "logit_scale"),
        ("bloom", {"apply_residual_connection_post_layernorm": True}, "apply_residual_connection"),
        ("falcon", {"new_decoder_architecture": True, "parallel_attn": False}, "parallel_attn"),
    ],
)
def test_what_the_network_does_not_do_is_refused(family: str, settings: dict[str, Any], says: str):
    with pytest.raises(ModelError, match=says):
        family_of(family).config_from({"vocab_size": 96} | SMALL[family] | settings)


WRONG = [None, "x", -1, 0, 1, [], [1], {}, {"a": 1}, 1e30, 10**12, True, 0.5, float("nan"), [[1, 2]]]


def try_wrong_values(name: str, theirs: dict[str, Any]) -> None:
    """Each key with each wrong value: read, and written if it was read, or refused in one sentence."""
    family = family_of(name)
    for key in {*family.settings.values(), *family.defaults, *theirs}:
        for value in WRONG:
            with contextlib.suppress(ModelError):
                family.config_to(family.config_from(theirs | {key: value}))


@pytest.mark.parametrize("family", SMALL)
def test_values_of_the_wrong_kind_are_read_or_refused(family: str):
    try_wrong_values(family, {"vocab_size": 96} | SMALL[family])


def test_old_spellings_of_bloom_and_falcon_mean_the_same():
    old = {"vocab_size": 96, "n_embed": 32, "n_layer": 3, "num_attention_heads": 4}
    new = {"vocab_size": 96, "hidden_size": 32, "n_layer": 3, "n_head": 4}
    assert family_of("bloom").config_from(old) == family_of("bloom").config_from(new)


@pytest.mark.parametrize(
    ("family", "changed", "says"),
    [
        ("gptj", {"rope_theta": 500.0}, "rope_theta"),
        ("falcon", {"parallel": False, "shared_norm": False, "kv_heads": 2}, "kv_heads"),
        ("bloom", {"position_settings": ALiBiSettings(scale=0.5)}, "position_settings"),
        ("mpt", {"position_settings": ALiBiSettings(scale=0.5)}, "scale = 1"),
    ],
)
def test_what_a_family_cannot_express_is_not_written(family: str, changed: dict[str, Any], says: str):
    config = family_of(family).config_from({"vocab_size": 96} | SMALL[family]).but(**changed)
    with pytest.raises(ModelError, match=says):
        family_of(family).config_to(config)


@pytest.mark.parametrize("heads", [4, 6])
def test_mpt_says_how_flat_the_flattest_slope_is(heads: int):
    """transformers has the formula and never gives it alibi_bias_max, so that MPT-7B-StoryWriter's 16 is 8 there."""
    from transformers.models.mpt.modeling_mpt import build_mpt_alibi_tensor

    said = SMALL["mpt"] | {"vocab_size": 96, "n_heads": heads, "d_model": 48, "attn_config": {"alibi_bias_max": 16}}
    config = family_of("mpt").config_from(said)
    theirs = build_mpt_alibi_tensor(heads, 5, alibi_bias_max=16)
    ours = encoding_of(config).bias(config, None, torch.arange(-4, 1)[None, None])
    torch.testing.assert_close(ours[0], theirs, **CLOSE)
    assert family_of("mpt").config_to(config)["attn_config"]["alibi_bias_max"] == 16
