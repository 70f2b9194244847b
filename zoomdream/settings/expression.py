"""Checks expressions such as `1.3 + 0.2*sin(2*pi*t/4)`, and evaluates them for all frames at once.

They are read by simpleeval, with the names and functions listed here and nothing else, and capped in
length and depth.
"""

import ast
import difflib
import warnings
from collections.abc import Callable, Iterable
from functools import lru_cache, partial, reduce
from typing import Any

import numpy as np
from simpleeval import SimpleEval

from zoomdream.errors import UsageError
from zoomdream.settings.clock import Clock, Values
from zoomdream.settings.variables import NAMES, variables

MOST_CHARACTERS, MOST_NESTING = 10_000, 100  # of an expression; sums of many parts nest nothing


def noise(x: Any, seed: float = 0.0) -> Values:
    """Makes smooth noise of -1 to 1 that changes from one whole number to the next."""
    x = np.asarray(x, np.float64)
    whole = np.floor(np.clip(x, -(2.0**52), 2.0**52))
    share = x - whole
    share = share * share * share * (share * (share * 6 - 15) + 10)
    values: Values = _hash(whole, seed) * (1 - share) + _hash(whole + 1, seed) * share
    return values


def _hash(whole: Values, seed: float) -> Values:
    """Makes a pseudo-random number of -1 to 1 of each whole number (splitmix64)."""
    with np.errstate(over="ignore"):
        mixed = whole.astype(np.int64).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        mixed = mixed + np.uint64(int(seed) % 2**63)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
        mixed = mixed ^ (mixed >> np.uint64(31))
    return mixed.astype(np.float64) / 2.0**63 - 1


def _smoothstep(low: Any, high: Any, x: Any) -> Any:
    share: Any = np.clip((x - low) / (high - low), 0, 1)
    return share * share * (3 - 2 * share)


def _floor_divide(a: Any, b: Any) -> Any:
    """Rounds a quotient down, as numexpr does: 1 // 0.1 is 10, though 0.1 is a little more than a tenth."""
    return np.floor(np.divide(a, b))


def _whole(x: Any) -> Any:
    """Turns conditions and whole numbers into integers; raises ValueError for all other numbers."""
    whole = np.asarray(x, np.float64)
    if not ((whole >= -(2.0**63)) & (whole < 2.0**63) & (whole == np.floor(whole))).all():
        raise ValueError("& | ^ ~ << >> are for conditions and whole numbers")
    return whole.astype(np.int64)


def _of_numbers(function: Callable[..., Any]) -> Callable[..., Any]:
    """Makes a function take conditions for 0 and 1; numpy would compute in 16 bits."""
    return lambda *values: function(*(np.asarray(value, np.float64) for value in values))


def _bitwise(function: Callable[..., Any]) -> Callable[..., Any]:
    """Makes an operator that combines conditions, or the bits of whole numbers."""

    def combine(*values: Any) -> Any:
        if all(np.asarray(value).dtype == bool for value in values):
            return function(*values)
        return np.float64(function(*map(_whole, values)))

    return combine


# numexpr's functions, which numpy has under the same names, of one number and of two.
_OF_ONE = (
    "sin cos tan arcsin arccos arctan sinh cosh tanh arcsinh arccosh arctanh exp expm1 log log2 log10 "
    "log1p sqrt abs sign floor ceil round trunc isnan isinf isfinite signbit real imag conj copy ones_like"
)
_OF_TWO = "arctan2 fmod hypot copysign nextafter maximum minimum"
FUNCTIONS: dict[str, tuple[Callable[..., Any], int, int]] = {  # and how many arguments they take
    **{name: (_of_numbers(getattr(np, name)), 1, 1) for name in _OF_ONE.split()},
    **{name: (_of_numbers(getattr(np, name)), 2, 2) for name in _OF_TWO.split()},
    "min": (lambda *a: reduce(np.minimum, a), 1, 20), "max": (lambda *a: reduce(np.maximum, a), 1, 20),
    "clamp": (lambda x, low, high: np.minimum(np.maximum(x, low), high), 3, 3),
    "lerp": (lambda a, b, share: a + (b - a) * share, 3, 3), "smoothstep": (_smoothstep, 3, 3),
    "where": (np.where, 3, 3), "noise": (noise, 1, 2),
}  # fmt: skip
_CALLED = {name: function for name, (function, _, _) in FUNCTIONS.items()}
OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: np.add, ast.Sub: partial(np.subtract, dtype=np.float64),  # of conditions, too
    ast.Mult: np.multiply, ast.Div: np.divide,
    ast.FloorDiv: _floor_divide, ast.Mod: lambda a, b: a - _floor_divide(a, b) * b,
    ast.Pow: np.float_power,
    ast.USub: partial(np.negative, dtype=np.float64), ast.UAdd: partial(np.positive, dtype=np.float64),
    ast.Lt: np.less, ast.LtE: np.less_equal, ast.Gt: np.greater, ast.GtE: np.greater_equal,
    ast.Eq: np.equal, ast.NotEq: np.not_equal,
    ast.BitAnd: _bitwise(np.bitwise_and), ast.BitOr: _bitwise(np.bitwise_or),
    ast.BitXor: _bitwise(np.bitwise_xor), ast.Invert: _bitwise(np.invert),
    ast.LShift: _bitwise(np.left_shift), ast.RShift: _bitwise(np.right_shift),
}  # fmt: skip


_ALLOWED = "only numbers, + - * / // % ** & | ^ ~ << >>, comparisons and functions are allowed"


class ScheduleError(UsageError):
    """A schedule cannot be read or evaluated; the message shows where."""


def schedule_error(text: str, what: str, at: int | None = None) -> ScheduleError:
    """Makes an error that shows the text, with a caret under the place in it where that is known."""
    if at is None or "\n" in text or len(text) > 200:
        return ScheduleError(f'{what}: "{text[:200]}"')
    return ScheduleError(f"{what}\n    {text}\n    {' ' * at}^")


def parse_expression(text: str) -> ast.expr:
    """Parses an expression, of which nothing is checked but its grammar and length; raises ScheduleError."""
    stripped = text.strip()
    if not stripped:
        raise ScheduleError("an expression is empty: a number, or something such as 1 + sin(t)")
    if len(text) > MOST_CHARACTERS:
        raise ScheduleError(
            f"an expression of {len(text)} characters is too long: {MOST_CHARACTERS} at most"
        )
    try:
        with warnings.catch_warnings(action="ignore"):  # of strange escapes in strings
            return ast.parse(stripped, mode="eval").body
    except SyntaxError as error:
        at = (error.offset or 1) - 1 + len(text) - len(text.lstrip())
        raise schedule_error(text, "this is no expression", min(at, len(text))) from None
    except (RecursionError, MemoryError):
        raise schedule_error(text, "this has too many parts for an expression") from None
    except ValueError as error:
        raise schedule_error(text, f"this is no expression ({error})") from None


def _evaluator(names: dict[str, Any]) -> SimpleEval:
    """Makes an evaluator that takes long sums from the left, part by part, instead of nesting them."""
    evaluator = SimpleEval(OPERATORS, _CALLED, names)

    def from_the_left(node: ast.BinOp) -> Any:
        first, steps = _steps(node)
        value = evaluator._eval(first)
        for step in steps:
            value = OPERATORS[type(step.op)](value, evaluator._eval(step.right))
        return value

    evaluator.nodes[ast.BinOp] = from_the_left
    return evaluator


def _steps(node: ast.BinOp) -> tuple[ast.expr, list[ast.BinOp]]:
    """Takes a + b - c apart into a, and the operations that follow it."""
    steps: list[ast.BinOp] = []
    first: ast.expr = node
    while isinstance(first, ast.BinOp):
        steps.append(first)
        first = first.left
    return first, steps[::-1]


class Expression:
    """An expression, checked and compiled once. Raises ScheduleError."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._indent = len(text) - len(text.lstrip())
        self._parsed = self._checked(parse_expression(text), 0)

    def _checked(self, node: ast.AST, depth: int) -> ast.AST:
        """Turns a node's numbers into floats; raises ScheduleError for what is not allowed."""

        def error(what: str) -> ScheduleError:
            column = len(
                self.text.strip().encode()[: getattr(node, "col_offset", 0)].decode(errors="ignore")
            )
            return schedule_error(self.text, what, column + self._indent)

        if depth > MOST_NESTING:
            raise error(f"this is nested more than {MOST_NESTING} deep")
        match node:
            case ast.Constant(value=bool()):
                raise error("True and False are no numbers")
            case ast.Constant(value=int() | float() as number):
                try:
                    node.value = float(number)
                except OverflowError:
                    raise error("this number is too large") from None
            case ast.Name(id=name):
                if name not in NAMES:
                    hint = " (a function, to be called)" if name in FUNCTIONS else ""
                    raise error(f'there is no "{name[:40]}" here{hint}: {near_names(name, NAMES)}')
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                if name not in FUNCTIONS:
                    raise error(
                        f'there is no function "{name[:40]}": {near_names(name, FUNCTIONS)}'
                    )
                _, least, most = FUNCTIONS[name]
                if not least <= len(arguments) <= most:
                    raise error(
                        f"{name} takes {least if least == most else f'{least} to {most}'} values"
                    )
                node.args = [self._checked(a, depth + 1) for a in arguments]  # type: ignore[misc]
            case ast.BinOp():
                first, steps = _steps(node)
                steps[0].left = self._checked(first, depth + 1)  # type: ignore[assignment]
                for step in steps:
                    if type(step.op) not in OPERATORS:
                        raise error(_ALLOWED)
                    step.right = self._checked(step.right, depth + 1)  # type: ignore[assignment]
            case ast.UnaryOp(op=operator, operand=operand) if type(operator) in OPERATORS:
                node.operand = self._checked(operand, depth + 1)  # type: ignore[assignment]
            case ast.Compare(left=left, ops=[operator], comparators=[right]) if (
                type(operator) in OPERATORS
            ):
                node.left = self._checked(left, depth + 1)  # type: ignore[assignment]
                node.comparators = [self._checked(right, depth + 1)]  # type: ignore[list-item]
            case ast.IfExp() | ast.BoolOp() | ast.Compare():
                raise error(
                    "choose with where(condition, this, that), join conditions with & and |"
                )
            case _:
                raise error(_ALLOWED)
        return node

    def values(self, clock: Clock, seconds: Values) -> Values:
        """Evaluates the expression at each moment; values need not be finite. Raises ScheduleError."""
        try:
            with np.errstate(all="ignore"):
                result = _evaluator(variables(clock, seconds))._eval(self._parsed)
                return np.broadcast_to(np.asarray(result, np.float64), seconds.shape)
        except (ArithmeticError, ValueError, TypeError) as error:
            raise schedule_error(self.text, f"this cannot be evaluated ({error})") from None


read_expression = lru_cache(maxsize=2**14)(Expression)
"""Reads an Expression; the same text only once, as jobs are copied and checked many times."""


def near_names(name: str, known: Iterable[str]) -> str:
    """Ends an error message with the known names nearest to a wrong one, or with all of them."""
    close = difflib.get_close_matches(name, known, n=2, cutoff=0.5)
    return f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(known)}"


def split_at_commas(text: str) -> list[str]:
    """Splits a text at its commas, but for those within brackets; parts may be empty."""
    depth, start, parts = 0, 0, []
    for place, letter in enumerate(text):
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth <= 0:
            parts.append(text[start:place])
            start = place + 1
    return [*parts, text[start:]]
