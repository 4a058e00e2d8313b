"""Quantised matrices: ggml's rounding and packing equal the gguf package's; ours keeps its bounds."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
import torch

from lmworks.basics.errors import ModelError
from lmworks.models.files.quantise import (
    GROUP,
    Kind,
    fits,
    from_blocks,
    from_words,
    ggml,
    nearest,
    require_finite,
    to_blocks,
    to_words,
)

KINDS = [Kind.Q4_0, Kind.Q4_1, Kind.Q8_0]
SCALES = [torch.float32, torch.float16, torch.bfloat16]


def matrix(rows: int = 24, columns: int = 160, seed: int = 0) -> torch.Tensor:
    """Normal weights with what is awkward among them: zeros, one large weight, equal ones, very small ones."""
    weight = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)) * 0.02
    weight[0, :GROUP] = 0
    weight[1, 5], weight[2, 5] = 1.0, -1.0
    weight[3, :GROUP] = 0.25
    weight[4] *= 1e-6
    weight[5, :GROUP] = (
        torch.tensor([127.0, *(half + 0.5 for half in range(-15, 16))]) / 128
    )  # halves, which ggml rounds up
    return weight


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_ggml_rounding_equals_the_public_package_to_the_bit(kind: Kind):
    weight = matrix()
    theirs = gguf.quantize(weight.numpy(), kind)
    ours = to_blocks(ggml(weight, kind), kind)
    assert np.array_equal(ours.numpy(), theirs)
    back = from_blocks(ours, kind)
    assert np.array_equal(back.weights().numpy(), gguf.dequantize(theirs, kind))
    assert torch.equal(to_blocks(back, kind), ours)  # nothing of the file is changed on the way


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_any_block_of_a_file_keeps_its_bits(kind: Kind):
    size = gguf.GGML_QUANT_SIZES[kind][1]
    blocks = torch.randint(0, 256, (3, 4 * size), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    groups = from_blocks(blocks, kind)
    assert groups.values.shape == (3, 128) and groups.scale.shape == (3, 4)
    assert torch.equal(to_blocks(groups, kind), blocks)


@pytest.mark.parametrize("scales", SCALES, ids=str)
@pytest.mark.parametrize("bits", [4, 8])
def test_nearest_is_at_most_half_a_value_away(bits: int, scales: torch.dtype):
    weight = matrix()
    weight[4] = 0.5  # 1e-6 / 128 is below what float16 can tell apart
    groups = nearest(weight, bits, scales)
    half = 1 << (bits - 1)
    assert groups.values.dtype == torch.int8 and groups.scale.dtype == scales
    assert groups.values.min() == -half and groups.values.max() <= half - 1
    step = groups.scale.float().abs().repeat_interleave(GROUP, 1)
    # The rounding of the scale itself may cut off the furthest weight; a weight turned round ends a whole value early.
    cut_off = torch.finfo(scales).eps * half + 1e-3
    away = (groups.weights() - weight).abs()
    inside = (weight / step).abs() <= half - 1
    assert (away <= step * (0.5 + cut_off))[inside].all() and (away <= step * (1 + cut_off)).all()


def test_a_matrix_that_lies_on_such_a_grid_is_unchanged():
    values = torch.randint(-8, 8, (16, 64), generator=torch.Generator().manual_seed(3))
    values[:, ::GROUP] = -8
    weight = values * 0.0625
    groups = nearest(weight, 4, torch.float16)
    assert torch.equal(groups.weights(), weight) and torch.equal(groups.values.abs().long(), values.abs())


@pytest.mark.parametrize("bits", [4, 8])
def test_words_hold_every_value_in_its_place(bits: int):
    half = 1 << (bits - 1)
    values = torch.arange(-half, half, dtype=torch.int16).to(torch.int8).repeat(2).reshape(2, -1)
    words = to_words(values, bits)
    assert words.dtype == torch.int32 and words.shape == (2, values.shape[1] * bits // 32)
    assert torch.equal(from_words(words, bits), values)
    assert words[0, 0].item() & ((1 << bits) - 1) == 0  # the first value, the lowest there is, in the lowest bits


@pytest.mark.parametrize("bits", [4, 8])
def test_words_equal_compressed_tensors(bits: int):
    theirs = pytest.importorskip(
        "compressed_tensors.compressors.pack_quantized.helpers", reason="pip install compressed-tensors"
    )
    values = nearest(matrix(), bits).values
    words = theirs.pack_to_int32(values, bits)
    assert torch.equal(to_words(values, bits), words)
    assert torch.equal(from_words(words, bits), theirs.unpack_from_int32(words, bits, values.shape))


def test_what_cannot_be_grouped_or_is_not_finite_is_told():
    assert fits(torch.zeros(3, 64)) and not fits(torch.zeros(3, 48)) and not fits(torch.zeros(64))
    require_finite("some.weight", torch.zeros(3))
    for value in (float("nan"), float("inf")):
        with pytest.raises(ModelError, match=r"some\.weight holds values that are not finite"):
            require_finite("some.weight", torch.tensor([0.0, value]))
