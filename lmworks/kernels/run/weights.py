"""A network's packed weights, as its tape needs them. Imports no numba."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from lmworks.basics import progress
from lmworks.kernels.adapters import PackedAdapter, PackedAdapters, pack_adapters
from lmworks.kernels.keeping import Each, Keeper
from lmworks.kernels.outliers import outliers
from lmworks.kernels.packing import AT_ONCE, ROWS, Arena, Packed, Stored, bits_of, pack, packed_bytes, quantised
from lmworks.models.adapted import adapted_layers, no_adapter, own_parameters
from lmworks.models.files.quantise import Groups
from lmworks.models.network import Network
from lmworks.models.unread import pieces


class Weights:
    """A network's weights as the tape needs them, which keeps them alive."""

    def __init__(
        self,
        network: Network,
        bits: int,
        stored: Stored | None = None,
        keeper: Keeper | None = None,
    ) -> None:
        """`keeper` looks after their file on the disk, where they have one."""
        self.network, self.bits, self.stored = network, bits, stored
        self.vectors: dict[str, np.ndarray] = {}
        self.adapted = True
        """Are adapters used, or is each row the base's?"""
        self._parameters = own_parameters(network)
        self._each_adapter: dict[str, dict[str | None, PackedAdapter]] = {}
        self.places = 0
        """Rows of the table that is added by position; 0 where there is none."""
        kept = None if keeper is None else keeper.kept(network, bits, self._each)
        self.matrices = self._packed() if kept is None else kept
        self.take_adapters()

    def take_adapters(self) -> None:
        """Pack the adapters that the network has now; those that were there before are not packed again."""
        before, self._each_adapter = self._each_adapter, {}
        for path, layer in adapted_layers(self.network).items():
            kept = before.get(path, {})
            new = [name for name in layer.adapters() if name not in kept]
            outliers = self.matrix(f"{path}.weight").outliers
            self._each_adapter[path] = kept | pack_adapters(path, layer, new, outliers)
        names = list(dict.fromkeys(name for each in self._each_adapter.values() for name in each))
        self._numbers = {name: number for number, name in enumerate(names, 1)}
        self.adapters = {
            path: PackedAdapters(self._blocks(path), [each.get(name) for name in names])
            for path, each in self._each_adapter.items()
        }

    def _blocks(self, path: str) -> int:
        return sum(part.blocks for part in self.matrix(f"{path}.weight").every)

    def adapter(self, name: str | None) -> int:
        """The number of a row's adapter; of None, that of the one which every row has, or 0."""
        if not self.adapted:
            return 0
        if name is not None and name not in self._numbers:
            raise no_adapter(name, [one for one in self._numbers if one is not None])
        return self._numbers.get(name, 0)

    def matrix(self, name: str) -> Packed:
        """A packed matrix."""
        return self.matrices[name]

    @property
    def head(self) -> Packed:
        """The matrix that makes logits."""
        return self.matrix("embedding.weight" if self.network.head is None else "head.weight")

    def vector(self, name: str, make: Callable[[Tensor], Tensor] | None = None) -> int:
        """The address of a parameter in float32, changed by `make` first; 0 where there is no such parameter."""
        if name not in self.vectors:
            weight = self._floats(name)
            if weight is None:
                return 0
            self.keep(name, weight if make is None else make(weight))
        return int(self.vectors[name].ctypes.data)

    def keep(self, name: str, values: Tensor) -> int:
        """Any numbers in float32, filled up to a whole block of 16; returns their address."""
        flat = values.detach().float().reshape(-1).numpy()
        self.vectors[name] = np.concatenate([flat, np.zeros(-len(flat) % 16, np.float32)])
        return int(self.vectors[name].ctypes.data)

    @property
    def bytes(self) -> int:
        """What the packed weights take."""
        matrices = sum(part.data.nbytes for one in self.matrices.values() for part in one.every)
        return matrices + sum(one.bytes for one in self.adapters.values())

    def _floats(self, name: str) -> Tensor | None:
        stored = None if self.stored is None else self.stored.floats(name)
        return self._parameters.get(name) if stored is None else stored

    def _widths(self) -> dict[str, int]:
        """The bits of each packed matrix, at most."""
        return {name: 8 if is_vocabulary(name) else self.bits for name in self._parameters if is_multiplied(name)}

    def _packed(self) -> dict[str, Packed]:
        """All matrices, in memory."""
        widths, found = self._widths(), {}
        arena = Arena(sum(packed_bytes(self._parameters[name].shape, bits) for name, bits in widths.items()))
        for name, parts in self._each():
            whole = list(parts)
            data = arena.take(sum(len(part.data) for part in whole))
            np.concatenate([part.data for part in whole], out=data)
            found[name] = joined(whole, data)
        return found

    def _each(self) -> Each:
        """Each matrix in parts of some rows, packed one after another; progress hears of each weight twice."""
        widths = self._widths()
        size = 2 * sum(self._parameters[name].numel() for name in widths)
        with progress.task("packing weights", size) as advance:
            apart = outliers(self.network, advance)
            if self.stored is not None:
                self.stored.let_go()
            for name, bits in widths.items():
                yield name, self._parts(name, bits, apart.get(name, ()))
                advance(self._parameters[name].numel())
                if self.stored is not None:
                    self.stored.let_go()

    def _parts(self, name: str, bits: int, apart: tuple[int, ...]) -> Iterator[Packed]:
        weight = self._parameters[name]
        rows = max(AT_ONCE // weight.shape[1] // ROWS, 1) * ROWS
        held = self._held(name, rows)
        if held is None or any(of_file > bits for _, of_file in held):
            held = None
        parts = (
            self._as_held(name, held) if held else ((quantised(name, one, bits), bits) for one in pieces(weight, rows))
        )
        for groups, packed_in in parts:
            yield pack(groups, packed_in, apart)

    def _held(self, name: str, most: int) -> list[tuple[slice, int]] | None:
        """Rows of a matrix as the file holds them, and their bits; None where it holds it in another way."""
        alike, found = None if self.stored is None else self.stored.alike(name), []
        if self.stored is None or alike is None:
            return None
        for all_ in alike:
            rows = [slice(begin, min(begin + most, all_.stop)) for begin in range(all_.start, all_.stop, most)]
            first = self.stored.groups(name, slice(all_.start, min(all_.start + ROWS, all_.stop)))
            bits = bits_of(first)
            for one in () if first.form else rows:
                if bits == self.stored.bits(name):
                    break
                bits = max(bits, bits_of(self.stored.groups(name, one)))
            found += [(one, bits) for one in rows]
        return found

    def _as_held(self, name: str, held: Sequence[tuple[slice, int]]) -> Iterator[tuple[Groups, int]]:
        assert self.stored is not None
        for rows, bits in held:
            yield self.stored.groups(name, rows), bits


def joined(parts: Sequence[Packed], data: np.ndarray) -> Packed:
    """A matrix packed in parts of some rows, whose bytes lie one after another."""
    alike, begin = [], 0
    for _, group in itertools.groupby(parts, key=lambda part: part.form):
        whole = list(group)
        size = sum(len(part.data) for part in whole)
        alike.append(replace(whole[0], data=data[begin : begin + size], rows=sum(part.rows for part in whole)))
        begin += size
    return replace(alike[0], more=tuple(alike[1:]))


def is_multiplied(name: str) -> bool:
    """Is a parameter one of the matrices that are packed?"""
    ends = ("attention.qkv.weight", "attention.output.weight", "feed_forward.up.weight", "feed_forward.down.weight")
    return is_vocabulary(name) or name.endswith(ends)


def is_vocabulary(name: str) -> bool:
    """Embedding and head keep 8 bits: in 4 the perplexity of SmolLM2 rises by 5 % (docs/log.md)."""
    return name in ("embedding.weight", "head.weight")
