"""What a GGUF file holds of a network, unchanged: groups of 4 or 8 bits by the names of the network's parameters."""

from __future__ import annotations

import torch
from torch import Tensor

from lmworks.basics.errors import ModelError
from lmworks.models.config import ModelConfig
from lmworks.models.families.gguf import TENSORS_OF
from lmworks.models.families.tables import each_name
from lmworks.models.files.dequantise import FLOATS, dequantised
from lmworks.models.files.gguf import rows_in_file, source_parts, turned_back
from lmworks.models.files.gguf_file import ALL, GGUFFile, Rows
from lmworks.models.files.quantise import BLOCK_BYTES, Groups, Kind, from_blocks
from lmworks.models.unread import NOT_FINITE


class StoredInGGUF:
    """The weights of an open file, for `lmworks.kernels.compiled`."""

    def __init__(self, file: GGUFFile, config: ModelConfig) -> None:
        self.file, self.config = file, config
        self._sources = dict(each_name(TENSORS_OF[config.family], config))

    def groups(self, name: str, rows: slice = ALL) -> Groups | None:
        """Rows of a matrix as the file holds them; None where a part of it is in another kind than Q4_0, Q4_1 and
        Q8_0."""
        parts = source_parts(self._sources[name]) if name in self._sources else ()
        kinds = {self.file.tensors[part].kind for part in parts}
        if len(kinds) != 1 or (kind := kinds.pop()) not in BLOCK_BYTES:
            return None
        at = rows_in_file(self.file, self._sources[name], self.config, rows)
        groups = _joined([self._part(part, places, kind) for part, places in at])
        ends = [one for one in (groups.scale, groups.least) if one is not None]
        if not all(torch.isfinite(one.sum(dtype=torch.float32)) for one in ends):
            raise ModelError(f"{self.file.path}: {NOT_FINITE.format(name)}")
        return groups

    def bits(self, name: str) -> int:
        """The bits that hold whatever a matrix of its kind may hold."""
        return 8 if self.file.info(source_parts(self._sources[name])[0]).kind == Kind.Q8_0 else 4

    def let_go(self) -> None:
        """Give back the memory that the file takes."""
        self.file.let_go()

    def floats(self, name: str) -> Tensor | None:
        """A vector in the file's own precision, which the network may have rounded to its own; None for matrices."""
        parts = source_parts(self._sources[name]) if name in self._sources else ()
        if not parts or any(self.file.tensors[part].kind not in FLOATS for part in parts):
            return None
        vector = torch.cat(
            [turned_back(part, dequantised(self.file, part, torch.float32), self.config) for part in parts]
        )
        # llama.cpp's converter adds Gemma's 1 to the weights.
        return vector - 1 if self.config.norm_unit_offset and name.endswith("norm.weight") else vector

    def _part(self, name: str, rows: Rows, kind: Kind) -> Groups:
        return from_blocks(torch.from_numpy(self.file.rows(name, rows).copy()), kind)


def _joined(parts: list[Groups]) -> Groups:
    """Matrices below one another."""
    if len(parts) == 1:
        return parts[0]
    leasts = [part.least for part in parts if part.least is not None]
    return Groups(
        torch.cat([part.values for part in parts]),
        torch.cat([part.scale for part in parts]),
        torch.cat(leasts) if leasts else None,
    )
