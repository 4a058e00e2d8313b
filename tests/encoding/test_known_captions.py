"""Captions that a model was trained on: which fits an image, and files that are damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lmworks.basics.errors import ModelError
from lmworks.encoding.known_captions import FILE, KnownCaptions
from lmworks.models.files.directory import read_safetensors, write_safetensors


def test_the_captions_of_similar_images_outvote_that_of_the_nearest():
    """The nearest image is an outlier; three others that are almost as near say nearly the same."""
    states = np.array([[1, 0, 0], [0.98, 0.1, 0.1], [0.98, 0.1, -0.1], [0.98, -0.1, 0.1], [0, 0, 1]], np.float32)
    captions = ["telephone", "a red apple", "a red apple: fruit", "a green apple", "the night sky"]
    known = KnownCaptions.of(states, captions, 10)
    assert known.best_for(states[:1]) == ["a red apple: fruit"]
    assert known.best_for(states[4:]) == ["the night sky"], "one that is far from all others"
    assert known.best_for(5 * states[[0, 4]]) == ["a red apple: fruit", "the night sky"], (
        "how long a state is tells nothing"
    )


def test_images_of_one_caption_have_one_vote():
    states = np.array([[1, 0], [0.999, 0.01], [0.99, 0.1], [0.99, 0.11], [0.99, 0.12]], np.float32)
    known = KnownCaptions.of(states, ["aaaa", "aaaa", "bbbb", "bbbb", "bbbb"], 10)
    assert known.best_for(states[:1]) == ["aaaa"]


def test_a_bound_leaves_some_of_all(tmp_path: Path):
    states = np.random.default_rng(0).normal(size=(3000, 4)).astype(np.float32)
    captions = [f"number {at}" for at in range(3000)]
    known = KnownCaptions.of(states, captions, 3)
    assert known.captions == ["number 0", "number 1499", "number 2999"]
    whole = KnownCaptions.of(states, captions, 5000)
    whole.save(tmp_path)
    again = KnownCaptions.load(tmp_path, 4)
    assert again is not None and again.captions == captions
    assert again.best_for(states[-2:]) == whole.best_for(states[-2:])
    assert KnownCaptions.load(tmp_path / "nowhere", 4) is None


@pytest.mark.parametrize(
    "changes, width",
    [
        ({}, 5),
        ({"directions": torch.zeros(2, 4)}, 4),
        ({"captions": torch.frombuffer(bytearray(b'["one"]'), dtype=torch.uint8)}, 4),
        ({"captions": torch.frombuffer(bytearray(b'["one", 2]'), dtype=torch.uint8)}, 4),
        ({"captions": torch.frombuffer(bytearray(b"\xff\xfe"), dtype=torch.uint8)}, 4),
        ({"captions": torch.zeros(3)}, 4),
        ({"captions": torch.zeros(3, dtype=torch.bfloat16)}, 4),
        ({"captions": torch.frombuffer(bytearray(b"[" * 100_000), dtype=torch.uint8)}, 4),
        ({"captions": torch.frombuffer(bytearray(b'["one", "\\ud800"]'), dtype=torch.uint8)}, 4),
    ],
)
def test_a_damaged_file_is_told(tmp_path: Path, changes: dict[str, torch.Tensor], width: int):
    KnownCaptions.of(np.eye(4, dtype=np.float32)[:2], ["one", "two"], 2).save(tmp_path)
    write_safetensors(tmp_path / FILE, read_safetensors(tmp_path / FILE) | changes)
    with pytest.raises(ModelError, match="holds no captions that fit this model"):
        KnownCaptions.load(tmp_path, width)
