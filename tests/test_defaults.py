"""What every public callable does where nothing is said: PyTorch's defaults where PyTorch has the thing.

A default that changes, changes what users' programs do, without a word: so each is written here once more.
"""

import inspect
import operator

import numpy as np
import pytest

import minigrad as mg
from tests.test_every_callable import INNER, public

DEFAULTS = {
    "minigrad.keep_memory": {"keep": True},
    "minigrad.tensor": {"requires_grad": False},
    "minigrad.implements": {"override": False},
    "minigrad.rule": {"linear": False, "override": False},
    "minigrad.arange": {"requires_grad": False},
    "minigrad.eye": {"dtype": np.float32, "requires_grad": False},
    "minigrad.full": {"requires_grad": False},
    "minigrad.ones": {"dtype": np.float32, "requires_grad": False},
    "minigrad.ones_like": {"requires_grad": False},
    "minigrad.rand": {"dtype": np.float32, "requires_grad": False},
    "minigrad.randn": {"dtype": np.float32, "requires_grad": False},
    "minigrad.zeros": {"dtype": np.float32, "requires_grad": False},
    "minigrad.zeros_like": {"requires_grad": False},
    "minigrad.explain": {"finite_differences": False},
    "minigrad.safe_where": {"fill": 0.0},
    "minigrad.Tensor": {"requires_grad": False},
    "minigrad.grad": {"argnums": 0},
    "minigrad.hessian": {"argnums": 0},
    "minigrad.jacobian": {"argnums": 0},
    "minigrad.value_and_grad": {"argnums": 0},
    "functional.leaky_relu": {"negative_slope": 0.01},
    "functional.elu": {"alpha": 1.0},
    "functional.gelu": {"approximate": "none"},
    "functional.safe_where": {"fill": 0.0},
    "functional.softmax": {"axis": -1},
    "functional.log_softmax": {"axis": -1},
    "functional.masked_softmax": {"axis": -1},
    "functional.layer_norm": {"eps": 1e-05},
    "functional.rms_norm": {"eps": 1e-06},
    "functional.batch_norm": {"training": False, "momentum": 0.1, "eps": 1e-05},
    "functional.group_norm": {"eps": 1e-05},
    "functional.instance_norm": {"eps": 1e-05},
    "functional.dropout": {"p": 0.5, "training": True},
    "functional.scaled_dot_product_attention": {"dropout_p": 0.0, "is_causal": False},
    "functional.cross_entropy": {"ignore_index": -100, "reduction": "mean", "label_smoothing": 0.0},
    "functional.nll_loss": {"ignore_index": -100, "reduction": "mean"},
    "functional.mse_loss": {"reduction": "mean"},
    "functional.l1_loss": {"reduction": "mean"},
    "functional.huber_loss": {"reduction": "mean", "delta": 1.0},
    "functional.binary_cross_entropy_with_logits": {"reduction": "mean"},
    "nn.ELU": {"alpha": 1.0},
    "nn.GELU": {"approximate": "none"},
    "nn.LeakyReLU": {"negative_slope": 0.01},
    "nn.Softmax": {"axis": -1},
    "nn.MultiHeadAttention": {"dropout": 0.0, "bias": True},
    "nn.Dropout": {"p": 0.5},
    "nn.Linear": {"bias": True},
    "nn.Parameter": {"requires_grad": True},
    "nn.BatchNorm1d": {"eps": 1e-05, "momentum": 0.1, "affine": True, "track_running_stats": True},
    "nn.GroupNorm": {"eps": 1e-05, "affine": True},
    "nn.InstanceNorm1d": {"eps": 1e-05, "affine": False},
    "nn.LayerNorm": {"eps": 1e-05, "elementwise_affine": True, "bias": True},
    "nn.RMSNorm": {"eps": 1e-06, "elementwise_affine": True},
    "nn.init.uniform_": {"a": 0.0, "b": 1.0},
    "nn.init.normal_": {"mean": 0.0, "std": 1.0},
    "nn.init.xavier_uniform_": {"gain": 1.0},
    "nn.init.xavier_normal_": {"gain": 1.0},
    "nn.init.kaiming_uniform_": {"gain": 2**0.5},
    "nn.init.kaiming_normal_": {"gain": 2**0.5},
    "optim.SGD": {"lr": 0.001, "momentum": 0.0, "weight_decay": 0.0, "nesterov": False},
    "optim.Adam": {"lr": 0.001, "betas": (0.9, 0.999), "eps": 1e-08, "weight_decay": 0.0},
    "optim.AdamW": {"lr": 0.001, "betas": (0.9, 0.999), "eps": 1e-08, "weight_decay": 0.01},
    "optim.RMSprop": {"lr": 0.01, "alpha": 0.99, "eps": 1e-08, "weight_decay": 0.0, "momentum": 0.0},
    "optim.OneCycleLR": {"pct_start": 0.3, "div_factor": 25.0, "final_div_factor": 10000.0},
    "optim.StepLR": {"gamma": 0.1},
    "data.DataLoader": {"shuffle": True, "drop_last": False},
    "testing.check_gradients": {"order": 2, "method": "central", "flat": False},
    "testing.check_layer": {"order": 1},
    "strategies.shapes": {"min_dims": 0, "max_dims": 3, "min_side": 0, "max_side": 4},
    "strategies.arrays": {"low": -3.0, "high": 3.0, "gap": 0.0, "dtype": np.float64},
    "strategies.axes": {"many": True},
    "models.EncoderLayer": {
        "dropout": 0.0,
        "activation": "relu",
        "norm_first": True,
        "norm": "layer",
        "residual": True,
    },
    "models.FeedForward": {"activation": "relu", "dropout": 0.0},
}

# Where PyTorch has another one: its eps of None is that of the dtype, which float32 and float64 do not share.
ANOTHER = {("nn.RMSNorm", "eps"), ("functional.rms_norm", "eps")}


def named(name):
    place, short = name.split(".", 1)
    return operator.attrgetter(short)(mg if place == "minigrad" else getattr(mg, place))


def defaults(function):
    """The defaults of a callable, without those that say nothing."""
    return {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.default is not parameter.empty and parameter.default is not None
    }


def test_every_default_is_the_one_that_is_known():
    names = [name for name in public() if not name.endswith("()") and name not in INNER]
    assert {name: found for name in names if (found := defaults(named(name)))} == DEFAULTS


def test_they_are_those_of_pytorch():
    torch = pytest.importorskip("torch")
    homes = {"functional": torch.nn.functional, "nn": torch.nn, "optim": torch.optim}
    held = 0
    for name, ours in DEFAULTS.items():
        place, short = name.split(".", 1)
        home = homes.get(place)
        theirs = home and (getattr(home, short, None) or getattr(torch.optim.lr_scheduler, short, None))
        if not inspect.isfunction(theirs) and not isinstance(theirs, type):
            continue
        known = inspect.signature(theirs).parameters
        for argument, default in ours.items():
            if argument in known and (name, argument) not in ANOTHER:
                assert default == known[argument].default, (name, argument)
                held += 1
    assert held > 40
