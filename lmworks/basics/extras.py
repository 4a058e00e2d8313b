"""Optional packages: imported where they are used, with an error that names the extra to install."""

from __future__ import annotations

import importlib
import shlex
import shutil
import sys
from pathlib import Path
from types import ModuleType

from lmworks.basics.errors import LmworksError


def require(module: str, extra: str) -> ModuleType:
    """Import `module`, or say which extra of lmworks brings it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise LmworksError(
            f"this needs the package {module.partition('.')[0]}, which is not installed; run: {installing(extra)}"
        ) from error


def installing(extra: str) -> str:
    """The command that installs an extra into the environment of this Python: `pip` alone where it is that one's."""
    found = shutil.which("pip")
    ours = found is not None and Path(found).parent.absolute() == Path(sys.executable).parent.absolute()
    return f"{'' if ours else f'{shlex.quote(sys.executable)} -m '}pip install 'lmworks[{extra}]'"
