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
from numba.core.cgutils import alloca_once, for_range, for_range_slice, get_or_insert_function
from numba.extending import intrinsic

from .product import COLUMNS, TALL
from .rows import VECTOR

_written_out: Any = intrinsic  # callers leave `typing` out
ROWS = 4
"""Of a panel of `add_product`, whose left side lies across: eight registers add up."""

KIND = ir.VectorType(ir.FloatType(), VECTOR)
UNDEFINED = ir.Constant(KIND, ir.Undefined)
WHOLE = ir.VectorType(ir.IntType(32), VECTOR)
FIRST_LANE = ir.Constant(WHOLE, [0] * VECTOR)
PLACE = types.intp


LEAST = -87.0
"""Whose exponential is still a normal number."""
CEPHES = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)


class _Code:
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

    def vector(self, array: int, at: Any) -> Any:
        """A pointer to it."""
        return self.builder.bitcast(self.place(array, at), KIND.as_pointer())

    def load(self, pointer: Any) -> Any:
        return self.builder.load(pointer, align=4)

    def store(self, vector: Any, pointer: Any) -> None:
        self.builder.store(vector, pointer, align=4)

    def everywhere(self, number: Any) -> Any:
        lane = self.builder.insert_element(UNDEFINED, number, ir.IntType(32)(0))
        return self.builder.shuffle_vector(lane, UNDEFINED, FIRST_LANE)

    def variable(self, number: float) -> Any:
        """A pointer to a vector that begins so."""
        pointer = alloca_once(self.builder, KIND)
        self.builder.store(_constant(number), pointer)
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
        lane = self.builder.insert_element(ir.Constant(WHOLE, ir.Undefined), left, ir.IntType(32)(0))
        everywhere = self.builder.shuffle_vector(lane, ir.Constant(WHOLE, ir.Undefined), FIRST_LANE)
        return self.builder.icmp_signed("<", ir.Constant(WHOLE, list(range(VECTOR))), everywhere)

    def multiply_add(self, a: Any, b: Any, c: Any) -> Any:
        kind = ir.FunctionType(KIND, [KIND] * 3)
        function = get_or_insert_function(self.builder.module, kind, f"llvm.fmuladd.v{VECTOR}f32")
        return self.builder.call(function, [a, b, c])

    def exp(self, x: Any) -> Any:
        """As kernels._exp, for x <= 88: 2^n * e^r with |r| <= ln 2 / 2, e^r by Cephes' polynomial."""
        builder = self.builder
        small = builder.fcmp_ordered("<", x, _constant(LEAST))
        z = builder.select(small, _constant(LEAST), x)
        floor = get_or_insert_function(builder.module, ir.FunctionType(KIND, [KIND]), f"llvm.floor.v{VECTOR}f32")
        n = builder.call(floor, [self.multiply_add(z, _constant(1.44269504088896341), _constant(0.5))])
        r = self.multiply_add(n, _constant(-0.693359375), z)
        r = self.multiply_add(n, _constant(2.12194440e-4), r)
        p = _constant(CEPHES[0])
        for coefficient in CEPHES[1:]:
            p = self.multiply_add(p, r, _constant(coefficient))
        p = builder.fadd(self.multiply_add(builder.fmul(p, r), r, r), _constant(1.0))
        exponent = builder.add(builder.fptosi(n, WHOLE), ir.Constant(WHOLE, [127] * VECTOR))
        power = builder.bitcast(builder.shl(exponent, ir.Constant(WHOLE, [23] * VECTOR)), KIND)
        return builder.select(small, _constant(0.0), builder.fmul(p, power))


def _product(add: bool, rows: int, context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    code = _Code(context, builder, signature, arguments)
    _, at, stride, _, left_at, left_row, left_step, _, right_at, right_step, steps = arguments
    parts = range(0, COLUMNS, VECTOR)
    targets = [[code.vector(0, code.sum(at, code.times(stride, row), part)) for part in parts] for row in range(rows)]
    totals = [[alloca_once(builder, KIND) for _ in parts] for _ in range(rows)]
    for row in range(rows):
        for target, total in zip(targets[row], totals[row], strict=True):
            builder.store(code.load(target) if add else _constant(0.0), total)
    with for_range(builder, steps) as loop:
        right = code.sum(right_at, code.times(loop.index, right_step))
        factors = [code.load(code.vector(7, code.sum(right, part))) for part in parts]
        left = code.sum(left_at, code.times(loop.index, left_step))
        for row in range(rows):
            number = code.everywhere(code.number(3, code.sum(left, code.times(left_row, row))))
            for factor, total in zip(factors, totals[row], strict=True):
                builder.store(code.multiply_add(number, factor, builder.load(total)), total)
    for row in range(rows):
        for target, total in zip(targets[row], totals[row], strict=True):
            code.store(builder.load(total), target)
    return code.nothing


def _product_types(into: Any, left: Any, right: Any) -> Any:
    p = PLACE
    return types.void(into, p, p, left, p, p, p, right, p, p, p)


@_written_out
def add_product(
    typing: Any, into: Any, at: Any, stride: Any, left: Any, left_at: Any, left_row: Any, left_step: Any,
    right: Any, right_at: Any, right_step: Any, steps: Any,
) -> Any:  # fmt: skip
    """into[4, 16] += left[4, steps] @ right[steps, 16].

    Neighbours in a row are neighbours in memory, but for `left`, whose own are `left_step` apart.
    """
    return _product_types(into, left, right), partial(_product, True, ROWS)


@_written_out
def tall_product(
    typing: Any, into: Any, at: Any, stride: Any, left: Any, left_at: Any, left_row: Any, left_step: Any,
    right: Any, right_at: Any, right_step: Any, steps: Any,
) -> Any:  # fmt: skip
    """into[TALL, 16] = left[TALL, steps] @ right[steps, 16], as `add_product` reads them."""
    return _product_types(into, left, right), partial(_product, False, TALL)


@_written_out
def row_product(
    typing: Any, into: Any, at: Any, stride: Any, left: Any, left_at: Any, left_row: Any, left_step: Any,
    right: Any, right_at: Any, right_step: Any, steps: Any,
) -> Any:  # fmt: skip
    """As `tall_product`, for a single row."""
    return _product_types(into, left, right), partial(_product, False, 1)


def _scaled(add: bool, context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    code = _Code(context, builder, signature, arguments)
    _, at, _, source_at, count, scale = arguments
    factor = code.everywhere(scale)
    with code.vectors(count) as index:
        target, number = code.vector(0, code.sum(at, index)), code.load(code.vector(2, code.sum(source_at, index)))
        code.store(
            code.multiply_add(number, factor, code.load(target)) if add else builder.fmul(number, factor), target
        )
    return code.nothing


@_written_out
def copy_scaled(typing: Any, into: Any, at: Any, source: Any, source_at: Any, count: Any, scale: Any) -> Any:
    """into[:count] = scale * source[:count]"""
    return types.void(into, PLACE, source, PLACE, PLACE, types.float32), partial(_scaled, False)


@_written_out
def scale_by(typing: Any, into: Any, source: Any, at: Any, factors: Any, count: Any, scale: Any) -> Any:
    """into[:count] = factors[:count] * (scale * source[:count]), the first two at `at`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code = _Code(context, builder, signature, arguments)
        _, _, at, _, count, scale = arguments
        everywhere = code.everywhere(scale)
        with code.vectors(count) as index:
            place = code.sum(at, index)
            number = builder.fmul(everywhere, code.load(code.vector(1, place)))
            code.store(builder.fmul(code.load(code.vector(3, index)), number), code.vector(0, place))
        return code.nothing

    return types.void(into, source, PLACE, factors, PLACE, types.float32), generate


@_written_out
def add_scaled(typing: Any, into: Any, at: Any, source: Any, source_at: Any, count: Any, scale: Any) -> Any:
    """into[:count] += scale * source[:count]"""
    return types.void(into, PLACE, source, PLACE, PLACE, types.float32), partial(_scaled, True)


@_written_out
def rotate_halves(
    typing: Any, into: Any, x: Any, at: Any, cos: Any, sin: Any, angles_at: Any, half: Any, sign: Any
) -> Any:
    """For x = (a, b) of `half` numbers each: into = (a * cos - b * sin, b * cos + a * sin), with sin times `sign`.

    `half` may be any number. No product is fused with a sum, so that all who call it get the same bits.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code = _Code(context, builder, signature, arguments)
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


@_written_out
def gated(typing: Any, into: Any, gate: Any, up: Any, at: Any, count: Any) -> Any:
    """into[:count] = silu(gate[:count]) * up[:count], all at `at`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code = _Code(context, builder, signature, arguments)
        _, _, _, at, count = arguments
        with code.vectors(count) as index:
            place = code.sum(at, index)
            g, u = code.load(code.vector(1, place)), code.load(code.vector(2, place))
            below = builder.fneg(g)
            capped = builder.select(builder.fcmp_ordered(">", below, _constant(88.0)), _constant(88.0), below)
            share = builder.fdiv(g, builder.fadd(_constant(1.0), code.exp(capped)))
            code.store(builder.fmul(share, u), code.vector(0, place))
        return code.nothing

    return types.void(into, gate, up, PLACE, PLACE), generate


@_written_out
def dot_product(typing: Any, first: Any, first_at: Any, second: Any, second_at: Any, count: Any) -> Any:
    """The sum of first[:count] * second[:count]."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code = _Code(context, builder, signature, arguments)
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


@_written_out
def multiply_less(typing: Any, into: Any, at: Any, factors: Any, factors_at: Any, count: Any, less: Any) -> Any:
    """into[:count] = factors[:count] * (into[:count] - less)"""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code = _Code(context, builder, signature, arguments)
        _, at, _, factors_at, count, less = arguments
        subtracted = code.everywhere(less)
        with code.vectors(count) as index:
            target, factor = code.vector(0, code.sum(at, index)), code.load(code.vector(2, code.sum(factors_at, index)))
            code.store(builder.fmul(factor, builder.fsub(code.load(target), subtracted)), target)
        return code.nothing

    return types.void(into, PLACE, factors, PLACE, PLACE, types.float32), generate


@_written_out
def exponentials(typing: Any, row: Any, at: Any, seen: Any, count: Any, top: Any) -> Any:
    """row[:seen] = e^(row - top), to 2e-7 relative, where row - top <= 88; row[seen:count] = 0. Gives their sum."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code = _Code(context, builder, signature, arguments)
        _, at, seen, count, top = arguments
        total = code.variable(0.0)
        highest = code.everywhere(top)
        with code.vectors(count) as index:
            place = code.vector(0, code.sum(at, index))
            e = code.exp(builder.fsub(code.load(place), highest))
            e = builder.select(code.before(index, seen), e, _constant(0.0))
            code.store(e, place)
            builder.store(builder.fadd(builder.load(total), e), total)
        return code.added(total)

    return types.float32(row, PLACE, PLACE, PLACE, types.float32), generate


def _constant(number: float) -> Any:
    return ir.Constant(KIND, [number] * VECTOR)


@_written_out
def largest(typing: Any, row: Any, at: Any, count: Any) -> Any:
    """The largest of row[:count] that is a number; -inf where none is. `count` may be any; a whole vector is read."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code = _Code(context, builder, signature, arguments)
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
