"""The run log keeps what is true and drops what is done again."""

from __future__ import annotations

import json
from pathlib import Path

from lmworks.training.log import RunLog


def steps(path: Path) -> list[int]:
    return [json.loads(line).get("step", -1) for line in path.read_text().splitlines()]


def write(path: Path, numbers: range, resume_at: int | None = None) -> None:
    with RunLog(path, resume_at) as log:
        if resume_at is None:
            log.write(groups=[])
        for number in numbers:
            log.write(step=number, loss=1.0)


def test_a_resumed_log_drops_the_lines_after_the_step_and_keeps_the_first(tmp_path: Path):
    path = tmp_path / "run" / "log.jsonl"
    write(path, range(6))
    write(path, range(4, 8), resume_at=4)
    assert steps(path) == [-1, *range(8)]
    write(path, range(2), resume_at=0)
    assert steps(path) == [-1, 0, 1]


def test_a_line_that_was_cut_off_is_dropped(tmp_path: Path):
    path = tmp_path / "log.jsonl"
    write(path, range(3))
    path.write_text(path.read_text() + '{"step": 3, "lo')
    write(path, range(3, 5), resume_at=4)
    assert steps(path) == [-1, 0, 1, 2, 3, 4]


def test_a_new_run_begins_a_new_log(tmp_path: Path):
    path = tmp_path / "log.jsonl"
    write(path, range(5))
    write(path, range(2))
    assert steps(path) == [-1, 0, 1]


def test_every_line_is_on_disk_when_it_is_written(tmp_path: Path):
    with RunLog(tmp_path / "log.jsonl") as log:
        log.write(step=0)
        assert steps(tmp_path / "log.jsonl") == [0]
