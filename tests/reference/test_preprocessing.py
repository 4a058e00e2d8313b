"""How images are prepared, against transformers' image processors (their Pillow backends), on real and odd images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lmworks.basics.errors import DataError, ModelError
from lmworks.models.vision.preprocessing import Preprocessing

pytest.importorskip("PIL", reason="pip install 'lmworks[vision]'")
transformers = pytest.importorskip("transformers", reason="pip install 'lmworks[dev]'")

PROCESSORS: dict[str, tuple[str, dict[str, Any]]] = {
    "clip": ("CLIPImageProcessorPil", {}),
    "clip, small": ("CLIPImageProcessorPil", {"size": {"shortest_edge": 30}, "crop_size": {"height": 28, "width": 20}}),
    "clip, bilinear": ("CLIPImageProcessorPil", {"resample": 2, "do_normalize": False}),
    "clip, cut alone": ("CLIPImageProcessorPil", {"do_resize": False, "crop_size": {"height": 41, "width": 36}}),
    "siglip": ("SiglipImageProcessorPil", {}),
    "vit": ("ViTImageProcessorPil", {"size": {"height": 20, "width": 32}}),
    "vit, as bytes": ("ViTImageProcessorPil", {"do_rescale": False, "do_normalize": False}),
    "resnet": ("ConvNextImageProcessorPil", {"size": {"shortest_edge": 32}, "image_mean": [0.4, 0.5, 0.6]}),
    "resnet, large": ("ConvNextImageProcessorPil", {"size": {"shortest_edge": 384}}),
}


def pictures() -> list[np.ndarray]:
    """A drawing with edges, noise, a strip, an image smaller than any crop."""
    generator = np.random.default_rng(0)
    drawing = np.zeros((50, 70, 3), np.uint8)
    drawing[10:30, 20:60] = (250, 40, 90)
    drawing += np.linspace(0, 5, 70).astype(np.uint8)[None, :, None]
    shapes = ((33, 33, 3), (45, 31, 3), (12, 90, 3), (7, 9, 3))
    return [drawing, *(generator.integers(0, 256, shape, dtype=np.uint8) for shape in shapes)]


@pytest.mark.parametrize("name, settings", PROCESSORS.values(), ids=PROCESSORS)
def test_processors_are_equal(name: str, settings: dict[str, Any], tmp_path: Path):
    from PIL import Image

    theirs = getattr(transformers, name)(**settings)
    theirs.save_pretrained(tmp_path / "theirs")
    ours = Preprocessing.read(tmp_path / "theirs")
    (tmp_path / "ours").mkdir()
    ours.write(tmp_path / "ours")
    assert Preprocessing.read(tmp_path / "ours") == ours
    again = type(theirs).from_pretrained(tmp_path / "ours")
    for picture in pictures():
        expected = theirs(Image.fromarray(picture), return_tensors="pt").pixel_values[0].float()
        torch.testing.assert_close(ours(picture), expected, rtol=0, atol=1e-6)
        written = again(Image.fromarray(picture), return_tensors="pt").pixel_values[0].float()
        torch.testing.assert_close(written, expected, rtol=0, atol=1e-6)


def test_numbers_of_old_files_mean_what_they_meant(tmp_path: Path):
    """224 is the shorter side for CLIP and a square for ViT."""
    said = {"size": 30, "crop_size": 28, "resample": 3, "do_resize": True}
    for kind, size in (("CLIPFeatureExtractor", 30), ("ViTFeatureExtractor", (30, 30))):
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(said | {"feature_extractor_type": kind}))
        assert Preprocessing.read(tmp_path).size == size


def test_the_file_of_a_model_with_a_tokenizer_counts(tmp_path: Path):
    inner = {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 19}}
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": inner}))
    assert Preprocessing.read(tmp_path).size == 19


@pytest.mark.parametrize(
    "said, words",
    [
        ({"image_processor_type": "PixtralImageProcessor"}, "'PixtralImageProcessor' is not known"),
        ({"size": {"shortest_edge": 10**9}}, "pixels, from 1 to"),
        ({"size": {"longest_edge": 10, "shortest_edge": 5}}, "longest_edge is not supported"),
        ({"resample": 17}, "resample is 17"),
        ({"resample": "fine"}, "not supported between"),
        ({"image_std": [0, 1, 1]}, "holds a 0"),
        ({"image_mean": [0.5]}, "belong together"),
        ({"do_pad": True}, "do_pad is not supported"),
        ({"size": "large"}, "size"),
    ],
)
def test_what_a_file_cannot_say(said: dict[str, Any], words: str, tmp_path: Path):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"do_center_crop": False, **said}))
    with pytest.raises(ModelError, match=words):
        Preprocessing.read(tmp_path)


def test_what_is_no_image_is_named(tmp_path: Path):
    prepare = Preprocessing()
    for wrong, words in (
        ("a cat", "'a cat' is no image"),
        (np.zeros((3, 4, 3)), r"a ndarray \[.*\] of \w+ is no image"),
        (np.zeros((0, 4, 3), np.uint8), "no image"),
        (np.zeros((4, 4, 4), np.uint8), "4 channels, and the model reads 3"),
        (np.zeros((1, 60_000, 3), np.uint8), "being a strip"),
    ):
        with pytest.raises(DataError, match=words):
            prepare(wrong)
    with pytest.raises(ModelError, match=r"no preprocessor_config\.json"):
        Preprocessing.read(tmp_path)


def test_what_is_transparent_is_white():
    from PIL import Image

    prepared = Preprocessing(size=None, mean=None, deviation=None)
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    assert prepared(clear).min() == 1
