"""NF4: weights in 4 bits that stand for the quantiles of a normal distribution, scaled block by block.

    packed = NF4.of(weight)                             # 4.127 bits a weight, with double quantisation
    packed.weights(torch.float32)                       # [rows, columns]
    NF4.of(joined, rows=[576, 192, 192])                # query, key and value, each as a matrix by itself
    freeze_in_nf4(network)                              # every matrix of its files by itself

Source: Dettmers et al. 2023 (QLoRA), https://arxiv.org/abs/2305.14314; layout and codebooks are those of bitsandbytes,
and so are the values to the bit, of each matrix of a model's files. One scale in 500 is a neighbour of theirs: their
search on the CPU misses the nearest level there (0.50.2). Families whose files have rows in another order than ours
(GPT-NeoX, Cohere: PEFT's format is not written for them) have the values of ours.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lmworks.adaptation.adapter_files import NF4_VALUES
from lmworks.adaptation.frozen import freeze_in_few_bits, thaw
from lmworks.adaptation.lora import adaptable, lora_layers
from lmworks.basics.arrays import Float, UInt8
from lmworks.basics.errors import ConfigError
from lmworks.kernels.between import Kernels, kernels_for
from lmworks.models.files.code_tables import NF4 as LEVELS
from lmworks.models.network import Network

BLOCK = 64
"""Weights that share a scale, the largest of their absolute values."""
SCALES = 256
"""Scales that share a scale of their own."""
VALUES = NF4_VALUES
"""What an adapter's files call the values that it was trained on."""
OLD_VALUES = "nf4"
"""Those of joined matrices, which are no longer made."""


@dataclass(frozen=True)
class NF4:
    """A matrix in NF4, or several below one another, each packed by itself; blocks of 64 run along the rows."""

    shape: tuple[int, int]
    rows: tuple[int, ...]
    """Of each part, how many: one number where the matrix has one part."""
    codes: UInt8[Tensor, " bytes"]
    """Two weights a byte, the first in the high half."""
    sizes: UInt8[Tensor, " blocks"] | Float[Tensor, " blocks"]
    """Of each block the scale: a code of `scale_levels`, or float32 without double quantisation."""
    scales: Float[Tensor, " groups"]
    """Of each 256 blocks of a part, what their codes are multiplied with; empty without double quantisation."""
    means: Float[Tensor, " parts"]
    """Of each part, what is added to the scales of its blocks."""

    @classmethod
    def of(cls, weight: Float[Tensor, "rows columns"], double: bool = True, rows: Sequence[int] = ()) -> NF4:
        """Round to the nearest level; with `rows`, each run of so many rows as a matrix by itself. ConfigError where
        the values of one are not whole blocks."""
        parts = weight.detach().split(list(rows) or len(weight))
        for part in parts:
            if part.numel() % BLOCK:
                raise ConfigError(f"a matrix of {list(part.shape)} has no whole blocks of {BLOCK} values, as NF4 needs")
        made = zip(*((_sketched if part.is_meta else _rounded)(part, double) for part in parts), strict=True)
        codes, sizes, scales, means = map(torch.cat, made)
        return cls((weight.shape[0], weight.shape[1]), tuple(map(len, parts)), codes, sizes, scales, means)

    @property
    def nbytes(self) -> int:
        """What it takes."""
        return self.codes.nbytes + self.sizes.nbytes + self.scales.nbytes + self.means.nbytes

    def weights(self, dtype: torch.dtype = torch.float32) -> Float[Tensor, "rows columns"]:
        """The values that the codes stand for, multiplied in float32: in one pass where the kernels cover it, else by
        PyTorch in several, to the same bits."""
        made = self.codes.new_empty(self.shape, dtype=dtype)
        if made.is_meta:
            return made
        if len(self.scales) and (kernels := kernels_for(made)) is not None:
            if kernels.compute:
                self._fill(made, kernels)
            return made
        del made  # PyTorch makes its own: never two at once
        found = _pairs().index_select(0, self.codes.int()).view(torch.float32)
        return found.view(-1, BLOCK).mul_(self._largest()[:, None]).view(self.shape).to(dtype)

    def _fill(self, made: Float[Tensor, "rows columns"], kernels: Kernels) -> None:
        """Each part by itself."""
        blocks, groups = self._counts()
        codes = self.codes.split([count * BLOCK // 2 for count in blocks])
        sizes, scales, means = self.sizes.split(blocks), self.scales.split(groups), self.means.tolist()
        for part in zip(made.split(list(self.rows)), codes, sizes, scales, means, strict=True):
            kernels.nf4(*part, scale_levels())

    def _counts(self) -> tuple[list[int], list[int]]:
        """Of each part the blocks, and the groups of blocks."""
        blocks = [rows * self.shape[1] // BLOCK for rows in self.rows]
        return blocks, [-(-count // SCALES) for count in blocks]

    def _largest(self) -> Float[Tensor, " blocks"]:
        """The scale of each block."""
        if not len(self.scales):
            return self.sizes
        largest, (blocks, groups) = scale_levels().index_select(0, self.sizes.int()), self._counts()
        parts = zip(largest.split(blocks), self.scales.split(groups), self.means, strict=True)
        for own, scales, mean in parts:
            own.mul_(scales.repeat_interleave(SCALES)[: len(own)]).add_(mean)
        return largest


Packed = tuple[Tensor, Tensor, Tensor, Tensor]
"""Codes, sizes, scales and the mean of one part."""


def _rounded(part: Float[Tensor, "rows columns"], double: bool) -> Packed:
    blocks = part.float().reshape(-1, BLOCK)
    largest = blocks.abs().amax(1)
    within = blocks * (1 / largest.clamp_min(1e-38))[:, None]  # no quotient: one value in a million would go elsewhere
    codes = _nearest(within, _levels()).view(-1, 2)
    joined = (codes[:, 0] << 4 | codes[:, 1]).to(torch.uint8)
    if not double:
        return joined, largest, largest[:0], largest.new_zeros(1)
    mean = largest.mean()
    apart = largest - mean
    groups = torch.nn.functional.pad(apart, (0, -len(apart) % SCALES)).view(-1, SCALES)
    scales = groups.abs().amax(1)
    codes = _nearest(groups / scales.clamp_min(1e-38)[:, None], scale_levels())
    return joined, codes.view(-1)[: len(apart)].to(torch.uint8), scales, mean[None]


def _sketched(part: Tensor, double: bool) -> Packed:
    """What has a shape and no values."""
    blocks = part.numel() // BLOCK
    kind, groups = (torch.uint8, -(-blocks // SCALES)) if double else (torch.float32, 0)
    codes, sizes = part.new_empty(part.numel() // 2, dtype=torch.uint8), part.new_empty(blocks, dtype=kind)
    return codes, sizes, part.new_empty(groups, dtype=torch.float32), part.new_empty(1, dtype=torch.float32)


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


def freeze_in_nf4(network: Network, double: bool = True) -> None:
    """Keep in NF4, in place, the matrices that adapters can sit on; embedding, head, norms and experts stay."""
    adapted = lora_layers(network)
    for path, parts in adaptable(network).items():
        rows = [part.rows.stop - part.rows.start for part in parts]  # those of each matrix of the model's files
        place = f"{path}.base" if path in adapted else path
        freeze_in_few_bits(network, [place], functools.partial(NF4.of, double=double, rows=rows))
        if path in adapted:
            adapted[path].base_changed()


def round_to_nf4(network: Network) -> None:
    """The same matrices with the values that NF4 has for them, as an adapter saw them in training; where they have them
    already nothing changes, as a second rounding would give others."""
    if network.rounded_to is None:
        freeze_in_nf4(network)
        thaw(network)
        network.rounded_to = VALUES
