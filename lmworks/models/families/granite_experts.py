"""Granite 3's mixtures of experts (IBM 2024), with a shared expert or without, and what of Granite 4 (2025,
granitemoehybrid) has attention in all layers; its Mamba layers are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lmworks.basics.errors import ModelError
from lmworks.models.config import ModelConfig
from lmworks.models.families.granite import GRANITE
from lmworks.models.families.llama import IGNORED
from lmworks.models.families.mixture import UNSAID, WITHOUT_DENSE
from lmworks.models.families.sources import OfExperts, Source
from lmworks.models.families.tables import Family

LAYER = "model.layers.{i}"
ATTENTION = "attention"
EXPERTS: dict[str, Source] = {
    "blocks.{i}.feed_forward.router.weight": f"{LAYER}.block_sparse_moe.router.layer.weight",
    "blocks.{i}.feed_forward.experts.{e}.up.weight": OfExperts(
        f"{LAYER}.block_sparse_moe.input_linear.weight", turned=False
    ),
    "blocks.{i}.feed_forward.experts.{e}.down.weight": OfExperts(
        f"{LAYER}.block_sparse_moe.output_linear.weight", turned=False
    ),
}
SHARED: dict[str, Source] = {
    f"blocks.{{i}}.feed_forward.{part}{ours}.weight": f"{LAYER}.shared_mlp.{theirs}.weight"
    for part in ("", "shared.")  # without experts the shared one is the feed-forward
    for ours, theirs in (("up", "input_linear"), ("down", "output_linear"))
}


def _factors_from(theirs: Mapping[str, Any], layers: int) -> dict[str, Any]:
    assert GRANITE.more_from is not None
    return GRANITE.more_from(theirs, layers)


def _factors_to(config: ModelConfig) -> dict[str, Any]:
    assert GRANITE.more_to is not None
    return GRANITE.more_to(config)


def _more_from(theirs: Mapping[str, Any], layers: int) -> dict[str, Any]:
    experts = {
        "count": theirs["num_local_experts"],
        "top_k": theirs["num_experts_per_tok"],
        "shared_dim": theirs.get("shared_intermediate_size", 0),
    }
    return _factors_from(theirs, layers) | {"experts": experts}


def _more_to(config: ModelConfig) -> dict[str, Any]:
    settings, name = config.experts, config.family
    if settings is None:
        raise ModelError(f"a {name} model has experts, and this one has none; choose another family to save it as")
    unsaid = UNSAID | {"layers": None, "shared_gate": False, "normalised": True}
    if name == "granitemoe":
        unsaid |= {"shared_dim": 0}
    for setting, value in unsaid.items():
        if getattr(settings, setting) != value:
            raise ModelError(
                f"a {name} model cannot have experts.{setting} = {getattr(settings, setting)!r}; choose the family "
                "lmworks to save it as"
            )
    if settings.hidden_dim not in (None, config.hidden_dim):
        raise ModelError(f"a {name} model's experts are hidden_dim wide each; choose another family to save it as")
    shared = {} if name == "granitemoe" else {"shared_intermediate_size": settings.shared_dim}
    return _factors_to(config) | shared | {"num_local_experts": settings.count, "num_experts_per_tok": settings.top_k}


def _hybrid_from(theirs: Mapping[str, Any], layers: int) -> dict[str, Any]:
    kinds = theirs.get("layer_types") or ["mamba"] * layers
    other = next((kind for kind in kinds if kind not in (ATTENTION, "full_attention")), None)
    if not isinstance(kinds, list) or len(kinds) != layers or other is not None:
        raise ModelError(
            f"config.json: layer_types does not say {ATTENTION} for each of the {layers} layers; other kinds of layers "
            f"({other!r:.40}) keep a state of all that was read, which is not supported"
        )
    ours = _more_from(theirs, layers)
    if not theirs["num_local_experts"]:
        ours |= {"experts": None, "hidden_dim": theirs["shared_intermediate_size"]}
    if theirs.get("position_embedding_type") != "rope":
        ours |= {"positions": "none", "rope_theta": 10_000.0, "rope_scaling": None}
    return ours


def _hybrid_to(config: ModelConfig) -> dict[str, Any]:
    if config.positions not in ("rope", "none"):
        raise ModelError(
            f"a granitemoehybrid model cannot have positions = {config.positions!r}; choose another family for it"
        )
    alone = {"num_local_experts": 0, "shared_intermediate_size": config.hidden_dim}
    theirs = _factors_to(config) | alone if config.experts is None else _more_to(config)
    if config.experts is not None and not config.experts.shared_dim:
        raise ModelError("a granitemoehybrid model with experts has a shared one too; choose another family")
    return theirs | {
        "layer_types": ["full_attention"] * config.layers,
        "position_embedding_type": "rope" if config.positions == "rope" else None,
        "mamba_n_heads": config.heads,  # of layers that it does not have, and that must divide its width all the same
    }


SETTINGS = {ours: key for ours, key in GRANITE.settings.items() if ours not in ("head_dim", "feed_forward_bias")}
DEFAULTS = {**GRANITE.defaults, "intermediate_size": 11_008, "num_local_experts": 8, "num_experts_per_tok": 2}
GRANITE_MOE = Family(
    name="granitemoe",
    architecture="GraniteMoeForCausalLM",
    settings=SETTINGS,
    tensors=WITHOUT_DENSE | EXPERTS,
    ignored=IGNORED,
    required=GRANITE.required,
    defaults=DEFAULTS,
    more_from=_more_from,
    more_to=_more_to,
    told=(*GRANITE.told, "experts"),
    examples=("ibm-granite/granite-3.0-1b-a400m-instruct",),
)
GRANITE_MOE_SHARED = replace(
    GRANITE_MOE,
    name="granitemoeshared",
    architecture="GraniteMoeSharedForCausalLM",
    tensors=WITHOUT_DENSE | EXPERTS | SHARED,
    examples=("ibm-research/moe-7b-1b-active-shared-experts",),
)
GRANITE_MOE_HYBRID = replace(
    GRANITE_MOE_SHARED,
    name="granitemoehybrid",
    architecture="GraniteMoeHybridForCausalLM",
    defaults=DEFAULTS | {"shared_intermediate_size": 1024},
    more_from=_hybrid_from,
    more_to=_hybrid_to,
    told=(*GRANITE.told, "experts", "positions"),
    key_aliases={"layers_block_type": "layer_types"},
    examples=("ibm-granite/granite-4.0-350m",),
    usual={"layer_types": [ATTENTION] * 24, "position_embedding_type": "rope"},
)
