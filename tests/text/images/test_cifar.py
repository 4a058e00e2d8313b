"""CIFAR-10: whole and checked, whatever archive its files lie in."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile

import numpy as np
import pytest

from lmworks.basics.errors import DataError

pytest.importorskip("PIL.Image", reason="the extra vision is not installed")

from PIL import Image

from lmworks.text.images import cifar


def jpeg(shade):
    written = io.BytesIO()
    Image.new("RGB", (32, 32), (shade,) * 3).save(written, "JPEG", quality=75)
    return written.getvalue()


FILES = {
    f"{part}/{name}/{number:04}.jpg": jpeg(20 * place + 5 * number + (100 if part == "test" else 0))
    for place, name in ((2, "bird"), (0, "airplane"))
    for part, count in (("train", 2), ("test", 1))
    for number in range(count)
}


@pytest.fixture(params=["cifar10.tar.xz", cifar.FILES[1]])
def small(request, tmp_path, monkeypatch):
    """Six images, in the archive of LMWORKS_DATA or as GitHub packs them."""
    monkeypatch.setenv("LMWORKS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LMWORKS_DATA", str(tmp_path))
    monkeypatch.setattr(cifar, "ADDRESS", "http://127.0.0.1:9/cifar.zip")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    lines = "".join(f"{name} {hashlib.sha256(content).hexdigest()}\n" for name, content in sorted(FILES.items()))
    monkeypatch.setattr(cifar, "SHA256", hashlib.sha256(lines.encode()).hexdigest())
    path = tmp_path / "cifar10_full" / request.param
    path.parent.mkdir()
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in FILES.items():
                archive.writestr(f"CIFAR-10-images-{cifar.COMMIT}/{name}", content)
    else:
        with tarfile.open(path, "w:xz") as archive:
            for name, content in FILES.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return path


def test_the_images_come_class_by_class_and_are_kept(small):
    found = cifar.cifar10("train")
    assert found.images[:, 0, 0, 0].tolist() == [0, 5, 40, 45]
    assert [found.classes[label] for label in found.labels] == ["airplane", "airplane", "bird", "bird"]
    assert found.images.shape == (4, 32, 32, 3) and found.images.dtype == np.uint8
    assert [one.text for one in cifar.documents("test")] == ["airplane", "bird"]
    small.unlink()
    np.testing.assert_array_equal(cifar.cifar10("train").images, found.images)


def test_a_set_with_an_image_changed_is_refused(small, monkeypatch):
    monkeypatch.setattr(cifar, "SHA256", "0" * 64)
    with pytest.raises(DataError, match="does not hold the 60,000 images"):
        cifar.cifar10("test")


def test_without_the_files_it_says_where_to_put_them(small):
    small.unlink()
    with pytest.raises(
        DataError, match=r"^CIFAR-10 is not here and could not be fetched; .* put it as cifar10_full/d7d05618.*zip into"
    ):
        cifar.cifar10("train")
