"""Packages that take seconds to load, when a test first uses them and not while all tests are collected."""

from __future__ import annotations

from typing import Any

import pytest


class Later:
    """A package, imported when something of it is used; the test is skipped where it is not installed."""

    def __init__(self, name: str, reason: str = "pip install 'lmworks[dev]'") -> None:
        self._name, self._reason = name, reason

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # pytest, which asks everything in a file whether it is a fixture or a test
            raise AttributeError(name)
        return getattr(pytest.importorskip(self._name, reason=self._reason), name)
