"""Networks from GGUF files: any quantisation that the gguf package knows, dequantised to the type asked for."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Iterator
from math import prod

import numpy as np
import torch
from torch import Tensor

from lmworks.basics.arrays import Float
from lmworks.basics.errors import ModelError
from lmworks.basics.memory import must_fit
from lmworks.models.config import ModelConfig
from lmworks.models.families.deepseek import latent_rows, query_rows
from lmworks.models.families.gguf import (
    EXPAND,
    EXPANDS_TO,
    FACTORS,
    FURTHER,
    GATES_AND_UPS,
    NEIGHBOURS,
    NOT_READ,
    table_in,
    whole_number,
)
from lmworks.models.families.names import each_name
from lmworks.models.families.sources import Rows as Joined
from lmworks.models.families.sources import (
    Said,
    Source,
    below_one_another,
    halves_of_neighbours,
    halves_of_pairs,
    joined_shape,
)
from lmworks.models.files.dequantise import FLOATS, dequantised
from lmworks.models.files.directory import network_of
from lmworks.models.files.gguf_config import gguf_config, stored_kind
from lmworks.models.files.gguf_file import GGUFFile, Rows, matrix_of
from lmworks.models.network import Network
from lmworks.models.unread import Later, Unread, at_once, nothing

LATENT_ROWS = {"attn_q": query_rows, "attn_q_b": query_rows, "attn_kv_a_mqa": latent_rows}
"""Tensors of latent attention whose rows have another order here."""


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
        names = dict(each_name(table_in(file, config), config))
        expected = {matrix_of(part)[0] for source in names.values() for part in source_parts(source)}
        expected |= {part.replace(EXPAND, one) for part in expected if EXPAND in part for one in EXPANDS_TO}
        further = {one for one in file.tensors if _is_further(file, one, config)}
        left = sorted(set(file.tensors) - expected - further - {"rope_freqs.weight", NOT_READ, *FACTORS.values()})
        if left:
            raise ModelError(f"it holds {left[0]}, which a {config.family} network with these settings does not have")
        made = {}
        for name, source in names.items():
            if EXPAND in str(source) and source not in file.tensors:
                made[name] = _expanding(file, str(source), config, dtype, stays(name))
            else:
                made[name] = (_unread if stays(name) else _read)(file, name, source, config, dtype)
        return network_of(config, made)


@contextlib.contextmanager
def _named(file: GGUFFile) -> Iterator[None]:
    """What is wrong with the file begins with its path."""
    try:
        yield
    except ModelError as error:
        raise ModelError(f"{file.path}: {error}") from None


def _is_further(file: GGUFFile, name: str, config: ModelConfig) -> bool:
    """Does a tensor belong to a layer that guesses further tokens?"""
    layer = name.removeprefix("blk.").partition(".")[0]
    further = whole_number(file.metadata, f"{file.metadata['general.architecture']}.{FURTHER}")
    return layer.isdecimal() and 0 <= int(layer) - config.layers < further


def _read(file: GGUFFile, name: str, source: Source, config: ModelConfig, dtype: torch.dtype) -> Tensor:
    if isinstance(source, Said):
        return said_number(file, source, dtype)
    unit_offset = config.norm_unit_offset and name.endswith("norm.weight")
    read_as = torch.float32 if unit_offset else dtype
    for part in source_parts(source):
        _must_have_all(file, part, config)
    parts = [turned_back(part, dequantised(file, part, read_as), config) for part in source_parts(source)]
    if unit_offset:
        parts = [(part - 1).to(dtype) for part in parts]  # llama.cpp's converter adds Gemma's 1 to the weights
    return with_dropped_axis(name, below_one_another(source_parts(source), parts))


def _expanding(file: GGUFFile, name: str, config: ModelConfig, dtype: torch.dtype, stays: bool) -> Tensor:
    """What makes keys and values of latent states, of a file that holds it in two: the first of them turned about."""
    keys, values = (name.replace(EXPAND, one) for one in EXPANDS_TO)
    assert config.latent is not None and config.rotary_dim is not None
    heads, rank, plain = config.heads, config.latent.rank, config.head_dim - config.rotary_dim
    shapes = {keys: (heads, rank, plain), values: (heads, config.latent.value_dim, rank)}
    for part, shape in shapes.items():
        if file.info(part).shape != shape:
            raise ModelError(f"{part} has the shape {list(file.info(part).shape)}, expected {list(shape)}")

    def take(rows: slice) -> Tensor:
        every = torch.cat([dequantised(file, keys, dtype).mT, dequantised(file, values, dtype)], 1)
        return every.flatten(0, 1)[rows]

    if not stays:
        return take(slice(None))
    return Unread((heads * (plain + config.latent.value_dim), rank), dtype, take).placeholder()


def with_dropped_axis(name: str, weight: Tensor) -> Tensor:
    """With the axis of length 1 that our tensor has and the format does not: the gate's row, the kernel's input."""
    if name.endswith(".shared_gate.weight"):
        return weight[None]
    return weight[:, None] if name.endswith(".attention.kernel") else weight


def _must_have_all(file: GGUFFile, part: str, config: ModelConfig) -> None:
    """ModelError where a part is one expert's share of a tensor that is not of as many experts as there are."""
    name, expert = matrix_of(part)
    shape, count = file.info(name).shape, 0 if config.experts is None else config.experts.count
    if expert is not None and (len(shape) != (2 if name.endswith(".bias") else 3) or shape[0] != count):
        raise ModelError(f"{name} has the shape {list(shape)}, and there are {count} experts")


def _unread(file: GGUFFile, name: str, source: Source, config: ModelConfig, dtype: torch.dtype) -> Tensor:
    """A matrix that stays in the file."""
    parts = source_parts(source)
    for part in parts:
        _must_have_all(file, part, config)
    shape = joined_shape(parts, [file.info(part).shape for part in parts])
    if len(shape) != 2:
        return _read(file, name, source, config, dtype)

    def take(rows: slice) -> Tensor:
        places = list(rows_in_file(file, source, config, rows))
        if len(places) == 1:
            part, at = places[0]
            return dequantised(file, part, dtype, at)
        sizes = [at.stop - at.start if isinstance(at, slice) else len(at) for _, at in places]
        whole = torch.empty(sum(sizes), shape[1], dtype=dtype)
        for (part, at), into in zip(places, whole.split(sizes), strict=True):
            dequantised(file, part, dtype, at, into)
        return whole

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
    """The type of the matrices where they are floats; None where they are quantised."""
    kind = stored_kind(file)
    return None if kind is None else FLOATS[kind]


def source_parts(source: Source) -> tuple[str, ...]:
    """The file's tensors that one of ours is made of."""
    if isinstance(source, Said):
        return ()
    return source.names if isinstance(source, Joined) else (str(source),)


def said_number(file: GGUFFile, source: Said, dtype: torch.dtype) -> Float[Tensor, " one"]:
    """A number that the file says of a layer, or of all; ModelError where it says none."""
    key, layer = matrix_of(source)
    said = file.metadata.get(key)
    numbers = said if isinstance(said, list) else [said]
    number = numbers[0] if len(numbers) == 1 else numbers[layer or 0] if len(numbers) > (layer or 0) else None
    if not isinstance(number, float) or not math.isfinite(number):
        raise ModelError(f"it says no number for layer {layer} in {key}")
    return torch.tensor([number], dtype=dtype)


def _turned(name: str, config: ModelConfig) -> bool:
    """Whether llama.cpp has rows of this tensor in an order of its own, or as they were published, and ours is not."""
    tensor = name.split(".")[-2]
    if config.latent is not None:
        return tensor in LATENT_ROWS
    return tensor == GATES_AND_UPS or (tensor in ("attn_q", "attn_k") and config.family in NEIGHBOURS)


@functools.lru_cache(maxsize=4)
def _order(name: str, rows: int, config: ModelConfig) -> np.ndarray:
    """Where in the file our rows are."""
    return turned_back(name, torch.arange(rows)[:, None], config)[:, 0].numpy()


def turned_back(name: str, weight: Tensor, config: ModelConfig) -> Tensor:
    """Undo llama.cpp's order of query and key rows.

    For Llama and its like it stores each head's rows as pairs (0, half), (1, half + 1), ..., as it rotates neighbours;
    here rows i and i + half are rotated against each other. Ollama's gate and up of gpt-oss are pairs, too; DeepSeek's
    stay as its own files have them.
    """
    tensor = name.split(".")[-2]
    if tensor == GATES_AND_UPS:
        return halves_of_pairs(weight)
    if not _turned(name, config):
        return weight
    if config.latent is not None:
        order = LATENT_ROWS[tensor](config)
        if len(order) != len(weight):
            raise ModelError(f"{name} has {len(weight):,} rows, expected {len(order):,}")
        return weight[order]
    return weight[halves_of_neighbours(weight, config)]
