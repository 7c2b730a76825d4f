"""Threads that run one kernel together wait for each other in it: a step is over before the system wakes a thread."""

from __future__ import annotations

import ctypes
from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core.cgutils import get_or_insert_function

from .kernels import _kernel
from .vectors import PLACE, Code, written_out

PATIENCE = 4096
"""How often a thread looks before it lets others have its core."""
HAVE_COME, MEETINGS = 0, 1
GIVE_WAY = "sched_yield"
binding.add_symbol(GIVE_WAY, ctypes.cast(ctypes.CDLL(None)[GIVE_WAY], ctypes.c_void_p).value)  # for compiled code


@_kernel
def meet(meeting: Any, parts: int) -> None:
    """Goes on when `parts` threads are here. `meeting`: int64[2], zeros at first, the same for all of them."""
    if parts > 1:
        number, tries = _read(meeting, MEETINGS), 0
        if _add(meeting, HAVE_COME, 1) == parts - 1:
            _add(meeting, HAVE_COME, -parts)
            _add(meeting, MEETINGS, 1)
        else:
            while _read(meeting, MEETINGS) == number:
                tries += 1
                if tries % PATIENCE:
                    _pause()
                else:
                    _give_way()


@written_out
def _read(typing: Any, numbers: Any, at: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = Code(context, builder, signature, arguments).place(0, arguments[1])
        return builder.load_atomic(place, "seq_cst", 8)

    return types.int64(numbers, PLACE), generate


@written_out
def _add(typing: Any, numbers: Any, at: Any, term: Any) -> Any:
    """Gives what was there before."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = Code(context, builder, signature, arguments).place(0, arguments[1])
        return builder.atomic_rmw("add", place, arguments[2], "seq_cst")

    return types.int64(numbers, PLACE, types.int64), generate


@written_out
def _pause(typing: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.call(
            get_or_insert_function(builder.module, ir.FunctionType(ir.VoidType(), []), "llvm.x86.sse2.pause"), []
        )
        return context.get_dummy_value()

    return types.void(), generate


@written_out
def _give_way(typing: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.call(get_or_insert_function(builder.module, ir.FunctionType(ir.IntType(32), []), GIVE_WAY), [])
        return context.get_dummy_value()

    return types.void(), generate
