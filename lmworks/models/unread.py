"""Weights that stay in their file until somebody asks for them.

    network.blocks[0].attention.qkv.weight      # read now, and kept
    peek(network.embedding, "weight").shape     # nothing is read

What only runs compiled needs no float weights: its packed ones are made from the file, a few rows at a time. A matrix
that is left unread has a placeholder of its shape and type among its module's parameters; whoever asks PyTorch for it
(a pass, a hook, an optimiser, `state_dict`) gets what the file holds, layer by layer.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from lmworks.basics import progress
from lmworks.basics.errors import ModelError
from lmworks.models.config import ModelConfig

Later = Callable[[ModelConfig], Callable[[str], bool]]
"""Of a network with this config, whether a parameter of some name, a matrix, may stay unread."""


NOT_FINITE = (
    "{} holds values that are not finite (NaN or infinite); the file is damaged, or training diverged: fetch it again, "
    "or go back to an earlier checkpoint"
)


def nothing(config: ModelConfig) -> Callable[[str], bool]:
    """All is read at once."""
    return at_once


def at_once(name: str) -> bool:
    """It may not."""
    return False


@dataclass(frozen=True, eq=False)
class Unread:
    """A matrix in a file."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    take: Callable[[slice], Tensor]
    """Some of its rows, in any type."""

    def rows(self, begin: int, end: int) -> Tensor:
        """These rows."""
        return self.take(slice(begin, end)).to(self.dtype)

    def whole(self) -> Tensor:
        """All of them."""
        return self.take(slice(None)).to(self.dtype)

    def __reduce__(self) -> Any:
        """Weights that were read can be sent to another process, the open file cannot."""
        return type(None), ()

    def placeholder(self) -> nn.Parameter:
        """What stands for it: one number that is shown in every place."""
        parameter = nn.Parameter(torch.zeros((), dtype=self.dtype).expand(self.shape), requires_grad=False)
        parameter.unread = self  # type: ignore[attr-defined]
        return parameter


def below_one_another_later(parts: Sequence[Tensor], dtype: torch.dtype | None) -> nn.Parameter:
    """A matrix whose rows are those of these, which are mapped or unread and cost nothing yet; in `dtype`, or in
    theirs."""
    ends = list(itertools.accumulate(len(part) for part in parts))

    def take(rows: slice) -> Tensor:
        begin, end, _ = rows.indices(ends[-1])
        before = [0, *ends]
        places = [slice(max(begin - at, 0), max(end - at, 0)) for at in before[:-1]]
        cut = zip(parts, places, strict=True)
        found = [_rows_of(part, at) for part, at in cut if at.start < min(at.stop, len(part))]
        progress.read(sum(part.nbytes for part in found))
        return found[0] if len(found) == 1 else torch.cat(found)

    return Unread((ends[-1], parts[0].shape[1]), dtype or parts[0].dtype, take).placeholder()


def _rows_of(part: Tensor, rows: slice) -> Tensor:
    unread = unread_of(part)
    return part[rows] if unread is None else unread.take(rows).to(unread.dtype)


def unread_of(parameter: Tensor | None) -> Unread | None:
    """What a placeholder stands for; None for weights that are there."""
    return getattr(parameter, "unread", None)


def present(tensor: Tensor) -> Tensor:
    """The weights themselves, read now where a placeholder stands for them."""
    unread = unread_of(tensor)
    return tensor if unread is None else unread.whole()


def in_type(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """A tensor or a placeholder in another type."""
    unread = unread_of(tensor)
    return tensor.to(dtype) if unread is None else replace(unread, dtype=dtype).placeholder()


def pieces(weight: Tensor, rows: int) -> Iterator[Tensor]:
    """A matrix in parts of this many rows, read one after another where it is unread."""
    for begin in range(0, len(weight), rows):
        yield rows_of(weight, slice(begin, min(begin + rows, len(weight))))


def rows_of(weight: Tensor, rows: slice) -> Tensor:
    """Some rows of a matrix, read now where it is unread."""
    unread = unread_of(weight)
    return weight.detach()[rows] if unread is None else unread.rows(rows.start, rows.stop)


class _Parameters(dict[str, Any]):
    """A module's parameters; those that are unread are read when somebody asks for them."""

    def __init__(self, given: Mapping[str, nn.Parameter | None]) -> None:
        super().__init__(given)
        self._lock = threading.Lock()

    def __getitem__(self, name: str) -> nn.Parameter | None:
        found: nn.Parameter | None = super().__getitem__(name)
        if unread_of(found) is None:
            return found
        with self._lock:
            found = super().__getitem__(name)
            if (unread := unread_of(found)) is not None:
                found = _read(unread)
                super().__setitem__(name, found)
        return found

    def get(self, name: str, default: Any = None) -> Any:
        return default if name not in self else self[name]  # noqa: SIM401 (that is this function)

    def __iter__(self) -> Iterator[str]:  # so that dict(...) asks for each
        return iter(list(super().keys()))

    def values(self) -> Any:
        return [self[name] for name in self]

    def items(self) -> Any:
        return [(name, self[name]) for name in self]

    def copy(self) -> dict[str, Any]:
        return dict(self.items())

    def let_go(self) -> None:
        """Forget what was read and is still as it was."""
        for name, parameter in list(super().items()):
            if (of := _as_read(parameter)) is not None:
                super().__setitem__(name, of.placeholder())

    def __deepcopy__(self, memo: dict[int, Any]) -> _Parameters:
        import copy

        given = {name: one if unread_of(one) else copy.deepcopy(one, memo) for name, one in super().items()}
        return _Parameters(given)

    def __reduce__(self) -> Any:
        return dict, (dict(self.items()),)


def _read(unread: Unread) -> nn.Parameter:
    with torch.inference_mode(False), torch.no_grad():  # whoever asks may be in it, and somebody may train it later
        parameter = nn.Parameter(unread.whole(), requires_grad=False)
    parameter.as_read = (unread, parameter.data_ptr(), parameter._version)  # type: ignore[attr-defined]
    return parameter


def _as_read(parameter: Tensor | None) -> Unread | None:
    """What a parameter was read from, as long as nobody changed it."""
    unread, *was = getattr(parameter, "as_read", (None,))
    if unread is None or parameter is None or parameter.requires_grad:
        return None
    return unread if was == [parameter.data_ptr(), parameter._version] else None


def leave_unread(network: nn.Module) -> None:
    """Let every placeholder of a network be read when it is asked for."""
    for module in network.modules():
        if any(unread_of(one) for one in module._parameters.values()):
            module._parameters = _Parameters(module._parameters)


def read_all(network: nn.Module, check: Callable[[int], None]) -> None:
    """Read what is unread; `check` hears how many bytes that takes before. ModelError for what is not finite."""
    unread = {name: unread_of(one) for name, one in peeked(network).items() if unread_of(one) is not None}
    check(sum(one.dtype.itemsize * prod(one.shape) for one in unread.values() if one is not None))
    for name, one in network.named_parameters():
        if name in unread and not torch.isfinite(one.sum(dtype=torch.float32)):
            raise ModelError(NOT_FINITE.format(name))


def let_go(module: nn.Module) -> None:
    """Forget the module's own weights that were read from a file, until somebody asks for them again."""
    if isinstance(module._parameters, _Parameters):
        module._parameters.let_go()


@contextlib.contextmanager
def read_for_now(module: nn.Module) -> Iterator[None]:
    """Weights that a module left in its file are forgotten again after the block."""
    unread = any(unread_of(one) is not None for one in dict.values(module._parameters))
    try:
        yield
    finally:
        if unread:
            let_go(module)


def peek(module: nn.Module, name: str) -> nn.Parameter:
    """A parameter of a module, or its placeholder; nothing is read."""
    found: nn.Parameter | None = dict.get(module._parameters, name)
    return getattr(module, name) if found is None else found  # a part that something was put around


def peeked(network: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters of a network by name, each once, some of them placeholders."""
    found: dict[str, nn.Parameter] = {}
    seen: set[int] = set()
    for path, module in network.named_modules():
        for name, one in dict.items(module._parameters):
            if one is not None and id(one) not in seen:
                seen.add(id(one))
                found[f"{path}.{name}" if path else name] = one
    return found


def mark(parameter: Tensor) -> tuple[object, ...]:
    """Changes when a parameter or a buffer does; being read is no change."""
    unread = unread_of(parameter) or _as_read(parameter)
    if unread is not None:
        return (id(unread),)
    return id(parameter), parameter.data_ptr(), parameter._version, parameter.requires_grad


def state_of(network: nn.Module) -> tuple[object, ...]:
    """Changes when a network's weights may have; fused optimisers change them in training without counting that."""
    return getattr(network, "trainings", 0), *map(mark, peeked(network).values())
