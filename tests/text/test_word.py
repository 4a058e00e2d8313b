"""Word documents: headings, lists and tables as text; and archives that are made to hurt."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from lmworks.grounding.chunks import chunks_of
from lmworks.text.formats import word
from lmworks.text.sources import read, read_file

docx = pytest.importorskip("docx", reason="the extra docs is not installed: pip install 'lmworks[docs]'")
DOCUMENT = "word/document.xml"


def filled(table, rows):
    for line, values in zip(table.rows, rows, strict=True):
        for cell, value in zip(line.cells, values, strict=True):
            cell.text = value
    return table


def text_of(document, path: Path) -> str:
    document.save(str(path))
    return read(path).documents[0].text


def changed(path: Path, part: str, change) -> Path:
    """The archive with one part changed."""
    held = io.BytesIO(path.read_bytes())
    with zipfile.ZipFile(held) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            content = old.read(entry)
            new.writestr(entry.filename, change(content) if entry.filename == part else content)
    return path


@pytest.fixture
def simple(tmp_path) -> Path:
    document = docx.Document()
    document.add_paragraph("The rent is due.")
    document.save(str(tmp_path / "simple.docx"))
    return tmp_path / "simple.docx"


def reason(path: Path) -> str:
    documents, skipped, _ = read_file(path, path.name)
    assert documents == [] and skipped is not None and "\n" not in skipped.reason
    return skipped.reason


def test_headings_lists_tables_and_what_stands_around(tmp_path):
    document = docx.Document()
    document.add_heading("House rules", 0)
    document.add_heading("Payment", 1)
    paragraph = document.add_paragraph("The rent is due on the ")
    paragraph.add_run("third").bold = True
    paragraph.add_run(" day.")
    document.add_paragraph("one", style="List Bullet")
    document.add_paragraph("two", style="List Number")
    flats = [["Flat", "Rent", "Deposit"], ["1", "740", "1,480"], ["3", "800", "1,600"]]
    filled(document.add_table(3, 3), flats)
    document.add_heading("People", 2)
    filled(document.add_table(2, 2), [["Owner", "Ms Berg"], ["Phone", "123"]])
    document.sections[0].header.paragraphs[0].text = "Berg & Sons"
    assert text_of(document, tmp_path / "rules.docx") == (
        "# House rules\n\nBerg & Sons\n\n## Payment\n\nThe rent is due on the third day.\n\n- one\n- two\n\n"
        "- Flat: 1; Rent: 740; Deposit: 1,480\n- Flat: 3; Rent: 800; Deposit: 1,600\n\n"
        "### People\n\n- Owner: Ms Berg\n- Phone: 123"
    )


@pytest.mark.parametrize("title", ["House rules", ""])
def test_headers_and_footers_stand_under_no_heading_once(tmp_path, title):
    document = docx.Document()
    if title:
        document.add_heading(title, 0)
    document.add_paragraph("For everybody.")
    document.add_heading("Payment", 1)
    document.add_paragraph("The rent is due.")
    document.add_section()
    for section in document.sections:
        section.header.is_linked_to_previous = section.footer.is_linked_to_previous = False
        section.header.paragraphs[0].text = "Berg & Sons"
        section.header.paragraphs[0].style = "Title"
        section.footer.paragraphs[0].text = "Confidential"
    document.save(str(tmp_path / "rules.docx"))
    (read_one,) = read(tmp_path / "rules.docx").documents
    chunks = chunks_of(read_one, lambda texts: [len(one.split()) for one in texts], 50)
    assert [(one.title, one.heading, one.text) for one in chunks] == [
        (title or "rules", "", "Berg & Sons\n\nConfidential\n\nFor everybody."),
        (title or "rules", "Payment", "The rent is due."),
    ]


def test_headers_and_footers_of_first_and_even_pages_are_read_where_such_pages_have_their_own(tmp_path):
    def text(first: bool, even: bool) -> str:
        document = docx.Document()
        document.add_paragraph("The rent is due.")
        section = document.sections[0]
        section.header.paragraphs[0].text = "Berg & Sons"
        section.first_page_header.paragraphs[0].text = "Contract 17"
        section.first_page_footer.paragraphs[0].text = "Bonn"
        section.even_page_header.paragraphs[0].text = "Draft"
        # Only the second section shows what the first one defines.
        document.add_section().different_first_page_header_footer = first
        document.settings.odd_and_even_pages_header_footer = even
        return text_of(document, tmp_path / "rules.docx")

    assert text(False, False) == "Berg & Sons\n\nThe rent is due."
    assert text(True, False) == "Berg & Sons\n\nContract 17\n\nBonn\n\nThe rent is due."
    assert text(False, True) == "Berg & Sons\n\nDraft\n\nThe rent is due."


def test_tables_with_merged_cells_bold_headers_and_tables_inside(tmp_path):
    document = docx.Document()
    bold = filled(document.add_table(3, 2), [["Pet", "Allowed"], ["Cat", "yes"], ["Dog", "no"]])
    for cell in bold.rows[0].cells:
        cell.paragraphs[0].runs[0].bold = True
    merged = filled(
        document.add_table(4, 3), [["City", "2020", "2024"], ["x", "", ""], ["a", "1", "2"], ["b", "3", "4"]]
    )
    merged.cell(1, 0).merge(merged.cell(1, 2)).text = "Abroad"
    merged.cell(2, 0).merge(merged.cell(3, 0)).text = "Bonn"
    merged.rows[0]._tr.get_or_add_trPr().append(merged._tbl.makeelement(word._W + "tblHeader"))
    outer = document.add_table(1, 2)
    outer.cell(0, 0).text = "left"
    filled(outer.cell(0, 1).add_table(1, 2), [["Key", "value"]])
    assert text_of(document, tmp_path / "tables.docx") == (
        "- Pet: Cat; Allowed: yes\n- Pet: Dog; Allowed: no\n\n"
        "- Abroad\n- City: Bonn; 2020: 1; 2024: 2\n- City: Bonn; 2020: 3; 2024: 4\n\nleft\n\n- Key: value"
    )


def test_inserted_and_controlled_text_is_read_and_deleted_text_is_not(simple):
    def run(text: str) -> str:
        return f"<w:r><w:t>{text}</w:t></w:r>"

    paragraph = f"<w:p><w:ins>{run('new')}</w:ins><w:del>{run('old')}</w:del></w:p>"
    control = f"<w:sdt><w:sdtContent><w:p>{run('field')}</w:p></w:sdtContent></w:sdt>"

    def change(xml: bytes) -> bytes:
        return xml.replace(b"<w:sectPr", f"{paragraph}{control}<w:sectPr".encode(), 1)

    assert read(changed(simple, DOCUMENT, change)).documents[0].text == "The rent is due.\n\nnew\n\nfield"


def test_what_is_broken_or_closed_is_a_sentence(tmp_path, simple):
    whole = simple.read_bytes()
    for name, content, expected in (
        ("cut.docx", whole[: len(whole) // 2], "not a Word document that can be read (File is not a zip file)"),
        ("noise.docx", b"noise" * 100, "not a Word document that can be read (File is not a zip file)"),
        ("old.docx", word._PROTECTED + bytes(600), "protected by a password, or an old .doc"),
    ):
        (tmp_path / name).write_bytes(content)
        assert reason(tmp_path / name).startswith(expected)
    with zipfile.ZipFile(tmp_path / "other.docx", "w") as archive:
        archive.writestr("a.txt", "text")
    assert reason(tmp_path / "other.docx").startswith("not a Word document that can be read (")
    for broken in (b"<no", b"\x00\xff", b"<a>" * 1000):
        assert reason(changed(simple, DOCUMENT, lambda _, broken=broken: broken)).startswith("not a Word document")


def test_an_archive_cannot_unfold_without_bound(tmp_path, simple):
    bomb = changed(simple, DOCUMENT, lambda _: bytes(word.PART_LIMIT + 1))
    assert bomb.stat().st_size < 2**20
    assert reason(bomb).startswith("a Word document that unfolds to 65 MiB; split it")
    with zipfile.ZipFile(tmp_path / "many.docx", "w") as archive:
        for number in range(word.MOST_PARTS + 1):
            archive.writestr(f"{number}", "")
    assert reason(tmp_path / "many.docx").startswith("a Word document that unfolds to")


def test_entities_name_no_files_and_unfold_to_nothing(tmp_path, simple):
    (tmp_path / "secret").write_text("password")
    doctype = f'<!DOCTYPE a [<!ENTITY x SYSTEM "file://{tmp_path}/secret"><!ENTITY y "{"lol" * 1000}">]>'.encode()

    def change(xml: bytes) -> bytes:
        at = xml.index(b"<w:document")
        return xml[:at] + doctype + xml[at:].replace(b"The rent", b"&x;" + b"&y;" * 1000)

    documents, _, _ = read_file(changed(simple, DOCUMENT, change), "simple.docx")
    assert all("password" not in one.text and len(one.text) < 10_000 for one in documents)
