"""axe-core, where npm has put it: what it objects to on a page."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest


def package(path: str) -> Path:
    """A file of an npm package: below NODE_MODULES, here, or where npm installs globally; skipped where it is not."""
    places = [os.environ.get("NODE_MODULES", ""), "node_modules"]
    if shutil.which("npm"):
        places.append(subprocess.run(["npm", "root", "-g"], capture_output=True, text=True, check=True).stdout.strip())
    found = next((Path(one, path) for one in places if one and Path(one, path).is_file()), None)
    if found is None:
        name = path.partition("/")[0]
        pytest.skip(f"{name} is not here: npm install {name}, or NODE_MODULES=FOLDER")
    return found


def judged(page: Any, script: str) -> list[str]:
    """What axe objects to, of any impact."""
    page.evaluate(script)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    return [f"{one['id']} ({one['impact']}): {node['html'][:120]}" for one in found for node in one["nodes"][:3]]
