"""Networks from GGUF files: any quantisation that the gguf package knows, dequantised to the type asked for."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lmworks.basics.errors import ConfigError, ModelError
from lmworks.basics.memory import must_fit
from lmworks.models.config import ModelConfig, RopeScaling
from lmworks.models.families import FAMILIES, not_known
from lmworks.models.families.gguf import (
    ACTIVATIONS,
    ARCHITECTURES,
    FACTORS,
    IMPLIED,
    NEIGHBOURS,
    NORM_EPS,
    NOT_READ,
    SCALARS,
    SETTINGS,
    TENSORS_OF,
    family_in,
    more_from,
)
from lmworks.models.families.names import each_name
from lmworks.models.families.sources import Rows as Joined
from lmworks.models.families.sources import Source, below_one_another, halves_of_neighbours, joined_shape
from lmworks.models.files.dequantise import FLOATS, dequantised
from lmworks.models.files.directory import network_of
from lmworks.models.files.gguf_file import GGUFFile, Rows
from lmworks.models.network import Network
from lmworks.models.positions.rope import frequencies
from lmworks.models.unread import Later, Unread, at_once, nothing


def read_gguf_network(file: GGUFFile, dtype: torch.dtype, later: Later = nothing) -> Network:
    """The network of a GGUF file in `dtype`; matrices that are wanted `later` stay in the file until somebody asks.
    ModelError where a tensor is missing, left over or of a wrong shape, or all of them take more memory than there
    is."""
    with _named(file):
        config = gguf_config(file)
    stays = later(config)
    if stays is at_once:
        must_fit(str(file.path), dtype.itemsize * sum(prod(one.shape) for one in file.tensors.values()))
    with _named(file):
        names = dict(each_name(TENSORS_OF[config.family], config))
        expected = {tensor_of(part)[0] for source in names.values() for part in source_parts(source)}
        left = sorted(set(file.tensors) - expected - {"rope_freqs.weight", NOT_READ, *FACTORS.values()})
        if left:
            raise ModelError(f"it holds {left[0]}, which a {config.family} network with these settings does not have")
        made = {}
        for name, source in names.items():
            made[name] = (_unread if stays(name) else _read)(file, name, source, config, dtype)
        return network_of(config, made)


@contextlib.contextmanager
def _named(file: GGUFFile) -> Iterator[None]:
    """What is wrong with the file begins with its path."""
    try:
        yield
    except ModelError as error:
        raise ModelError(f"{file.path}: {error}") from None


def _read(file: GGUFFile, name: str, source: Source, config: ModelConfig, dtype: torch.dtype) -> Tensor:
    unit_offset = config.norm_unit_offset and name.endswith("norm.weight")
    read_as = torch.float32 if unit_offset else dtype
    parts = [turned_back(part, _dequantised(file, part, read_as, config), config) for part in source_parts(source)]
    if name.endswith(".shared_gate.weight"):  # one row, which the format drops
        parts = [part.reshape(1, -1) for part in parts]
    if unit_offset:
        parts = [(part - 1).to(dtype) for part in parts]  # llama.cpp's converter adds Gemma's 1 to the weights
    return below_one_another(source_parts(source), parts)


def _dequantised(file: GGUFFile, part: str, dtype: torch.dtype, config: ModelConfig) -> Tensor:
    """A tensor, or one expert's share of it; ModelError where it is not of as many experts as there are."""
    name, expert = tensor_of(part)
    if expert is None:
        return dequantised(file, name, dtype)
    shape, count = file.info(name).shape, 0 if config.experts is None else config.experts.count
    if len(shape) != 3 or shape[0] != count:
        raise ModelError(f"{name} has the shape {list(shape)}, and there are {count} experts")
    return dequantised(file, name, dtype, slice(expert, expert + 1))[0]


def tensor_of(part: str) -> tuple[str, int | None]:
    """The file's tensor that a part is, or that it is one expert's share of."""
    name, _, number = part.rstrip("]").partition("[")
    return name, int(number) if number else None


def _unread(file: GGUFFile, name: str, source: Source, config: ModelConfig, dtype: torch.dtype) -> Tensor:
    """A matrix that stays in the file."""
    parts = source_parts(source)
    shape = joined_shape(parts, [file.info(part).shape for part in parts])
    if len(shape) != 2:
        return _read(file, name, source, config, dtype)

    def take(rows: slice) -> Tensor:
        places = rows_in_file(file, source, config, rows)
        return below_one_another(parts, [dequantised(file, part, dtype, at) for part, at in places])

    return Unread(shape, dtype, take).placeholder()


def rows_in_file(file: GGUFFile, source: Source, config: ModelConfig, rows: slice) -> Iterator[tuple[str, Rows]]:
    """Where rows of a matrix of ours are: the file's tensors, and their rows."""
    begin, end = rows.start or 0, rows.stop
    for part in source_parts(source):
        size = file.info(part).shape[0]
        first, last = max(begin, 0), size if end is None else min(end, size)
        if first < last:
            turned = _turned(part, config)
            yield part, _order(part, size, config)[first:last] if turned else slice(first, last)
        begin, end = begin - size, None if end is None else end - size


def stored_dtype(file: GGUFFile) -> torch.dtype | None:
    """The type of the matrices where they are floats; None where they are quantised. llama.cpp keeps what is only added
    to the stream in float32 whatever the others are."""
    added = {"position_embd.weight", "token_types.weight"}
    kinds = {info.kind for name, info in file.tensors.items() if len(info.shape) > 1 and name not in added}
    return FLOATS.get(kinds.pop()) if len(kinds) == 1 else None


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


def as_written(value: float) -> float:
    """A number that is float32 in the file: 9.999999747378752e-06 was written as 1e-05."""
    return float(str(np.float32(value)))


def _with_scaling(config: ModelConfig, file: GGUFFile, architecture: str) -> ModelConfig:
    """Rotary scaling, as metadata names it or as a table of frequencies (Llama 3) or of factors (Phi-3) implies it."""
    kind = file.metadata.get(f"{architecture}.rope.scaling.type", "none")
    if all(name in file.tensors for name in FACTORS.values()):
        original = file.metadata.get(f"{architecture}.rope.scaling.original_context_length", config.context)
        factors: dict[str, Any] = {
            key: tuple(map(as_written, file.read(name).tolist())) for key, name in FACTORS.items()
        }
        scaling = RopeScaling(
            kind="longrope",
            factor=config.context / max(original, 1),
            original_context=original,
            attention_factor=as_written(file.metadata.get(f"{architecture}.rope.scaling.attn_factor", 1.0)),
            **factors,
        )
        return config.but(rope_scaling=scaling)
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
    return source.names if isinstance(source, Joined) else (str(source),)


def _turned(name: str, config: ModelConfig) -> bool:
    """Whether llama.cpp has rows of this tensor in an order of its own."""
    return name.split(".")[-2] in ("attn_q", "attn_k") and config.family in NEIGHBOURS


@functools.lru_cache(maxsize=4)
def _order(name: str, rows: int, config: ModelConfig) -> np.ndarray:
    """Where in the file our rows are."""
    return turned_back(name, torch.arange(rows)[:, None], config)[:, 0].numpy()


def turned_back(name: str, weight: Tensor, config: ModelConfig) -> Tensor:
    """Undo llama.cpp's order of query and key rows.

    For Llama and its like it stores each head's rows as pairs (0, half), (1, half + 1), ..., as it rotates neighbours;
    here rows i and i + half are rotated against each other.
    """
    return weight[halves_of_neighbours(weight, config)] if _turned(name, config) else weight
