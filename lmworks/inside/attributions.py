"""The names of the ways to attribute an answer (attribution.py), which are checked before PyTorch is loaded."""

from __future__ import annotations

from lmworks.basics.errors import ConfigError

ATTRIBUTIONS = ("integrated-gradients", "gradient-x-input", "occlusion")


def must_be_attribution(name: str) -> None:
    """ConfigError for a name that is none of `ATTRIBUTIONS`."""
    if name not in ATTRIBUTIONS:
        raise ConfigError(f"there is no way {name!r} to attribute an answer; there are {', '.join(ATTRIBUTIONS)}")
