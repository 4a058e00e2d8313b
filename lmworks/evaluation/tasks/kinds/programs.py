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
    """Write the programs together, and run each by itself. In a chat no stop string ends an answer, because prose may
    surround the code."""
    with Engine(model, seats=AT_ONCE, queue=len(left)) as engine:
        for item, handle in [
            (one, begun(engine, model, asked, one, [] if asked.chat else [*one.stops])) for one in left
        ]:
            yield checked(item, handle.answer().text)


def program_of(item: Program, written: str) -> str:
    """The whole program of an answer that continues `item.before`.

    Where the answer holds a fenced block, these are tried in order until one is valid Python: `before` completed by the
    answer's indented lines above the fence; `before`, followed by the block as a new definition; `before` completed by
    the block; `before`, followed by the text above the fence; and the block alone.
    """
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
    """Whether the tests pass when they are run after the program that was written."""
    passes = runs(f"{program_of(item, written)}\n\n{item.tests}\n")
    return ItemScores(item.name, item.group, written=written, alike={PASSES: float(passes)})


def _judged(item: Program, found: ItemScores) -> ItemScores:
    return checked(item, found.written or "")


PROGRAMS = Kind("programs", Program, _scored, _judged)
"""Programs that are written, and checked by their tests."""
