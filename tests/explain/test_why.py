"""One entry of a gradient, taken apart into numbers that add up."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
import minigrad.functional as F
from minigrad.explain.derivatives import local_derivatives, probed
from tests.explain.programs import PROGRAMS, digits, leaf
from tests.rules.test_every_rule import NAMES, SAMPLES, as_list, drawn
from tests.test_functional import KERNELS, by_inputs


def test_a_product_is_upstream_times_the_other_factor():
    x, y = leaf([[1.0, 2.0]]), leaf([[0.25, 0.5]])
    z = x * y + 0.4 * x
    why = mg.explain(z, gradient=np.array([[1.0, 0.6]])).why(x, (0, 1))
    assert str(why) == (
        "x.grad[0, 1] = 0.54\n"
        "  = 0.3  through multiply: upstream t1.grad[0, 1] 0.6 × y[0, 1] 0.5\n"
        "  + 0.24  through multiply: upstream t2.grad[0, 1] 0.6 × local derivative 0.4"
    )
    assert why.adds_up


def test_a_broadcast_adds_up_one_term_for_each_place():
    b = leaf([1.0])
    y = np.ones(3) * b
    why = mg.explain(y, gradient=np.array([1.0, 2.0, 4.0])).why(b, 0)
    assert [term.value for term in why.terms] == [4.0, 2.0, 1.0]
    assert (why.real, why.total) == (7.0, 7.0)


def test_the_smaller_terms_are_one_sum():
    x = leaf(1.0)
    y = x * np.arange(1.0, 6.0)
    why = mg.explain(np.sum(y)).why(x, most=2)
    assert [term.value for term in why.terms] == [5.0, 4.0]
    assert (why.rest, why.others) == (6.0, 3)
    assert str(why).endswith("+ 6  in 3 smaller terms")


def every_entry_adds_up(explanation, x):
    for index in np.ndindex(x.shape):
        why = explanation.why(x, index, most=10**6)
        assert why.adds_up, why
        np.testing.assert_allclose(
            sum(t.value for t in why.terms), explanation.gradient(x)[index], rtol=1e-9, atol=1e-12
        )
        assert all(t.value == t.upstream * t.local for t in why.terms)


@pytest.mark.parametrize("function", SAMPLES, ids=NAMES.get)
@given(data=st.data())
def test_every_rule_s_terms_add_up(function, data):
    inputs, call, _ = drawn(function, data)
    leaves = [leaf(x) for x in inputs]
    for y in as_list(call(*leaves)):
        if y.requires_grad:
            explanation = mg.explain(y, gradient=np.cos(np.arange(float(y.size))).reshape(y.shape))
            for x in leaves:
                if explanation.gradient(x) is not None and x.size <= 12:
                    every_entry_adds_up(explanation, x)


@pytest.mark.parametrize(("f", "case"), KERNELS)
def test_every_kernel_s_terms_add_up(f, case):
    call, inputs = by_inputs(f, case)
    leaves = [leaf(x) for x in inputs]
    y = call(*leaves)
    explanation = mg.explain(y, gradient=np.cos(np.arange(float(y.size))).reshape(y.shape))
    for x in leaves:
        every_entry_adds_up(explanation, x)


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_parameter_s_terms_add_up(program):
    output, leaves = program()
    explanation = mg.explain(output, leaves)
    for name, x in leaves.items():
        for index in {tuple(0 for _ in x.shape), tuple(n - 1 for n in x.shape)}:
            assert explanation.why(name, index).adds_up, explanation.why(name, index)


def test_local_derivatives_are_those_found_by_probing_one_place_after_another():
    x = leaf(np.random.default_rng(0).normal(size=(2, 3)))
    for f in (F.softmax, lambda x: F.layer_norm(x, 3), lambda x: np.cumsum(x, 1), lambda x: x @ x.T):
        explanation = mg.explain(f(x), gradient=np.ones(f(x).shape))
        for c in explanation.value(x).contributions:
            for index in np.ndindex(x.shape):
                np.testing.assert_allclose(
                    local_derivatives(c, index),
                    probed(c, index, np.ones(c.operation.output.array.shape, bool)),
                    atol=1e-12,
                )


def test_a_rule_that_works_on_arrays_only_isprobed():
    @mg.rule()
    def flipped(x, /):
        return np.flip(np.array(x)), (lambda g: np.flip(np.array(g, copy=True)),)

    x = leaf([1.0, 2.0, 3.0])
    why = mg.explain(np.sum(flipped(x) * np.array([1.0, 2.0, 4.0]))).why(x, 0)
    assert [(t.index, t.upstream, t.local) for t in why.terms] == [((2,), 4.0, 1.0)]


def picked(x):
    return np.sum(x[1:])


ZEROS = [
    (F.relu, -1.0, (), "relu's gate at output is shut"),
    (F.relu, [[1.0, -1.0]], (0, 1), "relu's gate at output[0, 1] is shut"),
    (lambda x: 2.0 * F.relu(x - 5.0), 1.0, (), "relu's gate at t2 is shut"),
    (np.tanh, 50.0, (), "saturated: tanh is flat at x = 50"),
    (F.sigmoid, -800.0, (), "saturated: exp is flat at t3 = -800"),
    (F.softmax, [900.0, 0.0], 1, "saturated: softmax is flat at x[1] = 0"),
    (lambda x: F.cross_entropy(x, [0]), [[900.0, 0.0]], (0, 1), "saturated: cross_entropy is flat at x[0, 1] = 0"),
    (lambda x: F.cross_entropy(x, [0, -100]), [[1.0, 0.0]] * 2, (1, 0), "no path: the target of x[1, 0] is one to ignore"),
    (picked, [1.0, 2.0], 0, "no path: getitem at t1 leaves x[0] out"),
    (lambda x: F.embedding([1], x), [[1.0], [2.0]], (0, 0), "no path: embedding at output leaves x[0, 0] out"),
    (lambda x: np.maximum(x, 3.0), 1.0, (), "maximum at output takes 3, not x"),
    (lambda x: np.max(x), [1.0, 2.0], 0, "max at output takes another entry than x[0]"),
    (lambda x: np.clip(x, 0.0, 1.0), 2.0, (), "clip at output is at a bound"),
    (lambda x: np.where(x > 0, x, 0.0), -1.0, (), "where at output takes the other branch, not x"),
    (lambda x: x * np.array([0.0, 2.0]), [1.0, 1.0], 0, "masked or dropped: x[0] is multiplied by a 0 of c1"),
    (lambda x: x * 0.0, 1.0, (), "x is multiplied by 0"),
    (lambda x: x @ np.zeros((1, 2)), [1.0], 0, "x[0] is multiplied by c1, which is 0 there"),
    (lambda x: np.floor(x), 1.5, (), "the derivative of floor by x is 0"),
    (lambda x: F.relu(x - 9.0) + np.floor(x), [1.0], 0, "the derivative of floor by x[0] is 0; relu's gate at t2[0] is shut"),
]  # fmt: skip


@pytest.mark.parametrize(("f", "x", "index", "words"), ZEROS)
def test_a_zero_is_explained(f, x, index, words):
    x = leaf(x)
    output = f(x)
    why = mg.explain(output, {"x": x}, np.ones(output.shape)).why("x", index)
    assert why.terms == []
    assert sorted(why.zero) == sorted(words.split("; "))
    assert str(why).endswith(f" = 0\n  = 0: {'; '.join(why.zero)}")


def test_a_zero_whose_reason_is_not_known_is_one_all_the_same():
    x = leaf(np.zeros(5000))
    explanation = mg.explain(np.sum(np.square(np.cumsum(x))), {"x": x})
    assert str(explanation.why("x", 0)) == "x.grad[0] = 0\n  = 0: no term differs from 0"
    h = 3.0 * x[0]
    cancelled = mg.explain(h - h, {"x": x})
    assert cancelled.why("x", 0).zero == ["the terms of h.grad cancel"]
    h = 3.0 * x[0]
    h.register_hook(lambda g: g * 0.0)
    assert mg.explain(h * 2.0, {"x": x}).why("x", 0).zero == ["a hook made h.grad 0"]
    y = leaf([1.0, 2.0])
    zero = mg.explain(np.exp(y), {"y": y}, gradient=[0.0, 1.0])
    assert str(zero.why("y", 0)) == "y.grad[0] = 0\n  = 0: the gradient that the pass began with is 0 there"


def test_a_rule_of_ones_own_called_relu_has_no_gate():
    @mg.rule()
    def relu(x, /):
        return x * 0.0, (lambda g: g * 0.0,)

    x = leaf(1.0)
    assert mg.explain(relu(x), {"x": x}).why("x").zero == ["the derivative of relu by x is 0"]


def test_what_no_path_leads_from_is_told():
    x, y = leaf(1.0), leaf(2.0)
    z = x.detach() * y
    with pytest.raises(ValueError, match="not in the graph that was explained: no path leads from it to z"):
        mg.explain(z).why(x)


def test_a_why_prints_itself_in_a_notebook_and_at_the_prompt():
    x = leaf(3.0)
    why = mg.explain(x * x).why(x)
    assert repr(why) == str(why)
    assert repr(why).startswith("x.grad = 6\n  = 3  through multiply")


def test_a_pullback_that_is_not_linear_is_found_out():
    @mg.rule()
    def wrong(x, /):
        return x * 1.0, (lambda g: g * g,)

    x = leaf(1.0)
    why = mg.explain(wrong(x) * 3.0).why(x)
    assert not why.adds_up
    assert "not to the gradient: the rule is wrong, or not linear in g" in str(why)


def test_terms_lead_on_to_the_next_why():
    output, leaves = digits()
    explanation = mg.explain(output)
    value, index = leaves["embedding.weight"], (0, 0)
    for _ in range(100):
        term = explanation.why(value, index).terms[0]
        if term.output is None:
            break
        value, index = term.output, term.index
    assert value is explanation.output


def test_what_names_no_entry_is_refused():
    x = leaf(np.ones((2, 3)))
    explanation = mg.explain(np.sum(x * np.ones(3)))
    assert explanation.why(x, (-1, -1)).index == (1, 2)
    for index in (0, (0, 3), (0, 0, 0)):
        with pytest.raises(IndexError, match=r"names no entry of x, whose shape is \(2, 3\)"):
            explanation.why(x, index)
    with pytest.raises(TypeError, match=r"why: index\[0\] must be a whole number, not 0.5"):
        explanation.why(x, (0.5, 0))
    with pytest.raises(ValueError, match="why: no gradient arrived at c1, a constant"):
        explanation.why("c1", 0)


def test_a_nan_is_traced_to_where_zero_met_infinity():
    x = leaf([0.0, 4.0])
    with np.errstate(all="ignore"):
        explanation = mg.explain(np.sum(np.where(x.data > 0, np.sqrt(x), 0.0)))
    why = explanation.why(x, 0)
    assert str(why) == "x.grad[0] = nan\n  = nan  through sqrt: upstream t1.grad[0] 0 × local derivative inf"
    assert why.adds_up
    assert explanation.why(x, 1).real == 0.25


@pytest.mark.parametrize(
    ("x", "y"),
    [((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 2)), ((2, 3), (3, 4)), ((5, 2, 3), (3, 4)), ((2, 3), (5, 3, 4)),
     ((1, 2, 3), (5, 3, 4)), ((3,), (5, 3, 4)), ((5, 2, 3), (3,)), ((6, 1, 2, 3), (5, 3, 1))],
)  # fmt: skip
def test_the_local_derivative_of_a_factor_is_named_as_the_entry_that_it_met(x, y):
    rng = np.random.default_rng(0)
    x, y, w = (mg.tensor(rng.standard_normal(shape), requires_grad=True) for shape in (x, y, (4, x[-1])))
    for product, factors in ((x @ y, (x, y)), (mg.functional.linear(x, w), (x, w))):
        explanation = mg.explain(np.sum(product * product), dict(zip("ab", factors, strict=True)))
        for factor in factors:
            for index in np.ndindex(factor.shape):
                for term in explanation.why(factor, index, 99).terms:
                    name, _, entry = term.local_name.partition("[")
                    at = tuple(map(int, entry[:-1].split(",")))
                    assert explanation.value(name).array[at] == pytest.approx(term.local)


@pytest.mark.parametrize(
    ("f", "x", "index", "gradient"),
    [
        (lambda x: np.where(x > 0, np.sqrt(x), 0), [0.0, 1.0, 4.0, -1.0], 1, 0.5),
        (lambda x: x**0.5, [0.0, 1.0, 4.0], 1, 0.5),
        (lambda x: np.log(x), [0.0, 1.0, 4.0], 2, 0.25),
        (F.softmax, [[1.0, 2.0], [np.inf, 1.0]], (0, 1), 0.0),
    ],
)
def test_a_healthy_entry_beside_an_infinite_one_adds_up(f, x, index, gradient):
    x = leaf(x)
    with np.errstate(all="ignore"):
        why = mg.explain(np.sum(f(x))).why(x, index)
    assert why.adds_up
    assert why.total == pytest.approx(gradient, abs=1e-12)


def test_a_gradient_that_is_none_is_explained_on_a_page_too():
    with np.errstate(all="ignore"):
        x = leaf([0.0, 0.0])
        explanation = mg.explain(np.sqrt(np.sum(x**2)))
    why = explanation.why(x, 0)
    assert np.isnan(why.real)
    assert why.adds_up is True
    assert "NaN" not in explanation.to_html().split('id="data">')[1].split("</script>")[0]


def test_many_terms_are_counted_and_added_up_without_being_listed():
    w = leaf(2.0)
    why = mg.explain(np.sum(w * np.arange(100_000.0))).why(w, (), 3)
    assert [term.local for term in why.terms] == [99_999, 99_998, 99_997]
    assert why.others == 99_996  # the first is 0
    assert why.rest + sum(term.value for term in why.terms) == pytest.approx(99_999 * 50_000)


def test_a_rule_of_ones_own_is_not_taken_for_the_product_whose_name_it_has():
    @mg.rule()
    def multiply(x, y, /):
        return x * y, (lambda g: 2 * g * y, lambda g: g * x)

    x, y = leaf([3.0]), leaf([5.0])
    why = mg.explain(np.sum(multiply(x, y))).why(x, 0)
    assert why.terms[0].local == 10
    assert why.terms[0].local_name == ""


def test_a_local_derivative_is_exact_to_the_digits_shown():
    """It is computed in float64, whatever the graph was computed in."""
    x = mg.tensor(0.1, requires_grad=True)
    assert x.dtype == np.float32
    (term,) = mg.explain(np.sin(x)).why(x).terms
    assert abs(term.local - np.cos(float(np.float32(0.1)))) < 1e-14
