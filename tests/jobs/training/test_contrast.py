"""Two towers from nothing: what is written, what resumes, what is found, and what goes wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch

import lmworks as lm
from lmworks.basics.errors import ConfigError, DataError, LmworksError, Stopped
from lmworks.cli import main
from lmworks.training import loop

Image = pytest.importorskip("PIL.Image", reason="the extra vision is not installed")

from lmworks.jobs import embedding  # noqa: E402
from lmworks.jobs.contrast import contrast  # noqa: E402
from lmworks.jobs.contrast_recipe import ContrastRecipe  # noqa: E402
from lmworks.jobs.image_recipes import image_recipe  # noqa: E402
from lmworks.jobs.pictures import HALF, read_fitted  # noqa: E402
from lmworks.models.vision.preprocessing import Preprocessing  # noqa: E402

COLOURS = {"red": (255, 0, 0), "green": (0, 200, 0), "blue": (0, 0, 255), "yellow": (250, 250, 0), "black": (0, 0, 0)}
SHAPES = ("top", "bottom", "left", "right", "middle")
SMALL = {
    "data": {"images": "pictures", "held_out": 0.3},
    "tokenizer": {"kind": "byte"},
    "model": {"image_size": 8, "patch_size": 4, "dim": 16, "layers": 1, "heads": 2, "context": 16, "width": 16},
    "training": {"rows": 8, "steps": 6, "learning_rate": 1e-2, "checkpoint_every": 2},
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """25 pictures with their captions, one that is damaged and one without a caption."""
    here = tmp_path_factory.mktemp("contrast")
    folder = here / "pictures"
    folder.mkdir()
    lines = []
    for name, colour in COLOURS.items():
        for shape in SHAPES:
            pixels = np.full((12, 12, 3), 255, np.uint8)
            rows, columns = {
                "top": (slice(0, 6), slice(None)), "bottom": (slice(6, 12), slice(None)),
                "left": (slice(None), slice(0, 6)), "right": (slice(None), slice(6, 12)),
                "middle": (slice(3, 9), slice(3, 9)),
            }[shape]  # fmt: skip
            pixels[rows, columns] = colour
            Image.fromarray(pixels).save(folder / f"{name}-{shape}.png")
            lines.append({"file_name": f"{name}-{shape}.png", "text": f"{name} {shape}"})
    (folder / "captions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (folder / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    Image.new("RGB", (8, 8)).save(folder / "alone.png")
    return here


@pytest.fixture
def here(pictures, monkeypatch):
    monkeypatch.chdir(pictures)
    return pictures


def recipe(**changes):
    tables = {**SMALL}
    for section, values in changes.items():
        tables[section] = {**tables.get(section, {}), **values} if isinstance(values, dict) else values
    return ContrastRecipe(**tables)


@pytest.fixture(scope="module")
def made(pictures):
    """a run of sixty steps, and what it said."""
    said = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(pictures)
        longer = {"steps": 60, "optimiser": "muon", "learning_rate": 0.02, "embedding_learning_rate": 3e-3}
        result = contrast(recipe(data={"change": 0.0}, training=longer), "made", say=said.append)
    return result, "\n".join(said)


def test_what_cannot_be_learnt_from_is_named(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    Image.new("RGB", (1, 60_000)).save(tmp_path / "roll.png")
    for number in range(6):
        (tmp_path / f"broken{number}.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    table = "file_name,text\na.png,a rose\nroll.png,a roll\nroll.png,a list\n"
    (tmp_path / "captions.csv").write_text(table)
    said = []
    [one] = read_fitted(str(tmp_path), Preprocessing.plain(16, HALF, HALF), "caption", said.append)
    assert one.text == "a rose" and said[0].startswith("images         1 image; 7 skipped (broken0.png: ")
    named = ["broken1.png", "broken2.png", "broken3.png", "broken4.png"]
    assert [line.split()[1].rstrip(":") for line in said[1:-1]] == named and said[-1] == "skipped        2 more"
    for number in range(6):
        (tmp_path / f"broken{number}.png").unlink()
    said.clear()
    read_fitted(str(tmp_path), Preprocessing.plain(16, HALF, HALF), "caption", said.append)
    [line] = said
    assert line.startswith("images         1 image; 1 skipped (roll.png: 1 x 60,000 pixels cannot be resized")


def test_a_run_says_what_it_read_held_out_and_made(made):
    result, said = made
    assert "26 images, 1 without a caption; 1 skipped (damaged.png: of none of the kinds that are read" in said
    held = result.facts["data"]["held_out"]["images"]
    assert 0 < held < 25 and result.facts["data"]["train"]["images"] == 25 - held
    assert f"split          train {25 - held} images; unseen concepts {held}" in said
    assert "network        two towers: " in said
    names = [one.name for one in result.measurements]
    assert names[0] == "unseen concepts: words find the image, R@1" and len(names) == 4
    assert all(one.n == held and one.interval and one.chance for one in result.measurements)
    assert (result.training.steps, result.training.tokens) == (60, 480)


def test_what_is_saved_loads_and_embeds_as_it_did(made, here):
    result, _ = made
    model = lm.load("made")
    for given in ({"images": ["pictures/red-top.png"]}, {"texts": ["red top"]}):
        torch.testing.assert_close(model.embed(**given), result.model.embed(**given))
    facts = json.loads(Path("made/lmworks.json").read_text())
    assert facts["recipe"]["learns"] == "contrast" and len(facts["measurements"]) == 4
    assert not Path("made.run").exists() and Path("made/log.jsonl").is_file()


def test_transformers_gives_the_same_similarities(made, here):
    import transformers

    theirs = transformers.CLIPModel.from_pretrained("made").eval()
    ours = made[0].model
    tokens = torch.tensor([[*ours.tokenizer.encode("red top", special=False), ours.tokenizer.document_end]])
    pixels = ours.preprocessing(np.asarray(Image.open("pictures/red-top.png")))[None]
    with torch.no_grad():
        expected = theirs(input_ids=tokens, pixel_values=pixels).logits_per_image
        torch.testing.assert_close(ours.seeing(pixels, tokens), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["info_nce", "sigmoid"])
def test_stopped_and_resumed_is_straight(kind, here, monkeypatch, tmp_path):
    chosen = recipe(objective={"kind": kind}, model={"sigmoid": kind == "sigmoid", "dropout": 0.1})
    straight = contrast(chosen, tmp_path / "straight")
    save = loop._Run.save

    def stop(self, name):
        save(self, name)
        raise Stopped("after two steps")

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(loop._Run, "save", stop)
        contrast(chosen, tmp_path / "resumed")
    resumed = contrast(chosen, tmp_path / "resumed", resume=True)
    assert resumed.training.losses == straight.training.losses[2:]
    assert resumed.measurements == straight.measurements
    with pytest.raises(ConfigError, match="does not hold a run to resume"):
        contrast(chosen, tmp_path / "resumed", resume=True)


def test_it_learns_what_it_sees(made, here):
    """Pictures that it was trained on are found by their words."""
    result, _ = made
    names = [f"{name} {shape}" for name in COLOURS for shape in SHAPES]
    images = result.model.embed(images=[f"pictures/{one.replace(' ', '-')}.png" for one in names])
    nearest = (result.model.embed(names) @ images.T).argmax(dim=1)
    assert (nearest == torch.arange(25)).float().mean() > 0.3
    assert result.training.losses[-1] < result.training.losses[0] / 2


def test_muon_steps_the_matrices_of_both_towers(made, monkeypatch):
    from lmworks.training.optimiser import make_optimiser

    towers = made[0].model.seeing
    settings = recipe(training={"optimiser": "muon"}).training
    towers.requires_grad_(True)
    groups = make_optimiser(towers, settings).param_groups
    (names,) = [group["names"] for group in groups if group["rule"].name == "muon"]
    assert {name.split(".")[0] for name in names} == {"image", "text"}
    assert {name.rpartition(".blocks.0.")[2] for name in names} >= {"attention.qkv.weight", "feed_forward.up.weight"}


def test_a_folder_is_searched_by_words_and_by_an_image(made, here, tmp_path):
    result = embedding.embed("made", "pictures", tmp_path / "vectors")
    assert (result.count, result.dim) == (26, 16) and "1 skipped" in result.summary
    found = embedding.search(tmp_path / "vectors", "pictures/blue-left.png", k=2)
    assert found[0].source == "pictures/blue-left.png" and found[0].score == pytest.approx(1, abs=1e-5)
    assert found[0].text == "blue left"
    model = lm.load("made")
    (asked,) = model.embed(["green middle"])
    best = max(embedding.search(tmp_path / "vectors", "green middle", k=99), key=lambda one: one.score)
    (image,) = model.embed(images=[best.source])
    assert best.score == pytest.approx(float(asked @ image), abs=1e-5)
    assert embedding.search(tmp_path / "vectors", "green middle", k=1) == [best]


def test_captions_that_are_longer_than_the_tower_reads_are_counted(made, here):
    """Byte by byte, "yellow middle" has 13 tokens; beside the two ends of a text 12 leave room for 10."""
    assert made[0].facts["data"]["cut"] == {"train": 0, "unseen concepts": 0} and "cut   " not in made[1]
    said = []
    short = recipe(model={"context": 12}, training={"steps": 2})
    data = contrast(short, "short", say=said.append).facts["data"]
    train, unseen = data["train"]["images"], data["held_out"]["images"]
    longer = sum(len(f"{colour} {shape}") > 10 for colour in COLOURS for shape in SHAPES)
    assert sum(data["cut"].values()) == longer and min(data["cut"].values()) > 0
    one = f"train {data['cut']['train']} of {train}, unseen concepts {data['cut']['unseen concepts']} of {unseen}"
    assert f"cut            captions longer than the tower reads (12 tokens): {one}" in said
    told = []
    embedding.embed("short", "pictures", "short-vectors")
    embedding.search("short-vectors", "yellow middle", say=told.append)
    assert told == ["cut            the query is longer than short reads; its beginning is searched for"]


def test_texts_that_are_longer_than_the_embedder_reads_are_counted(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny.embedder(Path("embeds"))
    Path("notes").mkdir()
    for number, words in enumerate(("short", "long " * 100, "long " * 90, "")):
        Path(f"notes/{number}.txt").write_text(f"{words} note")
    Path("notes/picture.txt").write_bytes(b"\x89PNG\x00\x01\x02")
    for more in ((), ("--json",)):
        monkeypatch.setattr("sys.argv", ["lmworks", "embed", "embeds", "notes", "--out", "vectors", *more])
        with pytest.raises(SystemExit):
            main()
        shown = capsys.readouterr()
        said = shown.out
        assert "4 texts, 2 of them longer than embeds reads, and cut there; 1 skipped" in said
        assert "picture.txt: binary" in (said if more else shown.err)
    assert json.loads(said)["cut"] == 2
    facts = json.loads(Path("vectors/vectors.json").read_text())
    for wrong in ({"items": [1, 2, 3, 4]}, {"items": None}, {"items": facts["items"][1:]}):
        Path("vectors/vectors.json").write_text(json.dumps(facts | wrong))
        with pytest.raises(DataError, match="vectors is damaged"):
            embedding.search("vectors", "short")
    Path("vectors/vectors.json").write_text(json.dumps({"items": facts["items"]}))
    with pytest.raises(DataError, match="vectors is damaged"):
        embedding.search("vectors", "short")
    for k in (0, -3):
        with pytest.raises(ConfigError, match=f"k is {k}; ask for at least 1"):
            embedding.search("vectors", "short", k)


def test_embed_refuses_what_it_would_spoil(made, here, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "empty").mkdir()
    for source, out, why in (
        ("pictures", tmp_path / "mine", "is no folder of vectors, and would be replaced"),
        (
            str(tmp_path / "empty"),
            tmp_path / "new",
            r"holds none that can be read \(0 images\); for texts give what reads them",
        ),
        ("nowhere", tmp_path / "new", "nowhere does not exist"),
    ):
        with pytest.raises(LmworksError, match=why):
            embedding.embed("made", source, out)
    assert not (tmp_path / "new").exists()


def test_vectors_of_another_model_are_not_searched(made, here, tmp_path):
    made[0].model.save(tmp_path / "model")
    embedding.embed(str(tmp_path / "model"), "pictures/red-top.png", tmp_path / "vectors")
    other = made[0].model
    with torch.no_grad():
        other.seeing.scale.add_(1)
        other.save(tmp_path / "model")
        other.seeing.scale.sub_(1)
    with pytest.raises(LmworksError, match="has changed since"):
        embedding.search(tmp_path / "vectors", "red")
    facts = json.loads((tmp_path / "vectors" / "vectors.json").read_text())
    (tmp_path / "vectors" / "vectors.json").write_text(json.dumps(facts | {"items": []}))
    with pytest.raises(DataError, match="is damaged"):
        embedding.search(tmp_path / "vectors", "red")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"objective": {"kind": "sigmoid"}}, "objective.kind is 'sigmoid' and model.sigmoid is False"),
        ({"training": {"rows": 1}}, "training.rows is 1, and a caption needs others in its batch"),
        ({"training": {"compile": True}}, "training.compile is for the blocks of a model of text"),
        ({"data": {"held_out": 2}}, "data.held_out"),
        ({"data": {"image": "x"}}, "data.image is not a setting; did you mean data.images"),
        ({"learns": "text"}, "learns"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_one_sentence(changes, why):
    with pytest.raises(ConfigError, match=why):
        recipe(**changes)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"data": {"images": "nowhere"}}, "nowhere does not exist; give a folder of images"),
        ({"data": {"images": "pictures/alone.png"}}, "holds no image with a caption .*captions.jsonl"),
        ({"data": {"unseen_style": "noto"}}, "these images have no styles: set it to none"),
        ({"training": {"rows": 64}}, "images to train on, less than one batch of 64"),
        ({"model": {"patch_size": 3}}, "patch_size"),
    ],
)
def test_a_run_that_cannot_be_is_one_sentence_and_leaves_nothing(changes, why, here, tmp_path):
    with pytest.raises(LmworksError, match=why):
        contrast(recipe(**changes), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_shipped_recipe_is_read_and_known():
    assert image_recipe("emoji-clip") is ContrastRecipe and image_recipe("shakespeare-char") is None
    shipped = ContrastRecipe.read("emoji-clip")
    assert shipped.data.images == "emoji" and shipped.data.unseen_style == "twemoji"
    pretrained = ContrastRecipe.read("emoji-clip-pretrained").model
    assert pretrained.image_model == "efficientnet" and pretrained.widths == (32, 64, 128)


def test_the_verbs_train_embed_and_search(here, tmp_path, capsys, monkeypatch):
    (tmp_path / "mine.toml").write_text(
        'learns = "contrast"\n[data]\nimages = "pictures"\nheld_out = 0.3\n[tokenizer]\nkind = "byte"\n[model]\n'
        "image_size = 8\ndim = 16\nlayers = 1\nheads = 2\nwidth = 16\n[training]\nrows = 8\nsteps = 2\n"
    )

    def lmworks(*words):
        monkeypatch.setattr("sys.argv", ["lmworks", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, capsys.readouterr()

    code, shown = lmworks("train", tmp_path / "mine.toml", "--out", tmp_path / "out")
    assert not code, shown.err
    assert "unseen concepts: words find the image, R@5" in shown.out and "chance" in shown.out
    assert f"next    lmworks embed {tmp_path / 'out'}" in shown.out
    code, shown = lmworks("embed", tmp_path / "out", "pictures", "--out", tmp_path / "vectors")
    assert not code and "26 vectors of 16 numbers" in shown.out and "skipped damaged.png: " in shown.err
    code, shown = lmworks("search", tmp_path / "vectors", "red top", "-k", "2")
    assert not code and shown.out.startswith("[1] ") and len(shown.out.splitlines()) == 2
    code, shown = lmworks("search", tmp_path / "vectors", "red top", "--json")
    assert not code and {*json.loads(shown.out)[0]} == {"score", "source", "text"}
    code, shown = lmworks("search", tmp_path / "vectors", "red top", "--keywords")
    assert code == 1 and "holds vectors alone" in shown.err
    code, shown = lmworks("train", tmp_path / "mine.toml", "--processes", "2")
    assert code == 1 and "--processes is for models of text" in shown.err
    code, shown = lmworks("train", "emoji-klip")
    assert code == 1 and "emoji-clip, cifar-resnet, " in shown.err
    code, shown = lmworks("train", tmp_path / "mine.toml", "--set", "data.imges=x")
    assert code == 1 and "did you mean data.images" in shown.err
