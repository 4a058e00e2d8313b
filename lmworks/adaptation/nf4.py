"""NF4: weights in 4 bits that stand for the quantiles of a normal distribution, scaled block by block.

    packed = NF4.of(weight)                             # 4.127 bits a weight, with double quantisation
    packed.weights(torch.float32)                       # [rows, columns]
    NF4.of(joined, rows=[576, 192, 192])                # query, key and value, each as a matrix by itself
    freeze_in_nf4(network)                              # every matrix of its files by itself

Source: Dettmers et al. 2023 (QLoRA), https://arxiv.org/abs/2305.14314. Layout and codebooks are those of bitsandbytes,
and for each matrix of a model's files the values are equal to theirs to the bit. The exception is one scale in 500,
which is the level next to theirs, because their search on the CPU (0.50.2) misses the nearest level. Where the files of
a family order rows differently from us (GPT-NeoX, Cohere; no adapter is written in PEFT's format for them), it is the
matrix in our order that is rounded.
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
"""How an adapter's files say that it was trained on these values."""
OLD_VALUES = "nf4"
"""How older files said that joined matrices were rounded as one; no longer written."""


@dataclass(frozen=True)
class NF4:
    """A matrix in NF4, or several stacked by rows, each packed separately; blocks of 64 run along the rows."""

    shape: tuple[int, int]
    rows: tuple[int, ...]
    """The number of rows in each part; a single number where the matrix has one part."""
    codes: UInt8[Tensor, " bytes"]
    """Two weights a byte, the first in the high half."""
    sizes: UInt8[Tensor, " blocks"] | Float[Tensor, " blocks"]
    """The scale of each block: an index into `scale_levels`, or float32 without double quantisation."""
    scales: Float[Tensor, " groups"]
    """For each group of 256 blocks of a part, the factor for their codes; empty without double quantisation."""
    means: Float[Tensor, " parts"]
    """For each part, what is added to the scales of its blocks."""

    @classmethod
    def of(cls, weight: Float[Tensor, "rows columns"], double: bool = True, rows: Sequence[int] = ()) -> NF4:
        """Round to the nearest level. `rows` gives the numbers of rows that form separate matrices; without it there is
        one. ConfigError for a matrix that does not divide into whole blocks."""
        parts = weight.detach().split(list(rows) or len(weight))
        for part in parts:
            if part.numel() % BLOCK:
                raise ConfigError(f"a matrix of {list(part.shape)} has no whole blocks of {BLOCK} values, as NF4 needs")
        made = zip(*((_sketched if part.is_meta else _rounded)(part, double) for part in parts), strict=True)
        codes, sizes, scales, means = map(torch.cat, made)
        return cls((weight.shape[0], weight.shape[1]), tuple(map(len, parts)), codes, sizes, scales, means)

    @property
    def nbytes(self) -> int:
        """Bytes of all four tensors."""
        return self.codes.nbytes + self.sizes.nbytes + self.scales.nbytes + self.means.nbytes

    def weights(self, dtype: torch.dtype = torch.float32) -> Float[Tensor, "rows columns"]:
        """The values that the codes stand for, multiplied in float32. The kernels do it in one pass where they can,
        PyTorch in several otherwise; the result is equal to the bit."""
        made = self.codes.new_empty(self.shape, dtype=dtype)
        if made.is_meta:
            return made
        if len(self.scales) and (kernels := kernels_for(made)) is not None:
            self._fill(made, kernels)
            return made
        del made  # PyTorch allocates its own: never hold two at once
        found = _pairs().index_select(0, self.codes.int()).view(torch.float32)
        return found.view(-1, BLOCK).mul_(self._largest()[:, None]).view(self.shape).to(dtype)

    def _fill(self, made: Float[Tensor, "rows columns"], kernels: Kernels) -> None:
        blocks, groups = self._counts()
        codes = self.codes.split([count * BLOCK // 2 for count in blocks])
        sizes, scales, means = self.sizes.split(blocks), self.scales.split(groups), self.means.tolist()
        for part in zip(made.split(list(self.rows)), codes, sizes, scales, means, strict=True):
            kernels.nf4(*part, scale_levels())

    def _counts(self) -> tuple[list[int], list[int]]:
        """The blocks in each part, and the groups of blocks."""
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
    # Not a division, which would round one value in a million differently.
    within = blocks * (1 / largest.clamp_min(1e-38))[:, None]
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
    """The same tensors on the meta device: shapes without values."""
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
    """The values of both halves of each byte: two float32 numbers in one of 64 bits, because looking that up is four
    times as fast as looking up a row of two."""
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
    """Pack in NF4, in place, the matrices that adapters can sit on, and not embedding, head, norms or experts."""
    adapted = lora_layers(network)
    for path, parts in adaptable(network).items():
        rows = [part.rows.stop - part.rows.start for part in parts]  # those of each matrix of the model's files
        place = f"{path}.base" if path in adapted else path
        freeze_in_few_bits(network, [place], functools.partial(NF4.of, double=double, rows=rows))
        if path in adapted:
            adapted[path].base_changed()


def round_to_nf4(network: Network) -> None:
    """Round those matrices to the values that they have in NF4, which are what an adapter saw in training. A network
    that is rounded already stays as it is: rounding twice would give other values."""
    if network.rounded_to is None:
        freeze_in_nf4(network)
        thaw(network)
        network.rounded_to = VALUES
