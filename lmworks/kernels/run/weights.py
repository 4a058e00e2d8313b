"""A network's packed weights, as its tape needs them. Imports no numba."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import Tensor

from lmworks.kernels.adapters import pack_adapter
from lmworks.kernels.outliers import outliers
from lmworks.kernels.packing import Arena, Packed, Stored, bits_of, pack, packed_bytes, quantised
from lmworks.models.adapted import adapted_layers, own_parameters
from lmworks.models.network import Network


class Weights:
    """A network's weights as the tape needs them, which keeps them alive."""

    def __init__(
        self,
        network: Network,
        bits: int,
        stored: Stored | None = None,
        advance: Callable[[int], None] = lambda rows: None,
    ) -> None:
        self.network, self.bits, self.stored, self.advance = network, bits, stored, advance
        self.vectors: dict[str, np.ndarray] = {}
        self.matrices: dict[str, Packed] = {}
        self.adapted = True
        """Are adapters part of the tapes that are written?"""
        self._outliers, self._parameters = outliers(network), own_parameters(network)
        multiplied = {name: one for name, one in self._parameters.items() if _is_multiplied(name)}
        widths = {name: 8 if is_vocabulary(name) else bits for name in multiplied}
        self._arena = Arena(sum(packed_bytes(one.shape, widths[name]) for name, one in multiplied.items()))
        self.places = 0
        """Rows of the table that is added by position; 0 where there is none."""
        for name, weight in multiplied.items():
            self.matrices[name] = self._packed(name, weight, widths[name])
            advance(weight.numel())
        self.adapters = {
            path: pack_adapter(path, layer, self.matrix(f"{path}.weight").outliers)
            for path, layer in adapted_layers(network).items()
        }

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
        matrices = sum(one.data.nbytes for one in self.matrices.values())
        return matrices + sum(one.bytes for one in self.adapters.values())

    def _floats(self, name: str) -> Tensor | None:
        stored = None if self.stored is None else self.stored.floats(name)
        return self._parameters.get(name) if stored is None else stored

    def _packed(self, name: str, weight: Tensor, bits: int) -> Packed:
        groups, apart = None if self.stored is None else self.stored.groups(name), self._outliers.get(name, ())
        if groups is not None and (held := bits_of(groups)) <= bits:
            return pack(groups, held, apart, self._arena.take)
        return pack(quantised(name, weight, bits), bits, apart, self._arena.take)


def _is_multiplied(name: str) -> bool:
    """Is a parameter one of the matrices that are packed?"""
    ends = ("attention.qkv.weight", "attention.output.weight", "feed_forward.up.weight", "feed_forward.down.weight")
    return is_vocabulary(name) or name.endswith(ends)


def is_vocabulary(name: str) -> bool:
    """Embedding and head keep 8 bits: in 4 the perplexity of SmolLM2 rises by 5 % (docs/log.md)."""
    return name in ("embedding.weight", "head.weight")
