"""axe-core and Lighthouse, where npm has put them: what they object to on a page."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from browser.conftest import NAMES


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


def scores(address: str, folder: Path) -> dict[str, float]:
    """Lighthouse's scores of an address on its simulated phone: performance and accessibility, 0 to 1."""
    script, chromium = package("lighthouse/cli/index.js"), next(filter(None, map(shutil.which, NAMES)), None)
    if chromium is None or shutil.which("node") is None:
        pytest.skip("Lighthouse needs node and an installed Chromium")
    said = folder / "said.json"
    command = ["node", str(script), address, "--quiet", "--output=json", f"--output-path={said}"]
    command += [
        "--chrome-flags=--headless=new --no-sandbox --disable-gpu",
        "--only-categories=performance,accessibility",
    ]
    subprocess.run(command, check=True, timeout=300, env=os.environ | {"CHROME_PATH": chromium})
    return {key: one["score"] for key, one in json.loads(said.read_text())["categories"].items()}
