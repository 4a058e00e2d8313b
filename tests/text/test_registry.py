"""The data registry: found here first, checked always, and one sentence when it cannot be had."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import os
import threading
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from lmworks.basics.errors import DataError
from lmworks.text import registry
from lmworks.text.entry import lines
from lmworks.text.known import labelled, running_text
from lmworks.text.sources import read

CONTENT = b"one\r\ntwo"


@pytest.fixture
def tiny(tmp_path, monkeypatch) -> registry.Entry:
    """A registered text `tiny` that is nowhere yet; its address refuses connections."""
    entry = registry.Entry(
        folder="tiny_set",
        repository="o/r",
        commit="c",
        path="deep/tiny.txt",
        licence="CC0",
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        bytes=len(CONTENT),
        what="a test",
    )
    monkeypatch.setitem(registry.ENTRIES, "tiny", entry)
    monkeypatch.setattr(registry.Entry, "address", "http://127.0.0.1:9/tiny.txt")
    monkeypatch.setenv("LMWORKS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LMWORKS_DATA", os.pathsep.join([str(tmp_path / "first"), str(tmp_path / "second")]))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    (tmp_path / "second" / "tiny_set").mkdir(parents=True)
    return entry


@pytest.mark.parametrize("name", ["tiny.txt", "tiny.txt.gz"])
def test_a_set_is_found_in_the_data_folders_packed_or_not(tiny, tmp_path, name):
    assert not registry.available("tiny")
    content = gzip.compress(CONTENT) if name.endswith(".gz") else CONTENT
    (tmp_path / "second" / "tiny_set" / name).write_bytes(content)
    assert registry.available("tiny")
    reading = read("tiny")
    assert [(document.text, document.source) for document in reading.documents] == [("one\ntwo", "tiny")]


@pytest.mark.parametrize(
    "content",
    [
        b"one\r\ntwO",
        CONTENT + b"!",
        CONTENT[:-1],
        gzip.compress(CONTENT, mtime=0)[:-9],
        gzip.compress(CONTENT + b"\0" * 10_000_000, mtime=0),
        b"\x1f\x8bnoise",
    ],
)
def test_other_content_is_refused_wherever_it_lies(tiny, tmp_path, content):
    for name in ("tiny.txt", "tiny.txt.gz"):
        path = tmp_path / "second" / "tiny_set" / name
        path.write_bytes(content)
        assert not registry.available("tiny")
        with pytest.raises(DataError, match=f"{name} (is not the file of the registry|cannot be read)"):
            read("tiny")
        path.unlink()


def test_without_file_and_network_one_short_sentence_says_what_to_do(tiny):
    with pytest.raises(DataError) as caught:
        read("tiny")
    assert str(caught.value) == (
        "tiny is not here and could not be fetched; connect to the network once, or put it as tiny_set/tiny.txt into a "
        "folder that LMWORKS_DATA names: http://127.0.0.1:9/tiny.txt"
    )


def test_a_set_is_fetched_once_and_its_checksum_is_checked(tiny, tmp_path, monkeypatch):
    served = {"/tiny.txt": CONTENT, "/wrong.txt": b"something else"}
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(served[self.path])

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(registry.Entry, "address", f"{address}/wrong.txt")
        with pytest.raises(
            DataError, match=r"^what is published as tiny is not the file .* put it as tiny_set/tiny.txt into"
        ):
            read("tiny")
        assert not registry.available("tiny")
        monkeypatch.setattr(registry.Entry, "address", f"{address}/tiny.txt")
        assert read("tiny").documents[0].text == read("tiny").documents[0].text == "one\ntwo"
        server.shutdown()
    assert asked == ["/wrong.txt", "/tiny.txt"]
    (tmp_path / "cache/data/tiny/tiny.txt").write_bytes(b"flipped")
    assert not registry.available("tiny")


def test_a_set_that_is_published_packed_is_checked_by_its_content(tiny, tmp_path, monkeypatch):
    packed = replace(tiny, path="deep/tiny.txt.gz")
    registry.ENTRIES["tiny"] = packed
    content = {"/good": gzip.compress(CONTENT), "/bad": gzip.compress(b"another text")}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content[self.path])

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(registry.Entry, "address", f"http://127.0.0.1:{server.server_port}/bad")
        with pytest.raises(DataError, match="not the file of the registry"):
            read("tiny")
        (tmp_path / "cache/data/tiny/tiny.txt.gz").unlink()
        monkeypatch.setattr(registry.Entry, "address", f"http://127.0.0.1:{server.server_port}/good")
        assert read("tiny").documents[0].text == "one\ntwo"
        server.shutdown()


def test_articles_joined_are_the_text_and_a_formula_is_no_heading():
    text = " \n = First = \n \n Text . \n = x + 1 = \n more \n \n = = Part = = \n \n 1 \n \n = Second = \n \n Text . \n"
    articles = running_text._articles(text, "wiki")
    assert [article.source for article in articles] == ["wiki#First", "wiki#Second"]
    assert "".join(article.text for article in articles) == text


@pytest.mark.parametrize(("name", "count"), [("wikitext2", 60), ("tinyshakespeare", 1), ("tinystories-sample", 1)])
def test_the_registered_texts_are_what_they_say(name, count, monkeypatch):
    if not registry.available(name):
        pytest.skip(f"{name} is not here; fetch it with: lmworks evaluate smollm2 {name}")
    documents = registry.documents(name)
    assert len(documents) == count
    assert sum(len(document.text.encode()) for document in documents) == registry.ENTRIES[name].bytes
    wrong = replace(registry.ENTRIES[name], sha256="0" * 64)
    monkeypatch.setitem(registry.ENTRIES, name, wrong)
    assert not registry.available(name)


SETS = {
    "brown": (500, "The Fulton County Grand Jury said Friday an investigation of Atlanta's recent primary election"),
    "brown-tagged": (500, "The/at Fulton/np-tl County/nn-tl Grand/jj-tl Jury/nn-tl said/vbd Friday/nr an/at"),
    "state-of-the-union": (65, "PRESIDENT HARRY S. TRUMAN'S ADDRESS BEFORE A JOINT SESSION OF THE CONGRESS"),
    "sst2-train": (6920, "a stirring , funny and finally transporting re imagining of beauty and the beast"),
    "sst2-dev": (872, "one long string of cliches"),
    "sst2-test": (1821, "no movement , no yuks , not much of anything"),
}


@pytest.mark.parametrize("name", SETS)
def test_archives_and_labelled_sets_are_read_as_documents(name):
    if not registry.available(name):
        pytest.skip(f"{name} is not here; set LMWORKS_DATA to a folder that has it")
    documents, (count, begins) = registry.documents(name), SETS[name]
    assert len(documents) == count and documents[0].text.strip().startswith(begins)
    if name.startswith("sst2"):
        answers = {document.messages[1]["content"] for document in documents}
        assert answers == {"0", "1"} and all("\t" not in document.text for document in documents)


def test_of_an_archive_only_the_members_that_are_texts_are_read_in_order(tiny, tmp_path, monkeypatch):
    path = tmp_path / "second" / "tiny_set" / "tiny.txt"
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in (("set/b2", b"The/at end/nn"), ("set/README", b"no"), ("set/b1", b"1/2/cd\r\n")):
            archive.writestr(member, content)
    content = path.read_bytes()
    entry = replace(
        tiny,
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        members=r"set/b\d",
        documents=running_text._untagged,
    )
    monkeypatch.setitem(registry.ENTRIES, "tiny", entry)
    assert [(one.text, one.source) for one in read("tiny").documents] == [("1/2\n", "tiny#b1"), ("The end", "tiny#b2")]


@pytest.mark.parametrize(("name", "count"), [("sms-spam", 5574), ("multi30k-de", 29_000)])
def test_sets_of_lines_have_the_texts_that_they_say(name, count):
    if not registry.available(name):
        pytest.skip(f"{name} is not here; fetch it with: lmworks evaluate smollm2 {name}")
    documents = registry.documents(name)
    assert len(documents) == count
    assert not any(document.text.startswith(("ham\t", "spam\t")) for document in documents)


def test_addresses_name_a_commit():
    for entry in registry.ENTRIES.values():
        assert len(entry.commit) == 40 and f"/{entry.commit}/" in entry.address
        assert Path(entry.path).name == entry.file


def test_a_set_of_lines_is_a_document_a_line(tiny, tmp_path):
    registry.ENTRIES["tiny"] = replace(tiny, documents=lines)
    (tmp_path / "second" / "tiny_set" / "tiny.txt").write_bytes(CONTENT)
    assert [(one.text, one.source) for one in read("tiny").documents] == [("one", "tiny#1"), ("two", "tiny#2")]


def test_messages_come_without_their_labels():
    assert [one.text for one in labelled._messages("ham\tGo now\n\nspam\tWin\t1", "sms")] == ["Go now", "Win\t1"]


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("subjectivity", {"subjective": 5000, "objective": 5000}),
        ("sms-spam-labelled", {"ham": 4827, "spam": 747}),
        (
            "trec-test",
            {"description": 138, "entity": 94, "abbreviation": 9, "human": 65, "location": 81, "number": 113},
        ),
    ],
)
def test_texts_with_classes_have_as_many_of_each_as_is_published(name, counts):
    if not registry.available(name):
        pytest.skip(f"{name} is not here: set LMWORKS_DATA, or connect once and read it")
    pairs = [document.pair for document in read(name).documents]
    assert Counter(label for _, label in pairs) == counts and all(text.strip() for text, _ in pairs)
