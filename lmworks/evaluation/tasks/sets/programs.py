"""Programs in Python with their tests: HumanEval, asked as in its paper (Chen et al. 2021,
https://arxiv.org/abs/2107.03374), and MBPP, as by lm-evaluation-harness (Austin et al. 2021,
https://arxiv.org/abs/2108.07732)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from lmworks.evaluation.tasks.declaration import FUNCTION_ENDS, Program, Task
from lmworks.evaluation.tasks.scores import PASSES
from lmworks.text.registry import content

TESTED = range(11, 511)
"""MBPP's test split; 1 to 10 are for prompts, and from 511 on for training."""


def _records(name: str) -> Iterator[dict[str, Any]]:
    return map(json.loads, content(name).decode().splitlines())


def _humaneval() -> list[Program]:
    return [
        Program(
            f"humaneval#{one['task_id'].rpartition('/')[2]}",
            one["prompt"],
            f"{one['test']}\ncheck({one['entry_point']})",
            one["prompt"],
            one["canonical_solution"],
            FUNCTION_ENDS,
        )
        for one in _records("humaneval")
    ]


def _mbpp() -> list[Program]:
    return [
        Program(
            f"mbpp#{one['task_id']}",
            "You are an expert Python programmer, and here is your task: {} Your code should pass these tests:\n\n"
            "{}\n[BEGIN]\n".format(one["text"], "\n".join(one["test_list"])),
            "\n".join((one["test_setup_code"], *one["test_list"])),
            solution=f"{one['code']}\n[DONE]",
            stops=("[DONE]",),
        )
        for one in _records("mbpp")
        if one["task_id"] in TESTED
    ]


HUMANEVAL = Task(
    "humaneval",
    "functions in Python, begun with their description, checked by tests",
    "humaneval",
    _humaneval,
    main=PASSES,
    longest=512,
)
MBPP = Task(
    "mbpp",
    "small programs in Python, described in a sentence, checked by tests (give examples: --shots 3)",
    "mbpp",
    _mbpp,
    main=PASSES,
    longest=256,
)
