"""method = "last_layers": the last blocks and the norm after them; what lies before stays as it is."""

from __future__ import annotations

from pydantic import Field

from lmworks.adaptation.declaration import Method, Setup
from lmworks.basics.config import Config
from lmworks.basics.errors import ConfigError


class LastLayersConfig(Config):
    """Which blocks are trained."""

    layers: int = Field(default=2, gt=0)
    """How many, from the end."""


def prepare(setup: Setup, settings: LastLayersConfig) -> Setup:
    """Freeze all but the last blocks. ConfigError where there are fewer."""
    blocks = getattr(setup.network, "blocks", None)
    if blocks is None or len(blocks) < settings.layers:
        have = 0 if blocks is None else len(blocks)
        raise ConfigError(f"{{at}}layers is {settings.layers}, and the network has {have} blocks; take fewer")
    setup.network.requires_grad_(False)
    blocks[-settings.layers :].requires_grad_(True)
    setup.network.norm.requires_grad_(True)
    return setup


LAST_LAYERS = Method(
    name="last_layers",
    summary="the last blocks alone, whole: gradients stop before the others; the result is a model of its own",
    settings=LastLayersConfig,
    prepare=prepare,
)
