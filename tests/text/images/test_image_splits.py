"""No family of siblings stands on both sides of a split, and a style that is not seen is nowhere in training."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmworks.basics.errors import ConfigError, DataError
from lmworks.text.document import Document
from lmworks.text.images.siblings import siblings
from lmworks.text.images.splits import BOTH, UNSEEN_CONCEPTS, UNSEEN_STYLE, concept_of, split_images, style_of

PIXEL = np.zeros((1, 1, 3), np.uint8)
JOBS = ["astronaut", "cook", "farmer", "judge", "pilot", "singer", "student", "teacher", "artist", "mechanic"]
WHO = {"1f468": "man", "1f469": "woman", "1f9d1": "person"}


def emoji(style: str, jobs=JOBS, tones=("", "-1f3fb")):
    """Every job by man, woman and person, in two tones."""
    labels = {
        f"{code}{tone}-200d-{at:05x}": f"{who} {job}" + (": light skin tone" if tone else "")
        for at, job in enumerate(jobs)
        for code, who in WHO.items()
        for tone in tones
    }
    families = siblings(labels)
    return [
        Document(label, f"{style}#{code}", metadata={"style": (style,), "family": (families[code],)}, image=PIXEL)
        for code, label in labels.items()
    ]


def jobs_of(documents):
    return {next(job for job in JOBS if job in one.text) for one in documents}


@settings(max_examples=20)
@given(st.floats(0.05, 0.95))
def test_no_sibling_and_no_tone_crosses(share):
    try:
        parts = split_images([*emoji("a"), *emoji("b")], share)
    except DataError:
        return  # ten families may all lie on one side
    assert jobs_of(parts.train).isdisjoint(jobs_of(parts.held_out))
    assert len(parts.train) + len(parts.held_out) == 2 * 60


def test_a_style_is_held_out_whole():
    parts = split_images([*emoji("a"), *emoji("b"), *emoji("new")], 0.4, "new")
    assert {style_of(one) for one in [*parts.train, *parts.held_out]} == {"a", "b"}
    assert [{style_of(one) for one in part} for part in parts.unseen[UNSEEN_CONCEPTS]] == [{"a"}, {"b"}]
    (seen,), (both,) = parts.unseen[UNSEEN_STYLE], parts.unseen[BOTH]
    assert jobs_of(seen) == jobs_of(parts.train) and jobs_of(both) == jobs_of(parts.held_out)
    assert len(parts.train) + len(parts.held_out) + len(seen) + len(both) == 3 * 60


def test_what_is_added_later_moves_nothing():
    before = split_images(emoji("a"), 0.4)
    after = split_images([*emoji("a"), *emoji("b")], 0.4)
    assert jobs_of(before.held_out) == jobs_of(after.held_out)


def test_images_of_no_known_family_are_split_by_their_caption():
    photos = [Document(text, f"{at}.png", image=PIXEL) for at, text in enumerate(["A cat", "a  CAT", *"bcdefgh"])]
    parts = split_images(photos, 0.5)
    assert concept_of(photos[0]) == concept_of(photos[1]) == "a cat"
    sides = [any(one.text.lower().split() == ["a", "cat"] for one in side) for side in (parts.train, parts.held_out)]
    assert sorted(sides) == [False, True] and list(parts.unseen) == [UNSEEN_CONCEPTS]


@pytest.mark.parametrize(
    ("share", "style", "error", "why"),
    [
        (0.0, None, ConfigError, "above 0 and below 1"),
        (0.5, "c", DataError, "no image has the style 'c' of data.unseen_style; give one of a, b, or none"),
        (0.5, "a", None, ""),
    ],
)
def test_what_cannot_be_split_is_one_sentence(share, style, error, why):
    documents = [*emoji("a"), *emoji("b")]
    if error is None:
        assert split_images(documents, share, style).train
    else:
        with pytest.raises(error, match=why):
            split_images(documents, share, style)


def test_one_family_alone_cannot_be_split():
    with pytest.raises(DataError, match=r"nothing to .*6 images show 1 different things"):
        split_images(emoji("a", JOBS[:1]), 0.5)
