"""The handbook as pages: those that a wheel carries, or those of a checkout, built when a page has changed.

front = handbook()        # the path of index.html
glossary()["perplexity"]  # one sentence
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import lmworks
from lmworks.basics import progress
from lmworks.basics.errors import LmworksError
from lmworks.basics.extras import require

PACKAGE = Path(lmworks.__path__[0])
_ENTRY = re.compile(r"^- \*\*(.+?)\*\*: (.+(?:\n  .+)*)", re.MULTILINE)
_LINK = re.compile(r"\[([^\]]+)\]\([^)]+\)")
CARRIED = PACKAGE / "handbook"
"""Where `make dist` puts the pages, so that they need neither Sphinx nor a network."""


def handbook(docs: Path = PACKAGE.parent / "docs", carried: Path = CARRIED) -> Path:
    """The front page; LmworksError where there are neither pages nor the files that they are made from.

    The pages of a checkout are made with Sphinx (extra handbook) in some ten seconds, and again when one is older than
    what it is made from.
    """
    is_checkout = (docs.parent / "pyproject.toml").is_file()  # beside an installed package, `docs` is somebody else's
    if not (is_checkout and (docs / "conf.py").is_file()):
        if (carried / "index.html").is_file():
            return carried / "index.html"
        raise LmworksError("this copy of lmworks came without its handbook; install the wheel, or clone the repository")
    front = docs / "_build" / "html" / "index.html"
    if not front.is_file() or front.stat().st_mtime < _newest(docs):
        _require()
        progress.note("making the handbook's pages (again when one changes)")
        build(docs, front.parent)
    return front


def written(docs: Path = PACKAGE.parent / "docs", carried: Path = CARRIED) -> set[str]:
    """The names of pages that are written by hand, of rooms, and of what was made before."""
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    pages = [*docs.glob("*.md"), *carried.rglob("*.html"), *(docs / "_build" / "html").rglob("*.html")]
    return rooms | {path.stem for path in pages} - {"index"}


def glossary(docs: Path = PACKAGE.parent / "docs", carried: Path = CARRIED) -> dict[str, str]:
    """What the handbook's glossary says of its terms ("step, epoch"); nothing where it is not here."""
    files = [folder / "glossary.md" for folder in (docs, carried) if (folder / "glossary.md").is_file()]
    entries = _ENTRY.findall(files[0].read_text(encoding="utf-8")) if files else []
    return {terms: _LINK.sub(r"\1", " ".join(said.split())).replace("`", "") for terms, said in entries}


def build(docs: Path, out: Path) -> None:
    """Make the pages with Sphinx; LmworksError with its words where a link leads nowhere or a page is not well formed.

    What stands in `out` changes only when all went well.
    """
    _require()
    fresh = out.with_name(f"{out.name}.new{os.getpid()}")
    options = ["-b", "html", "-n", "-W", "--keep-going", "-q", "--no-color", "-d", str(fresh / ".doctrees")]
    try:
        # In a process of its own: conf.py imports what lies beside it, and Sphinx changes the process that it runs in.
        made = subprocess.run(
            [sys.executable, "-m", "sphinx", *options, str(docs), str(fresh)],
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            raise LmworksError(f"the handbook has faults:\n{(made.stderr or made.stdout).strip()}")
        shutil.rmtree(fresh / ".doctrees")
        shutil.rmtree(out, ignore_errors=True)
        fresh.rename(out)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _require() -> None:
    for module in ("sphinx", "furo", "myst_parser"):
        require(module, extra="handbook")


def _newest(docs: Path) -> float:
    """When the last of the files changed that pages are made from: docs, the README, and what declares itself. A page
    that is taken away changes its folder."""
    made = {"_build", "reference", "__pycache__"}
    handwritten = (path for path in docs.rglob("*") if not made & set(path.relative_to(docs).parts))
    files = (docs, docs.parent / "README.md", *handwritten, *PACKAGE.rglob("*.py"))
    return max(path.stat().st_mtime for path in files if path.exists())
