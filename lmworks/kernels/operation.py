"""What an operation of the tape is: its operands, its compiled functions. Imports no numba.

    class Scale(Operands):                                  # operations/scale.py
        FACTOR = auto()

    @compiled
    def run(thread, threads, frame, step):
        factor = float_field(step, Scale.FACTOR)
        ...

    SCALE = Operation(Scale, run)

    Scale.step(factor=0.5)                                  # how a tape asks for it

A file in `operations/` that declares an Operation adds one; docs/kernels.md walks through it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple


class Step(NamedTuple):
    """One step of a tape."""

    operation: type[Operands]
    operands: tuple[int, ...]


class Operands(IntEnum):
    """The operands of an operation and their places in a step, from 1 on: word 0 is the operation's number.

    The tape writes them by name with `step`; compiled code reads them by name with `field(step, Norm.DIM)`, since
    numba takes the members of an IntEnum as constants.
    """

    @classmethod
    def step(cls, **values: float) -> Step:
        """A step with these operands, in lower case and all of them; floats go in as float32, by their bits."""
        names = [one.name.lower() for one in sorted(cls)]
        if sorted(names) != sorted(values):
            raise TypeError(f"{cls.__name__} takes {', '.join(names) or 'no operands'}, not {', '.join(values)}")
        ordered = (values[name] for name in names)
        return Step(cls, tuple(float_bits(one) if isinstance(one, float) else int(one) for one in ordered))


@dataclass(frozen=True)
class Chunks:
    """How helpers take part in a step while one thread leads (run/work_stealing.py): chunk after chunk."""

    count: Any
    """(frame, step): the chunks of a step, or 0 where the leader does it alone."""
    do: Any
    """(begin, end, thread, outbox, frame, step): do these chunks. `outbox` is 0 to leave results where they belong, or
    the number of the helper whose outbox they go to. `thread` owns the scratch memory."""
    take_over: Any
    """(chunk, helper, frame, step): put what that helper left in its outbox where it belongs."""
    reads_texts: bool
    """Chunks read the cache or the tokens, which belong to the caller: the end of a run waits for such helpers."""


@dataclass(frozen=True)
class Operation:
    """One kind of step. Its functions are compiled and take 64-bit integers."""

    operands: type[Operands]
    run: Any
    """(thread, threads, frame, step): this thread's share of a step. A barrier follows."""
    chunks: Chunks | None = None
    """None where a leader does the step alone."""
    takes_long: bool = False
    """A leader that does this alone tells its helpers that nothing comes soon."""
    moves_texts: bool = False
    """Changes tokens, positions or tiles, so that a leader waits for helpers that still read them."""

    @property
    def name(self) -> str:
        """That of its operands."""
        return self.operands.__name__


def float_bits(value: float) -> int:
    """A float32 number as the integer of its bits."""
    return int(struct.unpack("<I", struct.pack("<f", value))[0])
