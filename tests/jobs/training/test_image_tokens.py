"""A tokenizer of images from nothing: what is written, what resumes, what comes back, and what goes wrong."""

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

from lmworks.image_tokens import ImageTokens  # noqa: E402
from lmworks.jobs.image_recipes import image_recipe  # noqa: E402
from lmworks.jobs.image_tokens import train_image_tokens  # noqa: E402
from lmworks.jobs.image_tokens_recipe import ImageTokensRecipe  # noqa: E402

SMALL: dict[str, Any] = {
    "data": {"images": "pictures", "held_out": 0.25},
    "model": {"image_size": 16, "width": 16, "fine_width": 8, "encoder_blocks": 1, "decoder_blocks": 1},
    "training": {
        "rows": 8,
        "steps": 100,
        "optimiser": "muon",
        "learning_rate": 0.02,
        "embedding_learning_rate": 5e-3,
        "checkpoint_every": 3,
        "warmup": 0.0,
    },
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Flat squares on a flat ground, which a few tokens can say."""
    here = tmp_path_factory.mktemp("tokens")
    (here / "pictures").mkdir()
    generator = np.random.default_rng(0)
    for number in range(40):
        pixels = np.empty((16, 16, 3), np.uint8)
        pixels[:] = generator.integers(0, 256, 3)
        left, top = generator.integers(0, 9, 2)
        pixels[top : top + 8, left : left + 8] = generator.integers(0, 256, 3)
        Image.fromarray(pixels).save(here / "pictures" / f"{number:02}.png")
    return here


@pytest.fixture
def here(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(pictures)
    return pictures


def recipe(**changes: Any) -> ImageTokensRecipe:
    return ImageTokensRecipe(**{name: {**values, **changes.get(name, {})} for name, values in SMALL.items()})


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """What a command leaves as its exit code."""
    monkeypatch.setattr("sys.argv", ["lmworks", *words])
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.fixture(scope="module")
def made(pictures: Path) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(pictures)
        return train_image_tokens(recipe(), "made")


def test_images_come_back_nearer_than_the_mean_image(made: Any, here: Path):
    reached, blind, used = made.measurements
    assert reached.name == "PSNR, unseen concepts" and reached.chance == blind.value
    assert reached.value > blind.value + 2 and 0 < used.value <= 1 and used.n == 1000
    facts = json.loads((here / "made" / "lmworks.json").read_text())
    assert facts["recipe"]["learns"] == "image-tokens" and facts["data"]["train"]["images"] == 40 - reached.n
    assert facts["measurements"][0]["value"] == reached.value and not (here / "made.run").exists()


def test_the_decibels_are_those_of_the_formula(made: Any, here: Path):
    from lmworks.jobs.image_tokens import measure
    from lmworks.jobs.pictures import read_pictures

    parts = read_pictures(recipe().data, made.model.preprocessing, 8)
    there = [one.image for one in parts.held_out]
    back = made.model.pixels(made.model.encode(there))
    each = [10 * np.log10(255**2 / ((a.astype(float) - b) ** 2).mean()) for a, b in zip(there, back, strict=True)]
    assert measure(made.model, parts)[0].value == pytest.approx(np.mean(each), abs=1e-9)


def test_what_was_made_is_loaded_and_writes_and_reads_tokens(made: Any, here: Path):
    tokens = lm.load("made")
    assert isinstance(tokens, ImageTokens) and tokens.places == 16
    files = [f"pictures/{number:02}.png" for number in range(3)]
    codes = tokens.encode(files)
    assert codes.shape == (3, 16) and torch.equal(codes, made.model.encode(files))
    assert torch.equal(tokens.encode(Image.open(files[0])), codes[:1])
    drawn = tokens.decode(codes.tolist())
    assert [one.size for one in drawn] == [(16, 16)] * 3 and drawn[0].mode == "RGB"
    assert np.array_equal(np.asarray(drawn[1]), made.model.pixels(codes)[1])
    assert tokens.encode([]).shape == (0, 16) and tokens.decode(torch.zeros(0, 16).long()) == []


@pytest.mark.parametrize(
    "asked, kind, words",
    [
        (lambda model: model.decode([[0] * 9]), DataError, r"16 tokens here, and the shape \[1, 9\]"),
        (lambda model: model.decode([[1000] * 16]), DataError, "the numbers 0 to 999"),
        (lambda model: model.decode([[-1] * 16]), DataError, "between -1 and -1"),
        (lambda model: model.encode("none.png"), DataError, "none.png"),
        (lambda model: model.encode(["a word"]), DataError, "a word"),
        (lambda model: model.embed(["a text"]), ConfigError, "does not embed: it writes images as tokens"),
        (lambda model: model.classify("pictures/00.png", ["a"]), ConfigError, "does not classify"),
        (lambda model: model.generate("a text"), ConfigError, "does not write text"),
        (lambda model: model.seeing(torch.zeros(1, 3, 8, 8)), ConfigError, r"reads \[images, 3, 16, 16\]"),
    ],
)
def test_what_it_does_not_do_is_said(made: Any, here: Path, asked: Any, kind: type[LmworksError], words: str):
    with pytest.raises(kind, match=words):
        asked(made.model)


def test_a_run_that_is_stopped_goes_on_to_the_same_network(here: Path):
    short = {"steps": 9}
    whole = train_image_tokens(recipe(training=short), "whole")
    with stopped_before(6):
        train_image_tokens(recipe(training=short), "parts")
    again = train_image_tokens(recipe(training=short), "parts", resume=True)
    for name, one in whole.model.network.state_dict().items():
        torch.testing.assert_close(again.model.network.state_dict()[name], one, rtol=0, atol=0, msg=name)


@pytest.mark.parametrize(
    "changes, kind, words",
    [
        ({"data": {"images": "nothing"}}, DataError, "nothing does not exist"),
        ({"training": {"rows": 100}}, DataError, "less than one batch of 100"),
        ({"model": {"image_size": 18}}, ConfigError, "take a multiple of 4"),
        ({"model": {"levels": [1000, 1000]}}, ConfigError, "1,000,000 different tokens"),
        ({"training": {"recompute": True}}, ConfigError, "leave it out"),
    ],
)
def test_what_goes_wrong_is_said(changes: dict[str, Any], kind: type[LmworksError], words: str, here: Path):
    with pytest.raises(kind, match=words):
        train_image_tokens(recipe(**changes), "wrong")


def test_the_recipe_is_known_and_the_command_line_trains_it(here: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch):
    assert image_recipe("image-tokens") is ImageTokensRecipe
    (here / "mine.toml").write_text(
        'learns = "image-tokens"\n[data]\nimages = "pictures"\n[model]\nimage_size = 16\nwidth = 8\nfine_width = 4\n'
        "[training]\nrows = 8\nsteps = 2\n"
    )
    assert run(monkeypatch, "train", "mine.toml", "--out", "mine") == 0
    shown = capsys.readouterr()
    assert "4 x 4 of 1,000 tokens" in shown.err and "PSNR, unseen concepts" in shown.out and "next " in shown.out
    assert run(monkeypatch, "train", "image-tokens", "--set", "model.depth=3") == 1
    assert "model.depth" in capsys.readouterr().err
