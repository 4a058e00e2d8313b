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
GERMAN = Path(__file__).with_name("german_questions.toml")
NOTES = Path(__file__).with_name("notes_questions.toml")
DEVELOPED = Path(__file__).with_name("manual_questions_dev.toml")
MANUALS = Path("/usr/share/man")
PAGES = """
    group.5 hosts.5 nsswitch.conf.5 nologin.5 proc_loadavg.5 proc_meminfo.5 resolv.conf.5 securetty.5 services.5
    core.5 locale.5 tmpfs.5 getent.1 iconv.1 ldd.1 createdb.1 pg_ctl.1 pg_dump.1 pg_isready.1 iostat.1 mpstat.1
    pidstat.1 wcurl.1 xdg-email.1 xdg-open.1 ANALYZE.7 BEGIN.7 CHECKPOINT.7 CLUSTER.7 COPY.7 CREATE_INDEX.7
    CREATE_ROLE.7 DELETE.7 EXPLAIN.7 GRANT.7 chmod.2 fork.2 fsync.2 getpid.2 kill.2 open.2 pipe.2 read.2 sync.2
    write.2 getenv.3 malloc.3 printf.3 qsort.3 sleep.3 strtol.3
""".split()  # noqa: SIM905 (a list of fifty strings is not read more easily)
"""Manual pages, of Debian's packages manpages, manpages-dev, postgresql, sysstat, curl and xdg-utils."""
OTHER_PAGES = """
    epoll.7 inotify.7 unix.7 symlink.7 signal.7 environ.7 glob.7 credentials.7 fifo.7 pty.7 random.7 time.7
    mq_overview.7 VACUUM.7 INSERT.7 LOCK.7 TRUNCATE.7 REINDEX.7 SAVEPOINT.7 CREATE_VIEW.7 CREATE_DATABASE.7
    SELECT.7 NOTIFY.7 ld.so.8 ldconfig.8 issue.5 host.conf.5 gai.conf.5 proc_swaps.5 proc_uptime.5 proc_stat.5
    proc_pid_status.5 hosts.equiv.5 motd.5 shells.5 utmp.5 pg_restore.1 dropdb.1 vacuumdb.1 initdb.1
    createuser.1 reindexdb.1 localedef.1 locale.1 mtrace.1 xdg-mime.1 xdg-settings.1 dup.2 wait.2 mmap.2 poll.2
    stat.2 rename.2 unlink.2 accept.2 listen.2 nice.2 link.2 lseek.2 truncate.2 alarm.2 access.2 fopen.3
    getopt.3 system.3 atexit.3 rand.3 fclose.3 popen.3 daemon.3 strdup.3 strcpy.3 tmpfile.3 perror.3 exec.3
""".split()  # noqa: SIM905
"""Others, on which methods are chosen."""
LEFT_OUT = (
    "semver",
    "unstable",
    "build-script-examples",
    "credential-provider-protocol",
    "registry-index",
    "registry-web-api",
)
"""Pages of Cargo's book that no question is about, and the longest."""
YES_OR_NO = ("yes_or_no", "yes_or_no_unanswered")
"""Where the files keep questions that a yes or a no would answer, and such without an answer."""
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
        Kind("notes", "four short notes in English, made up", notes, _asked_of("notes", NOTES)),
        Kind(
            "python-reference, yes or no",
            "questions that a yes or a no would answer, on the Python language reference",
            reference,
            _written("python-reference", keys=YES_OR_NO),
        ),
        Kind("notes, yes or no", "such questions on the four notes", notes, _asked_of("notes", NOTES, YES_OR_NO)),
        Kind("lmworks", "the handbook of lmworks: README.md and docs/", handbook, _written("lmworks"), fitted=False),
    ]


def german() -> Kind:
    """For the reader of other languages: those that methods were chosen on; others are held out (benchmarks.german)."""
    return Kind("german", "a lease and a club's rules in German, made up", german_texts, _asked_of("german", GERMAN))


def development() -> list[Kind]:
    """Kinds that methods are chosen on: manuals of programs that are on this machine, which no stored figure is of."""
    return [
        Kind("other-pages", f"{len(OTHER_PAGES)} other manual pages", other_pages, _written("other-pages", DEVELOPED)),
        Kind("npm", "npm's documentation", npm, _written("npm", DEVELOPED)),
        Kind("cargo", "the Cargo book", cargo, _written("cargo", DEVELOPED)),
    ]


def _written(
    name: str, file: Path = WRITTEN, keys: tuple[str, str] = ("answered", "unanswered")
) -> Callable[[Index], list[Question]]:
    known = tomllib.loads(file.read_text(encoding="utf-8"))[name]

    def asked(index: Index) -> list[Question]:
        found = [_about(name, text, tuple(words.split("|"))) for text, words in known[keys[0]]]
        return found + [Question(text, (), name, lambda _: False, None) for text in known[keys[1]]]

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
    return _pages(folder, PAGES)


def other_pages(folder: Path) -> Index:
    """The others."""
    return _pages(folder, OTHER_PAGES)


def npm(folder: Path) -> Index:
    """What comes with npm."""
    there = subprocess.run(["npm", "root", "-g"], capture_output=True, check=True, text=True).stdout.strip()
    shutil.copytree(Path(there, "npm", "docs", "content"), folder / "text")
    return build(folder / "text", folder / "index")


def cargo(folder: Path) -> Index:
    """What comes with Rust."""
    there = subprocess.run(["rustc", "--print", "sysroot"], capture_output=True, check=True, text=True).stdout.strip()
    book = Path(there, "share", "doc", "rust", "html", "cargo")
    parts = [
        path for part in ("getting-started", "guide", "reference") for path in sorted((book / part).glob("*.html"))
    ]
    for path in (book / "faq.html", *parts):
        if path.stem not in LEFT_OUT:
            to = folder / "text" / path.relative_to(book)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, to)
    return build(folder / "text", folder / "index")


def german_texts(folder: Path) -> Index:
    """A file for each."""
    return _notes(folder, GERMAN)


def notes(folder: Path) -> Index:
    """A file for each."""
    return _notes(folder, NOTES)


def _notes(folder: Path, file: Path) -> Index:
    for one in _chosen_in(file):
        (_made_folder(folder / "text") / f"{one['name']}.md").write_text(one["text"].strip() + "\n", encoding="utf-8")
    return build(folder / "text", folder / "index")


def _asked_of(
    name: str, file: Path, keys: tuple[str, str] = ("asked", "unanswered")
) -> Callable[[Index], list[Question]]:
    def asked(index: Index) -> list[Question]:
        found = list[Question]()
        for one in _chosen_in(file):
            found += [_about(name, text, tuple(words.split("|"))) for text, words in one[keys[0]]]
            found += [Question(text, (), name, lambda _: False, None) for text in one[keys[1]]]
        return found

    return asked


def _chosen_in(file: Path) -> list[dict[str, Any]]:
    return [one for one in tomllib.loads(file.read_text(encoding="utf-8"))["text"] if one["part"] == "chosen"]


def _pages(folder: Path, pages: Sequence[str]) -> Index:
    for page in pages:
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
