"""Small loops in vector registers, on flat float32 arrays. The compiler leaves loops over 16 to 64 numbers scalar.

No index is checked. Counts are multiples of VECTOR where nothing else is said.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.cgutils import alloca_once, for_range_slice, get_or_insert_function
from numba.extending import intrinsic

from .rows import VECTOR

written_out: Any = intrinsic
"""Callers leave `typing` out."""

KIND = ir.VectorType(ir.FloatType(), VECTOR)
WHOLE = ir.VectorType(ir.IntType(32), VECTOR)
PLACE = types.intp


LEAST = -87.0
"""Whose exponential is still a normal number."""
CEPHES = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)


class Code:
    """Writes the code of one call."""

    def __init__(self, context: Any, builder: Any, signature: Any, arguments: Any) -> None:
        self.builder = builder
        self.nothing = context.get_dummy_value()
        self._arrays = {
            number: context.make_array(kind)(context, builder, argument).data
            for number, (kind, argument) in enumerate(zip(signature.args, arguments, strict=True))
            if isinstance(kind, types.Array)
        }

    def sum(self, *terms: Any) -> Any:
        total = terms[0]
        for term in terms[1:]:
            total = self.builder.add(total, total.type(term) if isinstance(term, int) else term)
        return total

    def times(self, number: Any, factor: Any) -> Any:
        return self.builder.mul(number, number.type(factor) if isinstance(factor, int) else factor)

    def place(self, array: int, at: Any) -> Any:
        """A pointer to a number."""
        return self.builder.gep(self._arrays[array], [at])

    def number(self, array: int, at: Any) -> Any:
        return self.builder.load(self.place(array, at))

    def vector(self, array: int, at: Any, kind: Any = KIND) -> Any:
        """A pointer to it."""
        return self.builder.bitcast(self.place(array, at), kind.as_pointer())

    def load(self, pointer: Any) -> Any:
        return self.builder.load(pointer, align=4)

    def store(self, vector: Any, pointer: Any) -> None:
        self.builder.store(vector, pointer, align=4)

    def everywhere(self, number: Any, lanes: int = VECTOR) -> Any:
        undefined = ir.Constant(ir.VectorType(number.type, lanes), ir.Undefined)
        lane = self.builder.insert_element(undefined, number, ir.IntType(32)(0))
        first = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
        return self.builder.shuffle_vector(lane, undefined, first)

    def variable(self, number: float) -> Any:
        """A pointer to a vector that begins so."""
        pointer = alloca_once(self.builder, KIND)
        self.builder.store(constant(number), pointer)
        return pointer

    @contextmanager
    def vectors(self, count: Any) -> Iterator[Any]:
        """The index of each vector of `count` numbers."""
        with for_range_slice(self.builder, count.type(0), count, count.type(VECTOR), count.type) as (index, _):
            yield index

    def added(self, pointer: Any) -> Any:
        """The sum of a vector's numbers."""
        lanes, result = self.builder.load(pointer), ir.Constant(ir.FloatType(), 0.0)
        for lane in range(VECTOR):
            result = self.builder.fadd(result, self.builder.extract_element(lanes, ir.IntType(32)(lane)))
        return result

    def before(self, index: Any, end: Any) -> Any:
        """Which of the vector's numbers at `index` lie before `end`."""
        left = self.builder.trunc(self.builder.sub(end, index), ir.IntType(32))
        return self.builder.icmp_signed("<", ir.Constant(WHOLE, list(range(VECTOR))), self.everywhere(left))

    def multiply_add(self, a: Any, b: Any, c: Any) -> Any:
        kind = ir.FunctionType(c.type, [c.type] * 3)
        function = get_or_insert_function(self.builder.module, kind, f"llvm.fmuladd.v{c.type.count}f32")
        return self.builder.call(function, [a, b, c])

    def exp(self, x: Any) -> Any:
        """As kernels._exp, for x <= 88: 2^n * e^r with |r| <= ln 2 / 2, e^r by Cephes' polynomial."""
        builder = self.builder
        small = builder.fcmp_ordered("<", x, constant(LEAST))
        z = builder.select(small, constant(LEAST), x)
        floor = get_or_insert_function(builder.module, ir.FunctionType(KIND, [KIND]), f"llvm.floor.v{VECTOR}f32")
        n = builder.call(floor, [self.multiply_add(z, constant(1.44269504088896341), constant(0.5))])
        r = self.multiply_add(n, constant(-0.693359375), z)
        r = self.multiply_add(n, constant(2.12194440e-4), r)
        p = constant(CEPHES[0])
        for coefficient in CEPHES[1:]:
            p = self.multiply_add(p, r, constant(coefficient))
        p = builder.fadd(self.multiply_add(builder.fmul(p, r), r, r), constant(1.0))
        exponent = builder.add(builder.fptosi(n, WHOLE), whole(127))
        power = builder.bitcast(builder.shl(exponent, whole(23)), KIND)
        return builder.select(small, constant(0.0), builder.fmul(p, power))


@written_out
def round_to_pairs(typing: Any, into: Any, at: Any, source: Any, source_at: Any, count: Any) -> Any:
    """into[:count / 2] = source[:count] in bfloat16, to nearest and ties to even, of which an int32 holds two."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code = Code(context, builder, signature, arguments)
        _, at, _, source_at, count = arguments
        half = ir.VectorType(ir.IntType(16), VECTOR)
        with code.vectors(count) as index:
            number = code.load(code.vector(2, code.sum(source_at, index)))
            bits = builder.bitcast(number, WHOLE)
            odd = builder.and_(builder.lshr(bits, whole(16)), whole(1))
            rounded = builder.lshr(code.sum(bits, odd, whole(0x7FFF)), whole(16))
            rounded = builder.select(builder.fcmp_unordered("uno", number, number), whole(0x7FC0), rounded)  # NaN
            target = code.vector(0, code.sum(at, builder.lshr(index, index.type(1))), half)
            code.store(builder.trunc(rounded, half), target)
        return code.nothing

    return types.void(into, PLACE, source, PLACE, PLACE), generate


def _scaled(add: bool, context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    code = Code(context, builder, signature, arguments)
    _, at, _, source_at, count, scale = arguments
    factor = code.everywhere(scale)
    with code.vectors(count) as index:
        target, number = code.vector(0, code.sum(at, index)), code.load(code.vector(2, code.sum(source_at, index)))
        code.store(
            code.multiply_add(number, factor, code.load(target)) if add else builder.fmul(number, factor), target
        )
    return code.nothing


@written_out
def copy_scaled(typing: Any, into: Any, at: Any, source: Any, source_at: Any, count: Any, scale: Any) -> Any:
    """into[:count] = scale * source[:count]"""
    return types.void(into, PLACE, source, PLACE, PLACE, types.float32), partial(_scaled, False)


@written_out
def scale_by(typing: Any, into: Any, source: Any, at: Any, factors: Any, count: Any, scale: Any) -> Any:
    """into[:count] = factors[:count] * (scale * source[:count]), the first two at `at`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code = Code(context, builder, signature, arguments)
        _, _, at, _, count, scale = arguments
        everywhere = code.everywhere(scale)
        with code.vectors(count) as index:
            place = code.sum(at, index)
            number = builder.fmul(everywhere, code.load(code.vector(1, place)))
            code.store(builder.fmul(code.load(code.vector(3, index)), number), code.vector(0, place))
        return code.nothing

    return types.void(into, source, PLACE, factors, PLACE, types.float32), generate


@written_out
def add_scaled(typing: Any, into: Any, at: Any, source: Any, source_at: Any, count: Any, scale: Any) -> Any:
    """into[:count] += scale * source[:count]"""
    return types.void(into, PLACE, source, PLACE, PLACE, types.float32), partial(_scaled, True)


@written_out
def rotate_halves(
    typing: Any, into: Any, x: Any, at: Any, cos: Any, sin: Any, angles_at: Any, half: Any, sign: Any
) -> Any:
    """For x = (a, b) of `half` numbers each: into = (a * cos - b * sin, b * cos + a * sin), with sin times `sign`.

    `half` may be any number. No product is fused with a sum, so that all who call it get the same bits.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code = Code(context, builder, signature, arguments)
        _, _, at, _, _, angles_at, half, sign = arguments

        def turn(index: Any, place: Any, factor: Any) -> None:
            first, second, angle = code.sum(at, index), code.sum(at, half, index), code.sum(angles_at, index)
            a, b, c, s = (code.load(place(*where)) for where in ((1, first), (1, second), (3, angle), (4, angle)))
            s = builder.fmul(factor, s)
            code.store(builder.fsub(builder.fmul(a, c), builder.fmul(b, s)), place(0, first))
            code.store(builder.fadd(builder.fmul(b, c), builder.fmul(a, s)), place(0, second))

        whole = builder.sub(half, builder.srem(half, half.type(VECTOR)))
        everywhere = code.everywhere(sign)
        with code.vectors(whole) as index:
            turn(index, code.vector, everywhere)
        with for_range_slice(builder, whole, half, half.type(1), half.type) as (index, _):
            turn(index, code.place, sign)
        return code.nothing

    return types.void(into, x, PLACE, cos, sin, PLACE, PLACE, types.float32), generate


@written_out
def gated(typing: Any, into: Any, gate: Any, up: Any, at: Any, count: Any) -> Any:
    """into[:count] = silu(gate[:count]) * up[:count], all at `at`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code = Code(context, builder, signature, arguments)
        _, _, _, at, count = arguments
        with code.vectors(count) as index:
            place = code.sum(at, index)
            g, u = code.load(code.vector(1, place)), code.load(code.vector(2, place))
            below = builder.fneg(g)
            capped = builder.select(builder.fcmp_ordered(">", below, constant(88.0)), constant(88.0), below)
            share = builder.fdiv(g, builder.fadd(constant(1.0), code.exp(capped)))
            code.store(builder.fmul(share, u), code.vector(0, place))
        return code.nothing

    return types.void(into, gate, up, PLACE, PLACE), generate


@written_out
def dot_product(typing: Any, first: Any, first_at: Any, second: Any, second_at: Any, count: Any) -> Any:
    """The sum of first[:count] * second[:count]."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code = Code(context, builder, signature, arguments)
        _, first_at, _, second_at, count = arguments
        total = code.variable(0.0)
        with code.vectors(count) as index:
            a, b = (
                code.load(code.vector(0, code.sum(first_at, index))),
                code.load(code.vector(2, code.sum(second_at, index))),
            )
            builder.store(code.multiply_add(a, b, builder.load(total)), total)
        return code.added(total)

    return types.float32(first, PLACE, second, PLACE, PLACE), generate


@written_out
def multiply_less(typing: Any, into: Any, at: Any, factors: Any, factors_at: Any, count: Any, less: Any) -> Any:
    """into[:count] = factors[:count] * (into[:count] - less)"""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code = Code(context, builder, signature, arguments)
        _, at, _, factors_at, count, less = arguments
        subtracted = code.everywhere(less)
        with code.vectors(count) as index:
            target, factor = code.vector(0, code.sum(at, index)), code.load(code.vector(2, code.sum(factors_at, index)))
            code.store(builder.fmul(factor, builder.fsub(code.load(target), subtracted)), target)
        return code.nothing

    return types.void(into, PLACE, factors, PLACE, PLACE, types.float32), generate


@written_out
def exponentials(typing: Any, row: Any, at: Any, seen: Any, count: Any, top: Any) -> Any:
    """row[:seen] = e^(row - top), to 2e-7 relative, where row - top <= 88; row[seen:count] = 0. Gives their sum."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code = Code(context, builder, signature, arguments)
        _, at, seen, count, top = arguments
        total = code.variable(0.0)
        highest = code.everywhere(top)
        with code.vectors(count) as index:
            place = code.vector(0, code.sum(at, index))
            e = code.exp(builder.fsub(code.load(place), highest))
            e = builder.select(code.before(index, seen), e, constant(0.0))
            code.store(e, place)
            builder.store(builder.fadd(builder.load(total), e), total)
        return code.added(total)

    return types.float32(row, PLACE, PLACE, PLACE, types.float32), generate


def whole(number: int) -> Any:
    return ir.Constant(WHOLE, [number] * VECTOR)


def constant(number: float, kind: Any = KIND) -> Any:
    return ir.Constant(kind, [number] * kind.count)


@written_out
def largest(typing: Any, row: Any, at: Any, count: Any) -> Any:
    """The largest of row[:count] that is a number; -inf where none is. `count` may be any; a whole vector is read."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code = Code(context, builder, signature, arguments)
        _, at, count = arguments
        lowest = ir.Constant(ir.FloatType(), float("-inf"))
        top = code.variable(float("-inf"))
        with code.vectors(count) as index:
            number, known = code.load(code.vector(0, code.sum(at, index))), builder.load(top)
            larger = builder.and_(builder.fcmp_ordered(">", number, known), code.before(index, count))
            builder.store(builder.select(larger, number, known), top)
        result: Any = lowest
        lanes = builder.load(top)
        for lane in range(VECTOR):
            number = builder.extract_element(lanes, ir.IntType(32)(lane))
            result = builder.select(builder.fcmp_ordered(">", number, result), number, result)
        return result

    return types.float32(row, PLACE, PLACE), generate
