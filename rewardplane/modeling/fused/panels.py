"""Products of flat arrays, a panel of the result at a time: it is written when its sums are whole.

Neighbours in a row are neighbours in memory, but for those of the left side, which are `left_step` apart. No index is
checked. Numbers are float32, or on both sides pairs of bfloat16 as int32, which are multiplied number by number, and
both products added: to a float32, as all results are.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.cgutils import alloca_once, for_range, get_or_insert_function

from .registers import PANEL, SMALL_PANEL, Panel
from .vectors import PLACE, Code, constant, written_out

FEW = 4
"""Rows of a panel whose left side lies across."""


def _product(panel: Panel, add: bool, context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    code = Code(context, builder, signature, arguments)
    _, at, stride, _, left_at, left_row, left_step, _, right_at, right_step, steps = arguments
    kind, rows = ir.VectorType(ir.FloatType(), panel.lanes), range(panel.rows)
    of_factors = ir.VectorType(context.get_data_type(signature.args[7].dtype), panel.lanes)
    multiply_add = code.multiply_add if of_factors == kind else partial(_multiply_add_pairs, builder)
    parts = range(0, panel.columns, panel.lanes)
    targets = [[code.vector(0, code.sum(at, code.times(stride, row), part), kind) for part in parts] for row in rows]
    totals = [[alloca_once(builder, kind) for _ in parts] for _ in rows]
    for row in rows:
        for target, total in zip(targets[row], totals[row], strict=True):
            builder.store(code.load(target) if add else constant(0.0, kind), total)
    with for_range(builder, steps) as loop:
        right = code.sum(right_at, code.times(loop.index, right_step))
        factors = [code.load(code.vector(7, code.sum(right, part), of_factors)) for part in parts]
        left = code.sum(left_at, code.times(loop.index, left_step))
        for row in rows:
            number = code.everywhere(code.number(3, code.sum(left, code.times(left_row, row))), panel.lanes)
            for factor, total in zip(factors, totals[row], strict=True):
                builder.store(multiply_add(number, factor, builder.load(total)), total)
        _keep_apart(builder)
    for row in rows:
        for target, total in zip(targets[row], totals[row], strict=True):
            code.store(builder.load(total), target)
    return code.nothing


def _keep_apart(builder: Any) -> None:
    """Nothing of the next step is loaded before: the compiler takes steps in twos, and then has too few registers."""
    builder.asm(ir.FunctionType(ir.VoidType(), []), "", "~{memory}", [], side_effect=True)


def _multiply_add_pairs(builder: Any, a: Any, b: Any, c: Any) -> Any:
    kind = ir.FunctionType(c.type, [c.type, a.type, b.type])
    function = get_or_insert_function(builder.module, kind, f"llvm.x86.avx512bf16.dpbf16ps.{32 * c.type.count}")
    return builder.call(function, [c, a, b])


def _product_of(panel: Panel, *, add: bool = False) -> Any:
    """into[rows, columns] = or += left[rows, steps] @ right[steps, columns], of a panel's rows and columns."""

    @written_out
    def product(
        typing: Any, into: Any, at: Any, stride: Any, left: Any, left_at: Any, left_row: Any, left_step: Any,
        right: Any, right_at: Any, right_step: Any, steps: Any,
    ) -> Any:  # fmt: skip
        p = PLACE
        return types.void(into, p, p, left, p, p, p, right, p, p, p), partial(_product, panel, add)

    return product


tall_product = _product_of(PANEL)
row_product = _product_of(PANEL._replace(rows=1))
small_product = _product_of(SMALL_PANEL)
add_product = _product_of(SMALL_PANEL._replace(rows=FEW), add=True)
