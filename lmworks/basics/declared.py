"""Parts that declare themselves: whatever the files of a folder hold of one kind, found without a list.

    OBJECTIVES = declared("lmworks.objectives", Declaration)     # {"causal": ..., "masked": ...}

A new part is a new file in its folder. Nothing else has to be edited, and nothing is imported before it is asked for.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from typing import Any, Protocol, TypeVar


class Named(Protocol):
    """What can be declared."""

    @property
    def name(self) -> str:
        """What users call it."""


Part = TypeVar("Part", bound=Named)


def declared(package: str, kind: type[Part]) -> dict[str, Part]:
    """Every `kind` that stands at the top of a module of `package`, by its name, in the order of files and lines.

    Raises ValueError where two different parts have one name.
    """
    return dict(_found(package, kind))


@cache
def _found(package: str, kind: type[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for module in sorted(one.name for one in pkgutil.iter_modules(importlib.import_module(package).__path__)):
        for part in vars(importlib.import_module(f"{package}.{module}")).values():
            if not isinstance(part, kind) or found.get(part.name) is part:
                continue
            if part.name in found:
                raise ValueError(
                    f"{package}.{module} declares {part.name!r}, which another file of {package} declares too"
                )
            found[part.name] = part
    return found
