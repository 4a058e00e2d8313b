"""Which tests read data or ask for the network: noted while they run, and run once more without either.

`make test` leaves their names in `.pytest_cache/touched-data.txt`; `make test-offline` runs these with no data folder,
an empty cache and a proxy that refuses. There they pass, or are skipped with a reason.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pooch
import pytest

from lmworks.basics.errors import LmworksError
from lmworks.text.sources import read

NAMES = Path(".pytest_cache", "touched-data.txt")
LOCAL = ("127.0.0.1", "localhost", "::1", "0.0.0.0", "", None)


def data_folders() -> tuple[str, ...]:
    """Where data and models lie: the folders of LMWORKS_DATA, and the cache but for compiled kernels."""
    cache = Path(os.environ.get("LMWORKS_CACHE") or pooch.os_cache("lmworks"))
    data = [folder for folder in os.environ.get("LMWORKS_DATA", "").split(os.pathsep) if folder]
    return tuple(map(os.path.abspath, [*data, *(cache / part for part in ("data", "models", "vectors"))]))


def skip_without(*references: str) -> None:
    """Skip the test that runs unless these texts are here, or can be fetched."""
    for reference in references:
        try:
            read(reference)
        except LmworksError as error:
            pytest.skip(f"{reference} is not here ({error}); set LMWORKS_DATA, or connect once")


class Watch:
    """Notes the test that runs whenever it opens a file of the data, or asks for an address that is not local."""

    def __init__(self) -> None:
        self.folders, self.running = data_folders(), ""
        self.touched: set[str] = set()
        sys.addaudithook(self._observe)

    def _observe(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            touches = isinstance(arguments[0], str) and arguments[0].startswith(self.folders)
        else:
            touches = event == "socket.getaddrinfo" and arguments[0] not in LOCAL
        if touches and self.running:
            self.touched.add(self.running)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Everything from a test's first fixture to its last."""
        self.running = item.nodeid
        try:
            return (yield)
        finally:
            self.running = ""

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """What a process of pytest-xdist has noted."""
        self.touched.update(getattr(node, "workeroutput", {}).get("touched", ()))

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Hand the names on, or write them."""
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput["touched"] = sorted(self.touched)
        else:
            path = session.config.rootpath / NAMES
            path.parent.mkdir(exist_ok=True)
            path.write_text("".join(f"{name}\n" for name in sorted(self.touched)), encoding="utf-8")
