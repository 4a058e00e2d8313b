"""Products by AMX: 16 tokens times 16 rows at once. Of bytes here; of floats in float_tiles.py.

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


def has_tiles() -> bool:
    """Are kernels written for a processor with tiles?"""
    return chosen().name == "amx"


def multiplies_floats(kind: Quantisation) -> bool:
    """Do tiles multiply these weights as floats: 32 inputs of each token, in pairs as the weights lie?"""
    return has_tiles() and kind.floats == "bfloat16"


def tiles_of(kind: Quantisation) -> Any:
    """A function for compiled code that says how large the tiles are, for groups of a quantisation; they hold until
    `leave_tiles`. It does nothing where there are none."""
    row_of_values, rows_of_codes = 4 * QUADS // kind.parts, QUADS // kind.parts

    @emitted(None)
    def use_tiles(e: Emitter) -> None:
        if has_tiles():
            sizes = {SUMS: (TOKENS, 64), VALUES: (TOKENS, row_of_values), CODES: (rows_of_codes, 64)}
            lay_out(e, e.memory(1), sizes)

    return use_tiles


def lay_out(e: Emitter, room: Value, sizes: dict[int, tuple[Value, int]]) -> None:
    """Say of each tile how many rows of how many bytes it has; `room` is that of a vector, which the processor reads
    this from."""
    layout = [1] + 63 * [0]  # the palette; from byte 16 on the bytes of a row, 16 bits each; from 48 on the rows
    for tile, (_, row_bytes) in sizes.items():
        layout[16 + 2 * tile] = row_bytes
    e.store(ir.Constant(ir.VectorType(BYTE, 64), layout), room)
    for tile, (rows, _) in sizes.items():
        e.store(e.b.trunc(e.integer(rows), BYTE), room, 48 + tile)
    _call(e, "ldtilecfg", _pointer(e, room))


@emitted(None)
def leave_tiles(e: Emitter) -> None:
    """Let go of the tiles: what they hold is saved no more when threads change."""
    if has_tiles():
        _call(e, "tilerelease")


def multiply(e: Emitter, codes: Value, values: Value, stride: Value, sums: Value) -> None:
    """For each of 16 tokens the sums of the products of a part in each of 16 lanes, to `sums`, the address of 16
    vectors: `codes` and `values` are where the part's codes and the first token's values begin, `stride` the bytes to
    the next token's."""
    zero(e, SUMS)
    load(e, VALUES, values, stride)
    load(e, CODES, codes, 64)
    _call(e, "tdpbsud", *(_number(e, tile) for tile in (SUMS, VALUES, CODES)))
    store(e, SUMS, sums, 64)


def zero(e: Emitter, tile: int) -> None:
    """Nothing but zeros in a tile."""
    _call(e, "tilezero", _number(e, tile))


def load(e: Emitter, tile: int, address: Value, stride: Value) -> None:
    """Load a tile, whose rows lie `stride` bytes apart: with 0, the same one in all."""
    _call(e, "tileloadd64", _number(e, tile), _pointer(e, address), e.integer(stride))


def store(e: Emitter, tile: int, address: Value, stride: Value) -> None:
    """Put a tile's rows there, `stride` bytes apart."""
    _call(e, "tilestored64", _number(e, tile), _pointer(e, address), e.integer(stride))


def add_floats(e: Emitter, sums: int, values: int, codes: int) -> None:
    """Add to the sums in a tile the products of bfloat16 values and weights in two others."""
    _call(e, "tdpbf16ps", *(_number(e, tile) for tile in (sums, values, codes)))


def _call(e: Emitter, name: str, *values: Value) -> None:
    e.call(f"llvm.x86.{name}", ir.VoidType(), *values)


def _number(e: Emitter, tile: int) -> Value:
    return e.constant(tile, BYTE)


def _pointer(e: Emitter, address: Value) -> Value:
    return e.b.inttoptr(address, BYTE.as_pointer())
