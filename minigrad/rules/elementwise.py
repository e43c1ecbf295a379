"""Functions of each element for itself, derivative beside value.

At kinks and ties the subgradient is chosen, never left to chance: 0 for |x| at 0 and for clip at its bounds, one
half each for the maximum of equals.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minigrad.rule import implements, rule
from minigrad.tensor import Array, Tensor, detached, needs_float

_BOTH = (lambda g: g, lambda g: g)

# ---- arithmetic ------------------------------------------------------------------------------------------------------


@rule(np.add, linear=True)
def add(x, y, /):
    """x + y"""
    return x + y, _BOTH  # no new functions: a tenth of the time of a small addition


@rule(np.subtract, linear=True)
def subtract(x, y, /):
    """x − y"""
    return x - y, (lambda g: g, lambda g: -g)


@rule(np.multiply)
def multiply(x, y, /):
    """x · y"""
    return x * y, (lambda g: g * y, lambda g: g * x)


@rule(np.divide)
def divide(x, y, /):
    """x / y"""
    z = x / y
    return z, (lambda g: g / y, lambda g: -g * z / y)


@rule(np.negative, linear=True)
def negative(x, /):
    """−x"""
    return -x, (lambda g: -g,)


@rule(np.positive, linear=True)
def positive(x, /):
    """x"""
    return +x, (lambda g: g,)


@rule(np.copy, linear=True)
def copy(x, /):
    """x, in memory of its own"""
    return x.copy(), (lambda g: g,)


@rule(np.reciprocal)
def reciprocal(x, /):
    """1 / x"""
    y = np.reciprocal(x)
    return y, (lambda g: -g * y * y,)


@rule(np.power)
def power(x, y, /):
    """xʸ; x⁰ has the derivative 0 everywhere, and an integer to a negative power is a float"""
    if isinstance(y, int) and y < 0:
        y = float(y)
    z = np.power(x, y)

    def pull_base(g):
        if isinstance(y, int | float):  # x to the y − 1 straight away
            return g * y * x ** (y - 1) if y != 0 else g * 0.0
        flat = np.logical_and(x == 0, y == 0)
        return g * np.where(flat, 0.0, y * np.power(np.where(flat, 1.0, x), y - 1))

    def pull_exponent(g):
        return g * z * np.log(np.where(x == 0, 1, x))  # 0 · log 0 = 0, the limit for y > 0

    return z, (pull_base, pull_exponent)


@rule(np.square)
def square(x, /):
    """x²"""
    return x * x, (lambda g: g * (2.0 * x),)


@rule(np.sqrt)
def sqrt(x, /):
    """√x; the derivative at 0 is infinite"""
    y = np.sqrt(x)
    return y, (lambda g: g * 0.5 / y,)


@rule(np.cbrt)
def cbrt(x, /):
    """∛x; the derivative at 0 is infinite"""
    y = np.cbrt(x)
    return y, (lambda g: g / (3.0 * y * y),)


@rule(np.absolute)
def absolute(x, /):
    """|x|; the derivative at 0 is 0"""
    return np.absolute(x), (lambda g: g * np.sign(x),)


@rule(np.fabs)
def fabs(x, /):
    """|x| as a float, not of complex numbers; the derivative at 0 is 0"""
    return np.fabs(x), (lambda g: g * np.sign(x),)


# ---- exponentials and logarithms -------------------------------------------------------------------------------------


@rule(np.exp)
def exp(x, /):
    """eˣ"""
    y = np.exp(x)
    return y, (lambda g: g * y,)


@rule(np.exp2)
def exp2(x, /):
    """2ˣ"""
    y = np.exp2(x)
    return y, (lambda g: g * y * math.log(2),)


@rule(np.expm1)
def expm1(x, /):
    """eˣ − 1"""
    return np.expm1(x), (lambda g: g * np.exp(x),)  # of −1 + 10⁻⁹ the power is not to be had back


@rule(np.log)
def log(x, /):
    """ln x"""
    return np.log(x), (lambda g: g / x,)


@rule(np.log2)
def log2(x, /):
    """log₂ x"""
    return np.log2(x), (lambda g: g / (x * math.log(2)),)


@rule(np.log10)
def log10(x, /):
    """log₁₀ x"""
    return np.log10(x), (lambda g: g / (x * math.log(10)),)


@rule(np.log1p)
def log1p(x, /):
    """ln(1 + x)"""
    return np.log1p(x), (lambda g: g / (1.0 + x),)


@rule(np.logaddexp)
def logaddexp(x, y, /):
    """ln(eˣ + eʸ); equal infinities share the gradient"""
    return np.logaddexp(x, y), (lambda g: g * _exponential_weight(x, y), lambda g: g * _exponential_weight(y, x))


@rule(np.logaddexp2)
def logaddexp2(x, y, /):
    """log₂(2ˣ + 2ʸ); equal infinities share the gradient"""
    a, b = x * math.log(2), y * math.log(2)
    return np.logaddexp2(x, y), (lambda g: g * _exponential_weight(a, b), lambda g: g * _exponential_weight(b, a))


def _exponential_weight(x, y):
    """eˣ / (eˣ + eʸ), of powers that cannot overflow and as accurate where small; one half for equal infinities."""
    same = np.isinf(x) & np.equal(x, y)
    if np.any(same):  # else the same comes out below, sooner
        x, y = np.where(same, 0.0, x), np.where(same, 0.0, y)
    d = x - y
    e = np.exp(np.where(d < 0, d, -d))
    return np.where(d < 0, e, 1.0) / (1.0 + e)


# ---- trigonometry ----------------------------------------------------------------------------------------------------


@rule(np.sin)
def sin(x, /):
    """sin x, x in radians as everywhere"""
    return np.sin(x), (lambda g: g * np.cos(x),)


@rule(np.cos)
def cos(x, /):
    """cos x"""
    return np.cos(x), (lambda g: -g * np.sin(x),)


@rule(np.tan)
def tan(x, /):
    """tan x"""
    y = np.tan(x)
    return y, (lambda g: g * (1.0 + y * y),)


@rule(np.arcsin)
def arcsin(x, /):
    """arcsin x"""
    return np.arcsin(x), (lambda g: g / np.sqrt(1.0 - x * x),)


@rule(np.arccos)
def arccos(x, /):
    """arccos x"""
    return np.arccos(x), (lambda g: -g / np.sqrt(1.0 - x * x),)


@rule(np.arctan)
def arctan(x, /):
    """arctan x"""
    return np.arctan(x), (lambda g: g / (1.0 + x * x),)


@rule(np.sinh)
def sinh(x, /):
    """sinh x"""
    return np.sinh(x), (lambda g: g * np.cosh(x),)


@rule(np.cosh)
def cosh(x, /):
    """cosh x"""
    return np.cosh(x), (lambda g: g * np.sinh(x),)


@rule(np.tanh)
def tanh(x, /):
    """tanh x"""
    y = np.tanh(x)
    return y, (lambda g: g * (1.0 - y * y),)


@rule(np.arcsinh)
def arcsinh(x, /):
    """arsinh x"""
    return np.arcsinh(x), (lambda g: g / np.hypot(x, 1.0),)


@rule(np.arccosh)
def arccosh(x, /):
    """arcosh x"""
    return np.arccosh(x), (lambda g: g / (np.sqrt(x - 1.0) * np.sqrt(x + 1.0)),)


@rule(np.arctanh)
def arctanh(x, /):
    """artanh x"""
    return np.arctanh(x), (lambda g: g / (1.0 - x * x),)


@rule(np.arctan2)
def arctan2(y, x, /):
    """The angle of the point (x, y); all derivatives at the origin are 0"""

    def over_square(g, z):
        r = np.hypot(x, y)
        r = np.where(r == 0, np.inf, r)
        return g / r * (z / r)

    return np.arctan2(y, x), (lambda g: over_square(g, x), lambda g: -over_square(g, y))


@rule(np.hypot)
def hypot(x, y, /):
    """√(x² + y²); all derivatives at the origin are 0"""
    r = np.hypot(x, y)

    def derivative(z):
        return z / np.where(r == 0, np.inf, r)

    return r, (lambda g: g * derivative(x), lambda g: g * derivative(y))


# ---- the error function: not in NumPy, so it sends Tensors back to its rule by itself --------------------------------


@rule()
def erf(x, /):
    """2/√π ∫₀ˣ exp(−t²) dt; of integers in float64"""
    y = erf(x) if isinstance(x, Tensor) else _erf(_real("erf", x))
    return y, (lambda g: g * (2 / math.sqrt(math.pi)) * np.exp(-x * x),)


@rule()
def erfc(x, /):
    """1 − erf x, accurate also where erf x is nearly 1; of integers in float64"""
    y = erfc(x) if isinstance(x, Tensor) else _erfc(_real("erfc", x))
    return y, (lambda g: g * (-2 / math.sqrt(math.pi)) * np.exp(-x * x),)


def _real(name: str, x: Any) -> Any:
    x = np.asarray(x)
    if x.dtype.kind not in "fiub":
        raise TypeError(f"{name}: x must be real numbers, not {x.dtype.name}")
    return x if x.dtype.kind == "f" else x.astype(np.float64)


def _erf(x: Array) -> Any:
    near, small, rest = _error_function(x)
    return np.copysign(np.where(near, small, 1.0 - rest), x).astype(x.dtype)


def _erfc(x: Array) -> Any:
    near, small, rest = _error_function(x)
    return np.where(near, 1.0 - np.copysign(small, x), np.where(x < 0, 2.0 - rest, rest)).astype(x.dtype)


def _error_function(x: Array) -> tuple[Any, Any, Any]:
    """Where |x| is small, erf |x| to be used there, and 1 − erf |x| to be used elsewhere.

    Rational approximations in three ranges, to 1e-16. Cody: Rational Chebyshev approximation for erf (1969).
    """
    a = np.minimum(np.abs(x.astype(np.float64)), 30.0)  # beyond 27 nothing is left of 1 − erf
    b = np.maximum(a, 4.0)
    small = a * _ratio(a * a, _NEAR)
    middle = np.exp(-a * a) * _ratio(a, _MIDDLE)
    far = np.exp(-b * b) / b * (1 / math.sqrt(math.pi) - _ratio(1 / (b * b), _FAR) / (b * b))
    return a <= 0.46875, small, np.where(a <= 4.0, middle, far)


def _ratio(x: Array, coefficients: tuple[list[float], list[float]]) -> Any:
    """One polynomial over another, highest power first."""
    over, under = coefficients
    return np.polyval(over, x) / np.polyval(under, x)


_NEAR = (
    [1.85777706184603153e-1, 3.16112374387056560, 1.13864154151050156e2, 3.77485237685302021e2, 3.20937758913846947e3],
    [1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3],
)
_MIDDLE = (
    [2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594, 6.61191906371416295e1, 2.98635138197400131e2,
     8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3, 1.23033935479799725e3],
    [1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2, 1.62138957456669019e3,
     3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3, 1.23033935480374942e3],
)  # fmt: skip
_FAR = (
    [1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1, 1.25781726111229246e-1,
     1.60837851487422766e-2, 6.58749161529837803e-4],
    [1.0, 2.56852019228982242, 1.87295284992346725, 5.27905102951428412e-1, 6.05183413124413191e-2,
     2.33520497626869185e-3],
)  # fmt: skip


# ---- choices: the gradient goes to what was chosen -------------------------------------------------------------------


def _tie_weights(x, y, z):
    """1 where z came from x, one half where y is equal to x, 0 elsewhere; NaN counts as equal to NaN."""
    from_x, not_y = x == z, y != z
    nan = np.isnan(z)
    if nan.any():  # else the same comes out below, sooner
        from_x, not_y = from_x | nan & np.isnan(x), not_y & ~(nan & np.isnan(y))
    return np.add(from_x, not_y, dtype=z.dtype) * 0.5


@rule(np.maximum)
def maximum(x, y, /):
    """max(x, y); equals share the gradient evenly, so max(x, 0) has the derivative ½ at 0 (relu has 0)"""
    z = np.maximum(x, y)
    return z, (lambda g: g * _tie_weights(x, y, z), lambda g: g * _tie_weights(y, x, z))


@rule(np.minimum)
def minimum(x, y, /):
    """min(x, y); equals share the gradient evenly"""
    z = np.minimum(x, y)
    return z, (lambda g: g * _tie_weights(x, y, z), lambda g: g * _tie_weights(y, x, z))


@rule(np.fmax)
def fmax(x, y, /):
    """max(x, y) that passes over NaN; equals share the gradient evenly"""
    z = np.fmax(x, y)
    return z, (lambda g: g * _tie_weights(x, y, z), lambda g: g * _tie_weights(y, x, z))


@rule(np.fmin)
def fmin(x, y, /):
    """min(x, y) that passes over NaN; equals share the gradient evenly"""
    z = np.fmin(x, y)
    return z, (lambda g: g * _tie_weights(x, y, z), lambda g: g * _tie_weights(y, x, z))


@rule()
def clip(x, low, high, /):
    """min(max(x, low), high); at a bound the gradient goes to the bound, so for x it is 0 there"""
    below = False if low is None else x <= low
    above = False if high is None else (x if low is None else np.maximum(x, low)) >= high
    inside = np.logical_not(np.logical_or(below, above))
    return np.clip(x, low, high), (
        lambda g: g * inside,
        lambda g: g * np.logical_and(below, np.logical_not(above)),
        lambda g: g * above,
    )


@implements(np.clip)
def _clip(x: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None) -> Any:
    low, high = (a_min if min is None else min), (a_max if max is None else max)
    return copy(x) if low is None and high is None else clip(x, low, high)


@rule(np.where)
def where(condition, x, y, /):
    """x where the condition holds, y elsewhere; the branch not taken gets 0, but 0 · inf in its own history is NaN"""
    return np.where(condition, x, y), (
        None,
        lambda g: np.where(condition, g, 0.0),
        lambda g: np.where(condition, 0.0, g),
    )


@rule(np.nan_to_num)
def nan_to_num(x, /, copy=True, nan=0.0, posinf=None, neginf=None):
    """x with NaN and infinities replaced by numbers, where the gradient is 0"""
    finite = np.isfinite(x)
    return np.nan_to_num(x, nan=nan, posinf=posinf, neginf=neginf), (lambda g: np.where(finite, g, 0.0),)


@rule(linear=True)
def astype(x, /, dtype):
    """x in another floating-point dtype; the gradient comes back in that of x"""
    return x.astype(dtype), (lambda g: g,)


@implements(np.full_like)
def full_like(x: Any, fill_value: Any, dtype: Any = None) -> Any:
    """fill_value, with its gradient, in the shape of x."""
    return np.broadcast_to(fill_value, np.shape(x)).astype(dtype or x.dtype)


@implements(np.astype)
def _astype(x: Any, dtype: Any, copy: bool = True) -> Any:
    if isinstance(dtype, Tensor):  # which has a .dtype, and so would pass for one
        raise TypeError("astype: dtype must be a dtype, not a Tensor: use its .dtype")
    dtype = np.dtype(dtype)
    if x.requires_grad:
        needs_float(f"astype({dtype.name}) of a tensor that requires a gradient", dtype)
    return x if x.dtype == dtype and not copy else astype(x, dtype=dtype)


# ---- steps: constant between jumps, so the gradient is 0 -------------------------------------------------------------


def _step(function: Any) -> None:
    def step(x, /):
        return function(x), (lambda g: np.zeros(g.shape, g.dtype),)

    step.__name__, step.__doc__ = function.__name__, f"{function.__name__} x, with gradient 0"
    rule(function)(step)


for _function in (np.sign, np.floor, np.ceil, np.trunc, np.rint):
    _step(_function)


@rule(np.floor_divide)
def floor_divide(x, y, /):
    """⌊x / y⌋, with gradient 0"""
    return x // y, (lambda g: np.zeros(g.shape, g.dtype), lambda g: np.zeros(g.shape, g.dtype))


@rule(np.round, np.around)
def round(x, /, decimals=0):
    """x rounded to decimals, with gradient 0"""
    return np.round(x, decimals), (lambda g: np.zeros(g.shape, g.dtype),)


# ---- functions without a gradient: plain arrays ----------------------------------------------------------------------

CONSTANTS = (
    np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal,
    np.isnan, np.isinf, np.isfinite, np.signbit, np.isclose, np.allclose, np.array_equal,
    np.logical_and, np.logical_or, np.logical_xor, np.logical_not,
    np.invert, np.bitwise_and, np.bitwise_or, np.bitwise_xor,
    np.argmax, np.argmin, np.argsort, np.nonzero, np.flatnonzero, np.argwhere, np.count_nonzero, np.searchsorted,
    np.all, np.any, np.shape, np.ndim, np.size, np.result_type, np.can_cast, np.iscomplexobj, np.isrealobj,
    np.zeros_like, np.ones_like, np.empty_like, np.digitize,
    np.array_repr, np.array_str, np.array2string,
)  # fmt: skip


def _constant(function: Any) -> None:
    def constant(*args: Any, **kwargs: Any) -> Any:
        return function(*map(detached, args), **{name: detached(value) for name, value in kwargs.items()})

    implements(function)(constant)


for _constant_function in CONSTANTS:
    _constant(_constant_function)
