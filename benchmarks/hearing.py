"""How many words a model mishears: recordings of one voice with what was said, word errors and CPU seconds.

    python -m benchmarks.hearing SOUNDS TRANSCRIPTS --model whisper --store

SOUNDS is a folder of recordings, TRANSCRIPTS a text file with a line `name: what is said` for each (Asterisk's
prompts, CC BY-SA 3.0, are such: the packages asterisk-core-sounds-en-wav and asterisk-core-sounds-en). Recordings
without words, in brackets there, are left out, and so is what stands in parentheses. Words are compared without case
and punctuation, numbers as words; a word error rate is the sum of insertions, deletions and substitutions over the
words that were said, its interval a bootstrap over recordings. What is stored lies in benchmarks/hearing.json.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import this_machine
from benchmarks.store import add
from lmworks.evaluation.statistics import ratio_of_sums

STORED = Path(__file__).with_suffix(".json")
ONES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
NUMBERS = {str(number): word for number, word in enumerate(ONES)}


def words(text: str) -> list[str]:
    """Without case, punctuation and digits."""
    plain = re.sub(r"[^a-z0-9' ]", " ", text.lower().replace("-", " "))
    return [NUMBERS.get(one, one) for one in plain.split()]


def errors(said: list[str], heard: list[str]) -> int:
    """The fewest insertions, deletions and substitutions from one to the other."""
    row = list(range(len(heard) + 1))
    for word in said:
        before, row[0] = row[0], row[0] + 1
        for place, other in enumerate(heard, 1):
            before, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, before + (word != other))
    return row[-1]


def transcripts(path: Path) -> dict[str, str]:
    """What is said in each recording."""
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    lines = [line.partition(":") for line in text.splitlines() if ":" in line and not line.startswith(";")]
    found = {name.strip(): re.sub(r"\(.*?\)", "", said).strip() for name, _, said in lines if "[" not in said}
    return {name: said for name, said in found.items() if words(said)}


def measure(
    model: str, compress: str | None, beams: int, sounds: Path, texts: dict[str, str], least_words: int
) -> dict[str, Any]:
    """Word errors and what they took."""
    import torch

    import lmworks as lm
    from lmworks.hearing_model import hearing

    listener = hearing(lm.load(model, compress=compress))
    wrong, total, seconds, begun, worst = list[int](), list[int](), 0.0, time.process_time(), list[Any]()
    silent = 0
    for name, text in sorted(texts.items()):
        path, said = sounds / f"{name}.wav", words(text)
        if len(said) < least_words or not path.is_file():
            continue
        heard = listener.transcribe(path, beams=beams)
        wrong.append(errors(said, words(heard)))
        total.append(len(said))
        seconds += heard.seconds
        silent += not heard.segments
        worst.append((wrong[-1] / total[-1], name, text, heard.text))
    spent = time.process_time() - begun
    rate = ratio_of_sums(wrong, total)
    for share, name, text, heard_text in sorted(worst, reverse=True)[:20]:
        print(f"{share:.0%} {name}: {text} -> {heard_text}", file=sys.stderr)
    return {
        "model": model,
        "compress": compress,
        "beams": beams,
        "recordings": len(total),
        "words": int(np.sum(total)),
        "least_words": least_words,
        "left_out": silent,
        "word_error_rate": [round(one, 4) for one in (rate.value, *(rate.interval or ()))],
        "seconds_of_sound": round(seconds, 1),
        "cpu_seconds": round(spent, 1),
        "threads": torch.get_num_threads(),
    }


def main() -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sounds", type=Path)
    parser.add_argument("transcripts", type=Path)
    parser.add_argument("--model", default="whisper")
    parser.add_argument("--compress", help="as of lmworks transcribe")
    parser.add_argument("--beams", type=int, default=1)
    parser.add_argument("--least-words", type=int, default=1, help="leave out recordings of fewer words")
    parser.add_argument("--store", action="store_true")
    given = parser.parse_args()
    made = measure(
        given.model,
        given.compress,
        given.beams,
        given.sounds,
        transcripts(given.transcripts),
        given.least_words,
    )
    print(json.dumps(made, indent=2))
    if given.store:
        command = f"python -m benchmarks.hearing SOUNDS TRANSCRIPTS --model {given.model} --compress {given.compress}"
        made |= {"command": f"{command} --beams {given.beams} --least-words {given.least_words} --store"}
        made |= {"machine": this_machine().name, "date": time.strftime("%Y-%m-%d")}
        add(STORED, made)


if __name__ == "__main__":
    main()
