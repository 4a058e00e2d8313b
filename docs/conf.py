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
