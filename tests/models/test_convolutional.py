"""The small convolutional network: what stands for an image, and in which format it multiplies."""

from __future__ import annotations

import pytest
import torch

from lmworks.basics.errors import ConfigError
from lmworks.models.vision import convolutional
from lmworks.models.vision.convolutional import ConvolutionalNetwork
from lmworks.models.vision.convolutional_config import ConvolutionalConfig

IMAGES = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def network(**settings: object) -> ConvolutionalNetwork:
    return ConvolutionalNetwork(ConvolutionalConfig(image_size=16, widths=(8, 12), **settings)).initialise(0)


@pytest.mark.parametrize(("state", "dim"), [("largest", 12), ("mean", 12), ("places", 12 * 9)])
def test_what_stands_for_an_image_has_the_width_that_is_told(state: str, dim: int):
    made = network(image_state=state).eval()
    maps = made.hidden(IMAGES)
    assert made.pooled(maps).shape == (4, dim) and made.config.dim == dim
    place = made.pooled(maps)[0].view(12, -1)[3]
    expected = {"largest": maps[0, 3].max(), "mean": maps[0, 3].mean(), "places": maps[0, 3].flatten()}[state]
    torch.testing.assert_close(place, expected.view(-1))


def test_places_side_by_side_are_those_of_one_size():
    made = network(image_state="places").eval()
    with pytest.raises(ConfigError, match="reads images of 16 pixels a side"):
        made.pooled(made.hidden(torch.rand(1, 3, 32, 32)))


def test_only_training_multiplies_in_bfloat16_and_only_where_that_is_quick(monkeypatch: pytest.MonkeyPatch):
    seen = []
    for native in (torch.bfloat16, torch.float32):
        monkeypatch.setattr(convolutional, "fast_dtype", lambda device, native=native: native)
        for settings, training in (({}, True), ({}, False), ({"mixed": False}, True)):
            made = network(**settings).train(training)
            inside = []
            made.blocks[0].register_forward_hook(lambda module, given, out, inside=inside: inside.append(out.dtype))
            assert made.hidden(IMAGES).dtype == torch.float32  # what others read
            seen += inside
    mixed, plain = torch.bfloat16, torch.float32
    assert seen == [mixed, plain, plain, plain, plain, plain]
