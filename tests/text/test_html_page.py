"""HTML as a reader sees it, and pages made to hurt the parser."""

from __future__ import annotations

import time

import pytest

from lmworks.text.formats.html_page import text_of_html
from lmworks.text.plain import UnreadableError


def test_paragraphs_lists_tables_code_and_entities():
    page = """<!DOCTYPE html><html><head><title>A  title</title><style>p { color: red }</style>
    <script>if (1 < 2) { document.write("<p>never</p>") }</script></head><body>
    <h1>Head &amp; shoulders</h1><p>One
       <b>bold</b>&nbsp;word.<br>Next line.</p><!-- unseen -->
    <ul><li>first</li><li>second</ul>
    <pre>
def f(x):
    return x
</pre><table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table>last</body></html>"""
    assert text_of_html(page) == (
        "# A title\n\n# Head & shoulders\n\nOne bold\u00a0word.\nNext line.\n\n- first\n- second\n\n"
        "def f(x):\n    return x\n\n- a: 1; b: 2\n\nlast"
    )


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (
            "<caption>Deposits</caption><tr><th>Flat<th>Deposit<tr><td>1<td>1,480<tr><td>3<td><p>1,600</p>euros",
            "Deposits\n- Flat: 1; Deposit: 1,480\n- Flat: 3; Deposit: 1,600 euros",
        ),
        (  # headers of two rows, merged; a row over the whole width; a cell over two rows
            "<thead><tr><td rowspan=2>City<td colspan=2>People<tr><td>2020<td>2024</thead><tr><td colspan=3>Abroad"
            "<tr><td rowspan=2>Bonn<td>330<td>340<tr><td>331<td>",
            "- Abroad\n- City: Bonn; People 2020: 330; People 2024: 340\n- City: Bonn; People 2020: 331",
        ),
        ("<tr><th>Capital<td>Paris<tr><th>Area:<td>643 km²", "- Capital: Paris\n- Area: 643 km²"),
        ("<tr><td>Cats<td>yes<tr><td>Dogs<td>no", "- Cats: yes\n- Dogs: no"),
        ("<tr><td>Flat<td>Rent<td>Pets<tr><td>1<td>740<td>", "- Flat: 1; Rent: 740"),
        ("<tr><td>1<td>740<td>no<tr><td>2<td>800<td>yes", "- 1; 740; no\n- 2; 800; yes"),
        (
            "<tr><td>Menu<td><table><tr><th>Pet<th>Fee<tr><td>Cat<td>5</table><td>right",
            "Menu\n\n- Pet: Cat; Fee: 5\n\nright",
        ),
        ("<tr><td>left<td><h2>Rent</h2><p>Due.</p>", "left\n\n## Rent\n\nDue."),
        ("<tr><td colspan=1000000 rowspan=9>a<td>b<tr><td>c", "- a: b\n- a: c"),
        ("", ""),
    ],
)
def test_a_row_of_a_table_says_its_headers(table: str, expected: str):
    assert text_of_html(f"<table>{table}</table>") == expected


def test_cells_that_span_everything_cannot_unfold_without_bound():
    row = "<tr>" + "<td colspan=1000 rowspan=1000>x" * 100
    assert len(text_of_html("<table>" + row * 1000 + "</table>")) < 10**6


def test_text_without_tags_and_text_around_an_unclosed_tag():
    assert text_of_html("a & b &lt; c &copy") == "a & b < c ©"
    assert text_of_html("<p>before</p><a href='never closed") == "before"
    assert text_of_html("<p>before</p><script>never closed") == "before"


@pytest.mark.parametrize(
    "opening", ["<a ", '<a x="', "<!--", "<?", "</a", "<![CDATA[", "&#", "<p>", "<table>", "<tr><td>", "<td>", "<li>"]
)
@pytest.mark.slow  # it compares times, which a busy machine distorts
def test_time_grows_with_the_page_and_not_with_its_square(opening):
    """HTMLParser.close takes 28 seconds for 60 kB of `<a ` (Python 3.11.7)."""
    start = time.process_time()
    text_of_html("<p>text</p>" + opening * 300_000)
    assert time.process_time() - start < 5


def test_a_malformed_declaration_is_named():
    try:
        assert "text" in text_of_html("<p>text</p><![<![<![>")  # Python 3.13 and later read on
    except UnreadableError as error:
        assert "malformed HTML" in str(error)
