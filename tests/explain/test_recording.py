"""A recording holds the numbers of backward, in order, and leaves the graph as it was."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
import minigrad.functional as F
from minigrad import nn, optim
from minigrad.rule import RULES
from tests.explain.programs import PROGRAMS, expression, guilty, leaf, wrong_leaky
from tests.rules.test_every_rule import NAMES as RULE_NAMES
from tests.rules.test_every_rule import SAMPLES, as_list, drawn


@pytest.mark.parametrize("program", PROGRAMS)
def test_gradients_are_those_of_backward_to_the_last_bit(program):
    output, leaves = program()
    explanation = mg.explain(output, gradient=np.asarray(0.7))
    assert all(x.grad is None for x in leaves.values())
    output.backward(np.asarray(0.7))
    for x in leaves.values():
        np.testing.assert_array_equal(explanation.gradient(x), x.grad.data)


def test_the_graph_is_left_as_it_was():
    x = leaf([1.0, 2.0])
    h = np.exp(x)
    y = np.sum(h * h)
    y.backward(retain_graph=True)
    before = x.grad
    for _ in range(2):
        mg.explain(y)
    assert x.grad is before
    assert h.grad is None
    x.grad = None
    y.backward()
    np.testing.assert_array_equal(x.grad.data, before.data)


def test_steps_come_in_order_and_count_the_consumers_down():
    a = leaf(1.5)
    b = a + a
    c = b + b
    steps = [(s.kind, s.value.name, s.array.item(), s.waiting) for s in mg.explain(c).steps]
    assert steps == [
        ("forward", "b", 3.0, 0),
        ("forward", "c", 6.0, 0),
        ("start", "c", 1.0, 0),
        ("pull", "b", 1.0, 0),
        ("add", "b", 1.0, 1),
        ("pull", "b", 1.0, 0),
        ("add", "b", 2.0, 0),
        ("pull", "a", 2.0, 0),
        ("add", "a", 2.0, 1),
        ("pull", "a", 2.0, 0),
        ("add", "a", 4.0, 0),
    ]


def test_undoing_a_broadcast_is_a_step_of_its_own():
    x, b = leaf(np.ones((3, 2))), leaf([[1.0], [2.0], [3.0]])
    y = np.sum((x + b) * np.array([[1.0, 2.0]]))
    pulled, summed, added = (s for s in mg.explain(y).steps if s.value.name == "b" and s.kind != "forward")
    assert (pulled.kind, summed.kind, added.kind) == ("pull", "sum", "add")
    assert pulled.array.shape == (3, 2)
    assert summed.axes == (1,)
    assert summed.array.tolist() == added.array.tolist() == [[3.0], [3.0], [3.0]]


def test_values_shapes_and_formulas_are_there():
    x, w = leaf([[1.0, 2.0]]), leaf([[3.0], [4.0]])
    y = x @ w
    (operation,) = mg.explain(y).operations
    assert operation.name == "matmul"
    assert operation.formula == "x @ y: of matrices, vectors, and stacks of matrices that broadcast"
    assert {name: v.array.tolist() for name, v in operation.inputs.items()} == {"x": [[1, 2]], "y": [[3], [4]]}
    assert operation.output.array.tolist() == [[11.0]]


def test_the_formula_of_a_kernel_is_its_definition_s():
    x = leaf([1.0, 2.0])
    (operation, _) = mg.explain(np.sum(F.softmax(x))).operations
    assert operation.formula.startswith("exp xᵢ / Σⱼ exp xⱼ")


def test_line_and_module_are_known_under_debug():
    class Twice(nn.Module):
        def forward(self, x):
            return x * 2.0  # this line

    x, model = leaf(1.0), nn.Sequential(Twice())
    with mg.debug():
        y = model(x)
    (operation,) = mg.explain(y).operations
    assert operation.source.startswith("test_recording.py:")
    assert operation.code == "return x * 2.0  # this line"
    assert operation.module == "layers.0"
    (operation,) = mg.explain(model(x)).operations
    assert (operation.source, operation.code, operation.module) == ("", "", "")


def test_names_are_given_or_those_of_variables_and_of_parameters():
    model, data = nn.Linear(2, 1), np.ones((3, 2), np.float32)
    hidden = model(data)
    loss = np.sum(hidden * leaf(1.0))
    names = [v.name for v in mg.explain(loss).values]
    assert names == ["data", "model.weight", "model.bias", "leaf1", "hidden", "t1", "loss"]
    assert mg.explain(loss, {"scale": model.weight}).value("scale").array is not None


def test_two_values_never_share_a_name():
    t1 = leaf(1.0)
    output = np.exp(np.exp(t1)) * 2.0
    names = [v.name for v in mg.explain(output).values if v.kind != "constant"]
    assert names == ["t1", "t2", "t3", "output"]


def test_only_what_leads_to_the_inputs_is_pulled_back():
    x, y = leaf(1.0), leaf(2.0)
    h = np.exp(x)
    z = h * np.sin(y)
    explanation = mg.explain(z, [h])
    np.testing.assert_array_equal(explanation.gradient(h), np.sin(2.0))
    assert explanation.gradient(x) is None
    assert explanation.gradient(y) is None
    with pytest.raises(ValueError, match=r"explain: the output does not depend on inputs\[0\]"):
        mg.explain(z, leaf(1.0))


def test_hooks_change_what_is_passed_on_and_it_shows():
    x = leaf(3.0)
    h = x * x
    h.register_hook(lambda g: g * 10.0)
    x.register_hook(lambda g: g + 1.0)
    explanation = mg.explain(h * 2.0)
    assert explanation.gradient(h).item() == 20.0
    assert explanation.value(h).before_hooks.item() == 2.0
    assert explanation.gradient(x).item() == 121.0
    assert [s.value.name for s in explanation.steps if s.kind == "hook"] == ["h", "x"]
    assert "hooks made it 121" in str(explanation.why(x))


def test_what_was_recorded_outlives_the_graph_and_the_optimiser_s_step():
    model = nn.Linear(2, 1)
    loss = np.sum(model(np.ones((3, 2), np.float32)) ** 2)
    explanation = mg.explain(loss)
    before, why = str(explanation), str(explanation.why(model.weight, (0, 1)))
    loss.backward()
    optim.SGD(model.parameters(), lr=1.0).step()
    assert str(explanation) == before
    assert str(explanation.why(model.weight, (0, 1))) == why


def test_later_writes_into_leaves_and_constants_change_no_recorded_value():
    x, data = leaf([1.0, 2.0]), np.array([3.0, 4.0])
    row = np.reshape(x, (1, 2))
    explanation = mg.explain(np.sum(row * data))
    before = explanation.to_json()
    x.data[...] = 9.0
    data[...] = 9.0
    assert explanation.to_json() == before
    assert explanation.value(row).array.tolist() == [[1.0, 2.0]]


def test_where_no_module_is_known_each_operation_stands_alone():
    explanation = mg.explain(np.exp(np.exp(leaf(0.1))))
    assert [len(operations) for _, operations in explanation.groups(1)] == [1, 1]


def test_a_name_that_is_given_is_not_given_twice():
    x, y = leaf(1.0), leaf(2.0)
    names = [v.name for v in mg.explain(x * y, {"y": x}).values]
    assert names == ["y", "leaf1", "t1"]


@pytest.mark.parametrize("write", ["in place", "replaced"])
def test_arrays_written_into_since_are_refused(write):
    x = leaf([1.0, 2.0])
    y = np.sum(x * x) + np.sum(x + 1.0)
    if write == "in place":
        x.data[0] = 5.0
    else:
        x.data = np.array([5.0, 2.0])
    with pytest.raises(RuntimeError, match="between forward and backward"):
        mg.explain(y)


def test_a_write_that_no_pullback_minds_is_refused_as_well():
    x = leaf([1.0, 2.0])
    y = np.sum(x + 1.0)
    x.data[0] = 5.0
    with pytest.raises(RuntimeError, match="explain: add, run again, gives another value"):
        mg.explain(y)


def test_a_freed_graph_is_refused():
    x = leaf(1.0)
    y = np.exp(x)
    y.backward()
    with pytest.raises(RuntimeError, match="already been freed"):
        mg.explain(y)


def test_a_leaf_explains_itself():
    x = leaf(1.0)
    explanation = mg.explain(x)
    assert explanation.gradient(x).item() == 1.0
    assert "the gradient that the pass began with" in str(explanation.why(x))
    assert "x" in explanation.to_svg()


def test_checkpoints_and_dropout_are_recorded_as_they_ran():
    x = leaf(np.linspace(-1, 1, 6))
    h = F.dropout(x, 0.5, rng=np.random.default_rng(0))
    y = np.sum(mg.checkpoint(lambda h: np.exp(np.sin(h)), h))
    explanation = mg.explain(y)
    y.backward()
    np.testing.assert_array_equal(explanation.gradient(x), x.grad.data)


def test_finite_differences_stand_beside_the_gradients():
    for program in PROGRAMS[:5]:
        explanation = mg.explain(program()[0], finite_differences=True)
        for v in explanation.values:
            for index, difference in v.differences.items():
                np.testing.assert_allclose(v.gradient[index], difference, rtol=1e-4, atol=1e-6)
            assert (len(v.differences) == min(v.array.size, 16)) == (v.gradient is not None)


def test_a_wrong_gradient_shows_beside_the_difference():
    @mg.rule()
    def cube(x, /):
        return x**3, (lambda g: g * x**2,)

    x = leaf(2.0)
    (difference,) = mg.explain(cube(x), finite_differences=True).value(x).differences.values()
    np.testing.assert_allclose(difference, 12.0)


def test_the_operation_that_is_guilty_is_blamed_and_no_other():
    output, named = guilty()
    explanation = mg.explain(output, finite_differences=True)
    (fault,) = (c for o in explanation.operations for c in o.contributions if c.fault)
    assert (fault.operation.name, fault.to) == ("wrong_cube", explanation.value(named["h"]))
    assert fault.fault.difference == pytest.approx(3 * fault.fault.given)
    assert fault.accusation.startswith("wrong: wrong_cube gives ")
    blamed = {name for name, x in named.items() if explanation.value(x).faults == [fault]}
    assert blamed == {"w", "x", "h"}
    assert not any(explanation.value(named[name]).faults for name in "uyv")


def test_blame_tells_the_entry_and_the_line():
    with mg.debug():
        x = leaf([[1.0, -2.0], [3.0, 4.0]])
        y = np.sum(wrong_leaky(x) * np.array([1.0, 2.0]))
    explanation = mg.explain(y, {"x": x})
    table = str(explanation.finite_differences())
    assert "x.grad[0, 1] " in table
    line = explanation.operations[0].source
    assert f"wrong: wrong_leaky, {line}, gives x[0, 1] 0, by finite differences 0.2\n" in table


def test_one_wrong_entry_of_a_thousand_is_found():
    x = np.random.default_rng(0).uniform(0.5, 3.0, (25, 40))
    x[7, 31] = -1.5
    x = leaf(x)
    explanation = mg.explain(np.sum(wrong_leaky(x) ** 2), {"x": x}, finite_differences=True)
    (fault,) = (c.fault for o in explanation.operations for c in o.contributions if c.fault)
    assert fault.index == (7, 31)
    assert explanation.value("x").faults


@pytest.mark.parametrize("function", SAMPLES, ids=RULE_NAMES.get)
@given(data=st.data())
def test_no_right_rule_is_blamed(function, data):
    inputs, call, _ = drawn(function, data)
    leaves = [leaf(x) for x in inputs]
    for y in as_list(call(*leaves)):
        if y.requires_grad:
            explanation = mg.explain(y, gradient=np.cos(np.arange(float(y.size))).reshape(y.shape))
            explanation.finite_differences(most=3)
            assert [c.accusation for o in explanation.operations for c in o.contributions if c.fault] == []


@pytest.mark.parametrize(
    ("f", "x"),
    [
        (F.relu, [0.0, 1.0]), (np.absolute, [0.0]), (lambda x: np.maximum(x, 1.0), [1.0]), (np.sign, [0.0, 2.0]),
        (np.floor, [1.0]), (lambda x: np.max(x, keepdims=True), [2.0, 2.0]), (np.sqrt, [0.0, 1e-9, 1e-4]),
        (np.log, [1e-12, 1e-7]), (lambda x: np.clip(x, 0, 1), [0.0, 1.0, 1.0 - 1e-7]), (np.exp, [700.0, -800.0]),
        (lambda x: F.relu(x) - F.relu(-x), [0.0]), (F.softmax, [0.0, 1e3]), (np.tanh, [30.0]), (lambda x: x**3, [1e8]),
        (np.square, [1e-30]), (lambda x: F.layer_norm(x, 3), [1e6, 1e6 + 1, 1e6 + 2]), (np.reciprocal, [1e-5]),
        (lambda x: F.relu(x), [1e-7, -1e-7, 1e-9]),
    ],
)  # fmt: skip
def test_kinks_jumps_and_poles_are_no_faults(f, x):
    x = leaf(x)
    with np.errstate(all="ignore"):
        y = f(x)
        explanation = mg.explain(y, gradient=np.linspace(1, 2, y.size))
    explanation.finite_differences()
    assert [c.accusation for o in explanation.operations for c in o.contributions if c.fault] == []
    assert "wrong" not in str(explanation)


def test_a_gradient_is_right_in_float32_as_well():
    for program in PROGRAMS[:5]:
        leaves = {k: mg.tensor(x.data.astype(np.float32), requires_grad=True) for k, x in program()[1].items()}
        y = sum(np.sum(F.gelu(x) / (1.0 + x * x)) for x in leaves.values())
        assert "wrong" not in str(mg.explain(y, finite_differences=True))


def test_what_differs_by_no_fault_of_a_rule_is_told_as_well():
    x = leaf(0.0)
    table = str(mg.explain(F.relu(x) - F.relu(-x), {"x": x}).finite_differences())
    assert "apart, though no rule differs from its own: by a hook, a kink, or rounding" in table
    y = leaf(2.0)
    h = y * y
    h.register_hook(lambda g: g * 10.0)
    assert str(mg.explain(h * 1.0).finite_differences()).count("apart, though no rule") == 2


def test_finite_differences_return_what_they_print():
    explanation = mg.explain(expression()[0])
    found = explanation.finite_differences()
    assert repr(found) == str(found)
    assert str(explanation).endswith("\nfinite differences\n" + str(found))
    assert str(found).splitlines()[0].split() == ["entry", "gradient", "difference", "apart"]
    assert len(str(found).splitlines()) == 7


def test_one_value_in_two_places_of_a_kernel_is_one_inside():
    x = leaf(np.random.default_rng(0).normal(size=(3, 2)))
    y = F.scaled_dot_product_attention(x, x, x)
    explanation = mg.explain(y, {"x": x}, np.cos(np.arange(6.0)).reshape(3, 2))
    inside = explanation.inside(y)
    np.testing.assert_allclose(inside.gradient("x"), explanation.gradient("x"))


def test_inside_of_a_kernel_stand_the_lines_of_its_definition():
    x, scale = leaf([[3.0], [5.0], [-2.0]]), leaf([2.0])
    y = F.batch_norm(x, weight=scale, training=True)
    explanation = mg.explain(np.sum(y * np.array([[1.0], [0.0], [0.0]])))
    inside = explanation.inside(y)
    assert {o.name for o in inside.operations} >= {"mean", "subtract", "sqrt", "divide"}
    np.testing.assert_allclose(inside.gradient("x"), explanation.gradient(x))
    np.testing.assert_allclose(inside.gradient("scale"), explanation.gradient(scale))
    with pytest.raises(ValueError, match="inside: x was not made by a kernel"):
        explanation.inside(x)


def test_groups_are_runs_of_one_module():
    from minigrad.models import SequenceClassifier

    model = SequenceClassifier(4, 3, 4, 2, 8, 2, 16, rng=np.random.default_rng(0))
    with mg.debug():
        y = np.sum(model(np.ones((2, 4, 4), np.float32)))
    explanation = mg.explain(y)
    paths = [path for path, _ in explanation.groups(3)]
    assert paths[-4:] == ["encoder.norm", "SequenceClassifier", "head", ""]
    assert {"encoder.layers.0", "encoder.layers.1"} < set(paths)
    assert sum(len(operations) for _, operations in explanation.groups(1)) == len(explanation.operations)


def test_what_is_not_in_the_graph_is_refused():
    x = leaf(1.0)
    explanation = mg.explain(np.exp(x))
    with pytest.raises(ValueError, match="not in the graph that was explained"):
        explanation.gradient(leaf(1.0))
    with pytest.raises(ValueError, match="no value is called 'z'; there are x, t1"):
        explanation.gradient("z")
    with pytest.raises(TypeError, match="a Tensor, or the name of one, not 3"):
        explanation.gradient(3)


def test_json_holds_all_steps_and_names_what_is_no_number():
    x = leaf([1.0, -1.0, 0.0])
    with np.errstate(all="ignore"):
        explanation = mg.explain(np.sum(np.log(x)))
        read = json.loads(explanation.to_json())
    assert [s["kind"] for s in read["steps"]] == [s.kind for s in explanation.steps]
    log = read["values"][read["operations"][0]["output"]]
    assert log["array"]["values"] == [0.0, "nan", "-inf"]
    np.testing.assert_allclose(log["array"]["non_finite"], 2 / 3)
    assert "values" not in json.loads(explanation.to_json(most=2))["values"][0]["array"]


def test_no_difference_is_put_beside_what_leads_through_a_checkpoint():
    x, y = leaf([0.5, 1.0]), leaf([2.0, 3.0])
    z = np.sum(mg.checkpoint(lambda x: np.exp(np.sin(x)), x) * y)
    explanation = mg.explain(z, {"x": x, "y": y}, finite_differences=True)
    assert explanation.value("x").differences == {}
    for index, difference in explanation.value("y").differences.items():
        assert difference == pytest.approx(float(explanation.gradient("y")[index]))
    assert explanation.value("y").differences


def test_a_gradient_that_cancels_to_its_rounding_is_not_apart():
    rng = np.random.default_rng(0)
    model = mg.nn.Sequential(
        mg.nn.Linear(3, 4, rng=rng), mg.nn.BatchNorm1d(4), mg.nn.ReLU(), mg.nn.Linear(4, 1, rng=rng)
    )
    explanation = mg.explain(np.sum(model(rng.standard_normal((8, 3)).astype(np.float32)) ** 2))
    assert "apart, though" not in str(explanation.finite_differences())


@pytest.mark.parametrize("inputs", [3, "x", {1.5}])
def test_inputs_that_are_no_tensors_are_refused(inputs):
    with pytest.raises(TypeError, match="explain: inputs must be Tensors, or a dict of them by name, not"):
        mg.explain(leaf(1.0) * 2, inputs)


def misbehaving(pull):
    @mg.rule()
    def wrong(x, /):
        return x * 1.0, (pull,)

    RULES.remove(wrong)
    return np.sum(wrong(leaf([1.0, 2.0])))


def fails(*_):
    raise ZeroDivisionError("of the user's own", 3)


def hooked(hook):
    x = leaf([1.0, 2.0])
    y = x * 2.0
    y.register_hook(hook)
    return np.sum(y)


def freed():
    y = np.sum(leaf([1.0]) * 2.0)
    y.backward()
    return y * 3.0


@pytest.mark.parametrize(
    "broken",
    [
        lambda: misbehaving(lambda g: g * 1j),
        lambda: misbehaving(lambda g: None),
        lambda: misbehaving(lambda g: [1.0, 2.0]),
        lambda: misbehaving(lambda g: np.ones(3)),
        lambda: misbehaving(fails),
        lambda: hooked(lambda g: g[:1]),
        lambda: hooked(lambda g: g.data),
        lambda: hooked(fails),
        freed,
        lambda: leaf([1.0, 2.0]) * 2.0,
        lambda: mg.ones(1),
    ],
)
def test_the_errors_are_those_of_backward(broken):
    found = []
    for act in (mg.Tensor.backward, mg.explain):
        with pytest.raises(Exception) as caught:
            act(broken())
        found.append((type(caught.value), caught.value.args))
    assert found[0] == found[1]


def test_a_complex_gradient_is_refused_as_by_backward():
    """There was a warning only, and numbers without their imaginary part."""
    with pytest.raises(TypeError, match="rule wrong: a pullback must give an array of real numbers"):
        mg.explain(misbehaving(lambda g: g * 1j))
