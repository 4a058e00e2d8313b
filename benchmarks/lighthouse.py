"""What Lighthouse says of a page, where npm has put it: `npm install lighthouse`, here or below NODE_MODULES."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def package(path: str) -> Path | None:
    """A file of an npm package: below NODE_MODULES, here, or where npm installs globally; None where it is not."""
    places = [os.environ.get("NODE_MODULES", ""), "node_modules"]
    if shutil.which("npm"):
        places.append(subprocess.run(["npm", "root", "-g"], capture_output=True, text=True, check=True).stdout.strip())
    return next((Path(one, path) for one in places if one and Path(one, path).is_file()), None)


def chromium() -> str | None:
    """An installed Chromium."""
    return next(filter(None, map(shutil.which, CHROMIUMS)), None)


def scores(address: str, folder: Path) -> dict[str, float] | None:
    """Performance and accessibility of an address on the simulated phone, 0 to 1, and `speed`, its own benchmark
    of the machine while it looked; None without Lighthouse, node or an installed Chromium."""
    script, browser, said = package("lighthouse/cli/index.js"), chromium(), folder / "said.json"
    if script is None or browser is None or shutil.which("node") is None:
        return None
    command = ["node", str(script), address, "--quiet", "--output=json", f"--output-path={said}"]
    command += [
        "--chrome-flags=--headless=new --no-sandbox --disable-gpu",
        "--only-categories=performance,accessibility",
    ]
    subprocess.run(command, check=True, timeout=300, env=os.environ | {"CHROME_PATH": browser})
    told = json.loads(said.read_text())
    return {"speed": told["environment"]["benchmarkIndex"]} | {
        key: one["score"] for key, one in told["categories"].items()
    }
