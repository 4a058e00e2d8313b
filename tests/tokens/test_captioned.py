"""Images with captions as rows: the same draws for the same epoch, others for the next, nothing changed where not
asked."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lmworks.text.document import Document
from lmworks.tokens.captioned import SAYINGS, CaptionedImages, moved

RNG = np.random.default_rng(0)
DOCUMENTS = [
    Document(
        f"thing {at}: red, round, small",
        f"{at}",
        metadata={"family": (str(at // 2),), "tags": ("red", "round", "small")},
        image=RNG.integers(0, 256, (8, 8, 3), np.uint8),
    )
    for at in range(6)
]


def rows(change=0.0, **settings):
    said = []

    def encode(texts):
        said.append(texts)
        return torch.zeros(len(texts), 3, dtype=torch.long)

    made = CaptionedImages(DOCUMENTS, encode, lambda pixels: 2 * pixels - 1, change=change, **settings)
    return made, said


def test_without_changes_a_batch_holds_what_the_documents_hold():
    made, said = rows()
    batch = made.batch([4, 1])
    expected = np.stack([DOCUMENTS[4].image, DOCUMENTS[1].image]).transpose(0, 3, 1, 2) / 255
    np.testing.assert_allclose(batch.pixels, 2 * expected - 1, atol=1e-6)
    assert said == [[DOCUMENTS[4].text, DOCUMENTS[1].text]]
    assert batch.groups.tolist() == [2, 0] and batch.supervised == 0


def test_with_negatives_there_are_no_groups():
    assert rows(negatives=True)[0].batch([0, 1]).groups is None


def test_the_same_epoch_is_the_same_and_the_next_is_another():
    made, said = rows(change=0.2)
    first, again, later = (made.at_epoch(epoch, 7).batch([0, 1, 2]).pixels for epoch in (1, 1, 2))
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert said[0] == said[1] and not torch.allclose(first, later)
    torch.testing.assert_close(
        made.at_epoch(1, 7).batch([2]).pixels, first[2:], rtol=0, atol=0
    )  # whatever is beside it
    assert not torch.allclose(made.at_epoch(1, 8).batch([0, 1, 2]).pixels, first)


def test_what_is_read_ahead_is_shown_in_turn():
    made, _ = rows(change=0.2)
    read = []

    def states(pixels):
        read.append(len(pixels))
        return pixels.flatten(1)[:, :5]

    made.read_ahead(states, 7)
    assert read == [6, 6]  # as they are, and changed
    as_it_is, changed = rows()[0].pixels_of(range(6)).flatten(1)[:, :5], made.states[1]
    assert not torch.allclose(as_it_is, changed)
    for epoch in (0, 1, 2):
        expected = [(changed if (epoch + place) % 2 else as_it_is)[place] for place in (4, 1)]
        batch = made.at_epoch(epoch, 7).batch([4, 1])
        torch.testing.assert_close(batch.states, torch.stack(expected))
        assert batch.pixels is None
    again, _ = rows(change=0.2)
    again.read_ahead(states, 7)
    torch.testing.assert_close(again.states, made.states, rtol=0, atol=0)


def test_what_is_read_ahead_may_be_kept_smaller_and_is_changed_in_each_epoch():
    made, _ = rows(change=0.2)
    size = made.pixels.shape[1]
    whole = made._pixels(range(6), None)
    made.read_ahead(lambda pixels: pixels.flatten(1)[:, :5], 7, size // 2)
    assert made.pixels.shape == (6, size // 2, size // 2, 3) and made.pixels.dtype == np.uint8
    means = torch.nn.functional.avg_pool2d(whole, 2)
    torch.testing.assert_close(made._pixels(range(6), None), means, rtol=0, atol=2 / 255)
    first, third = (made.at_epoch(epoch, 7).batch([4, 1]) for epoch in (0, 2))
    torch.testing.assert_close(first.states, third.states, rtol=0, atol=0)  # two versions, in turn
    assert not torch.allclose(first.pixels, third.pixels)


def test_captions_lose_tags_and_never_gain_any():
    made, said = rows(change=0.2)
    for epoch in range(50):
        made.at_epoch(epoch, 0).batch([3])
    captions = [one for (one,) in said]
    assert 2 < len(set(captions)) <= SAYINGS  # few, so that a tower for texts that stays reads each once
    assert captions[:SAYINGS] == captions[SAYINGS : 2 * SAYINGS]
    for one in captions:
        tags = one.partition("thing 3")[2].removeprefix(": ") if "thing 3" in one else one
        assert set(filter(None, tags.split(", "))) <= {"red", "round", "small"}
    assert sum(one.startswith("thing 3") for one in captions) > 25


def test_an_image_that_is_moved_stays_an_image_on_white():
    import random

    black = torch.zeros(40, 3, 16, 16)
    out = moved(black, [random.Random(at) for at in range(40)], 0.3)
    assert out.min() >= 0 and out.max() <= 1
    assert (out[:, :, 8, 8] < 0.9).all()  # the middle is still there
    corners = torch.stack([out[:, :, y, x] for y in (0, -1) for x in (0, -1)])
    assert (corners == 1).any()  # and white has come in from outside
    white = moved(torch.ones(4, 3, 16, 16), [random.Random(at) for at in range(4)], 0.3)
    torch.testing.assert_close(white, torch.ones_like(white))


def test_an_epoch_has_whole_batches():
    made, _ = rows()
    assert made.batches(4) == 1 and made.batches(2) == 3 and made.batches(50) == 1
    assert [len(one) for one in made.order(4, 0, 0)] == [4]


def test_a_document_without_tags_keeps_its_words():
    plain = [Document("one: two, three", "a", image=DOCUMENTS[0].image)]
    said = []
    made = CaptionedImages(plain, lambda texts: said.append(texts) or torch.zeros(1, 1), lambda one: one, change=0.5)
    made.batch([0])
    assert said == [["one: two, three"]]


@pytest.mark.parametrize("change", [0.0, 0.3])
def test_pixels_stay_bytes_until_a_batch_is_made(change):
    assert rows(change)[0].pixels.dtype == np.uint8
