"""A disk that is full is one sentence, by whatever words a library tells it."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tokenizers

from lmworks.basics.errors import LmworksError
from lmworks.basics.files import must_be_writable, says_why
from lmworks.training.log import RunLog

FULL = Path("/dev/full")
pytestmark = pytest.mark.skipif(not FULL.exists(), reason="no device that is always full")


def in_python() -> None:
    FULL.write_text("some")


def in_numpy() -> None:
    with FULL.open("wb") as file:
        np.zeros(100_000).tofile(file)


def in_rust() -> None:
    tokenizers.Tokenizer(tokenizers.models.BPE()).save(str(FULL))


@pytest.mark.parametrize("write", [in_python, in_numpy, in_rust])
def test_a_full_disk_is_one_sentence(write):
    words = "^models/mine: the disk is full, or a limit .quota, ulimit. is reached; free some space"
    with pytest.raises(LmworksError, match=words), says_why(Path("models/mine")):
        write()


def test_a_fault_that_is_none_of_the_disks_stays_as_it_is():
    with pytest.raises(ValueError, match="20 requested"), says_why(Path("models/mine")):
        raise ValueError("20 requested")


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("notes.txt/mine/page.html", r"^.*mine/page.html: .*notes.txt is a file and no folder; choose another place$"),
        ("/proc/mine/page.html", r"^/proc/mine/page.html: nothing can be made in /proc; choose another place$"),
    ],
)
def test_a_place_where_nothing_can_be_made_is_told_before_the_work(tmp_path, place, words):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(LmworksError, match=words):
        must_be_writable(tmp_path / place)
    must_be_writable(tmp_path / "new" / "page.html")
    assert [one.name for one in tmp_path.iterdir()] == ["notes.txt"]


def test_a_log_that_does_not_fit_is_told_once(tmp_path):
    log = RunLog(tmp_path / "log.jsonl")
    log._file.close()
    log._file = FULL.open("a", encoding="utf-8")
    with pytest.raises(LmworksError, match=r"log\.jsonl: the disk is full"), log:
        log.write(step=1)


def lmworks(*arguments: str, most_bytes: int | None = None, **settings) -> subprocess.CompletedProcess:
    def limited() -> None:
        if most_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))

    return subprocess.run(
        [sys.executable, "-m", "lmworks", *arguments],
        check=False,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=limited,
        env=os.environ | {"NUMBA_DISABLE_JIT": "1", "PYTHONDONTWRITEBYTECODE": "1"},  # as in full_disk.py
        **settings,
    )


def test_a_tokenizer_that_does_not_fit_leaves_nothing(tmp_path):
    text = tmp_path / "a.txt"
    text.write_text("lists have an order\n" * 10)
    done = lmworks("tokens", "train", str(text), "--kind", "byte", "--out", str(tmp_path / "made"), most_bytes=1000)
    assert done.returncode == 1 and done.stderr.startswith("lmworks: ") and done.stderr.count("\n") == 1
    assert "the disk is full, or a limit" in done.stderr and [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_output_that_does_not_fit_is_one_sentence():
    with FULL.open("w") as out:
        done = lmworks("explain", "sample", stdout=out)
    assert done.returncode == 1 and done.stderr.splitlines()[0].startswith("lmworks: the disk is full")
    assert "Traceback" not in done.stderr
