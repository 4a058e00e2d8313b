"""What a GGUF file holds of a network, unchanged: groups by the names of the network's parameters."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from lmworks.basics.arrays import UInt8
from lmworks.basics.errors import ModelError
from lmworks.models.config import ModelConfig
from lmworks.models.families.gguf import table_in
from lmworks.models.families.names import each_name
from lmworks.models.families.sources import Said
from lmworks.models.files.dequantise import FLOATS, dequantised
from lmworks.models.files.gguf import rows_in_file, said_number, source_parts, turned_back, with_dropped_axis
from lmworks.models.files.gguf_blocks import is_stored_in_groups, stored_groups
from lmworks.models.files.gguf_file import GGUFFile, Rows, matrix_of
from lmworks.models.files.gguf_kinds import OF_MXFP4, Kind
from lmworks.models.files.quantise import Groups, below_one_another
from lmworks.models.unread import NOT_FINITE


class StoredInGGUF:
    """The weights of an open file, for `lmworks.kernels.compiled`."""

    def __init__(self, file: GGUFFile, config: ModelConfig) -> None:
        self.file, self.config = file, config
        self._sources = dict(each_name(table_in(file, config), config))

    def alike(self, name: str) -> list[slice] | None:
        """The rows of a matrix that are stored in one kind, from the first on; None where some are in a kind that the
        kernels do not multiply, or the file holds it in another form."""
        parts = source_parts(self._sources[name]) if name in self._sources else ()
        if any(matrix_of(part)[0] not in self.file.tensors for part in parts):  # which is made of others
            return None
        found: list[slice] = []
        for kind, tensors in itertools.groupby(parts, key=lambda part: self.file.info(part).kind):
            begin = found[-1].stop if found else 0
            rows = sum(self.file.info(part).shape[0] for part in tensors)
            found.append(slice(begin, begin + rows))
            if not is_stored_in_groups(kind) or (kind in OF_MXFP4 and self._stored(name, found[-1]) is None):
                return None
        return found or None

    def groups(self, name: str, rows: slice) -> Groups:
        """Rows of a matrix that are stored in one kind, as the file holds them."""
        groups = self._stored(name, rows)
        assert groups is not None, "asked for where `alike` says none"
        scales = groups.scale, groups.least, groups.factor, groups.least_factor
        floats = groups.values if groups.values.is_floating_point() else None
        if not all(torch.isfinite(one.sum(dtype=torch.float32)) for one in (*scales, floats) if one is not None):
            raise ModelError(f"{self.file.path}: {NOT_FINITE.format(name)}")
        return groups

    def _stored(self, name: str, rows: slice) -> Groups | None:
        at = rows_in_file(self.file, self._sources[name], self.config, rows)
        parts = [self._part(part, places) for part, places in at]
        known = [part for part in parts if part is not None]
        return below_one_another(known) if len(known) == len(parts) else None

    def rows(self, name: str) -> list[tuple[Kind, UInt8[Tensor, "rows bytes"]]] | None:
        """A matrix as the file stores it, in our order of rows: the kind and the bytes of each run of rows. None as
        `alike`, and of floats."""
        if self.alike(name) is None or self.bits(name) > 8:
            return None
        places = rows_in_file(self.file, self._sources[name], self.config, slice(None))
        return [(self.file.info(part).kind, torch.from_numpy(self.file.rows(part, at).copy())) for part, at in places]

    def bits(self, name: str) -> int:
        """The bits that hold whatever a matrix of its kinds may hold, 16 for all floats."""
        parts = source_parts(self._sources[name]) if name in self._sources else ()
        kinds = {self.file.info(part).kind for part in parts}
        if not kinds.isdisjoint(FLOATS):
            return 16
        return 8 if Kind.Q8_0 in kinds else 4

    @property
    def bytes(self) -> int:
        """What the weights take in the file."""
        return sum(one.bytes for one in self.file.tensors.values())

    def let_go(self) -> None:
        """Give back the memory that the file takes."""
        self.file.let_go()

    def floats(self, name: str) -> Tensor | None:
        """A vector, or the kernel of a convolution, in the file's own precision, which the network may have rounded to
        its own; None for matrices."""
        source = self._sources.get(name)
        if isinstance(source, Said):
            return said_number(self.file, source, torch.float32)
        parts = () if source is None else source_parts(source)
        if not parts or any(self.file.info(part).kind not in FLOATS for part in parts):
            return None
        vector = torch.cat(
            [turned_back(part, dequantised(self.file, part, torch.float32), self.config) for part in parts]
        )
        vector = with_dropped_axis(name, vector)
        # llama.cpp's converter adds Gemma's 1 to the weights.
        return vector - 1 if self.config.norm_unit_offset and name.endswith("norm.weight") else vector

    def _part(self, name: str, rows: Rows) -> Groups | None:
        return stored_groups(torch.from_numpy(self.file.rows(name, rows).copy()), self.file.info(name).kind)
