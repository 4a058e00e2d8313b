"""The handbook as pages: `make handbook` writes docs/_build/html, and `lmworks docs` opens it.

Verbs, settings and rooms are not written down twice: reference.py reads what they declare, before Sphinx starts.
"""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import reference  # noqa: E402

from lmworks import __version__  # noqa: E402

reference.write(HERE / "reference")

project, author, release = "lmworks", "the lmworks team", __version__
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "transcripts"]
myst_heading_anchors = 4
html_theme = "furo"
html_static_path, html_css_files = ["handbook.css"], ["handbook.css"]
html_title = f"lmworks {release}"
html_show_sphinx = html_show_copyright = html_copy_source = False

NAMED = {
    '<p class="caption" role="heading">': '<p class="caption" role="heading" aria-level="2">',
    '<aside class="sidebar-drawer">': '<aside class="sidebar-drawer" aria-label="Pages">',
    '<aside class="toc-drawer': '<aside aria-label="On this page" class="toc-drawer',
    '<th class="head"><p></p></th>': "<td></td>",
    "<pre>": '<pre tabindex="0">',
    '<div class="table-wrapper': '<div tabindex="0" class="table-wrapper',
}
"""What the theme leaves without a name, or out of the keyboard's reach (axe: critical, serious, moderate)."""


def setup(app):
    """Mend the written pages."""

    def mend(app, error):
        for path in [] if error else Path(app.outdir).rglob("*.html"):
            text = path.read_text(encoding="utf-8")
            for there, better in NAMED.items():
                text = text.replace(there, better)
            path.write_text(text, encoding="utf-8")

    app.connect("build-finished", mend)
