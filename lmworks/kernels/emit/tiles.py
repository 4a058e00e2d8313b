"""Products of bytes by AMX: 16 tokens times 16 rows at once.

A tile is a register of 16 rows of up to 64 bytes. One has, of 16 tokens, the values of a group; one the group's codes,
four inputs (a quad) of each of 16 rows in a row of its own, which is how a matrix is packed; one what their products
add up to, in 32 bits. The whole numbers are those of AVX-512's products, and so is what is made of them.

Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18.
"""

from __future__ import annotations

from typing import Any

from lmworks.kernels.emit.instructions import chosen
from lmworks.kernels.emit.vectors import BYTE, Emitter, Value, emitted, ir
from lmworks.kernels.quantisation import QUADS, Quantisation

TOKENS = 16
"""Of a tile."""
SUMS, VALUES, CODES = 0, 1, 2
"""The numbers of the tiles."""
MORE_SUMS = (SUMS, 3, 4, 5)
"""Those of several tokens' sums beside one another: a product of tiles waits for the last one with the same sums."""


def has_tiles() -> bool:
    """Are kernels written for a processor with tiles?"""
    return chosen().name == "amx"


def multiplies_floats(kind: Quantisation) -> bool:
    """Do tiles multiply these weights as floats: 32 inputs of each token, in pairs as the weights lie?"""
    return has_tiles() and kind.floats == "bfloat16"


def tiles_of(kind: Quantisation) -> Any:
    """A function for compiled code that says how large the tiles are, for groups of a quantisation; they hold until
    `leave_tiles`. It does nothing where there are none."""
    row_of_values, rows_of_codes = (64, 16) if kind.floats else (4 * QUADS // kind.parts, QUADS // kind.parts)

    @emitted(None)
    def use_tiles(e: Emitter) -> None:
        if not has_tiles():
            return
        sizes = {**dict.fromkeys(MORE_SUMS, (TOKENS, 64)), VALUES: (TOKENS, row_of_values), CODES: (rows_of_codes, 64)}
        layout = [1] + 63 * [0]  # the palette; from byte 16 on the bytes of a row, 16 bits each; from 48 on the rows
        for tile, (rows, row_bytes) in sizes.items():
            layout[16 + 2 * tile], layout[48 + tile] = row_bytes, rows
        room = e.memory(1)
        e.store(ir.Constant(ir.VectorType(BYTE, 64), layout), room)
        _call(e, "ldtilecfg", _pointer(e, room))

    return use_tiles


@emitted(None)
def leave_tiles(e: Emitter) -> None:
    """Let go of the tiles: what they hold is saved no more when threads change."""
    if has_tiles():
        _call(e, "tilerelease")


def multiply(e: Emitter, codes: Value, values: Value, stride: Value, sums: Value) -> None:
    """For each of 16 tokens the sums of the products of a part in each of 16 lanes, to `sums`, the address of 16
    vectors: `codes` and `values` are where the part's codes and the first token's values begin, `stride` the bytes to
    the next token's."""
    _call(e, "tilezero", _number(e, SUMS))
    _load(e, VALUES, values, stride)
    _load(e, CODES, codes, e.constant(64))
    _call(e, "tdpbsud", *(_number(e, tile) for tile in (SUMS, VALUES, CODES)))
    _call(e, "tilestored64", _number(e, SUMS), _pointer(e, sums), e.constant(64))


def begin_sums(e: Emitter, sums: Value, sets: int) -> None:
    """Load the sums of `sets` times 16 tokens to begin with, a vector for each token."""
    for number in range(sets):
        _load(e, MORE_SUMS[number], e.plus(sums, 64 * TOKENS * number), e.constant(64))


def add_floats(e: Emitter, codes: Value, values: Value, stride: Value, sets: int) -> None:
    """Add the products of a group of bfloat16 weights and values, as `multiply` those of bytes."""
    _load(e, CODES, codes, e.constant(64))
    for number in range(sets):
        _load(e, VALUES, e.plus(values, e.times(stride, TOKENS * number)), stride)
        _call(e, "tdpbf16ps", *(_number(e, tile) for tile in (MORE_SUMS[number], VALUES, CODES)))


def end_sums(e: Emitter, sums: Value, sets: int) -> None:
    """Put the sums there."""
    for number in range(sets):
        place = _pointer(e, e.plus(sums, 64 * TOKENS * number))
        _call(e, "tilestored64", _number(e, MORE_SUMS[number]), place, e.constant(64))


def _load(e: Emitter, tile: int, address: Value, stride: Value) -> None:
    _call(e, "tileloadd64", _number(e, tile), _pointer(e, address), stride)


def _call(e: Emitter, name: str, *values: Value) -> None:
    e.call(f"llvm.x86.{name}", ir.VoidType(), *values)


def _number(e: Emitter, tile: int) -> Value:
    return e.constant(tile, BYTE)


def _pointer(e: Emitter, address: Value) -> Value:
    return e.b.inttoptr(address, BYTE.as_pointer())
