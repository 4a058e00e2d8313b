"""Matrices of directories that others compressed: GPTQ and AWQ (4 bits with a scale and a zero point for some inputs),
FP8 (a byte a weight, a scale for each block, row or matrix), and what bitsandbytes.py reads. Read, not written.

    method = other_method(said)                     # of config.json's quantization_config; None for none of these
    groups = method.groups(["model.layers.0.mlp.up_proj"], tensors)

A matrix `x.weight`, [out, in], is stored
    GPTQ   x.qweight int32 [in / 8, out]: 8 inputs in a word, the first lowest; x.scales [groups, out]; x.qzeros int32
           [groups, out / 8], each less by 1 unless checkpoint_format is gptq_v2; x.g_idx [in], each input's group:
           neighbours' but after `desc_act`, which quantised the inputs in the order of their squares
    AWQ    x.qweight int32 [in, out / 8]: 8 outputs in a word, in the order 0 2 4 6 1 3 5 7; x.scales, x.qzeros as the
           same order has them
    FP8    x.weight float8_e4m3fn, x.weight_scale_inv [out / rows, in / columns] or x.weight_scale
Sources: AutoGPTQ's qlinear_cuda_old.py, AutoAWQ's packing_utils.py, transformers' integrations/finegrained_fp8.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from lmworks.basics.arrays import Float, Int
from lmworks.basics.errors import ModelError
from lmworks.models.files.bitsandbytes import without_bitsandbytes
from lmworks.models.files.quantise import GROUP, Groups, below_one_another
from lmworks.models.files.zero_points import Coded, in_smallest_form
from lmworks.models.unread import Unread

Tensors = Mapping[str, Tensor]
ORDER = (0, 4, 1, 5, 2, 6, 3, 7)
"""Where AWQ keeps outputs 0 to 7 in a word."""
PARTS = (".qweight", ".qzeros", ".scales", ".g_idx")
BLOCKS = (128, 64, 32, 256)
"""Rows or columns that may share a scale of FP8; the number of scales says which."""


@dataclass(frozen=True)
class StorageMethod:
    """How a directory is compressed."""

    name: str
    zero: int = 0
    """What is added to each zero point."""

    def weights(self, tensors: Tensors, dtype: torch.dtype | None, later: bool = False) -> dict[str, Tensor]:
        """A file's tensors with every matrix as `x.weight`, in `dtype` or in the type of its scales; `later` only where
        somebody asks for it."""
        if self.name in UNPACKED:
            return UNPACKED[self.name](tensors, dtype, later)
        bases = [name.removesuffix(".qweight") for name in tensors if name.endswith(".qweight")]
        parts = {base + part for base in bases for part in PARTS}
        plain = {name: tensor for name, tensor in tensors.items() if name not in parts}
        for base in bases:
            if base + ".weight" in plain:
                raise _damaged(base, "is there twice, packed and plain")
            unread = self.matrix(base, tensors).unread(dtype)
            plain[base + ".weight"] = unread.placeholder() if later else unread.whole()
        return plain

    def matrix(self, base: str, tensors: Tensors) -> StoredMatrix:
        """The matrix `base`.weight. ModelError where it is damaged."""
        for part in PARTS[:3]:
            if base + part not in tensors:
                raise _damaged(base, f"has no {part.removeprefix('.')}")
        words, zeros, scales = (tensors[base + part] for part in PARTS[:3])
        if any(one.dtype != torch.int32 or one.ndim != 2 or not one.numel() for one in (words, zeros)):
            raise _damaged(base, "has packed values that are no matrices of int32")
        by_inputs = self.name == "gptq"
        inputs, outputs = (8 * len(words), words.shape[1]) if by_inputs else (len(words), 8 * words.shape[1])
        if scales.dtype != torch.float16 or scales.shape != (len(zeros), outputs) or inputs % len(zeros):
            raise _damaged(
                base, f"has scales of shape {list(scales.shape)} ({scales.dtype}) for a matrix {[outputs, inputs]}"
            )
        if 8 * zeros.shape[1] != outputs:
            raise _damaged(base, f"has {8 * zeros.shape[1]:,} zero points a group, and {outputs:,} rows")
        if not torch.isfinite(scales).all():
            raise _damaged(base, "has scales that are not finite (NaN or infinite)")
        size = _size_of_groups(base, inputs, tensors)
        group_of = _groups_of_inputs(base, inputs, len(scales), tensors)
        return StoredMatrix(words, zeros, scales, self.zero, by_inputs, size, group_of)

    def groups(self, bases: Sequence[str], tensors: Tensors) -> Groups | None:
        """Matrices below one another, unchanged, in the smallest form of the kernels that holds all of them; None where
        none does. ModelError where one is damaged."""
        coded = [one for base in bases if (one := self.matrix(base, tensors).coded()) is not None]
        found = in_smallest_form(coded) if len(coded) == len(bases) else None
        return None if found is None else below_one_another(found)


@dataclass(frozen=True)
class StoredMatrix:
    """A matrix of GPTQ or AWQ: weight = (code - zero) * scale."""

    words: Int[Tensor, "packed columns"]
    zeros: Int[Tensor, "groups words"]
    scales: Float[Tensor, "groups outputs"]
    zero: int
    """What is added to each zero point."""
    by_inputs: bool
    """Does a word of codes hold inputs, as GPTQ's do, or outputs?"""
    size: int
    """Inputs of a group."""
    group_of: Int[Tensor, " inputs"] | None = None
    """Of each input; None where neighbours are of one group."""

    @property
    def shape(self) -> tuple[int, int]:
        """Of the matrix."""
        return self.scales.shape[1], self.size * len(self.scales)

    def codes(self, rows: slice = slice(None)) -> Int[Tensor, "rows inputs"]:
        """Some rows, from 0 to 15, in int8."""
        if self.by_inputs:
            return _nibbles(self.words[:, rows]).transpose(0, 1).flatten(1)
        begin, end, _ = rows.indices(self.shape[0])
        found = _nibbles(self.words[:, begin // 8 : -(-end // 8)])[..., list(ORDER)].flatten(1)
        return found[:, begin % 8 : begin % 8 + end - begin].T.contiguous()

    def zero_points(self, rows: slice = slice(None)) -> Int[Tensor, "rows groups"]:
        """What code stands for 0, from 0 to 16, in int8."""
        found = _nibbles(self.zeros)
        found = found if self.by_inputs else found[..., list(ORDER)]
        return (found.flatten(1)[:, rows] + self.zero).T.contiguous()

    def weights(self, dtype: torch.dtype | None, rows: slice = slice(None)) -> Float[Tensor, "rows inputs"]:
        """Some rows, in `dtype` or in the type of the scales; multiplied in float32 and rounded once."""
        zero, scale = (self._of_inputs(one) for one in (self.zero_points(rows), self.scales[:, rows].T))
        return ((self.codes(rows) - zero).float() * scale).to(dtype or self.scales.dtype)

    def _of_inputs(self, of_groups: Tensor) -> Tensor:
        """What each group has, for each of its inputs."""
        if self.group_of is None:
            return of_groups.repeat_interleave(self.size, dim=1)
        return of_groups[:, self.group_of]

    def unread(self, dtype: torch.dtype | None) -> Unread:
        """The same for whoever asks for it later."""
        return Unread(self.shape, dtype or self.scales.dtype, lambda rows: self.weights(dtype, rows))

    def coded(self) -> Coded | None:
        """In codes, zero points and scales by rows; None where neighbouring inputs are of different groups."""
        if self.group_of is not None:
            return None
        return Coded(self.codes(), self.zero_points(), self.scales.T.contiguous())


def other_method(said: Any) -> StorageMethod | None:
    """What a quantization_config says, where it is one of these; ModelError for what of them is not read."""
    name = said.get("quant_method") if isinstance(said, dict) else None
    if not isinstance(name, str):
        return None
    if name in UNPACKED:
        return StorageMethod(name)
    if name not in ("gptq", "awq"):
        return None
    if said.get("bits", said.get("w_bit")) != 4:
        raise _not_read(f"the weights are {name} with bits = {said.get('bits')!r:.20}")
    if name == "awq" and str(said.get("version") or "gemm").lower() != "gemm":
        raise _not_read(f"the weights are awq in the version {said.get('version')!r:.20}")
    return StorageMethod(name, int(name == "gptq" and said.get("checkpoint_format") != "gptq_v2"))


def _nibbles(words: Int[Tensor, "rows columns"]) -> Int[Tensor, "rows columns 8"]:
    """Eight codes of 4 bits in each word, the lowest first, in int8."""
    pairs = words.contiguous().view(torch.uint8).unflatten(-1, (-1, 4))
    return torch.stack([pairs & 15, pairs >> 4], -1).flatten(-2).view(torch.int8)


def _size_of_groups(base: str, inputs: int, tensors: Tensors) -> int:
    """How many inputs have a scale; ModelError where that is not read."""
    size = inputs // len(tensors[base + ".scales"])
    if not size or size % GROUP:
        raise _not_read(f"{base} has groups of {size} inputs")
    return size


def _groups_of_inputs(base: str, inputs: int, groups: int, tensors: Tensors) -> Int[Tensor, " inputs"] | None:
    """The group of each input; None where they are neighbours. ModelError where there are not as many groups."""
    if (said := tensors.get(base + ".g_idx")) is None:
        return None
    if said.dtype not in (torch.int32, torch.int64) or said.shape != (inputs,):
        raise _damaged(base, f"has a g_idx of shape {list(said.shape)} ({said.dtype}) for {inputs:,} inputs")
    group_of = said.long()
    if torch.equal(group_of, torch.arange(inputs) // (inputs // groups)):
        return None
    least, most = int(group_of.min()), int(group_of.max())
    if least < 0 or most >= groups:
        raise _damaged(base, f"has groups from {least:,} to {most:,} in its g_idx, and scales for {groups:,}")
    return group_of


def without_fp8(
    tensors: Tensors, dtype: torch.dtype | None, later: bool = False, as_scales: bool = False
) -> dict[str, Tensor]:
    """A file's tensors with every matrix in FP8 in `dtype`, or in bfloat16 or the type of its scales; what values were
    to be rounded by is left out, as nothing rounds them here. ModelError for a matrix without its scale."""
    ends = "_scale_inv", "_scale"
    scales = {name for name in tensors if name.endswith(tuple(f".weight{end}" for end in ends))}
    plain = {
        name: tensor for name, tensor in tensors.items() if name not in scales and not name.endswith(".input_scale")
    }
    for name, weight in plain.items():
        if weight.dtype != torch.float8_e4m3fn:
            continue
        scale = next((tensors[name + end] for end in ends if name + end in tensors), None)
        base = name.removesuffix(".weight")
        if scale is None or weight.ndim != 2 or not scale.is_floating_point():
            raise _damaged(base, "has no weight_scale_inv or weight_scale, or is no matrix")
        unread = _Float8.of(base, weight, scale).unread(dtype or (scale.dtype if as_scales else torch.bfloat16))
        plain[name] = unread.placeholder() if later else unread.whole()
    return plain


@dataclass(frozen=True)
class _Float8:
    """A matrix in FP8."""

    weight: Tensor
    scale: Float[Tensor, "of_rows of_columns"]
    blocks: tuple[int, int]
    """Rows and columns that share a scale; 0 for all of them."""

    @classmethod
    def of(cls, base: str, weight: Tensor, scale: Tensor) -> Self:
        """With a scale for each weight, row, block or all: blocks are squares but for the last ones."""
        scale = scale.reshape(1, 1) if scale.numel() == 1 else scale[:, None] if scale.ndim == 1 else scale
        if scale.ndim != 2 or not torch.isfinite(scale.float()).all():
            raise _damaged(base, f"has scales of shape {list(scale.shape)}, or some that are not finite")
        rows, columns = (_block(count, size) for count, size in zip(scale.shape, weight.shape, strict=True))
        if rows is None or columns is None:
            raise _damaged(base, f"has scales of shape {list(scale.shape)} for a matrix {list(weight.shape)}")
        return cls(weight, scale, (rows, columns))

    def unread(self, dtype: torch.dtype) -> Unread:
        """The values for whoever asks for them later."""
        rows, columns = self.weight.shape
        return Unread((rows, columns), dtype, self.values)

    def values(self, rows: slice) -> Float[Tensor, "rows columns"]:
        """Some rows in float32."""
        scale = self.scale.float()
        for axis, chosen in enumerate((rows, slice(None))):
            if self.blocks[axis]:
                places = torch.arange(self.weight.shape[axis])[chosen] // self.blocks[axis]
                scale = scale.index_select(axis, places)
        return self.weight[rows].float() * scale


def _block(count: int, size: int) -> int | None:
    """How many of `size` rows or columns share one of `count` scales, 0 for all; None where that is not known."""
    if count == size:
        return 1
    return 0 if count == 1 else next((one for one in BLOCKS if -(-size // one) == count), None)


def _damaged(base: str, how: str) -> ModelError:
    return ModelError(f"the packed matrix {base} {how}; the file is damaged, fetch or copy it again")


def _not_read(what: str) -> ModelError:
    return ModelError(
        f"{what}, which is not read here; known are gptq and awq (gemm) in 4 bits with groups that are multiples of "
        "32, fp8 and bitsandbytes: take the model without compression, or as a GGUF file"
    )


UNPACKED: dict[str, Callable[[Tensors, torch.dtype | None, bool], dict[str, Tensor]]] = {
    "fp8": without_fp8,
    "bitsandbytes": without_bitsandbytes,
}
"""Methods whose values are no groups of whole numbers (model_folder.NO_GROUPS)."""
