"""Emoji: found by their packages, drawn once, and no sibling on both sides of a split."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lmworks.basics.errors import DataError

pytest.importorskip("PIL.Image", reason="the extra vision is not installed")
resvg = pytest.importorskip("resvg_py", reason="the extra vision is not installed")

from lmworks.text.images import emoji  # noqa: E402
from lmworks.text.images.reading import Images  # noqa: E402

WORDS = [
    {"hexcode": "1F34E", "label": "red apple", "tags": ["apple", "fruit", "red"], "group": 4},
    {"hexcode": "1F468-200D-1F680", "label": "man astronaut", "tags": ["rocket", "space"], "group": 1},
    {"hexcode": "1F469-200D-1F680", "label": "woman astronaut", "tags": ["rocket", "space"], "group": 1},
    {"hexcode": "1F3FB", "label": "light skin tone", "tags": [], "group": 2},
    {"hexcode": "1F1E6", "label": "regional indicator A"},
]
BODY = '<circle cx="8" cy="8" r="8" fill="{}"/>'
ICONS = {
    "icons": {"apple": {"body": BODY.format("#f00")}, "man": {"body": BODY.format("#00f"), "width": 32}},
    "aliases": {"red-apple": {"parent": "apple"}},
    "width": 16,
    "height": 16,
}
CHARS = {"1f34e": "red-apple", "1F468-200d-1F680": "man", "1f3fb": "man"}


def package(**files) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as archive:
        for name, content in files.items():
            member, packed = tarfile.TarInfo(f"package/{name.replace('__', '/')}"), json.dumps(content).encode()
            member.size = len(packed)
            archive.addfile(member, io.BytesIO(packed))
    return written.getvalue()


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Two packages of a few emoji, in a folder of LMWORKS_DATA."""
    monkeypatch.setenv("LMWORKS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LMWORKS_DATA", str(tmp_path / "data"))
    (tmp_path / "data" / "emoji").mkdir(parents=True)
    given = {"noto": package(**{"icons.json": ICONS, "chars.json": CHARS}), "": package(**{"en__data.json": WORDS})}
    for style, content in given.items():
        entry = emoji.STYLES["noto"] if style else emoji.WORDS
        entry = replace(entry, sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))
        monkeypatch.setitem(emoji.STYLES, "noto", entry) if style else monkeypatch.setattr(emoji, "WORDS", entry)
        (tmp_path / "data" / "emoji" / entry.file).write_bytes(content)
    emoji.concepts.cache_clear()
    yield tmp_path
    emoji.concepts.cache_clear()


def test_each_emoji_comes_with_its_caption_and_its_family(small):
    apple, man = emoji.documents(["noto"], size=16)
    assert apple.text == "red apple: fruit" and man.text == "man astronaut: rocket, space"
    assert apple.source == "emoji:noto#red apple"
    facts = {"style": ("noto",), "concept": ("red apple",), "family": ("1f34e",), "group": ("food and drink",)}
    assert apple.metadata == facts | {"tags": ("apple", "fruit", "red")}
    assert apple.image.shape == (16, 16, 3)
    assert tuple(apple.image[8, 8]) == (255, 0, 0) and tuple(apple.image[0, 0]) == (255, 255, 255)
    families = {one.label: one.family for one in emoji.concepts().values()}
    assert families["man astronaut"] == families["woman astronaut"] != families["red apple"]
    assert "light skin tone" not in families and "regional indicator A" not in families


def test_icons_without_a_list_of_characters_are_found_by_their_names(small, monkeypatch):
    content = package(**{"icons.json": ICONS, "chars.json": {}})
    entry = replace(emoji.STYLES["noto"], sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))
    monkeypatch.setitem(emoji.STYLES, "noto", entry)
    (small / "data" / "emoji" / entry.file).write_bytes(content)
    (apple,) = emoji.documents(["noto"], size=16)
    assert apple.text == "red apple: fruit"
    assert emoji._name_of("man’s shoe (1st)") == "mans-shoe-1st"


def test_a_picture_that_is_no_square_stands_in_the_middle_of_one(small):
    _, man = emoji.documents(["noto"], size=16)
    rows = np.flatnonzero((man.image != 255).any(axis=(1, 2)))
    assert (rows[0], rows[-1]) == (4, 11)


def test_emoji_are_drawn_once_and_again_where_the_file_has_changed(small, monkeypatch):
    first = [one.hash for one in emoji.documents(["noto"], size=16)]
    calls = []
    draw = resvg.svg_to_bytes
    monkeypatch.setattr(resvg, "svg_to_bytes", lambda **said: calls.append(1) or draw(**said))
    assert [one.hash for one in emoji.documents(["noto"], size=16)] == first and not calls
    path = small / "cache" / "data" / "emoji" / "noto-16.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert [one.hash for one in emoji.documents(["noto"], size=16)] == first and len(calls) == 2
    with np.load(path) as kept:
        changed = dict(kept)
    changed["images"] = changed["images"] // 2  # a file that is whole, and holds something else
    np.savez(path, **changed)
    assert [one.hash for one in emoji.documents(["noto"], size=16)] == first and len(calls) == 4
    list(emoji.documents(["noto"], size=8))
    assert len(calls) == 6


def test_a_changed_package_is_refused(small):
    (path,) = (small / "data" / "emoji").glob("*noto*")
    path.write_bytes(path.read_bytes() + b"!")
    with pytest.raises(DataError, match="SHA-256 is not"):
        list(emoji.documents(["noto"]))


@pytest.mark.parametrize("npm", ["fails", "is not there"])
def test_without_the_packages_it_says_where_to_put_them(npm, tmp_path, monkeypatch):
    monkeypatch.setenv("LMWORKS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LMWORKS_DATA", str(tmp_path))
    (tmp_path / "bin").mkdir()
    if npm == "fails":
        (tmp_path / "bin" / "npm").write_text("#!/bin/sh\necho 'npm error code ENOTFOUND' >&2\nexit 1\n")
        (tmp_path / "bin" / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    emoji.concepts.cache_clear()
    why = "npm says: code ENOTFOUND" if npm == "fails" else "there is no npm"
    with pytest.raises(DataError, match=rf"could not be fetched \({why}\).* put what `npm pack emojibase-data@17.0.0`"):
        next(emoji.documents())


def test_a_package_that_npm_fetches_is_checked_and_kept(small, monkeypatch):
    (words,) = (small / "data" / "emoji").glob("*emojibase*")
    (small / "bin").mkdir()
    script = f"#!/bin/sh\ntest $2 = emojibase-data@17.0.0 && /bin/mv {words} $4/{words.name}\n"
    (small / "bin" / "npm").write_text(script)
    (small / "bin" / "npm").chmod(0o755)
    (small / "elsewhere").mkdir()
    monkeypatch.setenv("PATH", str(small / "bin"))
    words = words.rename(small / "elsewhere" / words.name)
    (small / "bin" / "npm").write_text(script.replace("/data/emoji/", "/elsewhere/"))
    assert len(emoji.concepts()) == 3
    assert (small / "cache" / "data" / "emoji-words" / words.name).is_file()


@pytest.mark.parametrize(
    ("styles", "size", "why"), [(["apple"], 32, "no style 'apple'.*noto"), (["noto"], 0, "at least 1")]
)
def test_what_there_is_not_is_one_sentence(small, styles, size, why):
    with pytest.raises(DataError, match=why):
        list(emoji.documents(styles, size))


def test_a_set_is_read_by_its_name(small):
    images = Images("emoji:noto", smallest=16)
    assert [one.image.shape for one in images] == [(16, 16, 3)] * 2
    assert images.summary() == "2 images"


def _packages_are_here():
    folders = os.environ.get("LMWORKS_DATA", "").split(os.pathsep)
    return any(Path(folder, "emoji", emoji.WORDS.file).exists() for folder in folders)


@pytest.mark.skipif(not _packages_are_here(), reason="the packages of emoji are not in LMWORKS_DATA")
def test_the_real_emoji_have_families_of_siblings():
    emoji.concepts.cache_clear()
    found = emoji.concepts()
    assert len(found) == 1914
    by_label = {one.label: one.family for one in found.values()}
    told = {label.removeprefix("man ") for label in by_label if label.startswith("man ")}
    for label in told & {label.removeprefix("woman ") for label in by_label}:
        assert by_label[f"man {label}"] == by_label[f"woman {label}"], label
        for whole in (label, f"person {label}"):
            assert by_label.get(whole, by_label[f"man {label}"]) == by_label[f"man {label}"]
