"""Claim 34 on drawn images: every kind of model, its floor, and the rules of its parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lab.whole import whole
from lmworks.basics.errors import DataError
from lmworks.lab.bench.kinds_of_models import found_by_words, read_photos
from lmworks.text import registry

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
    from types import SimpleNamespace

    import torch

    from lmworks.text.document import Document

    part = [Document(text, text, image=np.zeros((1, 1, 3), np.uint8)) for text in ("one", "two", "three")]
    images, texts = torch.eye(3), torch.tensor([[1.0, 0, 0], [1.0, 0, 0], [0, 0, 1.0]])
    model = SimpleNamespace(embed=lambda given=None, images=None, cut=False: images_ if images is not None else texts)
    images_ = images
    hits = found_by_words(model, SimpleNamespace(unseen={"unseen concepts": [part]}))  # type: ignore[arg-type]
    assert list(hits.values()) == [1.0, 0.0, 1.0]
