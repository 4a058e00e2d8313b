"""An operation's functions, called by their addresses: a step names its operation by number, the frame has the table.

So each operation is compiled by itself, and the interpreter knows none of them.
"""

from __future__ import annotations

from llvmlite import ir

from lmworks.kernels.emit.scalars import field, inlined
from lmworks.kernels.emit.vectors import LONG, Emitter, Int, Value, emitted
from lmworks.kernels.frame import ENTRY_BYTES, FORM_BYTES, Field


def _call(e: Emitter, function: Value, *arguments: Value, result: ir.Type) -> Value:
    kind = ir.FunctionType(result, [LONG] * len(arguments))
    return e.b.call(e.b.inttoptr(function, kind.as_pointer()), arguments)


@emitted(Int, Int, Int, Int)
def call_count(e: Emitter, function: Value, frame: Value, step: Value) -> Value:
    """Call a `Chunks.count`."""
    return _call(e, function, frame, step, result=LONG)


@emitted(None, Int, Int, Int, Int, Int)
def call_run(e: Emitter, function: Value, thread: Value, threads: Value, frame: Value, step: Value) -> None:
    """Call an `Operation.run`."""
    _call(e, function, thread, threads, frame, step, result=ir.VoidType())


@emitted(None, *[Int] * 7)
def call_do(
    e: Emitter, function: Value, begin: Value, end: Value, thread: Value, outbox: Value, frame: Value, step: Value
) -> None:
    """Call a `Chunks.do`."""
    _call(e, function, begin, end, thread, outbox, frame, step, result=ir.VoidType())


@emitted(None, *[Int] * 5)
def call_take_over(e: Emitter, function: Value, chunk: Value, helper: Value, frame: Value, step: Value) -> None:
    """Call a `Chunks.take_over`."""
    _call(e, function, chunk, helper, frame, step, result=ir.VoidType())


@emitted(None, *[Int] * 10)
def call_multiply(
    e: Emitter,
    function: Value,
    frame: Value,
    step: Value,
    first: Value,
    last: Value,
    begin: Value,
    end: Value,
    output: Value,
    stride: Value,
    adds: Value,
) -> None:
    """Call a quantisation's `FormEntry.MULTIPLY`."""
    _call(e, function, frame, step, first, last, begin, end, output, stride, adds, result=ir.VoidType())


@emitted(None, *[Int] * 4)
def call_embed(e: Emitter, function: Value, step: Value, token: Value, x: Value) -> None:
    """Call a quantisation's `FormEntry.EMBED`."""
    _call(e, function, step, token, x, result=ir.VoidType())


@inlined
def function_of(frame, form, entry):
    """A function of a quantisation (frame.FormEntry)."""
    return field(field(frame, Field.FORMS) + form * FORM_BYTES, entry)


@inlined
def entry_of(frame, step):
    """The entry of a step's operation in the frame's table (frame.Entry)."""
    return field(frame, Field.OPERATIONS) + field(step, 0) * ENTRY_BYTES
