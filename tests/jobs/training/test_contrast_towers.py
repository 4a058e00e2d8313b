"""A CLIP whose images are read by convolutions and whose texts by a model of sentences that stays as it is."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lmworks as lm
from lmworks.basics.errors import ConfigError
from lmworks.cli import main
from lmworks.jobs import embedding
from lmworks.jobs.contrast_recipe import ContrastRecipe
from lmworks.models.network import Network
from lmworks.models.vision.efficientnet import EfficientNet
from lmworks.models.vision.efficientnet_config import EfficientNetConfig
from lmworks.models.vision.preprocessing import Preprocessing
from lmworks.models.vision.towers import Towers
from lmworks.objectives import InfoNCE
from lmworks.objectives.contrast import info_nce
from lmworks.tokens.batch import Batch
from lmworks.training.optimiser import make_optimiser
from tests import tiny
from tests.jobs.training.stopping import stopped_before

Image = pytest.importorskip("PIL.Image", reason="the extra vision is not installed")

from lmworks.jobs.contrast import contrast  # noqa: E402
from lmworks.vision_model import VisionModel  # noqa: E402

COLOURS = {"red": (255, 0, 0), "green": (0, 200, 0), "blue": (0, 0, 255), "black": (0, 0, 0)}
SIZES = ("small", "large", "wide")


def recipe(**changes: Any) -> ContrastRecipe:
    tables: dict[str, Any] = {
        "data": {"images": "pictures", "held_out": 0.3, "change": 0.05},
        "model": {"image_size": 16, "widths": [8, 8], "width": 16, "text_model": "texts"},
        "training": {"rows": 4, "steps": 12, "optimiser": "muon", "learning_rate": 0.02, "checkpoint_every": 3},
    }
    return ContrastRecipe(**{name: {**tables.get(name, {}), **changes.get(name, {})} for name in {**tables, **changes}})


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Twelve pictures with captions and an encoder of texts that reads bytes."""
    folder = tmp_path_factory.mktemp("towers")
    (folder / "pictures").mkdir()
    for name, colour in COLOURS.items():
        for number, size in enumerate(SIZES):
            pixels = np.full((16, 16, 3), 255, np.uint8)
            pixels[4 : 8 + 3 * number, 2 : 8 + 4 * number] = colour
            Image.fromarray(pixels).save(folder / "pictures" / f"{name}-{size}.png")
            (folder / "pictures" / f"{name}-{size}.txt").write_text(f"{name} {size}")
    tiny.embedder(folder / "texts")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


@pytest.fixture(scope="module")
def made(here: Path) -> tuple[Any, list[int], str]:
    """A run, the texts that each call of the tower for texts was given, and what was said."""
    read: list[int] = []
    said: list[str] = []
    hidden = Network.hidden

    def counted(self: Network, tokens: torch.Tensor, *rest: Any, **more: Any) -> torch.Tensor:
        read.append(len(tokens))
        return hidden(self, tokens, *rest, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Network, "hidden", counted)
        result = contrast(recipe(), "made", say=said.append)
    return result, read, "\n".join(said)


def test_the_tower_for_texts_stays_and_reads_each_text_once(made: tuple[Any, list[int], str]):
    result, read, said = made
    assert sum(read) == 12  # twelve captions, in twelve steps, the validation and the figures
    assert "M for texts (which stay as they are)" in said
    theirs = lm.load("texts").network.state_dict()
    for name, weight in result.model.seeing.text.state_dict().items():
        torch.testing.assert_close(weight, theirs[name], rtol=0, atol=0)


def test_its_texts_are_those_of_the_model_through_a_matrix(made: tuple[Any, list[int], str]):
    towers = made[0].model.seeing
    texts = ["red small", "a longer text, beside which the others are padded"]
    expected = lm.load("texts", dtype="float32", compress="none").embed(texts).clone() @ towers.text_projection.weight.T
    found = made[0].model.embed(texts)
    torch.testing.assert_close(found, torch.nn.functional.normalize(expected, dim=-1).detach(), rtol=1e-4, atol=1e-5)


def test_what_is_saved_is_our_own_family_and_loads(made: tuple[Any, list[int], str]):
    assert lm.load("made").network.config.family == "lmworks-towers"
    for given in ({"images": ["pictures/red-wide.png"]}, {"texts": ["red wide"]}):
        torch.testing.assert_close(lm.load("made").embed(**given), made[0].model.embed(**given))


def test_it_learns_and_is_resumed_as_if_it_had_not_stopped(here: Path, made: Any):
    with stopped_before(8):
        contrast(recipe(), "parts")
    again = contrast(recipe(), "parts", resume=True)
    assert again.training.losses == made[0].training.losses[6:]
    assert made[0].training.losses[-1] < made[0].training.losses[0]


def test_a_model_of_texts_can_be_trained_too(here: Path):
    result = contrast(recipe(model={"text_trained": True, "widths": None, "patch_size": 4}), "trained")
    theirs = lm.load("texts").network.state_dict()
    assert any(not torch.equal(one, theirs[name]) for name, one in result.model.seeing.text.state_dict().items())


def test_convolutions_may_stand_beside_a_tower_for_texts_from_nothing(here: Path):
    sizes = {"text_model": None, "dim": 16, "layers": 1, "heads": 2, "context": 24}
    result = contrast(recipe(model=sizes, tokenizer={"kind": "byte"}), "own")
    assert result.model.embed(["red small"]).shape == (1, 16)
    assert lm.load("own").network.config.text_end == "token"


@pytest.fixture(scope="module")
def seen(here: Path) -> Path:
    """A small EfficientNet with weights drawn at random, as a model directory."""
    config = EfficientNetConfig(
        stem=8, widths=(8, 16), depths=(1, 2), sides=(3, 5), halves=(False, True), expands=(1, 2), head=24
    )
    network = EfficientNet(config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, one in network.state_dict().items():
            one.copy_(torch.randn(one.shape, generator=generator) * 0.3 + name.endswith(("norm.weight", "_var")))
            if name.endswith("_var"):
                one.abs_().add_(0.5)
    VisionModel(network.eval(), Preprocessing.plain(16, (0.4,) * 3, (0.6,) * 3)).save("seen")
    return here / "seen"


SEEN = {"widths": None, "image_model": "seen", "image_stages": [1], "image_hidden": 12, "dropout": 0.2}


def test_the_tower_for_images_stays_and_reads_each_image_in_two_versions(seen: Path):
    read: list[int] = []
    hidden = EfficientNet.hidden

    def counted(self: EfficientNet, images: torch.Tensor) -> Any:
        read.append(len(images))
        assert not self.training
        return hidden(self, images)

    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EfficientNet, "hidden", counted)
        result = contrast(recipe(model=SEEN), "sees", say=said.append)
    held_out = 12 - int(re.search(r"(\d+) pairs to train on", "\n".join(said))[1])
    assert sum(read) == 2 * (12 - held_out) + held_out + held_out  # both versions; the validation; the figures
    theirs = lm.load("seen").seeing.state_dict()
    for name, weight in result.model.seeing.image.state_dict().items():
        torch.testing.assert_close(weight, theirs[name], rtol=0, atol=0)
    assert result.training.losses[-1] < result.training.losses[0]
    loaded = lm.load("sees")
    torch.testing.assert_close(
        loaded.embed(images=["pictures/red-wide.png"]), result.model.embed(images=["pictures/red-wide.png"])
    )
    pixels = torch.stack([loaded.preprocessing(np.asarray(Image.open("pictures/red-wide.png")))])
    *stages, last = loaded.seeing.image.hidden(pixels)
    grid = torch.nn.functional.adaptive_avg_pool2d(stages[0], 4).flatten(1)
    torch.testing.assert_close(loaded.seeing.image_states(pixels), torch.cat([last.mean(dim=(2, 3)), grid], dim=1))


def test_a_run_with_images_read_ahead_is_resumed_as_if_it_had_not_stopped(seen: Path):
    whole = contrast(recipe(model=SEEN), "sees-whole")
    with stopped_before(8):
        contrast(recipe(model=SEEN), "sees-parts")
    shutil.copytree("seen", "kept")
    other = lm.load("seen")
    other.seeing.stem.convolution.weight.data.mul_(1.1)
    other.save("seen")
    with pytest.raises(ConfigError, match="seen does not hold what the run was started with"):
        contrast(recipe(model=SEEN), "sees-parts", resume=True)
    shutil.rmtree("seen")
    shutil.move("kept", "seen")
    again = contrast(recipe(model=SEEN), "sees-parts", resume=True)
    assert again.training.losses == whole.training.losses[6:]


BESIDE = SEEN | {"image_size": 32, "widths": [8, 12], "small_size": 16}


@pytest.fixture(scope="module")
def both(seen: Path) -> Any:
    """A run with convolutions beside the tower that stays."""
    said: list[str] = []
    result = contrast(recipe(model=BESIDE), "both", say=said.append)
    assert "M of convolutions beside" in "\n".join(said)
    return result


def test_convolutions_beside_a_tower_that_stays_are_trained(both: Any):
    towers = both.model.seeing
    theirs = lm.load("seen").seeing.state_dict()
    for name, weight in towers.image.state_dict().items():
        torch.testing.assert_close(weight, theirs[name], rtol=0, atol=0)
    fresh = Towers(towers.config).initialise(0).beside.state_dict()
    changed = [name for name, one in towers.beside.state_dict().items() if not torch.equal(one, fresh[name])]
    assert {"patches.weight", "blocks.1.parts.1.convolution.weight", "blocks.0.parts.0.norm.running_mean"} <= {*changed}
    groups = make_optimiser(towers, recipe().training).param_groups
    (names,) = [group["names"] for group in groups if group["rule"].name == "muon"]
    assert {*names} == {f"beside.blocks.{at}.parts.{part}.convolution.weight" for at in (0, 1) for part in (0, 1)}
    assert both.training.losses[-1] < both.training.losses[0]


def test_the_vector_is_the_sum_of_both_networks_directions(both: Any):
    towers = both.model.seeing
    pixels = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    known, learnt = towers.image_parts(pixels)
    assert known.shape == learnt.shape == (3, 16)
    small = torch.nn.functional.avg_pool2d(pixels, 2)
    torch.testing.assert_close(known, towers.image_projection(towers.image_states(pixels)))
    torch.testing.assert_close(learnt, towers.beside_projection(towers.beside.pooled(towers.beside.hidden(small))))
    expected = known / known.norm(dim=1, keepdim=True) + learnt / learnt.norm(dim=1, keepdim=True)
    torch.testing.assert_close(towers.encode_images(pixels), expected)
    again = towers.image_parts(small, towers.image_states(pixels))  # as in training
    torch.testing.assert_close(torch.stack(again), torch.stack([known, learnt]))


def test_each_network_for_images_has_a_loss_of_its_own(both: Any):
    """A frozen one takes no part, and what its projection knows by heart leaves the other's gradient as it is."""
    towers = both.model.seeing
    draw = torch.Generator().manual_seed(1)
    tokens = torch.randint(5, 50, (4, 6), generator=draw)
    small, states = torch.rand(4, 3, 16, 16, generator=draw), torch.randn(4, towers.config.image.dim, generator=draw)
    batch = Batch(tokens, tokens, tokens, tokens, pixels=small, states=states)

    def gradients(loss: torch.Tensor) -> dict[str, torch.Tensor]:
        towers.zero_grad()
        loss.backward()
        return {name: one.grad.clone() for name, one in towers.named_parameters() if one.grad is not None}

    found = gradients(InfoNCE()(towers, batch).total)
    assert not [name for name in found if name.startswith(("image.", "text."))]
    assert found["beside.blocks.0.parts.0.convolution.weight"].abs().sum() > 0
    _, learnt = towers.image_parts(small, states)
    alone = gradients(info_nce(towers.similarities(learnt, towers.encode_texts(tokens))) / 2)
    for name in (one for one in alone if one.startswith("beside")):
        torch.testing.assert_close(found[name], alone[name])
    assert "image_projection.up.weight" in found and "image_projection.up.weight" not in alone


def test_what_is_saved_with_convolutions_beside_loads_embeds_and_is_searched(both: Any, here: Path, tmp_path: Path):
    loaded = lm.load("both")
    assert loaded.seeing.config == both.model.seeing.config
    for given in ({"images": ["pictures/red-wide.png"]}, {"texts": ["red wide"]}):
        # To the last bits: some processors' sums depend on where in memory numbers lie.
        torch.testing.assert_close(loaded.embed(**given), both.model.embed(**given), rtol=1e-5, atol=1e-6)
    embedding.embed("both", "pictures", tmp_path / "vectors")
    (found,) = embedding.search(tmp_path / "vectors", "pictures/red-wide.png", k=1)
    assert found.source == "pictures/red-wide.png" and found.score == pytest.approx(1, abs=1e-5)


def test_a_run_with_convolutions_beside_is_resumed_as_if_it_had_not_stopped(both: Any):
    with stopped_before(8):
        contrast(recipe(model=BESIDE), "both-parts")
    again = contrast(recipe(model=BESIDE), "both-parts", resume=True)
    assert again.training.losses == both.training.losses[6:]
    for name, one in again.model.seeing.state_dict().items():  # what norms have seen too
        torch.testing.assert_close(one, both.model.seeing.state_dict()[name], rtol=0, atol=0)


def test_what_does_not_fit_is_said(here: Path, seen: Path):
    tiny.language_model(family="lmworks", arrangement="decoder").save("writes")
    for changes, why in (
        ({"text_model": "writes"}, "writes does not make vectors of texts"),
        ({"text_model": None, "text_trained": True}, "text_trained is for .*text_model"),
        ({"sigmoid": True}, "leave model.widths, model.image_model and model.text_model out"),
        ({"small_size": 24}, "small_size is for model.widths beside model.image_model; leave it out, or give both"),
        (BESIDE | {"small_size": 64}, r"small_size \(64\) is more than model.image_size \(32\)"),
        (BESIDE | {"smal_size": 16}, "model.smal_size is not a setting; did you mean model.small_size"),
        ({"image_hidden": 8}, "image_hidden is for model.image_model, and there is none"),
        ({"image_model": "texts", "widths": None}, "texts is no EfficientNet"),
        (SEEN | {"image_stages": [2]}, "pooled_stages names stage 2, and there are 2"),
        ({"widths": [8] * 5}, "widths has 5 blocks"),
        ({"text_model": "nowhere"}, "nowhere"),
    ):
        with pytest.raises((ConfigError, lm.LmworksError), match=why):
            contrast(recipe(model=changes, **({"objective": {"kind": "sigmoid"}} if "sigmoid" in changes else {})), "x")
    assert not Path("x").exists()


@pytest.fixture
def lmworks(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[object, str]]:
    """What runs a verb: how it ended, and what it said."""

    def ran(*words: object) -> tuple[object, str]:
        monkeypatch.setattr("sys.argv", ["lmworks", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        shown = capsys.readouterr()
        return ended.value.code, shown.out + shown.err

    return ran


def test_a_folder_of_images_and_texts_is_indexed_searched_and_brought_up_to_date(
    made: Any, here: Path, tmp_path: Path, lmworks: Callable[..., tuple[object, str]], minilm: str
):
    index, folder = tmp_path / "index", tmp_path / "folder"
    shutil.copytree("pictures", folder)
    (folder / "rent.md").write_text("# The flat\n\nThe rent is due on the third day.\n")
    (folder / "black-wide.txt").unlink()
    code, shown = lmworks("index", folder, "--embedder", "made", "--out", index)
    assert not code and "files     24 added" in shown
    assert f"{index} (12 chunks: " in shown and "; 12 images)" in shown and f"lmworks search {index}" in shown
    code, shown = lmworks("search", index, "red wide", "-k", 2)
    passages, heading, images = shown.partition("images (their scores do not compare with those of passages)\n")
    assert not code and heading and "red-wide.txt, line 1" in passages and ".png" not in passages
    assert images.count("\n") == 2 and images.startswith("[1] ") and images.count(".png") == 2
    code, alone = lmworks("search", index, "red wide", "-k", 2, "--images")
    assert not code and alone == images
    assert lmworks("search", index, "red wide", "-k", 2, "--passages") == (code, passages.removesuffix(heading))
    code, shown = lmworks("search", index, folder / "red-wide.png", "-k", 1)
    assert re.fullmatch(r"\[1\] (?:1\.000|0\.99\d)  red-wide\.png  \(red wide\)\n", shown)  # kept in 8 bits
    told = json.loads(lmworks("search", index, "red wide", "-k", 1, "--json")[1])
    assert [one["kind"] for one in told] == ["passage", "image"] and told[1]["caption"] and told[1]["at"] is None
    code, shown = lmworks("search", index, folder / "red-wide.png", "--keywords")
    assert code == 1 and "is an image, and finds images; leave out --keywords" in shown
    code, shown = lmworks("search", index, "red wide", "--keywords", "--images")
    assert code == 1 and "images have no keywords" in shown
    code, shown = lmworks("ask", index, "When is the rent due?")
    assert not code and "rent.md, line 3" in shown
    (folder / "red-wide.png").unlink()
    code, shown = lmworks("index", folder, "--embedder", "made", "--out", index)
    assert not code and "files     1 deleted" in shown and "; 11 images)" in shown
    assert json.loads(lmworks("index", "--out", index, "--json")[1])["images"] == 11
    code, shown = lmworks("index", folder, "--embedder", "texts", "--out", index)
    assert code == 1 and "made with embedder minilm, and not texts" in shown
    code, shown = lmworks("index", "--embedder", "made", "--out", tmp_path / "new")
    assert code == 1 and "say what to index: lmworks index FOLDER --out" in shown


def test_a_folder_of_vectors_is_made_anew_and_no_index(
    made: Any, here: Path, tmp_path: Path, lmworks: Callable[..., tuple[object, str]]
):
    vectors = tmp_path / "vectors"
    assert not lmworks("embed", "made", "pictures", "--out", vectors)[0]
    code, shown = lmworks("index", "--out", vectors)
    assert not code and "12 vectors of 16 numbers" in shown
    code, shown = lmworks("search", vectors, "red wide", "-k", 1)
    assert not code and "pictures/" in shown
    code, shown = lmworks("search", vectors, "red wide", "--images")
    assert code == 1 and "holds vectors alone; leave out" in shown
    code, shown = lmworks("index", "--out", vectors, "--test")
    assert code == 1 and "--test: a folder of vectors by made has no chunks" in shown
    code, shown = lmworks("ask", vectors, "red?")
    assert code == 1 and "lmworks search" in shown
