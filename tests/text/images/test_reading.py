"""Folders, archives and tables of images: each with its caption, one at a time; what is wrong is named and counted."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from lmworks.basics.errors import DataError

pytest.importorskip("PIL.Image", reason="the extra vision is not installed")

from PIL import Image

from lmworks.text.images.reading import Images
from lmworks.text.plain import MEBIBYTE


def png(shade):
    written = io.BytesIO()
    Image.new("RGB", (4, 4), (shade, 0, 0)).save(written, "PNG")
    return written.getvalue()


FILES = {
    "a.png": png(10),
    "a.txt": b"an  apple\n",
    "b.png": png(20),
    "more/c.png": png(30),
    "more/c.txt": b"a cherry",
    "more/notes.md": b"not an image",
}


def folder_of(path: Path, files=FILES):
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def zip_of(path: Path, files=FILES):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tar_of(path: Path, files=FILES, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def found(images):
    return {(one.source.partition("/")[2] or one.source, one.text, int(one.image[0, 0, 0])) for one in images}


EXPECTED = [("a.png", "an apple", 10), ("b.png", "", 20), ("more/c.png", "a cherry", 30)]


@pytest.mark.parametrize("kind", ["folder", "zip", "tar", "tar.gz", "tar.xz"])
def test_the_same_images_whatever_they_lie_in(tmp_path, kind):
    made = {
        "folder": lambda: folder_of(tmp_path / "set"),
        "zip": lambda: zip_of(tmp_path / "set.zip"),
        "tar": lambda: tar_of(tmp_path / "set.tar"),
        "tar.gz": lambda: tar_of(tmp_path / "set.tar.gz", mode="w:gz"),
        "tar.xz": lambda: tar_of(tmp_path / "set.tar.xz", mode="w:xz"),
    }[kind]()
    images = Images(made)
    got = [(one.source.removeprefix(f"{made}/"), one.text, int(one.image[0, 0, 0])) for one in images]
    assert sorted(got) == EXPECTED
    assert images.summary() == "3 images, 1 without a caption"
    assert [one.hash for one in images] == [one.hash for one in images] and images.images == 3


def test_a_folder_of_shards_is_one_set(tmp_path):
    tar_of(tmp_path / "0.tar", {"x.png": png(1), "x.txt": b"one"})
    tar_of(tmp_path / "1.tar", {"x.png": png(2), "x.txt": b"two"})
    assert [one.text for one in Images(tmp_path)] == ["one", "two"]


@pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
def test_a_table_gives_the_captions_and_may_give_several(tmp_path, kind):
    lines = [
        {"file_name": "a.png", "text": "an apple"},
        {"file_name": "b.png", "captions": ["a banana", "yellow fruit"]},
        {"file_name": "gone.png", "text": "nothing"},
        {"file_name": "../out.png", "text": "elsewhere"},
        {"file_name": "https://example.org/x.png", "text": "far away"},
        {"other": 1},
    ]
    table = "\n".join([*map(json.dumps, lines), "{broken"]).encode()
    files = {"a.png": png(10), "b.png": png(20), "c.png": png(30), "metadata.jsonl": table}
    folder_of(tmp_path, {"out.png": png(99)})
    make = {"folder": folder_of, "zip": zip_of, "tar": tar_of}[kind]
    images = Images(make(tmp_path / f"set.{kind}", files))
    assert [one.text for one in images] == ["an apple", "a banana", "yellow fruit", ""]
    reasons = {one.path: one.reason for one in images.skipped}
    assert reasons["metadata.jsonl"].startswith("3 records; the first: record 5 names an address")
    assert "not in that folder" in reasons["gone.png"] and "not in that folder" in reasons["../out.png"]
    assert images.images == 3 and "3 skipped" in images.summary()


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_by_itself_names_the_images_that_count(tmp_path, delimiter):
    rows = [["image", "caption"], ["a.png", "red"], ["b.png", "redder"]]
    text = "\n".join(delimiter.join(row) for row in rows)
    folder_of(tmp_path, {"a.png": png(10), "b.png": png(20), "c.png": png(30), "t.csv": text.encode()})
    assert [one.text for one in Images(tmp_path / "t.csv")] == ["red", "redder"]


def test_one_image_with_its_caption(tmp_path):
    folder_of(tmp_path)
    assert [(one.text, one.image.shape) for one in Images(tmp_path / "a.png")] == [("an apple", (4, 4, 3))]


def test_of_one_image_nothing_else_of_its_folder_is_read(tmp_path):
    folder_of(tmp_path, {**FILES, "a.jpg": png(40), "a.csv": b"file_name,text\na.png,a pear\nb.png,no\n"})
    (tmp_path / "shards.zip").write_bytes(b"PK\x03\x04 and no more")
    (tmp_path / "a.tar").write_bytes(b"no archive")
    images = Images(tmp_path / "a.png")
    assert [(one.text, int(one.image[0, 0, 0])) for one in images] == [("a pear", 10)]
    assert images.skipped == [] and images.summary() == "1 image"


def test_a_source_is_the_path_of_its_image(tmp_path, monkeypatch):
    folder_of(tmp_path / "set", {**FILES, "t.csv": b"file_name,text\nmore/c.png,a cherry\n"})
    monkeypatch.chdir(tmp_path)
    for reference, source in (
        ("set/a.png", "set/a.png"),
        ("./set/a.png", "set/a.png"),
        (tmp_path / "set" / "a.png", str(tmp_path / "set" / "a.png")),
        ("set/t.csv", "set/more/c.png"),
    ):
        images = Images(reference)
        assert [one.source for one in images] == [source]
        assert images.within(source) == source.removeprefix(f"{tmp_path}/").removeprefix("set/")
    monkeypatch.chdir(tmp_path / "set")
    assert [one.source for one in Images("a.png")] == ["a.png"]


def test_what_cannot_be_used_is_named_and_counted_once(tmp_path):
    folder_of(
        tmp_path, {"a.png": png(1), "cut.png": png(2)[:40], "text.jpg": b"no", "logo.svg": b"<svg/>", "e.png": b""}
    )
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "bad.png").write_bytes(png(3))
    images = Images(tmp_path)
    assert len(images.all()) == 2
    assert {one.path for one in images.skipped} == {"cut.png", "text.jpg", "logo.svg", "e.png", "bad.txt"}
    assert images.summary().startswith("2 images, 2 without a caption; 5 skipped (")


def test_no_name_leads_out_of_an_archive(tmp_path):
    files = {"../up.png": png(1), "/etc/abs.png": png(2), "in.png": png(3), "a/../../b.png": png(4)}
    for archive in (tar_of(tmp_path / "x.tar", files), zip_of(tmp_path / "x.zip", files)):
        images = Images(archive)
        assert [one.source for one in images] == [f"{archive}/in.png"]
        assert sorted({one.reason for one in images.skipped}) == ["a path that leaves the archive"]
        assert not (tmp_path / "up.png").exists()


def test_links_of_a_tar_and_links_out_of_a_folder_are_not_followed(tmp_path):
    secret = tmp_path / "secret.png"
    secret.write_bytes(png(9))
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, str(secret)
        archive.addfile(link)
    assert list(Images(tmp_path / "x.tar")) == []
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "link.png").symlink_to(secret)
    images = Images(tmp_path / "set")
    assert list(images) == [] and "leaves the folder" in images.skipped[0].reason


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_a_tar_whose_header_would_fill_memory_is_left_at_that_place(tmp_path, kind):
    """A few KB, packed, may say a name of gigabytes, which tarfile reads whole."""
    path, size = tar_of(tmp_path / "x.tar", {"x.png": png(1)}), 32 * MEBIBYTE
    header = tarfile.TarInfo("long")
    header.type, header.size = kind, size
    member, bomb = path.read_bytes()[:1024], header.tobuf(tarfile.GNU_FORMAT) + bytes(size + 1024)
    path.with_suffix(".tar.gz").write_bytes(gzip.compress(member + bomb, 1))
    images = Images(path.with_suffix(".tar.gz"))
    tracemalloc.start()
    try:
        assert len(list(images)) == 1
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * MEBIBYTE
    assert images.skipped[0].reason == "the archive is damaged from here on (a name or header of 33,554,432 bytes)"


def test_an_archive_that_breaks_off_gives_what_came_before(tmp_path):
    noise = {f"{number}.png": png(number) + bytes(20_000) for number in range(10)}
    whole = tar_of(tmp_path / "x.tar", noise).read_bytes()
    for size in (5 * 20_992, 5 * 20_992 + 40, 5 * 20_992 + 9_000):  # before a member, in its name, in its bytes
        cut = tmp_path / f"{size}.tar"
        cut.write_bytes(whole[:size])
        images = Images(cut)
        assert len(list(images)) == 5
        reasons = " ".join(one.reason for one in images.skipped)
        assert "cut off while copying" in reasons or "unexpected end" in reasons, reasons


@pytest.mark.parametrize("name", ["broken.zip", "broken.tar.gz"])
def test_a_broken_archive_is_one_sentence(tmp_path, name):
    (tmp_path / name).write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(DataError, match=r"holds no image that can be read .*damaged"):
        Images(tmp_path / name).all()


def test_a_zip_that_says_less_than_it_holds_stays_bounded(tmp_path, monkeypatch):
    from lmworks.text.images import reading

    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros.png", bytes(2**22))
        archive.writestr("a.png", png(1))
    monkeypatch.setattr(reading, "MOST_BYTES", 2**20)
    images = Images(path)
    assert [one.source for one in images] == [f"{path}/a.png"]
    assert images.skipped[0].reason == "over 1 MiB, which is the most that is read"


@pytest.mark.parametrize("given", ["nowhere", "note.txt", "zero\0byte"])
def test_what_is_no_set_of_images_says_what_to_give(tmp_path, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    Path("note.txt").write_text("hello")
    with pytest.raises(DataError, match="give a folder of images"):
        Images(given)


def test_an_empty_folder_has_no_images(tmp_path):
    with pytest.raises(DataError, match="holds no image that can be read; give"):
        Images(tmp_path).all()


def test_a_set_is_read_in_the_memory_of_one_image(tmp_path):
    import tracemalloc

    written = io.BytesIO()
    Image.new("RGB", (600, 600)).save(written, "PNG")
    tar = tar_of(tmp_path / "x.tar", {f"{number}.png": written.getvalue() for number in range(20)})
    next(iter(Images(tar)))
    tracemalloc.start()
    for document in Images(tar):
        assert document.image is not None
    assert tracemalloc.get_traced_memory()[1] < 6 * 600 * 600 * 3
    tracemalloc.stop()


def test_equal_pixels_with_equal_captions_are_one_document(tmp_path):
    folder_of(tmp_path, {"a.png": png(1), "b.png": png(1), "c.png": png(2)})
    first, second, third = Images(tmp_path)
    assert first.hash == second.hash != third.hash
    assert isinstance(first.image, np.ndarray)


def test_a_caption_that_is_said_twice_counts_once(tmp_path):
    table = b"file_name,text\na.png,a cat\na.png,a  cat\n./a.png,a tomcat\n"
    images = Images(folder_of(tmp_path / "x", {"a.png": png(1), "captions.csv": table}))
    assert [one.text for one in images] == ["a cat", "a tomcat"]


def test_a_name_typed_in_a_table_finds_the_file_of_a_mac(tmp_path):
    files = {"Ka\u0308se.png": png(1), "captions.csv": "file_name,text\nK\u00e4se.png,a cheese\n".encode()}
    for reference in (
        folder_of(tmp_path / "x", files),
        tmp_path / "x" / "captions.csv",
        zip_of(tmp_path / "x.zip", files),
    ):
        images = Images(reference)
        assert [one.text for one in images] == ["a cheese"] and not images.skipped


@pytest.mark.parametrize(
    "table, words",
    [
        (
            b"photo,description\na.png,a cat\n",
            "record 1 has no 'file_name' with 'text' or 'caption', but 'photo', 'desc",
        ),
        (b"file_name,text\na.png,\n", "record 1 has nothing in its 'file_name' or its 'text'"),
        (b"a,b,c,d,e,f\n1,2,3,4,5,6\n", "but 'a', 'b', 'c', 'd', 'e', ..."),
        ("file_name,text\na.png,B\u00fcro\n".encode("latin-1"), "not UTF-8 text (byte 0xfc at 22); save it as UTF-8"),
    ],
)
def test_a_table_that_cannot_be_used_says_what_it_has_and_what_to_do(table, words, tmp_path):
    images = Images(folder_of(tmp_path / "x", {"a.png": png(1), "captions.csv": table}))
    list(images)
    assert words in images.summary()


def test_files_that_are_no_images_are_counted_by_their_suffix(tmp_path):
    more = {"deeds.pdf": b"%PDF", "letters/one.txt": b"Dear Ada", "letters/two.txt": b"Dear Jo", "LICENCE": b"free"}
    images = Images(folder_of(tmp_path / "x", FILES | more))
    for _ in (1, 2):
        list(images)
        assert images.others == {".md": 1, ".pdf": 1, ".txt": 2, "": 1}
    list(one := Images(tmp_path / "x" / "a.png"))
    assert not one.others
