"""PDF: the text of all pages as one document (extra `docs`)."""

from __future__ import annotations

from pathlib import Path

from lmworks.text.document import Document
from lmworks.text.formats.format import Format, Found, first_line, package
from lmworks.text.plain import UnreadableError, check_size, newlines


def read(path: Path, name: str) -> Found:
    """The pages, parted by empty lines."""
    check_size(path)
    pypdf = package("pypdf")
    try:
        pages = [page.extract_text() for page in pypdf.PdfReader(path).pages]
    except Exception as error:  # a malformed PDF makes pypdf raise anything; the reason is reported
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise UnreadableError(f"not a PDF that can be read ({reason})") from None
    text = "\n\n".join(page.strip() for page in pages if page.strip())
    if not text:
        raise UnreadableError(f"a PDF without text on its {len(pages)} pages (scanned?)")
    yield Document(newlines(text).encode("utf-8", "replace").decode(), name)


PDF = Format("pdf", (".pdf",), read)
