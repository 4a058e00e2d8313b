"""NF4: weights in 4 bits that stand for the quantiles of a normal distribution, scaled block by block.

    packed = NF4.of(weight)          # 4.127 bits a weight, with double quantisation
    packed.weights(torch.float32)    # [rows, columns]

Source: Dettmers et al. 2023 (QLoRA), https://arxiv.org/abs/2305.14314; layout and codebooks are those of bitsandbytes,
and so are the values to the bit. One scale in 500 is a neighbour of theirs: their search on the CPU misses the nearest
level there (0.50.2).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from lmworks.adaptation.frozen import freeze_in_few_bits, thaw
from lmworks.adaptation.lora import adaptable, lora_layers
from lmworks.basics.arrays import Float, UInt8
from lmworks.basics.errors import ConfigError
from lmworks.models.network import Network

LEVELS = (
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635),
    *(-0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725),
    *(0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
)
BLOCK = 64
"""Weights that share a scale, the largest of their absolute values."""
SCALES = 256
"""Scales that share a scale of their own."""


@dataclass(frozen=True)
class NF4:
    """A matrix in NF4; its blocks of 64 run along the rows."""

    shape: tuple[int, int]
    codes: UInt8[Tensor, " bytes"]
    """Two weights a byte, the first in the high half."""
    sizes: UInt8[Tensor, " blocks"] | Float[Tensor, " blocks"]
    """Of each block the scale: a code of `scale_levels`, or float32 without double quantisation."""
    scales: Float[Tensor, " groups"]
    """Of each 256 blocks, what their codes are multiplied with; empty without double quantisation."""
    mean: Float[Tensor, ""]
    """Added to each block's scale."""

    @classmethod
    def of(cls, weight: Float[Tensor, "rows columns"], double: bool = True) -> NF4:
        """Round to the nearest level. ConfigError where the values are not whole blocks."""
        if weight.numel() % BLOCK:
            raise ConfigError(f"a matrix of {list(weight.shape)} has no whole blocks of {BLOCK} values, as NF4 needs")
        if weight.is_meta:  # it has a shape and no values
            return cls._sketch(weight, double)
        blocks = weight.detach().float().reshape(-1, BLOCK)
        largest = blocks.abs().amax(1)
        codes = _nearest(blocks / largest.clamp_min(1e-38)[:, None], _levels()).view(-1, 2)
        joined = (codes[:, 0] << 4 | codes[:, 1]).to(torch.uint8)
        sizes, scales, mean = largest, largest[:0], largest.new_zeros(())
        if double:
            mean = largest.mean()
            apart = largest - mean
            groups = torch.nn.functional.pad(apart, (0, -len(apart) % SCALES)).view(-1, SCALES)
            scales = groups.abs().amax(1)
            codes = _nearest(groups / scales.clamp_min(1e-38)[:, None], scale_levels())
            sizes = codes.view(-1)[: len(apart)].to(torch.uint8)
        return cls((weight.shape[0], weight.shape[1]), joined, sizes, scales, mean)

    @classmethod
    def _sketch(cls, weight: Tensor, double: bool) -> NF4:
        blocks = weight.numel() // BLOCK
        scale, groups = (torch.uint8, -(-blocks // SCALES)) if double else (torch.float32, 0)
        codes, sizes = weight.new_empty(weight.numel() // 2, dtype=torch.uint8), weight.new_empty(blocks, dtype=scale)
        scales = weight.new_empty(groups, dtype=torch.float32)
        return cls((weight.shape[0], weight.shape[1]), codes, sizes, scales, weight.new_empty(()))

    @property
    def nbytes(self) -> int:
        """What it takes."""
        return self.codes.nbytes + self.sizes.nbytes + self.scales.nbytes + self.mean.nbytes

    def weights(self, dtype: torch.dtype = torch.float32) -> Float[Tensor, "rows columns"]:
        """The values that the codes stand for, multiplied in float32."""
        if self.codes.is_meta:
            return torch.empty(self.shape, dtype=dtype, device="meta")
        largest = self.sizes
        if len(self.scales):
            spread = self.scales.repeat_interleave(SCALES)[: len(self.sizes)]
            largest = scale_levels()[self.sizes.int()] * spread + self.mean
        found = _pairs().index_select(0, self.codes.int()).view(torch.float32)
        return found.view(-1, BLOCK).mul_(largest[:, None]).view(self.shape).to(dtype)


def _nearest(values: Tensor, levels: Tensor) -> Tensor:
    """The index of the nearest level of each value."""
    return torch.bucketize(values, (levels[1:] + levels[:-1]) / 2)


@functools.cache
def _levels() -> Float[Tensor, " levels"]:
    return torch.tensor(LEVELS)


@functools.cache
def _pairs() -> Float[Tensor, " 256"]:
    """What the two halves of each byte stand for: two float32 numbers as one of 64 bits, which is looked up four times
    as fast as a row of two."""
    levels = _levels()
    return torch.stack([levels.repeat_interleave(16), levels.repeat(16)], dim=1).view(torch.float64)[:, 0].contiguous()


@functools.cache
def scale_levels() -> Float[Tensor, " levels"]:
    """bitsandbytes' dynamic map of 8 bits: a sign, an exponent of 10 in unary, and a linear fraction in the rest."""
    values = [0.0, 1.0]
    for exponent in range(7):
        edges = torch.linspace(0.1, 1, 2**exponent + 1)
        middles = (edges[:-1] + edges[1:]) / 2 * 10.0 ** (exponent - 6)
        values += [*middles.tolist(), *(-middles).tolist()]
    return torch.tensor(sorted(values))


def freeze_in_nf4(network: Network) -> None:
    """Keep in NF4, in place, the matrices that adapters can sit on; embedding, head, norms and experts stay."""
    adapted = lora_layers(network)
    paths = [f"{path}.base" if path in adapted else path for path in adaptable(network)]
    freeze_in_few_bits(network, paths, NF4.of)


def round_to_nf4(network: Network) -> None:
    """The same matrices with the values that NF4 has for them, as an adapter saw them in training."""
    freeze_in_nf4(network)
    thaw(network)
