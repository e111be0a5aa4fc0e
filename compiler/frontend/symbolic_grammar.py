"""Grammar of the symbolic sizes in a ``.pt2``.

torch hands these strings to ``sympy.sympify``, which evaluates them as Python. A size is
arithmetic over symbols; only that is let through.
"""

from __future__ import annotations

import ast
import re

from compressc.errors import HandOverError

_MAX_LENGTH = 20_000
_MAX_DEPTH = 60
_MAX_EXPONENT = 64
_SYMBOL = re.compile(r"[a-z]{1,5}\d{1,9}")

_CONSTANTS = frozenset({"oo", "int_oo", "zoo", "nan", "true", "false"})
# The second argument of these is an exponent: evaluating 9**9**9 would never end.
_POWERS = frozenset({"Pow", "PowByNatural", "FloatPow", "LShift"})
_ATOMS = frozenset({"Symbol", "Integer", "Float", "Rational"})
_FUNCTION_NAMES = """
Abs Add And CeilDiv CeilToInt CleanDiv Eq Equality ExprCondPair FloatTrueDiv FloorDiv FloorToInt
Ge GreaterThan Gt Identity IntTrueDiv IsNonOverlappingAndDenseIndicator Le LessThan Lt Max Min
Mod ModularIndexing Mul Ne Not Or Piecewise PythonMod RShift RoundDecimal RoundToInt
StrictGreaterThan StrictLessThan ToFloat TruncToFloat TruncToInt Tuple Unequality Where ceiling
floor sqrt
"""
_FUNCTIONS = frozenset(_FUNCTION_NAMES.split())
_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow)
_SIGNS = (ast.UAdd, ast.USub)
_COMPARISONS = (ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE)


def check_symbol(text: str) -> str:
    """Return ``text`` if it names a size symbol such as ``s77``.

    Raises:
        HandOverError: if it is anything else.
    """
    if not _SYMBOL.fullmatch(text):
        raise _refusal(text)
    return text


def check_expression(text: str) -> str:
    """Return ``text``, rewritten from its syntax tree, if it is arithmetic over symbols.

    Raises:
        HandOverError: if it holds anything else, or powers too large to evaluate.
    """
    if len(text) > _MAX_LENGTH:
        raise _refusal(text)
    try:
        tree = ast.parse(text, mode="eval").body
        _check(tree, text, _MAX_DEPTH)
        return ast.unparse(tree)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        # Python's parser says MemoryError where it means that brackets are nested too deep.
        raise _refusal(text) from None


def _refusal(text: str) -> HandOverError:
    shown = text if len(text) <= 60 else text[:57] + "..."
    return HandOverError(f"symbolic size {shown!r} is not plain arithmetic, so it is not evaluated")


def _check(node: ast.expr, text: str, depth: int) -> None:
    children: list[ast.expr]
    match node:
        case _ if depth == 0:
            raise _refusal(text)
        case ast.Constant(value=bool() | int() | float()):
            children = []
        case ast.Name(id=name) if name in _CONSTANTS or _SYMBOL.fullmatch(name):
            children = []
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            _check_power(left, right, text)
            children = [left]
        case ast.BinOp(left=left, op=op, right=right) if isinstance(op, _OPERATORS):
            children = [left, right]
        case ast.UnaryOp(op=op, operand=operand) if isinstance(op, _SIGNS):
            children = [operand]
        case ast.Compare(left=left, ops=ops, comparators=right) if all(
            isinstance(op, _COMPARISONS) for op in ops
        ):
            children = [left, *right]
        case ast.Tuple(elts=elements):
            children = elements
        case ast.Call(func=ast.Name(id=name)) if name in _ATOMS:
            _check_atom(node, text)
            children = []
        case ast.Call(func=ast.Name(id=name), args=[base, exponent], keywords=[]) if (
            name in _POWERS
        ):
            _check_power(base, exponent, text)
            children = [base]
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
            children = args
        case _:
            raise _refusal(text)
    for child in children:
        _check(child, text, depth - 1)


def _check_power(base: ast.expr, exponent: ast.expr, text: str) -> None:
    if any(
        isinstance(node, ast.Pow) or (isinstance(node, ast.Name) and node.id in _POWERS)
        for node in ast.walk(base)
    ):
        raise _refusal(text)
    match exponent:
        case ast.Call(func=ast.Name(id="Integer"), args=[inner], keywords=[]):
            exponent = inner
        case _:
            pass
    if isinstance(exponent, ast.UnaryOp) and isinstance(exponent.op, ast.USub):
        exponent = exponent.operand
    if not (
        isinstance(exponent, ast.Constant)
        and isinstance(exponent.value, int)
        and exponent.value <= _MAX_EXPONENT
    ):
        raise _refusal(text)


def _check_atom(call: ast.Call, text: str) -> None:
    """Check ``Symbol('s0', integer=True)``, ``Integer(-3)``, ``Float('1.5', precision=53)``."""
    name = call.func.id if isinstance(call.func, ast.Name) else ""
    for position, argument in enumerate(call.args):
        if isinstance(argument, ast.UnaryOp) and isinstance(argument.op, ast.USub):
            argument = argument.operand
        value = argument.value if isinstance(argument, ast.Constant) else None
        if isinstance(value, str):
            pattern = _SYMBOL.pattern if name == "Symbol" else r"[-+]?[\d.]{1,40}(e[-+]?\d{1,4})?"
            if name not in ("Symbol", "Float") or position or not re.fullmatch(pattern, value):
                raise _refusal(text)
        elif name == "Symbol" or not isinstance(value, int | float):
            raise _refusal(text)
    for keyword in call.keywords:
        value = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
        in_bounds = isinstance(value, int) and 0 <= value <= 1024
        if keyword.arg is None or name not in ("Symbol", "Float") or not in_bounds:
            raise _refusal(text)
