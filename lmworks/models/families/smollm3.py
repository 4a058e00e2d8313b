"""SmolLM3 (2025, https://huggingface.co/blog/smollm3): Llama, of which every fourth layer rotates nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmworks.basics.errors import ModelError
from lmworks.models.config import ModelConfig
from lmworks.models.families.llama import IGNORED, LLAMA, TENSORS, WHOLE_HEAD
from lmworks.models.families.spellings import NO_IDS, windows_from, windows_to
from lmworks.models.families.tables import Family


def _more_from(theirs: Mapping[str, Any], layers: int) -> dict[str, Any]:
    """The layers that rotate; those that do not have the window, where one is used and no kinds are named."""
    every = theirs["no_rope_layer_interval"]
    marks = theirs.get("no_rope_layers") or [int((layer + 1) % every != 0) for layer in range(layers)]
    if not isinstance(marks, list) or len(marks) < layers:
        raise ModelError(f"config.json: no_rope_layers does not hold 0 or 1 for each of the {layers} layers")
    turned = tuple(layer for layer in range(layers) if marks[layer])
    ours: dict[str, Any] = {} if len(turned) == layers else {"rope_layers": turned}
    if not theirs.get("use_sliding_window"):
        return ours
    kinds = ["full_attention" if marks[layer] else "sliding_attention" for layer in range(layers)]
    return ours | windows_from({"layer_types": kinds, **theirs}, layers, None)


def _more_to(config: ModelConfig) -> dict[str, Any]:
    layers = range(config.layers)
    marks = [int(config.rope_layers is None or layer in config.rope_layers) for layer in layers]
    return NO_IDS | windows_to(config) | {"use_sliding_window": config.window is not None, "no_rope_layers": marks}


SMOLLM3 = Family(
    name="smollm3",
    architecture="SmolLM3ForCausalLM",
    examples=("HuggingFaceTB/SmolLM3-3B",),
    settings=LLAMA.settings,
    tensors=TENSORS,
    ignored=IGNORED,
    required=WHOLE_HEAD,
    defaults={
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True,
        "hidden_act": "silu",
        "num_key_value_heads": 4,
        "max_position_embeddings": 32768,
        "rope_theta": 2_000_000.0,
        "no_rope_layer_interval": 4,
    },
    more_from=_more_from,
    more_to=_more_to,
    told=("window", "window_layers", "rope_layers"),
)
