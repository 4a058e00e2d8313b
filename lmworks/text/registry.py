"""The data registry: public texts by name, each with its address, checksum and licence.

The folders of `LMWORKS_DATA` are looked in first, then the cache, then the address. Whatever the place, the
SHA-256 of the content is checked before a byte of it is used.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lmworks.basics import progress
from lmworks.basics.errors import DataError
from lmworks.basics.files import cache_folder
from lmworks.text.document import Document
from lmworks.text.plain import newlines


def _whole(text: str, name: str) -> list[Document]:
    return [Document(text, name)]


def _lines(text: str, name: str) -> list[Document]:
    """A text a line."""
    return [Document(line, f"{name}#{number}") for number, line in enumerate(text.split("\n"), 1) if line.strip()]


def _messages(text: str, name: str) -> list[Document]:
    """What follows the label (ham or spam) and a tab on each line."""
    return _lines("\n".join(line.partition("\t")[2] for line in text.split("\n")), name)


def _articles(text: str, name: str) -> list[Document]:
    """WikiText's articles: each begins at a heading ` = Title = ` between blank lines."""
    lines = text.splitlines(keepends=True)
    starts = [
        at
        for at in range(1, len(lines) - 1)
        if _is_title(lines[at]) and not lines[at - 1].strip() and not lines[at + 1].strip()
    ]
    titles = [lines[at].strip().strip("=").strip() for at in starts]
    starts = [0, *starts[1:], len(lines)]  # what stands before the first heading belongs to it
    return [
        Document("".join(lines[start:end]), f"{name}#{title}")
        for title, start, end in zip(titles, starts, starts[1:], strict=False)
    ]


def _is_title(line: str) -> bool:
    return line.startswith(" = ") and line.rstrip().endswith(" =") and not line.startswith(" = = ")


@dataclass(frozen=True)
class Entry:
    """One text of the registry."""

    folder: str
    """Its folder inside those of `LMWORKS_DATA`."""
    repository: str
    commit: str
    path: str
    sha256: str
    """Of the content, not of a compressed file."""
    bytes: int
    licence: str
    what: str
    documents: Callable[[str, str], list[Document]] = _whole
    """(text, name) -> documents."""

    @property
    def file(self) -> str:
        """The file's name."""
        return self.path.rpartition("/")[2]

    @property
    def address(self) -> str:
        """Where it is published."""
        return f"https://raw.githubusercontent.com/{self.repository}/{self.commit}/{self.path}"


ENTRIES = {
    "wikitext2": Entry(
        folder="wikitext2",
        repository="pytorch/examples",
        commit="77f55b912142e11fcfdf5b530231fb9c52f181e8",
        path="word_language_model/data/wikitext-2/valid.txt",
        sha256="f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8",
        bytes=1_121_681,
        licence="CC BY-SA 3.0 / GFDL (Wikipedia)",
        what="WikiText-2, validation: 60 articles of Wikipedia",
        documents=_articles,
    ),
    "tinyshakespeare": Entry(
        folder="tinyshakespeare",
        repository="karpathy/char-rnn",
        commit="6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e",
        path="data/tinyshakespeare/input.txt",
        sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        bytes=1_115_394,
        licence="public domain",
        what="40,000 lines of Shakespeare",
    ),
    "tinystories-sample": Entry(
        folder="tinystories_sample",
        repository="Niklas6/Mini_GPT",
        commit="0e9893779c9e2048205ea1339eb588983d72adc1",
        path="tinystories.txt",
        sha256="727e8b228375be3075114c20729c93ed6e81ae5d8fe7faf7cb54b304f0322d70",
        bytes=197_290,
        licence="CDLA-Sharing-1.0 (TinyStories, Eldan & Li)",
        what="38,000 words of stories for children",
    ),
    "sms-spam": Entry(
        folder="sms_spam",
        repository="krishnaik06/Huggingfacetransformer",
        commit="8e97d009508252d1a31ac1fdbd2722f310d99d92",
        path="SMSSpamCollection",
        sha256="55341228082b25b832a5868a5ab4b038142a57f70c676c123280af6ff457fe46",
        bytes=483_481,
        licence="CC BY 4.0 (UCI SMS Spam Collection)",
        what="5,574 text messages, without their labels",
        documents=_messages,
    ),
} | {
    f"multi30k-{language}": Entry(
        folder="multi30k",
        repository="multi30k/dataset",
        commit="a3d2e0d26b56f3846f66a952536ffed4e401d05a",
        path=f"data/task1/raw/train.{language}.gz",
        sha256=sha256,
        bytes=size,
        licence="none stated (Flickr30k captions: for research; translations by the authors of Multi30k)",
        what=f"29,000 descriptions of photographs, the same in en, de and fr: {language}",
        documents=_lines,
    )
    for language, size, sha256 in (
        ("en", 1_801_238, "460a15fbd157e34a7a9957ee388c1ca247fe47af3ef25fb50442af6c274e0fc6"),
        ("de", 2_110_398, "2c2b73fd2b548fbcde3a875e0a78d6ee94d498bfdee6bd3eae3945779e9ddf72"),
        ("fr", 2_111_303, "5925a3c18f1587b6b54b87743106e6e8ab93618edb6f65d19eac0621f853a10d"),
    )
}


def documents(name: str) -> list[Document]:
    """The documents of a registered text, fetched if it is not here; DataError where it cannot be."""
    entry = ENTRIES[name]
    content = _read_local(name, entry)
    if content is None:
        content = _content(_download(name, entry), entry)
    return entry.documents(newlines(content.decode("utf-8")), name)


def available(name: str) -> bool:
    """Whether the text is here, whole and unchanged, without fetching anything."""
    try:
        return _read_local(name, ENTRIES[name]) is not None
    except DataError:
        return False


def _read_local(name: str, entry: Entry) -> bytes | None:
    path = next((path for path in _places(name, entry) if path.is_file()), None)
    return None if path is None else _content(path, entry)


def _places(name: str, entry: Entry) -> Iterator[Path]:
    for folder in os.environ.get("LMWORKS_DATA", "").split(os.pathsep):
        if folder:
            yield Path(folder, entry.folder, entry.file)
            yield Path(folder, entry.folder, f"{entry.file}.gz")
    yield cache_folder("data", name) / entry.file


def _content(path: Path, entry: Entry) -> bytes:
    """The content of a file, unpacked where its name ends in .gz; DataError unless it has the checksum."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(entry.bytes + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}); remove it, and it is fetched again") from error
    if hashlib.sha256(content).hexdigest() != entry.sha256:
        raise DataError(
            f"{path} is not the file of the registry (SHA-256 is not {entry.sha256[:12]}...); "
            "remove it, and it is fetched again"
        )
    return content


def _download(name: str, entry: Entry) -> Path:
    import pooch

    folder = cache_folder("data", name)
    pooch.get_logger().setLevel("WARNING")
    try:
        with progress.task(f"fetching {name}", entry.bytes, "bytes") as advance:
            # The checksum is of the content; that of a packed file is checked when it is unpacked.
            known = None if entry.file.endswith(".gz") else f"sha256:{entry.sha256}"
            path = pooch.retrieve(entry.address, known, entry.file, folder, downloader=pooch.HTTPDownloader(timeout=15))
            advance(entry.bytes)
    except (OSError, ValueError) as error:  # requests' errors; a wrong checksum
        looked = ", ".join(str(path.parent) for path in dict.fromkeys(_places(name, entry)))
        raise DataError(
            f"{name} is not here (looked in {looked}) and {entry.address} could not be fetched "
            f"({type(error).__name__}); connect to the network once, or put {entry.file} into "
            f"{folder}"
        ) from error
    return Path(path)
