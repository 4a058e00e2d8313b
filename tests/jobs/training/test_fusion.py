"""A model that draws and describes images: laws of its vocabulary, what is written and resumes, and what goes wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lmworks as lm
from lmworks.adaptation.lora import add_lora
from lmworks.adaptation.lora_config import LoRAConfig
from lmworks.adaptation.peft_format import write_adapter
from lmworks.basics.errors import ConfigError, DataError, LmworksError, ModelError
from lmworks.cli import main
from tests.jobs.training.stopping import stopped_before

Image = pytest.importorskip("PIL.Image", reason="the extra vision is not installed")

from lmworks.drawing_model import DrawingModel  # noqa: E402
from lmworks.generation.drawing import guided  # noqa: E402
from lmworks.generation.image_spans import ImageSpans, SpanGuide  # noqa: E402
from lmworks.image_tokens import ImageTokens, preprocessing_for  # noqa: E402
from lmworks.jobs.fusion import fuse, rows_of  # noqa: E402
from lmworks.jobs.fusion_recipe import FusionRecipe  # noqa: E402
from lmworks.jobs.image_recipes import image_recipe  # noqa: E402
from lmworks.jobs.pictures import read_pictures  # noqa: E402
from lmworks.models.adapted import adapted_layers  # noqa: E402
from lmworks.models.vision.image_tokens import ImageTokenizer  # noqa: E402
from lmworks.models.vision.image_tokens_config import ImageTokensConfig  # noqa: E402
from lmworks.tokens.labels import IGNORE  # noqa: E402
from lmworks.vision_model import VisionModel  # noqa: E402

COLOURS = {"red": (220, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 220), "white": (250, 250, 250)}
SMALL: dict[str, Any] = {
    "image_tokens": "tokens",
    "data": {"images": "pictures", "held_out": 0.2, "views": 1, "dropped": 0.2, "captioning": 0.3},
    "tokenizer": {"kind": "byte"},
    "model": {"dim": 32, "layers": 2, "heads": 2, "context": 48},
    "training": {
        "rows": 16,
        "steps": 150,
        "optimiser": "muon",
        "learning_rate": 0.05,
        "embedding_learning_rate": 0.02,
        "checkpoint_every": 3,
    },
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Flat images of four colours, each a few times in shades of its own, and an untrained tokenizer for them, whose
    codes differ where colours do."""
    here = tmp_path_factory.mktemp("fusion")
    (here / "pictures").mkdir()
    generator = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        for number in range(12):
            pixels = np.clip(np.full((8, 8, 3), colour) + generator.integers(-9, 10, 3), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(here / "pictures" / f"{name}{number}.png")
            (here / "pictures" / f"{name}{number}.txt").write_text(f"{name} {number}")
    config = ImageTokensConfig(
        image_size=8, levels=(4, 4, 4), width=8, fine_width=4, encoder_blocks=0, decoder_blocks=0
    )
    network = ImageTokenizer(config).initialise(3)
    with torch.no_grad():
        network.encoder.last.weight *= 30  # so that colours have codes of their own
    ImageTokens(network, preprocessing_for(config)).save(here / "tokens")
    return here


@pytest.fixture
def here(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(pictures)
    return pictures


def recipe(**changes: Any) -> FusionRecipe:
    tables = {
        name: {**values, **changes.get(name, {})} if isinstance(values, dict) else changes.get(name, values)
        for name, values in SMALL.items()
    }
    return FusionRecipe(**tables)


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
        return fuse(recipe(), "made")


def test_images_are_likelier_after_their_own_caption(made: Any, here: Path):
    own, others, said, said_of_others = made.measurements
    assert own.value < others.value - 0.3 and said.value < said_of_others.value
    assert own.name == "image after its caption, held out" and made.validation_loss > 0
    facts = json.loads((here / "made" / "lmworks.json").read_text())
    assert facts["recipe"]["learns"] == "fusion" and facts["measurements"][0]["value"] == own.value


def test_the_directory_holds_the_tokenizer_of_images(made: Any, here: Path):
    model = lm.load("made")
    assert isinstance(model, DrawingModel)
    assert (here / "made" / "image_tokens" / "model.safetensors").exists()
    assert torch.equal(model.images.encode("pictures/red0.png"), made.model.images.encode("pictures/red0.png"))
    model.save("again")  # over a directory that is there, too
    model.save("again")
    assert isinstance(lm.load("again"), DrawingModel)


def test_an_adapter_of_such_a_model_draws_as_well(made: Any, here: Path, tmp_path: Path):
    base = lm.load("made", dtype="float32")
    torch.manual_seed(0)
    add_lora(base.network, LoRAConfig(rank=2))
    for layer in adapted_layers(base.network).values():
        for weight in layer.own():
            weight.data += 0.1 * torch.randn_like(weight)
    write_adapter(tmp_path, base.network, str(here / "made"))
    adapted = lm.load(tmp_path, dtype="float32")
    assert isinstance(adapted, DrawingModel)
    drawn, same, without = (
        [model.draw("red 3", seed=seed).tobytes() for seed in range(8)] for model in (adapted, base, made.model)
    )
    assert drawn == same
    assert drawn != without


def test_it_draws_what_the_caption_says_and_the_same_for_the_same_seed(made: Any):
    model = made.model
    captions = [name for name in COLOURS for _ in range(6)]
    drawn = model.drawings([f"{name} 3" for name in captions], range(len(captions)), guidance=2.0)
    again = model.drawings([f"{name} 3" for name in captions], range(len(captions)), guidance=2.0)
    assert [one.tobytes() for one in drawn] == [one.tobytes() for one in again]
    assert drawn[5].tobytes() == model.draw("red 3", seed=5, guidance=2.0).tobytes()
    ideal = {
        name: np.asarray(model.images.decode(model.images.encode(np.full((8, 8, 3), colour, np.uint8)))[0], float)
        for name, colour in COLOURS.items()
    }
    nearest = [min(ideal, key=lambda name: np.abs(ideal[name] - np.asarray(one)).mean()) for one in drawn]
    assert sum(a == b for a, b in zip(nearest, captions, strict=True)) >= 18  # by chance, 6 of 24
    assert model.draw("red 3", seed=1).size == (8, 8) and model.draw("red 3").mode == "RGB"


class Judge(VisionModel):
    """A CLIP that finds one image nearest, whatever the words."""

    reads_texts, reference = True, "judge"  # type: ignore[assignment]

    def __init__(self, likes: bytes = b"") -> None:
        self.likes = likes

    def too_long(self, texts: Any) -> int:  # type: ignore[override]
        return 0

    def embed(self, texts: Any = (), *, images: Any = (), cut: bool = False) -> torch.Tensor:  # type: ignore[override]
        near, far = [1.0, 0.0], [0.0, 1.0]
        return torch.tensor([near if one.tobytes() == self.likes else far for one in images] or [near] * len(texts))


def test_of_several_drawings_the_one_is_taken_that_a_judge_finds_nearest(made: Any):
    model = made.model
    alone = [model.draw("blue 3", seed=7 + 1024 * number, guidance=0.0).tobytes() for number in range(6)]
    liked = next(one for one in alone[::-1] if one != alone[0])
    chosen = {"guidance": 0.0, "best_of": 6, "judge": Judge(liked)}
    assert model.draw("blue 3", seed=7, **chosen).tobytes() == liked
    first, second = model.drawings(["red 3", "blue 3"], [8, 7], **chosen)
    assert second.tobytes() == liked
    assert first.tobytes() == model.draw("red 3", seed=8, **chosen).tobytes()


def test_it_says_what_an_image_shows(made: Any, here: Path):
    files = [f"pictures/{name}{number}.png" for name in COLOURS for number in range(3)]
    said = [made.model.generate("", images=[one], max_new_tokens=12) for one in files]
    right = [one.text.split(" ")[0] in file for one, file in zip(said, files, strict=True)]
    assert sum(right) >= 9 and all(one.text for one in said)
    assert made.model.generate("re", images=files[0], max_new_tokens=1).text == "d"
    assert "".join(made.model.stream("", images=files[0], max_new_tokens=12)) == said[0].text


def test_pixels_change_no_logits_of_earlier_text(made: Any):
    model, other = made.model, list(range(10, 14))
    text = model.tokenizer.encode("red 3", special=False)
    rows = [[*model.start, *text, *model.spans.around(codes)] for codes in ([1, 2, 3, 4], other)]
    first, second = model.logits(rows)
    before = 1 + len(text) + 1  # up to the mark that opens the image
    assert torch.equal(first[:before], second[:before]) and not torch.equal(first[before + 1], second[before + 1])


@pytest.mark.parametrize("seed", range(4))
def test_an_image_span_has_all_its_codes_and_nothing_else(made: Any, seed: int):
    """Whatever the logits are."""
    spans, vocabulary = made.model.spans.but_drawing(), made.model.config.vocab_size
    guide, draw = spans.start(made.model.tokenizer, vocabulary), np.random.default_rng(seed)
    written = []
    for _ in range(120):
        logits = draw.normal(size=vocabulary)
        logits[spans.opens] += 3  # images are opened now and then
        token = int(guide.allowed(logits).argmax())
        guide.accept(token)
        written.append(token)
    inside: list[int] | None = None
    closed = 0
    for token in written:
        if token == spans.opens:
            assert inside is None
            inside = []
        elif token == spans.closes:
            assert inside is not None and len(inside) == spans.places
            inside, closed = None, closed + 1
        else:
            assert (token >= spans.first) == (inside is not None)
            inside = None if inside is None else [*inside, token]
    assert closed > 1


def test_an_answer_holds_no_codes_of_images(made: Any):
    model, spans = made.model, made.model.spans
    shown, chosen = np.zeros((8, 8, 3), np.uint8), lm.Sample(temperature=50.0, seed=1, min_new_tokens=40)
    answer = model.generate("", chosen, images=shown, max_new_tokens=40)
    assert len(answer.tokens) == 40 and all(token < spans.opens for token in answer.tokens)
    free = SpanGuide(spans, model.config.vocab_size)
    assert not free.look()[spans.opens :].any() and free.look()[: spans.opens].all() and not free.complete


def test_guidance_leads_from_no_caption_to_the_caption_and_beyond():
    logits = torch.tensor([[1.0, 2.0], [0.0, 0.0]])
    assert guided(logits, 1, 0.0).tolist() == [[0.0, 0.0]] and guided(logits, 1, 1.0).tolist() == [[1.0, 2.0]]
    assert guided(logits, 1, 3.0).tolist() == [[3.0, 6.0]] and guided(logits[:1], 1, 1.0).tolist() == [[1.0, 2.0]]


def test_without_guidance_the_caption_decides_nothing(made: Any):
    drawn = [made.model.draw(caption, seed=4, guidance=0.0).tobytes() for caption in ("red 3", "blue 1")]
    assert drawn[0] == drawn[1]
    assert made.model.draw("red 3", seed=4, guidance=100.0).tobytes() != drawn[0]


def test_captions_are_dropped_and_images_come_first_as_often_as_said(made: Any, here: Path):
    chosen = recipe()
    parts = read_pictures(chosen.data, made.model.images.preprocessing, 16, captions=True)
    rows, spans = rows_of(chosen, made.model, parts.train, changed=True), made.model.spans
    first, caption_first, dropped = 0, 0, 0
    for epoch in range(20):
        batch = rows.at_epoch(epoch, 7).batch(range(len(rows)))
        for tokens, labels in zip(batch.tokens.tolist(), batch.labels.tolist(), strict=True):
            at = tokens.index(spans.opens)
            assert tokens[at + spans.places + 1] == spans.closes and tokens[0] == made.model.start[0]
            closed = at + spans.places + 1
            empty = at == 1 and labels[closed] == IGNORE  # no end is learnt where a caption would come
            end = closed if empty else tokens.index(tokens[0], 1)  # all but the first are predicted
            assert labels[:end] == tokens[1 : end + 1] and set(labels[end:]) == {IGNORE}
            first, dropped = first + (at == 1 and not empty), dropped + (at == 1 and empty)
            caption_first += at > 1
    count = 20 * len(rows)
    assert abs(first / count - 0.3) < 0.06 and abs(dropped / count - 0.7 * 0.2) < 0.05 and caption_first
    again, other = rows.at_epoch(3, 7).batch([0, 1]), rows.at_epoch(3, 8).batch(range(16))
    assert torch.equal(again.tokens, rows.at_epoch(3, 7).batch([0, 1]).tokens)
    assert not torch.equal(other.tokens, rows.at_epoch(3, 7).batch(range(16)).tokens)


def test_a_run_that_is_stopped_goes_on_to_the_same_network(here: Path):
    short = {"steps": 9}
    whole = fuse(recipe(training=short), "whole")
    with stopped_before(6):
        fuse(recipe(training=short), "parts")
    again = fuse(recipe(training=short), "parts", resume=True)
    for name, one in whole.model.network.state_dict().items():
        torch.testing.assert_close(again.model.network.state_dict()[name], one, rtol=0, atol=0, msg=name)


def test_the_command_line_draws_and_describes(made: Any, here: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch):
    assert run(monkeypatch, "draw", "made", "red 3", "--out", "one.png", "--seed", "5", "--guidance", "2") == 0
    assert "drew    one.png (8 x 8 pixels, seed 5)" in capsys.readouterr().out
    with Image.open("one.png") as drawn:
        assert drawn.tobytes() == made.model.draw("red 3", seed=5, guidance=2.0).tobytes()
    Path("judge").mkdir()
    Path("judge/config.json").write_text("{}")  # where it lies is looked at before it is loaded
    with monkeypatch.context() as patch:
        patch.setattr("lmworks.loading.load", lambda name: Judge() if name == "judge" else made.model)
        chosen = ["--best-of", "3", "--judge", "judge"]
        assert run(monkeypatch, "draw", "made", "red 3", "--out", "best.png", "--seed", "5", *chosen) == 0
        assert "seed 5, the best of 3)\n" in (told := capsys.readouterr().out) and "but " not in told
        patch.setattr(Judge, "too_long", lambda self, texts: len(texts))
        assert run(monkeypatch, "draw", "made", "red 3", "--out", "best.png", *chosen) == 0
        assert "judge reads no caption of this length whole; it judged by the beginning" in capsys.readouterr().out
        assert run(monkeypatch, "draw", "made", "red 3", "--out", "best.png", *chosen, "--json") == 0
        assert json.loads(capsys.readouterr().out)["judge_cut"] is True
    assert run(monkeypatch, "draw", "made", "red 3", "--out", "s/sheet.jpg", "--n", "5", "--zoom", "2", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["size"] == [2 * (3 * 10 + 2), 2 * (2 * 10 + 2)] and Path("s/sheet.jpg").exists() and told["n"] == 5
    capsys.readouterr()
    assert run(monkeypatch, "generate", "made", "--image", "pictures/red0.png", "--max-new-tokens", "8") == 0
    assert capsys.readouterr().out.strip() == made.model.generate("", images="pictures/red0.png", max_new_tokens=8).text


@pytest.mark.parametrize(
    "words, said",
    [
        (["draw", "tokens", "red"], "does not draw"),
        (["draw", "made", "red", "--out", "a.gif"], "names no kind of image"),
        (["draw", "made", "red", "--n", "0"], "give a number from 1 to 1,024"),
        (["draw", "made", "red", "--n", "1000", "--zoom", "32"], "10,304 x 10,304 pixels"),
        (["draw", "made", "red", "--guidance", "-1"], "guidance is -1"),
        (["draw", "made", "red", "--seed", "-1"], "--seed is -1"),
        (["draw", "made", "red " * 50], "room for"),
        (["draw", "made", "red", "--temperature", "-1"], "temperature"),
        (["generate", "made", "", "--image", "none.png"], "none.png"),
        (["generate", "made", "", *["--image", "pictures/red0.png"] * 9], "9 images have 54 tokens"),
        (["generate", "made", "a", "--image", "pictures/red0.png", "--lines"], "leave out --lines"),
        (["train", "emoji-fusion", "--set", "image_tokens=nowhere"], "nowhere does not exist"),
        (["train", "emoji-fusion", "--set", "model.kind=x"], "model.kind"),
    ],
)
def test_what_goes_wrong_is_said_in_a_sentence(
    made: Any, here: Path, words: list[str], said: str, capsys: Any, monkeypatch: pytest.MonkeyPatch
):
    assert run(monkeypatch, *words) == 1
    told = capsys.readouterr().err.strip().splitlines()
    assert said in told[-1] and told[-1].startswith("lmworks: ")


@pytest.mark.parametrize(
    "changes, kind, words",
    [
        ({"image_tokens": "made"}, ConfigError, "writes no images as tokens"),
        ({"model": {"context": 18}}, ConfigError, "give at least 20"),
        ({"tokenizer": {"kind": "byte", "special_tokens": ["<x>"]}}, ConfigError, "begins and ends each row"),
        ({"tokenizer": {"kind": "byte", "chat_template": "chatml"}}, ConfigError, "leave it out"),
        ({"data": {"images": "bare"}}, DataError, "no image with a caption"),
        ({"training": {"rows": 100}}, DataError, "less than one batch"),
    ],
)
def test_what_goes_wrong_in_training_is_said(
    made: Any, here: Path, changes: dict[str, Any], kind: type[LmworksError], words: str
):
    if not (here / "bare").exists():
        (here / "bare").mkdir()
        Image.new("RGB", (8, 8)).save(here / "bare" / "a.png")
    with pytest.raises(kind, match=words):
        fuse(recipe(**changes), "wrong")


def test_a_directory_that_does_not_fit_is_refused(made: Any, here: Path, tmp_path: Path):
    import shutil

    shutil.copytree(here / "made", tmp_path / "other")
    config = ImageTokensConfig(image_size=8, levels=(5, 5, 5), width=8, fine_width=4)
    ImageTokens(ImageTokenizer(config).initialise(0), preprocessing_for(config)).save(
        tmp_path / "other" / "image_tokens"
    )
    with pytest.raises(ConfigError, match="does not belong to this tokenizer of images"):
        lm.load(tmp_path / "other")
    (tmp_path / "other" / "image_tokens" / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="image_tokens"):
        lm.load(tmp_path / "other")


def test_what_does_not_fit_together_is_said_in_python(made: Any):
    model = made.model
    for asked, words in (
        (lambda: model.drawings("red"), "prompts is 'red'; give a list of strings"),
        (lambda: model.drawings(["red"], [1, 2]), "1 captions and 2 seeds"),
        (lambda: model.drawings(["red"], [-1]), "a seed is a whole number"),
        (lambda: model.draw("red", strategy=lm.Beam(width=2)), "code by code"),
        (lambda: model.draw("red", best_of=4), "no judge is given"),
        (lambda: model.draw("red", judge=Judge()), "best_of is 1, .*a judge is given"),
        (lambda: model.draw("red", best_of=4, judge=model), "does not compare images with texts"),
        (lambda: model.generate([{"role": "user", "content": "a"}], images=["a.png"]), "give the prompt as a text"),
        (lambda: ImageSpans.of(model.tokenizer, 65, 4), "does not belong"),
    ):
        with pytest.raises(ConfigError, match=words):
            asked()
    assert model.drawings([], []) == []


def test_the_recipe_is_known():
    assert image_recipe("emoji-fusion") is FusionRecipe and FusionRecipe.read("emoji-fusion").model.context == 160
