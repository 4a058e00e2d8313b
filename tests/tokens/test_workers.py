"""Processes that encode side by side: the same ids in the same order, one sentence where one fails, none left
behind."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lmworks.basics.errors import DataError, LmworksError
from lmworks.text.document import Document
from lmworks.tokens import shards, workers
from lmworks.tokens.chunks import BulkEncoder
from lmworks.tokens.shards import write_shards
from lmworks.tokens.workers import encoded
from tokens.corpus import TEXTS
from tokens.small import byte_level, sentencepiece
from tokens.test_trainer import ALL, PROSE

DTYPE = np.dtype("<u4")
BATCHES = [(PROSE[start : start + 3], start) for start in range(0, 60, 3)] + [(TEXTS, -1)]


def children() -> set[int]:
    """The processes that this one has started and that are there."""
    own = Path(f"/proc/self/task/{threading.get_native_id()}/children")
    if not own.exists():
        pytest.skip("this system does not list a process's children")
    while True:
        try:
            lists = [(tasks / "children").read_text() for tasks in Path("/proc/self/task").iterdir()]
        except FileNotFoundError:  # a thread came to its end meanwhile, and its children are another's
            continue
        return {int(number) for one in lists for number in one.split()}


@pytest.mark.parametrize("tokenizer", [*ALL.values(), sentencepiece(), byte_level(adds_bos=True)])
def test_ids_and_their_order_do_not_depend_on_the_number_of_processes(tokenizer):
    alone = BulkEncoder(tokenizer, DTYPE)
    expected = [(alone.encode(texts), what) for texts, what in BATCHES]
    assert [*encoded(iter(BATCHES), tokenizer, DTYPE, 1)] == expected
    assert [*encoded(iter(BATCHES), tokenizer, DTYPE, 3)] == expected


def test_shards_are_the_same_to_the_byte(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "_AT_ONCE", 500)
    documents = [Document(text, "") for text in [*PROSE, "", *TEXTS, "\n".join(PROSE)]]
    for processes in (1, 2, 5):
        write_shards(documents, ALL["bpe"], tmp_path / f"{processes}", shard_tokens=3000, processes=processes)
    for name in sorted(path.name for path in (tmp_path / "1").iterdir()):
        assert len({(tmp_path / f"{processes}" / name).read_bytes() for processes in (1, 2, 5)}) == 1, name


def test_a_short_text_starts_no_process(monkeypatch):
    monkeypatch.setattr(workers.subprocess, "Popen", lambda *_, **__: pytest.fail("a process was started"))
    assert len([*encoded(iter(BATCHES[: workers.ALONE]), ALL["bpe"], DTYPE, 2)]) == workers.ALONE


def test_no_more_batches_are_read_than_are_being_encoded():
    read = 0

    def source() -> Iterator[tuple[list[str], int]]:
        nonlocal read
        for texts, number in BATCHES:
            read += 1
            yield texts, number

    for done, _ in enumerate(encoded(source(), ALL["bpe"], DTYPE, 2), 1):
        assert read - done <= 2 + workers.AHEAD


def test_half_a_surrogate_is_the_same_sentence_as_in_one_process():
    broken = [*BATCHES[: workers.ALONE + 2], (["a \ud800 b"], 8)]
    sentences = []
    for processes in (1, 2):
        with pytest.raises(DataError) as error:
            list(encoded(iter(broken), byte_level(), DTYPE, processes))
        sentences.append(str(error.value))
    assert sentences[0] == sentences[1] and "half of a surrogate pair" in sentences[0]


def test_a_killed_process_is_one_sentence_and_none_is_left():
    before = children()
    results = encoded(iter(BATCHES * 3), ALL["bpe"], DTYPE, 2)
    for _ in range(workers.ALONE + 1):
        next(results)
    started = children() - before
    assert len(started) == 2
    for number in started:
        os.kill(number, signal.SIGKILL)
    with pytest.raises(LmworksError, match="a process that encodes text was killed"):
        list(results)
    assert children() == before


def test_who_stops_reading_leaves_no_process():
    before = children()
    results = encoded(iter(BATCHES), ALL["bpe"], DTYPE, 2)
    for _ in range(workers.ALONE + 1):
        next(results)
    assert len(children() - before) == 2
    results.close()
    assert children() == before


def test_packing_that_breaks_off_leaves_no_process(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "_AT_ONCE", 500)
    before = children()

    def broken() -> Iterator[Document]:
        yield from (Document(text, "") for text in PROSE * 2)
        assert len(children() - before) == 2
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="the source broke"):
        write_shards(broken(), ALL["bpe"], tmp_path / "packed", processes=2)
    assert children() == before and [*tmp_path.iterdir()] == []
