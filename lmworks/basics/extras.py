"""Optional packages: imported where they are used, with an error that names the extra to install."""

from __future__ import annotations

import importlib
from types import ModuleType

from lmworks.basics.errors import LmworksError


def require(module: str, extra: str) -> ModuleType:
    """Import `module`, or say which extra of lmworks brings it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise LmworksError(
            f"this needs the package {module.partition('.')[0]}, which is not installed; "
            f"run: pip install 'lmworks[{extra}]'"
        ) from error
