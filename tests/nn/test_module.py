import collections
import copy
import functools
import gc
import logging
import pickle
import types
import weakref
from dataclasses import dataclass

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn


class Nested(nn.Module):
    def __init__(self):
        self.first = nn.Linear(2, 3)
        self.blocks = [nn.Linear(3, 3), {"inner": (nn.LayerNorm(3), nn.Linear(3, 2))}]
        self.scale = mg.ones(2, requires_grad=True)
        self.register_buffer("table", np.arange(3.0))
        self.register_buffer("constant", mg.ones(2))
        self._last = nn.Linear(2, 2)
        self.again = self.first

    def forward(self, x):
        x = self.first(x)
        x = self.blocks[0](x)
        for layer in self.blocks[1]["inner"]:
            x = layer(x)
        return self._last(x) * self.scale


def test_parameters_are_found_wherever_they_are_each_once():
    names = [name for name, _ in Nested().named_parameters()]
    assert names == [
        "scale", "first.weight", "first.bias", "blocks.0.weight", "blocks.0.bias",
        "blocks.1.inner.0.weight", "blocks.1.inner.0.bias", "blocks.1.inner.1.weight", "blocks.1.inner.1.bias",
        "_last.weight", "_last.bias",
    ]  # fmt: skip
    assert [name for name, _ in Nested().named_buffers()] == ["table", "constant"]


def test_num_parameters():
    assert nn.Linear(3, 2).num_parameters() == 8


def test_results_kept_to_be_looked_at_are_no_parameters():
    class Looks(nn.Module):
        def __init__(self):
            self.linear = nn.Linear(2, 2)

        def forward(self, x):
            self.last = self.linear(x)
            return self.last

    layer = Looks()
    layer(mg.ones(1, 2))
    assert set(layer.state_dict()) == {"linear.weight", "linear.bias"}


def test_a_frozen_parameter_is_not_rebound_by_mistake():
    for p in nn.Linear(2, 2).requires_grad_(False).parameters():
        with pytest.raises(TypeError, match="would leave the leaf behind"):
            p *= 0.5


def test_named_modules():
    assert [name for name, _ in Nested().named_modules()] == [
        "",
        "first",
        "blocks.0",
        "blocks.1.inner.0",
        "blocks.1.inner.1",
        "_last",
    ]


def test_frozen_parameters_stay_parameters():
    layer = nn.Linear(2, 2).requires_grad_(False)
    assert len(list(layer.parameters())) == 2
    assert not layer(mg.ones(1, 2)).requires_grad


def test_modes_reach_all_modules():
    model = Nested().eval()
    assert not any(m.training for m in model.modules())
    assert all(m.training for m in model.train().modules())


def test_zero_grad_forgets():
    model = Nested()
    np.sum(model(mg.ones(1, 2))).backward()
    assert all(p.grad is not None for p in model.parameters())
    model.zero_grad()
    assert all(p.grad is None for p in model.parameters())


def test_state_goes_round():
    a, b = Nested(), Nested()
    x = mg.randn(4, 2)
    state = a.state_dict()
    a.first.weight.data += 1  # the state is a copy
    a.load_state_dict(state)
    b.load_state_dict(state)
    np.testing.assert_array_equal(a(x).data, b(x).data)
    assert set(state) == {name for name, _ in a.named_parameters()} | {"table", "constant"}


def test_a_state_that_does_not_fit_names_everything_and_changes_nothing():
    model = Nested()
    before = model.state_dict()
    state = {k: v + 1 for k, v in before.items() if k != "first.bias"} | {"more": np.ones(1), "scale": np.ones(5)}
    with pytest.raises(
        ValueError, match="missing: first.bias\n  unexpected: more\n  scale: expected .2,. float32, got .5,. float64"
    ):
        model.load_state_dict(state)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    del state["scale"]
    assert model.load_state_dict(state, strict=False) == (["scale", "first.bias"], ["more"])


def test_a_state_of_another_kind_does_not_fit():
    class Counts(nn.Module):
        def __init__(self):
            self.weight = nn.Parameter(np.zeros(2, np.float32))
            self.register_buffer("seen", np.zeros(2, np.int64))

    model = Counts()
    model.load_state_dict({"weight": np.ones(2), "seen": np.ones(2, np.int8)})  # narrower is well, or wider of one kind
    words = r"weight: expected \(2,\) float32, got \(2,\) complex128\n  seen: expected \(2,\) int64, got \(2,\) float64"
    with pytest.raises(ValueError, match=words):
        model.load_state_dict({"weight": np.ones(2, complex), "seen": np.full(2, 0.5)})
    assert model.weight.data.tolist() == model.seen.tolist() == [1, 1]


def test_parameters_are_written_in_place():
    layer = nn.Linear(2, 2)
    array = layer.weight.data
    layer.load_state_dict(nn.Linear(2, 2).state_dict())
    assert layer.weight.data is array


def test_deep_copies_are_independent():
    model = Nested()
    other = copy.deepcopy(model)
    other.first.weight.data[...] = 0
    assert model.first.weight.data.any()
    assert other.again is other.first


def test_repr_shows_the_layers():
    assert repr(nn.Linear(3, 2)) == "Linear(in_features=3, out_features=2)"
    assert "(layers.0): Linear(in_features=3, out_features=2)" in repr(nn.Sequential(nn.Linear(3, 2), nn.ReLU()))


def test_an_error_names_the_path_of_the_layer():
    model = Nested()
    model.blocks[1]["inner"] = (nn.LayerNorm(3), nn.Sequential(nn.ReLU(), nn.Linear(4, 2)))
    with pytest.raises(
        ValueError,
        match=r"^linear: expected x.*\nin blocks\.1\.inner\.1\.layers\.1 \(Linear\(in_features=4, out_features=2\)\)$",
    ):
        model(mg.ones(1, 2))


class OwnError(Exception):
    """With attributes of its own, whatever they are called, and arguments that make no message."""

    def __init__(self, code, path):
        super().__init__(code, path)
        self.code, self.path, self.layer, self.passed, self.text = code, path, 1, 2, 3


class Raises(nn.Module):
    def __init__(self, error):
        self.error = [error]

    def forward(self, x):
        raise self.error.pop()


ERRORS = [
    TypeError("a", 1), ValueError(), IndexError("i"), KeyError("key"), AttributeError("a"), ZeroDivisionError("by 0"),
    FloatingPointError("nan"), OSError(2, "No such file", "x.npz"), UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"),
    AssertionError((1, 2)), StopIteration(3), RuntimeError("r"), OwnError(7, "mine"),
]  # fmt: skip


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_exception_keeps_its_arguments_and_attributes_and_has_the_path_added(error):
    error.add_note("a note of its own")
    before = type(error), error.args, str(error), {**vars(error)}
    with pytest.raises(type(error)) as caught:
        nn.Sequential(nn.Sequential(nn.Identity(), Raises(error)))(1)
    notes = ["a note of its own", "in layers.0.layers.1 (Raises())"]
    assert caught.value is error
    assert (type(error), error.args, str(error), vars(error)) == (*before[:3], {**before[3], "__notes__": notes})


def test_the_path_is_told_once_and_grows_on_the_way():
    class Passes(nn.Module):
        def __init__(self, layer):
            self.layer, self.seen = layer, ()

        def forward(self, x):
            try:
                return self.layer(x)
            except KeyError as error:
                self.seen = tuple(getattr(error, "__notes__", ()))
                raise

    inner = Passes(Raises(KeyError("k")))
    outer = Passes(inner)
    with pytest.raises(KeyError) as caught:
        Passes(outer)(1)
    assert inner.seen == ()
    assert outer.seen == ("in layer (Raises())",)
    assert caught.value.__notes__ == ["in layer.layer.layer (Raises())"]


def test_a_path_leads_past_a_module_that_only_calls_another_s_layer():
    class Calls(nn.Module):
        def forward(self, layer):
            return layer(1)

    class Both(nn.Module):
        def __init__(self):
            self.calls, self.layer = Calls(), Raises(KeyError("k"))

        def forward(self, x):
            return self.calls(self.layer)

    with pytest.raises(KeyError) as caught:
        nn.Sequential(Both())(1)
    assert caught.value.__notes__ == ["in layers.0.layer (Raises())"]


def test_a_layer_that_cannot_be_shown_hides_no_exception():
    class Broken(Raises):
        def __repr__(self):
            raise RuntimeError("no repr")

    with pytest.raises(ValueError, match="of its own"):
        nn.Sequential(Broken(ValueError("of its own")))(1)


def test_no_exception_keeps_a_module_alive():
    def failing():
        model = nn.Sequential(nn.Sequential(nn.Linear(2, 2)))
        try:
            model(mg.ones(1, 3))
        except ValueError as error:
            return weakref.ref(model), error
        raise AssertionError

    gc.disable()  # no cycle either
    try:
        gone = failing()[0]
        assert gone() is None
        gone, error = failing()
        assert gone() is not None  # by the frames of the traceback, as any local variable
        again = pickle.loads(pickle.dumps(error))
        error.__traceback__ = None
        assert gone() is None
    finally:
        gc.enable()
    assert again.__notes__ == error.__notes__ == ["in layers.0.layers.0 (Linear(in_features=2, out_features=2))"]


def test_a_missing_attribute_raises():
    with pytest.raises(AttributeError):
        _ = nn.Linear(2, 2).weights
    with pytest.raises(TypeError, match="has no forward method"):
        nn.Module()(1)


# ---- nothing is passed over ----


class Net(nn.Module):
    """Whatever attributes it is given."""

    def __init__(self, **attributes):
        vars(self).update(attributes)

    def forward(self, x):
        return x


@dataclass
class Branches:
    left: nn.Module
    right: object = None


@dataclass(slots=True)
class Slotted:
    left: nn.Module


class WithSlots(nn.Module):
    __slots__ = ("__hidden", "proj")

    def __init__(self):
        self.proj = nn.Linear(2, 1)
        self.__hidden = nn.Linear(1, 1)


class Stack(nn.Module, list):
    pass


def linear():
    return nn.Linear(2, 1, bias=False)


@pytest.mark.parametrize(
    ("model", "names"),
    [
        (lambda: Net(_head=linear()), ["_head.weight"]),
        (lambda: Net(__head=[linear()]), ["__head.0.weight"]),
        (lambda: Net(_w=nn.Parameter(np.ones(2))), ["_w"]),
        (lambda: Net(layers=collections.deque([linear(), {"a": (linear(),)}])), ["layers.0.weight", "layers.1.a.0.weight"]),
        (lambda: Net(branches=Branches(linear(), [linear()])), ["branches.left.weight", "branches.right.0.weight"]),
        (lambda: Net(slotted=Slotted(linear())), ["slotted.left.weight"]),
        (lambda: Net(pair=collections.namedtuple("Pair", "a b")(linear(), 1)), ["pair.0.weight"]),
        (lambda: Net(layers=types.MappingProxyType({"a": linear()})), ["layers.a.weight"]),
        (lambda: Net(layers=collections.UserDict(a=linear())), ["layers.a.weight"]),
        (WithSlots, ["_WithSlots__hidden.weight", "_WithSlots__hidden.bias", "proj.weight", "proj.bias"]),
        (lambda: Stack([linear(), [linear()]]), ["0.weight", "1.0.weight"]),
    ],
)  # fmt: skip
def test_what_has_an_order_is_walked(model, names):
    model, other = model(), model()
    assert [name for name, _ in model.named_parameters()] == names
    assert list(model.state_dict()) == names
    assert not any(module.training for module in model.eval().modules())
    for p in other.parameters():
        p.data[...] = 7
    model.load_state_dict(other.state_dict())
    assert all((p.data == 7).all() for p in model.parameters())


DEFAULT = linear()


class Plain:
    def __init__(self, held):
        self.held = held

    def __call__(self, x):
        return self.held(x)


class Shared(nn.Module):
    proj = linear()


class SharedList(nn.Module):
    layers = types.MappingProxyType({"a": [linear()]})


@dataclass(eq=False)
class SharedDefault(nn.Module):
    proj: nn.Module = linear()  # noqa: RUF009  the mistake that is to be found


class InDefaults(nn.Module):
    def forward(self, x, layer=DEFAULT):
        return layer(x)


def in_a_method():
    layer = linear()

    class Closing(nn.Module):
        def forward(self, x):
            return layer(x)

    return Closing()


def closure(layer):
    return lambda x: layer(x)


class Bag(list):
    pass


def bag():
    made = Bag([1])
    made.extra = linear()
    return made


HIDDEN = {
    "a set": (lambda: Net(layers={linear()}), "Net: layers is a set and holds a Linear, .* make it a list"),
    "a set deep inside": (lambda: Net(x=[{"k": frozenset([linear()])}]), r"Net: x\.0\.k is a set"),
    "a set of parameters": (lambda: Net(w={nn.Parameter(np.ones(3))}), r"w is a set and holds a Parameter of shape \(3,\)"),
    "a class attribute": (Shared, "Shared.proj is a class attribute and holds a Linear, .* set it in __init__"),
    "a class attribute deep inside": (SharedList, "SharedList.layers is a class attribute"),
    "a default of a dataclass": (SharedDefault, "SharedDefault.proj is a class attribute"),
    "a default of a method": (InDefaults, r"InDefaults\.forward is of type function and holds a Linear that is nowhere else"),
    "a method's closure": (in_a_method, r"Closing\.forward is of type function and holds a Linear"),
    "a closure": (lambda: Net(f=closure(linear())), "Net: f is of type function and holds a Linear that is nowhere else in this Net"),
    "a closure over a list": (lambda: Net(f=closure([linear()])), "f is of type function"),
    "a closure in a closure": (lambda: Net(f=closure(closure(linear()))), "f is of type function"),
    "a closure over a parameter": (lambda: Net(f=closure(nn.Parameter(np.ones(2)))), r"holds a Parameter of shape \(2,\)"),
    "a default argument": (lambda: Net(f=lambda x, *, layer=DEFAULT: layer(x)), "f is of type function"),
    "a partial": (lambda: nn.Sequential(functools.partial(closure, linear())), r"Sequential: layers\.0 is of type partial"),
    "a bound method": (lambda: nn.ResidualAdd(linear().forward), "ResidualAdd: sublayer is of type method and holds a Linear"),
    "a cached function": (lambda: Net(f=functools.lru_cache(closure(linear()))), "f is of type _lru_cache_wrapper"),
    "an object": (lambda: Net(x=Plain(linear())), "x is of type Plain and holds a Linear .* would be neither trained nor saved"),
    "an object in an object": (lambda: Net(x=Plain([Plain({1: linear()})])), "x is of type Plain"),
    "a namespace": (lambda: Net(x=types.SimpleNamespace(a=linear())), "x is of type SimpleNamespace"),
    "a generator": (lambda: Net(x=(layer for layer in [linear()])), "x is of type generator"),
    "an array of objects": (lambda: Net(x=np.array([linear(), None])), "x is of type ndarray and holds a Linear"),
    "a key": (lambda: Net(x={linear(): 1}), "a key of x is of type Linear"),
    "an attribute of a list": (lambda: Net(x=bag()), "x is of type Bag"),
    "a default factory": (lambda: Net(x=collections.defaultdict(closure(linear()))), "x is of type defaultdict"),
}  # fmt: skip


@pytest.mark.parametrize("name", HIDDEN)
def test_what_hides_a_layer_is_refused_at_the_first_look(name):
    make, words = HIDDEN[name]
    looks = [
        lambda m: m(mg.ones(1, 2)), nn.Module.parameters, nn.Module.named_parameters, nn.Module.named_buffers,
        nn.Module.modules, nn.Module.state_dict, lambda m: m.load_state_dict({}), nn.Module.eval, nn.Module.zero_grad,
    ]  # fmt: skip
    for look in looks:
        with pytest.raises(TypeError, match=words):
            look(make())
    repr(make())
    with pytest.raises(TypeError, match=r"inner\b.*" + words.partition(": ")[2] if ": " in words else words):
        Net(inner=make()).parameters()


class Attends(nn.Module):
    def __init__(self):
        self.proj = nn.Linear(2, 2)
        self.block = nn.ResidualAdd(self.attend)
        self.after = nn.Sequential(
            lambda x: self.proj(x), functools.partial(Attends.attend, self), np.tanh, mg.functional.relu
        )
        self.config = Plain({"of": self})
        self.registry = {self.proj: "proj"}

    def attend(self, x):
        return self.proj(x)

    def forward(self, x):
        return self.after(self.block(x))


def test_functions_and_objects_may_hold_what_is_found_in_another_way():
    model = Attends()
    model.optimizer = mg.optim.SGD(model.parameters(), lr=0.1)
    assert [name for name, _ in model.named_parameters()] == ["proj.weight", "proj.bias"]
    model(mg.ones(1, 2))
    assert not model.eval().proj.training


def test_a_part_may_be_looked_at_by_itself():
    for look in (lambda m: m.block(mg.ones(1, 2)), lambda m: m.block.eval(), lambda m: list(m.after.parameters())):
        model = Attends()
        look(model)
        model(mg.ones(1, 2))


def test_what_does_not_own_a_layer_does_not_hide_it():
    layer = linear()
    model = Net(
        proxy=weakref.proxy(layer), ref=weakref.ref(layer), kind=nn.Linear, rng=np.random.default_rng(0), y=layer(mg.ones(1, 2))
    )  # fmt: skip
    assert list(model.modules()) == [model]
    del layer
    assert list(model.modules()) == [model]


def test_a_head_that_is_put_in_later_is_found():
    model = Net(head=linear())
    model(mg.ones(1, 2))
    model.head = nn.Linear(2, 5)
    assert [p.shape for p in model.parameters()] == [(5, 2), (5,)]


def test_a_plain_tensor_that_is_trained_is_still_found_when_it_is_frozen():
    model = Net(scale=mg.ones(2, requires_grad=True))
    for p in model.parameters():
        p.requires_grad = False
    assert list(model.state_dict()) == ["scale"]
    assert model.requires_grad_().scale.requires_grad


def test_an_input_that_forward_keeps_is_no_parameter():
    class Keeping(nn.Module):
        def __init__(self):
            self.proj = linear()

        def forward(self, x):
            self.cache = x
            return self.proj(x)

    model, x = Keeping(), mg.ones(1, 2, requires_grad=True)
    state = model.state_dict()
    np.sum(model(x)).backward()
    assert [name for name, _ in model.named_parameters()] == ["proj.weight"]
    model.load_state_dict(state)
    assert type(model.cache) is mg.Tensor


class Ordinary(nn.Module):
    """What users keep in their modules, and what hides nothing."""

    instances: list = []  # noqa: RUF012

    def __init__(self, other=None):
        act, gone = nn.ReLU(), None
        self.proj = linear()
        self.act = lambda x: act(x) * 2 if gone is None else x
        self.log = logging.getLogger("ordinary")
        self.log.warning("built %s", self)
        self.trainer = Plain([self, other])
        self.namespace = types.SimpleNamespace(act=nn.GELU())
        self.tokens = Plain({str(i): i for i in range(100)})
        Ordinary.instances.append(self)

    @functools.lru_cache  # noqa: B019
    def mask(self, n):
        return np.tri(n, dtype=bool)

    def forward(self, x):
        self.mask(x.shape[0])
        return self.act(self.proj(x))


def test_ordinary_attributes_hide_nothing(caplog):
    models = [Ordinary(), Ordinary(other=linear()), Ordinary()]
    for _ in range(2):
        for model in models:
            model(mg.ones(2, 2))
            assert [name for name, _ in model.named_parameters()] == ["proj.weight"]
    assert caplog.records


def test_a_part_of_a_model_that_was_looked_at_may_be_looked_at():
    embedding = nn.Embedding(3, 2)
    model = Net(embedding=embedding, decoder=Net(project=lambda h: h @ embedding.weight.mT, proj=linear()))
    assert len(list(model.parameters())) == 2
    assert [name for name, _ in model.decoder.named_parameters()] == ["proj.weight"]


def test_a_look_costs_no_search_through_what_is_kept():
    class Counting(dict):
        looks = 0

        def items(self):
            Counting.looks += 1
            return super().items()

    class File(collections.abc.Mapping):
        def __getitem__(self, key):
            raise AssertionError("read")

        def __iter__(self):
            return iter(["a"])

        def __len__(self):
            return 1

    model = Net(proj=linear(), tokens=Plain(Counting(a=1)), file=File())
    model(mg.ones(1, 2))
    before = Counting.looks
    for _ in range(10):
        model.zero_grad()
        model.eval()
    assert Counting.looks == before


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"x": {1: nn.Parameter(np.ones(1)), "1": linear()}}, "Net: both a Linear and a Parameter of shape .1,. are called 'x.1'"),
        ({"x": {"a.b": linear(), "a": {"b": linear()}}}, "both a Linear and a Linear are called 'x.a.b': rename one"),
        ({"x": {"a": linear()}, "x.a": linear()}, "are called 'x.a'"),
        ({"x": {Plain(1): linear()}}, "is called otherwise in each run: use texts or numbers as keys"),
    ],
)  # fmt: skip
def test_paths_that_collide_are_refused(attributes, words):
    for look in (nn.Module.parameters, nn.Module.state_dict, lambda m: m(1)):
        with pytest.raises(ValueError, match=words):
            look(Net(**attributes))


# ---- buffers ----


class Keeps(nn.Module):
    """Stores what it sees, as one does to look at it or to save work."""

    def __init__(self):
        self.linear = nn.Linear(2, 2)
        self.data = np.zeros((100, 2))
        self.register_buffer("steps", np.zeros((), np.int64))
        self.register_buffer("moments", {"mean": np.zeros(2), "others": [mg.zeros(2)]})
        self.register_buffer("nothing", None)

    def forward(self, x):
        y = self.linear(x)
        self.last, self.detached, self.result = y.data, y.detach(), y
        self._mask = np.tri(2, dtype=bool)
        self.cache = {"y": [y.data]}
        self.steps += 1
        self.moments["mean"] = self.moments["mean"] + 0.1
        return y


def test_what_forward_stores_is_no_state():
    a, b = Keeps(), Keeps()
    names = ["steps", "moments.mean", "moments.others.0", "linear.weight", "linear.bias"]
    assert list(a.state_dict()) == names
    a(mg.ones(1, 2))
    assert list(a.state_dict()) == names
    b.load_state_dict(a.state_dict())
    assert b.steps == 1
    assert (b.moments["mean"] == 0.1).all()
    a.result = None
    c = copy.deepcopy(a)
    c.steps += 1
    assert (a.state_dict()["steps"], c.state_dict()["steps"]) == (1, 2)
    assert [name for name, _ in a.named_buffers()] == names[:3]


@pytest.mark.parametrize(
    "value", [1.0, [1.0], "text", {1, 2}, np.array([None]), [np.ones(1), 3], nn.Parameter(np.ones(1)), linear()]
)
def test_a_buffer_is_an_array(value):
    model = Net()
    with pytest.raises(
        TypeError, match=r"Net: the buffer table\S* is .*, (no array of numbers|which is found without)"
    ):
        model.register_buffer("table", value)
    assert not hasattr(model, "table")


def test_a_buffer_may_become_a_number_of_numpys():
    class Average(nn.Module):
        def __init__(self):
            self.register_buffer("average", np.zeros(()))
            self.register_buffer("one", np.float32(1))

        def forward(self, x):
            self.average = 0.5 * self.average + 0.5 * np.mean(x)
            return x

    model = Average()
    model(np.ones(3))
    assert model.state_dict() == {"average": 0.5, "one": 1}
    model.load_state_dict({"average": np.array(4.0), "one": np.float32(2)})
    assert (float(model.average), float(model.one)) == (4, 2)


def test_a_buffer_stays_an_array():
    model = Keeps()
    model.steps = 3
    with pytest.raises(TypeError, match="Keeps: the buffer steps is 3, no array of numbers"):
        model.state_dict()
    model.steps = model.linear(mg.ones(1, 2))
    with pytest.raises(TypeError, match=r"the buffer steps is Tensor of shape \(1, 2\), in a graph.*use y.data"):
        model.state_dict()
    model.steps = np.ones(1)
    assert model.state_dict()["steps"] == 1


@pytest.mark.parametrize("name", ["", "a.b", 3, "training", "forward", "state_dict", "_buffer_names"])
def test_a_buffer_has_a_name_that_an_attribute_may_have(name):
    with pytest.raises(ValueError, match="register_buffer: name must be one that an attribute may have, not"):
        Net().register_buffer(name, np.ones(1))


def test_a_list_that_is_a_buffer_may_also_be_an_attribute():
    moments = [np.ones(1)]
    model = Net(first=moments)
    model.register_buffer("moments", moments)
    assert list(model.state_dict()) == ["moments.0"]


def test_a_state_with_an_array_that_is_not_declared_says_so():
    state = {**Net(inner=Net()).state_dict(), "inner.table": np.ones(2), "other": np.ones(1)}
    with pytest.raises(
        ValueError,
        match=r"unexpected: inner\.table, other\n  inner\.table: an array is saved only if declared: "
        r"self\.register_buffer\('table', \.\.\.\)$",
    ):
        Net(inner=Net(table=np.zeros(2))).load_state_dict(state)


def test_a_batch_norm_keeps_the_names_of_its_state():
    assert list(nn.BatchNorm1d(2).state_dict()) == [
        "weight",
        "bias",
        "running_mean",
        "running_var",
        "num_batches_tracked",
    ]
    assert list(nn.BatchNorm1d(2, track_running_stats=False).state_dict()) == ["weight", "bias"]


def read_only():
    model = nn.BatchNorm1d(2)
    model.running_var.flags.writeable = False
    return model


def test_a_read_only_array_is_told_before_anything_is_written():
    model = read_only()
    before = model.state_dict()
    with pytest.raises(ValueError, match="running_var: read-only here"):
        model.load_state_dict({name: value + 1 for name, value in before.items()})
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_a_value_that_cannot_be_converted_is_told_before_anything_is_written():
    model = Net(first=nn.Parameter(np.ones(1, np.float32)), second=nn.Parameter(np.ones(1, np.float32)))
    with np.errstate(over="raise"), pytest.raises(FloatingPointError):
        model.load_state_dict({"first": np.zeros(1), "second": np.full(1, 1e300)})
    assert model.first.data == 1
    with pytest.raises(ValueError, match="second: .*inhomogeneous"):
        model.load_state_dict({"first": np.zeros(1), "second": [[1.0], [1.0, 2.0]]})
    with pytest.raises(ValueError, match=r"unexpected: 1, \(2, 3\)"):
        model.load_state_dict({**model.state_dict(), 1: 1, (2, 3): 1})
    assert model.first.data == 1


def test_a_model_may_be_given_its_own_arrays_in_another_order():
    model = Net(a=nn.Parameter(np.arange(3.0)), b=nn.Parameter(-np.arange(3.0)))
    model.load_state_dict({"a": model.b, "b": model.a})
    assert (model.a.tolist(), model.b.tolist()) == ([0, -1, -2], [0, 1, 2])
    model.load_state_dict({"a": model.b.data, "b": model.a.data[::-1]})
    assert (model.a.tolist(), model.b.tolist()) == ([0, 1, 2], [-2, -1, 0])


# ---- one dtype ----


class Scaled(nn.Module):
    def __init__(self, scale):
        self.body = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
        self.scale = nn.Parameter(scale)

    def forward(self, x):
        return self.body(x) * self.scale


def test_a_parameter_of_another_dtype_is_named_at_the_first_call():
    model = Scaled(np.random.default_rng(0).standard_normal(3))
    for call in (model, model, Net(inner=Scaled(np.ones(3))), nn.Sequential(model)):
        with pytest.raises(TypeError, match="of different dtypes, .*weight is float32 and .*scale float64"):
            call(mg.ones(4, 2))
    model.scale.data = model.scale.data.astype(np.float32)
    assert model(mg.ones(4, 2)).dtype == np.float32


def test_a_model_may_be_converted_parameter_by_parameter():
    model = Scaled(np.ones(3))
    model.body[0].requires_grad_(False)
    for dtype in (np.float64, np.float32):
        for i, p in enumerate(model.parameters()):
            p.data = p.data.astype(dtype)
            if i == 1:  # half-way
                assert len(list(model.parameters())) == 5
                model.state_dict()
                model.train()
        assert model(mg.ones(4, 2, dtype=dtype)).dtype == dtype
    mg.testing.check_layer(model, np.arange(8.0).reshape(4, 2) ** 2)


def test_a_frozen_part_may_be_of_another_dtype():
    class Half(nn.Module):
        def __init__(self):
            self.table = nn.Parameter(np.ones((3, 2), np.float16), requires_grad=False)
            self.head = nn.Linear(2, 2)

        def forward(self, ids):
            return self.head(self.table[ids].astype(np.float32))

    assert Half()([0, 1]).shape == (2, 2)


# ---- modules in circles, and deep ones ----


def test_modules_that_contain_themselves_are_walked_and_shown_once():
    model = Net(inner=Net(linear=linear()))
    model.itself = model
    model.inner.parent = model
    model.pair = (model, 1)
    assert [name for name, _ in model.named_parameters()] == ["inner.linear.weight"]
    assert [name for name, _ in model.inner.named_parameters()] == ["linear.weight"]
    text = repr(model)
    assert text.count("(...)") == 3
    assert "(inner): Net(\n    (linear): Linear(" in text
    assert repr(model.inner).startswith("Net(\n  (linear): Linear(")
    model.eval()
    model.load_state_dict(model.state_dict())
    assert model(3) == 3
    assert copy.deepcopy(model).inner.parent is not model


def test_a_repr_of_ones_own_in_a_circle_ends():
    class Own(nn.Module):
        def __repr__(self):
            return "my " + super().__repr__()

    one, two = Own(), Own()
    one.two, two.one = two, one
    assert repr(one) == "my Own(\n  (two): my Own(\n    (one): my ...\n  )\n)"


def test_shared_blocks_are_shown_once():
    block = nn.Sequential(nn.ReLU())
    for _ in range(60):
        block = nn.Sequential(block, block)
    assert len(repr(block)) < 5000
    assert len(list(block.modules())) == 62


def deep(layers):
    model = nn.Linear(2, 2)
    for _ in range(layers):
        model = nn.Sequential(model)
    return model


def test_three_thousand_modules_in_each_other():
    model = deep(3000)
    [(name, _), _] = model.named_parameters()
    assert name == "layers.0." * 3000 + "weight"
    model.load_state_dict(model.state_dict())
    assert len(list(model.eval().modules())) == 3001
    assert len(repr(model)) < 5000
    with pytest.raises(
        ValueError, match=r"calls nested deeper than Python's limit of \d+: lay the layers one after"
    ) as caught:
        model(mg.ones(1, 2))
    assert len(str(caught.value)) < 1000


def test_a_layer_that_calls_itself_is_named():
    class Endless(nn.Module):
        def forward(self, x):
            return self(x)

    with pytest.raises(ValueError, match="Endless: calls nested deeper than .* or something calls itself"):
        Endless()(1)


def test_a_deep_list_is_walked():
    layers = [linear()]
    for _ in range(3000):
        layers = [layers]
    model = Net(layers=layers, t=(((1, 2),),))
    assert len(list(model.parameters())) == 1
    repr(model)
