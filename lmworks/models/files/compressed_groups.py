"""What a compressed directory holds of a network, unchanged: groups of 32 by the names of the network's parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from lmworks.models.config import ModelConfig
from lmworks.models.families import family_of
from lmworks.models.families.names import each_name
from lmworks.models.families.sources import ByHead, OfExperts, Rows, halves_of_pairs, rows_joined
from lmworks.models.files.compressed import PackedMatrix, Packing, packing_said
from lmworks.models.files.directory import read_safetensors
from lmworks.models.files.model_folder import is_mxfp4, read_json, runs_as_stored, weight_files
from lmworks.models.files.mxfp4 import BLOCKS, OfAllExperts
from lmworks.models.files.other_methods import StorageMethod, other_method
from lmworks.models.files.quantise import GROUP, PARTS, Groups
from lmworks.models.files.zero_points import in_smallest_form


class StoredInDirectory:
    """The packed weights of a directory that was loaded, for `lmworks.kernels.compiled`."""

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        said: Any,
        config: ModelConfig,
        again: Callable[[], Mapping[str, Tensor]] | None = None,
    ) -> None:
        """`again` maps the tensors into memory once more, after they were let go."""
        family = family_of(config.family)
        self.config, self._method = config, other_method(said)
        four = is_mxfp4(said) or self._method is not None
        self._said = Packing({4}, {True}) if four else packing_said(said)
        self._by_table_name, self._again = family.by_table_name, again
        self._mapped: dict[str, Tensor] | None = family.by_table_name(tensors)
        self._bytes = sum(one.nbytes for one in tensors.values())
        self._sources = dict(each_name(family.tensors, config))
        self._of_experts: dict[str, OfAllExperts] = {}
        """Tensors in MXFP4, checked once for all experts."""
        self._last: tuple[str, Groups | None] | None = None
        """What was asked for last: rows of one matrix are asked for one after another."""

    @classmethod
    def of(cls, folder: Path, config: ModelConfig) -> Self | None:
        """What the folder holds; None where its weights are not packed, or in a way that the kernels do not know."""
        said = read_json(folder / "config.json").get("quantization_config")
        if not runs_as_stored(said):
            return None
        files = weight_files(folder)

        def read() -> dict[str, Tensor]:
            return {name: tensor for file in files for name, tensor in read_safetensors(file).items()}

        return cls(read(), said, config, read)

    @property
    def _tensors(self) -> dict[str, Tensor]:
        if self._mapped is None:
            assert self._again is not None
            self._mapped = self._by_table_name(self._again())
        return self._mapped

    def alike(self, name: str) -> list[slice] | None:
        """All rows of a matrix; None where a part of it is not packed, or in groups that are no multiple of 32, or has
        a scale that float16 does not hold exactly."""
        groups = self._kept(name)
        return None if groups is None else [slice(0, len(groups.values))]

    def groups(self, name: str, rows: slice) -> Groups:
        """Rows of a matrix as the folder holds them, with scales in float16."""
        groups = self._kept(name)
        assert groups is not None, "asked for where `alike` says none"
        return groups.map(lambda part: part[rows])

    def _kept(self, name: str) -> Groups | None:
        if self._last is None or self._last[0] != name:
            self._last = name, self._whole(name)
        return self._last[1]

    def _whole(self, name: str) -> Groups | None:
        source = self._sources.get(name)
        if isinstance(source, OfExperts) and f"{source.name}{BLOCKS}" in self._tensors:
            if source.name not in self._of_experts:
                self._of_experts[source.name] = OfAllExperts.of(source.name, self._tensors)
            groups = self._of_experts[source.name].groups(source.expert)
            return groups if groups is None or not source.neighbours else groups.map(halves_of_pairs)
        if not isinstance(source, str | Rows | ByHead):
            return None
        bases = [part.removesuffix(".weight") for part in _parts(source)]
        if self._method is not None:
            return None if isinstance(source, ByHead) else self._of_method(self._method, bases)
        names = [base + self._said.parts[0] for base in bases]
        if not all(name in self._tensors and self._said.holds(name, self._tensors[name]) for name in names):
            return None
        return self._of_packed(source, {f"{base}.weight": self._said.matrix(base, self._tensors) for base in bases})

    def _of_packed(self, source: str | Rows | ByHead, matrices: Mapping[str, PackedMatrix]) -> Groups | None:
        """A matrix of compressed-tensors; None where its groups are of odd sizes, or no form holds their numbers."""
        if any(one.columns // one.scale.shape[1] % GROUP for one in matrices.values()):
            return None
        if any(one.zero is not None for one in matrices.values()):
            return self._with_zero_points(source, matrices)
        values = rows_joined(source, lambda part: matrices[part].values(), self.config)
        scale = rows_joined(source, lambda part: _of_groups(matrices[part]), self.config)
        held = scale.half()
        exact = torch.equal(held.to(scale.dtype), scale) and bool(torch.isfinite(-128 * held).all())
        return Groups(values, held) if exact else None

    def _with_zero_points(self, source: str | Rows | ByHead, matrices: Mapping[str, PackedMatrix]) -> Groups | None:
        """Matrices whose groups have zero points in the smallest form that holds all of them; None where none does."""
        coded = {name: one for name, matrix in matrices.items() if (one := matrix.coded()) is not None}
        found = in_smallest_form(list(coded.values())) if len(coded) == len(matrices) else None
        if found is None:
            return None
        parts = dict(zip(coded, found, strict=True))

        def joined(name: str) -> Tensor | None:
            if getattr(found[0], name) is None:
                return None
            return rows_joined(source, lambda part: getattr(parts[part], name), self.config)

        whole: dict[str, Any] = {name: joined(name) for name in PARTS}
        return replace(found[0], **whole)

    def _of_method(self, method: StorageMethod, bases: list[str]) -> Groups | None:
        """A matrix of GPTQ or AWQ; None where a part of it is plain, or none of their forms holds it."""
        if any(f"{base}.qweight" not in self._tensors for base in bases):
            return None
        return method.groups(bases, self._tensors)

    def floats(self, name: str) -> Tensor | None:
        """None: the network's own are the folder's."""
        return None

    def bits(self, name: str) -> int:
        """The bits that hold whatever a matrix of the folder may hold."""
        return max(self._said.bits)

    @property
    def bytes(self) -> int:
        """What the weights take in the files."""
        return self._bytes

    def let_go(self) -> None:
        """Forget what was unpacked last, and give back the memory that pages of the files take; of experts that are
        checked once for all the pages stay."""
        self._last = None
        if self._again is not None and not self._of_experts:
            self._mapped = None


def _parts(source: str | Rows | ByHead) -> tuple[str, ...]:
    if isinstance(source, Rows):
        return source.names
    return (source if isinstance(source, str) else source.name,)


def _of_groups(matrix: PackedMatrix) -> Tensor:
    """The scales of groups of 32, of which several may have had one in common."""
    return matrix.scale.repeat_interleave(matrix.columns // matrix.scale.shape[1] // GROUP, dim=1)
