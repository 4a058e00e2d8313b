"""Our own convolutional networks: every choice of ConvolutionalConfig, and every tensor, under its own name.

lmworks reads such directories; transformers and other programs do not.
"""

from __future__ import annotations

from lmworks.models.families.recurrent import OwnNetwork
from lmworks.models.vision.convolutional_config import ConvolutionalConfig

CONVOLUTIONAL = OwnNetwork(
    name="lmworks-convolutional",
    architecture="LmworksConvolutional",
    settings={},
    tensors={},
    own=ConvolutionalConfig,
)
