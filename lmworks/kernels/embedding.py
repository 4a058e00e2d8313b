"""A token's row out of the packed embedding, and what is added to it by its position."""

from __future__ import annotations

from lmworks.kernels.scalars import byte_at, half_at, inlined, put_single, single_at


@inlined
def embed(table, bits, groups, token, factor, x):
    """Row `token` of a packed matrix (its layout: matrix.py) times `factor`, in float32 at x."""
    size, lane = 64 * bits + 64, token % 16  # frame.group_bytes
    block = table + (token // 16) * size * groups
    for group in range(groups):
        at = block + group * size
        scale, minimum = half_at(at + 64 * bits + 2 * lane), half_at(at + 64 * bits + 32 + 2 * lane)
        for place in range(32):
            quad = place // 4
            if bits == 4:
                code = int(byte_at(at + quad % 4 * 64 + 4 * lane + place % 4))
                code = code >> 4 if quad >= 4 else code & 15
            else:
                code = int(byte_at(at + quad * 64 + 4 * lane + place % 4))
            put_single(x + (group * 32 + place) * 4, (code * scale + minimum) * factor)


@inlined
def place(table, row, width, x):
    """Add row `row` of a float32 table, such as that of learned positions."""
    for at in range(0, width * 4, 4):
        put_single(x + at, single_at(x + at) + single_at(table + row * width * 4 + at))
