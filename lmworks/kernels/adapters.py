"""Adapters beside packed matrices: W x + U D x (LoRA, Hu et al. 2021, arXiv:2106.09685), W as it is, or g (W x + U D x)
with a factor for each row (DoRA, Liu et al. 2024, arXiv:2402.09353), or W x + U a(D x + d) + u with an activation
between them (bottlenecks, Houlsby et al. 2019, arXiv:1902.00751). A matrix may have several, and each token the one of
its row, or none.

D is a packed matrix of its own, in 8 bits, that reads the same values as W. What it makes, the bottleneck, is kept in
float32 after each token's scales and outliers; W's kernel multiplies it with U, in bfloat16, as it does outliers.

A bottleneck adapter narrows what W made, N (W x + b) + n. Here D is N W and d is N b + n, so that it reads what W reads
and nothing waits for W x.

An adapter has a number, from 1 on; 0 is none. Table of a matrix, int64, for each block of 16 rows an entry for each
number:
    how many numbers of the bottleneck the block reads
    the address of its part of U, [numbers, 16 rows]
    where these numbers begin, in bytes from the token's scales
    the address of its rows' factors, and what is added after them: the bias less what they made of it, or u, [2, 16
    rows]; 0 where the factors are 1 and nothing is added
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from lmworks.basics.arrays import Float, Int
from lmworks.basics.errors import ModelError
from lmworks.kernels.frame import ACTIVATED, ADAPTER_ENTRY_BYTES, GROUP, WORDS
from lmworks.kernels.operation import float_bits
from lmworks.kernels.outliers import MOST
from lmworks.kernels.packed import ROWS, Packed, aligned

if TYPE_CHECKING:
    from torch import Tensor, nn

    from lmworks.models.adapted import AdaptedLinear, Narrowed, Update

NOT_FINITE = "{} holds values that are not finite (NaN or infinite); go back to an earlier checkpoint"
ADAPTER_FORM = "int8"
"""How D is packed."""


@dataclass(frozen=True)
class Between:
    """What stands between D and U of a bottleneck adapter: a(s (D x + d))."""

    activation: str
    """a, one of `ACTIVATED`."""
    size: float
    """s, what D and d were divided by."""
    bias: Float[np.ndarray, " numbers"]
    """d, filled up to whole blocks."""


@dataclass(frozen=True)
class PackedAdapter:
    """The updates of a matrix by one adapter, packed."""

    down: Packed
    up: np.ndarray
    """bfloat16, one block of rows after another."""
    counts: tuple[int, ...]
    """Of each block, the numbers that it reads."""
    begins: tuple[int, ...]
    """The first of them: where heads have inputs of their own, counted as if the scales of a head's were the first."""
    gains: Float[np.ndarray, "blocks 2 16"] | None = None
    """Factors of rows, and what is added after them; None where they are 1 and nothing is."""
    between: Between | None = None
    """None where nothing stands between D and U."""

    @property
    def numbers(self) -> int:
        """Those that each token keeps after its scales."""
        return ROWS * self.down.blocks

    @property
    def offset(self) -> int:
        """Where they begin, in bytes from the token's scales."""
        return 4 * (self.down.heads * self.down.groups + MOST)

    @property
    def bytes(self) -> int:
        """What it takes."""
        return self.down.data.nbytes + self.up.nbytes + (0 if self.gains is None else self.gains.nbytes)

    @functools.cached_property
    def entries(self) -> Int[np.ndarray, "blocks four"]:
        """Those of each block in the matrix's table."""
        blocks = np.arange(len(self.counts))
        starts = self.up.ctypes.data + 2 * ROWS * np.cumsum([0, *self.counts[:-1]])
        gains = 0 * blocks if self.gains is None else self.gains.ctypes.data + self.gains.strides[0] * blocks
        return np.stack([self.counts, starts, self.offset + 4 * np.array(self.begins), gains], axis=1).astype(np.int64)


class PackedAdapters:
    """The adapters of a matrix by their numbers from 1 on; None for one that has no update of it."""

    def __init__(self, blocks: int, every: Sequence[PackedAdapter | None]) -> None:
        """`blocks` of 16 rows has the matrix."""
        self.numbered = {number: one for number, one in enumerate(every, 1) if one is not None}
        self.table = np.zeros((blocks, 1 + len(every), ADAPTER_ENTRY_BYTES // 8), np.int64)
        for number, one in self.numbered.items():
            self.table[:, number] = one.entries
        self.steps = np.zeros((1 + len(every), WORDS), np.int64)
        """For the steps that multiply with each D (operations/bottleneck.py)."""
        self.between = np.zeros((1 + len(every), 2), np.int64)
        """Of each the place of its activation in `ACTIVATED`, from 1 on, or 0; and s, by its bits."""
        for number, one in self.numbered.items():
            if one.between is not None:
                place = 1 + ACTIVATED.index(one.between.activation)
                self.between[number] = place, float_bits(one.between.size)

    @property
    def numbers(self) -> int:
        """Those that each token keeps after its scales."""
        return max(one.numbers for one in self.numbered.values())

    @property
    def bytes(self) -> int:
        """What they take."""
        return sum(one.bytes for one in self.numbered.values())

    @property
    def for_matrix(self) -> tuple[int, int]:
        """The address of the table, and the entries of a block in it."""
        return int(self.table.ctypes.data), self.table.shape[1]

    @property
    def offset(self) -> int:
        """Where the bottlenecks begin, in bytes from a token's scales: the same place for all."""
        return next(iter(self.numbered.values())).offset


def as_kept(every: Mapping[str, PackedAdapter]) -> tuple[dict[str, Packed], dict[str, np.ndarray]]:
    """The updates of each matrix by one adapter, by the matrices' names, as what a Keeper keeps: matrices, vectors."""
    vectors = {}
    for path, one in every.items():
        vectors[f"{path}.up"] = one.up.view(np.float32)
        vectors[f"{path}.blocks"] = np.array([one.counts, one.begins], np.float32).ravel()
        if one.gains is not None:
            vectors[f"{path}.gains"] = one.gains.ravel()
        if one.between is not None:
            told = ACTIVATED.index(one.between.activation), one.between.size
            vectors[f"{path}.between"] = np.concatenate([np.array(told, np.float32), one.between.bias])
    return {path: one.down for path, one in every.items()}, vectors


def of_kept(matrices: Mapping[str, Packed], vectors: Mapping[str, np.ndarray]) -> dict[str, PackedAdapter]:
    """The same back."""
    found = {}
    for path, down in matrices.items():
        counts, begins = vectors[f"{path}.blocks"].reshape(2, -1).astype(int).tolist()
        gains, told = vectors.get(f"{path}.gains"), vectors.get(f"{path}.between")
        found[path] = PackedAdapter(
            *(down, vectors[f"{path}.up"].view(np.uint8), tuple(counts), tuple(begins)),
            gains=None if gains is None else gains.reshape(-1, 2, ROWS),
            between=None if told is None else Between(ACTIVATED[int(told[0])], float(told[1]), told[2:]),
        )
    return found


def pack_adapters(
    path: str, layer: AdaptedLinear, names: Sequence[str | None], outliers: tuple[int, ...]
) -> dict[str | None, PackedAdapter]:
    """Some adapters of a layer by name, whose base has these outliers. ModelError where one is not finite."""
    from lmworks.models.adapted import LowRank

    blocks, found = -(-layer.base.out_features // ROWS), {}
    for name in names:
        shown, made = _shown(path, name), layer.effect(name)
        if not isinstance(made, LowRank):
            found[name] = _of_bottleneck(shown, layer.base, made, outliers)
            continue
        packed = _of_updates(shown, made.updates, blocks, outliers)
        gains = None if made.gain is None else _gains(shown, made.gain, layer.base.bias)
        found[name] = replace(packed, gains=gains)
    return found


def pack_by_head(
    path: str, attention: nn.Module, layer: AdaptedLinear, names: Sequence[str | None]
) -> dict[str, dict[str | None, PackedAdapter]]:
    """The same of latent attention's matrix that makes keys and values, by the matrices that it is packed as: W x + U D
    x becomes of a head's query W' q + D' U' q, turned about, and of the states that it mixed W m + U D m."""
    from lmworks.models.adapted import LowRank
    from lmworks.models.latent_attention import LatentAttention

    assert isinstance(attention, LatentAttention)
    found: dict[str, dict[str | None, PackedAdapter]] = {f"{path}.keys": {}, f"{path}.values": {}}
    for name in names:
        made = layer.effect(name)
        assert isinstance(made, LowRank), "bottlenecks stand after the matrices that end a part"
        down, up = _whole(made.updates, layer.base.out_features)
        of_key, of_value = attention.by_head(up)
        heads, shown = attention.heads, _shown(path, name)
        found[f"{path}.keys"][name] = _by_head(shown, of_key.mT, down.mT.expand(heads, -1, -1))
        found[f"{path}.values"][name] = _by_head(shown, down.expand(heads, -1, -1), of_value)
    return found


def _shown(path: str, name: str | None) -> str:
    return f"{path}'s adapter" if name is None else f"{path}'s adapter {name}"


def _whole(updates: Iterable[Update], rows: int) -> tuple[Tensor, Tensor]:
    """All updates as one, of all rows."""
    import torch

    every = list(updates)
    down, done = torch.cat([one for _, one, _ in every]), 0
    up = down.new_zeros(rows, len(down))
    for of_rows, one, part in every:
        up[of_rows, done : done + len(one)] = part
        done += len(one)
    return down, up


def _by_head(
    name: str, down: Float[Tensor, "heads rank inputs"], up: Float[Tensor, "heads rows rank"]
) -> PackedAdapter:
    """An adapter of a matrix whose heads have inputs of their own: each has a bottleneck of its own, filled up to whole
    blocks, and where it begins is counted from its own inputs' scales (operations/matrix.py)."""
    import torch.nn.functional as F

    (heads, rank, inputs), blocks, room = down.shape, up.shape[1] // ROWS, -(-down.shape[1] // ROWS) * ROWS
    down, up = _even(name, down, up)
    filled = F.pad(down, (0, 0, 0, room - rank)).flatten(0, 1)
    begins = [head * (room - inputs // GROUP) for head in range(heads) for _ in range(blocks)]
    return _packed(name, filled, [up.flatten(0, 1)], [rank] * len(begins), begins, heads=heads)


def _of_updates(name: str, updates: Iterable[Update], of_matrix: int, outliers: tuple[int, ...]) -> PackedAdapter:
    """`of_matrix` is the number of its blocks."""
    import torch

    downs, ups, done = [], [], 0
    counts, begins = ([0] * of_matrix for _ in range(2))
    for rows, down, up in updates:
        even, of_rows = _even(name, down, up)
        downs.append(even)
        blocks = slice(rows.start // ROWS, rows.stop // ROWS)
        assert rows.start % ROWS == 0 and rows.stop % ROWS == 0, "ranges of rows are whole blocks (coverage.py)"
        counts[blocks] = [len(down)] * (blocks.stop - blocks.start)
        begins[blocks] = [done] * (blocks.stop - blocks.start)
        ups.append((rows.start, of_rows))
        done += len(down)
    in_order = [up for _, up in sorted(ups, key=lambda pair: pair[0])]
    return _packed(name, torch.cat(downs), in_order, counts, begins, outliers)


def _of_bottleneck(name: str, base: nn.Linear, made: Narrowed, outliers: tuple[int, ...]) -> PackedAdapter:
    """ModelError where it is not finite."""
    import torch
    import torch.nn.functional as F

    from lmworks.models.unread import read_for_now

    with read_for_now(base):
        down, bias = made.down.float() @ base.weight.float(), made.down_bias.float()
        bias = bias if base.bias is None else bias + made.down.float() @ base.bias.float()
    if not all(one.isfinite().all() for one in (down, bias, made.up, made.up_bias)):
        raise ModelError(NOT_FINITE.format(name))
    blocks, size = -(-len(made.up) // ROWS), float(down.abs().amax().clamp_min(1e-30))
    packed = _packed(name, down / size, [made.up.float()], [len(down)] * blocks, [0] * blocks, outliers)
    filled = F.pad(bias / size, (0, -len(bias) % ROWS)).detach().numpy()
    added = torch.stack([torch.ones_like(made.up_bias), made.up_bias])
    return replace(packed, gains=_by_block(added), between=Between(made.activation, size, filled))


def _gains(name: str, gain: Float[Tensor, " rows"], bias: Tensor | None) -> Float[np.ndarray, "blocks 2 16"]:
    """g, and what makes g (W x + bias) to g W x + bias. ModelError where g is not finite."""
    import torch

    gain = gain.detach().float()
    if not gain.isfinite().all():
        raise ModelError(NOT_FINITE.format(name))
    after = torch.zeros_like(gain) if bias is None else (1 - gain) * bias.detach().float()
    return _by_block(torch.stack([gain, after]))


def _by_block(of_rows: Float[Tensor, "2 rows"]) -> Float[np.ndarray, "blocks 2 16"]:
    """Two numbers of each row, block by block."""
    import torch.nn.functional as F

    filled = F.pad(of_rows.detach().float(), (0, -of_rows.shape[1] % ROWS))
    return np.ascontiguousarray(filled.unflatten(1, (-1, ROWS)).transpose(0, 1).numpy())


def _even(name: str, down: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    """D between -1 and 1, as its scales are float16, and U, which has room for any number. ModelError where U is not
    finite."""
    if not up.isfinite().all():
        raise ModelError(NOT_FINITE.format(name))
    size = down.abs().amax().clamp_min(1e-30)
    return down / size, up * size


def _packed(
    name: str,
    down: Float[Tensor, "numbers inputs"],
    ups: Sequence[Float[Tensor, "rows rank"]],
    counts: Sequence[int],
    begins: Sequence[int],
    outliers: tuple[int, ...] = (),
    heads: int = 1,
) -> PackedAdapter:
    """Of D, and U of some rows after others."""
    import torch

    from lmworks.kernels.packing import pack, quantised

    packed = replace(pack(quantised(name, down, 8), 8, outliers), heads=heads)
    flat = torch.cat([up.reshape(-1, ROWS, up.shape[1]).mT.flatten() for up in ups])
    data = aligned(2 * flat.numel())
    data[:] = flat.bfloat16().view(torch.uint8).numpy()
    return PackedAdapter(packed, data, tuple(counts), tuple(begins))
