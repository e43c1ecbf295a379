import numpy as np
import pytest

import minigrad as mg
from minigrad.testing import check_gradients


def f(x):
    return np.sum(np.sin(x) * x**2)


X = np.array([0.5, -1.0, 2.0])


def test_transforms_nest_to_any_order():
    g = lambda x: x**5
    for expected in (80, 160, 240, 240, 120, 0):
        g = mg.grad(g)
        assert g(np.array(2.0)).item() == expected


def test_grad_against_differences():
    check_gradients(f, X)
    np.testing.assert_allclose(mg.grad(f)(X).data, np.cos(X) * X**2 + 2 * X * np.sin(X))


def test_argnums_and_trees():
    def g(a, tree, scale=1.0):
        return np.sum(a * tree["w"][0]) * scale + np.sum(tree["w"][1] ** 2)

    tree = {"w": (X, np.array([2.0])), "unused": [np.ones(2)]}
    value, (da, dtree) = mg.value_and_grad(g, (0, -1))(X, tree)
    assert value.item() == np.sum(X * X) + 4
    np.testing.assert_array_equal(da.data, X)
    np.testing.assert_array_equal(dtree["w"][0].data, X)
    assert dtree["w"][1].data.tolist() == [4]
    assert dtree["unused"][0].data.tolist() == [0, 0]
    assert mg.grad(g)(X, tree, scale=3.0).data.tolist() == (3 * X).tolist()


def test_results_are_no_part_of_a_graph_unless_they_belong_to_one():
    value, g = mg.value_and_grad(f)(X)
    assert not value.requires_grad
    assert not g.requires_grad
    w = mg.tensor(np.array(2.0), requires_grad=True)
    value, g = mg.value_and_grad(lambda x: np.sum(w * w * x**3))(X)
    np.sum(g).backward()
    assert w.grad.item() == pytest.approx(4 * np.sum(3 * X**2))
    with mg.no_grad():
        assert not mg.grad(lambda x: np.sum(w * x))(X).requires_grad


def test_an_inner_gradient_sees_the_outer_variable():
    outer = mg.grad(lambda x: x * mg.grad(lambda y: x * x * y**2)(np.array(3.0)))
    assert outer(np.array(2.0)).item() == 3 * 2.0**2 * 6


def test_unrolled_steps_of_gradient_descent_are_differentiable():
    def final_loss(rate):
        x = mg.tensor(np.array(1.0))
        for _ in range(3):
            x = x - rate * mg.grad(lambda x: x**2)(x)
        return x**2

    r = 0.1
    assert mg.grad(final_loss)(np.array(r)).item() == pytest.approx(6 * (1 - 2 * r) ** 5 * -2)


def test_vjp_jvp_and_hvp_agree_with_jacobian_and_hessian(rng):
    def g(x):
        return np.stack([np.sum(x**2), x[0] * x[1], np.sin(x[2])])

    j = mg.jacobian(g)(X).data
    v, u = rng.standard_normal(3), rng.standard_normal(3)
    np.testing.assert_allclose(j, [[2 * a for a in X], [X[1], X[0], 0], [0, 0, np.cos(X[2])]])
    y, pull = mg.vjp(g, X)
    np.testing.assert_allclose(pull(v)[0].data, v @ j)
    np.testing.assert_allclose(pull(u)[0].data, u @ j)
    y2, dy = mg.jvp(g, (X,), (u,))
    np.testing.assert_allclose(dy.data, j @ u)
    np.testing.assert_array_equal(y.data, y2.data)
    h = mg.hessian(f)(X).data
    np.testing.assert_allclose(h, h.T)
    np.testing.assert_allclose(mg.hvp(f, (X,), (u,))[0].data, h @ u)
    assert not dy.requires_grad
    assert not mg.hvp(f, (X,), (u,))[0].requires_grad


def test_jacobian_of_trees():
    result = mg.jacobian(lambda x, y: {"a": x * y, "b": np.sum(x)}, (0, 1))(X[:2], np.array(3.0))
    assert result["a"][0].tolist() == [[3, 0], [0, 3]]
    assert result["a"][1].tolist() == X[:2].tolist()
    assert result["b"][0].tolist() == [1, 1]
    assert result["b"][1].item() == 0


def test_the_jacobian_of_nothing_is_empty():
    found = mg.jacobian(lambda x, y: (x[:0], y * 2.0), (0, 1))(X, X[:2].astype(np.float32))
    assert [[(block.shape, block.dtype) for block in blocks] for blocks in found] == [
        [((0, 3), np.float64), ((0, 2), np.float64)],
        [((2, 3), np.float64), ((2, 2), np.float32)],
    ]


def test_hessian_of_a_linear_function_is_zero():
    assert not mg.hessian(lambda x: np.sum(x * 2.0))(X).data.any()
    assert mg.hessian(lambda x, y: np.sum(x) * y, (0, 1))(X, np.array(2.0))[0][1].shape == (3,)


def test_hvp_of_several_inputs():
    a, b = mg.hvp(lambda x, y: np.sum(x * y**2), (X, X), (np.ones(3), np.zeros(3)))
    assert not a.data.any()
    np.testing.assert_allclose(b.data, 2 * X)


def test_functions_of_matrices_twice_differentiated(rng):
    a = rng.standard_normal((3, 3)) + 4 * np.eye(3)
    hessian = mg.hessian(lambda a: np.linalg.slogdet(a).logabsdet)(a).data
    inverse = np.linalg.inv(a)
    np.testing.assert_allclose(hessian, -np.einsum("li,jk->ijkl", inverse, inverse), atol=1e-12)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            lambda: mg.grad(f)(np.arange(3)),
            TypeError,
            "a derivative: only floating-point tensors have gradients, not int64",
        ),
        (lambda: mg.grad(np.sin)(X), ValueError, r"this one gave shape \(3,\): see jacobian"),
        (lambda: mg.grad(lambda x: 1.0)(X), TypeError, "returned float, not a Tensor: it has left the graph"),
        (lambda: mg.grad(f, 1)(X), ValueError, "argnums=1 does not name different arguments: there are 1 positional"),
        (lambda: mg.grad(lambda a, b: np.sum(a * b), (0, -2))(X, X), ValueError, "does not name different arguments"),
        (lambda: mg.jacobian(f, (0, 3))(X), ValueError, "argnums"),
        (
            lambda: mg.jvp(np.sin, (X,), (X[:2],)),
            ValueError,
            r"tangents have the shapes \[\(2,\)\], they must be \[\(3,\)\]",
        ),
        (lambda: mg.vjp(np.sin, X)[1](np.ones(4)), ValueError, "cotangents have the shapes"),
        (lambda: mg.hvp(f, (X,), ()), ValueError, "tangents have the shapes"),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
