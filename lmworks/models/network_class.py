"""Which class of network a config shapes."""

from __future__ import annotations

from typing import Any, cast

from torch import nn

from lmworks.models.hearing.config import SoundConfig
from lmworks.models.hearing.network import SoundNetwork
from lmworks.models.network import Network
from lmworks.models.relatives.recurrent import RecurrentNetwork
from lmworks.models.relatives.recurrent_config import RecurrentConfig
from lmworks.models.vision.config import ImageConfig
from lmworks.models.vision.convolutional import ConvolutionalNetwork
from lmworks.models.vision.convolutional_config import ConvolutionalConfig
from lmworks.models.vision.efficientnet import EfficientNet
from lmworks.models.vision.efficientnet_config import EfficientNetConfig
from lmworks.models.vision.image_network import ImageNetwork
from lmworks.models.vision.image_tokens import ImageTokenizer
from lmworks.models.vision.image_tokens_config import ImageTokensConfig
from lmworks.models.vision.resnet import ResNet
from lmworks.models.vision.resnet_config import ResNetConfig
from lmworks.models.vision.towers import Towers
from lmworks.models.vision.towers_config import TowersConfig

CLASSES: dict[type[Any], type[nn.Module]] = {
    RecurrentConfig: RecurrentNetwork,
    ImageConfig: ImageNetwork,
    TowersConfig: Towers,
    ResNetConfig: ResNet,
    ConvolutionalConfig: ConvolutionalNetwork,
    EfficientNetConfig: EfficientNet,
    ImageTokensConfig: ImageTokenizer,
    SoundConfig: SoundNetwork,
}


def network_class(config: Any) -> type[Network]:
    """The class whose networks a config shapes. What reads images stands where a Network would, as its config does."""
    return cast(type[Network], CLASSES.get(type(config), Network))
