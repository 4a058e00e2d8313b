"""Text and source code, as they are; a name without a suffix (README, LICENSE) is tried as text."""

from __future__ import annotations

from pathlib import Path

from lmworks.text.document import Document
from lmworks.text.formats.format import Format, Found
from lmworks.text.metadata import of_front_matter
from lmworks.text.plain import read_text

CODE = """
    .py .pyi .c .h .cc .cpp .hpp .cs .java .kt .scala .js .mjs .jsx .ts .tsx .go .rs .rb .php .pl
    .lua .r .jl .swift .m .hs .ml .ex .erl .clj .lisp .el .sh .bash .zsh .ps1 .sql .f90 .asm .s
    .proto .cmake .mk
"""


def read(path: Path, name: str) -> Found:
    """The file as one document; its front matter, if it has one, stays in its text."""
    text = read_text(path)
    yield Document(text, name, metadata=of_front_matter(text))


def read_code(path: Path, name: str) -> Found:
    """The file as one document."""
    yield Document(read_text(path), name)


TEXT = Format(
    "text",
    (".txt", ".md", ".rst", ".adoc", ".markdown", ".org", ".tex", ".text", ""),
    read,
    named=".txt .md .rst",
    place=0,
)
SOURCE_CODE = Format("code", tuple(CODE.split()), read_code, named="source code", place=100)
