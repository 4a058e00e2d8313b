"""NF4 against bitsandbytes: its codes, its scales, its values."""

from __future__ import annotations

import pytest
import torch
from later import Later

from lmworks.adaptation.nf4 import BLOCK, NF4, scale_levels
from lmworks.basics.errors import ConfigError

functional = Later("bitsandbytes.functional")


def weight(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return (0.02 * torch.randn(shape, generator=torch.Generator().manual_seed(0))).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(96, 64), (33, 320), (1536, 576)])
def test_codes_and_values_are_those_of_bitsandbytes(shape: tuple[int, int], dtype: torch.dtype):
    matrix = weight(*shape, dtype=dtype)
    codes, state = functional.quantize_4bit(matrix, blocksize=BLOCK, quant_type="nf4")
    ours = NF4.of(matrix, double=False)
    assert torch.equal(ours.codes, codes.flatten()) and torch.equal(ours.sizes, state.absmax)
    assert torch.equal(ours.weights(dtype), functional.dequantize_4bit(codes, state))


@pytest.mark.parametrize("shape", [(96, 64), (33, 320), (1536, 576)])
def test_scales_of_scales_are_those_of_bitsandbytes_where_it_finds_the_nearest(shape: tuple[int, int]):
    matrix = weight(*shape)
    codes, state = functional.quantize_4bit(matrix, blocksize=BLOCK, quant_type="nf4", compress_statistics=True)
    ours = NF4.of(matrix)
    assert torch.equal(scale_levels(), state.state2.code)
    assert torch.equal(ours.codes, codes.flatten()) and ours.mean == state.offset
    torch.testing.assert_close(ours.scales, state.state2.absmax, rtol=0, atol=0)
    theirs = NF4(ours.shape, codes.flatten(), state.absmax, state.state2.absmax, state.offset)
    assert torch.equal(theirs.weights(), functional.dequantize_4bit(codes, state))

    def far(packed: NF4) -> torch.Tensor:
        largest = matrix.view(-1, BLOCK).abs().amax(1)
        scales = packed.scales.repeat_interleave(256)[: len(largest)]
        return (scale_levels()[packed.sizes.int()] * scales + packed.mean - largest).abs()

    other = ours.sizes != state.absmax
    assert other.float().mean() < 0.005
    assert (far(ours)[other] <= far(theirs)[other]).all()


def test_a_block_of_zeros_stays_zero_and_what_has_no_whole_blocks_is_refused():
    matrix = weight(4, 64)
    matrix[1] = 0
    assert not NF4.of(matrix, double=False).weights()[1].any()
    with pytest.raises(ConfigError, match=r"\[3, 30\] has no whole blocks of 64 values"):
        NF4.of(weight(3, 30))
