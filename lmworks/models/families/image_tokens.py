"""Our own image tokenizers: every choice of ImageTokensConfig, and every tensor, under its own name.

lmworks reads such directories; transformers and other programs do not.
"""

from __future__ import annotations

from lmworks.models.families.recurrent import OwnNetwork
from lmworks.models.vision.image_tokens_config import ImageTokensConfig

IMAGE_TOKENS = OwnNetwork(
    name="lmworks-image-tokens",
    architecture="LmworksImageTokens",
    settings={},
    tensors={},
    own=ImageTokensConfig,
)
