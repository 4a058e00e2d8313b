"""Which functions are compiled, in parts that are compiled and kept each by itself: an operation, a quantisation, the
interpreter, the choice of a token, what a training step computes between its products."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from lmworks.basics.declared import declared
from lmworks.kernels.operation import Operation
from lmworks.kernels.quantisation import forms

INTERPRETER, CHOICE, BETWEEN = "interpreter", "choice", "between"
WHOLE, REAL = "int64", "float64"


@dataclass(frozen=True)
class Function:
    """One that is called from outside."""

    name: str
    """In the object code."""
    takes: tuple[str, ...]
    """Types, by numba's names."""
    gives: str | None
    written: Any
    """What is compiled."""


def operations() -> list[Operation]:
    """In the order in which the tape numbers them."""
    return list(declared("lmworks.kernels.operations", Operation).values())


def parts() -> list[str]:
    """Those that every network needs, the longest first; the others are names of quantisations."""
    return [CHOICE, INTERPRETER, *(one.name for one in operations())]


def functions(part: str) -> list[Function]:
    """The functions of a part."""
    if part in forms():
        embed, matrix = (importlib.import_module(f"lmworks.kernels.operations.{one}") for one in ("embed", "matrix"))
        kind = forms()[part]
        return [
            _of(part, "multiply", 9, None, matrix.multiply_of(kind)),
            _of(part, "embed", 3, None, embed.embed_of(kind)),
        ]
    if part == INTERPRETER:
        module: Any = importlib.import_module("lmworks.kernels.run.interpreter")
        return [
            _of(part, "run", 3, None, module.run),
            _of(part, "wait_for", 3, WHOLE, module.wait_for),
            _of(part, "signal", 2, None, module.signal),
        ]
    if part == CHOICE:
        module = importlib.import_module("lmworks.kernels.emit.softmax")
        takes = (WHOLE, WHOLE, REAL, WHOLE, REAL, REAL, REAL, WHOLE)
        return [
            Function(f"{part}.choose", takes, WHOLE, module.choose),
            _of(part, "log_total", 3, REAL, module.log_total),
        ]
    if part.startswith(f"{BETWEEN}_"):
        module = importlib.import_module("lmworks.kernels.emit.between")
        form = next(one for one in module.FORMS if part == f"{BETWEEN}_{one.name}")
        loops, eps = module.loops_of(form), (REAL,)
        return [
            Function(f"{part}.norm", (WHOLE,) * 5 + eps, None, loops["norm"]),
            Function(f"{part}.norm_back", (WHOLE,) * 7 + eps, None, loops["norm_back"]),
            _of(part, "gate", 4, None, loops["gate"]),
            _of(part, "gate_back", 5, None, loops["gate_back"]),
            Function(f"{part}.turn", (WHOLE,) * 12 + (REAL,), None, loops["turn"]),
            _of(part, "softmax", 4, None, loops["softmax"]),
            Function(f"{part}.nf4", (WHOLE,) * 6 + (REAL,), None, loops["nf4"]),
        ]
    operation = next(one for one in operations() if one.name == part)
    found = [_of(part, "run", 4, None, operation.run)]
    if (chunks := operation.chunks) is not None:
        found.append(_of(part, "count", 2, WHOLE, chunks.count))
        found.append(_of(part, "do", 6, None, chunks.do))
        found.append(_of(part, "take_over", 4, None, chunks.take_over))
    return found


def _of(part: str, name: str, takes: int, gives: str | None, written: Any) -> Function:
    """A function of `takes` integers."""
    return Function(f"{part}.{name}", (WHOLE,) * takes, gives, written)
