"""A base that stays as its GGUF file stores it while an adapter is trained beside it: nothing is rounded.

freeze_as_stored(network, stored)      # every matrix that the file holds in few bits
StoredRows(...).weights(torch.float32) # the file's values to the bit, made anew for each product
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from lmworks.adaptation.frozen import freeze_in_few_bits
from lmworks.adaptation.lora import adaptable
from lmworks.basics.arrays import Float, UInt8
from lmworks.basics.errors import ConfigError
from lmworks.models.files.dequantise import put_values
from lmworks.models.files.gguf_groups import StoredInGGUF
from lmworks.models.files.gguf_kinds import Kind
from lmworks.models.network import Network


@dataclass(frozen=True)
class StoredRows:
    """A matrix as a GGUF file holds it: runs of rows, each in one kind."""

    shape: tuple[int, int]
    runs: tuple[tuple[Kind, UInt8[Tensor, "rows bytes"]], ...]

    @property
    def nbytes(self) -> int:
        """What it takes."""
        return sum(rows.nbytes for _, rows in self.runs)

    def weights(self, dtype: torch.dtype = torch.float32) -> Float[Tensor, "rows columns"]:
        """The file's values, multiplied in float32 and rounded once."""
        if any(rows.is_meta for _, rows in self.runs):
            return torch.empty(self.shape, dtype=dtype, device="meta")
        made, begin = torch.empty(self.shape, dtype=dtype), 0
        for kind, rows in self.runs:
            known = put_values(rows.numpy(), kind, made[begin : begin + len(rows)])
            assert known, "`StoredInGGUF.rows` leaves out what cannot be read so"
            begin += len(rows)
        return made


def freeze_as_stored(network: Network, stored: object) -> None:
    """Keep each matrix that adapters can sit on as the file stores it, in place; those that it holds as floats stay.

    `stored` is what the model's file holds in few bits. ConfigError where that is no GGUF file, or holds none of these.
    """
    if not isinstance(stored, StoredInGGUF):
        raise ConfigError(
            "{at}grid = 'file' leaves the base as its GGUF file stores it, and this base is no GGUF file in few bits; "
            "take grid = 'nf4', or give a .gguf file as model.reference"
        )
    paths = list(adaptable(network))
    kept = 0
    for path in paths:
        runs = stored.rows(f"{path}.weight")
        if runs is None:
            continue
        weight = network.get_submodule(path).weight
        assert isinstance(weight, Tensor)
        if weight.is_meta:  # it has a shape and no values
            runs = [(kind, rows.to("meta")) for kind, rows in runs]
        packed = StoredRows((weight.shape[0], weight.shape[1]), tuple(runs))
        assert sum(len(rows) for _, rows in runs) == packed.shape[0]
        freeze_in_few_bits(network, [path], functools.partial(_kept, packed))
        kept += 1
    stored.let_go()  # of the file's pages: what is needed of them is copied
    if not kept:
        raise ConfigError(
            "{at}grid = 'file' leaves the base as its file stores it, and this one holds no matrix of a block in few "
            "bits; take lora"
        )


def _kept(packed: StoredRows, weight: Tensor) -> StoredRows:
    """Instead of a weight, what the file holds of it."""
    return packed
