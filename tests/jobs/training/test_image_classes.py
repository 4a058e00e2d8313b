"""A classifier of images from nothing: what is written, what resumes, what is told, and what goes wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lmworks as lm
from lmworks.basics.errors import ConfigError, DataError, LmworksError
from lmworks.cli import main
from tests.jobs.training.stopping import stopped_before

Image = pytest.importorskip("PIL.Image", reason="the extra vision is not installed")

from lmworks.jobs.image_classes import train_classes  # noqa: E402
from lmworks.jobs.image_classes_recipe import ImageClassesRecipe  # noqa: E402
from lmworks.jobs.image_recipes import image_recipe  # noqa: E402
from lmworks.vision_model import VisionModel  # noqa: E402

SMALL: dict[str, Any] = {
    "data": {"images": "pictures", "test": None, "held_out": 0.25, "moved": 1},
    "model": {"image_size": 16, "widths": [16, 16]},
    "training": {
        "rows": 12,
        "steps": 12,
        "optimiser": "muon",
        "learning_rate": 0.1,
        "checkpoint_every": 3,
        "warmup": 0.0,
    },
}


def draw(folder: Path, count: int, seed: int = 0) -> None:
    """Dots that are dark in their upper or in their lower half, in a folder of their class."""
    generator = np.random.default_rng(seed)
    for name, half in (("above", slice(0, 9)), ("below", slice(9, 18))):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = generator.integers(150, 256, (18, 20, 3), dtype=np.uint8)
            pixels[half] //= 4
            Image.fromarray(pixels).save(folder / name / f"{number:02}.png")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    here = tmp_path_factory.mktemp("classes")
    draw(here / "pictures", 24)
    draw(here / "others", 10, seed=1)
    return here


@pytest.fixture
def here(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(pictures)
    return pictures


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """What a command leaves as its exit code."""
    monkeypatch.setattr("sys.argv", ["lmworks", *words])
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def recipe(**changes: Any) -> ImageClassesRecipe:
    tables = {name: {**values, **changes.get(name, {})} for name, values in SMALL.items()}
    return ImageClassesRecipe(**tables)


@pytest.fixture(scope="module")
def made(pictures: Path) -> tuple[Any, str]:
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(pictures)
        result = train_classes(recipe(data={"test": "others"}), "made", say=said.append)
    return result, "\n".join(said)


def test_it_learns_and_says_how_well(made: tuple[Any, str]):
    result, said = made
    plain, views = result.measurements
    assert plain.name == "accuracy, others" and plain.n == 20 and plain.chance == 0.5
    assert plain.value > 0.9 and plain.interval[0] > 0.6 and views.name == "accuracy by six views, others"
    assert "split          held_out 12, train 36, test 20; 2 classes" in said
    assert result.training.steps == 12 and result.training.tokens == 144


def test_the_folder_says_what_it_was_made_of(made: tuple[Any, str], here: Path):
    facts = json.loads((here / "made" / "lmworks.json").read_text())
    assert facts["data"]["train"]["images"] == 36 and facts["data"]["test"]["from"] == "others"
    assert facts["measurements"][0]["value"] == made[0].measurements[0].value
    assert facts["recipe"]["learns"] == "classes" and facts["seconds"] > 0
    assert not (here / "made.run").exists() and (here / "made" / "log.jsonl").exists()


def test_what_was_made_is_loaded_and_tells_classes(
    made: tuple[Any, str], here: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
):
    model = lm.load("made")
    assert isinstance(model, VisionModel) and model.network.config.labels == ("above", "below")
    files = [f"others/{name}/0{number}.png" for name in ("above", "below") for number in range(5)]
    told = [one.label for one in model.classify(files)]
    assert sum(label in file for label, file in zip(told, files, strict=True)) >= 8
    assert model.embed(images=files).shape == (10, 16)
    capsys.readouterr()
    assert run(monkeypatch, "classify", "made", *files[:2], "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["label"] for one in found] == told[:2] and found[0]["of"] == files[0]
    assert run(monkeypatch, "classify", "made", files[0]) == 0
    assert f"{told[0]} " in capsys.readouterr().out
    assert run(monkeypatch, "classify", "made", files[0], "--label", "x") == 1
    assert "its own 2 classes" in capsys.readouterr().err


def test_a_run_that_is_stopped_goes_on_to_the_same_network(here: Path):
    whole = train_classes(recipe(), "whole")
    with stopped_before(8):
        train_classes(recipe(), "parts")
    with pytest.raises(ConfigError, match="--resume"):
        train_classes(recipe(), "parts")
    with pytest.raises(ConfigError, match=r"moved is 2 and was 1"):
        train_classes(recipe(data={"moved": 2}), "parts", resume=True)
    again = train_classes(recipe(), "parts", resume=True)
    for name, one in whole.model.network.state_dict().items():  # what norms have seen is among them
        torch.testing.assert_close(again.model.network.state_dict()[name], one, rtol=0, atol=0, msg=name)
    assert again.measurements == whole.measurements


def test_images_are_mirrored_in_every_other_epoch():
    from lmworks.tokens.labelled import LabelledImages

    images = np.arange(4 * 16 * 16 * 3).reshape(4, 16, 16, 3).astype(np.uint8)
    rows = LabelledImages(images, np.array([0, 1, 0, 1]), lambda pixels: pixels, mirrored=True)
    first, second, third = (rows.at_epoch(epoch, 3).batch(range(4)).pixels for epoch in range(3))
    assert first is not None and second is not None and third is not None
    assert torch.equal(first, third) and torch.equal(first.flip(3), second)
    plain = rows.batch(range(4)).pixels
    assert plain is not None and not torch.equal(plain, first)


def test_an_image_is_moved_by_whole_pixels_and_filled_by_its_mirror():
    from lmworks.tokens.labelled import shifted

    pixels = torch.arange(25.0).view(1, 1, 5, 5).expand(2, 3, 5, 5)
    moved = shifted(pixels, torch.tensor([[1, 0], [-2, 2]]))
    assert torch.equal(moved[0, :, 1:], pixels[0, :, :4]) and torch.equal(moved[0, :, 0], pixels[0, :, 1])
    assert torch.equal(moved[1, :, :3, 2:], pixels[1, :, 2:, :3])


def test_a_square_of_an_image_is_covered_elsewhere_in_each_epoch():
    from lmworks.tokens.labelled import LabelledImages, covered

    images = np.full((64, 16, 16, 3), 255, np.uint8)
    rows = LabelledImages(images, np.zeros(64, np.int64), lambda pixels: pixels, covered=5)
    first, second, again = (rows.at_epoch(epoch, 3).batch(range(64)).pixels for epoch in (0, 1, 0))
    assert first is not None and second is not None and again is not None
    assert (first == 0).sum(dim=(1, 2, 3)).tolist() == [3 * 25] * 64
    assert torch.equal(first, again) and not torch.equal(first, second)
    assert all((first == 0).any(dim=1).any(dim=0).any(dim=way).all() for way in (0, 1))  # to the edges
    assert torch.equal(rows.batch(range(64)).pixels, torch.ones(64, 3, 16, 16))  # what is measured is whole
    hidden = covered(torch.ones(1, 1, 4, 4), torch.tensor([[2, 1]]), 2)[0, 0] == 0
    assert hidden.nonzero().tolist() == [[2, 1], [2, 2], [3, 1], [3, 2]]


def test_the_first_convolution_whitens():
    from lmworks.models.vision.convolutional import ConvolutionalNetwork
    from lmworks.models.vision.convolutional_config import ConvolutionalConfig

    network = ConvolutionalNetwork(ConvolutionalConfig(image_size=16, widths=(8,), labels=("a", "b"))).initialise(0)
    base = torch.randn(50, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    images = base + 2 * base.mean(dim=1, keepdim=True)  # channels that go together
    network.whiten(images)
    found = network.patches(images).detach().permute(1, 0, 2, 3).flatten(1)
    torch.testing.assert_close((found @ found.T / found.shape[1])[:12, :12], torch.eye(12), rtol=0, atol=0.02)
    torch.testing.assert_close(found[12:], -found[:12])


@pytest.mark.parametrize(
    "changes, kind, words",
    [
        ({"data": {"images": "nothing"}}, DataError, "nothing does not exist"),
        ({"data": {"images": "pictures/above"}}, DataError, "of one class"),
        ({"data": {"test": "odd"}}, DataError, "1 images of the class 'odd', and none is in training"),
        ({"training": {"rows": 100}}, DataError, "less than one batch of 100"),
        ({"training": {"rows": 1}}, ConfigError, "norms by the batch"),
        ({"model": {"labels": ["a"]}}, ConfigError, "labels come from the images"),
        ({"model": {"widths": [8] * 5}}, ConfigError, "image_size is 16"),
        ({"model": {"channels": 1}}, ConfigError, "channels is 3"),
        ({"data": {"covered": 16}}, ConfigError, "data.covered is 16, and images are 16 pixels a side"),
        ({"training": {"compile": True}}, ConfigError, "leave it out"),
    ],
)
def test_what_goes_wrong_is_said(changes: dict[str, Any], kind: type[LmworksError], words: str, here: Path):
    if not (here / "odd").exists():
        (here / "odd").mkdir()
        Image.new("RGB", (18, 18)).save(here / "odd" / "a.png")
    with pytest.raises(kind, match=words):
        train_classes(recipe(**changes), "wrong")


def test_the_recipe_is_known(here: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch):
    assert image_recipe("cifar-resnet") is ImageClassesRecipe and image_recipe("emoji-clip") is not None
    assert run(monkeypatch, "train", "cifar-resnet", "--set", "data.flipped=true") == 1
    assert "data.flipped" in capsys.readouterr().err
    assert run(monkeypatch, "train", "cifar-resnet", "--processes", "2") == 1
    assert "leave it out" in capsys.readouterr().err
