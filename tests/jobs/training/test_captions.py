"""A language model that learns to read images: what it learns, what is written and resumes, and what goes wrong."""

from __future__ import annotations

import base64
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch

import lmworks as lm
from lmworks.basics.errors import ConfigError, ModelError
from tests.jobs.training.stopping import stopped_before
from tests.jobs.training.test_fusion import run

Image = pytest.importorskip("PIL.Image", reason="the extra vision is not installed")

from lmworks.encoding.known_captions import FILE  # noqa: E402
from lmworks.generation.given_text import GivenText  # noqa: E402
from lmworks.generation.strategies import Greedy  # noqa: E402
from lmworks.jobs.captions import caption, rows_of  # noqa: E402
from lmworks.jobs.captions_recipe import CaptionsRecipe  # noqa: E402
from lmworks.jobs.pictures import read_pictures  # noqa: E402
from lmworks.models.vision.efficientnet import EfficientNet  # noqa: E402
from lmworks.models.vision.efficientnet_config import EfficientNetConfig  # noqa: E402
from lmworks.models.vision.preprocessing import Preprocessing  # noqa: E402
from lmworks.seeing_model import SeeingModel  # noqa: E402
from lmworks.tokens.labels import IGNORE  # noqa: E402
from lmworks.vision_model import VisionModel  # noqa: E402

COLOURS = {"red": (220, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 220), "white": (250, 250, 250)}
SMALL: dict[str, Any] = {
    "data": {"images": "pictures", "held_out": 0.2, "change": 0.02},
    "model": {
        "language_model": "writer",
        "image_model": "eye",
        "image_size": 32,
        "image_stages": (0,),
        "length": 2,
        "hidden": 16,
        "dropout": 0.0,
        "context": 12,
    },
    "training": {"rows": 16, "steps": 120, "learning_rate": 0.02, "checkpoint_every": 3},
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Flat images of four colours in shades of their own, an untrained model that sees, and one that writes."""
    here = tmp_path_factory.mktemp("captions")
    (here / "pictures").mkdir()
    generator = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        for number in range(12):
            pixels = np.clip(np.full((32, 32, 3), colour) + generator.integers(-9, 10, 3), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(here / "pictures" / f"{name}{number}.png")
            (here / "pictures" / f"{name}{number}.txt").write_text(f"{name} {number}")
    config = EfficientNetConfig(
        stem=8, widths=(8, 16), depths=(1, 1), sides=(3, 3), halves=(False, True), expands=(1, 2), head=16,
        labels=("a", "b"),
    )  # fmt: skip
    seeing = EfficientNet(config)
    torch.manual_seed(0)
    for parameter in seeing.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    VisionModel(seeing.eval(), Preprocessing.plain(32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))).save(here / "eye")
    tiny.language_model(dim=64, family="llama").save(here / "writer")
    return here


@pytest.fixture
def here(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(pictures)
    return pictures


def recipe(**changes: Any) -> CaptionsRecipe:
    return CaptionsRecipe(**{name: {**values, **changes.get(name, {})} for name, values in SMALL.items()})


@pytest.fixture(scope="module")
def made(pictures: Path) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(pictures)
        return caption(recipe(), "made")


def test_it_says_what_an_image_shows_and_leaves_the_language_model_as_it_was(made: Any, here: Path):
    own, others, saved = made.measurements
    assert (
        saved.interval[0] > 0.3
        and saved.value == pytest.approx(others.value - own.value)
        and own.name == "caption after its image, held out"
    )
    files = [f"pictures/{name}{number}.png" for name in COLOURS for number in range(3)]
    said = [made.model.generate("", Greedy(no_repeat_ngram=2), images=[one], max_new_tokens=12) for one in files]
    right = [file.split("/")[1].startswith(one.text[:3]) for one, file in zip(said, files, strict=True)]
    assert sum(right) >= 9, [one.text for one in said]
    told = made.model.generate("red 1, red 1, red 1,", images=files[0], max_new_tokens=24).tokens
    assert len(set(itertools.pairwise(told))) == len(told) - 1, "no pair of tokens stands twice"
    streamed = made.model.stream("", Greedy(no_repeat_ngram=2), images=files[0], max_new_tokens=12)
    assert "".join(streamed) == said[0].text
    assert made.model.generate("re", images=files[0], max_new_tokens=1).text == "d"
    writer = lm.load("writer")
    assert made.model.generate("blue", max_new_tokens=12).tokens == writer.generate("blue", max_new_tokens=12).tokens


def test_of_an_image_without_words_it_says_a_caption_that_it_was_trained_on(made: Any, here: Path):
    known = {one.read_text() for one in Path("pictures").glob("*.txt")}
    for name in COLOURS:
        shown = f"pictures/{name}3.png"
        answer = made.model.generate("", images=shown)
        assert answer.text in known and answer.text.startswith(name) and answer.finish == "stop"
        assert "".join(made.model.stream("", images=[shown])) == answer.text
        assert lm.load("made").generate("", images=shown).text == answer.text
        assert made.model.generate(" \n", images=shown).text == answer.text, "white space is no word"
    both = made.model.with_images("", ["pictures/red1.png", "pictures/blue1.png"])
    assert both.known_caption is None and made.model.with_images("re", "pictures/red1.png").known_caption is None
    yes_or_no = made.model.request(made.model.with_images("", shown), constraint=GivenText((5,)))
    assert yes_or_no.constraint == GivenText((5,)), "a form that is asked for counts"


def test_of_a_caption_that_the_tokenizer_leaves_nothing_of_it_says_words_of_its_own(
    made: Any, here: Path, monkeypatch: pytest.MonkeyPatch
):
    encode = made.model.tokenizer.encode
    monkeypatch.setattr(made.model.tokenizer, "encode", lambda text, **how: [] if text else encode(text, **how))
    shown = made.model.with_images("", "pictures/red1.png")
    assert shown.known_caption is None and made.model.request(shown).constraint is None


def test_nothing_need_be_remembered(here: Path):
    short = {"steps": 2, "rows": 8}
    made = caption(recipe(model={"remembered": 0}, training=short), "own-words")
    assert made.model.known is None and not Path("own-words", FILE).exists()
    assert made.model.with_images("", "pictures/red1.png").known_caption is None
    assert len(caption(recipe(model={"remembered": 5}, training=short), "five").model.known.captions) == 5


def test_the_folder_is_small_and_reads_the_same_again(made: Any, here: Path):
    facts = json.loads((here / "made" / "lmworks.json").read_text())
    assert facts["recipe"]["learns"] == "captions" and facts["base"]["reference"] == "writer"
    base = json.loads((here / "made" / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert base == str(here.resolve() / "writer"), "wherever it is loaded from"
    assert {one.name for one in (here / "made").iterdir()} >= {"image_model", "adapter_config.json", "log.jsonl"}
    again = lm.load("made")
    assert isinstance(again, SeeingModel) and again.source == Path("made")
    shown = "pictures/blue4.png"
    wanted = made.model.generate("", images=shown, max_new_tokens=12).tokens
    assert again.generate("", images=shown, max_new_tokens=12).tokens == wanted
    again.save("copy")
    again.save("copy")  # over a directory that is there, too
    assert lm.load("copy").generate("", images=shown, max_new_tokens=12).tokens == wanted
    exact = lm.load("made", dtype="float32")
    assert exact.runner.name == "PyTorch"
    assert exact.generate("", images=shown, max_new_tokens=3).tokens == wanted[:3]


def test_every_image_is_read_with_its_own_caption(made: Any, here: Path):
    """Rows hold several images, whose captions alone are learnt, each with the token that ends it."""
    chosen = recipe()
    parts = read_pictures(chosen.data, made.model.eye.preprocessing, 16, captions=True)
    rows = rows_of(chosen, made.model, parts.train)
    batch, end = rows.batch([3, 1, 4]), made.model.tokenizer.document_end
    reader = made.model.reader
    assert len(batch.tokens) == 1 and torch.equal(batch.states, rows.states[0, [3, 1, 4]])
    numbered = reader.numbered(batch.tokens)[0]
    images = numbered[numbered >= reader.vocabulary] - reader.vocabulary
    assert images.tolist() == [0, 1, 2, 3, 4, 5]
    learnt = batch.labels[0][batch.labels[0] != IGNORE].tolist()
    wanted = [made.model.tokenizer.encode(parts.train[at].text, special=False) for at in (3, 1, 4)]
    assert learnt == [token for one in wanted for token in [*one, end]]
    assert max(learnt) < reader.vocabulary


def test_captions_that_lose_their_ends_are_counted(here: Path):
    told = list[str]()
    made = caption(recipe(model={"context": 6}, training={"steps": 1}), "cut", say=told.append)
    ((line),) = [one for one in told if one.startswith("cut ")]
    facts = json.loads(Path("cut/lmworks.json").read_text())["data"]["cut"]
    longer = {one.stem for one in Path("pictures").glob("*.txt") if len(one.read_text()) > 5}
    assert sum(facts.values()) == len(longer) and f"train {facts['train']}" in line and "model.context = 6" in line
    assert made.model.generate("", images="pictures/red0.png", max_new_tokens=2).tokens


def test_a_run_that_is_stopped_goes_on_to_the_same_reader(here: Path):
    short = {"steps": 9}
    whole = caption(recipe(training=short), "whole")
    with stopped_before(6):
        caption(recipe(training=short), "parts")
    again = caption(recipe(training=short), "parts", resume=True)
    for name, one in whole.model.reader.layers.state_dict().items():
        torch.testing.assert_close(again.model.reader.layers.state_dict()[name], one, rtol=0, atol=0, msg=name)


def test_the_command_line_and_the_api_describe(made: Any, here: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("fastapi", reason="the extra serve is not installed")
    from lmworks.serving.service import Service
    from tests.serving.live import running

    wanted = made.model.generate("", images="pictures/red0.png", max_new_tokens=8).text
    assert run(monkeypatch, "generate", "made", "--image", "pictures/red0.png", "--max-new-tokens", "8") == 0
    assert capsys.readouterr().out.strip() == wanted.strip()
    url = f"data:image/png;base64,{base64.b64encode(Path('pictures/red0.png').read_bytes()).decode()}"
    asked = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}
    with running(Service(made.model, name="made")) as client:
        body = {"model": "made", "messages": [asked], "max_tokens": 8, "temperature": 1.5, "n": 2}
        answer = client.post("/v1/chat/completions", **body).json()
        assert [one["message"]["content"] for one in answer["choices"]] == [wanted, wanted], answer
        asked["content"].append({"type": "text", "text": "re"})
        body |= {"max_tokens": 1, "temperature": 0, "n": 1}
        answer = client.post("/v1/chat/completions", **body).json()
        assert answer["choices"][0]["message"]["content"] == "d", "words ask for words of its own"
        assert client.http.get("/v1/models").json()["data"][0]["about"]["sees"] is True
        refused = client.post("/v1/completions", model="made", prompt=[259], max_tokens=1)
        assert refused.status_code == 400 and "names the token 259" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"model": {"image_model": "writer"}}, "writer is no EfficientNet"),
        ({"model": {"language_model": "eye"}}, "reads images, and learns no text"),
        ({"model": {"length": 120}}, "have up to 133 tokens, and writer reads 128"),
        ({"model": {"image_stages": (5,)}}, "stage 5, and there are 2"),
        ({"training": {"compile": True}}, "training.compile is for rows of one length"),
        ({"training": {"rows": 1000}}, "less than one batch of 1000"),
    ],
)
def test_what_cannot_be_trained_is_said_in_a_sentence(here: Path, changes: Any, said: str):
    with pytest.raises(lm.LmworksError, match=said):
        caption(recipe(**changes), "wrong")
    assert not Path("wrong").exists()


def test_a_reader_for_another_model_is_refused(made: Any, here: Path):
    tiny.language_model(dim=32, family="llama").save("narrow")
    with pytest.raises(ConfigError, match="made for dim = 64, and here it is 32"):
        lm.load("made", base="narrow")
    tiny.language_model(dim=64, family="llama", seed=5).save("copy-of-writer")
    said = json.loads(Path("made/adapter_config.json").read_text())
    made.model.save("moved", {"base": json.loads(Path("made/lmworks.json").read_text())["base"]})
    Path("moved/adapter_config.json").write_text(
        json.dumps(said | {"base_model_name_or_path": "copy-of-writer"}), encoding="utf-8"
    )
    with pytest.raises(ModelError, match="trained on other weights"):
        lm.load("moved")
    Path("moved/adapter_config.json").write_text(json.dumps(said | {"hidden": 10**9}), encoding="utf-8")
    with pytest.raises(ModelError, match="lacks a size of the reader"):
        lm.load("moved")
    Path("moved/adapter_config.json").write_text(json.dumps(said | {"hidden": 10**7}), encoding="utf-8")
    with pytest.raises(ModelError, match="and this model needs"):
        lm.load("moved")


@pytest.mark.parametrize(
    "words, said",
    [
        (["generate", "made", "", "--image", "none.png"], "none.png"),
        (["generate", "made", "", *["--image", "pictures/red0.png"] * 64], "the images have 128 vectors"),
        (["generate", "writer", "", "--image", "pictures/red0.png"], "reads texts and no images"),
        (["merge", "made", "--out", "merged"], "is no part of a weight"),
        (["export", "made", "--out", "made.gguf"], "is no part of a weight"),
        (["compress", "made", "--out", "small", "--text", "pictures/red0.txt"], "is no part of a weight"),
        (["build", "pictures", "--model", "made", "--out", "built"], "made"),
        (["train", "emoji-captions", "--set", "model.kind=x"], "model.kind"),
    ],
)
def test_what_goes_wrong_is_said(
    made: Any, here: Path, words: list[str], said: str, capsys: Any, monkeypatch: pytest.MonkeyPatch
):
    assert run(monkeypatch, *words) == 1
    told = capsys.readouterr().err.strip().splitlines()
    assert said in told[-1] and told[-1].startswith("lmworks: ")
