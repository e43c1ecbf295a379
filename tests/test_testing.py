"""The checker catches what is wrong, and says where."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given

import minigrad as mg
import minigrad.functional as F
from minigrad import nn
from minigrad.rule import RULES
from minigrad.strategies import arrays, axes, broadcastable, shapes
from minigrad.testing import check_gradients, check_layer

X = np.array([[0.5, -1.0, 2.0], [1.5, 0.3, -0.7]])


def wrong_factor(x, /):
    return x**3, (lambda g: g * 2 * x**2,)


def wrong_sign(x, /):
    return np.cos(x), (lambda g: g * np.sin(x),)


def forgets_its_input(x, /):
    y = np.asarray(x if isinstance(x, np.ndarray) else x.data)
    return x * x, (lambda g: g * 2 * y,)


def no_mean(x, /):
    m, s = np.mean(x, axis=-1, keepdims=True), np.std(x, axis=-1, keepdims=True)
    return (x - m) / s, (lambda g: g / s,)


def transposed(x, /):
    w = np.array([[1.0, 2.0, 0.0], [0.0, 1.0, 3.0], [2.0, 0.0, 1.0]])
    return x @ w, (lambda g: g @ w,)


def overwrites(x, /):
    index = ([0, 0], [1, 1])
    shape = x.shape

    def pull(g):
        h = np.zeros(shape)
        h[index] = g
        return h

    return x[index], (pull,)


def softmax_by_element(x, /):
    p = F.softmax.reference(x)
    return p, (lambda g: g * p * (1 - p),)


def wrong_on_strided_inputs(x, /):
    return x * 1.0, (lambda g: g * (7.0 if isinstance(x, np.ndarray) and x.strides[-1] != 8 else 1.0),)


def test_a_rule_that_is_wrong_on_strided_inputs_is_caught():
    rule = mg.rule()(wrong_on_strided_inputs)
    RULES.remove(rule)
    check_gradients(rule, X, order=1)
    with pytest.raises(AssertionError, match="ratio 7"):
        check_gradients(rule, np.repeat(X, 2, -1)[..., ::2], order=1)


def test_small_gradients_are_checked_as_closely_as_large_ones():
    rule = mg.rule()(wrong_factor)
    RULES.remove(rule)
    with pytest.raises(AssertionError, match="input 1"):
        check_gradients(lambda x, y: np.sum(x * 1e6) + np.sum(rule(y) * 1e-4), X, X, order=1)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (wrong_factor, r"the gradient is .* \(ratio 0\.66666"),
        (wrong_sign, r"\(ratio -1\)"),
        (no_mean, "input 0 at"),
        (transposed, "input 0 at"),
        (overwrites, r"input 0 at \[0, 1\]: .* \(ratio"),
        (softmax_by_element, "6 of 6 entries are wrong"),
        (forgets_its_input, r"the gradient of the gradient is 0, differences give .* \(ratio 0\)"),
    ],
)
def test_wrong_rules_are_caught(function, words):
    rule = mg.rule()(function)
    RULES.remove(rule)
    with pytest.raises(AssertionError, match=words):
        check_gradients(rule, X)


def test_a_wrong_kernel_of_every_definition_would_be_caught():
    for f in (F.softmax, F.relu):
        right = f.kernel.function

        def wrong(*args, right=right, **settings):
            y, pullbacks = right(*args, **settings)
            return y, tuple(lambda g, p=p: p(g) * 1.001 for p in pullbacks)

        f.kernel.function = wrong
        try:
            with pytest.raises(AssertionError, match="ratio 1.001"):
                check_gradients(f, X, order=1)
        finally:
            f.kernel.function = right


def test_a_check_that_proves_nothing_is_an_error():
    with pytest.raises(AssertionError, match="proves nothing"):
        check_gradients(lambda x: np.sum(F.softmax(x)), X)
    check_gradients(np.sign, X, flat=True)


def test_kinks_are_pointed_out():
    with pytest.raises(AssertionError, match="kink or a jump"):
        check_gradients(np.abs, np.array([1e-4, 1.0]))


def test_unsteady_functions_are_refused():
    with pytest.raises(ValueError, match="another result when it is called again"):
        check_gradients(lambda x: F.dropout(x, 0.5), X)


def test_bad_arguments():
    with pytest.raises(ValueError, match="none of the inputs is floating-point"):
        check_gradients(np.sin, np.arange(3))
    with pytest.raises(ValueError, match="'central' or 'complex'"):
        check_gradients(np.sin, X, method="exact")
    with pytest.raises(TypeError, match="for functions there is check_gradients"):
        check_layer(np.sin, X)
    with pytest.raises(ValueError, match="check_gradients: rtol must be a positive number, not 0"):
        check_gradients(np.sin, X, rtol=0)
    for order in (0, 10, 1.5):
        with pytest.raises((ValueError, TypeError), match="check_layer: order must be"):
            check_layer(nn.Linear(3, 2), X, order=order)


class Broken(nn.Module):
    def __init__(self, how):
        self.how = how
        self.weight = nn.Parameter(np.ones(3))
        self.unused = nn.Parameter(np.ones(3)) if how == "unused" else None

    def forward(self, x):
        if self.how == "writes":
            (x if isinstance(x, np.ndarray) else x.data)[0, 0] += 1e-9
        if self.how == "training" and self.training:
            return mg.Tensor((x * self.weight).data) + x
        return x * self.weight


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("unused", "parameters that the output does not depend on: unused"),
        ("training", "the gradient is 0, differences give"),
        ("writes", "another result|written into its input"),
    ],
)
def test_broken_layers_are_caught(how, words):
    with pytest.raises((AssertionError, ValueError), match=words):
        check_layer(Broken(how), X)


def test_frozen_layers_can_be_checked():
    layer = nn.Sequential(nn.Linear(3, 3).requires_grad_(False), nn.Linear(3, 2))
    check_layer(layer, X)
    assert layer[0].weight.dtype == np.float32


def test_a_checked_layer_is_left_as_it_was():
    layer = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(0.5)).eval()
    before, drawn = layer.state_dict(), mg.default_generator().bit_generator.state
    arrays_before = [p.data for p in layer.parameters()]
    check_layer(layer, X)
    for name, value in layer.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    assert all(p.data is a and p.node is None for p, a in zip(layer.parameters(), arrays_before, strict=True))
    assert not layer.training
    assert mg.default_generator().bit_generator.state == drawn


class Running(nn.Module):
    """Replaces its buffer in each call, and remembers what it has seen."""

    def __init__(self):
        self.weight = nn.Parameter(np.ones(3, np.float32))
        self.register_buffer("mean", np.zeros(3))
        self.calls = 0

    def forward(self, x):
        y = x * self.weight + self.mean
        self.mean = self.mean + 0.1
        self.calls += 1
        self.last = x
        return y


def test_a_buffer_that_is_replaced_in_each_call_is_put_back():
    layer = Running()
    mean = layer.mean
    check_layer(layer, X)
    assert layer.mean is mean
    assert not mean.any()
    assert layer.calls == 0
    assert not hasattr(layer, "last")


OPTIMISED = """
import numpy as np
from minigrad import nn
from minigrad.testing import check_gradients, check_layer

class Unused(nn.Module):
    def __init__(self):
        self.weight, self.unused = nn.Parameter(np.ones(3)), nn.Parameter(np.ones(3))
    def forward(self, x):
        return x * self.weight

class Writes(nn.Module):
    def forward(self, x):
        if isinstance(x, np.ndarray):
            x[0, 0] += 1
        return x * 2.0

class Wrong(nn.Module):
    def forward(self, x):
        return np.sum(x.data) * x

class Strided(nn.Module):
    def forward(self, x):
        return x * (2.0 if not isinstance(x, np.ndarray) or x.strides[-1] == 8 else 3.0)

for layer in (Unused(), Writes(), Wrong(), Strided()):
    try:
        check_layer(layer, np.ones((2, 3)))
    except AssertionError as error:
        print(type(layer).__name__, "is caught:", str(error).strip().splitlines()[0])
assert False, "asserts are switched off here"
"""


def test_python_without_asserts_still_checks():
    done = subprocess.run([sys.executable, "-O", "-c", OPTIMISED], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    caught = [line.split()[0] for line in done.stdout.splitlines()]
    assert caught == ["Unused", "Writes", "Wrong", "Strided"]


@given(arrays(shapes(), gap=0.1))
def test_arrays_keep_away_from_zero_and_each_other(x):
    assert (np.abs(x) >= 0.1).all()
    assert len(np.unique(x)) == x.size


@given(broadcastable((2, 1, 3)))
def test_broadcastable(shape):
    assert np.broadcast_shapes(shape, (2, 1, 3)) == (2, 1, 3)


@given(axes(2))
def test_axes(axis):
    np.sum(np.ones((2, 3)), axis=axis)


@pytest.mark.parametrize(
    ("sizes", "words"), [({"min_dims": 3, "max_dims": 2}, r"\(3, 0\)"), ({"min_side": 5}, r"\(0, 5\)")]
)
def test_shapes_between_bounds_that_leave_none_are_refused(sizes, words):
    with pytest.raises(ValueError, match=f"shapes: no numbers from {words} to .*: min_ above max_"):
        shapes(**sizes)
    shapes(min_dims=2, max_dims=2, min_side=3, max_side=3)  # a single shape is one


def writes_into_its_gradient(x, /):
    def pull(g):
        g *= np.cos(x)
        return g

    return np.sin(x), (pull,)


def test_a_pullback_that_writes_into_its_gradient_is_caught():
    """On its own it gives what is right; beside others that are handed the same array, all would be wrong."""
    rule = mg.rule()(writes_into_its_gradient)
    RULES.remove(rule)
    words = "the pullback writes into the gradient that it is handed, and others are handed the same: write g = g"
    with pytest.raises(ValueError, match=f"rule writes_into_its_gradient: {words}"):
        check_gradients(rule, X)

    class Layer(nn.Module):
        def forward(self, x):
            return rule(x)

    with pytest.raises(ValueError, match=words):
        check_layer(Layer(), X)
    x = mg.tensor(X, requires_grad=True)
    with (
        mg.debug(),
        pytest.raises(ValueError, match=rf"writes_into_its_gradient, backward, in test_testing.*: {words}"),
    ):
        np.sum((x + rule(x)) * 2.0).backward()
