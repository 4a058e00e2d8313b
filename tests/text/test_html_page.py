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
        "A title\n\nHead & shoulders\n\nOne bold\u00a0word.\nNext line.\n\nfirst\nsecond\n\n"
        "def f(x):\n    return x\n\na b\n1 2\n\nlast"
    )


def test_text_without_tags_and_text_around_an_unclosed_tag():
    assert text_of_html("a & b &lt; c &copy") == "a & b < c ©"
    assert text_of_html("<p>before</p><a href='never closed") == "before"
    assert text_of_html("<p>before</p><script>never closed") == "before"


@pytest.mark.parametrize("opening", ["<a ", '<a x="', "<!--", "<?", "</a", "<![CDATA[", "&#", "<p>"])
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
