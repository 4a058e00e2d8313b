"""GGUF: the same two tables for llama.cpp's file format.

Source: the GGUF specification and llama.cpp's tensor names.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

from lmworks.basics.errors import ModelError
from lmworks.models.families.tables import Chosen, Rows, Source

WRITTEN = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "gemma": "gemma", "gpt2": "gpt2"}
"""`general.architecture` -> family, of those that are written too."""
ARCHITECTURES = WRITTEN | {"gptneox": "gpt_neox", "bloom": "bloom", "falcon": "falcon", "mpt": "mpt"}
"""The same of those that are read."""
ACTIVATIONS = {
    "gpt2": "gelu_tanh",
    "gemma": "gelu_tanh",
    "bloom": "gelu_tanh",
    "gpt_neox": "gelu",
    "falcon": "gelu",
    "mpt": "gelu",
}
"""Family -> non-linearity, which files do not say; silu for the others."""

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
JOINED = {
    "gpt2": GPT2_TENSORS,
    "gpt_neox": GPT2_TENSORS,
    "mpt": GPT2_TENSORS,
    "bloom": BLOOM_TENSORS,
    "falcon": FALCON_TENSORS,
}
TENSORS_OF = {family: JOINED.get(family, TENSORS) for family in ARCHITECTURES.values()}
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
    return {}
