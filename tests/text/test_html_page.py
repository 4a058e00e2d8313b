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


FRAMED = """<html><head><title>Your first week - Intranet</title></head><body>
<header><nav><ul><li><a>Home</a><li><a>Log out</a></ul></nav><p>Tidewell</p></header>
<div class="cookie">This site uses cookies. <button>Accept all</button></div>
<main><nav>1 Badge</nav><p>Your badge is on your desk.</p><aside>Bring a photo.</aside>
<blockquote>Be kind.<footer>Ann</footer></blockquote></main>
<aside>Latest news</aside><footer>Registered in England</footer></body></html>"""


def test_the_frame_of_a_page_is_none_of_its_text():
    assert text_of_html(FRAMED) == (
        "# Your first week - Intranet\n\nTidewell\n\n1 Badge\n\nYour badge is on your desk.\n\nBring a photo.\n\n"
        "Be kind.\n\nAnn"
    )
    roles = FRAMED.replace("<main>", "<div role=main>").replace("</main>", "</div>")
    roles = roles.replace("<header><nav>", "<header><div role='navigation'>").replace("</ul></nav>", "</ul></div>")
    roles = roles.replace("<aside>Latest", "<div role=complementary>Latest").replace(
        "</aside><footer>", "</div><footer>"
    )
    assert text_of_html(roles) == text_of_html(FRAMED)


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<p>a<p hidden>b<p>c", "a\n\nc"),
        ("<ul><li>a<li hidden>b<b>c</b><li>d</ul>e", "- a\n- d\n\ne"),
        ("<ul><li hidden>a<ul><li>b</ul></ul>c", "c"),
        ("<p>a <i aria-hidden=true>#</i>b<img hidden>c", "a bc"),
        ("<div aria-hidden='false'>a</div><div hidden=until-found>b</div>", "a\n\nb"),
        ("<dialog open>Sign up!</dialog>a<div role=alertdialog>b<div>c</div></div>d", "a\n\nd"),
        ("<button aria-controls='x y'>Why?</button><div id=y hidden>So.</div>", "Why?\n\nSo."),
        ("<div role=tabpanel hidden>On a Mac</div>a", "On a Mac\n\na"),
        ("<div class=cookies>Use the cookies with milk.</div>", "Use the cookies with milk."),
        ("<article>a<p class=cookies>Bake.</article>", "a\n\nBake."),
        ("<body class=cookies-unset><div aria-hidden=true>Menu<main>a</main></div>", "a"),
        ("<aside>a</aside>b", "a\n\nb"),
        ("<section>a<footer>Ann</footer></section><footer>Imprint</footer>", "a\n\nAnn"),
        ("<table><tr><th>a<th hidden>b<th>c<tr><td>1<td hidden>2<td>3</table>", "- a: 1; c: 3"),
        ("<svg><title>Arrow</title></svg>a", "a"),
        ("<nav><div>a</nav>b", "b"),
        ("</nav><div>a</main></div>b", "a\n\nb"),
        ("<title>T</title><nav>Only <b>this</b></nav><script>x</script>", "# T\n\nOnly this"),
        ("<div hidden>All <main hidden>of it</main></div>", "All\n\nof it"),
    ],
)
def test_what_is_hidden_is_dropped_unless_it_is_all_there_is(page: str, text: str):
    assert text_of_html(page) == text


def test_cells_that_span_everything_cannot_unfold_without_bound():
    row = "<tr>" + "<td colspan=1000 rowspan=1000>x" * 100
    assert len(text_of_html("<table>" + row * 1000 + "</table>")) < 10**6


def test_text_without_tags_and_text_around_an_unclosed_tag():
    assert text_of_html("a & b &lt; c &copy") == "a & b < c ©"
    assert text_of_html("<p>before</p><a href='never closed") == "before"
    assert text_of_html("<p>before</p><script>never closed") == "before"


@pytest.mark.parametrize(
    "opening",
    [
        "<a ",
        '<a x="',
        "<!--",
        "<?",
        "</a",
        "<![CDATA[",
        "&#",
        "<p>",
        "<table>",
        "<tr><td>",
        "<td>",
        "<li>",
        "<nav>",
        "<b></i>",
    ],
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
