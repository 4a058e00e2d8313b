"""Matrices of directories that others compressed: GPTQ and AWQ (4 bits with a scale and a zero point for some inputs),
FP8 (a byte a weight, a scale for each block, row or matrix), and what bitsandbytes.py reads. Read, not written.

    method = other_method(said)                     # of config.json's quantization_config; None for none of these
    groups = method.groups("model.layers.0.mlp.up_proj", tensors)

A matrix `x.weight`, [out, in], is stored
    GPTQ   x.qweight int32 [in / 8, out]: 8 inputs in a word, the first lowest; x.scales [groups, out]; x.qzeros int32
           [groups, out / 8], each less by 1 unless checkpoint_format is gptq_v2; x.g_idx [in], each input's group
    AWQ    x.qweight int32 [in, out / 8]: 8 outputs in a word, in the order 0 2 4 6 1 3 5 7; x.scales, x.qzeros as the
           same order has them
    FP8    x.weight float8_e4m3fn, x.weight_scale_inv [out / rows, in / columns] or x.weight_scale
Sources: AutoGPTQ's qlinear_cuda_old.py, AutoAWQ's packing_utils.py, transformers' integrations/finegrained_fp8.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lmworks.basics.arrays import Int
from lmworks.basics.errors import ModelError
from lmworks.models.files.bitsandbytes import without_bitsandbytes
from lmworks.models.files.quantise import GROUP, Groups

Tensors = Mapping[str, Tensor]
ORDER = (0, 4, 1, 5, 2, 6, 3, 7)
"""Where AWQ keeps outputs 0 to 7 in a word."""
PARTS = (".qweight", ".qzeros", ".scales", ".g_idx")
RUN = 128
"""Inputs that share a scale in the kernels (kernels/quantisations/int4_128.py)."""


@dataclass(frozen=True)
class StorageMethod:
    """How a directory is compressed."""

    name: str
    zero: int = 0
    """What is added to each zero point."""

    def weights(self, tensors: Tensors, dtype: torch.dtype | None) -> dict[str, Tensor]:
        """A file's tensors with every matrix as `x.weight`, in `dtype` or in the type of its scales."""
        if self.name in UNPACKED:
            return UNPACKED[self.name](tensors, dtype)
        bases = [name.removesuffix(".qweight") for name in tensors if name.endswith(".qweight")]
        parts = {base + part for base in bases for part in PARTS}
        plain = {name: tensor for name, tensor in tensors.items() if name not in parts}
        for base in bases:
            if base + ".weight" in plain:
                raise _damaged(base, "is there twice, packed and plain")
            plain[base + ".weight"] = self.groups(base, tensors).weights(dtype or tensors[base + ".scales"].dtype)
        return plain

    def groups(self, base: str, tensors: Tensors) -> Groups:
        """A matrix unchanged, with a form where the kernels know one. ModelError where it is damaged."""
        for part in PARTS[:3]:
            if base + part not in tensors:
                raise _damaged(base, f"has no {part.removeprefix('.')}")
        words, zeros, scales = (tensors[base + part] for part in PARTS[:3])
        if any(one.dtype != torch.int32 or one.ndim != 2 or not one.numel() for one in (words, zeros)):
            raise _damaged(base, "has packed values that are no matrices of int32")
        codes = _by_inputs(words) if self.name == "gptq" else _by_outputs(words, ORDER)
        zero = _by_outputs(zeros, range(8) if self.name == "gptq" else ORDER) + self.zero
        inputs, outputs = codes.shape
        if (
            scales.dtype != torch.float16
            or scales.shape != zero.shape
            or zero.shape[1] != outputs
            or inputs % len(zero)
        ):
            raise _damaged(
                base, f"has scales of shape {list(scales.shape)} ({scales.dtype}) for a matrix {[outputs, inputs]}"
            )
        if not torch.isfinite(scales).all():
            raise _damaged(base, "has scales that are not finite (NaN or infinite)")
        size = _size_of_groups(base, inputs, tensors)
        run = RUN if size % RUN == 0 else size
        factor = scales.T.repeat_interleave(size // run, dim=1).contiguous()
        least = zero.T.to(torch.int8).repeat_interleave(size // GROUP, dim=1)
        ones = torch.ones_like(least)
        form = "int4_128" if run == RUN else ""
        return Groups(codes.T.contiguous().to(torch.int8), ones, least, factor, -factor, form=form)

    def must_be_read(self, tensors: Tensors) -> None:
        """ModelError for groups and orders of inputs that are not read: what `weights` says of them, without reading a
        matrix. What is damaged is left to it."""
        for base in [name.removesuffix(".qweight") for name in tensors if name.endswith(".qweight")]:
            words, scales = tensors[base + ".qweight"], tensors.get(base + ".scales")
            if words.ndim == 2 and scales is not None and scales.ndim == 2 and len(scales):
                _size_of_groups(base, len(words) * (8 if self.name == "gptq" else 1), tensors)


def other_method(said: Any) -> StorageMethod | None:
    """What a quantization_config says, where it is one of these; ModelError for what of them is not read."""
    name = said.get("quant_method") if isinstance(said, dict) else None
    if name in UNPACKED:
        return StorageMethod(name)
    if name not in ("gptq", "awq"):
        return None
    if said.get("bits", said.get("w_bit")) != 4:
        raise _not_read(f"the weights are {name} with bits = {said.get('bits')!r:.20}")
    if name == "awq" and (said.get("version", "gemm") or "gemm").lower() != "gemm":
        raise _not_read(f"the weights are awq in the version {said.get('version')!r:.20}")
    return StorageMethod(name, int(name == "gptq" and said.get("checkpoint_format") != "gptq_v2"))


def _by_inputs(words: Int[Tensor, "words outputs"]) -> Int[Tensor, "inputs outputs"]:
    return torch.stack([words >> 4 * place & 15 for place in range(8)], 1).flatten(0, 1)


def _by_outputs(words: Int[Tensor, "rows words"], order: Any) -> Int[Tensor, "rows outputs"]:
    return torch.stack([words >> 4 * place & 15 for place in order], 2).flatten(1)


def _size_of_groups(base: str, inputs: int, tensors: Tensors) -> int:
    """How many neighbouring inputs have a scale; ModelError where that, or their order, is not read."""
    size, of_inputs = inputs // len(tensors[base + ".scales"]), tensors.get(base + ".g_idx")
    if of_inputs is not None:
        in_order = torch.arange(inputs) // max(size, 1)
        if of_inputs.shape != (inputs,) or not torch.equal(of_inputs.long(), in_order):
            raise _not_read(f"{base} has its inputs in another order (desc_act)")
    if not size or size % GROUP:
        raise _not_read(f"{base} has groups of {size} inputs")
    return size


def _without_fp8(tensors: Tensors, dtype: torch.dtype | None) -> dict[str, Tensor]:
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
        plain[name] = (weight.float() * _spread(base, scale.float(), weight.shape)).to(dtype or torch.bfloat16)
    return plain


def _spread(base: str, scale: Tensor, shape: torch.Size) -> Tensor:
    """A scale for each weight, or one for all of them: of blocks, which are squares but for the last ones."""
    scale = scale.reshape(1, 1) if scale.numel() == 1 else scale[:, None] if scale.ndim == 1 else scale
    if scale.ndim != 2 or not torch.isfinite(scale).all():
        raise _damaged(base, f"has scales of shape {list(scale.shape)}, or some that are not finite")
    for axis, size in enumerate(shape):
        count = scale.shape[axis]
        block = 1 if count == size else next((one for one in (128, 64, 32, 256) if -(-size // one) == count), -size)
        if count > 1 and block < 0:
            raise _damaged(base, f"has scales of shape {list(scale.shape)} for a matrix {list(shape)}")
        scale = scale if count in (1, size) else scale.repeat_interleave(block, dim=axis).narrow(axis, 0, size)
    return scale


def _damaged(base: str, how: str) -> ModelError:
    return ModelError(f"the packed matrix {base} {how}; the file is damaged, fetch or copy it again")


def _not_read(what: str) -> ModelError:
    return ModelError(
        f"{what}, which is not read here; known are gptq and awq (gemm) in 4 bits with groups that are multiples of 32 "
        "and inputs in their own order, fp8 and bitsandbytes: take the model without compression, or as a GGUF file"
    )


UNPACKED: dict[str, Callable[[Tensors, torch.dtype | None], dict[str, Tensor]]] = {
    "fp8": _without_fp8,
    "bitsandbytes": without_bitsandbytes,
}
"""Methods whose values are no groups of whole numbers (model_folder.NO_GROUPS)."""
