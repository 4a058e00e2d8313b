"""PDFs: pages that can be told, tables that say their headers."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_files import line, pdf

from lmworks.basics import progress
from lmworks.text.formats import pdf as pdf_format
from lmworks.text.sources import read, read_file

pytest.importorskip("pdfplumber", reason="the extra docs is not installed: pip install 'lmworks[docs]'")


def grid(rows: list[list[str]], top: int = 600) -> str:
    """A table with drawn lines, cells 100 by 20 points."""
    across, down = len(rows[0]), len(rows)
    lines = [f"72 {top - 20 * at} m {72 + 100 * across} {top - 20 * at} l S\n" for at in range(down + 1)]
    lines += [f"{72 + 100 * at} {top} m {72 + 100 * at} {top - 20 * down} l S\n" for at in range(across + 1)]
    cells = [
        line(cell, 76 + 100 * column, top - 15 - 20 * row)
        for row, line_ in enumerate(rows)
        for column, cell in enumerate(line_)
    ]
    return "".join(lines + cells)


def text_of(folder: Path, *pages: str) -> str:
    (folder / "a.pdf").write_bytes(pdf(*pages))
    return read(folder / "a.pdf").documents[0].text


def test_rows_of_a_drawn_table_say_their_headers(tmp_path):
    flats = grid([["Flat", "Rent", "Deposit"], ["1", "740", "1,480"], ["3", "800", "1,600"]])
    pets = grid([["Cats", "yes"], ["Dogs", "no"]], top=400)
    page = line("Before the tables.") + pets + flats + line("Between.", up=450) + line("After them.", up=100)
    assert text_of(tmp_path, line("One page."), page) == (
        "One page.\n\f\nBefore the tables.\n\n- Flat: 1; Rent: 740; Deposit: 1,480\n"
        "- Flat: 3; Rent: 800; Deposit: 1,600\n\nBetween.\n\n- Cats: yes\n- Dogs: no\n\nAfter them."
    )


def test_a_damaged_pdf_is_named_in_one_sentence(tmp_path, capfd):
    (tmp_path / "cut.pdf").write_bytes(pdf(line("Hello."))[:-4])
    with progress.shown():
        assert read(tmp_path / "cut.pdf").documents[0].text == "Hello."
    (said,) = capfd.readouterr().err.splitlines()
    faulty = "cut.pdf is no sound PDF (EOF marker seems truncated); what could be read of it was taken"
    assert said == f"lmworks: {faulty}"
    (tmp_path / "half.pdf").write_bytes(pdf(line("Hello."))[:300])
    _, skipped, _ = read_file(tmp_path / "half.pdf", "half.pdf")
    assert skipped is not None and skipped.reason.startswith("not a PDF that can be read")
    assert capfd.readouterr().err == ""


def test_an_empty_page_counts(tmp_path):
    assert text_of(tmp_path, line("One"), line(""), line("Three")) == "One\n\f\n\n\f\nThree"


def test_a_picture_of_many_lines_is_not_searched_for_tables(tmp_path, monkeypatch):
    monkeypatch.setattr(pdf_format, "_with_tables", lambda *_: pytest.fail("searched"))
    drawn = "".join(f"{at % 500} 10 m {at % 500} 20 l S\n" for at in range(pdf_format.MOST_LINES + 1))
    assert text_of(tmp_path, drawn + line("A picture.")) == "A picture."


def test_a_password_is_named(tmp_path):
    from pypdf import PdfWriter

    for password, name in (("secret", "closed.pdf"), ("", "open.pdf")):
        (tmp_path / "plain.pdf").write_bytes(pdf(line("Hello.")))
        writer = PdfWriter(clone_from=tmp_path / "plain.pdf")
        writer.encrypt(password, owner_password="owner", algorithm="RC4-128")
        writer.write(tmp_path / name)
    assert read(tmp_path / "open.pdf").documents[0].text == "Hello."
    _, skipped, _ = read_file(tmp_path / "closed.pdf", "closed.pdf")
    assert skipped is not None and skipped.reason == "protected by a password; save it without"
