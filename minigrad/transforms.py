"""Functions that turn a function into its derivatives: gradients, products with Jacobians and Hessians, and these.

Inputs and results may be tuples, lists or dicts of arrays, nested. Everything that comes back is a Tensor; it is part
of a graph itself where it depends on anything that requires a gradient, so that transforms nest to any order.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minigrad import checks
from minigrad.autograd import grad as _grad
from minigrad.graph import toposort, vertex
from minigrad.modes import enable_grad, is_grad_enabled
from minigrad.tensor import Tensor, as_array, needs_float

Tree = Any  # a Tensor, or a tuple, list or dict of trees


def _map(f: Callable[[Any], Any], tree: Tree) -> Tree:
    """The tree with f(leaf) in place of each leaf."""
    try:
        if isinstance(tree, dict):
            return {key: _map(f, value) for key, value in tree.items()}
        if isinstance(tree, list | tuple):
            values = [_map(f, value) for value in tree]
            return values if isinstance(tree, list) else tuple(values)
    except RecursionError:
        raise ValueError("a tuple, list or dict of inputs is nested too deeply, or holds itself") from None
    return f(tree)


def tree_leaves(tree: Tree) -> list[Any]:
    leaves: list[Any] = []
    _map(leaves.append, tree)
    return leaves


def _fill(tree: Tree, values: Sequence[Any]) -> Tree:
    """The tree with other leaves, in the same order."""
    following = iter(values)
    return _map(lambda _: next(following), tree)


def _start(x: Any) -> Tensor:
    """An input as the tensor that the function's graph begins at, still attached to where it came from."""
    if isinstance(x, Tensor) and x.requires_grad:
        with enable_grad():
            return +x  # type: ignore[no-any-return]
    array = as_array(x)
    needs_float("a derivative", array.dtype)
    return Tensor(array, requires_grad=True)


def _outputs(name: str, y: Tree) -> list[Tensor]:
    ys = tree_leaves(y)
    for leaf in ys:
        if not isinstance(leaf, Tensor):
            raise TypeError(
                f"{name}: the function returned {type(leaf).__name__}, not a Tensor: it has left the graph on its way"
            )
    return ys


def _scalar(y: Any) -> Tensor:
    (scalar,) = _outputs("grad", [y])
    if scalar.size != 1:
        raise ValueError(
            f"grad is of functions that give a scalar, this one gave shape {scalar.shape}: see jacobian and vjp"
        )
    return scalar


def _is_part_of_more(ys: list[Tensor], inputs: list[Tensor]) -> bool:
    """Whether any leaf that these were made from is none of the inputs: their graph is then part of a larger one."""
    vertices = [vertex(y) for y in ys]
    ends = [v for node in toposort(vertices) for v in node.inputs if isinstance(v, Tensor)]
    ends += [v for v in vertices if isinstance(v, Tensor) and v.requires_grad]
    return not set(ends) <= set(map(vertex, inputs))


def _gradients(
    ys: list[Tensor],
    inputs: list[Tensor],
    cotangents: list[Any],
    recording: bool,
    retain_graph: bool = False,
    own: Sequence[Tensor] = (),
) -> list[Tensor]:
    """The gradients of the inputs, 0 for one that no y depends on.

    They are part of a graph if that is recorded, and is made of more than the inputs and other leaves of our own.
    """
    pairs = [(y, g) for y, g in zip(ys, cotangents, strict=True) if y.requires_grad]
    found: Sequence[Any] = [None] * len(inputs)
    if pairs:
        ys, cotangents = [y for y, _ in pairs], [g for _, g in pairs]
        in_graph = _is_part_of_more(ys, [*inputs, *own]) or any(
            isinstance(g, Tensor) and g.requires_grad for g in cotangents
        )
        found = _grad(ys, inputs, cotangents, retain_graph, recording and in_graph, allow_unused=True)
    return [Tensor(np.zeros(x.shape, x.dtype)) if g is None else g for x, g in zip(inputs, found, strict=True)]


def _settled(y: Tree, inputs: list[Tensor], recording: bool) -> Tree:
    """The function's value: part of a graph only if that is larger than the one of this transform."""
    return _map(lambda y: y if recording and y.requires_grad and _is_part_of_more([y], inputs) else y.detach(), y)


def _matching(name: str, given: Tree, tensors: list[Tensor]) -> list[Tensor]:
    """Tangents or cotangents, one for each tensor and of its shape."""
    leaves = [v if isinstance(v, Tensor) else Tensor(as_array(v)) for v in tree_leaves(given)]
    shapes = [v.shape for v in leaves], [x.shape for x in tensors]
    if shapes[0] != shapes[1]:
        raise ValueError(f"{name} have the shapes {shapes[0]}, they must be {shapes[1]}")
    return leaves


def _tuple(name: str, primals: tuple[Tree, ...]) -> tuple[Tree, ...]:
    if not isinstance(primals, tuple | list):
        raise TypeError(f"{name}: primals must be a tuple, of one place for each argument, not {checks.shown(primals)}")
    return tuple(primals)


def _numbers(argnums: int | tuple[int, ...], n: int) -> list[int]:
    """argnums as different numbers from 0 to n − 1."""
    given = argnums if isinstance(argnums, tuple) else (argnums,)
    numbers = [k % n for k in given if -n <= k < n]
    if len(set(numbers)) != len(given):
        raise ValueError(f"argnums={argnums} does not name different arguments: there are {n} positional ones")
    return numbers


def _check(name: str, f: Callable[..., Any], argnums: int | tuple[int, ...] = ()) -> None:
    checks.function(name, f=f)
    given = argnums if isinstance(argnums, tuple) else (argnums,)
    checks.whole(name, -math.inf, **{f"argnums[{i}]": n for i, n in enumerate(given)})


def value_and_grad(f: Callable[..., Any], argnums: int | tuple[int, ...] = 0) -> Callable[..., tuple[Tensor, Tree]]:
    """The function that returns f's value, a scalar, and its gradient with respect to the arguments argnums.

    The gradient has the structure of its argument; for a tuple of argnums there is a tuple of them. With respect to an
    input that f does not depend on it is 0. TypeError for integer inputs, ValueError for a result that is no scalar.

    >>> import numpy as np, minigrad as mg
    >>> mg.value_and_grad(lambda x: np.sum(x**2))(np.array([1.0, 2.0], np.float32))
    (tensor(5.), tensor([2., 4.]))
    """
    _check("value_and_grad", f, argnums)

    @functools.wraps(f)
    def wrapped(*args: Any, **kwargs: Any) -> tuple[Tensor, Tree]:
        numbers = _numbers(argnums, len(args))
        recording = is_grad_enabled()
        wanted = [args[n] for n in numbers]
        inputs = [_start(x) for x in tree_leaves(wanted)]
        starts = dict(zip(numbers, _fill(wanted, inputs), strict=True))
        with enable_grad():
            y = _scalar(f(*(starts.get(i, x) for i, x in enumerate(args)), **kwargs))
        value = _settled(y, inputs, recording)
        gradients = _fill(wanted, _gradients([y], inputs, [np.ones(y.shape, y.dtype)], recording))
        return value, tuple(gradients) if isinstance(argnums, tuple) else gradients[0]

    return wrapped


def grad(f: Callable[..., Any], argnums: int | tuple[int, ...] = 0) -> Callable[..., Tree]:
    """The function that returns the gradient of f, as value_and_grad does; nests to any order.

    >>> import minigrad as mg
    >>> mg.grad(mg.grad(lambda x: x**3))(2.0)
    tensor(12.)
    """
    _check("grad", f, argnums)
    both = value_and_grad(f, argnums)
    return functools.wraps(f)(lambda *args, **kwargs: both(*args, **kwargs)[1])


def vjp(f: Callable[..., Tree], *primals: Tree) -> tuple[Tree, Callable[[Tree], tuple[Tree, ...]]]:
    """f(*primals), and the function that pulls a cotangent of it (of its structure and shapes) back to the primals.

    >>> import numpy as np, minigrad as mg
    >>> y, pull = mg.vjp(lambda x: x * x, np.array([1.0, 2.0], np.float32))
    >>> pull(mg.tensor([1.0, 10.0]))
    (tensor([ 2., 40.]),)
    """
    _check("vjp", f)
    recording = is_grad_enabled()
    inputs = [_start(x) for x in tree_leaves(primals)]
    with enable_grad():
        y = f(*_fill(primals, inputs))
    ys = _outputs("vjp", y)

    def pull(cotangent: Tree) -> tuple[Tree, ...]:
        return tuple(
            _fill(primals, _gradients(ys, inputs, _matching("cotangents", cotangent, ys), recording, retain_graph=True))
        )

    return _settled(y, inputs, recording), pull


def jvp(f: Callable[..., Tree], primals: tuple[Tree, ...], tangents: tuple[Tree, ...]) -> tuple[Tree, Tree]:
    """f(*primals), and its derivative in the direction of the tangents: the vjp of the vjp, which is linear.

    >>> import numpy as np, minigrad as mg
    >>> mg.jvp(np.sin, (0.0,), (2.0,))
    (tensor(0.), tensor(2.))
    """
    _check("jvp", f)
    primals = _tuple("jvp", primals)
    recording = is_grad_enabled()
    inputs = [_start(x) for x in tree_leaves(primals)]
    directions = _matching("tangents", tangents, inputs)
    with enable_grad():
        y = f(*_fill(primals, inputs))
        ys = _outputs("jvp", y)
        cotangents = [Tensor(np.zeros(leaf.shape, leaf.dtype), requires_grad=True) for leaf in ys]
        pulled = _gradients(ys, inputs, cotangents, recording=True)
        along = sum((np.sum(g * v) for g, v in zip(pulled, directions, strict=True)), start=Tensor(0.0))
    return _settled(y, inputs, recording), _fill(y, _gradients([along], cotangents, [None], recording, own=inputs))


def hvp(f: Callable[..., Any], primals: tuple[Tree, ...], tangents: tuple[Tree, ...]) -> Tree:
    """The Hessian of the scalar f at the primals times the tangents, at the cost of a few gradients; as the primals.

    >>> import numpy as np, minigrad as mg
    >>> mg.hvp(lambda x: np.sum(x**3), (mg.tensor([1.0, 2.0]),), (mg.tensor([1.0, 0.0]),))
    (tensor([6., 0.]),)
    """
    _check("hvp", f)
    primals = _tuple("hvp", primals)
    recording = is_grad_enabled()
    inputs = [_start(x) for x in tree_leaves(primals)]
    directions = _matching("tangents", tangents, inputs)
    gradient = grad(f, tuple(range(len(primals))))
    with enable_grad():
        gradients = tree_leaves(gradient(*_fill(primals, inputs)))
        along = sum((np.sum(g * v) for g, v in zip(gradients, directions, strict=True)), start=Tensor(0.0))
    return _fill(primals, _gradients([along], inputs, [None], recording))


def jacobian(f: Callable[..., Tree], argnums: int | tuple[int, ...] = 0) -> Callable[..., Tree]:
    """The function that returns ∂f/∂x, of shape (*f's shape, *x's shape), one backward pass for each element of f.

    Where f's value is a tree, a tree of its structure; in each place what value_and_grad returns for the arguments.

    >>> import numpy as np, minigrad as mg
    >>> mg.jacobian(lambda x: x * x)(mg.tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """
    _check("jacobian", f, argnums)

    @functools.wraps(f)
    def wrapped(*args: Any, **kwargs: Any) -> Tree:
        numbers = _numbers(argnums, len(args))
        wanted = [args[n] for n in numbers]

        def of_wanted(*given: Tree) -> Tree:
            starts = dict(zip(numbers, given, strict=True))
            return f(*(starts.get(i, x) for i, x in enumerate(args)), **kwargs)

        y, pull = vjp(of_wanted, *wanted)
        ys, xs = tree_leaves(y), tree_leaves(wanted)

        def rows(i: int) -> Tree:
            """∂ys[i]/∂wanted."""
            pulled = []
            for j in range(ys[i].size):
                cotangents = [Tensor(np.zeros(leaf.shape, leaf.dtype)) for leaf in ys]
                cotangents[i].data.flat[j] = 1.0
                pulled.append(tree_leaves(pull(_fill(y, cotangents))))
            shapes = [ys[i].shape + np.shape(x) for x in xs]
            blocks = [
                np.reshape(np.stack([row[k] for row in pulled]), shape)
                if pulled
                else Tensor(np.zeros(shape, ys[i].dtype))
                for k, shape in enumerate(shapes)
            ]
            filled = _fill(wanted, blocks)
            return tuple(filled) if isinstance(argnums, tuple) else filled[0]

        return _fill(y, [rows(i) for i in range(len(ys))])

    return wrapped


def hessian(f: Callable[..., Any], argnums: int | tuple[int, ...] = 0) -> Callable[..., Tree]:
    """The function that returns ∂²f/∂x∂x of the scalar f, of shape (*x's shape, *x's shape): the gradient's jacobian.

    >>> import numpy as np, minigrad as mg
    >>> mg.hessian(lambda x: np.sum(x**3))(mg.tensor([1.0, 2.0]))
    tensor([[ 6.,  0.],
            [ 0., 12.]])
    """
    _check("hessian", f, argnums)
    return jacobian(grad(f, argnums), argnums)
