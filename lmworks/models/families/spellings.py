"""What several architectures say in one way: windows by layer, heads that are turned in part, ids of special tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmworks.basics.errors import ModelError
from lmworks.models.config import ModelConfig
from lmworks.models.families.rotary import WHOLE, rope_to

WINDOW = "sliding_attention"
NO_IDS: dict[str, Any] = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
"""For architectures that transformers gives ids of special tokens, which a smaller vocabulary may not have, where a
file leaves them out; generation_config.json says the model's own."""


def window_layers_from(theirs: Mapping[str, Any], layers: int, every: int | None) -> tuple[int, ...]:
    """The layers with a window: as `layer_types` names them, or all but every `every`th; ModelError for other kinds."""
    kinds = theirs.get("layer_types")
    if kinds is None:
        kinds = [WHOLE if every is None or (layer + 1) % every == 0 else WINDOW for layer in range(layers)]
    if not isinstance(kinds, list) or len(kinds) != layers or any(kind not in (WINDOW, WHOLE) for kind in kinds):
        raise ModelError(
            f"config.json: layer_types does not say {WINDOW} or {WHOLE} for each of the {layers} layers, and other "
            "kinds are not supported"
        )
    return tuple(layer for layer, kind in enumerate(kinds) if kind == WINDOW)


def windows_from(theirs: Mapping[str, Any], layers: int, every: int | None) -> dict[str, Any]:
    """Our window and its layers."""
    chosen, window = window_layers_from(theirs, layers, every), theirs.get("sliding_window")
    return {"window": window, "window_layers": chosen} if chosen and window is not None else {}


def windows_to(config: ModelConfig, without: int | None = None) -> dict[str, Any]:
    """The way back; `without` is what `sliding_window` says where there is none."""
    kinds = [WHOLE if config.window_of(layer) is None else WINDOW for layer in range(config.layers)]
    return {"sliding_window": without if config.window is None else config.window, "layer_types": kinds}


def rotary_dim_from(theirs: Mapping[str, Any], usual: float = 1.0) -> dict[str, Any]:
    """How many dimensions of each head are turned, from the share that they say in one of three places."""
    rope = theirs["rope_parameters"]
    share = rope.get("partial_rotary_factor", theirs.get("partial_rotary_factor", usual))
    head_dim = theirs.get("head_dim") or theirs["hidden_size"] // theirs["num_attention_heads"]
    turned = int(head_dim * share + 1e-6)  # their cut, but for the rounding of a share of a whole number
    return {} if turned == head_dim else {"rotary_dim": turned}


def rotary_dim_to(config: ModelConfig) -> dict[str, Any]:
    """The way back."""
    return {"partial_rotary_factor": (config.rotary_dim or config.head_dim) / config.head_dim}


def rope_by_kind_from(theirs: Mapping[str, Any], usual: float) -> dict[str, Any]:
    """The base of layers with a window; ModelError where these are stretched."""
    table = theirs["rope_parameters"].get(WINDOW) or {}
    if table.get("rope_type", "default") != "default":
        raise ModelError(
            f"config.json: rotary scaling of type {table['rope_type']!r:.40} in layers with a window is not supported"
        )
    return {"window_theta": table.get("rope_theta", theirs.get("rope_local_base_freq", usual))}


def rope_by_kind_to(config: ModelConfig) -> dict[str, Any]:
    """The way back: a table for each kind of layer, without the settings that only one table of all has."""
    theirs = rope_to(config)
    scaling = theirs.get("rope_scaling", {"rope_type": "default"})
    if config.window is not None and config.window_theta is None and config.rope_scaling is not None:
        raise ModelError(
            f"a {config.family} model cannot have rope_scaling in layers with a window; give window_theta, or choose "
            "another family to save it as"
        )
    window_theta = config.rope_theta if config.window_theta is None else config.window_theta
    return {
        "rope_theta": None,
        "rope_scaling": None,
        "rope_parameters": {
            WHOLE: scaling | {"rope_theta": config.rope_theta},
            WINDOW: {"rope_type": "default", "rope_theta": window_theta},
        },
    }


def inverse(value: float) -> float:
    """1 / value, as a person would write it: back and forth gives the value that it was."""
    return float(f"{1 / value:.14g}")
