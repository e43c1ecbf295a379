"""Backprop tried in the terminal.

    python -m minigrad.explain "tanh(w * x + b)" w=0.5 x=2 b=-0.3
    python -m minigrad.explain "b = a + a; c = b + b" a=1.5 --why a
    python -m minigrad.explain "mean((x @ w - t) ** 2)" x=[[0,1],[1,1]] w=[0.5,2] t=[1,0] --why w[0] --save graph.svg
    python -m minigrad.explain "tanh(w * x + b)" w=0.5 x=2 b=-0.3 --html backprop.html
    python -m minigrad.explain "cross_entropy(x, t)" x=[[1,2,0]] t=[1]
    python -m minigrad.explain train.py:loss x=2

An expression has numbers, lists, names, arithmetic, indices and the functions of NumPy and minigrad that are listed
with --functions; it is read by Python's parser and worked out here, so nothing else is ever run, and nothing that would
become too large. A file is run, and its function called with the values given.

Pullbacks to fill in: python -m minigrad.exercises
"""

from __future__ import annotations

import argparse
import ast
import inspect
import io
import math
import re
import runpy
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from operator import getitem, neg, pos
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

import minigrad as mg
from minigrad import functional as F
from minigrad.explain.explanation import Explanation
from minigrad.explain.recording import record
from minigrad.graph import toposort, vertex
from minigrad.tensor import Tensor, detached

MOST_LETTERS = 10_000  # of an expression
MOST_OPERATIONS = 500  # of its graph
MOST_NUMBERS = 1 << 20  # in all arrays that it makes

_NUMPY = (
    "abs absolute add arcsinh arctan arctan2 cbrt clip concatenate cos cosh cumsum divide dot exp exp2 "
    "expm1 hypot log log10 log1p log2 logaddexp matmul max maximum mean min minimum multiply negative power prod "
    "reciprocal reshape sin sinh sqrt square stack std subtract sum swapaxes tan tanh transpose var where"
)
_MINIGRAD = (
    "relu leaky_relu elu gelu sigmoid silu softplus erf softmax log_softmax logsumexp layer_norm rms_norm batch_norm "
    "linear mse_loss l1_loss huber_loss cross_entropy binary_cross_entropy_with_logits"
)


def _cross_entropy(input: Any, target: Any, **settings: Any) -> Any:
    """F.cross_entropy, with whole numbers for targets, as all numbers of the command line are floats."""
    classes = np.asarray(detached(target))
    whole = classes.dtype.kind == "f" and bool(np.all(classes == np.rint(classes)))
    return F.cross_entropy(input, classes.astype(np.int64) if whole else target, **settings)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{name: getattr(np, name) for name in _NUMPY.split()},
    **{name: getattr(F, name) for name in _MINIGRAD.split()},
    "cross_entropy": _cross_entropy,
}
OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: lambda x, y: x + y,
    ast.Sub: lambda x, y: x - y,
    ast.Mult: lambda x, y: x * y,
    ast.Div: lambda x, y: x / y,
    ast.Pow: lambda x, y: x**y,
    ast.MatMult: lambda x, y: x @ y,
    ast.Lt: lambda x, y: x < y,
    ast.Gt: lambda x, y: x > y,
    ast.LtE: lambda x, y: x <= y,
    ast.GtE: lambda x, y: x >= y,
}


def evaluate(text: str, names: dict[str, Any]) -> Any:
    """The value of the last of these statements, `name = expression` or `expression`; names: grows by what they bind.

    ValueError for whatever is not on the list: attributes, unknown names and functions, strings, comprehensions ...;
    and for what would have too many operations or numbers, before they are made.
    """
    if len(text) > MOST_LETTERS:
        raise ValueError(f"an expression of {len(text)} letters: at most {MOST_LETTERS}")
    try:
        statements = ast.parse(text.strip()).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"this is no expression: {getattr(error, 'msg', error)}: {text[:80]!r}") from None
    _few(sum(isinstance(node, _OPERATIONS) for statement in statements for node in ast.walk(statement)))
    working = _Working(names)
    value = None
    for statement in statements:
        if isinstance(statement, ast.Assign) and all(isinstance(target, ast.Name) for target in statement.targets):
            value = working.value(statement.value)
            names |= {target.id: value for target in statement.targets if isinstance(target, ast.Name)}
        elif isinstance(statement, ast.Expr):
            value = working.value(statement.value)
        else:
            raise ValueError(_refused(statement))
    if not isinstance(value, Tensor) or not value.requires_grad:
        raise ValueError(f"{text[:80]!r} depends on none of the values given: write name=value for each name in it")
    _few(len(toposort([vertex(value)])))  # a function may be several
    return value


_OPERATIONS = ast.BinOp, ast.UnaryOp, ast.Compare, ast.Call, ast.Subscript, ast.Attribute, ast.List, ast.Tuple


def _few(operations: int) -> None:
    if operations > MOST_OPERATIONS:
        raise ValueError(
            f"an expression of {operations} operations: at most {MOST_OPERATIONS} are explained here; "
            "for more, write it in Python and call mg.explain"
        )


def _refused(node: ast.AST) -> str:
    return f"{ast.unparse(node)[:60]!r} is not allowed: only numbers, names, arithmetic, indices, listed functions"


class _Working:
    """Works an expression out. names: of its values; left: how many numbers its operations may yet take and make."""

    def __init__(self, names: dict[str, Any]) -> None:
        self.names = names
        self.left = MOST_NUMBERS

    def value(self, node: ast.AST) -> Any:
        match node:
            case ast.Constant(value=int() | float() | None):  # bool is an int; 9**9**9 overflows, not the memory
                return float(node.value) if type(node.value) is int else node.value
            case ast.Name(id=name) if name in self.names:
                return self.names[name]
            case ast.Name(id=name):
                raise ValueError(f"{name} has no value: add {name}=1.5 (or {name}=[1,2,3]) to the command")
            case ast.List() | ast.Tuple():
                parts = [self.value(part) for part in node.elts]
                if any(isinstance(part, Tensor) for part in parts):
                    return self.made(node, np.stack, parts)
                return self.made(node, np.array, parts, np.float64)
            case ast.UnaryOp(op=ast.USub() | ast.UAdd() as op, operand=operand):
                return self.made(node, neg if isinstance(op, ast.USub) else pos, self.value(operand))
            case ast.BinOp(op=op, left=left, right=right) if type(op) in OPERATORS:
                return self.made(node, OPERATORS[type(op)], self.value(left), self.value(right))
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in OPERATORS:
                return self.made(node, OPERATORS[type(op)], self.value(left), self.value(right))
            case ast.Subscript(value=value, slice=index):
                return self.made(node, getitem, self.value(value), _literal(index))
            case ast.Attribute(value=value, attr="T"):
                return self.made(node, np.transpose, self.value(value))
            case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords) if name in FUNCTIONS and all(
                k.arg for k in keywords
            ):
                given = [self.setting(arg) if i else self.first(name, arg) for i, arg in enumerate(args)]
                settings = {k.arg: self.setting(k.value) for k in keywords if k.arg}
                return self.made(node, FUNCTIONS[name], *given, **settings)
            case ast.Call(func=ast.Name(id=name)) if name not in FUNCTIONS:
                raise ValueError(f"{name} is not among the functions allowed: --functions lists them")
        raise ValueError(_refused(node))

    def first(self, name: str, node: ast.AST) -> Any:
        """The first argument: arrays to be joined stay what they are, others may be of different lengths."""
        if name in ("concatenate", "stack") and isinstance(node, ast.List | ast.Tuple):
            return [self.value(part) for part in node.elts]
        return self.value(node)

    def setting(self, node: ast.AST) -> Any:
        """An argument after the first: an axis or a shape stays whole, all else is a value."""
        try:
            return _literal(node)
        except ValueError:
            return self.value(node)

    def made(self, node: ast.AST, function: Callable[..., Any], *args: Any, **settings: Any) -> Any:
        """What the function gives for this part of the expression, unless that is too large."""
        given = [x for part in (*args, *settings.values()) for x in (part if isinstance(part, list) else [part])]
        shapes = [np.shape(x) for x in given if isinstance(x, Tensor | np.ndarray | float)]
        size = max(sum(map(math.prod, shapes)), _size(node, shapes))  # gradients are as large as what they belong to
        if size > self.left:
            raise ValueError(
                f"{ast.unparse(node)[:60]!r} would bring the numbers in this expression to "
                f"{MOST_NUMBERS - self.left + size}: at most {MOST_NUMBERS} are explained here; "
                "for more, write it in Python and call mg.explain"
            )
        self.left -= size
        return function(*args, **settings)


def _size(node: ast.AST, shapes: list[tuple[int, ...]]) -> int:
    """How many numbers come of arrays of these shapes; 0 where NumPy refuses them, or where they are no more."""
    match node:
        case ast.BinOp(op=ast.MatMult()):
            name = "matmul"
        case ast.Call(func=ast.Name(id=name)):
            pass
        case _:
            name = ""
    with suppress(ValueError):
        if name not in ("matmul", "dot", "linear"):
            return math.prod(np.broadcast_shapes(*shapes))
        x, y = shapes[:2]
        if name == "linear":
            return math.prod(x[:-1] + y[:-1])
        sides = x[-2:-1] + (y[-1:] if len(y) > 1 else ())
        return math.prod((x[:-2] + y[:-2] if name == "dot" else np.broadcast_shapes(x[:-2], y[:-2])) + sides)
    return 0


def _literal(node: ast.AST) -> Any:
    """An index, an axis or a shape: whole numbers, slices, None, True, an option's text, and tuples of these."""
    match node:
        case ast.Constant(value=int() | float() | str() | None):  # True and False are int
            return node.value
        case ast.Constant(value=value) if value is ...:
            return ...
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
        case ast.Slice(lower=lower, upper=upper, step=step):
            return slice(*(None if part is None else _literal(part) for part in (lower, upper, step)))
        case ast.Tuple(elts=parts):
            return tuple(_literal(part) for part in parts)
    raise ValueError(_refused(node))


def given_value(text: str) -> tuple[str, Tensor]:
    """`name=value` from the command line: the name, and a leaf in float64."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} is not name=value, as in x=0.5 or x=[[1,2],[3,4]]")
    try:
        read = ast.literal_eval(value)
        array = np.array(read, np.float64) if _is_numbers(read) else None
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError, OverflowError):
        array = None
    if array is None:
        cure = ""
        if value in ("None", "True", "False"):
            cure = f": write {value} into the expression itself, as in clip(x, None, 1), or leave {name} to its default"
        raise argparse.ArgumentTypeError(f"{value[:60]!r} is no number and no list of numbers in equal rows{cure}")
    return name, mg.tensor(array, requires_grad=True)


def _is_numbers(read: Any) -> bool:
    """Whether these are numbers alone: of None and of texts NumPy would make numbers."""
    if isinstance(read, list | tuple):
        return all(map(_is_numbers, read))
    return type(read) in (int, float)


def of_file(path: Path, function: str, names: dict[str, Tensor]) -> Explanation:
    """The explanation of what this function of this file gives; the values go in as float32, as layers expect."""
    names = {name: mg.tensor(x.detach(), np.float32, requires_grad=True) for name, x in names.items()}
    sys.path.insert(0, str(path.parent.absolute()))
    scope = runpy.run_path(str(path))
    f = scope.get(function)
    if not callable(f):
        known = ", ".join(n for n, x in scope.items() if inspect.isfunction(x)) or "none"
        raise ValueError(f"{path} has no function {function!r}; it has {known}")
    inspect.signature(f).bind(**names)  # says what is missing
    variables: dict[str, Any] = {}

    def on_return(frame: FrameType, event: str, _: object) -> None:
        if event == "return" and frame.f_code is getattr(f, "__code__", None):
            variables.update(frame.f_locals)

    before = sys.getprofile()
    sys.setprofile(on_return)  # what the function calls its tensors
    try:
        with mg.debug():
            output = f(**names)
    finally:
        sys.setprofile(before)
    if not isinstance(output, Tensor):
        raise ValueError(f"{function} returned {type(output).__name__}, not a Tensor")
    return explained(output, names | {k: v for k, v in (scope | variables).items() if k not in names})


def explained(output: Tensor, scope: dict[str, Any]) -> Explanation:
    """From 1 at every entry: the gradient of the sum, where the output is more than one number."""
    return Explanation.of(record(output, None, np.ones(output.shape), [scope]))


def asked(explanation: Explanation, text: str) -> str:
    """The answer to `--why x[0, 1]`."""
    name, _, index = text.partition("[")
    at = _literal(ast.parse(f"({index.rstrip(']')},)", mode="eval").body) if index else ()
    return str(explanation.why(name.strip(), at))


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    usage = "python -m minigrad.explain EXPRESSION|FILE.py:FUNCTION [name=value ...] [options]"
    parser = argparse.ArgumentParser(
        "python -m minigrad.explain", usage, __doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("program", nargs="?", help="an expression, statements, or FILE.py:FUNCTION")
    parser.add_argument("values", nargs="*", type=given_value, metavar="name=value", help="numbers or lists of them")
    parser.add_argument("--why", action="append", default=[], metavar="NAME[INDEX]", help="take this gradient apart")
    parser.add_argument("--inside", metavar="NAME", help="show what the fast kernel that made this value stands for")
    parser.add_argument("--finite-differences", action="store_true", help="put difference quotients beside gradients")
    parser.add_argument("--save", type=Path, metavar="PATH", help="write .html, .svg, .dot, .json or .txt there")
    parser.add_argument("--html", type=Path, metavar="PATH", help="write the page to step through there")
    parser.add_argument("--functions", action="store_true", help="list the functions allowed in an expression")
    given = sys.argv[1:] if arguments is None else arguments
    args, unknown = parser.parse_known_intermixed_args([_text(argument) for argument in given])
    if unknown:
        parser.error(
            f"there is no option {unknown[0]}; an expression that begins with two minuses goes into brackets: "
            f"'({unknown[0]})'"
        )
    if args.program is None and not args.functions:
        parser.error("an expression is missing, such as 'tanh(w * x + b)'")
    return args


def _text(argument: str) -> str:
    """With a space before a minus that begins an expression: then argparse takes it for no option."""
    return (
        argument
        if argument == "-h" or re.fullmatch(r"--|--[a-z][a-z-]*(=.*)?|[^-].*|", argument, re.S)
        else f" {argument}"
    )


_REFUSALS = ValueError, TypeError, IndexError, OSError, ArithmeticError, SyntaxError, RecursionError, MemoryError


def _place(error: Exception, path: str) -> str:
    """The last line of this file that the error passed through: "train.py:12, loss = np.log(x): "."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == path]
    return f"{Path(path).name}:{frames[-1].lineno}, {frames[-1].line}: " if frames else ""


def main(arguments: list[str] | None = None) -> int:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # where a terminal has no ∂
    args = parsed(arguments)
    if args.functions:
        print(*sorted(FUNCTIONS))
        return 0
    names: dict[str, Any] = dict(args.values)
    path, colon, function = args.program.rpartition(":")
    try:
        if colon and path.endswith(".py") and function.isidentifier():
            explanation = of_file(Path(path), function, names)
        elif args.program.endswith(".py"):
            raise ValueError(f"which function of the file? {args.program}:FUNCTION, with its arguments as name=value")
        else:
            explanation = explained(evaluate(args.program, names), names)
        if args.inside:
            explanation = explanation.inside(args.inside)
        if args.finite_differences:
            explanation.finite_differences()
        answers = [asked(explanation, text) for text in args.why]
        if args.save:
            explanation.save(args.save)
        if args.html:
            args.html.write_text(explanation.to_html(), encoding="utf-8")
    except Exception as error:
        place = _place(error, path)
        if not place and not isinstance(error, _REFUSALS):
            raise  # neither a bad expression nor the user's own program: a fault in here
        print(f"{place}{type(error).__name__}: {error}", *getattr(error, "__notes__", ()), sep="\n", file=sys.stderr)
        return 1
    print("\n\n".join([str(explanation), *answers]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
