"""VisionModel as its users meet it: classes, vectors, mistakes, and what transformers makes of the folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

import lmworks as lm
from lmworks.basics.errors import ConfigError, DataError, LmworksError, ModelError
from lmworks.checks.run import check_model
from lmworks.cli import main
from lmworks.jobs.embedding import embed
from lmworks.language_model import LanguageModel
from lmworks.models.vision.config import BLOCKS, ImageConfig
from lmworks.models.vision.image_network import ImageNetwork
from lmworks.models.vision.preprocessing import Preprocessing
from lmworks.models.vision.towers import Towers
from lmworks.models.vision.towers_config import clip_config
from lmworks.vision_model import VisionModel

Pillow = pytest.importorskip("PIL.Image", reason="pip install 'lmworks[vision]'")

SIZES: dict[str, Any] = {"image_size": 16, "patch_size": 8, "dim": 32, "layers": 1, "heads": 4}
PREPARED = Preprocessing.plain(16, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))


def towers(sigmoid: bool = False) -> VisionModel:
    tokenizer = tiny.byte_tokenizer()
    config = clip_config(tokenizer.vocab_size, tokenizer.eos, **SIZES, context=24, width=24, sigmoid=sigmoid)
    network = Towers(config)
    tiny.randomise(network)
    return VisionModel(network.eval().requires_grad_(False), PREPARED, tokenizer, reference="two towers")


def vit(labels: tuple[str, ...] = ("cat", "dog", "ship")) -> VisionModel:
    network = ImageNetwork(ImageConfig(family="vit", **SIZES, **BLOCKS, labels=labels, pooler=not labels))
    tiny.randomise(network)
    return VisionModel(network.eval().requires_grad_(False), PREPARED)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP, a SigLIP, a classifier, a body, a writer, and two pictures."""
    folder = tmp_path_factory.mktemp("models")
    towers().save(folder / "clip")
    towers(sigmoid=True).save(folder / "siglip")
    vit().save(folder / "vit")
    vit(()).save(folder / "body")
    tiny.language_model().save(folder / "writer")
    for name, picture in zip("ab", pictures(), strict=True):
        Pillow.fromarray(picture).save(folder / f"{name}.png")
    return folder


def pictures() -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (20, 30, 3), dtype=np.uint8) for _ in range(2)]


@pytest.mark.parametrize("kind", ["clip", "siglip", "vit", "body"])
def test_what_is_saved_is_loaded(kind: str, folder: Path):
    made = {"clip": towers, "siglip": lambda: towers(True), "vit": vit, "body": lambda: vit(())}[kind]()
    loaded = lm.load(folder / kind)
    assert isinstance(loaded, VisionModel) and loaded.vector_dim == (24 if kind == "clip" else 32)
    torch.testing.assert_close(loaded.embed(images=pictures()), made.embed(images=pictures()), rtol=1e-5, atol=1e-6)
    if made.reads_texts:
        torch.testing.assert_close(loaded.embed(["a cat", "b"]), made.embed(["a cat", "b"]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_towers_are_those_of_transformers(kind: str, folder: Path):
    """From files and words on: the same preprocessing, tokens, padding, similarities."""
    transformers = pytest.importorskip("transformers", reason="pip install 'lmworks[dev]'")
    theirs = transformers.AutoModel.from_pretrained(folder / kind).eval()
    prepare = transformers.CLIPImageProcessorPil.from_pretrained(folder / kind)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder / kind)
    texts = [f"a photo of a {one}" for one in ("cat", "x")]
    end = tokenizer.eos_token_id if kind == "clip" else lm.load(folder / kind).tokenizer.document_end
    rows = [[*tokenizer(one, add_special_tokens=False).input_ids, end] for one in texts]
    bos = lm.load(folder / kind).tokenizer.document_start
    rows = [([] if bos is None else [bos]) + row for row in rows]
    longest = 24 if kind == "siglip" else max(map(len, rows))
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else end
    ids = torch.tensor([row + [pad] * (longest - len(row)) for row in rows])
    with torch.no_grad():
        logits = theirs(input_ids=ids, **prepare(pictures(), return_tensors="pt")).logits_per_image
    expected = logits.softmax(-1) if kind == "clip" else logits.sigmoid()
    for found, row in zip(lm.load(folder / kind).classify(pictures(), ["cat", "x"]), expected.tolist(), strict=True):
        assert [found.probabilities["cat"], found.probabilities["x"]] == pytest.approx(row, rel=1e-4)
        assert found.label == ("cat" if row[0] > row[1] else "x")


def test_a_file_an_array_and_a_pillow_image_are_one_image(folder: Path):
    model = lm.load(folder / "clip")
    first = pictures()[0]
    for given in (folder / "a.png", str(folder / "a.png"), [first], Pillow.fromarray(first)):
        torch.testing.assert_close(model.embed(images=given), model.embed(images=[first]), rtol=0, atol=0)
    assert model.embed(images=[]).shape == (0, 24) and model.embed([]).shape == (0, 24)


def test_a_pillow_image_is_turned_as_its_file_is(folder: Path, tmp_path: Path):
    model = lm.load(folder / "clip")
    upright = Pillow.fromarray(np.random.default_rng(0).integers(0, 256, (16, 8, 3), np.uint8))
    turned = upright.transpose(Pillow.Transpose.ROTATE_90)
    exif = turned.getexif()
    exif[0x112] = 6
    turned.save(tmp_path / "turned.png", exif=exif)
    vectors = model.embed(images=[Pillow.open(tmp_path / "turned.png"), tmp_path / "turned.png", upright])
    torch.testing.assert_close(vectors, vectors[2:].expand(3, -1), rtol=0, atol=0)


def test_many_images_and_texts_are_read_some_at_a_time(folder: Path):
    model = lm.load(folder / "clip")
    vectors = model.embed(images=pictures() * 40)
    torch.testing.assert_close(vectors, model.embed(images=pictures()).repeat(40, 1))
    torch.testing.assert_close(model.embed(["a", "bcd"] * 40), model.embed(["a", "bcd"]).repeat(40, 1))
    assert vectors.norm(dim=-1).allclose(torch.ones(80))


def test_a_classifier_tells_its_own_classes(folder: Path):
    model = lm.load(folder / "vit")
    (told,) = model.classify(folder / "a.png")
    assert set(told.probabilities) == {"cat", "dog", "ship"} and sum(told.probabilities.values()) == pytest.approx(1)
    assert list(told.probabilities.values()) == sorted(told.probabilities.values(), reverse=True)
    assert [one.label for one in model.classify(pictures())] == [model.classify(one)[0].label for one in pictures()]


def test_a_model_of_texts_is_given_no_image(folder: Path):
    writer = lm.load(folder / "writer")
    for ask in (
        lambda: writer.embed(images=["a.png"]),
        lambda: writer.embed([Pillow.new("RGB", (4, 4))]),
        lambda: writer.classify([pictures()[0]]),
        lambda: writer.classify(Pillow.new("RGB", (4, 4))),
    ):
        with pytest.raises(ConfigError, match="reads texts and no images"):
            ask()
    with pytest.raises(ConfigError, match="chooses from no labels; load a model that reads images"):
        writer.classify(["a"], ["b"])
    with pytest.raises(ModelError, match=r"lm\.load loads it"):
        LanguageModel.load(folder / "clip")


def test_a_folder_of_images_is_not_embedded_as_texts(folder: Path, tmp_path: Path):
    (tmp_path / "photos").mkdir()
    Pillow.new("RGB", (4, 4)).save(tmp_path / "photos" / "a.png")
    for held in ("photos", "photos/a.png"):
        with pytest.raises(ConfigError, match=r"reads texts and .* holds images"):
            embed(str(folder / "writer"), str(tmp_path / held), tmp_path / "vectors")


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_one_damaged_photo_does_not_keep_the_others_from_being_classified(
    more: list[str], folder: Path, tmp_path: Path, monkeypatch: Any, capsys: Any
):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    photos = [str(folder / "a.png"), str(broken), str(folder / "b.png")]
    monkeypatch.setattr("sys.argv", ["lmworks", "classify", str(folder / "vit"), *photos, *more])
    with pytest.raises(SystemExit) as end:
        main()
    said = capsys.readouterr()
    assert end.value.code == 1 and "a.png" in said.out and "b.png" in said.out and "broken" not in said.out
    assert "broken.jpg cannot be read as an image" in said.err and "1 of 3 could not be read" in said.err


def test_a_strip_is_named(folder: Path, tmp_path: Path, monkeypatch: Any, capsys: Any):
    strip = tmp_path / "strip.png"
    Image.new("RGB", (1, 60_000)).save(strip)
    monkeypatch.setattr("sys.argv", ["lmworks", "classify", str(folder / "vit"), str(folder / "a.png"), str(strip)])
    with pytest.raises(SystemExit):
        main()
    assert "strip.png" in capsys.readouterr().err


def test_what_cannot_be_read_is_named_and_the_rest_embedded(
    folder: Path, tmp_path: Path, monkeypatch: Any, capsys: Any
):
    photos = tmp_path / "photos"
    photos.mkdir()
    Pillow.new("RGB", (4, 4), "red").save(photos / "a.png")
    Pillow.new("RGB", (1, 60_000)).save(photos / "strip.png")
    Pillow.new("RGB", (4, 4), "blue").save(photos / "z.png")
    (photos / "broken.jpg").write_bytes(b"no image")
    (photos / "deeds.pdf").write_bytes(b"%PDF")
    (photos / "captions.csv").write_text("file_name,text\na.png,a rose\na.png,a flower\nstrip.png,a roll\n")
    monkeypatch.setattr(
        "sys.argv", ["lmworks", "embed", str(folder / "clip"), str(photos), "--out", str(tmp_path / "v")]
    )
    with pytest.raises(SystemExit) as end:
        main()
    said = capsys.readouterr()
    assert end.value.code == 0
    assert "2 images, 1 without a caption; 2 skipped; not images, and not read here: 1 other file (.pdf)" in said.out
    assert "strip.png: 1 x 60,000 pixels cannot be resized" in said.err and "broken.jpg: of none of" in said.err
    items = json.loads((tmp_path / "v" / "vectors.json").read_text())["items"]
    assert [(Path(one["source"]).name, one["text"]) for one in items] == [("a.png", "a rose; a flower"), ("z.png", "")]


@pytest.mark.parametrize(
    "kind, ask, words",
    [
        ("vit", lambda model: model.embed(["a cat"]), "reads images alone"),
        ("vit", lambda model: model.classify("a.png", ["cat"]), "its own 3 classes"),
        ("vit", lambda model: model.score("a"), "reads images alone"),
        ("vit", lambda model: model.fill("a"), "reads images alone"),
        ("body", lambda model: model.classify("a.png"), "no classifier"),
        ("clip", lambda model: model.classify("a.png"), "no classes of its own"),
        ("clip", lambda model: model.classify("a.png", []), "labels is a list"),
        (
            "clip",
            lambda model: model.classify("a.png", "cat"),
            r"labels is 'cat'; give a list of strings, such as \['cat'\]",
        ),
        ("clip", lambda model: model.classify("a.png", ["cat", "cat"]), "twice"),
        ("clip", lambda model: model.classify("a.png", ["cat"], template="x"), "no {}"),
        ("clip", lambda model: model.classify("a cat", ["cat"]), "'a cat' cannot be read as an image"),
        ("clip", lambda model: model.classify("a\0", ["cat"]), "cannot be read as an image"),
        ("clip", lambda model: model.classify("/dev/null", ["cat"]), "socket or device"),
        ("clip", lambda model: model.classify("https://a.org/a.png", ["cat"]), "nothing is fetched; save the image"),
        ("clip", lambda model: model.classify(3, ["cat"]), "3 is no image"),
        (
            "clip",
            lambda model: model.embed(images=[np.zeros((3, 20, 20), np.uint8)]),
            r"a ndarray \[3, 20, 20\] of uint8 is no image",
        ),
        ("clip", lambda model: model.embed(pictures()), "give images as model.embed"),
        ("clip", lambda model: model.embed("a cat"), r"texts is 'a cat'; give a list, such as \['a cat'\]"),
        ("clip", lambda model: model.embed(["a cat"], images=["a.png"]), "a call of its own"),
        ("clip", lambda model: model.embed(["a cat " * 9]), "shorten it"),
        ("clip", lambda model: model.embed(["a"], adapter="x"), "leave pooling, prompt and adapter out"),
        ("clip", lambda model: model.generate("Once"), "writes no text"),
        ("clip", lambda model: model.score("Once"), "writes no text"),
        ("clip", lambda model: model.with_images("Once", ["a.png"]), "writes no text"),
        ("clip", lambda model: model.logits([[1]]), "writes no text"),
        ("clip", lambda model: model.compare([("a", "b")]), "classif"),
        ("clip", check_model, "models of texts are checked"),
        ("vit", check_model, "models of texts are checked"),
    ],
)
def test_mistakes_are_sentences(kind: str, ask: Any, words: str, folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(folder)
    with pytest.raises(LmworksError, match=words):
        ask(lm.load(folder / kind))


@pytest.mark.parametrize("kind", ["clip", "vit"])
@pytest.mark.parametrize(
    "verb",
    [
        "evaluate {} notes.txt",
        "serve {} --port 0",
        "bench serve {}",
        "probe {} labelled.jsonl",
        "prompt search labelled.jsonl --model {}",
    ],
)
def test_verbs_for_text_say_what_it_is(
    kind: str, verb: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
):
    monkeypatch.chdir(folder)
    Path("notes.txt").write_text("The rent is due on the third day.\n" * 20)
    lines = [
        json.dumps({"prompt": f"film {at} was {word}", "response": word})
        for at in range(200)
        for word in ("good", "bad")
    ]
    Path("labelled.jsonl").write_text("\n".join(lines))
    monkeypatch.setattr("sys.argv", ["lmworks", *verb.format(kind).split()])
    with pytest.raises(SystemExit) as end:
        main()
    said = capsys.readouterr().err
    assert end.value.code == 1 and "reads images" in said and "Traceback" not in said and "AttributeError" not in said


@pytest.mark.parametrize("kind", ["clip", "vit"])
def test_a_plan_says_what_it_counts(kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any):
    monkeypatch.setattr("sys.argv", ["lmworks", "plan", str(folder / kind)])
    with pytest.raises(SystemExit):
        main()
    assert "reads images, and plans count networks that read text" in capsys.readouterr().err


def test_a_text_may_be_cut(folder: Path):
    model = lm.load(folder / "clip")
    assert model.embed(["a cat " * 9], cut=True).shape == (1, 24)
    (told,) = model.classify(str(folder / "a.png"), ["a cat " * 9, "a dog"], cut=True)
    assert sum(told.probabilities.values()) == pytest.approx(1)


def test_damaged_folders_are_named(folder: Path, tmp_path: Path):
    import shutil

    for name, words in (("preprocessor_config.json", "how images are prepared"), ("tokenizer.json", "tokenizer")):
        copy = shutil.copytree(folder / "clip", tmp_path / name)
        (copy / name).unlink()
        with pytest.raises(ModelError, match=words):
            lm.load(copy)
    copy = shutil.copytree(folder / "clip", tmp_path / "other size")
    said = json.loads((copy / "preprocessor_config.json").read_text())
    (copy / "preprocessor_config.json").write_text(json.dumps(said | {"crop_size": {"height": 8, "width": 8}}))
    with pytest.raises(LmworksError, match=r"reads \[images, 3, 16, 16\]"):
        lm.load(copy).embed(images=pictures())
    with pytest.raises(ConfigError, match="leave compress"):
        lm.load(folder / "clip", compress="int8")
    with pytest.raises(DataError, match="cannot be read as an image"):
        (tmp_path / "a.png").write_bytes(b"no picture")
        lm.load(folder / "clip").embed(images=tmp_path / "a.png")
