"""Where a tensor of ours comes from in a public file: one of theirs, several below one another, or its rows moved.

A family's table names these; `rows_joined` and the others put rows into our order, and back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmworks.basics.errors import ModelError
from lmworks.models.config import ModelConfig

if TYPE_CHECKING:  # tables are read with every recipe, and what is wrong there should not wait for torch
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Rows:
    """Our matrix is theirs below one another, in this order."""

    names: tuple[str, ...]


@dataclass(frozen=True)
class NeighbourRows:
    """Our query, key and value are theirs below one another, but each head of their query and key turns neighbours,
    dimension 2 i against 2 i + 1 (Cohere, GLM), and ours dimension i against i + half: rows are put in our order."""

    names: tuple[str, ...]


@dataclass(frozen=True)
class Transposed:
    """Our matrix is theirs turned: GPT-2 keeps [inputs, outputs]."""

    name: str


@dataclass(frozen=True)
class ByHead:
    """Our matrix has all queries, then all keys, then all values; theirs has each key head's queries, key and value
    together (GPT-NeoX, BLOOM, Falcon)."""

    name: str


@dataclass(frozen=True)
class Ordered:
    """Our matrix has theirs' rows in another order."""

    name: str
    order: Callable[[ModelConfig], Tensor]
    """Where each of our rows is in theirs."""


@dataclass(frozen=True)
class OfExperts:
    """Our matrix or bias of one expert is a part of theirs of all."""

    name: str
    turned: bool = True
    """Theirs is [experts, inputs, outputs] (gpt-oss) and not [experts, outputs, inputs] (Granite)."""
    neighbours: bool = False
    """Gate and up are neighbours there, and halves in ours."""
    expert: int = 0


@dataclass(frozen=True)
class SingleRow:
    """Our vector is theirs' only row; zeros where a file leaves it out (the bias on the logits of BART and Marian)."""

    name: str


@dataclass(frozen=True)
class Shaped:
    """Our tensor is theirs in another shape, its numbers in the same order: a matrix of patches that lies there as a
    convolution, a learned place between axes of length 1."""

    name: str
    theirs: Callable[[Any], tuple[int, ...]]
    """Their shape, by the config."""
    ours: Callable[[Any], tuple[int, ...]]


class Said(str):
    """Our number of a layer is none of theirs' tensors but one of a list in the metadata of a GGUF file, or the only
    one for all layers: the entry's name, with the layer in brackets."""


@dataclass(frozen=True)
class Chosen:
    """Theirs has other names, or another order, in some networks."""

    by: Callable[[ModelConfig], object]
    """Is it one of these? A truth value."""
    then: Named
    otherwise: Named


Named = str | Rows | NeighbourRows | Transposed | ByHead | Ordered | OfExperts | SingleRow | Shaped

Source = Named | Chosen


def rows_joined(
    source: str | Rows | NeighbourRows | ByHead, take: Callable[[str], Tensor], config: ModelConfig
) -> Tensor:
    """Ours of what `take` gives by their name: the rows of a matrix, in our order."""
    if isinstance(source, Rows | NeighbourRows):
        parts = [take(name) for name in source.names]
        if isinstance(source, NeighbourRows):
            parts[:2] = (part[halves_of_neighbours(part, config)] for part in parts[:2])
        return below_one_another(source.names, parts)
    return take(source) if isinstance(source, str) else by_kind(take(source.name), config)


def halves_of_neighbours(part: Tensor, config: ModelConfig) -> Tensor:
    """Where the rows of a query or key whose heads turn halves are in one whose heads turn neighbours; ModelError where
    they are no whole heads."""
    import torch

    if len(part) % config.head_dim:
        raise ModelError(f"a matrix of queries or keys has {len(part):,} rows, no whole heads of {config.head_dim}")
    places = torch.arange(len(part)).view(-1, config.head_dim)
    turned = config.rotary_dim or config.head_dim
    return torch.cat([places[:, 0:turned:2], places[:, 1:turned:2], places[:, turned:]], dim=1).flatten()


def below_one_another(names: Sequence[str], parts: Sequence[Tensor]) -> Tensor:
    """The parts of a joined matrix as one; ModelError where they are not equally wide."""
    joined_shape(names, [part.shape for part in parts])
    import torch

    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def joined_shape(names: Sequence[str], shapes: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """The shape of the parts of a joined matrix as one; ModelError where they are not equally wide."""
    if len({tuple(shape[1:]) for shape in shapes}) > 1:
        listed = ", ".join(f"{name} {list(shape)}" for name, shape in zip(names, shapes, strict=True))
        raise ModelError(f"the tensors {listed} belong to one layer and differ in their shapes; the file is damaged")
    return sum(shape[0] for shape in shapes), *shapes[0][1:]


def rows_of(name: str, config: ModelConfig) -> list[int]:
    """How many rows each part of a joined matrix has."""
    if ".attention.qkv." in name:
        return [config.heads * config.head_dim] + [config.kv_heads * config.head_dim] * 2
    if ".cross_attention.kv." in name:
        return [config.kv_heads * config.head_dim] * 2
    if ".feed_forward.experts." in name:
        return [config.expert_dim] * 2
    if ".feed_forward.shared." in name and config.experts is not None:
        return [config.experts.shared_dim] * 2
    return [config.hidden_dim] * 2


def left_there(source: str | Rows, parts: Sequence[Tensor], dtype: torch.dtype | None) -> Tensor:
    """A matrix of parts stacked by rows that stay in their file until needed; ModelError where their widths differ."""
    from lmworks.models.unread import below_one_another_later

    joined_shape(source.names if isinstance(source, Rows) else (source,), [part.shape for part in parts])
    return below_one_another_later(parts, dtype)


def by_key_head(matrix: Tensor, config: ModelConfig) -> Tensor:
    """Each key head's queries, key and value together, of a matrix that has all queries, all keys, all values."""
    import torch

    query, key, value = (
        part.unflatten(0, (config.kv_heads, -1)) for part in matrix.split(rows_of(".attention.qkv.", config))
    )
    return torch.cat([query, key, value], dim=1).flatten(0, 1)


def by_kind(matrix: Tensor, config: ModelConfig) -> Tensor:
    """The way back; ModelError where there are not as many rows."""
    import torch

    rows = rows_of(".attention.qkv.", config)
    if len(matrix) != sum(rows):
        raise ModelError(f"a joined matrix of query, key and value has {len(matrix):,} rows, and not {sum(rows):,}")
    parts = matrix.unflatten(0, (config.kv_heads, -1)).split([one // config.kv_heads for one in rows], dim=1)
    return torch.cat([part.flatten(0, 1) for part in parts])


def in_order(name: str, matrix: Tensor, order: Tensor) -> Tensor:
    """Rows in another order; ModelError where there are not as many."""
    if len(matrix) != len(order):
        raise ModelError(f"{name} has {len(matrix):,} rows, and the settings ask for {len(order):,}")
    return matrix[order]


def of_one_expert(source: OfExperts, every: Tensor, config: ModelConfig) -> Tensor:
    """One expert's part of a tensor of all experts; ModelError where it holds another number of them."""
    _must_share(source, every, config)
    return _as_ours(source, every[source.expert])


def one_left_there(source: OfExperts, every: Tensor, config: ModelConfig) -> Tensor:
    """One expert's matrix, left in its file until needed like the placeholder of all experts; ModelError where the
    tensor holds another number of experts."""
    from lmworks.models.unread import Unread, unread_of

    _must_share(source, every, config)
    unread, at = unread_of(every), source.expert
    assert unread is not None
    take, (inner, outer) = unread.take, every.shape[1:]
    shape = (outer, inner) if source.turned else (inner, outer)
    return Unread(shape, unread.dtype, lambda rows: _as_ours(source, take(slice(at, at + 1))[0])[rows]).placeholder()


def _must_share(source: OfExperts, every: Tensor, config: ModelConfig) -> None:
    assert config.experts is not None
    odd = source.neighbours and every.ndim > 0 and every.shape[-1] % 2
    if every.ndim not in (2, 3) or len(every) != config.experts.count or odd:
        raise ModelError(
            f"{source.name} has the shape {list(every.shape)}, which {config.experts.count} experts do not share"
        )


def _as_ours(source: OfExperts, part: Tensor) -> Tensor:
    part = part.T if source.turned and part.ndim == 2 else part
    return (halves_of_pairs(part) if source.neighbours else part).contiguous()


def halves_of_pairs(part: Tensor) -> Tensor:
    """Rows that are neighbours in pairs: all first ones, then all second ones."""
    return part.unflatten(0, (-1, 2)).transpose(0, 1).flatten(0, 1)


def as_of_all(source: OfExperts, part: Tensor) -> Tensor:
    """One expert's share as it lies among those of all."""
    part = part.unflatten(0, (2, -1)).transpose(0, 1).flatten(0, 1) if source.neighbours else part
    return part.T if source.turned and part.ndim == 2 else part


def stacked(parts: Sequence[Tensor]) -> Tensor:
    """Tensors of one shape, one after another."""
    import torch

    return torch.stack(list(parts))


def reshaped(source: Shaped, tensor: Tensor, config: Any) -> Tensor:
    """Theirs in our shape; ModelError where it has another than config.json asks for."""
    expected = source.theirs(config)
    if tuple(tensor.shape) != expected:
        raise ModelError(f"{source.name} has the shape {list(tensor.shape)}, and the settings ask for {list(expected)}")
    return tensor.reshape(source.ours(config))
