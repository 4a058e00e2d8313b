"""A quantisation of packed matrices: how many bits a weight has, and where they are. Imports no numba.

    INT6 = Quantisation(planes=(4, 2))           # quantisations/int6.py: 4 low bits, then 2 high ones

Weights are in groups of 32 inputs of a row, each with a scale and a minimum: weight = code * scale + minimum. A code's
bits are kept in planes, the low ones first. Of a block of 16 rows, a plane of b bits (1, 2, 4 or 8) has b vectors of 64
bytes: four inputs (a quad) of each row are four neighbouring bytes, and of the eight quads of a group, quad q is in
vector q % b, from bit b * (q // b) of each byte on.

What a file holds needs more, and is packed as it is (models/files/gguf_blocks.py): a `run` of groups whose scales are
whole numbers times one float16 number, a scale for each 16 inputs, a `table` that codes are places in, codes with a
`centre` that stands for 0 and so no minimum. Of a block of 16 rows, a run of groups is

    codes of each group       64 bytes a bit
    scales, minima            int8, 16 rows for each group or half of one; none where the run is one group
    factors                   16 float16 that the scales are multiplied with, 16 for the minima; or scales and minima

Weights that are `floats` of 16 bits are kept as they are, without scales: of a group, vector j has of each row the
inputs 2 j (low half) and 2 j + 1. They are multiplied with values in float32 (operations/quantise.py).

Packing, the kernels' instructions and the tables of outliers all follow from that (packing.py, emit/product.py,
outliers.py). A file in `quantisations/` that declares one adds it: to the kernels, and unless it is only for what a
file holds (`of_files`) to `compiled(network, bits=...)` and to `compress`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lmworks.basics.declared import declared
from lmworks.basics.errors import ConfigError
from lmworks.kernels.frame import GROUP

if TYPE_CHECKING:  # kernels run without PyTorch, which only packs for them
    from torch import Tensor

    from lmworks.basics.arrays import Float, UInt8
    from lmworks.models.files.quantise import Groups

QUADS = 8
"""Of four inputs, in a group of 32."""
EACH_BYTE = 0x0101010101010101
"""What a number is multiplied with to stand in each byte of a word."""


@dataclass(frozen=True)
class Plane:
    """Some of the bits of each code."""

    bits: int
    up: int
    """The first of them, counted in the code."""
    vector: int
    """The plane's first vector, counted in the group."""

    @property
    def mask(self) -> int:
        """These bits, moved down."""
        return (1 << self.bits) - 1

    def place(self, quad: int) -> tuple[int, int]:
        """Where a quad is: the vector, counted in the group, and the first bit in each byte."""
        return self.vector + quad % self.bits, self.bits * (quad // self.bits)


@dataclass(frozen=True)
class Quantisation:
    """One way to pack a matrix."""

    planes: tuple[int, ...] = ()
    """The bits of each plane, low ones first; none of floats."""
    rounded: Callable[[Float[Tensor, "rows columns"]], Groups] | None = None
    """How a matrix is rounded; None for the nearest code between each group's least and largest weight."""
    form: str = ""
    """Its name, unless that is int and its bits."""
    of_files: bool = False
    """Only for what a file holds; nothing is rounded to it."""
    run: int = 1
    """Groups whose scales and minima are whole numbers times one number of the run; 1 where each has its own."""
    parts: int = 1
    """Scales of a group: 2 where each 16 inputs have one."""
    centre: int = 0
    """The code, or the value of the table plus this, that stands for 0; 0 where minima are kept."""
    table: tuple[int, ...] = ()
    """What the codes stand for, where not for themselves: 16 of them."""
    floats: str = ""
    """The type of weights that are no codes but floats: bfloat16 or float16."""

    def __post_init__(self) -> None:
        if self.floats:
            return
        if any(one not in (1, 2, 4, 8) for one in self.planes) or not 1 <= self.bits <= 8:
            raise ValueError(f"planes are {self.planes}; each has 1, 2, 4 or 8 bits, and together they have up to 8")

    @property
    def bits(self) -> int:
        """Of a weight."""
        return 16 if self.floats else sum(self.planes)

    @property
    def name(self) -> str:
        """As in `compress`."""
        return self.form or f"int{self.bits}"

    @functools.cached_property
    def places(self) -> tuple[Plane, ...]:
        """The planes, with where they are."""
        before = [sum(self.planes[:number]) for number in range(len(self.planes))]
        return tuple(Plane(bits, at, at) for bits, at in zip(self.planes, before, strict=True))

    @property
    def most(self) -> int:
        """The largest factor of a product of bytes."""
        return max(self.table) + self.centre if self.table else (1 << self.bits) - 1

    @property
    def codes_bytes(self) -> int:
        """Bytes of the codes of a group of 16 x 32 weights."""
        return 64 * self.bits

    @property
    def scales_at(self) -> int:
        """Where a run's whole numbers begin: scales, then minima."""
        return self.run * self.codes_bytes

    @property
    def minima_at(self) -> int:
        """Where the minima do."""
        return self.scales_at + (16 * self.run * self.parts if self.run > 1 else 0)

    @property
    def factors_at(self) -> int:
        """Where the 16 float16 numbers begin, of scales, then of minima."""
        return self.minima_at + (16 * self.run * self.parts if self.run > 1 and not self.centre else 0)

    @property
    def run_bytes(self) -> int:
        """Bytes of a run of groups, a multiple of 64."""
        if self.floats:
            return self.codes_bytes
        return -(-(self.factors_at + 64) // 64) * 64

    def place_of(self, group: int) -> tuple[int, int]:
        """Where a group's run begins in a block, and its number in it."""
        return group // self.run * self.run_bytes, group % self.run

    def quantise(self, weight: Float[Tensor, "rows columns"]) -> Groups:
        """A finite matrix in groups."""
        if self.floats:
            return as_floats(weight, self)
        return between_extremes(weight, self.bits) if self.rounded is None else self.rounded(weight)

    def holds(self, groups: Groups) -> bool:
        """Do a file's values fit in these bits, unchanged?"""
        if groups.form or self.of_files or self.floats:
            return groups.form == self.name
        low = 0 if groups.least is not None else -(1 << (self.bits - 1))
        return int(groups.values.min()) >= low and int(groups.values.max()) < low + (1 << self.bits)

    def pack(self, quads: UInt8[Tensor, "*groups 8 64"]) -> UInt8[Tensor, "*groups vectors 64"]:
        """Codes in the order of quads into planes, eight at a time: none takes more than its own bits."""
        import torch

        planes, words = [], quads.view(torch.int64)
        for plane in self.places:
            low = words >> plane.up if plane.up else words
            if plane.bits < 8:
                low = low & plane.mask * EACH_BYTE
            first, *more = low.unflatten(-2, (-1, plane.bits)).unbind(-3)
            for number, field in enumerate(more, start=1):
                first = first | field << plane.bits * number
            planes.append(first.view(torch.uint8))
        return planes[0] if len(planes) == 1 else torch.cat(planes, -2)

    def unpack(self, vectors: UInt8[Tensor, "*groups vectors 64"]) -> UInt8[Tensor, "*groups 8 64"]:
        """The codes again."""
        import torch

        found = torch.zeros(*vectors.shape[:-2], QUADS, 64, dtype=torch.uint8)
        for plane in self.places:
            for quad in range(QUADS):
                vector, shift = plane.place(quad)
                found[..., quad, :] |= (vectors[..., vector, :] >> shift & plane.mask) << plane.up
        return found


def as_floats(weight: Float[Tensor, "rows columns"], kind: Quantisation) -> Groups:
    """A matrix whose weights are floats, which the kernels multiply as they are."""
    import torch

    from lmworks.models.files.quantise import Groups

    return Groups(weight.to(getattr(torch, kind.floats)), torch.ones(len(weight), 1), form=kind.name)


def between_extremes(weight: Float[Tensor, "rows columns"], bits: int) -> Groups:
    """The nearest of 2^bits codes between each group's least and largest weight."""
    import torch

    from lmworks.models.files.quantise import Groups

    grouped = weight.reshape(len(weight), -1, GROUP)
    least, most = grouped.amin(-1), grouped.amax(-1)
    scale = ((most - least) / ((1 << bits) - 1)).half()
    steps = scale.float().clamp_min(torch.finfo(torch.float16).tiny)[..., None]
    values = ((grouped - least.half().float()[..., None]) / steps).round().clamp(0, (1 << bits) - 1)
    return Groups(values.to(torch.uint8).reshape(weight.shape), scale, least.half())


@functools.cache
def forms() -> dict[str, Quantisation]:
    """All of them by name, in the order in which the kernels number them."""
    found = declared("lmworks.kernels.quantisations", Quantisation).values()
    return {one.name: one for one in sorted(found, key=lambda one: one.name)}


def number_of(form: str) -> int:
    """A quantisation's number."""
    return list(forms()).index(form)


def quantisations() -> dict[int, Quantisation]:
    """Those that a matrix can be rounded to, by their bits, rising."""
    return {one.bits: one for one in sorted(forms().values(), key=lambda one: one.bits) if not one.of_files}


def quantisation_of(bits: int) -> Quantisation:
    """The one of these bits. ConfigError where there is none."""
    if bits not in quantisations():
        *few, most = map(str, quantisations())
        raise ConfigError(f"weights are compressed to {', '.join(few)} or {most} bits, not {bits}")
    return quantisations()[bits]


def bits_named(name: str) -> int:
    """Those of a form that a matrix can be rounded to, by its name in `compress`."""
    return next(bits for bits, one in quantisations().items() if one.name == name)
