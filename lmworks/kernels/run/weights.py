"""A network's packed weights, as its tape needs them. Imports no numba."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from lmworks.basics.arrays import Float, Int
from lmworks.kernels.adapters import PackedAdapter, PackedAdapters, pack_adapters, pack_by_head
from lmworks.kernels.packed import Packed
from lmworks.models.config import ModelConfig
from lmworks.models.positions.alibi import ALIBI
from lmworks.models.positions.encoding import encoding_of
from lmworks.models.runner import no_adapter

if TYPE_CHECKING:
    from lmworks.models.network import Network

ENCODER, FROM_SOURCE = "encoder.", "cross_attention.kv"
"""How the names of an encoder-decoder's second stack begin, and what makes keys and values of its states."""
BY_HEAD = ".attention.expand"
"""How latent attention's matrix ends that makes keys and values, and is multiplied head by head."""
SEGMENTS = 2
"""Segments that the tape knows, as many as a pair of texts has; what has more runs in PyTorch."""


class Weights:
    """A network's weights as the tape needs them, which keeps them alive."""

    def __init__(self, config: ModelConfig, matrices: Mapping[str, Packed], vectors: Mapping[str, np.ndarray]) -> None:
        """As a Packer makes them, or a Keeper kept them."""
        self.in_floats = any(
            one.values_in_floats or any(part.quantisation.floats for part in one.every) for one in matrices.values()
        )
        """Is any matrix multiplied with values in floats, be it one of the other stack?"""
        self._all_in_floats = all(part.quantisation.floats for one in matrices.values() for part in one.every)
        if self.in_floats:  # of all: several matrices may read the values that one step leaves
            matrices = {name: replace(one, values_in_floats=True) for name, one in matrices.items()}
        self.config, self.matrices = config, matrices
        self.encoder: Weights | None = None
        """Those of the stack that reads sources, with what makes the decoder's keys and values of them."""
        if config.arrangement == "encoder-decoder":
            self.encoder = Weights(config.encoder(), _of_encoder(matrices), _of_encoder(vectors))
        self.vectors: dict[str, Float[np.ndarray, " numbers"]] = {}
        for name, numbers in vectors.items():
            if name not in ("cosines", "sines") and not name.startswith(ENCODER):
                self.keep(name, numbers)
        self.turns: tuple[np.ndarray, np.ndarray] | None = None
        """Cosines and sines of the first positions (turns.py), where they were kept."""
        if "cosines" in vectors:
            half = (config.rotary_dim or config.head_dim) // 2 * (1 if config.window_theta is None else 2)
            self.turns = vectors["cosines"].reshape(-1, half), vectors["sines"].reshape(-1, half)
        self.adapted = True
        """Are adapters used, or is each row the base's?"""
        self.adapters: dict[str, PackedAdapters] = {}
        self.expert_tables: dict[str, list[np.ndarray]] = {}
        """Of the matrices of a layer's experts (operations/expert.py), made by the first tape."""
        self._each_adapter: dict[str, dict[str | None, PackedAdapter]] = {}
        self._numbers: dict[str | None, int] = {}
        self._tell_who_reads_codes()

    @property
    def makes_sources(self) -> int:
        """Of an encoder-decoder's encoder, the decoder's layers, whose keys and values it makes; otherwise 0."""
        if self.config.arrangement != "encoder":
            return 0
        return sum(name.endswith(f"{FROM_SOURCE}.weight") for name in self.matrices)

    @property
    def biased(self) -> bool:
        """Is anything added to scores by the distance?"""
        return encoding_of(self.config).acts_on == "scores"

    def biases(self, distances: Int[np.ndarray, " distances"]) -> Float[np.ndarray, "heads distances"]:
        """What is added to each head's scores at these distances, a key's position less the query's."""
        if self.config.positions == ALIBI.name:
            return -ALIBI.slopes(self.config)[:, None] * np.abs(distances).astype(np.float32)
        last = encoding_of(self.config).alike_from(self.config)
        assert last is not None
        table = self.vectors["biases"][: self.config.heads * (2 * last + 1)].reshape(self.config.heads, -1)
        return np.ascontiguousarray(table[:, np.clip(distances, -last, last) + last])

    @property
    def places(self) -> int:
        """Rows of the table that is added by position; 0 where there is none."""
        return self.config.context if "places" in self.vectors else 0

    def take_adapters(self, network: Network) -> None:
        """Pack the adapters that the network has now; those that were there before are not packed again."""
        from lmworks.models.adapted import adapted_layers

        before, each = self._each_adapter, dict[str, dict[str | None, PackedAdapter]]()
        for path, layer in adapted_layers(network).items():
            by_head = path.endswith(BY_HEAD)
            kept = before.get(f"{path}.keys" if by_head else path, {})
            new = [name for name in layer.names() if name not in kept]
            if by_head:
                made = pack_by_head(path, network.get_submodule(path.rpartition(".")[0]), layer, new)
            else:
                made = {path: pack_adapters(path, layer, new, self.matrix(f"{path}.weight").outliers)}
            each |= {part: before.get(part, {}) | named for part, named in made.items()}
        self.put_packed(each)

    def put_packed(self, each: Mapping[str, Mapping[str | None, PackedAdapter]]) -> None:
        """Run with these adapters, packed: those of each matrix by their names, None for one that every row has."""
        self._each_adapter = {path: dict(named) for path, named in each.items()}
        names = list(dict.fromkeys(name for each in self._each_adapter.values() for name in each))
        self._numbers = {name: number for number, name in enumerate(names, 1)}
        self.adapters = {
            path: PackedAdapters(self._blocks(path), [each.get(name) for name in names])
            for path, each in self._each_adapter.items()
        }
        self._tell_who_reads_codes()
        if self.encoder is not None:
            self.encoder.adapters, self.encoder._numbers = _of_encoder(self.adapters), self._numbers
            self.encoder._tell_who_reads_codes()

    @property
    def kept_floats(self) -> int:
        """Are values kept in floats too (1), in floats alone (-1), or not (0)?"""
        alone = self._all_in_floats and not self.adapters
        return -1 if alone else int(self.in_floats)

    def _tell_who_reads_codes(self) -> None:
        """Adapters do, and matrices that are no floats."""
        for one in self.matrices.values():
            one.want_codes(self.kept_floats >= 0)

    @property
    def every_rows(self) -> dict[str, PackedAdapter]:
        """Of each matrix the adapter that every row has, packed."""
        return {path: named[None] for path, named in self._each_adapter.items() if None in named}

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
        return self.matrix("embedding.weight" if self.config.tied else "head.weight")

    def vector(self, name: str) -> int:
        """The address of a vector; 0 where there is no such one."""
        return int(self.vectors[name].ctypes.data) if name in self.vectors else 0

    def keep(self, name: str, numbers: np.ndarray) -> int:
        """Any numbers in float32, filled up to a whole block of 16; returns their address."""
        flat = numbers.astype(np.float32, copy=False).ravel()
        self.vectors[name] = np.concatenate([flat, np.zeros(-len(flat) % 16, np.float32)])
        return int(self.vectors[name].ctypes.data)

    @property
    def bytes(self) -> int:
        """What the packed weights take."""
        matrices = sum(part.data.nbytes for one in self.matrices.values() for part in one.every)
        return matrices + sum(one.bytes for one in self.adapters.values())


Part = TypeVar("Part")


def _of_encoder(parts: Mapping[str, Part]) -> dict[str, Part]:
    """Parts of an encoder-decoder by the names that the encoder has for them: its own, what makes keys and values of
    its states, and what both stacks share."""
    shared = {
        name: part for name, part in parts.items() if FROM_SOURCE in name or not name.startswith(("blocks.", ENCODER))
    }
    return shared | {name.removeprefix(ENCODER): part for name, part in parts.items() if name.startswith(ENCODER)}


def is_multiplied(name: str) -> bool:
    """Is a parameter one of the matrices that are packed?"""
    ends = (
        *("attention.qkv", "attention.output", "cross_attention.query", FROM_SOURCE),
        *("attention.inward", "attention.outward"),
        *("attention.query_down", "attention.query_up", "attention.latent", "attention.expand"),
        *("feed_forward.up", "feed_forward.down", "shared.up", "shared.down"),
    )
    if name.removeprefix(ENCODER) == "embedding_projection.weight":
        return True
    return is_vocabulary(name) or is_expert(name) or name.endswith(tuple(f"{end}.weight" for end in ends))


def is_expert(name: str) -> bool:
    """Is it a matrix of one of many experts?"""
    return ".feed_forward.experts." in name and name.endswith(".weight")


def may_be_adapted(name: str) -> bool:
    """Can adapters stand beside a parameter, one of the matrices that all tokens of a block are multiplied with?"""
    return name.removeprefix(ENCODER).startswith("blocks.") and is_multiplied(name) and not is_expert(name)


def is_vocabulary(name: str) -> bool:
    """Embedding and head keep 8 bits: in 4 the perplexity of SmolLM2 rises by 5 % (docs/log.md)."""
    return name in ("embedding.weight", "head.weight")
