"""Parameters of which each rank holds some rows (DTensor, as FSDP2 leaves them), and their checkpoints.

Everything here takes ordinary tensors too, so that optimiser and checkpoint need not ask how a run is distributed.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lmworks.basics.errors import LmworksError, ModelError


def sharded(tensor: Tensor) -> bool:
    """Are its rows spread over ranks? (A DTensor, whose module is not imported for asking.)"""
    return hasattr(tensor, "to_local")


def local(tensor: Tensor) -> Tensor:
    """The rows that are here, sharing memory."""
    here: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return here


def whole(tensor: Tensor) -> Tensor:
    """All rows; every rank must ask."""
    every: Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return every


def first_row(tensor: Tensor) -> int:
    """The number of the first row that is here."""
    if not sharded(tensor):
        return 0
    mesh: Any = tensor.device_mesh  # type: ignore[attr-defined]
    return min(mesh.get_local_rank() * -(-tensor.shape[0] // mesh.size()), tensor.shape[0])


def rows_here(given: Tensor, like: Tensor) -> Tensor:
    """Of a whole tensor, the rows that `like` holds here, laid out as `like` is; a tensor laid out so is kept."""
    if not sharded(like) or sharded(given):
        return given
    first = first_row(like)
    return spread(given[first : first + local(like).shape[0]].clone(), like)


def spread(rows: Tensor, like: Tensor) -> Tensor:
    """The rows that are here as a part of a tensor that is spread as `like` is."""
    if not sharded(like):
        return rows
    from torch.distributed.tensor import DTensor

    layout: Any = like
    return DTensor.from_local(
        rows, layout.device_mesh, layout.placements, run_check=False, shape=like.shape, stride=like.stride()
    )


def write_parts(folder: Path, tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Each rank writes the rows that it holds. LmworksError on all of them where one cannot."""
    import torch.distributed.checkpoint as dcp

    flat = {f"{kind}/{name}": one.detach() for kind, named in tensors.items() for name, one in named.items()}
    try:
        dcp.save(flat, storage_writer=dcp.FileSystemWriter(folder))
    except dcp.CheckpointException as error:
        raise LmworksError(f"{folder.parent}: the checkpoint cannot be written ({_why(error)})") from None


METADATA = ".metadata"
KNOWN = {
    "torch.distributed.checkpoint.metadata": None,
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo"},
    "torch.serialization": {"_get_layout"},
    "pathlib": {"PosixPath", "WindowsPath"},
    "torch": {"Size", "float32", "float64", "bfloat16", "float16", "int64", "int32", "uint8", "bool"},
}
"""What the pickle of a checkpoint's metadata may name, by module (None: its classes); anything else could be code."""


class _Unpickler(pickle.Unpickler):
    """Reads a metadata file without running anything that it names."""

    def find_class(self, module: str, name: str) -> Any:
        if module in KNOWN and "." not in name:
            found = super().find_class(module, name)
            names = KNOWN[module]
            if name in names if names is not None else isinstance(found, type) and found.__module__ == module:
                return found
        raise pickle.UnpicklingError(f"its metadata names {module}.{name}, which no checkpoint needs")


def has_parts(folder: Path) -> bool:
    """Was it written by `write_parts`?"""
    return (folder / METADATA).exists()


def read_parts(folder: Path, kind: str, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a kind, however many ranks wrote them: where a name begins with a parameter's and the shape is
    that parameter's too, laid out as it is; else whole. ModelError for damaged files."""
    import torch.distributed as dist
    import torch.distributed.checkpoint as dcp

    def place(name: str, size: torch.Size, dtype: torch.dtype) -> Tensor:
        like = parameters.get(name, parameters.get(name.rpartition("/")[0]))
        if like is not None and like.shape == size:
            return torch.empty_like(like, dtype=dtype, requires_grad=False)
        return torch.empty(size, dtype=dtype)

    try:
        with (folder / METADATA).open("rb") as file:
            _Unpickler(file).load()  # torch reads it with an unpickler that obeys it
        reader = dcp.FileSystemReader(folder)
        found: dict[str, Any] = {
            name: one for name, one in reader.read_metadata().state_dict_metadata.items() if name.startswith(f"{kind}/")
        }
        tensors = {name: place(name.partition("/")[2], one.size, one.properties.dtype) for name, one in found.items()}
        with warnings.catch_warnings():  # one process is warned that it is one
            warnings.simplefilter("ignore", UserWarning)
            dcp.load(tensors, storage_reader=reader, no_dist=not dist.is_initialized())
    except (
        dcp.CheckpointException,
        OSError,
        RuntimeError,
        ValueError,
        EOFError,
        AttributeError,
        LookupError,
        pickle.UnpicklingError,
    ) as error:
        raise ModelError(f"{folder} is damaged ({_why(error)}); remove it, and the run starts afresh") from None
    return {name.partition("/")[2]: one for name, one in tensors.items()}


def _why(error: BaseException) -> str:
    """The first line of what went wrong on the first rank where something did."""
    failures = getattr(error, "failures", None)
    cause = next(iter(failures.values()))[0] if failures else error
    return str(cause).partition("\n")[0] or type(cause).__name__
