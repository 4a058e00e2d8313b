"""Images before a text: what a network reads in the place of tokens, and what it says of ids that stand for nothing."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import tiny
import torch

from lmworks.basics.errors import ConfigError
from lmworks.models.image_reader import ImageLayers, ImageReader
from lmworks.models.seen_vectors import SeenVectors

STATES = torch.randn(3, 10, generator=torch.Generator().manual_seed(5))


def reader() -> ImageReader:
    torch.manual_seed(0)
    return ImageReader(ImageLayers(10, 6, 2, 32), 96)


@torch.no_grad()
def test_a_text_without_images_is_read_as_without_a_reader():
    network, tokens = tiny.network(), tiny.text(2, 9)
    before = network(tokens)
    network.image_reader = reader()
    assert torch.equal(network(tokens), before)
    assert not any("image" in name for name in network.state_dict()), "the base's files hold the base alone"
    assert copy.deepcopy(network).image_reader is network.image_reader


@torch.no_grad()
def test_an_image_changes_what_comes_after_it_and_nothing_before():
    network = tiny.network()
    network.image_reader = reader()
    first, second, _ = network.image_reader.remember(STATES)
    texts = [torch.tensor([[5, 6, *ids, 7, 8]]) for ids in (first, second)]
    one, other = map(network, texts)
    assert torch.equal(one[:, :2], other[:, :2]) and (one[:, 4:] != other[:, 4:]).any(-1).all()
    cache = network.new_cache(1)
    parts = [network(texts[0][:, part], cache=cache) for part in (slice(0, 3), slice(3, 4), slice(4, 6))]
    torch.testing.assert_close(torch.cat(parts, dim=1), one, rtol=0, atol=1e-5)


@torch.no_grad()
def test_what_is_trained_is_what_is_read():
    """In training every image stands as the first ids; numbered, and shown, they are those that were remembered."""
    network = tiny.network()
    network.image_reader = images = reader()
    packed = torch.tensor([[96, 97, 4, 5, 96, 97, 6], [7, 96, 97, 8, 9, 0, 0]])
    numbered = images.numbered(packed)
    assert numbered.tolist() == [[96, 97, 4, 5, 98, 99, 6], [7, 100, 101, 8, 9, 0, 0]]
    with images.showing(STATES):
        shown = network(numbered)
    ids = images.remember(STATES)
    remembered = torch.tensor([[*ids[0], 4, 5, *ids[1], 6], [7, *ids[2], 8, 9, 0, 0]])
    torch.testing.assert_close(network(remembered), shown, rtol=0, atol=1e-6)


def test_gradients_reach_the_layers_and_not_the_network():
    network = tiny.network().requires_grad_(False)
    network.image_reader = images = reader()
    with images.showing(STATES):
        network(images.numbered(torch.tensor([[96, 97, 4, 5, 96, 97, 6, 96, 97, 3]]))).sum().backward()
    assert all(one.grad is not None and one.grad.abs().sum() > 0 for one in images.layers.parameters())
    assert all(one.grad is None for one in network.parameters())


def test_the_same_image_has_the_same_ids_and_the_oldest_goes():
    two = 2 * 2 * 40 * 4  # bytes of two images
    seen, values = SeenVectors(96, 2, two), np.random.default_rng(0).normal(size=(3, 2, 40)).astype(np.float32)
    first, second = seen.remember(values[:2])
    assert (first, second) == ([96, 97], [98, 99]) and seen.remember(values[:1]) == [first]
    np.testing.assert_array_equal(seen.rows([99, 96]), [values[1, 1], values[0, 0]])
    seen.at(97)
    assert seen.remember(values[2:]) == [[100, 101]]  # the first was wanted after the second
    with pytest.raises(ConfigError, match=r"98 is past the vocabulary \(96\) and belongs to no image"):
        seen.at(98)
    assert seen.remember(values[1:2]) == [[102, 103]], "an id is never given to another image"


@torch.no_grad()
def test_an_id_that_no_image_has_is_said():
    network = tiny.network()
    with pytest.raises(ConfigError, match="ids lie between 3 and 96"):
        network(torch.tensor([[3, 96]]))
    network.image_reader = reader()
    with pytest.raises(ConfigError, match="96 is past the vocabulary"):
        network(torch.tensor([[3, 96]]))
