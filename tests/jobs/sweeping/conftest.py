"""Every test of this room needs Optuna, and most of them a folder with a small text, a recipe and a space."""

from __future__ import annotations

import pytest

from jobs.sweeping.small import here

pytest.importorskip("optuna", reason="pip install 'lmworks[search]'")
__all__ = ["here"]
