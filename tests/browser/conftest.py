"""Chromium, and a server in a process of its own, as a user starts it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partialmethod
from pathlib import Path
from typing import Any

import pytest
import tiny

from benchmarks import lighthouse
from lmworks.lab.site.export import export

ALONE = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-component-update",
)


@pytest.fixture(scope="package")
def chromium() -> Iterator[Any]:
    """The browser; skipped where there is none. It lives no longer than tests of pages run: meanwhile an event loop
    runs in this thread, and other tests start their own."""
    api = pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright (extra dev)")
    with pytest.MonkeyPatch.context() as patch:
        # Our pages stay at their address. Playwright hears of a link within a page as of a navigation, sometimes after
        # its end, and waits for it without end: after a click, unless told, and before it looks for anything.
        patch.setenv("PLAYWRIGHT_SKIP_NAVIGATION_CHECK", "1")
        patch.setattr(api.Locator, "click", partialmethod(api.Locator.click, no_wait_after=True))
        yield from launched(api)


def launched(api: Any) -> Iterator[Any]:
    """A browser until it is no longer needed."""
    with api.sync_playwright() as playwright:
        path = lighthouse.chromium()
        if path is None and not Path(playwright.chromium.executable_path).exists():
            pytest.skip("no Chromium is here: apt-get install chromium, or playwright install chromium")
        browser = playwright.chromium.launch(executable_path=path, args=list(ALONE))
        yield browser
        browser.close()


@contextmanager
def serving(*options: str) -> Iterator[str]:
    """`lmworks serve` while the block runs; its address."""
    command = [sys.executable, "-m", "lmworks", "serve", "--port", "0", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if line.startswith("{") and (said := json.loads(line))["event"] == "serving":
                break
        else:
            raise AssertionError("".join(lines))
        try:
            yield said["address"].removesuffix("/v1")
        finally:
            process.send_signal(signal.SIGTERM)
            process.stderr.read()
            process.wait(60)


@pytest.fixture(scope="module")
def smollm2(smollm2_path: Path) -> Iterator[str]:
    """The address of a server of the real small model."""
    with serving("smollm2") as address:
        yield address


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny model."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny.language_model(seed=4, context=512).save(folder)
    return str(folder)


@pytest.fixture(scope="module")
def served(tiny_folder: str) -> Iterator[str]:
    """The address of a server whose model is tiny."""
    with serving(tiny_folder) as address:
        yield address


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of the claims' pages that are shipped, with the benches' model where that is here."""
    folder = tmp_path_factory.mktemp("lab") / "site"
    export(folder)
    return folder
