"""Matrices of a model directory in 4 or 8 bits, in compressed-tensors' format `pack-quantized`, as transformers loads
it; in int8, in its format `int-quantized`; and in FP8, in its format `float-quantized`.

A matrix `x.weight` is stored as `x.weight_packed` (int32, 32 / bits values in each), `x.weight_scale` (one for each
group of a row) and `x.weight_shape`; `quantization_config` in config.json says so. Written are groups of 32, symmetric;
read are other sizes of group, a scale for each row, and zero points too: `x.weight_zero_point`, packed down the
columns, weight = (value - zero point) * scale. The other two keep a `x.weight` of int8 or of float8 beside its
`x.weight_scale`; the rounding of a layer's inputs that they were made for is left out. What else the formats have is
refused by name, never guessed.
Source: the package compressed-tensors 0.20, `compressors/pack_quantized`, `compressors/naive_quantized` and
`quantization/quant_config.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from lmworks.basics import progress
from lmworks.basics.arrays import Float, Int
from lmworks.basics.errors import ConfigError, ModelError
from lmworks.models.config import ModelConfig
from lmworks.models.families.names import each_name
from lmworks.models.families.sources import NeighbourRows, OfExperts, Rows, Source, Transposed
from lmworks.models.families.tables import Family
from lmworks.models.files.model_folder import (
    COMPRESSED_TENSORS,
    FLOAT_QUANTIZED,
    INT_QUANTIZED,
    is_float_quantized,
    is_mxfp4,
)
from lmworks.models.files.mxfp4 import without_mxfp4
from lmworks.models.files.other_methods import BLOCKS, other_method, without_fp8
from lmworks.models.files.quantise import GROUP, fits, from_words, nearest, require_finite, to_words
from lmworks.models.files.zero_points import Coded
from lmworks.models.precision import DTYPES
from lmworks.models.unread import Unread

BITS = (4, 8)
METHOD, FORMAT = COMPRESSED_TENSORS, "pack-quantized"
_OUTER = ("embedding.weight", "head.weight")
_PARTS = (".weight_packed", ".weight_scale", ".weight_shape")
"""Of a matrix in words."""
_SCALE, _ZERO = ".weight_scale", ".weight_zero_point"
_OF_INPUTS = (".input_scale", ".input_zero_point")
"""What a layer's inputs were to be rounded by."""
_DEFAULTS = {"num_bits": 8, "type": "int", "symmetric": True}
_OF_ALL = {"dynamic": (False, None), "actorder": (None, False, "weight", "static")}
_PACKED = {"num_bits": BITS, "type": ("int",), "symmetric": (True, False), "strategy": ("group", "channel")}
_BYTES = {"num_bits": (8,), "type": ("int",), "symmetric": (True, False), "strategy": ("group", "channel", "tensor")}
_FLOATS = {"num_bits": (8,), "type": ("float",), "symmetric": (True,), "strategy": ("tensor", "channel", "block")}
SCHEMES: dict[str, dict[str, tuple[Any, ...]]] = {
    FORMAT: _PACKED | _OF_ALL,
    INT_QUANTIZED: _BYTES | _OF_ALL,
    FLOAT_QUANTIZED: _FLOATS | _OF_ALL,
}
"""What is read of each format's schemes."""


def check_bits(bits: int, embedding_bits: int | None = None) -> None:
    """ConfigError for numbers of bits that the format is not written in."""
    for number in (bits, embedding_bits):
        if number not in (*BITS, None):
            raise ConfigError(f"{number} bits are not written here; known are {' and '.join(map(str, BITS))}")


@dataclass(frozen=True)
class Compression:
    """In how many bits a directory's matrices are written."""

    bits: int
    embedding_bits: int | None = None
    """Of embedding and head, None to leave them as they are: transformers does not load a packed embedding."""
    dtype: torch.dtype = torch.bfloat16
    """Of scales, and of what is left as it is."""

    def of(
        self, tensors: Mapping[str, Tensor], family: Family, config: ModelConfig
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The tensors of a file with the matrices packed, and its `quantization_config`.

        Routers, norms and biases stay as they are, and so do matrices whose rows are not whole groups of 32.
        ConfigError for a family that keeps its matrices turned; ModelError naming a tensor that is not finite.
        """
        names = self._bits_of_each(family, config)
        packed: dict[str, Tensor] = {}
        with progress.task("compressing", sum(tensors[name].numel() for name in names), "weights") as advance:
            for name, weight in tensors.items():
                require_finite(name, weight)
                if name not in names or not fits(weight):
                    packed[name] = weight.to(self.dtype) if weight.is_floating_point() else weight
                    continue
                groups = nearest(weight, names[name], self.dtype)
                require_finite(name, groups.scale)
                parts = (to_words(groups.values, names[name]), groups.scale, torch.tensor(weight.shape))
                base = name.removesuffix(".weight")
                packed |= {base + part: tensor for part, tensor in zip(_PARTS, parts, strict=True)}
                advance(weight.numel())
        return packed, self._config([name.removesuffix(".weight") for name in names if name in packed], names)

    def _bits_of_each(self, family: Family, config: ModelConfig) -> dict[str, int]:
        """The bits of each matrix that is packed, by its name in the files."""
        found: dict[str, int] = {}
        for ours, source in each_name(family.tensors, config):
            bits = self.embedding_bits if ours in _OUTER else self.bits if _is_of_a_block(ours) else None
            if bits is not None and isinstance(source, Transposed | OfExperts):
                raise ConfigError(
                    f"a {family.name} network keeps its matrices turned, which compressed-tensors has no place for; "
                    "use lmworks export --to gguf --type q4_0"
                )
            found |= dict.fromkeys(_names(source), bits) if bits is not None else {}
        return found

    def _config(self, left: list[str], names: Mapping[str, int]) -> dict[str, Any]:
        groups = {"group_0": _group(["Linear"], self.bits)}
        if self.embedding_bits is not None:
            groups["group_1"] = _group(["Embedding", "re:.*lm_head$"], self.embedding_bits)
        return {
            "quant_method": METHOD,
            "format": FORMAT,
            "quantization_status": "compressed",
            "config_groups": groups,
            "ignore": left if "lm_head.weight" in names else ["lm_head", *left],
        }


def decompressed(
    tensors: Mapping[str, Tensor], said: Any, dtype: torch.dtype | None = None, later: bool = False
) -> dict[str, Tensor]:
    """A file's tensors with every packed matrix as `x.weight`, in `dtype` or in the type of its scales; `later` only
    where somebody asks for it.

    `said` is config.json's `quantization_config`. ModelError, one sentence, for another method, format or scheme, and
    for a matrix whose parts are missing, of wrong shapes or not finite.
    """
    if is_mxfp4(said):
        return without_mxfp4(tensors, dtype, later)
    if (method := other_method(said)) is not None:
        return method.weights(tensors, dtype, later)
    if is_float_quantized(said):
        _schemes_of(said, FLOAT_QUANTIZED)
        return without_fp8(tensors, dtype, later, as_scales=True)
    allowed = packing_said(said)
    bases = [name.removesuffix(allowed.parts[0]) for name in tensors if allowed.holds(name, tensors[name])]
    parts = {base + part for base in bases for part in allowed.parts}
    plain = {name: tensor for name, tensor in tensors.items() if name not in parts}
    for base in bases:
        if base + ".weight" in plain:
            raise _damaged(base, "is there twice, packed and plain")
        for more in (_ZERO, ".weight_g_idx", ".weight_global_scale"):
            if base + more in plain:
                raise _not_read(f"the weights hold {base}{more}")
        matrix = allowed.matrix(base, tensors)
        plain[base + ".weight"] = matrix.unread(dtype).placeholder() if later else matrix.weights(dtype)
    return plain


@dataclass(frozen=True)
class Packing:
    """How a quantization_config says that matrices are packed."""

    bits: set[int]
    symmetric: set[bool]
    """Whether groups have no zero points; both where some have."""
    in_words: bool = True
    """Packed into words of 32 bits; else each in a byte of its own."""

    @property
    def parts(self) -> tuple[str, ...]:
        """What a matrix is stored in: names of tensors after its own, the values first."""
        others = (_ZERO,) if False in self.symmetric else ()
        return (*_PARTS, *others) if self.in_words else (".weight", _SCALE, *_OF_INPUTS, *others)

    def holds(self, name: str, tensor: Tensor) -> bool:
        """Whether a tensor is the values of a matrix that is stored so."""
        return name.endswith(self.parts[0]) and (self.in_words or tensor.dtype == torch.int8)

    def matrix(self, base: str, tensors: Mapping[str, Tensor]) -> PackedMatrix:
        """The matrix `base`.weight. ModelError where it is damaged."""
        return (PackedMatrix if self.in_words else Int8Matrix).of(base, tensors, self)


@dataclass(frozen=True)
class PackedMatrix:
    """A packed matrix."""

    words: Int[Tensor, "rows words"]
    scale: Float[Tensor, "rows groups"]
    bits: int
    columns: int
    zero: Int[Tensor, "rows groups"] | None = None
    """The value that stands for 0, in int8; None for 0."""

    def values(self, rows: slice = slice(None)) -> Int[Tensor, "rows columns"]:
        """Some rows in int8."""
        return from_words(self.words[rows], self.bits)

    def weights(self, dtype: torch.dtype | None, rows: slice = slice(None)) -> Float[Tensor, "rows columns"]:
        """Some rows, in `dtype` or in the type of the scales."""
        values, scale = self.values(rows), self.scale[rows]
        grouped = values.reshape(*scale.shape, -1).float()
        if self.zero is not None:
            grouped -= self.zero[rows][..., None]
        return (grouped * scale.float()[..., None]).reshape(values.shape).to(dtype or scale.dtype)

    def unread(self, dtype: torch.dtype | None) -> Unread:
        """The same for whoever asks for it later."""
        shape = (len(self.words), self.columns)
        return Unread(shape, dtype or self.scale.dtype, lambda rows: self.weights(dtype, rows))

    def coded(self) -> Coded | None:
        """With its zero points, where float16 holds the scales and codes have 4 bits; None else."""
        held = self.scale.half()
        if self.zero is None or self.bits != 4 or not torch.equal(held.to(self.scale.dtype), self.scale):
            return None
        return Coded(self.values() + 8, self.zero + 8, held)

    @classmethod
    def of(cls, base: str, tensors: Mapping[str, Tensor], said: Packing) -> Self:
        """The matrix `base`.weight. ModelError where it is damaged."""
        allowed = said.bits
        for part in _PARTS:
            if base + part not in tensors:
                raise _damaged(base, f"has no {part.removeprefix('.')}")
        words, scale, sizes = (tensors[base + part] for part in _PARTS)
        shape = sizes.tolist() if sizes.dtype in (torch.int32, torch.int64) and sizes.shape == (2,) else []
        if len(shape) != 2 or min(shape) < 1:
            raise _damaged(
                base, f"has a weight_shape that is no pair of positive whole numbers ({sizes.flatten()[:4].tolist()})"
            )
        rows, columns = shape
        if words.dtype != torch.int32 or words.ndim != 2 or len(words) != rows:
            raise _damaged(base, f"has packed values of shape {list(words.shape)} ({words.dtype}) for a matrix {shape}")
        bits = next((bits for bits in sorted(allowed) if words.shape[1] * 32 == columns * bits), None)
        if bits is None:
            raise _damaged(
                base,
                f"has {words.shape[1]:,} words a row, and {columns:,} values of {_either(allowed)} bits do not fill "
                "that",
            )
        if scale.dtype not in DTYPES.values() or scale.ndim != 2 or len(scale) != rows or not scale.shape[1]:
            raise _damaged(base, f"has scales of shape {list(scale.shape)} ({scale.dtype}) for a matrix {shape}")
        _must_share(base, scale, columns)
        zero = _zero_points(base, tensors, bits, (rows, scale.shape[1])) if False in said.symmetric else None
        if zero is None and True not in said.symmetric:
            raise _damaged(base, f"has no {_ZERO.removeprefix('.')}")
        return cls(words, scale, bits, columns, zero)


@dataclass(frozen=True)
class Int8Matrix(PackedMatrix):
    """A matrix with a byte for each weight."""

    def values(self, rows: slice = slice(None)) -> Int[Tensor, "rows columns"]:
        """Some rows in int8."""
        return self.words[rows]

    @classmethod
    def of(cls, base: str, tensors: Mapping[str, Tensor], said: Packing) -> Self:
        """The matrix `base`.weight. ModelError where it is damaged."""
        values, scale = tensors[base + ".weight"], tensors.get(base + _SCALE)
        if scale is None or values.ndim != 2 or not min(values.shape):
            raise _damaged(base, f"has no {_SCALE.removeprefix('.')}, or is no matrix")
        shape = list(values.shape)
        if scale.numel() == 1:
            scale = scale.reshape(1, 1).expand(len(values), 1)
        scale = scale[:, None] if scale.ndim == 1 else scale
        if scale.dtype not in DTYPES.values() or scale.ndim != 2 or len(scale) != len(values) or not scale.shape[1]:
            raise _damaged(base, f"has scales of shape {list(scale.shape)} ({scale.dtype}) for a matrix {shape}")
        _must_share(base, scale, values.shape[1])
        zero = tensors.get(base + _ZERO) if False in said.symmetric else None
        if zero is None and True not in said.symmetric:
            raise _damaged(base, f"has no {_ZERO.removeprefix('.')}")
        if zero is not None:
            if zero.dtype != torch.int8 or zero.numel() not in (1, scale.numel()):
                raise _damaged(
                    base, f"has zero points of shape {list(zero.shape)} ({zero.dtype}) for scales {list(scale.shape)}"
                )
            zero = zero.reshape(1, 1).expand_as(scale) if zero.numel() == 1 else zero.reshape(scale.shape)
        return cls(values, scale, 8, values.shape[1], zero)


def _must_share(base: str, scale: Float[Tensor, "rows groups"], columns: int) -> None:
    """ModelError unless the columns share a row's scales evenly, and all are finite."""
    if columns % scale.shape[1]:
        raise _damaged(base, f"has {scale.shape[1]:,} scales a row, which {columns:,} columns do not share evenly")
    if not torch.isfinite(scale).all():
        raise _damaged(base, "has scales that are not finite (NaN or infinite)")


def _zero_points(
    base: str, tensors: Mapping[str, Tensor], bits: int, shape: tuple[int, int]
) -> Int[Tensor, "rows groups"] | None:
    """Of each group, unpacked; None where there are none. ModelError where they are damaged."""
    if (packed := tensors.get(base + _ZERO)) is None:
        return None
    rows, groups = shape
    if packed.dtype != torch.int32 or packed.shape != (-(-rows * bits // 32), groups):
        raise _damaged(base, f"has zero points of shape {list(packed.shape)} ({packed.dtype}) for scales {list(shape)}")
    return from_words(packed.T, bits).T[:rows].contiguous()


def packing_said(said: Any) -> Packing:
    """How a quantization_config says that matrices are packed; ModelError for what is not read here."""
    in_words = not (isinstance(said, dict) and said.get("format") == INT_QUANTIZED)
    schemes = _schemes_of(said, FORMAT if in_words else INT_QUANTIZED)
    return Packing({int(one["num_bits"]) for one in schemes}, {bool(one["symmetric"]) for one in schemes}, in_words)


def _schemes_of(said: Any, form: str) -> list[dict[str, Any]]:
    """How a quantization_config says that each group of layers is stored in a format of SCHEMES; what it leaves out is
    filled in. ModelError for what is not read here."""
    if not isinstance(said, dict):
        raise _not_read("quantization_config is no table")
    if said.get("quant_method") != METHOD or said.get("format") != form:
        way = [f"{said[key]!s:.40}" for key in ("quant_method", "format") if said.get(key) is not None]
        raise _not_read(f"the weights are stored as {' / '.join(way) or 'quantization_config does not say'}")
    for key in ("kv_cache_scheme", "sparsity_config"):
        if said.get(key) not in (None, {}, {"format": "dense"}):
            raise _not_read(f"quantization_config has a {key}")
    groups = said.get("config_groups")
    if not isinstance(groups, dict) or not groups or not all(isinstance(one, dict) for one in groups.values()):
        raise _not_read("quantization_config has no table of config_groups")
    return [_scheme(name, group, form) for name, group in groups.items()]


def _scheme(name: str, group: dict[str, Any], form: str) -> dict[str, Any]:
    weights = group.get("weights")
    rounds = group.get("output_activations") or (group.get("input_activations") and form == FORMAT)
    if rounds or not isinstance(weights, dict):
        raise _not_read(f"{name:.40} quantises activations, or no weights")
    scheme = _DEFAULTS | weights
    for key, known in SCHEMES[form].items():
        value = scheme.get(key)
        if value not in known or isinstance(value, list | dict):
            raise _not_read(f"{name:.40} has {key} = {value!r:.40}")
    block = scheme.get("block_structure")
    if scheme["strategy"] == "block" and not (isinstance(block, list) and all(one in BLOCKS for one in block)):
        raise _not_read(f"{name:.40} has block_structure = {block!r:.40}")
    return scheme


def _is_of_a_block(name: str) -> bool:
    """Is it a matrix of a block, other than a router?"""
    return "blocks." in name and name.endswith(".weight") and "norm" not in name and "router" not in name


def _names(source: Source) -> tuple[str, ...]:
    if isinstance(source, Rows | NeighbourRows):
        return source.names
    return (source,) if isinstance(source, str) else (getattr(source, "name", ""),)


def _group(targets: list[str], bits: int) -> dict[str, Any]:
    weights = {"num_bits": bits, "type": "int", "symmetric": True, "strategy": "group", "group_size": GROUP}
    return {
        "targets": targets,
        "weights": weights | {"dynamic": False},
        "input_activations": None,
        "output_activations": None,
    }


def _either(allowed: set[int]) -> str:
    return " or ".join(map(str, sorted(allowed)))


def _damaged(base: str, how: str) -> ModelError:
    return ModelError(f"the packed matrix {base} {how}; the file is damaged, fetch or copy it again")


def _not_read(what: str) -> ModelError:
    return ModelError(
        f"{what}, which is not read here; known are {METHOD} ({FORMAT} with weights of 4 or 8 bits in their own "
        f"order, {INT_QUANTIZED}, {FLOAT_QUANTIZED}), gptq and awq in 4 bits, fp8, bitsandbytes and mxfp4: take the "
        "model without compression, or as a GGUF file"
    )
