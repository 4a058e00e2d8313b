"""What a GGUF file's header says: our config, and whether its matrices are floats. Nothing here waits for PyTorch
(gguf.py reads the weights)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lmworks.basics.errors import ConfigError, ModelError
from lmworks.models.config import ModelConfig, RopeScaling
from lmworks.models.families import FAMILIES, not_known
from lmworks.models.families.gguf import (
    ACTIVATIONS,
    ARCHITECTURES,
    FACTORS,
    FURTHER,
    IMPLIED,
    KERNEL,
    NORM_EPS,
    ROUTER,
    SCALARS,
    SETTINGS,
    as_written,
    family_in,
    layers_in,
    more_from,
    number,
    whole_number,
)
from lmworks.models.families.gpt_oss import GPT_OSS
from lmworks.models.files.gguf_file import GGUFFile
from lmworks.models.files.gguf_kinds import Kind
from lmworks.models.positions.rope import llama3

FLOAT_BYTES = {Kind.F32: 4, Kind.F16: 2, Kind.BF16: 2}
"""Of a number, in the kinds that are floats."""


def stored_kind(file: GGUFFile) -> Kind | None:
    """The kind of the matrices where they are floats; None where they are quantised. llama.cpp keeps what is only added
    to the stream, kernels of convolutions and routers in float32 whatever the others are."""
    others = ("position_embd.weight", "token_types.weight", KERNEL, ROUTER, ".bias")
    kinds = {info.kind for name, info in file.tensors.items() if len(info.shape) > 1 and not name.endswith(others)}
    return next((one for one in kinds if one in FLOAT_BYTES), None) if len(kinds) == 1 else None


def runs_as_stored(file: GGUFFile, config: ModelConfig) -> bool:
    """Does what the file's matrices hold run as it is: few bits, or floats of 16 in what is no encoder?"""
    kind = stored_kind(file)
    return kind is None or (FLOAT_BYTES[kind] == 2 and config.arrangement != "encoder")


def gguf_config(file: GGUFFile) -> ModelConfig:
    """Our config from a GGUF file's metadata."""
    theirs = file.metadata
    architecture = theirs.get("general.architecture", "")
    if not isinstance(architecture, str) or architecture not in ARCHITECTURES:
        raise not_known(architecture, ARCHITECTURES)
    family = FAMILIES[family_in(architecture, theirs)]
    ours: dict[str, Any] = dict(family.fixed)
    named = SETTINGS | SCALARS.get(family.name, {})
    ours |= {key: theirs[f"{architecture}.{name}"] for key, name in named.items() if f"{architecture}.{name}" in theirs}
    ours["norm_eps"] = next(
        (theirs[f"{architecture}.{name}"] for name in NORM_EPS if f"{architecture}.{name}" in theirs), 1e-5
    )
    ours["vocab_size"] = file.tensors["token_embd.weight"].shape[0] if "token_embd.weight" in file.tensors else 0
    ours["tied"] = "output.weight" not in file.tensors
    if "token_types.weight" in file.tensors:
        ours["segments"] = file.tensors["token_types.weight"].shape[0]
    has_bias = any(f"blk.0.{name}.bias" in file.tensors for name in ("attn_q", "attn_qkv"))
    ours["qkv_bias"] = ours.get("qkv_bias", False) or has_bias
    ours["output_bias"] = ours.get("output_bias", False) or "blk.0.attn_output.bias" in file.tensors
    ours["feed_forward_bias"] = ours.get("feed_forward_bias", False) or "blk.0.ffn_down.bias" in file.tensors
    ours["activation"] = ACTIVATIONS.get(family.name, "silu")
    ours["window"] = ours.get("window") or None  # some converters write 0 for none
    turned = theirs.get(f"{architecture}.rope.dimension_count")
    if family.partly_rotary and turned != ours.get("head_dim"):
        ours["rotary_dim"] = turned
    if f"{architecture}.{FURTHER}" in theirs:
        ours["layers"] = layers_in(architecture, theirs)
    ours |= more_from(architecture, theirs, file.tensors)
    ours = {key: as_written(value) if isinstance(value, float) else value for key, value in ours.items()}
    try:
        if family.name in IMPLIED:
            known = ModelConfig(family=family.name, **ours)
            ours |= IMPLIED[family.name](known.model_dump())
            _check_windows(ours, theirs.get(f"{architecture}.attention.sliding_window_pattern"))
        config = ModelConfig(family=family.name, **ours)
        if turned not in (None, config.rotary_dim or config.head_dim):
            raise ModelError("it rotates a part of each head only (rope.dimension_count), which is not supported")
        if config.rotary_dim == config.head_dim:
            config = config.but(rotary_dim=None)
        return _with_scaling(config, file, architecture)
    except ConfigError as error:
        raise ModelError(f"its metadata does not describe a {family.name} network: {error}") from None


def _check_windows(ours: Mapping[str, Any], said: object) -> None:
    """ModelError where the file names other layers with a window than llama.cpp knows of the family."""
    chosen, layers = ours.get("window_layers"), range(ours["layers"])
    if chosen is None or said is None:
        return
    marks = said if isinstance(said, list) else [isinstance(said, int) and (one + 1) % max(said, 1) for one in layers]
    if [layer for layer, mark in enumerate(marks) if mark] != list(chosen):
        raise ModelError("its windows are on other layers than those of its family, which is not supported")


def _with_scaling(config: ModelConfig, file: GGUFFile, architecture: str) -> ModelConfig:
    """Rotary scaling, as metadata names it or as a table of frequencies (Llama 3) or of factors (Phi-3) implies it."""
    factor = file.metadata.get(f"{architecture}.rope.scaling.factor", 1.0)
    unsaid = "yarn" if architecture == "gptoss" and factor != 1.0 else "none"  # Ollama's know no other
    kind = file.metadata.get(f"{architecture}.rope.scaling.type", unsaid)
    if all(name in file.tensors for name in FACTORS.values()):
        original = whole_number(file.metadata, f"{architecture}.rope.scaling.original_context_length", config.context)
        factors: dict[str, Any] = {
            key: tuple(map(as_written, file.read(name).tolist())) for key, name in FACTORS.items()
        }
        scaling = RopeScaling(
            kind="longrope",
            factor=config.context / original,
            original_context=original,
            attention_factor=as_written(number(file.metadata, f"{architecture}.rope.scaling.attn_factor", 1.0)),
            **factors,
        )
        return config.but(rope_scaling=scaling)
    if "rope_freqs.weight" in file.tensors:
        divisors = file.read("rope_freqs.weight")
        width = config.rotary_dim or config.head_dim
        plain = config.rope_theta ** -(np.arange(0, width, 2) / width)
        for factor in (8.0, 32.0):
            scaling = RopeScaling(kind="llama3", factor=factor, original_context=8192)
            scaled = llama3(plain, scaling, 8192)
            if divisors.shape == plain.shape and np.allclose(scaled * divisors, plain, rtol=1e-3, atol=1e-8):
                return config.but(rope_scaling=scaling)
        raise ModelError("its rotary frequencies (rope_freqs.weight) follow no scaling that is known here")
    if kind == "none":
        return config
    if kind not in ("linear", "yarn"):
        raise ModelError(f"its rotary scaling {kind!r} is not known; known are linear and yarn")
    return config.but(
        rope_scaling=RopeScaling(
            kind=kind,
            factor=factor,
            original_context=file.metadata.get(f"{architecture}.rope.scaling.original_context_length"),
            truncate=config.family != GPT_OSS.name,  # as it was trained; llama.cpp truncates
            attention_factor=None if config.attention_scale is None or config.latent is None else 1.0,
        )
    )
