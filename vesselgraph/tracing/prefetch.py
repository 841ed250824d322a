"""Prefetch: ask the processor for memory some steps before it is read, where a kernel jumps about in it.

A kernel that knows where it will look next would otherwise wait for the memory each time. Results do not depend on it.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import config
from numba.extending import intrinsic


def _prefetch(_context: Any, array: Any, place: Any) -> Any:
    """Type a call ``prefetch(array, place)``: the element at ``place`` of a contiguous array, in any place, also outside."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        element = builder.bitcast(builder.gep(data, [arguments[1]]), ir.IntType(8).as_pointer())
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [element.type, number, number, number])
        wanted = builder.module.declare_intrinsic("llvm.prefetch", (element.type,), kind)
        # To be read, kept in every cache, data.
        builder.call(wanted, [element, number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(array, place), generate


def _do_nothing(array: Any, place: Any) -> None:
    """Stand in where kernels are not compiled."""


prefetch: Any = _do_nothing if config.DISABLE_JIT else intrinsic(_prefetch)  # type: ignore[attr-defined]
