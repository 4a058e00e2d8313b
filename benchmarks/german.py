"""Answers from German documents: how many questions are answered rightly, wrongly, and refused.

python -m benchmarks.german            # stored in benchmarks/results/quality/german.json

Each text of `german_questions.toml` is a folder of its own, and asked as `lmworks ask INDEX --questions FILE` asks. An
answer is right if it holds the words that are expected; how many answerable questions are refused, the gate of the
nearest sentence says from then on. In a checkout of 6586369b40, before German words were compared by their
parts, it wrote `german-before.json`.
"""

from __future__ import annotations

import json
import sys
import tempfile
import tomllib
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.answers import state
from benchmarks.machine import ROOT, commit
from lmworks.basics.files import write_json
from lmworks.evaluation.statistics import proportion
from lmworks.grounding.answer import FINEST
from lmworks.grounding.index import build
from lmworks.grounding.own_questions import JudgedAnswer, OwnQuestion, Verdict

QUALITY = ROOT / "benchmarks" / "results" / "quality"


def judged(text: dict[str, Any], asked: Sequence[Sequence[str]], unanswered: Sequence[str]) -> list[JudgedAnswer]:
    """What became of questions on one text."""
    with tempfile.TemporaryDirectory() as folder:
        notes = Path(folder, text["name"])
        notes.mkdir()
        (notes / f"{text['name']}.md").write_text(text["text"].strip() + "\n", encoding="utf-8")
        questions = [OwnQuestion(one, tuple(words.split("|"))) for one, words in asked]
        questions += [OwnQuestion(one) for one in unanswered]
        return list(build(notes, Path(folder, "index")).judge(questions).answers)


def _finest(said: Sequence[tuple[float, bool]]) -> tuple[int, int]:
    """How many are right of those that no finer figure is told of, and how many these are."""
    own = [right for sure, right in said if sure > FINEST]
    return sum(own), len(own)


def share(count: int, n: int) -> dict[str, Any]:
    """With its interval of 95 %."""
    value, interval = proportion(count, n)
    return {"value": round(value, 4), "interval": interval and [round(one, 4) for one in interval], "n": n}


def measured(language: str) -> dict[str, Any]:
    """Ask the questions of a language, print and store; the figures by part."""
    parts: dict[str, list[JudgedAnswer]] = defaultdict(list)
    questions = Path(__file__).with_name(f"{language}_questions.toml")
    for text in tomllib.loads(questions.read_text(encoding="utf-8"))["text"]:
        parts[text["part"]] += judged(text, text["asked"], text["unanswered"])
        if "yes_or_no" in text:
            of_them = judged(text, text["yes_or_no"], text["yes_or_no_unanswered"])
            parts[f"{text['part']}, yes or no"] += of_them
    figures: dict[str, Any] = {}
    for part, answers in parts.items():
        for one in answers if "-v" in sys.argv else ():
            print(f"{one.verdict:20} {one.question.text} | {'|'.join(one.question.answers)} | {one.said['text'][:200]}")
        said = [(one.probably_right, one.verdict is Verdict.RIGHT) for one in answers if one.probably_right is not None]
        known = [one.verdict for one in answers if one.question.answers]
        unknown = [one.verdict for one in answers if not one.question.answers]
        figures[part] = {
            "right": share(known.count(Verdict.RIGHT), len(known)),
            "wrong": share(known.count(Verdict.WRONG) + known.count(Verdict.BESIDE), len(known)),
            "refused": share(known.count(Verdict.REFUSED), len(known)),
            "said to be right, of the answers given": round(sum(sure or 0 for sure, _ in said) / len(said), 4),
            "right, of the answers given": share(sum(right for _, right in said), len(said)),
            "right, of those said to be right with over 90 %": share(*_finest(said)),
            "refused, not in the text": share(unknown.count(Verdict.RIGHTLY_REFUSED), len(unknown)),
        }
    print(json.dumps(figures, indent=1))
    date, command = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M"), f"python -m benchmarks.{language}"
    told = {"date": date, "commit": commit(), "command": command, "figures": figures}
    write_json(QUALITY / f"{language}.json", told)
    return figures


if __name__ == "__main__":
    of = "answerable questions of German texts that nothing was chosen on (benchmarks/results/quality/german.json)"
    state("NearestSentence", measured("german")["held out"]["refused"]["value"], of)
