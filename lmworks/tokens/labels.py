"""The label of what is not to be predicted: apart from batches, whose file loads torch."""

from __future__ import annotations

IGNORE = -100
"""The label of a position without loss, as torch's cross-entropy takes it."""
