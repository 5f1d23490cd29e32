"""Expressions of numbers by name, as ComfyUI's node for them takes them: nothing but arithmetic."""

import ast
import math
import operator
from collections.abc import Callable, Mapping

MAX_CHARACTERS = 500
_BINARY: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_FUNCTIONS: dict[str, Callable[..., float]] = {
    "floor": math.floor,
    "ceil": math.ceil,
    "round": round,
    "sqrt": math.sqrt,
    "abs": abs,
    "min": min,
    "max": max,
    "int": math.trunc,
    "float": float,
}


def calculated(expression: str, names: Mapping[str, float]) -> float:
    """What an expression comes to.

    Raises:
        ValueError: it is none, or is not to be calculated.
    """
    if len(expression) > MAX_CHARACTERS:
        raise ValueError(f"it has over {MAX_CHARACTERS} characters")
    try:
        return float(_value(ast.parse(expression.strip(), mode="eval").body, names))
    except (SyntaxError, ArithmeticError, TypeError, RecursionError, MemoryError) as error:
        raise ValueError(f"it cannot be calculated: {error}") from None


def _value(node: ast.expr, names: Mapping[str, float]) -> float:
    match node:
        case ast.Constant(value=int() | float() as value):
            return float(value)
        case ast.Name(id=name) if name in names:
            return float(names[name])
        case ast.BinOp(left, kind, right) if type(kind) in _BINARY:
            return _BINARY[type(kind)](_value(left, names), _value(right, names))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, names)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
            return _FUNCTIONS[name](*(_value(arg, names) for arg in args))
    raise ValueError("only + - * / // %, floor, ceil, round, sqrt, abs, min and max are calculated")
