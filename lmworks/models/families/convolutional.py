"""Our own networks that read images: every choice of their configs, and every tensor, under its own name.

lmworks reads such directories; transformers and other programs do not.
"""

from __future__ import annotations

from lmworks.models.families.recurrent import OwnNetwork
from lmworks.models.vision.convolutional_config import ConvolutionalConfig
from lmworks.models.vision.efficientnet_config import EfficientNetConfig
from lmworks.models.vision.towers_config import OWN, TowersConfig

CONVOLUTIONAL = OwnNetwork(
    name="lmworks-convolutional",
    architecture="LmworksConvolutional",
    settings={},
    tensors={},
    own=ConvolutionalConfig,
)

EFFICIENTNET = OwnNetwork(
    name="lmworks-efficientnet",
    architecture="LmworksEfficientNet",
    settings={},
    tensors={},
    own=EfficientNetConfig,
)

TOWERS = OwnNetwork(name=OWN, architecture="LmworksTowers", settings={}, tensors={}, own=TowersConfig)
