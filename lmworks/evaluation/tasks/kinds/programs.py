"""Programs that are written, and checked by running them with their tests."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence

from lmworks.evaluation.tasks.asked import AskedTask
from lmworks.evaluation.tasks.declaration import Program
from lmworks.evaluation.tasks.kind import Kind
from lmworks.evaluation.tasks.kinds.questions import AT_ONCE, begun
from lmworks.evaluation.tasks.scores import PASSES, ItemScores
from lmworks.evaluation.tasks.untrusted_code import runs
from lmworks.generation.continuations import Reading
from lmworks.generation.engine import Engine
from lmworks.language_model import LanguageModel

FENCED = re.compile(r"```[^\n]*\n(.*?)(?:```|\Z)", re.DOTALL)


def _scored(model: LanguageModel, asked: AskedTask, left: Sequence[Program], reading: Reading) -> Iterator[ItemScores]:
    """Written side by side, and each run alone. In a chat nothing but its end ends an answer: prose may stand around
    the code."""
    with Engine(model, seats=AT_ONCE, queue=len(left)) as engine:
        for item, handle in [
            (one, begun(engine, model, asked, one, [] if asked.chat else [*one.stops])) for one in left
        ]:
            yield checked(item, handle.answer().text)


def program_of(item: Program, written: str) -> str:
    """The program that an answer makes. Of one with a fence the first of these that is Python: what was begun with
    the indented lines before the fence; the block behind what was begun, which it defines anew; the block as what was
    begun goes on; what stands before the fence in the block's place; and the block alone."""
    if (block := FENCED.search(written)) is None:
        return item.before + written
    prose = written[: block.start()]
    ways = [item.before + prose] if prose.lstrip("\n")[:1].isspace() else []
    ways += [f"{item.before}\n\n{block[1]}", item.before + block[1], f"{item.before}\n\n{prose}"]
    return next((one for one in ways if _is_python(one)), block[1])


def _is_python(program: str) -> bool:
    try:
        ast.parse(program)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def checked(item: Program, written: str) -> ItemScores:
    """What was written, and whether the tests pass behind it."""
    passes = runs(f"{program_of(item, written)}\n\n{item.tests}\n")
    return ItemScores(item.name, item.group, written=written, alike={PASSES: float(passes)})


def _judged(item: Program, found: ItemScores) -> ItemScores:
    return checked(item, found.written or "")


PROGRAMS = Kind("programs", Program, _scored, _judged)
"""Programs that are written, and checked by their tests."""
