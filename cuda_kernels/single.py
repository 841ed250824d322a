"""Device functions from the CPU's scalar bodies, in single precision.

The mathematics of one voxel or one path point is written once, as a numba function in ``vesselgraph``. On the CPU much of it
runs in float64, because a Python float is one. A device kernel must not: an accidental float64 costs most cards a factor of
32 to 64. So the same source is read again and typed anew: every float literal and constant is float32, and where a float meets
an integer the result is float32 (numba would say float64). Nothing else changes: same statements, same order.

In the simulator the same source runs as plain Python on float32 scalars.
"""

from __future__ import annotations

import ast
import inspect
import math
import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import cuda, types
from numba.core.registry import CPUDispatcher

from cuda_kernels.device import COMPILES, SIMULATED

if COMPILES:
    from numba.cuda import libdevice
    from numba.cuda.extending import overload

Function = Callable[..., Any]
float32: Any = types.float32

_CONSTANTS = {
    ("math", "pi"): math.pi,
    ("math", "inf"): math.inf,
    ("np", "pi"): math.pi,
    ("np", "inf"): math.inf,
    ("np", "nan"): math.nan,
}
_PLAIN: dict[str, Function] = {
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mult": lambda a, b: a * b,
    "Div": lambda a, b: a / b,
    "Lt": lambda a, b: a < b,
    "LtE": lambda a, b: a <= b,
    "Gt": lambda a, b: a > b,
    "GtE": lambda a, b: a >= b,
}
_SINGLE: dict[str, Function] = {
    "Add": lambda a, b: float32(a) + float32(b),
    "Sub": lambda a, b: float32(a) - float32(b),
    "Mult": lambda a, b: float32(a) * float32(b),
    "Div": lambda a, b: float32(a) / float32(b),
    "Lt": lambda a, b: float32(a) < float32(b),
    "LtE": lambda a, b: float32(a) <= float32(b),
    "Gt": lambda a, b: float32(a) > float32(b),
    "GtE": lambda a, b: float32(a) >= float32(b),
}


def _type_operators() -> None:
    """Tell the CUDA compiler that an operator with a float in it, and every division, is float32."""

    def choice(name: str) -> Function:
        def choose(a, b):  # type: ignore[no-untyped-def]
            has_float = isinstance(a, types.Float) or isinstance(b, types.Float)
            return _SINGLE[name] if has_float or name == "Div" else _PLAIN[name]

        return choose

    for name, operator in _PLAIN.items():
        overload(operator)(choice(name))


# The device library's cosf and sinf fall back to float64 for large angles; those of multiples of pi do not.
_OWN: dict[str, Function] = {"cos": math.cos, "sin": math.sin, "sqrt": math.sqrt}
if COMPILES:
    _type_operators()
    _ONE_OVER_PI: Any = np.float32(1.0 / math.pi)
    _OWN |= {
        "cos": cuda.jit(device=True)(lambda angle: libdevice.cospif(float32(angle) * _ONE_OVER_PI)),
        "sin": cuda.jit(device=True)(lambda angle: libdevice.sinpif(float32(angle) * _ONE_OVER_PI)),
    }


class _Single(ast.NodeTransformer):
    """Rewrite one function: float constants become float32 globals, operators become calls of typed ones."""

    def __init__(self) -> None:
        self.constants: dict[str, Any] = {}

    def _constant(self, value: float) -> ast.Name:
        name = f"_single_{len(self.constants)}"
        self.constants[name] = np.float32(value)
        return ast.Name(name, ast.Load())

    def _call(self, operator: str, left: ast.expr, right: ast.expr) -> ast.expr:
        return ast.Call(ast.Name(f"_operator_{operator}", ast.Load()), [left, right], [])

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        """Type a literal."""
        return self._constant(node.value) if isinstance(node.value, float) else node

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        """Type ``math.pi`` and its like; name the device's own cosine and sine."""
        key = (node.value.id, node.attr) if isinstance(node.value, ast.Name) else ("", "")
        if key[0] in {"math", "np"} and key[1] in _OWN:
            return ast.Name(f"_own_{node.attr}", ast.Load())
        return self._constant(_CONSTANTS[key]) if key in _CONSTANTS else node

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        """Leave the arithmetic of indices alone: it is integer."""
        node.value = self.visit(node.value)
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        """Type an arithmetic operator."""
        self.generic_visit(node)
        name = type(node.op).__name__
        return self._call(name, node.left, node.right) if name in _PLAIN else node

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.stmt:
        """Type ``a += b`` as ``a = a + b``."""
        name = type(node.op).__name__
        value = self.visit(node.value)
        if name not in _PLAIN:
            return ast.AugAssign(node.target, node.op, value)
        before = ast.parse(ast.unparse(node.target), mode="eval").body
        return ast.Assign([node.target], self._call(name, before, value))

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        """Type a comparison of two values."""
        self.generic_visit(node)
        name = type(node.ops[0]).__name__
        if len(node.ops) == 1 and name in _PLAIN:
            return self._call(name, node.left, node.comparators[0])
        return node


def _wrapping_product(a: Any, b: Any) -> Any:
    """Return ``a * b`` as a device computes it: unsigned products wrap around without a warning."""
    with np.errstate(over="ignore"):
        return a * b


class _SingleLiterals(_Single):
    """For the simulator: float32 scalars stay float32 in plain Python, so only constants are rewritten."""

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        """Indices may hold products that wrap around."""
        self.generic_visit(node)
        return node

    def _call(self, operator: str, left: ast.expr, right: ast.expr) -> ast.expr:
        if operator == "Mult":
            return super()._call(operator, left, right)
        op = getattr(ast, operator)()
        return ast.BinOp(left, op, right) if isinstance(op, ast.operator) else ast.Compare(left, [op], [right])


_made: dict[Function, Function] = {}


def _as_single(value: Any) -> Any:
    """Return a global of a scalar body as the device sees it."""
    if isinstance(value, CPUDispatcher):
        return on_device(value)
    if isinstance(value, float):
        return np.float32(value)
    if isinstance(value, np.ndarray) and value.dtype == np.float64:
        return value.astype(np.float32)
    return value


def on_device(body: Any) -> Function:
    """Return the CUDA device function of a scalar body compiled by numba for the CPU, and of everything it calls.

    Parameters
    ----------
    body : numba dispatcher
        A function of numbers and arrays: no allocation, no array expression. Float arguments must come as float32.

    Returns
    -------
    function : CUDA device function
        The same one every time. In the simulator a plain Python function.
    """
    source = body.py_func
    if source in _made:
        return _made[source]
    tree = ast.parse(textwrap.dedent(inspect.getsource(source)))
    definition = tree.body[0]
    assert isinstance(definition, ast.FunctionDef)
    definition.decorator_list = []
    rewriter = _SingleLiterals() if SIMULATED else _Single()
    rewriter.visit(definition)
    ast.increment_lineno(ast.fix_missing_locations(tree), source.__code__.co_firstlineno - 1)
    names = {node.id for node in ast.walk(definition) if isinstance(node, ast.Name)}
    scope = {name: _as_single(value) for name, value in source.__globals__.items() if name in names}
    operators = _PLAIN | {"Mult": _wrapping_product} if SIMULATED else _PLAIN
    scope |= rewriter.constants | {f"_operator_{name}": operator for name, operator in operators.items()}
    scope |= {f"_own_{name}": function for name, function in _OWN.items()}
    exec(compile(tree, inspect.getsourcefile(source) or "<scalar body>", "exec"), scope)
    function: Function = scope[source.__name__]
    _made[source] = function if SIMULATED else cuda.jit(device=True)(function)
    return _made[source]
