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
from lmworks.lab.bench.kinds_of_models import found_by_words, read_photos
from lmworks.lab.bench.words_and_images import COUNTS, Pictured, Unpadded, WordsAndImages, labels_needed, tokens_in
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
def test_a_tiny_run_gives_a_whole_finding(drawn: Path):
    names = {"photos": "photos", "judged": "judged", "pictures": "pictures"}
    settings = [f"{name}='{drawn / folder}'" for name, folder in names.items()]
    settings += [
        "text=trec-test",
        "steps=2",
        "photo_steps=2",
        "picture_steps=2",
        "asked=8",
        "vocabulary=280",
    ]
    found = whole(34, settings).by_seed
    assert set(found["classes of photos told"]) == {"ResNet", "CLIP", "the commonest or a guess"}
    guessed = found["unseen drawings found by words"]["the commonest or a guess"]
    assert len(guessed) == 2 and all(0 < one < 0.2 for one in guessed.values())


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
    assert list(hits.values()) == [1.0, 0.0, 1.0]


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
        "a network for each kind, as many examples",
        "a network for each kind, as much work",
    }
    assert len(found["kinds of things told"]) == len(COUNTS) + 3  # fresh after each, the other after two; the commonest
    assert set(found["labels needed"]["learnt images without labels"].values()) == {256}
    assert all(COUNTS[0] - 1 < one < COUNTS[-1] + 1 for one in found["labels needed"]["fresh"].values())


def test_captions_and_images_alone_are_together_as_much_work_as_both():
    data = few()
    alone = [data.alone("captions"), data.alone("images")]
    assert sum(map(tokens_in, alone)) == tokens_in(data.pairs())
    assert [Unpadded(rows).batch(range(len(rows))).tokens.shape for rows in alone] == [(6, 3), (6, 3)]
    assert Unpadded(data.alone("captions")).batch([4, 5]).labels.tolist() == [[3, -100]] * 2


def test_labels_needed_are_found_between_counts_on_a_logarithmic_scale():
    hits = [10.0, 20, 30, 25, 50]
    asked = {20: 256, 25: 256 * 2**0.5, 30: 512, 40: 1024 * 2**0.5, 50: 2048, 5: 128, 60: 2048}
    found = labels_needed(np.array([[*hits, goal] for goal in asked]))
    assert found == pytest.approx(list(asked.values()))
    assert labels_needed(np.array([[7 * 512.0, 7]])) == pytest.approx([512])  # a number, counted seven times


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
