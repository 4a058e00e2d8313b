"""Packages that take seconds to load wait for the test that uses them."""

from __future__ import annotations

import sys

import pytest
from later import Later


def test_asked_whether_it_is_a_test_it_loads_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    package = Later("colorsys")
    assert not any(hasattr(package, name) for name in ("__wrapped__", "__test__", "_mock_name"))
    assert "colorsys" not in sys.modules
    assert package.rgb_to_hsv(0, 0, 0) == (0, 0, 0) and "colorsys" in sys.modules
