"""The words in pictures: lines in the order in which they are read, scanned pages of PDFs, and what is said without
the package."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from lmworks.basics.errors import DataError, LmworksError
from lmworks.text.formats import picture
from lmworks.text.images import words
from lmworks.text.images.words import Line, in_order
from lmworks.text.sources import read

pillow = pytest.importorskip("PIL.Image", reason="the extra vision is not installed")


def column(left: float, *texts: str, top: float = 0, width: float = 100) -> list[Line]:
    return [Line(text, left, top + 30 * at, left + width, top + 30 * at + 20) for at, text in enumerate(texts)]


def test_columns_are_read_one_after_the_other_and_paragraphs_are_parted():
    heading = Line("A heading over both columns", 0, 0, 300, 20)
    left, right = column(0, "one", "two", top=40), column(160, "three", "four", top=40)
    foot = column(0, "five", top=160)
    lines = [line for row in zip(left, right, strict=True) for line in row]  # as rapidocr gives them
    assert in_order([heading, *lines, *foot]) == ("A heading over both columns\n\none\ntwo\n\nthree\nfour\n\nfive")


def test_what_stands_in_a_row_is_a_line():
    total = [Line("Total", 0, 0, 60, 20), Line("1,480", 200, 2, 260, 22)]
    slanted = [Line("Hello", 0, 40, 60, 62), Line("world", 70, 46, 130, 68)]
    assert in_order([*reversed(slanted), *total]) == "Total 1,480\n\nHello world"
    assert in_order([]) == ""


def test_every_page_of_a_scan_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A TIFF of a scanner has many pages; a smaller copy of one that stands among them is none of them."""
    shades = (10, 20, 30)
    first, *others = (pillow.new("RGB", (40, 20), (shade, 0, 0)) for shade in shades)
    first.save(tmp_path / "bundle.tif", save_all=True, append_images=others)
    copy = pillow.new("RGB", (4, 2), (99, 0, 0))
    copy.encoderinfo = {"tiffinfo": {254: 1}}
    first.save(tmp_path / "with a copy.tif", save_all=True, append_images=[copy, *others])
    others[0].save(tmp_path / "turning.gif", save_all=True, append_images=others)
    monkeypatch.setattr(picture, "reader", lambda: None)
    monkeypatch.setattr(picture, "words_of", lambda pixels: f"page of {pixels[0, 0, 0]}")
    for name in ("bundle.tif", "with a copy.tif"):
        [document] = read(str(tmp_path / name)).documents
        assert document.text == "\f".join(f"page of {shade}" for shade in shades)
    [document] = read(str(tmp_path / "turning.gif")).documents
    assert document.text == "page of 20"


def test_without_the_package_each_file_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def missing(module: str, extra: str) -> None:
        raise LmworksError(f"this needs the package {module}, which is not installed; run: pip install '[{extra}]'")

    words.reader.cache_clear()
    monkeypatch.setattr(words, "require", missing)
    scan(tmp_path, "a.pdf", "Hello")
    page("Hello").save(tmp_path / "b.png")
    with pytest.raises(DataError, match=r"a\.pdf cannot be used: .*scanned.*needs the package rapidocr.*\[ocr\]"):
        read(tmp_path / "a.pdf")
    with pytest.raises(DataError, match=r"\.png files are not read without .*'lmworks\[ocr\]'.*--embedder CLIP"):
        read(tmp_path / "b.png")
    (tmp_path / "c.txt").write_text("a text")
    reading = read(tmp_path)
    assert [one.source for one in reading.documents] == ["c.txt"] and len(reading.skipped) == 2


def page(*lines: str) -> pillow.Image:
    """A page of 1,000 x 400 dots."""
    from PIL import ImageDraw, ImageFont

    image = pillow.new("RGB", (1000, 400), "white")
    for at, text in enumerate(lines):
        ImageDraw.Draw(image).text((60, 60 + 90 * at), text, "black", ImageFont.load_default(48))
    return image


def scan(folder: Path, name: str, *lines: str) -> None:
    """A PDF of one page that is a picture."""
    page(*lines).save(folder / name, "PDF", resolution=100)


def test_scanned_pages_and_photos_are_read(tmp_path: Path):
    pytest.importorskip("rapidocr", reason="the extra ocr is not installed")
    pytest.importorskip("pdfplumber", reason="the extra docs is not installed")
    words.reader.cache_clear()
    scan(tmp_path, "a.pdf", "The deposit is 1,480 euros.", "Cats are welcome.")
    page("Room 42 is closed.").save(tmp_path / "b.png")
    pillow.fromarray(np.full((40, 40, 3), 200, np.uint8)).save(tmp_path / "empty.png")
    found = {one.source: one.text for one in read(tmp_path).documents}
    assert "deposit is 1,480 euros" in found["a.pdf"] and "Cats are welcome" in found["a.pdf"]
    assert "Room 42 is closed" in found["b.png"] and set(found) == {"a.pdf", "b.png"}


def test_a_page_with_text_keeps_it_and_the_scanned_one_beside_it_is_read(tmp_path: Path):
    pytest.importorskip("rapidocr", reason="the extra ocr is not installed")
    pypdf = pytest.importorskip("pypdf", reason="the extra docs is not installed")
    from small_files import line, pdf

    scan(tmp_path, "scanned.pdf", "Dogs are not.")
    (tmp_path / "typed.pdf").write_bytes(pdf(line("Cats are welcome.")))
    writer, joined = pypdf.PdfWriter(), io.BytesIO()
    for name in ("typed.pdf", "scanned.pdf"):
        writer.append(tmp_path / name)
    writer.write(joined)
    (tmp_path / "both.pdf").write_bytes(joined.getvalue())
    assert read(tmp_path / "both.pdf").documents[0].text == "Cats are welcome.\n\f\nDogs are not."
