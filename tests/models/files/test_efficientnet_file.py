"""EfficientNet's published file: the one pickle that is read, and no other."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import pytest

import lmworks as lm
from lmworks.basics.errors import ModelError
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
