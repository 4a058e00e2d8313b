"""GGUF: the same two tables for llama.cpp's file format.

Source: the GGUF specification and llama.cpp's tensor names.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from typing import Any

from lmworks.basics.errors import ModelError
from lmworks.models.families.tables import Chosen, Rows, Source

WRITTEN = {
    **{name: name for name in ("llama", "qwen2", "qwen3", "gemma", "gpt2")},
    **{name: name for name in ("gemma2", "phi3", "smollm3", "granite", "olmo2")},
    "gemma3": "gemma3_text",
}
"""`general.architecture` -> family, of those that are written too."""
ARCHITECTURES = WRITTEN | {"gptneox": "gpt_neox", "bloom": "bloom", "falcon": "falcon", "mpt": "mpt"}
"""The same of those that are read."""
ACTIVATIONS = {
    "gpt2": "gelu_tanh",
    "gemma": "gelu_tanh",
    "gemma2": "gelu_tanh",
    "gemma3_text": "gelu_tanh",
    "bloom": "gelu_tanh",
    "gpt_neox": "gelu",
    "falcon": "gelu",
    "mpt": "gelu",
}
"""Family -> non-linearity, which files do not say; silu for the others."""
NEIGHBOURS = ("llama", "smollm3", "granite")
"""Families of whose heads llama.cpp turns neighbours: its converter changes the order of query and key rows."""

SETTINGS = {  # ours             <- theirs, after "<architecture>."
    "layers": "block_count",
    "context": "context_length",
    "dim": "embedding_length",
    "hidden_dim": "feed_forward_length",
    "heads": "attention.head_count",
    "kv_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
    "rope_theta": "rope.freq_base",
    "window": "attention.sliding_window",
}
NORM_EPS = ("attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon")

TENSORS: dict[str, Source] = {
    "embedding.weight": "token_embd.weight",
    "position.weight": "position_embd.weight",
    "blocks.{i}.attention_norm.weight": "blk.{i}.attn_norm.weight",
    "blocks.{i}.attention_norm.bias": "blk.{i}.attn_norm.bias",
    "blocks.{i}.attention.qkv.weight": Rows(
        ("blk.{i}.attn_q.weight", "blk.{i}.attn_k.weight", "blk.{i}.attn_v.weight")
    ),
    "blocks.{i}.attention.qkv.bias": Rows(("blk.{i}.attn_q.bias", "blk.{i}.attn_k.bias", "blk.{i}.attn_v.bias")),
    "blocks.{i}.attention.query_norm.weight": "blk.{i}.attn_q_norm.weight",
    "blocks.{i}.attention.key_norm.weight": "blk.{i}.attn_k_norm.weight",
    "blocks.{i}.attention.output.weight": "blk.{i}.attn_output.weight",
    "blocks.{i}.attention.output.bias": "blk.{i}.attn_output.bias",
    "blocks.{i}.feed_forward_norm.weight": "blk.{i}.ffn_norm.weight",
    "blocks.{i}.feed_forward_norm.bias": "blk.{i}.ffn_norm.bias",
    "blocks.{i}.feed_forward.up.weight": Rows(("blk.{i}.ffn_gate.weight", "blk.{i}.ffn_up.weight")),
    "blocks.{i}.feed_forward.up.bias": Rows(("blk.{i}.ffn_gate.bias", "blk.{i}.ffn_up.bias")),
    "blocks.{i}.feed_forward.down.weight": "blk.{i}.ffn_down.weight",
    "blocks.{i}.feed_forward.down.bias": "blk.{i}.ffn_down.bias",
    "norm.weight": "output_norm.weight",
    "norm.bias": "output_norm.bias",
    "head.weight": "output.weight",
}
TWO_NORMS: dict[str, Source] = {
    "blocks.{i}.attention_result_norm.weight": "blk.{i}.post_attention_norm.weight",
    "blocks.{i}.feed_forward_result_norm.weight": "blk.{i}.post_ffw_norm.weight",
}
GPT2_TENSORS = TENSORS | {  # GPT-2 has query, key and value in one matrix, and no gate
    "blocks.{i}.attention.qkv.weight": "blk.{i}.attn_qkv.weight",
    "blocks.{i}.attention.qkv.bias": "blk.{i}.attn_qkv.bias",
    "blocks.{i}.feed_forward.up.weight": "blk.{i}.ffn_up.weight",
    "blocks.{i}.feed_forward.up.bias": "blk.{i}.ffn_up.bias",
}
FALCON_TENSORS = GPT2_TENSORS | {  # of two norms the second is attention's
    f"blocks.{{i}}.{norm}.{kind}": Chosen(lambda config: not config.shared_norm, f"{two}.{kind}", f"{one}.{kind}")
    for norm, two, one in (
        ("attention_norm", "blk.{i}.attn_norm_2", "blk.{i}.attn_norm"),
        ("feed_forward_norm", "blk.{i}.attn_norm", "blk.{i}.attn_norm"),
    )
    for kind in ("weight", "bias")
}
BLOOM_TENSORS = GPT2_TENSORS | {f"embedding_norm.{kind}": f"token_embd_norm.{kind}" for kind in ("weight", "bias")}
RESULT_NORMS: dict[str, Source] = {
    "blocks.{i}.attention_norm.weight": "blk.{i}.post_attention_norm.weight",
    "blocks.{i}.feed_forward_norm.weight": "blk.{i}.post_ffw_norm.weight",
}
OF_FAMILIES = {
    "gpt2": GPT2_TENSORS,
    "gpt_neox": GPT2_TENSORS,
    "mpt": GPT2_TENSORS,
    "bloom": BLOOM_TENSORS,
    "falcon": FALCON_TENSORS,
    "gemma2": TENSORS | TWO_NORMS,
    "gemma3_text": TENSORS | TWO_NORMS,
    "olmo2": TENSORS | RESULT_NORMS,
    "phi3": TENSORS
    | {
        "blocks.{i}.attention.qkv.weight": "blk.{i}.attn_qkv.weight",
        "blocks.{i}.feed_forward.up.weight": "blk.{i}.ffn_up.weight",
    },
}
TENSORS_OF = {family: OF_FAMILIES.get(family, TENSORS) for family in ARCHITECTURES.values()}
"""family -> its table."""


def more_from(architecture: str, theirs: Mapping[str, Any], tensors: Container[str]) -> dict[str, Any]:
    """Ours that one architecture says in a way of its own; ModelError for what the network does not do."""
    if architecture == "gptneox":
        return {"parallel": theirs.get("gptneox.use_parallel_residual", True)}
    if architecture == "falcon":
        return {"parallel": True, "shared_norm": "blk.0.attn_norm_2.weight" not in tensors}
    if architecture == "mpt":
        if theirs.get("mpt.attention.clamp_kqv", 0.0) or not theirs.get("mpt.attention.max_alibi_bias", 8.0):
            raise ModelError("it cuts off queries, keys and values, or has no ALiBi, which is not supported")
        return {"position_settings": {"flattest": theirs.get("mpt.attention.max_alibi_bias", 8.0)}}
    if architecture == "granite":
        return {"head_scale": 1 / theirs.get("granite.logit_scale", 1.0)}
    return {}


FACTORS = {"short_factors": "rope_factors_short.weight", "long_factors": "rope_factors_long.weight"}
"""Of longrope (Phi-3): ours <- the file's tensors."""

SCALARS: dict[str, dict[str, str]] = {
    "gemma2": {"attention_cap": "attn_logit_softcapping", "logit_cap": "final_logit_softcapping"},
    "gemma3_text": {"logit_cap": "final_logit_softcapping"},
    "granite": {
        "attention_scale": "attention.scale",
        "embedding_scale": "embedding_scale",
        "residual_scale": "residual_scale",
    },
}
"""Of a family, more of ours <- theirs, after "<architecture>."."""


def _gemma_scale(ours: Mapping[str, Any], largest: int) -> dict[str, Any]:
    """The largest Gemma 2 and 3, known by their layers, scale by the width a head would have had."""
    width = ours["dim"] // ours["heads"] if ours["layers"] == largest else ours["head_dim"]
    return {"attention_scale": width**-0.5}


def _windows(ours: Mapping[str, Any], every: int) -> dict[str, Any]:
    """All layers but every `every`th have the window."""
    if not ours.get("window"):
        return {"window": None, "window_layers": None}
    return {"window_layers": tuple(layer for layer in range(ours["layers"]) if (layer + 1) % every)}


def _gemma2(ours: Mapping[str, Any]) -> dict[str, Any]:
    return _gemma_scale(ours, 46) | _windows(ours, 2)


def _gemma3(ours: Mapping[str, Any]) -> dict[str, Any]:
    windows = _windows(ours, 6)
    base = {"window_theta": 10_000.0} if windows["window_layers"] else {}
    return _gemma_scale(ours, 62) | windows | base


def _smollm3(ours: Mapping[str, Any]) -> dict[str, Any]:
    return {"rope_layers": tuple(layer for layer in range(ours["layers"]) if (layer + 1) % 4)}


IMPLIED: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "gemma2": _gemma2,
    "gemma3_text": _gemma3,
    "smollm3": _smollm3,
}
"""Ours that llama.cpp does not read from a file, but knows of a family: from what it reads."""
