"""Networks from GGUF files: any quantisation that the gguf package knows, dequantised to the type asked for."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lmworks.basics.errors import ConfigError, ModelError
from lmworks.basics.memory import must_fit
from lmworks.models.config import ModelConfig, RopeScaling
from lmworks.models.families import FAMILIES
from lmworks.models.families.gguf import ACTIVATIONS, ARCHITECTURES, NORM_EPS, SETTINGS, TENSORS_OF, more_from
from lmworks.models.families.tables import Rows, Source, below_one_another, each_name
from lmworks.models.files.dequantise import FLOATS, dequantised
from lmworks.models.files.directory import network_of
from lmworks.models.files.gguf_file import GGUFFile
from lmworks.models.network import Network
from lmworks.models.positions.rope import frequencies


def read_gguf_network(file: GGUFFile, dtype: torch.dtype) -> Network:
    """The network of a GGUF file in `dtype`; ModelError where a tensor is missing, left over or of a wrong shape, or
    all of them take more memory than there is."""
    must_fit(str(file.path), dtype.itemsize * sum(prod(one.shape) for one in file.tensors.values()))
    try:
        config = gguf_config(file)
        names = dict(each_name(TENSORS_OF[config.family], config))
        expected = {part for source in names.values() for part in source_parts(source)}
        left = sorted(set(file.tensors) - expected - {"rope_freqs.weight"})
        if left:
            raise ModelError(f"it holds {left[0]}, which a {config.family} network with these settings does not have")

        def read(name: str, source: Source) -> Tensor:
            unit_offset = config.norm_unit_offset and name.endswith("norm.weight")
            read_as = torch.float32 if unit_offset else dtype
            parts = [turned_back(part, dequantised(file, part, read_as), config) for part in source_parts(source)]
            if unit_offset:
                parts = [(part - 1).to(dtype) for part in parts]  # llama.cpp's converter adds Gemma's 1 to the weights
            return below_one_another(source_parts(source), parts)

        return network_of(config, {name: read(name, source) for name, source in names.items()})
    except ModelError as error:
        raise ModelError(f"{file.path}: {error}") from None


def stored_dtype(file: GGUFFile) -> torch.dtype | None:
    """The type of the matrices where they are floats; None where they are quantised."""
    kinds = {info.kind for info in file.tensors.values() if len(info.shape) > 1}
    return FLOATS.get(kinds.pop()) if len(kinds) == 1 else None


def gguf_config(file: GGUFFile) -> ModelConfig:
    """Our config from a GGUF file's metadata."""
    theirs = file.metadata
    architecture = theirs.get("general.architecture", "")
    if not isinstance(architecture, str) or architecture not in ARCHITECTURES:
        raise ModelError(f"the architecture {architecture!r} is not known; known are {', '.join(ARCHITECTURES)}")
    family = FAMILIES[ARCHITECTURES[architecture]]
    ours: dict[str, Any] = dict(family.fixed)
    ours |= {
        key: theirs[f"{architecture}.{name}"] for key, name in SETTINGS.items() if f"{architecture}.{name}" in theirs
    }
    ours["norm_eps"] = next(
        (theirs[f"{architecture}.{name}"] for name in NORM_EPS if f"{architecture}.{name}" in theirs), 1e-5
    )
    ours["vocab_size"] = file.tensors["token_embd.weight"].shape[0] if "token_embd.weight" in file.tensors else 0
    ours["tied"] = "output.weight" not in file.tensors
    has_bias = any(f"blk.0.{name}.bias" in file.tensors for name in ("attn_q", "attn_qkv"))
    ours["qkv_bias"] = ours.get("qkv_bias", False) or has_bias
    ours["output_bias"] = ours.get("output_bias", False) or "blk.0.attn_output.bias" in file.tensors
    ours["feed_forward_bias"] = ours.get("feed_forward_bias", False) or "blk.0.ffn_down.bias" in file.tensors
    ours["activation"] = ACTIVATIONS.get(family.name, "silu")
    turned = theirs.get(f"{architecture}.rope.dimension_count")
    if family.partly_rotary and turned != ours.get("head_dim"):
        ours["rotary_dim"] = turned
    ours |= more_from(architecture, theirs, file.tensors)
    # float32 in the file: 9.999999747378752e-06 was written as 1e-05.
    ours = {key: float(str(np.float32(value))) if isinstance(value, float) else value for key, value in ours.items()}
    try:
        config = ModelConfig(family=family.name, **ours)
        if turned not in (None, config.rotary_dim or config.head_dim):
            raise ModelError("it rotates a part of each head only (rope.dimension_count), which is not supported")
        return _with_scaling(config, file, architecture)
    except ConfigError as error:
        raise ModelError(f"its metadata does not describe a {family.name} network: {error}") from None


def _with_scaling(config: ModelConfig, file: GGUFFile, architecture: str) -> ModelConfig:
    """Rotary scaling, as metadata names it or as Llama 3's table of frequencies implies it."""
    kind = file.metadata.get(f"{architecture}.rope.scaling.type", "none")
    if "rope_freqs.weight" in file.tensors:
        divisors = torch.from_numpy(file.read("rope_freqs.weight").copy())
        for factor in (8.0, 32.0):
            scaled = config.but(rope_scaling=RopeScaling(kind="llama3", factor=factor, original_context=8192))
            if torch.allclose(frequencies(scaled)[0] * divisors, frequencies(config)[0], rtol=1e-3):
                return scaled
        raise ModelError("its rotary frequencies (rope_freqs.weight) follow no scaling that is known here")
    if kind == "none":
        return config
    if kind not in ("linear", "yarn"):
        raise ModelError(f"its rotary scaling {kind!r} is not known; known are linear and yarn")
    return config.but(
        rope_scaling=RopeScaling(
            kind=kind,
            factor=file.metadata.get(f"{architecture}.rope.scaling.factor", 1.0),
            original_context=file.metadata.get(f"{architecture}.rope.scaling.original_context_length"),
        )
    )


def source_parts(source: Source) -> tuple[str, ...]:
    """The file's tensors that one of ours is made of."""
    return source.names if isinstance(source, Rows) else (str(source),)


def turned_back(name: str, weight: Tensor, config: ModelConfig) -> Tensor:
    """Undo llama.cpp's order of query and key rows.

    For Llama it stores each head's rows as pairs (0, half), (1, half + 1), ..., because it rotates neighbours;
    here rows i and i + half are rotated against each other.
    """
    heads = {"attn_q": config.heads, "attn_k": config.kv_heads}.get(name.split(".")[-2])
    if heads is None or config.family != "llama":
        return weight
    rows = weight.shape[0]
    return weight.reshape(heads, rows // heads // 2, 2, -1).swapaxes(1, 2).reshape(weight.shape)
