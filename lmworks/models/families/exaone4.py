"""EXAONE 4 (LG AI Research 2025, https://arxiv.org/abs/2507.11407): what each part makes is normed; where some layers
have a window, only these rotate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmworks.basics.errors import ModelError
from lmworks.models.config import ModelConfig
from lmworks.models.families.llama import IGNORED, SETTINGS, TENSORS, WHOLE_HEAD
from lmworks.models.families.olmo import RESULT_NORMS
from lmworks.models.families.spellings import NO_IDS, windows_from, windows_to
from lmworks.models.families.tables import Family


def _more_from(theirs: Mapping[str, Any], layers: int) -> dict[str, Any]:
    ours = windows_from(theirs, layers, every=theirs.get("sliding_window_pattern"))
    if theirs.get("sliding_window") is None:
        return {}
    return ours | {"rope_layers": ours.get("window_layers", ())}


def rotates_in_windows(config: ModelConfig) -> bool:
    """Do exactly the layers with a window rotate?"""
    layers = range(config.layers)
    turned = {layer for layer in layers if config.rope_layers is None or layer in config.rope_layers}
    return turned == {layer for layer in layers if config.window_of(layer) is not None}


def _more_to(config: ModelConfig) -> dict[str, Any]:
    if config.window is None and config.rope_layers is None:
        return NO_IDS | windows_to(config)
    if not rotates_in_windows(config) or config.window is None:
        raise ModelError(
            "an exaone4 model rotates in all layers, or in those with a window; choose another family to save it as"
        )
    return NO_IDS | windows_to(config)


EXAONE4 = Family(
    name="exaone4",
    architecture="Exaone4ForCausalLM",
    examples=("LGAI-EXAONE/EXAONE-4.0-1.2B",),
    settings=SETTINGS,
    tensors=TENSORS | RESULT_NORMS,
    ignored=IGNORED,
    required=WHOLE_HEAD,
    fixed={"norm_place": "result", "qk_norm": True},
    defaults={
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "hidden_act": "silu",
        "max_position_embeddings": 2048,
        "num_key_value_heads": 32,
        "sliding_window": 4096,
        "sliding_window_pattern": 4,
    },
    more_from=_more_from,
    more_to=_more_to,
    told=("window", "window_layers", "rope_layers"),
)
