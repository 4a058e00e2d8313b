"""Command R (Cohere 2024) and R7B (Cohere2): parallel parts that read one layer norm without bias, heads that turn
neighbours, scaled logits; in Cohere2 only layers with a window rotate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmworks.basics.errors import ModelError
from lmworks.models.config import ModelConfig
from lmworks.models.families.exaone4 import rotates_in_windows
from lmworks.models.families.llama import IGNORED, SETTINGS, TENSORS, WHOLE_HEAD
from lmworks.models.families.sources import NeighbourRows, Rows, Source
from lmworks.models.families.spellings import NO_IDS, window_layers_from, windows_to
from lmworks.models.families.tables import Family

COHERE_SETTINGS = SETTINGS | {
    "norm_eps": "layer_norm_eps",
    "qkv_bias": "attention_bias",
    "output_bias": "attention_bias",
}
FIXED = {"norm": "layer", "norm_bias": False, "parallel": True, "shared_norm": True}
DEFAULTS = {
    "layer_norm_eps": 1e-5,
    "tie_word_embeddings": True,
    "hidden_act": "silu",
    "max_position_embeddings": 8192,
    "logit_scale": 0.0625,
}


def turning_neighbours(tensors: Mapping[str, Source]) -> dict[str, Source]:
    """A table whose heads of query and key turn neighbours."""
    return {
        ours: NeighbourRows(theirs.names) if ".attention.qkv." in ours and isinstance(theirs, Rows) else theirs
        for ours, theirs in tensors.items()
    }


def _logits_from(theirs: Mapping[str, Any], layers: int) -> dict[str, Any]:
    return {"head_scale": theirs["logit_scale"]}


def _logits_to(config: ModelConfig) -> dict[str, Any]:
    return NO_IDS | {"logit_scale": config.head_scale or 1.0}


def _cohere2_from(theirs: Mapping[str, Any], layers: int) -> dict[str, Any]:
    chosen, window = window_layers_from(theirs, layers, theirs["sliding_window_pattern"]), theirs.get("sliding_window")
    if not chosen or window is None:
        return _logits_from(theirs, layers) | {"rope_layers": ()}
    return _logits_from(theirs, layers) | {"window": window, "window_layers": chosen, "rope_layers": chosen}


def _cohere2_to(config: ModelConfig) -> dict[str, Any]:
    if not rotates_in_windows(config):
        raise ModelError(
            "a cohere2 model rotates in the layers with a window and no others; choose another family to save it as"
        )
    return _logits_to(config) | windows_to(config, without=config.context)


COHERE = Family(
    name="cohere",
    architecture="CohereForCausalLM",
    examples=("CohereForAI/c4ai-command-r-v01",),
    settings=COHERE_SETTINGS,
    tensors=turning_neighbours(TENSORS),
    ignored=IGNORED,
    required=WHOLE_HEAD | {"use_qk_norm": False},
    fixed=FIXED,
    defaults=DEFAULTS | {"rope_theta": 500_000.0},
    more_from=_logits_from,
    more_to=_logits_to,
    told=("head_scale",),
)
COHERE2 = Family(
    name="cohere2",
    architecture="Cohere2ForCausalLM",
    examples=("CohereForAI/c4ai-command-r7b-12-2024",),
    settings={ours: theirs for ours, theirs in COHERE_SETTINGS.items() if ours != "head_dim"},
    tensors=turning_neighbours(TENSORS),
    ignored=IGNORED,
    required=WHOLE_HEAD,
    fixed=FIXED,
    defaults=DEFAULTS | {"sliding_window": 4096, "sliding_window_pattern": 4},
    more_from=_cohere2_from,
    more_to=_cohere2_to,
    told=("head_scale", "window", "window_layers", "rope_layers"),
)
