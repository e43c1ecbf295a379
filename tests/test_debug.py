"""What mg.debug() reports, where, and that nothing is left of it."""

import gc
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import minigrad as mg
import minigrad.functional as F
from minigrad import guard, nn, optim, trace
from minigrad.models import Encoder
from minigrad.rule import RULES, Rule


def leaf(values, dtype=np.float32):
    return mg.tensor(np.array(values, dtype), requires_grad=True)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: np.log(leaf([1, 0])), r"log, forward, in test_debug\.py:\d+: made -inf \(1 of 2 numbers, first at \[1\]\) out of x, float32 \(2,\) from 0 to 1"),
        (lambda: np.log(leaf([-1])), "made nan.*below it NaN.*safe_where"),
        (lambda: leaf([1]) / leaf([0]), "divide, forward.*made inf.*Division by 0"),
        (lambda: leaf([0]) ** -1, "power, forward.*Division by 0"),
        (lambda: np.sqrt(leaf([-4])), "sqrt, forward.*outside of where the function is defined"),
        (lambda: np.exp(leaf([100])), r"exp, forward.*made inf.*from 100 to 100.*float32 ends at 3.4e\+38"),
        (lambda: leaf([300], np.float16) * 300, "multiply, forward.*float16 ends at 65504"),
        (lambda: F.softmax(leaf([[-np.inf, -np.inf]])), "softmax, forward.*made nan.*fully masked row.*masked_softmax"),
        (lambda: leaf([np.inf]) - leaf([np.inf]), "subtract, forward.*an infinity came in"),
        (lambda: np.exp(leaf([np.nan, 1])), r"exp, forward.*from 1 to 1 with 1 NaN.*came in with the data or a parameter"),
    ],
)  # fmt: skip
def test_numbers_that_are_none_are_reported_where_they_are_made(make, words):
    with mg.debug(), pytest.raises(FloatingPointError, match=f"(?s){words}"):
        make()


def test_what_may_be_infinite():
    with mg.debug():
        assert np.exp(leaf([-np.inf])).tolist() == [0]
        assert np.where(np.array([True, False]), leaf([1.0, np.nan]), 0.0).tolist() == [1, 0]
        assert F.masked_softmax(leaf([1.0, 2.0]), np.zeros(2, bool)).tolist() == [0, 0]
        assert (leaf([np.inf]) * 2).tolist() == [np.inf]
        F.scaled_dot_product_attention(*(mg.ones(2, 3),) * 3, np.array([[True, False], [False, False]]))


def test_the_branch_of_a_where_that_was_not_taken_is_recognised():
    x = leaf([0, 4])
    with mg.debug():
        y = np.sum(np.where(x > 0, np.sqrt(x), 0.0))
        with pytest.raises(
            FloatingPointError, match=r"(?s)^sqrt, backward, in test_debug\.py:\d+: made nan.*safe_where"
        ):
            y.backward()
    assert x.grad is None


def test_an_infinite_derivative_is_reported_by_its_operation():
    with mg.debug(), pytest.raises(FloatingPointError, match="(?s)sqrt, backward.*made inf.*derivative is infinite"):
        np.sqrt(leaf(0.0)).backward()


def test_the_module_is_named():
    encoder = Encoder(2, 8, 2, 16)
    encoder.layers[1].feed_forward.sublayer.sublayer.linear1.weight.data[3] = np.nan
    with (
        mg.debug(),
        pytest.raises(FloatingPointError, match=r"linear, forward, in encoder\.py:\d+, layers\.1\.feed_forward"),
    ):
        encoder(mg.randn(2, 3, 8))


def test_a_gradient_of_the_wrong_kind_or_shape():
    @mg.rule()
    def whole(x, /):
        return x * 2, (lambda g: np.round(g).astype(int),)

    @mg.rule()
    def short(x, /):
        return x * 2, (lambda g: g[:1],)

    with mg.debug():
        with pytest.raises(TypeError, match="whole, backward.*: the gradient of x is int64, x is float32"):
            whole(leaf([1, 2])).backward(np.ones(2))
        with pytest.raises(ValueError, match=r"short, backward.*gradient of x has shape \(1,\), x has \(2,\)"):
            short(leaf([1, 2])).backward(np.ones(2))


def test_a_write_is_reported_with_both_lines():
    with mg.debug():
        x = leaf([1, 2])
        y = np.sum(x * x)
        made = sys._getframe().f_lineno - 1
        x.data[0] = 5
        with pytest.raises(RuntimeError) as caught:
            y.backward()
    assert f"multiply in test_debug.py:{made}: its input x" in str(caught.value)
    assert f"(handed out in test_debug.py:{made + 2})" in str(caught.value)


def test_an_optimiser_step_in_between_is_reported_with_both_lines():
    with mg.debug():
        w = leaf([1, 2])
        optimizer = optim.SGD([w], lr=0.1)
        y, z = np.sum(w * w), np.sum(w * w)
        y.backward()
        optimizer.step()
        with pytest.raises(RuntimeError, match=rf"handed out in test_debug\.py:{sys._getframe().f_lineno - 1}\)"):
            z.backward()


def test_an_array_that_a_rule_closes_over_is_guarded_too():
    outside = np.ones(2, np.float32)

    @mg.rule()
    def scaled(x, /):
        return x * outside, (lambda g: g * outside,)

    with mg.debug():
        y = scaled(leaf([1, 2]))
        outside[0] = 3
        with pytest.raises(RuntimeError, match=r"scaled, backward.*an array that it holds.*was changed between"):
            y.backward(np.ones(2))


@pytest.mark.filterwarnings("ignore:Setting the:DeprecationWarning")
@pytest.mark.parametrize("change", [{"shape": (2, 1)}, {"dtype": np.dtype(np.int32)}, {"strides": (0,)}])
def test_an_array_whose_numbers_are_read_another_way_is_noticed(change):
    with mg.debug():
        y = np.array([3, 4], np.float32)
        z = np.sum(leaf([1, 2]) * y)
        for name, layout in change.items():
            setattr(y, name, layout)
        with pytest.raises(RuntimeError, match="multiply.*its input y.*(was changed|was written into) between"):
            z.backward()


def test_debug_is_of_its_thread():
    made, seen = threading.Event(), threading.Event()
    quiet = []

    def other():
        with np.errstate(all="ignore"):
            quiet.append(made.wait(10))
            quiet.append(np.log(leaf([0])).tolist())
        seen.set()

    thread = threading.Thread(target=other)
    thread.start()
    with mg.debug():
        made.set()
        seen.wait(10)
        with pytest.raises(FloatingPointError):
            np.log(leaf([0]))
    thread.join()
    assert quiet == [True, [-np.inf]]


def test_an_optimizer_steps_in_a_thread_that_does_not_debug():
    w = leaf([1.0])
    w.grad = mg.tensor([0.5])
    optimizer = optim.SGD([w], lr=1.0)
    with mg.debug():
        thread = threading.Thread(target=optimizer.step)
        thread.start()
        thread.join()
    assert w.data.tolist() == [0.5]


def test_nothing_is_left_of_it():
    before = [rule.function for rule in RULES], nn.Module.__call__, vars(mg.Tensor)["data"]
    with pytest.raises(FloatingPointError), mg.debug(), mg.debug():
        np.log(leaf([0]))
    assert ([rule.function for rule in RULES], nn.Module.__call__, vars(mg.Tensor)["data"]) == before
    with np.errstate(all="ignore"):
        assert np.log(leaf([0])).tolist() == [-np.inf]
    x = leaf([1])
    with mg.debug():
        array = x.data
    assert array is x.data
    del array, x
    assert not guard.asked_in
    assert not trace._running
    assert trace.this_thread.tracer is None


def test_debug_and_profile_at_once():
    x = leaf([1, 4])
    with mg.debug(), mg.profile() as profiler:
        np.sum(np.sqrt(x)).backward()
    assert [e.operation for e in profiler.events] == ["sqrt", "sum", "sum", "sqrt"]
    with mg.profile() as profiler, mg.debug(), pytest.raises(FloatingPointError, match="log, forward"):
        np.log(leaf([0]))


def test_training_is_the_same_under_debug():
    def train():
        mg.seed(0)
        model = Encoder(1, 8, 2, 16)
        optimizer = optim.Adam(model.parameters())
        x = mg.randn(2, 3, 8)
        for _ in range(3):
            loss = np.mean(model(x) ** 2)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return loss.item()

    with mg.debug():
        watched = train()
    assert watched == train()


def test_the_environment_variable_watches_a_whole_program():
    program = (
        "import numpy as np, minigrad as mg\n"
        "@mg.rule()\ndef late(x, /):\n    return np.log(x), (lambda g: g / x,)\n"
        "late(mg.tensor([0.0]))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "MINIGRAD_DEBUG": "1"}, capture_output=True, text=True
    )
    assert run.returncode == 1
    assert "FloatingPointError: late, forward, in <string>:5: made -inf" in run.stderr


def test_no_alarm_where_derivatives_are_computed_in_float64():
    for f in (F.sigmoid, F.silu, F.softplus, np.std, np.var, np.linalg.norm, lambda x: 2.0**x):
        with mg.debug():
            x = leaf([0.5, 1.5])
            np.sum(f(x)).backward()
        assert x.grad.dtype == np.float32


def test_an_infinite_setting_is_nobodys_fault():
    with mg.debug():
        assert F.softmax(np.pad(leaf([1, 1]), (0, 1), constant_values=-np.inf)).tolist() == [0.5, 0.5, 0]


def test_a_parameter_that_was_infinite_before_a_step_is_nobodys_fault():
    with mg.debug():
        w, mask = leaf([1, 2]), leaf([0, -np.inf])
        np.sum(w * w).backward()
        optim.SGD([w, mask], lr=0.1).step()
    assert mask.tolist() == [0, -np.inf]


def test_a_step_that_blows_up_is_reported():
    w = leaf([1, 2])
    with mg.debug():
        np.sum(w * w).backward()
        w.grad.data[...] = 3e38
        with pytest.raises(FloatingPointError, match=r"SGD, step, in test_debug\.py:\d+: made -inf"):
            optim.SGD([w], lr=10.0).step()


def test_checkpoints_leave_nothing_behind_under_debug():
    with mg.debug():
        for _ in range(5):
            np.sum(mg.checkpoint(lambda x: np.exp(x), leaf([1]))).backward()
        gc.collect()
        assert not [x for x in gc.get_objects() if type(x) is Rule and x.name == "checkpoint"]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("make", [optim.SGD, optim.Adam])
def test_a_step_on_gradients_that_are_no_numbers_names_the_parameter_and_changes_nothing(make, bad):
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    optimizer = make(model.parameters(), lr=0.1)
    with mg.debug():
        np.sum(model(mg.ones(4, 2))).backward()
        model[2].weight.grad.data[0, 1] = bad
        before = model.state_dict(), optimizer.state_dict()
        words = (
            rf"{make.__name__}, step, in test_debug\.py:{sys._getframe().f_lineno + 6}: the gradient of layers\.2\.weight of "
            rf"Sequential, float32 \(1, 3\), parameter 2 of group 0, holds {bad} \(1 of 3 numbers, first at \[0, 1\]\), and "
            r"nothing was changed.*"
            r"forward and backward under mg\.debug\(\)"
        )
        with pytest.raises(FloatingPointError, match=f"(?s){words}"):
            optimizer.step()
    for state, now in zip(before, (model.state_dict(), optimizer.state_dict()), strict=True):
        for name, value in state.items():
            np.testing.assert_array_equal(now[name], value)


def test_a_parameter_of_no_module_is_named_by_its_place():
    a, b = leaf([1]), leaf([1, 2])
    optimizer = optim.SGD([{"params": [a]}, {"params": [b]}])
    b.grad = [np.nan, 1.0]
    words = r"the gradient of a parameter, float32 \(2,\), parameter 0 of group 1, holds nan \(1 of 2 numbers, first at \[0\]\)"
    with mg.debug(), pytest.raises(FloatingPointError, match=words):
        optimizer.step()


def test_the_longest_path_is_the_name():
    class LinearWithANameThatIsLongerThanAnyPath(nn.Linear):
        pass

    model = nn.Sequential(nn.Sequential(LinearWithANameThatIsLongerThanAnyPath(2, 1)))
    optimizer = optim.SGD(model.parameters())
    with mg.debug():
        for module in (model[0][0], model, model[0]):
            module(mg.ones(1, 2))
        np.sum(model(mg.ones(1, 2))).backward()
        model[0][0].bias.grad.data[...] = np.nan
        with pytest.raises(FloatingPointError, match=r"the gradient of layers\.0\.layers\.0\.bias of Sequential"):
            optimizer.step()
    assert not trace._outermost


def diverging(lr, make):
    model, x = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 1)), mg.randn(16, 4)
    optimizer = make(model.parameters(), lr=lr)
    for _ in range(300):
        with mg.debug():
            optimizer.zero_grad()
            np.mean((model(x) - 1.0) ** 2).backward()
            optimizer.step()


@pytest.mark.parametrize(
    ("lr", "make"), [(1.0, optim.SGD), (1e30, optim.SGD), (1e15, optim.Adam), (1e37, optim.RMSprop)]
)
def test_a_run_that_diverges_is_advised_a_lower_rate(lr, make):
    words = (
        (
            r"(?s)made .*The run diverges: since the first step parameters have grown from at most 0\.\d+ to .*e\+\d+ "
            rf"\(layers\..* of Sequential\): a lr below {lr:g}, a warm-up, or clip_grad_norm_"
        )
        .replace("+3", r"\+3")
        .replace("+1", r"\+1")
    )
    with pytest.raises(FloatingPointError, match=words):
        diverging(lr, make)


def test_an_overflow_in_a_run_that_does_not_diverge_is_not_blamed_on_the_rate():
    model = nn.Linear(2, 1)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    with mg.debug():
        for _ in range(3):
            optimizer.zero_grad()
            np.mean(model(mg.ones(4, 2)) ** 2).backward()
            optimizer.step()
        with pytest.raises(FloatingPointError, match="float32 ends at"):
            np.exp(leaf([100]))


def test_a_run_without_modules_and_one_that_diverged_before():
    w, mask = leaf([1.0]), leaf([0, -np.inf])
    optimizer = optim.SGD([w, mask], lr=10.0)

    def steps():
        for _ in range(100):
            w.grad = None
            np.sum((w - 3.0) ** 2).backward()
            optimizer.step()

    with mg.debug(), pytest.raises(FloatingPointError, match=r"(?s)diverges: .* from at most 1 to .* \(a parameter\)"):
        steps()
    with mg.debug(), pytest.raises(FloatingPointError, match="float32 ends at"):
        np.exp(leaf([100]))
    assert optimizer.param_groups[0]["params"][0] is w


def test_a_gradient_that_overflows_in_a_run_that_diverges():
    w = leaf([1.0])
    optimizer = optim.SGD([w], lr=1e25)
    with mg.debug():
        np.sum(w).backward()
        optimizer.step()
        y = w * 1e10
        with pytest.raises(
            FloatingPointError, match="(?s)multiply, backward, .*The run diverges: since the first step"
        ):
            y.backward(np.array([1e30], np.float32))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_parameter_that_an_earlier_step_spoilt_is_named(bad):
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    model[0].weight.data[...] = 1
    model[1].weight.data[...] = [bad, -bad, 1]
    words = r"(?s)linear, forward, .*The parameter layers\.1\.weight of Sequential is not finite.*an earlier step.*smaller lr"
    with mg.debug(), pytest.raises(FloatingPointError, match=words):
        model(mg.ones(1, 2))
