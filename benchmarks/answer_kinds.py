"""Kinds of text that answers are measured on: each a folder to index, and questions whose answers are known.

    for kind in kinds(): print(kind.name, kind.what)

XQuAD's questions were written by people on an encyclopaedia. Those on the Python reference, on manual pages and on this
project's handbook (`manual_questions.toml`) are short and in other words than the text's, as people ask a manual, and
some have no answer there. Three more kinds are questions that an index makes from its own text. The handbook is never
fitted on.
"""

from __future__ import annotations

import gzip
import json
import re
import shutil
import string
import subprocess
import tomllib
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

from benchmarks.machine import ROOT
from benchmarks.work import data
from lmworks.grounding.index import Index, build
from lmworks.grounding.passage import Passage
from lmworks.grounding.self_test.answering import holds
from lmworks.grounding.self_test.questions import questions_of

HELD_OUT = ("Islamism", "Normans", "Steam_engine", "Warsaw")
"""Articles of SQuAD 2 that the reader is not trained on (`lmworks.grounding.heads.train`)."""
WRITTEN = Path(__file__).with_name("manual_questions.toml")
MANUALS = Path("/usr/share/man")
PAGES = """
    group.5 hosts.5 nsswitch.conf.5 nologin.5 proc_loadavg.5 proc_meminfo.5 resolv.conf.5 securetty.5 services.5
    core.5 locale.5 tmpfs.5 getent.1 iconv.1 ldd.1 createdb.1 pg_ctl.1 pg_dump.1 pg_isready.1 iostat.1 mpstat.1
    pidstat.1 wcurl.1 xdg-email.1 xdg-open.1 ANALYZE.7 BEGIN.7 CHECKPOINT.7 CLUSTER.7 COPY.7 CREATE_INDEX.7
    CREATE_ROLE.7 DELETE.7 EXPLAIN.7 GRANT.7 chmod.2 fork.2 fsync.2 getpid.2 kill.2 open.2 pipe.2 read.2 sync.2
    write.2 getenv.3 malloc.3 printf.3 qsort.3 sleep.3 strtol.3
""".split()  # noqa: SIM905 (a list of fifty strings is not read more easily)
"""Manual pages, of Debian's packages manpages, manpages-dev, postgresql, sysstat, curl and xdg-utils."""
MADE = 60
"""Questions that are made from a kind's own text."""


@dataclass(frozen=True)
class Question:
    """A question, and what answers it."""

    text: str
    golds: tuple[str, ...]
    """What an answer may be, or words beside it; none where the texts do not answer."""
    group: str
    """What is fitted or held out together: an article, or a kind."""
    holds: Callable[[str], bool]
    """Whether a text holds the answer."""
    removed: Callable[[Passage], bool] | None
    """Which passages are taken away so that it has no answer; None where it has none anyway."""


@dataclass(frozen=True)
class Kind:
    """A kind of text."""

    name: str
    what: str
    """Where it is from, for whoever reads a figure."""
    indexed: Callable[[Path], Index]
    """Its index, made in an empty folder."""
    asked: Callable[[Index], list[Question]]
    fitted: bool = True
    """Whether the gate may be fitted on it."""


def kinds() -> list[Kind]:
    """All of them but XQuAD."""
    speeches = "28 inaugural addresses of 1905 and later"
    pages = f"{len(PAGES)} manual pages"
    return [
        Kind("python-reference", "the Python language reference", reference, _written("python-reference")),
        Kind("manual-pages", pages, manual_pages, _written("manual-pages")),
        Kind("python-reference, made", "questions made from the Python language reference", reference, _made),
        Kind("manual-pages, made", f"questions made from {pages}", manual_pages, _made),
        Kind("speeches, made", f"questions made from {speeches}", inaugural, _made),
        Kind("lmworks", "the handbook of lmworks: README.md and docs/", handbook, _written("lmworks"), fitted=False),
    ]


def _written(name: str) -> Callable[[Index], list[Question]]:
    known = tomllib.loads(WRITTEN.read_text(encoding="utf-8"))[name]

    def asked(index: Index) -> list[Question]:
        found = [_about(name, text, tuple(words.split("|"))) for text, words in known["answered"]]
        return found + [Question(text, (), name, lambda _: False, None) for text in known["unanswered"]]

    return asked


def _about(name: str, text: str, words: tuple[str, ...]) -> Question:
    def said(passage: str) -> bool:
        return any(_joined(one) in _joined(passage) for one in words)

    return Question(text, words, name, said, lambda passage: said(passage.text))


def _joined(text: str) -> str:
    return " ".join(text.casefold().split())


def _made(index: Index) -> list[Question]:
    """What an index asks of its own text."""
    facts = {one.text: one.answer for one in questions_of(index, seed=1, count=400) if one.kind == "fact"}
    return [_one_made(*one) for one in list(facts.items())[:MADE]]


def _one_made(text: str, answer: str) -> Question:
    return Question(text, (answer,), "made", lambda one: holds(one, answer), lambda one: holds(one.text, answer))


def reference(folder: Path) -> Index:
    """The Python language reference of this Python, a file for each topic."""
    for name, text in topics.items():
        (_made_folder(folder / "text") / f"{name}.txt").write_text(text, encoding="utf-8")
    return build(folder / "text", folder / "index")


def handbook(folder: Path) -> Index:
    """What a user of lmworks reads."""
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        shutil.copy(path, _made_folder(folder / "text"))
    return build(folder / "text", folder / "index")


def manual_pages(folder: Path) -> Index:
    """Those of this machine, as text without hyphens at line ends."""
    for page in PAGES:
        path = MANUALS / f"man{page.rpartition('.')[2]}" / f"{page}.gz"
        plain = ["groff", "-man", "-Tutf8", "-P-c", "-P-b", "-P-u", "-rLL=100n", "-rHY=0", "-dAD=l"]
        told = subprocess.run(plain, input=gzip.decompress(path.read_bytes()), capture_output=True, check=True)
        text = re.sub(rb"\x1b\[[0-9;]*m", b"", told.stdout)
        (_made_folder(folder / "text") / f"{page}.txt").write_bytes(text)
    return build(folder / "text", folder / "index")


def inaugural(folder: Path) -> Index:
    """Speeches."""
    with zipfile.ZipFile(data("books_and_speeches/inaugural.zip", "nltk/nltk_data")) as packed:
        for name in packed.namelist():
            if (said := re.search(r"/((?:19|20)\d\d-\w+\.txt)$", name)) and said[1] >= "1905":
                (_made_folder(folder / "text") / said[1]).write_bytes(packed.read(name))
    return build(folder / "text", folder / "index")


def _made_folder(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def articles() -> list[dict[str, Any]]:
    """XQuAD's."""
    path = data("xquad/xquad.en.json", "google-deepmind/xquad")
    return list(json.loads(path.read_text(encoding="utf-8"))["data"])


def squad2() -> list[dict[str, Any]]:
    """The articles of SQuAD 2's half-dev set, on which a reader may be trained."""
    with gzip.open(data("squad2/dev-v2.0.json.gz", "chrischute/squad")) as file:
        return list(json.load(file)["data"])


def xquad(second: bool) -> Iterator[Question]:
    """The questions of every second article that SQuAD 2's half-dev set lacks: the first of two, or the second."""
    known = {one["title"] for one in squad2()}
    titles = sorted(one["title"] for one in articles() if one["title"] not in known)[second::2]
    number = 0
    for article in articles():
        for paragraph in article["paragraphs"]:
            number += 1
            for one in paragraph["qas"] if article["title"] in titles else ():
                golds = tuple(answer["text"] for answer in one["answers"])
                yield _of_article(one["question"], golds, article["title"], f"paragraphs.jsonl#{number}")


def _of_article(text: str, golds: tuple[str, ...], title: str, file: str) -> Question:
    return Question(
        text,
        golds,
        title,
        lambda said: any(plain(gold) in plain(said) for gold in golds),
        lambda one: one.file == file,
    )


def unanswerable(titles: Sequence[str]) -> Iterator[Question]:
    """SQuAD 2's questions that people wrote so that a paragraph of XQuAD, though it looks so, does not answer them."""
    known = {paragraph["context"] for article in articles() for paragraph in article["paragraphs"]}
    for article in squad2():
        for paragraph in article["paragraphs"] if article["title"] in titles else ():
            for asked in paragraph["qas"] if paragraph["context"] in known else ():
                if asked["is_impossible"]:
                    yield Question(asked["question"].strip(), (), article["title"], lambda _: False, None)


def encyclopaedia(folder: Path) -> Index:
    """All of XQuAD's paragraphs, a document each."""
    records = folder / "paragraphs.jsonl"
    with records.open("w", encoding="utf-8") as file:
        for article in articles():
            for paragraph in article["paragraphs"]:
                record = {"title": article["title"].replace("_", " "), "text": paragraph["context"]}
                file.write(json.dumps(record) + "\n")
    return build(records, folder / "index")


def plain(text: str) -> str:
    """SQuAD's normal form of an answer."""
    bare = "".join(one for one in text.casefold() if one not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", bare).split())
