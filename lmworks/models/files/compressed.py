"""Matrices of a model directory in 4 or 8 bits, in compressed-tensors' format `pack-quantized`, as transformers loads
it.

A matrix `x.weight` is stored as `x.weight_packed` (int32, 32 / bits values in each), `x.weight_scale` (one for each
group of a row) and `x.weight_shape`; `quantization_config` in config.json says so. Written are groups of 32, symmetric;
read are other sizes of group and a scale for each row too. What else the format has is refused by name, never guessed.
Source: the package compressed-tensors 0.20, `compressors/pack_quantized` and `quantization/quant_config.py`.
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
from lmworks.models.files.model_folder import is_mxfp4
from lmworks.models.files.mxfp4 import without_mxfp4
from lmworks.models.files.other_methods import other_method
from lmworks.models.files.quantise import GROUP, fits, from_words, nearest, require_finite, to_words
from lmworks.models.precision import DTYPES
from lmworks.models.unread import Unread

BITS = (4, 8)
METHOD, FORMAT = "compressed-tensors", "pack-quantized"
_OUTER = ("embedding.weight", "head.weight")
_PARTS = (".weight_packed", ".weight_scale", ".weight_shape")


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
    allowed = bits_said(said)
    bases = [name.removesuffix(_PARTS[0]) for name in tensors if name.endswith(_PARTS[0])]
    parts = {base + part for base in bases for part in _PARTS}
    plain = {name: tensor for name, tensor in tensors.items() if name not in parts}
    for base in bases:
        if base + ".weight" in plain:
            raise _damaged(base, "is there twice, packed and plain")
        for more in (".weight_zero_point", ".weight_g_idx", ".weight_global_scale"):
            if base + more in plain:
                raise _not_read(f"the weights hold {base}{more}")
        matrix = _Matrix.of(base, tensors, allowed)
        plain[base + ".weight"] = matrix.unread(dtype).placeholder() if later else matrix.weights(dtype)
    return plain


def scheme_must_be_read(tensors: Mapping[str, Tensor], said: Any) -> None:
    """The same ModelError for a way of storing weights that is not read, as far as it shows before a matrix is read."""
    if is_mxfp4(said):
        return
    if (method := other_method(said)) is None:
        bits_said(said)
    else:
        method.must_be_read(tensors)


@dataclass(frozen=True)
class _Matrix:
    """A packed matrix."""

    words: Int[Tensor, "rows words"]
    scale: Float[Tensor, "rows groups"]
    bits: int
    columns: int

    def values(self, rows: slice = slice(None)) -> Int[Tensor, "rows columns"]:
        """Some rows in int8."""
        return from_words(self.words[rows], self.bits)

    def weights(self, dtype: torch.dtype | None, rows: slice = slice(None)) -> Float[Tensor, "rows columns"]:
        """Some rows, in `dtype` or in the type of the scales."""
        values, scale = self.values(rows), self.scale[rows]
        grouped = values.reshape(*scale.shape, -1).float() * scale.float()[..., None]
        return grouped.reshape(values.shape).to(dtype or scale.dtype)

    def unread(self, dtype: torch.dtype | None) -> Unread:
        """The same for whoever asks for it later."""
        shape = (len(self.words), self.columns)
        return Unread(shape, dtype or self.scale.dtype, lambda rows: self.weights(dtype, rows))

    @classmethod
    def of(cls, base: str, tensors: Mapping[str, Tensor], allowed: set[int]) -> Self:
        """The matrix `base`.weight. ModelError where it is damaged."""
        for part in _PARTS:
            if base + part not in tensors:
                raise _damaged(base, f"has no {part.removeprefix('.')}")
        words, scale, said = (tensors[base + part] for part in _PARTS)
        shape = said.tolist() if said.dtype in (torch.int32, torch.int64) and said.shape == (2,) else []
        if len(shape) != 2 or min(shape) < 1:
            raise _damaged(
                base, f"has a weight_shape that is no pair of positive whole numbers ({said.flatten()[:4].tolist()})"
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
        if columns % scale.shape[1]:
            raise _damaged(base, f"has {scale.shape[1]:,} scales a row, which {columns:,} columns do not share evenly")
        if not torch.isfinite(scale).all():
            raise _damaged(base, "has scales that are not finite (NaN or infinite)")
        return cls(words, scale, bits, columns)


def packed_matrix(
    base: str, tensors: Mapping[str, Tensor], allowed: set[int]
) -> tuple[Int[Tensor, "rows columns"], Float[Tensor, "rows groups"]]:
    """Values (int8) and scales of the matrix `base`.weight, the groups of whatever size. ModelError where it is
    damaged."""
    matrix = _Matrix.of(base, tensors, allowed)
    return matrix.values(), matrix.scale


def bits_said(said: Any) -> set[int]:
    """The numbers of bits that a quantization_config has; ModelError for what is not read here."""
    if not isinstance(said, dict):
        raise _not_read("quantization_config is no table")
    if said.get("quant_method") != METHOD or said.get("format") != FORMAT:
        raise _not_read(f"the weights are stored as {said.get('quant_method')!s:.40} / {said.get('format')!s:.40}")
    for key in ("kv_cache_scheme", "sparsity_config"):
        if said.get(key) not in (None, {}, {"format": "dense"}):
            raise _not_read(f"quantization_config has a {key}")
    groups = said.get("config_groups")
    if not isinstance(groups, dict) or not groups or not all(isinstance(one, dict) for one in groups.values()):
        raise _not_read("quantization_config has no table of config_groups")
    return {_bits_of(name, group) for name, group in groups.items()}


def _bits_of(name: str, group: dict[str, Any]) -> int:
    weights = group.get("weights")
    if group.get("input_activations") or group.get("output_activations") or not isinstance(weights, dict):
        raise _not_read(f"{name:.40} quantises activations, or no weights")
    wanted: dict[str, tuple[Any, ...]] = {
        "num_bits": BITS,
        "type": ("int",),
        "symmetric": (True,),
        "strategy": ("group", "channel"),
        "dynamic": (False, None),
        "actorder": (None, False, "weight", "static"),
    }
    for key, known in wanted.items():
        value = weights.get(key, {"num_bits": 8, "type": "int", "symmetric": True}.get(key))
        if value not in known or isinstance(value, list | dict):
            raise _not_read(f"{name:.40} has {key} = {value!r:.40}")
    return int(weights.get("num_bits", 8))


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
        f"{what}, which is not read here; known is {METHOD} / {FORMAT} with symmetric weights of 4 or 8 bits in their "
        "own order: take the model without compression, or as a GGUF file"
    )
