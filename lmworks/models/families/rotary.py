"""The rotary settings of a config.json, in either of their spellings, and the way back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lmworks.basics.errors import ModelError
from lmworks.models.config import ModelConfig

WHOLE = "full_attention"
"""What they call layers without a window."""


def yarn_amplitude(factor: float, scale: float = 1.0) -> float:
    """What YaRN multiplies cosine and sine by in a text `factor` times as long (DeepSeek multiplies the logarithm)."""
    return 0.1 * scale * math.log(factor) + 1.0 if factor > 1 else 1.0


ROPE_SCALING = {  # ours                   <- theirs
    "factor": "factor",
    "original_context": "original_max_position_embeddings",
    "attention_factor": "attention_factor",
    "fast_turns": "beta_fast",
    "slow_turns": "beta_slow",
    "truncate": "truncate",
    "low_frequency_factor": "low_freq_factor",
    "high_frequency_factor": "high_freq_factor",
    "short_factors": "short_factor",
    "long_factors": "long_factor",
}


def with_one_table(theirs: Mapping[str, Any], by_kind: bool = False) -> dict[str, Any]:
    """Their settings with the rotary ones in `rope_parameters` alone, as transformers reads the two spellings: a
    `rope_scaling` stands in place of all that `rope_parameters` says, and of settings `by_kind` of layer it changes
    those of layers without a window. ModelError for what is no table, and where it is open which of them is meant."""
    scaling, table = theirs.get("rope_scaling") or {}, theirs.get("rope_parameters") or {}
    for name, said in (("rope_scaling", scaling), ("rope_parameters", table)):
        if not isinstance(said, dict):
            raise ModelError(f"config.json: {name} is not a table of rotary settings")
    said = scaling or table
    if by_kind and scaling and table:
        if not isinstance(table.get(WHOLE), dict):
            raise ModelError(
                f"config.json holds rope_scaling and rope_parameters, and rope_parameters has no {WHOLE} that "
                "rope_scaling changes; leave one of the two out"
            )
        said = table | {WHOLE: table[WHOLE] | scaling}
    return {key: value for key, value in theirs.items() if key != "rope_scaling"} | {"rope_parameters": said}


def rope_from(theirs: Mapping[str, Any], partly: bool = False, by_kind: bool = False) -> dict[str, Any]:
    """Rotary settings from `rope_parameters`, and from `rope_theta` what is not said there (`with_one_table`).

    Where heads may be turned `partly`, the number of turned dimensions is read elsewhere. Settings `by_kind` of layer
    are those of layers without a window.
    """
    table = theirs["rope_parameters"]
    if by_kind and WHOLE in table:
        table = table[WHOLE] or {}
    if not isinstance(table, dict) or any(isinstance(value, dict) for value in table.values()):
        raise ModelError(
            "config.json: the rotary settings are not one table; a table for each kind of layer is not supported"
        )
    parameters = {"rope_theta": theirs.get("rope_theta")}
    parameters |= {key: value for key, value in table.items() if value is not None}
    ours: dict[str, Any] = {} if parameters["rope_theta"] is None else {"rope_theta": parameters["rope_theta"]}
    kind = parameters.get("rope_type", parameters.get("type", "default"))
    kind = "longrope" if kind == "su" else kind  # as Phi-3's first files have it
    if kind not in ("default", "linear", "dynamic", "yarn", "llama3", "longrope"):
        raise ModelError(
            f"config.json: rotary scaling of type {kind!r} is not known; known are linear, dynamic, yarn, llama3, "
            "longrope"
        )
    if not partly and parameters.get("partial_rotary_factor", 1) != 1:
        raise ModelError("config.json: rotary settings with a partial_rotary_factor other than 1 are not supported")
    if kind != "default":
        known = {our_key: parameters[key] for our_key, key in ROPE_SCALING.items() if key in parameters}
        if kind == "dynamic":  # transformers stretches from max_position_embeddings, whatever is said here
            known.pop("original_context", None)
        if kind == "longrope":
            longest = theirs.get("max_position_embeddings")
            original = theirs.get("original_max_position_embeddings", known.get("original_context", longest))
            known["original_context"] = original
            if isinstance(longest, int) and isinstance(original, int) and original > 0:
                known.setdefault("factor", longest / original)
        said = [parameters.get(key) for key in ("factor", "mscale", "mscale_all_dim")]
        numbers = [float(one) for one in said if isinstance(one, int | float) and one > 0]
        if kind == "yarn" and len(numbers) == len(said):
            factor, of_one, of_all = numbers
            known.setdefault("attention_factor", yarn_amplitude(factor, of_one) / yarn_amplitude(factor, of_all))
        ours["rope_scaling"] = {"kind": kind, **known}
    return ours


def rope_to(config: ModelConfig) -> dict[str, Any]:
    """`rope_theta` and `rope_scaling`: the spelling that old and new readers understand."""
    theirs: dict[str, Any] = {"rope_theta": config.rope_theta}
    scaling = config.rope_scaling
    if scaling is not None and scaling.kind == "dynamic" and scaling.original_context not in (None, config.context):
        raise ModelError(
            f"rope_scaling.original_context ({scaling.original_context}) of dynamic scaling is context "
            f"({config.context}) in public files; leave it out, or choose the family lmworks"
        )
    if config.rope_scaling is not None:
        values = config.rope_scaling.model_dump(exclude_none=True, exclude_defaults=True)
        theirs["rope_scaling"] = {"rope_type": values.pop("kind")} | {
            ROPE_SCALING[key]: value for key, value in values.items()
        }
        if config.rope_scaling.kind == "llama3":
            theirs["rope_scaling"] |= {
                "low_freq_factor": config.rope_scaling.low_frequency_factor,
                "high_freq_factor": config.rope_scaling.high_frequency_factor,
            }
    return theirs
