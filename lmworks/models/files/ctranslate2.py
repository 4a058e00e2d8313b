"""A Whisper of CTranslate2's (faster-whisper) under the names that transformers' files have.

There a layer's parts are numbered linear layers: linear_0 of a self-attention holds query, key and value below one
another, of an attention to the source the query alone, whose keys and values are linear_1.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lmworks.basics.errors import ModelError
from lmworks.models.files.ctranslate2_file import CTranslate2File

KINDS = {"gamma": "weight", "beta": "bias", "encodings": "weight"}
"""Their ends of names that are not weight or bias."""
PARTS = {
    "self_attention/layer_norm": ("self_attn_layer_norm",),
    "self_attention/linear_0": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "self_attention/linear_1": ("self_attn.out_proj",),
    "attention/layer_norm": ("encoder_attn_layer_norm",),
    "attention/linear_0": ("encoder_attn.q_proj",),
    "attention/linear_1": ("encoder_attn.k_proj", "encoder_attn.v_proj"),
    "attention/linear_2": ("encoder_attn.out_proj",),
    "ffn/layer_norm": ("final_layer_norm",),
    "ffn/linear_0": ("fc1",),
    "ffn/linear_1": ("fc2",),
}
"""Theirs, of a layer -> transformers'; rows below one another where there are several."""
BESIDE = {
    "embeddings": "embed_tokens",
    "position_encodings": "embed_positions",
    "layer_norm": "layer_norm",
    "conv1": "conv1",
    "conv2": "conv2",
}
"""Of what is in no layer."""


def read_ctranslate2(path: Path) -> dict[str, Tensor]:
    """All weights of a file by transformers' names. ModelError where it is damaged, or keeps weights in 8 bits."""
    file = CTranslate2File(path)
    weights: dict[str, Tensor] = {}
    for name, held in file.tensors.items():
        if not held.ndim:  # a setting, which config.json has too
            continue
        if held.dtype.kind != "f":
            raise ModelError(
                f"{path} keeps {name} in {held.dtype}, which is not read; take the model in float32 or float16"
            )
        names = _names(name)
        if not names or len(held) % len(names):
            raise file.damaged(f"holds {name}, which a Whisper does not have")
        for theirs, rows in zip(names, np.split(held, len(names)), strict=True):
            weights[theirs] = torch.from_numpy(np.array(rows))
    return weights


def _names(name: str) -> list[str]:
    """transformers' names of a tensor; none of one that is not known."""
    stack, _, rest = name.partition("/")
    where, _, kind = rest.rpartition("/")
    kind = KINDS.get(kind, kind)
    if stack not in ("encoder", "decoder") or kind not in ("weight", "bias"):
        return []
    if where in BESIDE:
        return [f"model.{stack}.{BESIDE[where]}.{kind}"]
    found = re.fullmatch(r"layer_(\d{1,4})/(.*)", where)
    if found is None:
        return []
    return [f"model.{stack}.layers.{found[1]}.{part}.{kind}" for part in PARTS.get(found[2], ())]
