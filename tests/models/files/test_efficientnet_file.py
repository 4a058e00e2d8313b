"""EfficientNet's published file: the one pickle that is read, and no other."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import pytest

import lmworks as lm
from lmworks.basics.errors import ModelError
from lmworks.cli import main
from lmworks.models.files.model_folder import EFFICIENTNET
from lmworks.models.files.references import resolve


class Harmful:
    """What a pickle can do when it is read."""

    def __reduce__(self):
        return open, (str(Path("harmed").absolute()), "w")


def test_no_other_pickle_is_read(efficientnet: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(resolve(efficientnet), "copy")
    weights = Path("copy", EFFICIENTNET)
    whole = weights.read_bytes()
    for wrong in (pickle.dumps(Harmful()), whole[:-1], whole[:1000] + bytes([whole[1000] ^ 1]) + whole[1001:], b""):
        weights.write_bytes(wrong)
        with pytest.raises(ModelError, match=r"is not the published file .* other pickles are not read"):
            lm.load("copy")
    assert not Path("harmed").exists()


def test_it_tells_a_photo_and_is_saved_as_safetensors(efficientnet: str, tmp_path: Path):
    sample = pytest.importorskip("sklearn.datasets", reason="pip install scikit-learn").load_sample_image("flower.jpg")
    model = lm.load(efficientnet)
    (told,) = model.classify(sample)
    assert told.label == "daisy"
    assert len(told.probabilities) == 1000
    model.save(tmp_path / "again")
    assert [one.name for one in (tmp_path / "again").glob("*.pth")] == []
    again = lm.load(tmp_path / "again").classify(sample)[0].probabilities
    assert again == pytest.approx(told.probabilities, rel=1e-4)


def test_photos_are_searched_by_a_photo(
    efficientnet: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    pillow = pytest.importorskip("PIL.Image", reason="the extra vision is not installed")
    datasets = pytest.importorskip("sklearn.datasets", reason="pip install scikit-learn")
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for name in ("flower", "china"):
        pillow.fromarray(datasets.load_sample_image(f"{name}.jpg")).save(f"photos/{name}.png")
    pillow.open("photos/flower.png").crop((60, 40, 560, 400)).save("part.png")

    def lmworks(*words: str) -> tuple[object, str, str]:
        monkeypatch.setattr("sys.argv", ["lmworks", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, *capsys.readouterr()

    code, said, _ = lmworks("embed", efficientnet, "photos", "--out", "vectors")
    assert code == 0 and "next    lmworks search vectors photo.jpg" in said
    code, said, _ = lmworks("search", "vectors", "part.png")
    assert code == 0 and said.index("flower.png") < said.index("china.png")
    code, _, error = lmworks("search", "vectors", "a daisy")
    assert code == 1 and "efficientnet reads images alone; search vectors by the path of an image" in error
