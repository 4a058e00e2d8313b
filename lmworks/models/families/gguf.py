"""GGUF: the same two tables for llama.cpp's file format.

Source: the GGUF specification and llama.cpp's tensor names.
"""

from __future__ import annotations

from lmworks.models.families.tables import Rows, Source

ARCHITECTURES = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "gemma": "gemma", "gpt2": "gpt2"}
"""`general.architecture` -> family."""

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
TENSORS_OF = {family: GPT2_TENSORS if family == "gpt2" else TENSORS for family in ARCHITECTURES.values()}
"""family -> its table."""
