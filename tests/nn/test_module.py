import copy

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn


class Nested(nn.Module):
    def __init__(self):
        self.first = nn.Linear(2, 3)
        self.blocks = [nn.Linear(3, 3), {"inner": (nn.LayerNorm(3), nn.Linear(3, 2))}]
        self.scale = mg.ones(2, requires_grad=True)
        self.table = np.arange(3.0)
        self.constant = mg.ones(2)
        self._hidden = nn.Linear(9, 9)
        self.again = self.first

    def forward(self, x):
        x = self.first(x)
        x = self.blocks[0](x)
        for layer in self.blocks[1]["inner"]:
            x = layer(x)
        return x * self.scale


def test_parameters_are_found_wherever_they_are_each_once():
    names = [name for name, _ in Nested().named_parameters()]
    assert names == [
        "scale", "first.weight", "first.bias", "blocks.0.weight", "blocks.0.bias",
        "blocks.1.inner.0.weight", "blocks.1.inner.0.bias", "blocks.1.inner.1.weight", "blocks.1.inner.1.bias",
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
        ValueError, match=r"^blocks.1.inner.1.layers.1 \(Linear\(in_features=4, out_features=2\)\): linear: expected x"
    ):
        model(mg.ones(1, 2))


def test_a_hidden_parameter_is_refused():
    layer = nn.Tanh()
    layer._weight = nn.Parameter(np.ones(1))
    with pytest.raises(TypeError, match="Tanh._weight is a Parameter that would not be trained"):
        list(layer.parameters())


def test_a_missing_attribute_raises():
    with pytest.raises(AttributeError):
        _ = nn.Linear(2, 2).weights
    with pytest.raises(TypeError, match="has no forward method"):
        nn.Module()(1)
