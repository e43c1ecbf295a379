"""Products of vectors and matrices, einsum, and what numpy.linalg makes of a matrix. Stacks of matrices throughout."""

from __future__ import annotations

import itertools
import math
import string
from typing import Any

import numpy as np

from minigrad import checks
from minigrad.rule import implements, rule, shared
from minigrad.tensor import beside, detached

# ---- products --------------------------------------------------------------------------------------------------------


@rule(np.matmul)
def matmul(x, y, /):
    """x @ y: of matrices, vectors, and stacks of matrices that broadcast"""

    def pull_x(g):
        if y.ndim == 1:
            return np.expand_dims(g, -1) * y
        if x.ndim == 1:
            return y @ g if y.ndim == 2 else np.squeeze(y @ np.expand_dims(g, -1), -1)
        return g @ y.mT

    def pull_y(g):
        if x.ndim == 1:
            return np.expand_dims(x, -1) * np.expand_dims(g, -2) if y.ndim > 1 else x * g
        if y.ndim == 1:
            return g @ x if x.ndim == 2 else np.squeeze(x.mT @ np.expand_dims(g, -1), -1)
        if y.ndim == 2:  # one matrix for a whole stack: one product, rather than a stack of them to be summed
            n = math.prod(x.shape[:-1])
            return np.reshape(x, (n, x.shape[-1])).mT @ np.reshape(g, (n, g.shape[-1]))
        return x.mT @ g

    return x @ y, (pull_x, pull_y)


@rule()
def vecdot(x, y, /):
    """Σ x y along the last axis"""
    return np.vecdot(x, y), (lambda g: np.expand_dims(g, -1) * y, lambda g: np.expand_dims(g, -1) * x)


@implements(np.vecdot)
def _vecdot(x: Any, y: Any, /, axis: int = -1) -> Any:
    x, y = _pair(x, y)
    return vecdot(np.moveaxis(x, axis, -1), np.moveaxis(y, axis, -1))


def _pair(x: Any, y: Any) -> tuple[Any, Any]:
    return beside(x, (y,)), beside(y, (x,))


@implements(np.dot)
def dot(x: Any, y: Any) -> Any:
    """Σ over the last axis of x and the last but one of y; a number multiplies."""
    x, y = _pair(x, y)
    if x.ndim == 0 or y.ndim == 0:
        return x * y
    return x @ y if y.ndim <= 2 else np.tensordot(x, y, axes=(-1, -2))


@implements(np.inner)
def inner(x: Any, y: Any) -> Any:
    """Σ over the last axes of both."""
    x, y = _pair(x, y)
    return x * y if x.ndim == 0 or y.ndim == 0 else np.tensordot(x, y, axes=(-1, -1))


@implements(np.outer)
def outer(x: Any, y: Any) -> Any:
    """xᵢ yⱼ."""
    x, y = _pair(x, y)
    return np.expand_dims(np.ravel(x), 1) * np.ravel(y)


@implements(np.vdot)
def vdot(x: Any, y: Any) -> Any:
    """Σ x y over all elements."""
    x, y = _pair(x, y)
    return np.ravel(x) @ np.ravel(y)


@implements(np.tensordot)
def tensordot(x: Any, y: Any, axes: Any = 2) -> Any:
    """Σ over these axes of x and those of y: the last n and the first n for a number."""
    x, y = _pair(x, y)
    if isinstance(axes, dict):
        raise TypeError(f"tensordot: axes must be a number or two lists of axes, not {checks.shown(axes)}")
    if isinstance(axes, int | np.integer):
        if axes > min(x.ndim, y.ndim):
            raise ValueError(f"tensordot: axes={axes} is more than x of shape {x.shape} or y of shape {y.shape} has")
        axes = tuple(range(x.ndim - axes, x.ndim)), tuple(range(axes))
    xs, ys = checks.normalize_axis_tuple(axes[0], x.ndim), checks.normalize_axis_tuple(axes[1], y.ndim)
    if [x.shape[i] for i in xs] != [y.shape[i] for i in ys]:
        raise ValueError(f"tensordot: axes {xs} of x {x.shape} and axes {ys} of y {y.shape} differ in length")
    x_rest = tuple(i for i in range(x.ndim) if i not in xs)
    y_rest = tuple(i for i in range(y.ndim) if i not in ys)
    n = math.prod(x.shape[i] for i in xs)
    rows, columns = tuple(x.shape[i] for i in x_rest), tuple(y.shape[i] for i in y_rest)
    flat_x = np.reshape(np.transpose(x, x_rest + xs), (math.prod(rows), n))
    flat_y = np.reshape(np.transpose(y, ys + y_rest), (n, math.prod(columns)))
    return np.reshape(flat_x @ flat_y, rows + columns)


@implements(np.kron)
def kron(x: Any, y: Any) -> Any:
    """Blocks xᵢⱼ y."""
    x, y = _pair(x, y)
    n = max(x.ndim, y.ndim)
    a, b = (1,) * (n - x.ndim) + x.shape, (1,) * (n - y.ndim) + y.shape
    product = np.reshape(x, tuple(m for k in a for m in (k, 1))) * np.reshape(y, tuple(m for k in b for m in (1, k)))
    return np.reshape(product, tuple(i * j for i, j in zip(a, b, strict=True)))


@implements(np.linalg.multi_dot)
def multi_dot(arrays: Any) -> Any:
    """The product of several matrices (the first and last may be vectors), in the cheapest order."""
    arrays = list(arrays)
    arrays = [beside(x, arrays) for x in arrays]
    if len(arrays) < 2:
        raise ValueError(f"multi_dot needs at least two arrays, got {len(arrays)}")
    shapes = [x.shape for x in arrays]
    matrices = [(1, *shapes[0])[-2:], *shapes[1:-1], (*shapes[-1], 1)[:2]]
    fitting = all(len(a) == len(b) == 2 and a[1] == b[0] for a, b in itertools.pairwise(matrices))
    if not fitting or max(len(shapes[0]), len(shapes[-1])) > 2:
        raise ValueError(
            f"multi_dot: {', '.join(map(str, shapes))} must be matrices that fit each other, of which the first and "
            "the last may be vectors"
        )
    sizes = [
        1 if arrays[0].ndim == 1 else arrays[0].shape[0],
        *(x.shape[0] for x in arrays[1:]),
        arrays[-1].shape[-1] if arrays[-1].ndim > 1 else 1,
    ]

    cost = {(i, i): 0 for i in range(len(arrays))}  # of the product of arrays i to j
    last = {}  # the last array of that product's left half
    for length in range(1, len(arrays)):
        for i in range(len(arrays) - length):
            j = i + length
            costs = {k: cost[i, k] + cost[k + 1, j] + sizes[i] * sizes[k + 1] * sizes[j + 1] for k in range(i, j)}
            last[i, j] = min(costs, key=costs.__getitem__)
            cost[i, j] = costs[last[i, j]]
    return _product(arrays, last, 0, len(arrays) - 1)


def _product(arrays: list[Any], last: dict[tuple[int, int], int], i: int, j: int) -> Any:
    if i == j:
        return arrays[i]
    k = last[i, j]
    return _product(arrays, last, i, k) @ _product(arrays, last, k + 1, j)


# ---- einsum ----------------------------------------------------------------------------------------------------------


@rule()
def einsum(*xs, subscripts):
    """Σ over the letters that the result does not name, of products over those that it names.

    The gradient of an operand is an einsum, too: of g and the other operands, to the operand's letters. A letter that
    stands twice in the operand is renamed, with an identity matrix for the two; one that stands nowhere else (or with
    the length 1, stretched) was summed out, and comes back from a vector of ones.
    """
    terms, result = subscripts
    shapes = [x.shape for x in xs]

    def pullback(i):
        def pull(g):
            others = [j for j in range(len(xs)) if j != i]
            names, operands = [result, *(terms[j] for j in others)], [g, *(xs[j] for j in others)]
            seen = {pair for name, x in zip(names, operands, strict=True) for pair in zip(name, x.shape, strict=True)}
            free = iter(sorted(set(string.ascii_letters) - set("".join(terms)) - set(result)))
            target = ""
            for letter, n in zip(terms[i], shapes[i], strict=True):
                if letter in target:
                    twin = next(free)
                    names.append(letter + twin)
                    operands.append(np.eye(n, dtype=g.dtype))
                    letter = twin
                elif (letter, n) not in seen:
                    names.append(letter)
                    operands.append(np.ones(n, dtype=g.dtype))
                target += letter
            return np.einsum(",".join(names) + "->" + target, *operands, optimize=len(operands) > 2)

        return pull

    text = ",".join(terms) + "->" + result
    return np.einsum(text, *xs, optimize=len(xs) > 2), tuple(pullback(i) for i in range(len(xs)))


@implements(np.einsum)
def _einsum(subscripts: str, *operands: Any, optimize: Any = None) -> Any:
    if not isinstance(subscripts, str):
        raise TypeError("einsum of Tensors takes its subscripts as a string: np.einsum('ij,jk->ik', x, y)")
    xs = [beside(x, operands) for x in operands]
    return einsum(*xs, subscripts=_explicit(subscripts.replace(" ", ""), [x.ndim for x in xs]))


def _explicit(subscripts: str, ndims: list[int]) -> tuple[tuple[str, ...], str]:
    """Each operand's letters and the result's, with letters for every ellipsis and the result written out."""
    left, arrow, result = subscripts.partition("->")
    terms = left.split(",")
    if len(terms) != len(ndims):
        raise ValueError(f"einsum: {subscripts!r} names {len(terms)} operands, got {len(ndims)}")
    free = sorted(set(string.ascii_letters) - set(subscripts), reverse=True)
    lengths = [n - len(t.replace("...", "")) for t, n in zip(terms, ndims, strict=True)]
    for term, n, length in zip(terms, ndims, lengths, strict=True):
        if length < 0 or (length > 0 and "..." not in term):
            raise ValueError(f"einsum: {term!r} of {subscripts!r} does not fit an operand of {n} axes")
    dots = "".join(free[: max(lengths)]) if "..." in left else ""
    if dots and arrow and "..." not in result:
        raise ValueError(f"einsum: the axes of the ellipsis of {subscripts!r} must be in its result: write ...{result}")
    if not arrow:
        letters = left.replace("...", "").replace(",", "")
        result = "..." * bool(dots) + "".join(sorted(c for c in set(letters) if letters.count(c) == 1))
    return (
        tuple(t.replace("...", dots[len(dots) - n :]) for t, n in zip(terms, lengths, strict=True)),
        result.replace("...", dots),
    )


# ---- numpy.linalg ----------------------------------------------------------------------------------------------------


@rule(np.linalg.inv)
def inv(x, /):
    """x⁻¹"""
    y = np.linalg.inv(x)
    return y, (lambda g: -(y.mT @ g @ y.mT),)


@rule(np.linalg.solve)
def solve(a, b, /):
    """x with a x = b, for a vector b or the columns of a matrix b"""
    x = np.linalg.solve(a, b)
    vector = b.ndim == 1

    @shared
    def pull_b(g):
        return np.linalg.solve(a.mT, np.expand_dims(g, -1) if vector else g)

    return x, (
        lambda g: -(pull_b(g) @ (np.expand_dims(x, -2) if vector else x.mT)),
        lambda g: np.squeeze(pull_b(g), -1) if vector else pull_b(g),
    )


@rule(np.linalg.det)
def det(x, /):
    """|x|; the derivative is the matrix of cofactors, also of a singular x"""
    y = np.linalg.det(x)

    def pull(g):
        g = np.expand_dims(g, (-1, -2))
        if np.any(y == 0):
            return g * _cofactors(x)
        return g * np.expand_dims(y, (-1, -2)) * np.linalg.inv(x).mT

    return y, (pull,)


def _cofactors(x):
    """(−1)ⁱ⁺ʲ times the determinant of x without row i and column j."""
    n = x.shape[-1]
    others = [[k for k in range(n) if k != i] for i in range(n)]
    minors = [
        [np.linalg.det(x[..., rows, :][..., columns]) * (-1.0) ** (i + j) for j, columns in enumerate(others)]
        for i, rows in enumerate(others)
    ]
    return np.stack([np.stack(row, axis=-1) for row in minors], axis=-2)


@rule()
def logabsdet(x, /):
    """ln |det x|"""
    return np.linalg.slogdet(x).logabsdet, (lambda g: np.expand_dims(g, (-1, -2)) * np.linalg.inv(x).mT,)


@implements(np.linalg.slogdet)
def slogdet(x: Any) -> Any:
    """The sign of the determinant, a constant, and the logarithm of its absolute value."""
    return np.linalg.slogdet(detached(x))._replace(logabsdet=logabsdet(x))


@rule(np.linalg.cholesky)
def cholesky(x, /):
    """Lower triangular l with l lᵀ = x; the gradient is that of a symmetric x, and symmetric"""
    l = np.linalg.cholesky(x)  # noqa: E741

    def pull(g):
        inverse = np.linalg.inv(l)
        s = np.tril(l.mT @ g)
        s = s - 0.5 * s * np.eye(x.shape[-1], dtype=x.dtype)
        s = inverse.mT @ s @ inverse
        return 0.5 * (s + s.mT)

    return l, (pull,)


@implements(np.linalg.matrix_power)
def matrix_power(x: Any, n: int) -> Any:
    """x multiplied with itself n times; of its inverse for a negative n."""
    n = checks.integer("matrix_power", "n", n)
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise ValueError(f"matrix_power: x must be square matrices, got {x.shape}")
    if n < 0:
        x, n = np.linalg.inv(x), -n
    if n == 0:
        return x * 0.0 + np.eye(x.shape[-1], dtype=x.dtype)
    half: Any = matrix_power(x, n // 2) if n > 1 else None
    return x if n == 1 else half @ half @ x if n % 2 else half @ half
