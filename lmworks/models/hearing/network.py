"""SoundNetwork: an encoder-decoder that reads sound. Two convolutions stand where tokens are looked up.

network = SoundNetwork(SoundConfig(vocab_size=512, dim=64, layers=2, heads=4, context=64, positions="learned"))
logits = network(tokens, memory=network.encode(features))       # features [batch, mels, frames]

Source: Radford et al. 2022, https://arxiv.org/abs/2212.04356.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmworks.basics.arrays import Float
from lmworks.basics.errors import ConfigError
from lmworks.models.config import ModelConfig
from lmworks.models.hearing.config import STRIDE, SoundConfig
from lmworks.models.memory import Memory
from lmworks.models.network import Network
from lmworks.models.positions.sinusoidal import sinusoids
from lmworks.models.scheme import Scheme
from lmworks.models.stack import Hidden, Real, Stack

Features = Float[Tensor, "batch mels frames"]


class SoundStack(Stack):
    """The encoder: each place of its stream stands for two frames, which convolutions have joined with those beside
    them."""

    def __init__(self, config: ModelConfig) -> None:
        assert isinstance(config, SoundConfig)
        nn.Module.__init__(self)
        self.conv1 = nn.Conv1d(config.mels, config.dim, 3, padding=1)
        self.conv2 = nn.Conv1d(config.dim, config.dim, 3, stride=STRIDE, padding=1)
        self.add_parts(config)

    def placed(self, features: Features) -> Hidden:
        """The places of the stream."""
        x = F.gelu(self.conv1(features.to(self.conv1.weight.dtype)))
        return F.gelu(self.conv2(x)).transpose(1, 2)


class SoundNetwork(Network):
    """A network that writes what it hears. `encode` takes features; all else is a Network's."""

    config: SoundConfig

    def __init__(self, config: SoundConfig) -> None:
        super().__init__(config)
        self.encoder: SoundStack = SoundStack(config.encoder())

    def initialise(self, seed: int = 0, scheme: Scheme = "normal") -> SoundNetwork:
        """Fresh weights; places of the encoder begin as sines, as Whisper's stay."""
        super().initialise(seed, scheme)
        generator = torch.Generator().manual_seed(seed + 1)
        with torch.no_grad():
            for layer in (self.encoder.conv1, self.encoder.conv2):
                layer.weight.normal_(0.0, 0.02, generator=generator)
                assert layer.bias is not None
                layer.bias.zero_()
            places = torch.arange(self.config.sound_places)
            table = self.encoder.get_parameter("position.weight")
            table.copy_(sinusoids(places, self.config.dim, end=True))
        return self

    def encode(self, source: Features, mask: Real | None = None) -> Memory:
        """What the encoder makes of sound, for `hidden`. ConfigError for what has not the shape of its features: a
        shorter recording is filled up with silence before they are made."""
        expected = [self.config.mels, self.config.frames]
        if source.ndim != 3 or list(source.shape[1:]) != expected or mask is not None:
            raise ConfigError(
                f"the network reads sound as features [batch, {expected[0]}, {expected[1]}] without a mask, and was "
                f"given {list(source.shape)}; log_mel makes them of a recording"
            )
        encoder = self.encoder
        encoder.run_block, encoder.attention_kernel = self.run_block, self.attention_kernel
        embedded = encoder.placed(source)
        tokens = torch.zeros(embedded.shape[:2], dtype=torch.long, device=embedded.device)
        return Memory(encoder.read(embedded, tokens, encoder.positions_of(tokens, None, None, None), None), None)
