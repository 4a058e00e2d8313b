"""Pictures of text: photos and scans of pages, as the words that are read in them (extra `ocr`).

`lmworks embed` and `lmworks index --embedder CLIP` take pictures as pictures.
"""

from __future__ import annotations

from pathlib import Path

from lmworks.basics.extras import installing
from lmworks.text.document import Document
from lmworks.text.formats.format import Format, Found
from lmworks.text.images.decoding import SUFFIXES, decode_pages
from lmworks.text.images.words import reader, words_of
from lmworks.text.plain import UnreadableError, check_size, newlines

PAGE_BREAK = "\f"
"""Between the pages of a scan, as between those of a PDF."""


def read(path: Path, name: str) -> Found:
    """The words of the picture, of a TIFF those of every page, form feeds between them; a blank document where it shows
    none."""
    check_size(path)
    try:
        reader()
    except UnreadableError:
        raise UnreadableError(
            f"{path.suffix.lower()} files are not read without the extra ocr ({installing('ocr')}); lmworks "
            "index --embedder CLIP finds the pictures themselves"
        ) from None
    yield Document(PAGE_BREAK.join(newlines(words_of(page)) for page in decode_pages(path.read_bytes())), name)


PICTURE = Format("picture", tuple(sorted(SUFFIXES)), read, named=".png and .jpg (extra ocr)", place=90)
