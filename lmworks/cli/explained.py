"""The classes of settings that `lmworks explain` tells of: each says so itself."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lmworks.basics.config import Config


@functools.cache
def explained() -> dict[str, type[Config]]:
    """Every class of settings that says `explain_as`, by that name. A file without the word is not imported."""
    import importlib

    import lmworks
    from lmworks.basics.config import Config

    found: dict[str, type[Config]] = {}
    root = Path(lmworks.__path__[0])
    for path in sorted(root.rglob("*.py")):
        if "explain_as: ClassVar" in path.read_text(encoding="utf-8"):
            module = importlib.import_module(".".join(("lmworks", *path.relative_to(root).with_suffix("").parts)))
            for kind in vars(module).values():
                if isinstance(kind, type) and issubclass(kind, Config) and "explain_as" in vars(kind):
                    found[vars(kind)["explain_as"]] = kind
    return found
