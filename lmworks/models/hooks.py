"""Hook points: named places in the network where an activation can be read, edited or replaced.

A function receives the activation and returns None to leave it alone, or a tensor to go on with instead. With
functions that only read, logits are equal to the bit: looking does not change how anything is computed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from torch import Tensor, nn

from lmworks.basics.errors import ConfigError

HookFunction = Callable[[Tensor], Tensor | None]


class HookPoint:
    """A named place; calling it passes the activation through the functions that are hooked in."""

    __slots__ = ("functions", "name")

    def __init__(self) -> None:
        self.name = ""
        self.functions: Final[list[HookFunction]] = []
        """Always this list: the compiled path looks at it, and not for it."""

    def __call__(self, activation: Tensor) -> Tensor:
        """The activation, as the hooked functions leave it."""
        for function in self.functions:
            changed = function(activation)
            if changed is not None:
                activation = changed
        return activation


def hook_points(network: nn.Module) -> dict[str, HookPoint]:
    """Every hook point of a network by its path, such as `blocks.3.attention.pattern`."""
    points: dict[str, HookPoint] = {}
    for path, module in network.named_modules():
        for attribute, value in vars(module).items():
            if isinstance(value, HookPoint):
                value.name = f"{path}.{attribute}" if path else attribute
                value.name = value.name.removesuffix("_point")
                points[value.name] = value
    return points


@contextlib.contextmanager
def hooked(network: nn.Module, functions: Mapping[str, HookFunction]) -> Iterator[None]:
    """Hook functions in by path for the length of the block; ConfigError for a path that does not exist."""
    points = hook_points(network)
    for path in functions:
        if path not in points:
            end = path.rpartition(".")[2]
            near = sorted(name for name in points if name.endswith(end)) or sorted(points)
            raise ConfigError(
                f"{path} is not a hook point of this network; there are, for example, {', '.join(near[:4])}"
            )
    try:
        for path, function in functions.items():
            points[path].functions.append(function)
        yield
    finally:
        for path, function in functions.items():
            points[path].functions.remove(function)


@contextlib.contextmanager
def unhooked(network: nn.Module) -> Iterator[None]:
    """No function hooked in for the length of the block: for runs that are nobody's to read, such as derivatives."""
    points = hook_points(network).values()
    kept = [list(point.functions) for point in points]
    try:
        for point in points:
            point.functions.clear()
        yield
    finally:
        for point, functions in zip(points, kept, strict=True):
            point.functions[:] = functions
