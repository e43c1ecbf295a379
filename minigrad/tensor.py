"""Tensor: a NumPy array that remembers how it was made.

It speaks NumPy's own protocols, so user code is written in NumPy: `np.tanh(x @ w + b)`. What a NumPy function
does to a Tensor is looked up in `HANDLERS`, which the engine and the rules fill; a function that is not there
raises. Nothing leaves the graph in silence: the doors out are `.data`, `.numpy()`, `.item()` and `.detach()`.
"""

from __future__ import annotations

from array import array as typed_array
from collections.abc import Callable, Iterable, Iterator
from typing import Any, SupportsIndex

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import ArrayLike, DTypeLike, NDArray

from minigrad import checks
from minigrad.modes import is_grad_enabled
from minigrad.trace import this_thread

Array = NDArray[Any]
Hook = Callable[["Tensor"], "Tensor | None"]

HANDLERS: dict[Any, Callable[..., Any]] = {}  # what each NumPy function does when one of its inputs is a Tensor


def as_array(data: object, dtype: DTypeLike | None = None) -> Array:
    """The ndarray that a Tensor of this data holds: Python floats become float32, an ndarray keeps its dtype.

    A NumPy scalar counts as a Python number, so that float32 stays float32 beside `np.float64(2.0)`; what has a dtype,
    as a column of pandas', keeps it. An ndarray is not copied. Raises TypeError for what is not numbers, ValueError for
    ragged lists.
    """
    given = data
    if isinstance(data, Tensor):
        data = data.data
    if not isinstance(data, np.ndarray):
        data = _read(data)
        if dtype is None and data.dtype == np.float64 and is_weak(given):
            dtype = np.float32
    if type(data) is not np.ndarray:
        if hasattr(data, "filled"):
            raise TypeError("a tensor has no mask: fill the masked array first, as in x.filled(0)")
        data = data.view(np.ndarray)  # of a memory map, say: the same memory, without ways of its own
    if dtype is not None:
        data = data.astype(dtype, copy=False)
    if data.dtype.kind not in "fiubc":
        raise TypeError(f"a tensor holds numbers, not {data.dtype.name} (from {type(given).__name__})")
    return data


def _read(data: Any) -> Array:
    try:
        return np.array(data)
    except ValueError as error:
        raise ValueError(f"a tensor needs rows of equal length: {error}") from None


def is_weak(x: object) -> bool:
    """Whether x is a number, or a list of them: what takes the dtype of that which it stands beside."""
    if isinstance(x, list | tuple | float | int | complex | np.generic):
        return True
    return not (hasattr(type(x), "__array__") or isinstance(x, typed_array | memoryview | bytes | bytearray))


_WEAK = {"b": False, "i": 0, "u": 0, "f": 0.0, "c": 0j}  # a Python number of each kind, for NumPy's promotion


def beside(x: Any, others: Iterable[Any]) -> Any:
    """An operand among others as a Tensor or an array; a list or a number is as weak as a number beside an operator."""
    if isinstance(x, Tensor):
        return x
    strong = [other for other in others if not is_weak(other)] if is_weak(x) else []
    if not strong:
        return as_array(x)
    dtypes = [other.dtype if isinstance(other, Tensor | np.ndarray) else as_array(other).dtype for other in strong]
    read = _read(x)
    number = _WEAK.get(read.dtype.kind)  # of what are no numbers there is none: as_array says so
    if number is None or (read.dtype.kind in "iu" and any(dtype.kind == "f" for dtype in dtypes)):
        return as_array(read)  # integers beside floats stay such, as arrays of them do
    return np.array(x, np.result_type(*dtypes, number))


def wrapped(array: Array, node: Any = None) -> Tensor:
    """A leaf of this ndarray itself, or what a node made, without the questions of `Tensor(...)`, which take 0.2 µs."""
    tensor = Tensor.__new__(Tensor)
    tensor._array = array
    tensor._grad = tensor.hooks = None
    tensor.node = node
    tensor._requires_grad = node is not None
    return tensor


def detached(x: Any) -> Any:
    """x as a constant, only to be read: a Tensor's array, anything else as it is."""
    return x._array if isinstance(x, Tensor) else x


def owner(array: Array) -> Any:
    """The array, or whatever else, that the memory of this array belongs to."""
    whose: Any = array
    while isinstance(whose, np.ndarray) and (base := whose.base) is not None:
        whose = base
    return whose


def needs_float(what: str, dtype: np.dtype[Any]) -> None:
    """Refuse a gradient for integers, booleans and complex numbers."""
    if dtype.kind != "f":
        raise TypeError(
            f"{what}: only floating-point tensors have gradients, not {dtype.name}; use .astype(np.float32)"
        )


def _method(function: Any) -> Callable[..., Any]:
    """The method that hands its tensor on to the NumPy function of the same name."""

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        return HANDLERS[function](self, *args, **kwargs)

    method.__name__ = function.__name__
    method.__doc__ = f"`np.{function.__name__}(self, ...)`."
    return method


class ForeignOperandError(TypeError):
    """An array of another library, with a `__array_ufunc__` of its own: it may know what to do with a Tensor."""


def refuse_foreign(x: object) -> None:
    """Raise ForeignOperandError for what would lose its labels or units as an ndarray."""
    its = getattr(type(x), "__array_ufunc__", np.ndarray.__array_ufunc__)
    if its is not np.ndarray.__array_ufunc__:
        kind = f"{type(x).__module__.partition('.')[0]}.{type(x).__name__}"
        raise ForeignOperandError(f"a {kind} would lose what it knows beside its numbers: pass np.asarray(x)")


# NDArrayOperatorsMixin would send each operator through NumPy's dispatcher: 0.7 of 3.0 µs for an addition of three
# numbers. The operators that training lives on skip it.
def _binary(ufunc: np.ufunc) -> Callable[[Any, Any], Any]:
    def method(self: Tensor, other: Any) -> Any:
        try:
            return HANDLERS[ufunc](self, other)
        except ForeignOperandError:
            return NotImplemented  # Python asks the other operand

    return method


def _reflected(ufunc: np.ufunc) -> Callable[[Any, Any], Any]:
    def method(self: Tensor, other: Any) -> Any:
        try:
            return HANDLERS[ufunc](other, self)
        except ForeignOperandError:
            return NotImplemented

    return method


def _augmented(ufunc: np.ufunc, sign: str) -> Callable[[Any, Any], Any]:
    """`x += y` binds the name x to a new tensor, as for Python's numbers; what is there to be trained refuses."""
    plain = _binary(ufunc)

    def method(self: Tensor, other: Any) -> Any:
        if self.node is None and (self.requires_grad or self.is_parameter):
            raise TypeError(
                f"x {sign}= y on a leaf to be trained would leave the leaf behind: write x = x {sign} y "
                f"for a new tensor, or x.data {sign}= ... to change the leaf itself outside of the graph"
            )
        return plain(self, other)

    return method


class Tensor(NDArrayOperatorsMixin):
    """An array, its gradient, and the node that made it.

    `Tensor(array)` wraps the array itself; `minigrad.tensor(data)` copies, and is what a user wants.

    data: the ndarray. grad: the gradient of a leaf, a Tensor of the same shape and dtype, or None.
    node: how this tensor was made (None for a leaf). requires_grad: whether gradients flow to or through it.

    >>> import numpy as np, minigrad as mg
    >>> x = mg.tensor([1.0, 2.0], requires_grad=True)
    >>> y = np.sum(x * x)
    >>> y
    tensor(5., rule=sum)
    >>> y.backward()
    >>> x.grad
    tensor([2., 4.])
    """

    __slots__ = ("__weakref__", "_array", "_grad", "_requires_grad", "hooks", "node")

    is_parameter = False  # nn.Parameter's is True
    _array: Array  # what `data` shows; the engine reads it here, 0.1 µs quicker
    _grad: Tensor | None  # likewise what `grad` shows
    hooks: dict[int, Hook] | None
    node: Any  # the graph.Node that made it

    def __init__(self, data: ArrayLike | Tensor, requires_grad: bool = False) -> None:
        if isinstance(data, Tensor) and data.node is not None:
            raise TypeError(f"{type(self).__name__}(x) would cut x out of the graph: use x.detach() if that is meant")
        self._array = as_array(data)
        self._grad = None
        self.hooks = None
        self.node = None
        if requires_grad is not False:
            checks.flag("Tensor", requires_grad=requires_grad)
        if requires_grad:
            needs_float("requires_grad=True", self._array.dtype)
        self._requires_grad = bool(requires_grad)

    # ---- what it is ----

    @property
    def data(self) -> Array:
        """The array itself; to be changed in place, or replaced by another of its shape, outside of the graph.

        Backward raises RuntimeError where its gradients need values that have been changed since.
        """
        if this_thread.tracer is not None:
            this_thread.tracer.handed_out(self)
        if self.node is not None:
            self.node.expose(self._array)
        return self._array

    @data.setter
    def data(self, array: Array) -> None:
        if not isinstance(array, np.ndarray):
            raise TypeError(f"data is an ndarray, not {type(array).__name__}: of a Tensor y, that is y.data")
        if array is self._array:  # as after y.data += 1
            return
        if self.node is not None:
            raise ValueError("data can be replaced on leaves only: use x.detach() for a tensor outside of the graph")
        if array.shape != self._array.shape:
            raise ValueError(
                f"data has shape {array.shape}, this tensor {self.shape}, which may stand in a graph: a tensor of "
                "another shape is a new one, mg.tensor(array)"
            )
        if self._requires_grad:
            needs_float("data of a tensor that requires a gradient", array.dtype)
        self._array = array

    @property
    def grad(self) -> Tensor | None:
        """The gradient that backward has added up, of this tensor's shape and dtype; None before, and again to forget.

        May be set, to numbers of this shape: a Tensor of this dtype is taken as it is, anything else is copied.
        """
        return self._grad

    @grad.setter
    def grad(self, gradient: ArrayLike | Tensor | None) -> None:
        self._grad = None if gradient is None else self._as_gradient(gradient)

    def _as_gradient(self, given: Any) -> Tensor:
        if self.node is not None:
            raise ValueError(
                "grad can be set on leaves only: mg.autograd.grad(y, x) gives the gradient of any x, and "
                "x.register_hook(f) changes it on its way"
            )
        needs_float("grad", self.dtype)
        try:
            g = given if isinstance(given, Tensor) else np.array(given)
        except ValueError:
            g = np.array(None)
        if g.dtype.kind not in "fiu":
            what = g.dtype.name if isinstance(given, Tensor | np.ndarray) else checks.shown(given)
            raise TypeError(f"grad must be real numbers of shape {self.shape}, {self.dtype.name}, not {what}")
        if g.shape != self.shape:
            raise ValueError(f"grad must have the shape {self.shape} of its tensor, {self.dtype.name}, not {g.shape}")
        if isinstance(g, Tensor):
            return g if g.dtype == self.dtype else g.astype(self.dtype)
        return wrapped(g.astype(self.dtype, copy=False))

    @property
    def shape(self) -> tuple[int, ...]:
        return self._array.shape

    @property
    def ndim(self) -> int:
        return self._array.ndim

    @property
    def size(self) -> int:
        return self._array.size

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._array.dtype

    @property
    def requires_grad(self) -> bool:
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if self.node is not None:
            raise ValueError(
                "requires_grad can be set on leaves only: use x.detach() for a tensor outside of the graph"
            )
        checks.flag("Tensor", requires_grad=value)
        if value:
            needs_float("requires_grad=True", self._array.dtype)
        self._requires_grad = bool(value)

    def __repr__(self) -> str:
        text = np.array2string(self._array, separator=", ", prefix="tensor(")
        if self._array.dtype not in (np.float32, np.int64, np.bool_):
            text += f", dtype={self._array.dtype.name}"
        if self.node is not None:
            text += f", rule={self.node.rule.name}"
        elif self._requires_grad:
            text += ", requires_grad=True"
        return f"tensor({text})"

    # ---- the doors out of the graph ----

    def detach(self) -> Tensor:
        """A leaf that shares this tensor's array and takes no part in the graph."""
        return Tensor(self.data)

    def numpy(self) -> Array:
        """The array itself, outside of the graph (not a copy)."""
        return self.data

    def item(self) -> Any:
        """The only value, as a Python number. ValueError if there is more than one."""
        if self._array.size != 1:
            raise ValueError(f"only a tensor of one element is a number, this one has shape {self.shape}")
        return self._array.item()

    def tolist(self) -> Any:
        """The values as nested Python lists."""
        return self._array.tolist()

    def __float__(self) -> float:
        return float(self._number("float(x), or a function of math,"))

    def __int__(self) -> int:
        return int(self._number("int(x)"))

    def __round__(self, decimals: int = 0) -> Any:
        return HANDLERS[np.round](self, decimals)

    def _number(self, what: str) -> Any:
        if self._requires_grad:
            raise TypeError(
                f"{what} would cut the tensor out of the graph: use x.item() if that is meant, or NumPy's function"
            )
        return self.item()

    def __index__(self) -> int:
        if self._array.dtype.kind not in "iu" or self._array.size != 1:
            raise TypeError(
                f"only an integer tensor of one element can be an index, not {self.dtype.name} of shape {self.shape}"
            )
        return int(self.item())

    def __bool__(self) -> bool:
        if self._array.size != 1:
            raise ValueError(f"the truth of a tensor of shape {self.shape} is ambiguous: use np.any(x) or np.all(x)")
        return bool(self._array.item())

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else repr(self)

    def __array__(self, *_: Any, **__: Any) -> Array:
        raise TypeError(
            "this would turn a Tensor into an ndarray and cut it out of the graph: "
            "use tensor.data if that is meant, np.stack or np.concatenate to join tensors, np.asarray(x) of another "
            "library's x beside a tensor"
        )

    # ---- gradients ----

    def backward(
        self, gradient: ArrayLike | Tensor | None = None, retain_graph: bool = False, create_graph: bool = False
    ) -> None:
        """Add the gradient of this tensor to the `.grad` of every leaf that it was made from.

        gradient: the cotangent of this tensor, of its shape; may be left out for a scalar, where it is 1.
        retain_graph: keep the graph for another backward; otherwise it is freed on the way.
        create_graph: make the gradients differentiable (keeps the graph, too).
        Raises ValueError where there is nothing to differentiate, or no gradient for a non-scalar.
        """
        HANDLERS[Tensor.backward](self, gradient, retain_graph, create_graph)

    def register_hook(self, hook: Hook) -> Callable[[], None]:
        """Call hook(gradient) in every backward pass that reaches this tensor; returns a function that removes it.

        What the hook returns replaces the gradient from there on, unless it is None.
        """
        return HANDLERS[Tensor.register_hook](self, hook)  # type: ignore[no-any-return]

    # ---- NumPy's protocols ----

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        handler = HANDLERS.get(ufunc)
        if method != "__call__":
            raise TypeError(
                f"np.{ufunc.__name__}.{method} is not defined on Tensors: use np.sum, np.prod, np.cumsum, ... instead"
            )
        if "out" in kwargs:
            return _write(ufunc, inputs, kwargs)
        if handler is None:
            raise TypeError(_no_rule(ufunc))
        try:
            return handler(*inputs, **kwargs)
        except ForeignOperandError:
            return NotImplemented  # NumPy asks the other operands

    def __array_function__(self, function: Callable[..., Any], types: Any, args: Any, kwargs: Any) -> Any:
        handler = HANDLERS.get(function)
        if kwargs.get("out") is not None:
            return _write(function, args, kwargs)
        if handler is None:
            raise TypeError(_no_rule(function))
        return handler(*args, **kwargs)

    # ---- sequence ----

    def __len__(self) -> int:
        if self._array.ndim == 0:
            raise TypeError("a tensor of shape () has no length")
        return int(self._array.shape[0])

    def __iter__(self) -> Iterator[Tensor]:
        if self._array.ndim == 0:
            raise TypeError("a tensor of shape () cannot be iterated over")
        return (self[i] for i in range(self._array.shape[0]))

    def __getitem__(self, index: Any) -> Tensor:
        return HANDLERS[Tensor.__getitem__](self, index)  # type: ignore[no-any-return]

    def __setitem__(self, index: Any, value: Any) -> None:
        raise TypeError(
            "a Tensor cannot be written into: x = mg.index_update(x, index, values) gives a new tensor, "
            "mg.index_add adds; x.data[index] = values changes the array outside of the graph"
        )

    __hash__ = object.__hash__  # by identity: == compares element by element

    def __copy__(self) -> Tensor:
        """Another tensor of the same array, at the same place in the graph."""
        copy = type(self).__new__(type(self))
        copy._array, copy._requires_grad = self._array, self._requires_grad
        copy._grad, copy.hooks, copy.node = self._grad, self.hooks, self.node
        return copy

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if self.node is not None:
            raise TypeError("only leaves can be deep-copied, not a tensor in a graph: copy x.detach() instead")
        copy = type(self).__new__(type(self))
        Tensor.__init__(copy, self._array.copy(), self._requires_grad)
        copy._grad = None if self._grad is None else Tensor(self._grad.data.copy())
        memo[id(self)] = copy
        return copy

    def __reduce__(self) -> Any:
        raise TypeError("tensors are not pickled: use mg.save, or send x.data")

    # ---- operators and methods: each the NumPy function of its name ----

    __add__, __radd__, __iadd__ = _binary(np.add), _reflected(np.add), _augmented(np.add, "+")
    __sub__, __rsub__, __isub__ = _binary(np.subtract), _reflected(np.subtract), _augmented(np.subtract, "-")
    __mul__, __rmul__, __imul__ = _binary(np.multiply), _reflected(np.multiply), _augmented(np.multiply, "*")
    __truediv__, __rtruediv__, __itruediv__ = _binary(np.divide), _reflected(np.divide), _augmented(np.divide, "/")
    __pow__, __rpow__, __ipow__ = _binary(np.power), _reflected(np.power), _augmented(np.power, "**")
    __matmul__, __rmatmul__, __imatmul__ = _binary(np.matmul), _reflected(np.matmul), _augmented(np.matmul, "@")

    def __neg__(self) -> Any:
        return HANDLERS[np.negative](self)

    sum, mean, prod, var, std = map(_method, (np.sum, np.mean, np.prod, np.var, np.std))
    max, min, argmax, argmin = map(_method, (np.max, np.min, np.argmax, np.argmin))
    cumsum, cumprod, all, any = map(_method, (np.cumsum, np.cumprod, np.all, np.any))
    swapaxes, squeeze, ravel, repeat = map(_method, (np.swapaxes, np.squeeze, np.ravel, np.repeat))
    flatten = _method(np.ravel)
    take, diagonal, trace, copy = map(_method, (np.take, np.diagonal, np.trace, np.copy))
    argsort, nonzero = map(_method, (np.argsort, np.nonzero))
    clip, dot, round, astype = map(_method, (np.clip, np.dot, np.round, np.astype))

    def reshape(self, *shape: SupportsIndex | tuple[SupportsIndex, ...]) -> Tensor:
        """`np.reshape(self, shape)`; the shape as a tuple or as separate numbers."""
        return HANDLERS[np.reshape](self, _one(shape))  # type: ignore[no-any-return]

    def transpose(self, *axes: SupportsIndex | tuple[SupportsIndex, ...] | None) -> Tensor:
        """`np.transpose(self, axes)`; the axes as a tuple, as separate numbers, or none to reverse them all."""
        return HANDLERS[np.transpose](self, _one(axes) if axes else None)  # type: ignore[no-any-return]

    @property
    def T(self) -> Tensor:
        """All axes reversed."""
        return self.transpose()

    @property
    def mT(self) -> Tensor:
        """The last two axes swapped: each matrix of a stack transposed."""
        return HANDLERS[np.matrix_transpose](self)  # type: ignore[no-any-return]


def _one(args: tuple[Any, ...]) -> Any:
    return args[0] if len(args) == 1 else args


def _write(function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """function(*args, out=array) as of arrays, if its Tensors are constants: then the graph has nothing to follow."""

    def constants(x: Any) -> Any:
        if isinstance(x, Tensor):
            if x.requires_grad and is_grad_enabled():
                raise TypeError(
                    f"{_named(function)}: out= writes into an array, which a graph cannot follow: bind the result to a "
                    "name instead, or x.detach() if no gradient is to flow there"
                )
            return x._array
        return type(x)(map(constants, x)) if type(x) in (list, tuple) else x

    outs = kwargs["out"] if isinstance(kwargs["out"], tuple) else (kwargs["out"],)
    if any(isinstance(out, Tensor) for out in outs):
        raise TypeError(
            f"{_named(function)}: out= writes into a Tensor, which a graph cannot follow: bind the result to a name "
            "instead, or out=x.data changes the array outside of the graph"
        )
    return function(*constants(args), **{name: constants(x) for name, x in kwargs.items()})


def _named(function: Any) -> str:
    return f"{(getattr(function, '__module__', None) or 'np').replace('numpy', 'np')}.{function.__name__}"


def _no_rule(function: Any) -> str:
    name = _named(function)
    return f"{name} has no derivative rule: add one with @mg.rule({name}), or leave the graph with tensor.data"
