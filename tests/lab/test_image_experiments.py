"""Claims 20, 33 and 34 on drawn images: rows of captions and images, floors, and what their findings hold."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch

from lab.whole import whole
from lmworks.basics.errors import DataError
from lmworks.lab.bench.drawn_from_words import back, fitting, of_another, one_of_each_family
from lmworks.lab.bench.drawn_from_words import drawn as drawn_by
from lmworks.lab.bench.encoders import prose
from lmworks.lab.bench.floor_to_ceiling import WAY
from lmworks.lab.bench.hidden_words import CHOICES, hidden_words, told
from lmworks.lab.bench.kinds_of_models import found_by_words, read_photos
from lmworks.lab.bench.loaded_weights import ridge
from lmworks.lab.bench.words_and_images import Pictured, WordsAndImages
from lmworks.lab.contrast import Condition
from lmworks.lab.intervals import estimate
from lmworks.lab.table import Table
from lmworks.models.network import Network
from lmworks.text import registry
from lmworks.text.document import Document

Image = pytest.importorskip("PIL.Image", reason="the extra vision is not installed")

COLOURS = {"red": (255, 0, 0), "green": (0, 200, 0), "blue": (0, 0, 255), "grey": (90, 90, 90)}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Squares of four colours in several places: `photos` and `judged` with the colour as the class, `pictures` with
    colour and place as the caption."""
    here = tmp_path_factory.mktemp("drawn")
    for folder, count in (("photos", 24), ("judged", 2), ("pictures", 24)):
        (here / folder).mkdir()
        for colour, shade in COLOURS.items():
            for at in range(count):
                pixels = np.full((32, 32, 3), 255, np.uint8)
                pixels[at % 16 : at % 16 + 12, 4 : 20 + at // 3] = shade
                name = here / folder / f"{colour}-{at}"
                Image.fromarray(pixels).save(name.with_suffix(".png"))
                name.with_suffix(".txt").write_text(colour if folder != "pictures" else f"{colour} at {at}")
    return here


@pytest.mark.skipif(not registry.available("trec-test"), reason="TREC is not here: set LMWORKS_DATA")
def test_a_tiny_run_gives_a_whole_finding(drawn: Path, kinds: Path, smollm2_path: Path, efficientnet: str, minilm: str):
    settings = [
        f"photos=['{drawn / 'photos'}', '{drawn / 'judged'}']",
        f"pictures=['{kinds}', '{kinds}']",
        "vocabularies=[280, 280]",
        f"weights=['{smollm2_path}', '{efficientnet}', '{minilm}']",
        "text=trec-test",
        "asked=80",  # a quarter as many words: enough for a floor that is no ceiling
        "steps=2",
        "photo_steps=2",
        "picture_steps=2",
    ]
    found = whole(34, settings).by_seed
    way = found.pop("share of the way from floor to ceiling")
    assert list(way) == ["BERT", "GPT", "ResNet", "tokens and decoder", "CLIP"]
    assert [name.partition(":")[0] for name in found] == list(way)
    for kind, (name, by) in zip(way, found.items(), strict=True):
        assert set(by) - {"CLIP"} == {"floor", "trained here", "ceiling"}
        for seed, share in way[kind].items():
            floor, here, ceiling = (
                by[one].get("all", by[one].get(seed)) for one in ("floor", "trained here", "ceiling")
            )
            gone = 0 if np.isclose(floor, ceiling) else (here - floor) / (ceiling - floor)
            assert share == pytest.approx(gone, abs=1e-5), name
    guessed = found["CLIP: unseen drawings found by words"]["floor"]["all"]
    assert 0 < guessed < 0.2


@pytest.mark.skipif(not registry.available("trec-test"), reason="TREC is not here: set LMWORKS_DATA")
def test_a_hidden_word_is_told_from_others_and_put_back_it_gives_the_text():
    text = prose("trec-test")
    hidden = hidden_words(text, 20)
    assert len(hidden) == 20 and [one.tokens for one in hidden] == [one.tokens for one in hidden_words(text, 20)]
    goes_on = {at for at in range(text.tokenizer.vocab_size) if text.tokenizer.decode([at]).startswith("##")}
    for one in hidden:
        assert len(set(one.choices)) == len(one.choices) == CHOICES
        assert all(text.tokenizer.decode([word]).isalpha() for word in one.choices)
        assert one.tokens[one.at] == text.tokenizer.require_mask() and one.tokens[one.at + 1] not in goes_on
        before, after = one.texts(text.tokenizer)
        put_back = [*one.tokens[: one.at], one.choices[0], *one.tokens[one.at + 1 :]]
        assert before + after[0] == text.tokenizer.decode(put_back) and after[0].startswith(" ")

    class Knows:
        """Certain of the words that are hidden, asked where each kind of network is asked."""

        def __init__(self, shift: int) -> None:
            self.states = {tuple(one.tokens): (one.at - shift, one.choices[0]) for one in hidden}

        def hidden(self, tokens: torch.Tensor) -> torch.Tensor:
            at, word = self.states[tuple(tokens[0].tolist())]
            states = torch.zeros(1, tokens.shape[1], text.tokenizer.vocab_size)
            states[0, at, word] = 1
            return states

        def logits(self, states: torch.Tensor) -> torch.Tensor:
            return states - torch.arange(text.tokenizer.vocab_size) * 1e-6  # what it knows nothing of is no tie

    for next_token in (False, True):
        assert told(cast(Network, Knows(next_token)), hidden, next_token) == [1.0] * 20
    assert sum(told(cast(Network, Knows(1)), hidden, False)) < 10


def test_the_way_is_that_of_the_means_and_floor_and_ceiling_vary_too():
    assert WAY.of(np.array([1.0, 2.0, 5.0])) == 0.25 and WAY.of(np.array([2.0, 3.0, 2.0])) == 0  # no way to go
    floor, here, ceiling = ([1.0, 0, 0, 0], [1.0, 1, 0, 0], [1.0, 1, 1, 0])
    table = Table()
    table.add(None, "a kind", WAY.name, np.stack([floor, here, ceiling], axis=1), items=list("abcd"))
    found = estimate(table, WAY, Condition("a kind"), ())
    assert found.value == pytest.approx(0.5, abs=0.2)
    assert found.interval is not None and found.interval[1] - found.interval[0] > 0.5  # four items say little


def test_drawings_are_of_their_captions_and_a_seed_draws_the_same_again(kinds: Path):
    data = WordsAndImages.read(str(kinds), 280, 2)
    shown, network = one_of_each_family(data), data.network(1, 32)
    assert len({one.family for one in shown}) == len(shown) and all(one in data.held_out for one in shown)
    first, again, other = (drawn_by(data, network, shown, seed) for seed in (1, 1, 2))
    assert first.shape == (len(shown), 16, 16, 3) and (first == again).all() and (first != other).any()
    assert back(data, shown).shape == first.shape
    places = of_another(shown)
    assert sorted(places) == list(range(len(shown))) and all(at != place for at, place in enumerate(places))


def test_a_drawing_fits_by_how_many_captions_of_other_families_are_further():
    shown = [Pictured([], [], 0, family, text) for family, text in (("a", "one"), ("a", "two"), ("b", "three"))]
    pictures, texts = torch.tensor([[1.0, 0], [1.0, 0], [0, 1.0]]), torch.tensor([[1.0, 0], [0.5, 0.5], [0.5, 0.5]])
    model = SimpleNamespace(embed=lambda given=None, images=None, cut=False: texts if images is None else pictures)
    assert fitting(model, np.zeros((3, 1, 1, 3), np.uint8), shown) == [1.0, 0.5, 0.75]  # type: ignore[arg-type]


def test_a_ridge_regression_finds_a_linear_map_again():
    draw = torch.Generator().manual_seed(0)
    known, asked = (torch.randn(rows, 5, generator=draw) for rows in (4000, 20))
    weights = torch.randn(5, 2, generator=draw).double()
    found = ridge(known, known.double() @ weights + 3, asked)
    assert torch.corrcoef(torch.stack([found[:, 0], asked.double() @ weights[:, 0]]))[0, 1] > 0.999
    assert found.mean() == pytest.approx(float((asked.double() @ weights + 3).mean()), abs=0.2)


def test_photos_of_several_sizes_are_refused(drawn: Path, tmp_path: Path):
    Image.new("RGB", (16, 16)).save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("red")
    with pytest.raises(DataError, match="images of one size, each with its class"):
        read_photos(str(drawn / "judged"), str(tmp_path), 5)


def test_an_image_is_found_where_its_caption_is_nearest():
    part = [Document(text, text, image=np.zeros((1, 1, 3), np.uint8)) for text in ("one", "two", "three")]
    pictures, texts = torch.eye(3), torch.tensor([[1.0, 0, 0], [1.0, 0, 0], [0, 0, 1.0]])
    model = SimpleNamespace(embed=lambda given=None, images=None, cut=False: texts if images is None else pictures)
    hits = found_by_words(model, SimpleNamespace(unseen={"unseen concepts": [part]}))  # type: ignore[arg-type]
    assert hits == [1.0, 0.0, 1.0]


@pytest.fixture(scope="module")
def kinds(drawn: Path) -> Path:
    """The drawn pictures, each colour in a folder of its name."""
    for one in (drawn / "pictures").iterdir():
        folder = drawn / "kinds" / one.name.partition("-")[0]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / one.name).write_bytes(one.read_bytes())
    return drawn / "kinds"


def test_one_network_and_two_learn_the_same_captions_and_images(kinds: Path):
    steps = ["tokenizer_steps=2", "steps=2", "fast_steps=2", "label_steps=2"]
    found = whole(33, [f"pictures='{kinds}'", "vocabulary=280", "dim=32", *steps]).by_seed
    assert set(found["held-out captions"]) == {
        "one network, after the other kind",
        "one network, after nothing",
        "a network for each kind",
    }
    assert len(found["kinds of things told"]) == 5  # two ways at two numbers of labels, and the commonest


def test_images_of_one_folder_are_no_several_kinds(drawn: Path):
    with pytest.raises(DataError, match="show one kind of thing; give some of several groups or folders"):
        WordsAndImages.read(str(drawn / "pictures"), 280, 1)


def few() -> WordsAndImages:
    """Words are 0 to 9, marks 10 and 11, codes 12 to 15, labels 16 and 17."""
    one, two = Pictured([10, 1, 2], [11, 12, 13], 16, "a"), Pictured([10, 3], [11, 14, 15], 17, "b")
    return WordsAndImages([one, one, two], [one, two, two], 18, [16, 17])


def test_marks_are_given_and_never_predicted():
    rows = few().pairs()
    assert len(rows) == 2 * len(few().train)
    for (example,) in rows:
        assert [token in (10, 11) for token in example.tokens] == [not carries for carries in example.supervised]


def test_labels_are_drawn_evenly_and_alone_are_predicted():
    rows = few().labelled(2, seed=0)
    assert sorted(row[0].tokens[-1] for row in rows) == [16, 17]
    assert all(row[0].supervised == [False] * 3 + [True] for row in rows)
    assert len(few().labelled(100, seed=0)) == 3  # all that there are


def test_nats_are_those_of_one_kind_alone():
    data = few()

    def network(tokens: torch.Tensor) -> torch.Tensor:
        """Certain of the codes of images, and of nothing else."""
        logits = torch.zeros(*tokens.shape, 18)
        logits[:, :-1].scatter_(2, tokens[:, 1:, None], torch.where(tokens[:, 1:, None] > 11, 100.0, 0.0))
        return logits

    for given in (True, False):
        found = [data.nats(cast(Network, network), kind, given) for kind in ("captions", "images")]
        captions, images = np.array(found[0]), np.array(found[1])
        assert captions[:, 1].tolist() == images[:, 1].tolist() == [1, 2]  # families a and b
        assert captions[:, 0] == pytest.approx([np.log(18), 2 * np.log(18)])
        assert images[:, 0] == pytest.approx([0, 0], abs=1e-6)


@pytest.mark.skipif(not registry.available("world-countries"), reason="world-countries is not here")
@pytest.mark.skipif(not registry.available("wikitext2"), reason="WikiText-2 is not here: set LMWORKS_DATA")
def test_images_windows_and_texts_are_switched_on_and_off(kinds: Path):
    sizes = ["tokenizer_steps=2", "steps=2", "vocabulary=280", "window=128", "texts=2", "asked=2"]
    found = whole(20, [f"pictures='{kinds}'", *sizes]).by_seed
    assert {metric: set(by) for metric, by in found.items()} == {
        "held-out captions": {"with the image", "without"},
        "text after the window": {"a large window", "a small window"},
        "questions on facts answered wrongly": {"with what was found", "the model alone"},
    }
