"""Kill an index while it is built or updated, or read it while it is updated; test_faults runs it as a process.

    python killed.py FOLDER EMBEDDER TIMES

A child does the work and dies at a call of a function that is drawn by chance. The folder has two states, so that an
index is right when it answers as a whole one of either.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import lmworks as lm
from grounding.small_index import everything, write_notes
from lmworks.basics.errors import DataError
from lmworks.grounding import indexing
from lmworks.grounding.index import IndexSettings, build

indexing.BATCH = 8


def child(work: Callable[[], object], dies_at: int = 0) -> tuple[int, int]:
    """Run work in a process that dies at some call; how it ended, and how many calls it made."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        calls = 0

        def count(*_: object) -> None:
            nonlocal calls
            calls += 1
            if calls == dies_at:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            sys.setprofile(count)
            work()
            sys.setprofile(None)
            os.write(writing, str(calls).encode())
            os._exit(0)
        finally:
            os._exit(1)
    os.close(writing)
    _, status = os.waitpid(pid, 0)
    told = os.read(reading, 20)
    os.close(reading)
    return os.waitstatus_to_exitcode(status), int(told or 0)


class Folder:
    """Notes in one of two states, and what an index of each answers."""

    def __init__(self, place: Path, settings: IndexSettings) -> None:
        self.notes, self.settings, self.place = place / "notes", settings, place
        shutil.rmtree(self.notes, ignore_errors=True)
        write_notes(self.notes, count=10)
        self.state, self.right = 0, []
        for at in (0, 1):
            self.turn(at)
            self.right.append(everything(build(self.notes, self.fresh(f"right{at}"), settings)))

    def fresh(self, name: str) -> Path:
        shutil.rmtree(self.place / name, ignore_errors=True)
        return self.place / name

    def turn(self, state: int) -> None:
        """Change some notes, take one away, or bring it back."""
        for number in range(4):
            text = f"A new lamp by the garden pier, number {number}." if state else f"The boat of number {number}."
            (self.notes / f"note{number}.txt").write_text(text)
        twin = self.notes / "twin1.txt"
        twin.unlink(missing_ok=True) if state else twin.write_text("The red lamp is in the cellar.")
        self.state = state


def killed_builds(folder: Folder, times: int) -> None:
    draw, out = random.Random(0), folder.fresh("index")

    def work() -> None:
        build(folder.notes, out, folder.settings)

    ended, calls = child(work)
    assert ended == 0
    for _ in range(times):
        folder.fresh("index")
        ended, _ = child(work, draw.randrange(1, calls))
        assert ended == -signal.SIGKILL, ended
        try:
            index = lm.open_index(out)
        except DataError as error:
            assert "holds no index" in str(error), error
            index = build(folder.notes, out, folder.settings)
        assert everything(index) == folder.right[folder.state]


def killed_updates(folder: Folder, times: int) -> None:
    draw, out = random.Random(0), folder.fresh("index")
    index = build(folder.notes, out, folder.settings)
    index.search("boat")  # both of its models are loaded
    least = 10**9
    for _ in (0, 1):
        folder.turn(1 - folder.state)
        ended, calls = child(index.update)
        assert ended == 0 and everything(index) == folder.right[folder.state]
        least = min(least, calls)
    for _ in range(times):
        folder.turn(1 - folder.state)
        ended, _ = child(index.update, draw.randrange(1, least))
        assert ended == -signal.SIGKILL, ended
        assert everything(index) in folder.right
        index.update()
        assert everything(index) == folder.right[folder.state]


def together(folder: Folder, times: int) -> None:
    """One process updates, and three read all the while: each answer is of one whole index."""
    index = build(folder.notes, folder.fresh("index"), folder.settings)
    asked = [("red lamp", "keywords"), ("a new lamp by the pier", "hybrid"), ("boat", "vectors")]

    def answers() -> list[list[tuple[str, str, float]]]:
        return [[(one.file, one.text, one.score) for one in index.search(query, 5, by)] for query, by in asked]

    right = []
    for at in (0, 1):
        folder.turn(at)
        index.update()
        right.append(answers())
    stop = folder.place / "stop"
    stop.unlink(missing_ok=True)

    def read() -> None:
        rounds = 0
        while not stop.exists() or not rounds:
            for place, answer in enumerate(answers()):
                assert answer in [one[place] for one in right]
            rounds += 1

    readers = []
    for _ in range(3):
        pid = os.fork()
        if not pid:
            try:
                read()
                os._exit(0)
            finally:
                os._exit(1)
        readers.append(pid)
    for _ in range(times):
        folder.turn(1 - folder.state)
        index.update()
    stop.touch()
    assert all(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0 for pid in readers)


if __name__ == "__main__":
    place, embedder, times = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    folder = Folder(place, IndexSettings(embedder=embedder, longest=80))
    for work in (killed_builds, killed_updates, together):
        work(folder, times)
    print(f"{times} builds, {times} updates, {times} beside readers")
