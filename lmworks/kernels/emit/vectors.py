"""Vectors of 16 numbers as LLVM instructions: what the kernels are written with.

    @emitted(None, Int, Int, Float)
    def add_scaled(e, x, y, factor):                  # runs when it is compiled: e writes the instructions
        e.store(e.fma(e.load(FLOATS, x), e.splat(factor), e.load(FLOATS, y)), y)

A vector type is lowered to whatever the processor has: one 512-bit register, two of 256 bits or four of 128. Only the
product of bytes is written for each instruction set by hand (`dot_bytes`): LLVM does not find those instructions
itself. Addresses are 64-bit integers.
"""

from __future__ import annotations

import functools
import inspect
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from llvmlite import ir

from lmworks.kernels.emit.compiler import compiling
from lmworks.kernels.emit.instructions import chosen

if compiling:
    from numba.core import cgutils, types
    from numba.extending import intrinsic

Value = Any
"""A value of the program that is being written."""

Int, Float, Real, Byte, Longs, Doubles = "int64", "float32", "float64", "uint8", "CPointer(int64)", "CPointer(float64)"
"""What a function takes and gives, by numba's names of types."""

BYTE, SHORT, WORD, LONG = (ir.IntType(bits) for bits in (8, 16, 32, 64))
HALF, SINGLE, DOUBLE = ir.HalfType(), ir.FloatType(), ir.DoubleType()
FLOATS, WORDS, HALVES = (ir.VectorType(kind, 16) for kind in (SINGLE, WORD, HALF))
FLOATS_8, WORDS_8, HALVES_8 = (ir.VectorType(kind, 8) for kind in (SINGLE, WORD, HALF))
SHORTS, BYTES_32 = ir.VectorType(SHORT, 16), ir.VectorType(BYTE, 32)

NONE_SEEN = -1e30
"""The score of a key that is not seen, and the maximum over none."""


def emitted(result: str | None, *arguments: str) -> Callable[[Callable[..., Value]], Any]:
    """Make a function that writes instructions callable from compiled code, with these types."""

    def decorate(body: Callable[..., Value]) -> Any:
        if not compiling:
            return body
        signature = _type(result or "void")(*map(_type, arguments))

        def write(context: Any, builder: Any, _: Any, values: Sequence[Value]) -> Value:
            made = body(Emitter(builder), *values)
            return context.get_dummy_value() if result is None else made

        def typed(_: Any, *given: Any) -> tuple[Any, Any]:
            return signature, write

        typed.__name__, typed.__qualname__, typed.__doc__ = body.__name__, body.__qualname__, body.__doc__
        # numba asks how many arguments there are; the writer stands where numba has the typing context.
        typed.__signature__ = inspect.signature(body)  # type: ignore[attr-defined]
        return intrinsic(typed)

    return decorate


def _type(name: str) -> Any:
    outer, _, inner = name.rstrip(")").partition("(")
    return getattr(types, outer)(_type(inner)) if inner else getattr(types, outer)


class Emitter:
    """Writes instructions one after another; what it returns stands for a value when the program runs."""

    def __init__(self, builder: ir.IRBuilder) -> None:
        self.b = builder

    def constant(self, value: float, kind: Any = LONG) -> Value:
        """A number, in every lane of a vector type."""
        return ir.Constant(kind, [value] * kind.count if isinstance(kind, ir.VectorType) else value)

    def integer(self, value: Value) -> Value:
        """A Python integer as a 64-bit constant; a value as it is."""
        return self.constant(value) if isinstance(value, int) else value

    def call(self, name: str, result: Any, *values: Value, fast: bool = False) -> Value:
        """An LLVM intrinsic, or a function of the system."""
        kind = ir.FunctionType(result, [value.type for value in values])
        function = cgutils.get_or_insert_function(self.b.module, kind, name)
        return self.b.call(function, values, fastmath=("fast",) if fast else ())

    def smaller_integer(self, value: Value, most: int) -> Value:
        """The smaller one."""
        limit = self.constant(most)
        return self.b.select(self.b.icmp_signed("<", value, limit), value, limit)

    # Memory

    def plus(self, address: Value, offset: Value) -> Value:
        """Address and offset in bytes."""
        return address if isinstance(offset, int) and offset == 0 else self.b.add(address, self.integer(offset))

    def times(self, value: Value, factor: Value) -> Value:
        """A product of integers."""
        return self.b.mul(self.integer(value), self.integer(factor))

    def load(self, kind: Any, address: Value, offset: Value = 0, align: int = 1) -> Value:
        """What lies at an address."""
        return self.b.load(self.b.inttoptr(self.plus(address, offset), kind.as_pointer()), align=align)

    def store(self, value: Value, address: Value, offset: Value = 0, align: int = 1) -> None:
        """Put a value there."""
        self.b.store(value, self.b.inttoptr(self.plus(address, offset), value.type.as_pointer()), align=align)

    def prefetch(self, address: Value, offset: Value = 0, written: bool = False) -> None:
        """Ask for the 64 bytes at an address, which will be read soon, or `written`; any address is allowed."""
        place = self.b.inttoptr(self.plus(address, offset), BYTE.as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [place.type, WORD, WORD, WORD])
        function = cgutils.get_or_insert_function(self.b.module, kind, "llvm.prefetch.p0")
        self.b.call(
            function, [place, *(self.constant(int(number), WORD) for number in (written, 3, 1))]
        )  # to keep, data

    def load_halves(self, address: Value, offset: Value = 0, kind: Any = HALVES) -> Value:
        """float16 numbers, as float32."""
        return self.b.fpext(self.load(kind, address, offset), ir.VectorType(SINGLE, kind.count))

    def load_brains(self, address: Value, offset: Value = 0, kind: Any = FLOATS) -> Value:
        """bfloat16 numbers, as float32: their upper halves."""
        words = ir.VectorType(WORD, kind.count)
        halves = self.load(ir.VectorType(ir.IntType(16), kind.count), address, offset)
        return self.b.bitcast(self.b.shl(self.b.zext(halves, words), self.constant(16, words)), kind)

    def float_of(self, words: Value, kind: str) -> Value:
        """The float32 numbers of 16-bit floats (bfloat16 or float16) in the lower halves of words; what is in the upper
        ones does not count. Of one word, or of a vector of them."""
        count = words.type.count if isinstance(words.type, ir.VectorType) else None
        wide, half = (one if count is None else ir.VectorType(one, count) for one in (SINGLE, HALF))
        if kind == "float16":
            short = SHORT if count is None else ir.VectorType(SHORT, count)
            return self.b.fpext(self.b.bitcast(self.b.trunc(words, short), half), wide)
        return self.b.bitcast(self.b.shl(words, self.constant(16, words.type)), wide)

    def float_pairs(self, words: Value, kind: str) -> tuple[Value, Value]:
        """The float32 numbers of the 16-bit floats in both halves of 16 words, those of the lower ones first."""
        if kind == "float16":
            return self.float_of(words, kind), self.float_of(self.b.lshr(words, self.constant(16, words.type)), kind)
        upper = self.b.and_(words, self.constant(-0x10000, words.type))
        return self.float_of(words, kind), self.b.bitcast(upper, FLOATS)

    def store_brains(self, value: Value, address: Value, offset: Value = 0) -> None:
        """float32 numbers, rounded to bfloat16; of two that are as near, to the even one."""
        words = ir.VectorType(WORD, value.type.count)
        constant = functools.partial(self.constant, kind=words)
        bits = self.b.bitcast(value, words)
        is_odd = self.b.and_(self.b.lshr(bits, constant(16)), constant(1))
        rounded = self.b.add(bits, self.b.add(is_odd, constant(0x7FFF)))
        quiet = self.b.or_(bits, constant(0x400000))  # NaN stays, and shows
        rounded = self.b.select(self.b.fcmp_unordered("uno", value, value), quiet, rounded)
        halves = self.b.trunc(self.b.lshr(rounded, constant(16)), ir.VectorType(ir.IntType(16), value.type.count))
        self.store(halves, address, offset)

    def load_splat(self, address: Value, offset: Value = 0, kind: Any = SINGLE, lanes: int = 16) -> Value:
        """One number in all lanes."""
        return self.splat(self.load(kind, address, offset, align=4), lanes)

    def variable(self, start: Value) -> Value:
        """A place that keeps a value through a loop (a register, where there are enough)."""
        place = cgutils.alloca_once(self.b, start.type)
        self.b.store(start, place)
        return place

    def memory(self, vectors: int) -> Value:
        """The address of room for this many vectors of 64 bytes, while the function runs."""
        return self.b.ptrtoint(cgutils.alloca_once(self.b, ir.ArrayType(FLOATS, vectors)), LONG)

    # Order

    @contextmanager
    def loop(self, start: Value, stop: Value) -> Iterator[Value]:
        """Run the block for start, start + 1, ..., stop - 1."""
        with cgutils.for_range_slice(
            self.b, self.integer(start), self.integer(stop), self.constant(1), LONG, inc=True
        ) as (index, _):
            yield index

    # Arithmetic

    def splat(self, value: Value, lanes: int = 16) -> Value:
        """A number in all lanes."""
        kind = ir.VectorType(value.type, lanes)
        first = self.b.insert_element(ir.Constant(kind, ir.Undefined), value, self.constant(0, WORD))
        return self.shuffle(first, [0] * lanes)

    def shuffle(self, vector: Value, lanes: Sequence[int]) -> Value:
        """These lanes of a vector, in this order."""
        order = ir.Constant(ir.VectorType(WORD, len(lanes)), list(lanes))
        return self.b.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), order)

    def fma(self, x: Value, y: Value, z: Value) -> Value:
        """x * y + z, rounded once."""
        return self.call(f"llvm.fma.v{x.type.count}f32", x.type, x, y, z)

    def rounded(self, x: Value) -> Value:
        """To the nearest whole number, halves to the even one."""
        return self.call("llvm.rint.v16f32", FLOATS, x)

    def absolute(self, x: Value) -> Value:
        """|x|"""
        return self.call("llvm.fabs.v16f32", FLOATS, x)

    def larger(self, x: Value, y: Value) -> Value:
        """The larger of each pair; y where one is NaN."""
        return self.b.select(self.b.fcmp_ordered(">", x, y), x, y)

    def smaller(self, x: Value, y: Value) -> Value:
        """The smaller of each pair; y where one is NaN."""
        return self.b.select(self.b.fcmp_ordered("<", x, y), x, y)

    def largest(self, x: Value) -> Value:
        """The largest of the 16."""
        return self.call("llvm.vector.reduce.fmax.v16f32", SINGLE, x)

    def sum(self, x: Value) -> Value:
        """Of the 16, as a tree: always in the same order."""
        lanes = 16
        while lanes > 1:
            lanes //= 2
            x = self.b.fadd(self.shuffle(x, list(range(lanes))), self.shuffle(x, list(range(lanes, 2 * lanes))))
        return self.b.extract_element(x, self.constant(0, WORD))

    def sum_words(self, x: Value) -> Value:
        """Of 16 integers."""
        return self.call("llvm.vector.reduce.add.v16i32", WORD, x)

    def exp(self, x: Value) -> Value:
        """e^x within 2 units in the last place, x between -87 and 88 (else clamped; NaN stays).

        2^n times a polynomial of the rest, whose coefficients are those of Cephes' expf.
        """
        constant = functools.partial(self.constant, kind=FLOATS)
        x = self.smaller(constant(88.0), self.larger(constant(-87.0), x))  # in this order NaN stays
        whole = self.rounded(self.b.fmul(x, constant(1.4426950408889634)))
        # ln 2 in two parts: the first has few bits, so that its product with a whole number is exact.
        rest = self.fma(whole, constant(-0.693359375), x)
        rest = self.fma(whole, constant(2.12194440e-4), rest)
        power = constant(1.9875691500e-4)
        for factor in (1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1):
            power = self.fma(power, rest, constant(factor))
        power = self.fma(self.b.fmul(rest, rest), power, self.b.fadd(rest, constant(1.0)))
        # The lowest bits of 1.5 * 2^23 + n are those of n.
        exponent = self.b.bitcast(self.b.fadd(whole, constant(1.5 * 2**23 + 127)), WORDS)
        return self.b.fmul(power, self.b.bitcast(self.b.shl(exponent, self.constant(23, WORDS)), FLOATS))

    def dot_bytes(self, sums: Value, unsigned: Value, signed: Value) -> Value:
        """sums + the products of four neighbouring bytes in each of 16 lanes: unsigned times signed."""
        return DOTS[chosen().name](self, sums, unsigned, signed)

    def looked_up(self, table: Sequence[int], codes: Value) -> Value:
        """In each byte of 16 or 8 integers, the byte of the table of 16 that it names."""
        kind = ir.VectorType(BYTE, 4 * codes.type.count)
        low = self.b.bitcast(codes, kind)
        shuffles = {64: "llvm.x86.avx512.pshuf.b.512", 32: "llvm.x86.avx2.pshuf.b"}
        if chosen().name == "plain":
            found = _looked_up(self, table, low)
        else:
            values = ir.Constant(kind, list(table) * (kind.count // 16))
            found = self.call(shuffles[kind.count], kind, values, low)
        return self.b.bitcast(found, codes.type)

    def looked_up_floats(self, table: Sequence[float], codes: Value) -> Value:
        """Of a table of 16 float32 numbers, those that 16 integers below 16 name."""
        if chosen().name == "plain":
            bits = struct.unpack("<16I", struct.pack("<16f", *table))
            return self.b.bitcast(_looked_up(self, bits, codes), FLOATS)
        values = ir.Constant(FLOATS, list(table))
        if chosen().name != "avx2":
            return self.call("llvm.x86.avx512.permvar.sf.512", FLOATS, values, codes)
        halves = [list(range(8)), list(range(8, 16))]
        low, high = (self._looked_up_in_halves(self.shuffle(values, one), codes, halves) for one in halves)
        is_low = self.b.icmp_unsigned("<", codes, self.constant(8, WORDS))
        return self.b.select(is_low, low, high)

    def _looked_up_in_halves(self, table: Value, codes: Value, halves: list[list[int]]) -> Value:
        """Of 8 numbers, those that the lowest 3 bits name."""
        found = [self.call("llvm.x86.avx2.permps", FLOATS_8, table, self.shuffle(codes, one)) for one in halves]
        order = ir.Constant(WORDS, list(range(16)))
        return self.b.shuffle_vector(*found, order)

    # 256 bits of AVX2

    def pairs(self, unsigned: Value, signed: Value) -> Value:
        """16 sums of two neighbouring products of bytes, unsigned times signed, in 16 bits (saturating)."""
        left, right = (self.b.bitcast(value, BYTES_32) for value in (unsigned, signed))
        return self.call("llvm.x86.avx2.pmadd.ub.sw", SHORTS, left, right)

    def signed_pairs(self, first: Value, second: Value) -> Value:
        """The same of two signed factors, where the second never is -128: |first| * (second with first's sign)."""
        first = self.b.bitcast(first, BYTES_32)
        second = self.call("llvm.x86.avx2.psign.b", BYTES_32, self.b.bitcast(second, BYTES_32), first)
        return self.pairs(self.call("llvm.abs.v32i8", BYTES_32, first, ir.Constant(ir.IntType(1), 0)), second)

    def widened(self, pairs: Value) -> Value:
        """8 sums of two neighbours, in 32 bits."""
        return self.call("llvm.x86.avx2.pmadd.wd", WORDS_8, pairs, self.constant(1, SHORTS))


def _dot_vnni(e: Emitter, sums: Value, unsigned: Value, signed: Value) -> Value:
    return e.call("llvm.x86.avx512.vpdpbusd.512", WORDS, sums, unsigned, signed)


def _dot_plain(e: Emitter, sums: Value, unsigned: Value, signed: Value) -> Value:
    """In LLVM's own operations, for any processor."""
    bytes_64, words_64 = ir.VectorType(BYTE, 64), ir.VectorType(WORD, 64)
    left = e.b.zext(e.b.bitcast(unsigned, bytes_64), words_64)
    products = e.b.mul(left, e.b.sext(e.b.bitcast(signed, bytes_64), words_64))
    for place in range(4):
        sums = e.b.add(sums, e.shuffle(products, [4 * lane + place for lane in range(16)]))
    return sums


def _looked_up(e: Emitter, table: Sequence[int], codes: Value) -> Value:
    """In LLVM's own operations: a tree of choices, by one bit after another."""
    left = [e.constant(value, codes.type) for value in table]
    for bit in range(4):
        named = e.b.and_(codes, e.constant(1 << bit, codes.type))
        is_set = e.b.icmp_unsigned("!=", named, e.constant(0, codes.type))
        left = [e.b.select(is_set, high, low) for low, high in zip(left[::2], left[1::2], strict=True)]
    return left[0]


DOTS: dict[str, Callable[[Emitter, Value, Value, Value], Value]] = {
    "amx": _dot_vnni,
    "avx512": _dot_vnni,
    "plain": _dot_plain,
}
