"""Every public callable, with one argument at a time replaced by what a user might put there by mistake.

CALLS holds one valid call of each; a callable without one fails. Its arguments' annotations say what they take, so
what must be refused follows by rule (`takes`); for what NumPy's functions do on Tensors, NumPy itself is asked. A
refusal is a TypeError, ValueError or IndexError that names the argument or what was met, at once and without a warning.
"""

import inspect
import math
import re
import sys
import time
import types

import numpy as np
import pytest

import minigrad as mg
import minigrad.functional as F
from minigrad import models, nn, optim
from minigrad.tensor import Tensor, detached

# Said of whatever is to become a tensor, a derivative or a path, with what was met and the cure.
SAYS_WHAT_WAS_MET = "|".join(
    [
        "a tensor holds numbers",
        "a tensor needs rows of equal length",
        "out of the graph",
        "only floating-point tensors have gradients",
        "only a Tensor has a gradient",
        "is no Tensor that requires a gradient",
        "depends on",
        "backward starts from a scalar",
        "iteration over a 0-d array",
        "the gradient has shape",
        "tangents have the shapes",
        "nested too deeply",
        "is not callable",
        "proves nothing",
        "PathLike",
        "No such file",
        "not a file written by minigrad.save",
    ]
)
# What was expected: as such, or as the other thing that what was met does not fit.
SAYS_WHAT_WAS_EXPECTED = "|".join(
    [
        r"\b(must|needs?|expected|takes|wants)\b",
        "lies between",
        "checks a",
        "does not broadcast",
        "cannot be cut into",
        "but there are only",
        r"but x .* has",
        "out of bounds for",
        "more numbers than memory holds",
        "in any number that memory holds",
        "has no axis 1 that",
        "has no variance",
        "is floating-point, so",
        "is not finite, so",
        "does not depend on",
        "does not fit",
        "they go from",
        "min_ above max_",
        "is empty, or was used up before",
    ]
)
REFUSALS = (TypeError, ValueError, IndexError)
SECONDS = 1.0
ROOM = 2 << 30  # bytes that a call may ask for beyond what the process holds


# ---- the bad inputs --------------------------------------------------------------------------------------------------


def _loop():
    endless = []
    endless.append(endless)
    return endless


BAD = {
    "None": lambda: None,
    "text": lambda: "0.1",
    "bytes": lambda: b"1",
    "object": object,
    "class": lambda: float,
    "function": lambda: lambda *args, **kwargs: 1.0,
    "dict": lambda: {"a": 1},
    "empty dict": dict,
    "set": lambda: {1},
    "list": lambda: [1.0, 2.0],
    "empty list": list,
    "ragged list": lambda: [[1.0], [1.0, 2.0]],
    "list of texts": lambda: ["a", "b"],
    "list of None": lambda: [None, None],
    "list that holds itself": _loop,
    "tuple of a negative": lambda: (2, -1),
    "tuple of huge": lambda: (2**40, 2**40),
    "generator": lambda: (i for i in range(2)),
    "slice": lambda: slice(None),
    "NaN": lambda: math.nan,
    "NumPy's NaN": lambda: np.float32("nan"),
    "infinity": lambda: math.inf,
    "minus infinity": lambda: -math.inf,
    "minus one": lambda: -1,
    "minus one and a half": lambda: -1.5,
    "zero": lambda: 0,
    "a half": lambda: 0.5,
    "five": lambda: 5,
    "2**40": lambda: 2**40,
    "2**63": lambda: 2**63,
    "10**400": lambda: 10**400,
    "-2**63": lambda: -(2**63),
    "True": lambda: True,
    "NumPy's False": lambda: np.False_,
    "complex": lambda: 1j,
    "object array": lambda: np.array([None, 1], object),
    "array of texts": lambda: np.array(["a", "b"]),
    "array of dates": lambda: np.array(["2020-01-01"], "M8[D]"),
    "structured array": lambda: np.zeros(2, [("a", "f4"), ("b", "i4")]),
    "complex array": lambda: np.ones((2, 3), np.complex64),
    "integer array": lambda: np.ones((2, 3), np.int64),
    "boolean array": lambda: np.ones((2, 3), bool),
    "float64 array": lambda: np.ones((2, 3)),
    "float16 array": lambda: np.ones((2, 3), np.float16),
    "array of no axis": lambda: np.array(0.5, np.float32),
    "array of six axes": lambda: np.ones((1, 1, 1, 1, 2, 3), np.float32),
    "empty array": lambda: np.ones((0,), np.float32),
    "empty matrix": lambda: np.ones((0, 3), np.float32),
    "Tensor": lambda: mg.tensor(0.5),
    "Tensor of integers": lambda: mg.tensor([[1, 2, 3], [0, 1, 2]]),
    "Tensor of complex": lambda: mg.tensor([1j]),
    "Tensor to be trained": lambda: mg.tensor([[1.0, 2.0, 3.0]], requires_grad=True),
    "empty Tensor": lambda: mg.zeros(0),
    "a layer": lambda: nn.Linear(3, 2),
    "a random generator": lambda: np.random.default_rng(0),
}


# ---- a valid call of each --------------------------------------------------------------------------------------------


def of(function, *args, **kwargs):
    return function, args, kwargs


def x(*shape):
    return mg.tensor(np.random.default_rng(0).uniform(0.2, 0.8, shape or (2, 3)).astype(np.float32), requires_grad=True)


def mask(*shape):
    return np.ones(shape, bool)


def ids():
    return np.array([0, 2])


def rng():
    return np.random.default_rng(0)


def trained():
    p = nn.Parameter(np.ones(3, np.float32))
    p.grad = mg.ones(3)
    return p


def square(x):
    return np.sum(x * x)


TINY = {"num_layers": 1, "d_model": 4, "nhead": 2, "dim_feedforward": 8}

CALLS = {
    # creation
    "minigrad.tensor": lambda: of(mg.tensor, [[1.0, 2.0]]),
    "minigrad.zeros": lambda: of(mg.zeros, 2, 3),
    "minigrad.ones": lambda: of(mg.ones, 2, 3),
    "minigrad.full": lambda: of(mg.full, (2, 3), 0.5),
    "minigrad.arange": lambda: of(mg.arange, 0, 3, 1),
    "minigrad.eye": lambda: of(mg.eye, 3, 2),
    "minigrad.zeros_like": lambda: of(mg.zeros_like, x()),
    "minigrad.ones_like": lambda: of(mg.ones_like, x()),
    "minigrad.randn": lambda: of(mg.randn, 2, 3),
    "minigrad.rand": lambda: of(mg.rand, 2, 3),
    "minigrad.seed": lambda: of(mg.seed, 3),
    "minigrad.default_generator": lambda: of(mg.default_generator),
    "minigrad.Tensor": lambda: of(mg.Tensor, np.ones(3, np.float32)),
    # the engine
    "minigrad.debug": lambda: of(mg.debug),
    "minigrad.no_grad": lambda: of(mg.no_grad),
    "minigrad.safe_where": lambda: of(mg.safe_where, mask(2, 3), np.exp, x(), 0.0),
    "minigrad.enable_grad": lambda: of(mg.enable_grad),
    "minigrad.is_grad_enabled": lambda: of(mg.is_grad_enabled),
    "minigrad.keep_memory": lambda: of(mg.keep_memory),
    "minigrad.profile": lambda: of(mg.profile),
    "minigrad.rule": lambda: of(mg.rule),
    "minigrad.implements": lambda: of(mg.implements),
    "minigrad.shared": lambda: of(mg.shared, lambda g: g),
    "minigrad.checkpoint": lambda: of(mg.checkpoint, square, x()),
    "minigrad.index_add": lambda: of(mg.index_add, x(), [0, 1], 1.0),
    "minigrad.index_update": lambda: of(mg.index_update, x(), [0, 1], 1.0),
    "minigrad.explain": lambda: of(mg.explain, square(v := x()), v),
    "minigrad.autograd.grad": lambda: of(mg.autograd.grad, square(v := x()), v),
    # transforms
    "minigrad.grad": lambda: of(mg.grad, square),
    "minigrad.grad()": lambda: of(mg.grad(square), x()),
    "minigrad.value_and_grad": lambda: of(mg.value_and_grad, square),
    "minigrad.value_and_grad()": lambda: of(mg.value_and_grad(square), x()),
    "minigrad.vjp": lambda: of(mg.vjp, square, x()),
    "minigrad.vjp()": lambda: of(mg.vjp(np.tanh, x())[1], x()),
    "minigrad.jvp": lambda: of(mg.jvp, square, (x(),), (x(),)),
    "minigrad.hvp": lambda: of(mg.hvp, square, (x(),), (x(),)),
    "minigrad.jacobian": lambda: of(mg.jacobian, np.tanh),
    "minigrad.jacobian()": lambda: of(mg.jacobian(lambda x: np.tanh(x)), x()),
    "minigrad.hessian": lambda: of(mg.hessian, square),
    "minigrad.hessian()": lambda: of(mg.hessian(square), x()),
    # functions
    "functional.relu": lambda: of(F.relu, x()),
    "functional.leaky_relu": lambda: of(F.leaky_relu, x()),
    "functional.elu": lambda: of(F.elu, x()),
    "functional.gelu": lambda: of(F.gelu, x()),
    "functional.sigmoid": lambda: of(F.sigmoid, x()),
    "functional.silu": lambda: of(F.silu, x()),
    "functional.softplus": lambda: of(F.softplus, x()),
    "functional.softmax": lambda: of(F.softmax, x()),
    "functional.log_softmax": lambda: of(F.log_softmax, x()),
    "functional.masked_softmax": lambda: of(F.masked_softmax, x(), mask(2, 3)),
    "functional.logsumexp": lambda: of(F.logsumexp, x()),
    "functional.erf": lambda: of(F.erf, x()),
    "functional.erfc": lambda: of(F.erfc, x()),
    "functional.safe_where": lambda: of(F.safe_where, mask(2, 3), np.exp, x(), 0.0),
    "functional.layer_norm": lambda: of(F.layer_norm, x(), 3, x(3), x(3)),
    "functional.rms_norm": lambda: of(F.rms_norm, x(), 3, x(3)),
    "functional.batch_norm": lambda: of(F.batch_norm, x(), np.zeros(3, "f4"), np.ones(3, "f4"), x(3), x(3), True),
    "functional.group_norm": lambda: of(F.group_norm, x(2, 4, 3), 2, x(4), x(4)),
    "functional.instance_norm": lambda: of(F.instance_norm, x(2, 3, 4), x(3), x(3)),
    "functional.linear": lambda: of(F.linear, x(), x(2, 3), x(2)),
    "functional.embedding": lambda: of(F.embedding, ids(), x(3, 2)),
    "functional.one_hot": lambda: of(F.one_hot, ids(), 3),
    "functional.dropout": lambda: of(F.dropout, x()),
    "functional.scaled_dot_product_attention": lambda: of(
        F.scaled_dot_product_attention, x(2, 3, 4), x(2, 3, 4), x(2, 3, 4), mask(2, 3, 3), 0.1
    ),
    "functional.cross_entropy": lambda: of(F.cross_entropy, x(), ids()),
    "functional.nll_loss": lambda: of(F.nll_loss, F.log_softmax(x()), ids()),
    "functional.mse_loss": lambda: of(F.mse_loss, x(), x()),
    "functional.l1_loss": lambda: of(F.l1_loss, x(), x()),
    "functional.huber_loss": lambda: of(F.huber_loss, x(), x()),
    "functional.binary_cross_entropy_with_logits": lambda: of(F.binary_cross_entropy_with_logits, x(), x()),
    # layers: making one, calling one
    "nn.ReLU": lambda: of(nn.ReLU),
    "nn.ReLU()": lambda: of(nn.ReLU(), x()),
    "nn.GELU": lambda: of(nn.GELU),
    "nn.GELU()": lambda: of(nn.GELU(), x()),
    "nn.Tanh": lambda: of(nn.Tanh),
    "nn.Tanh()": lambda: of(nn.Tanh(), x()),
    "nn.Sigmoid": lambda: of(nn.Sigmoid),
    "nn.Sigmoid()": lambda: of(nn.Sigmoid(), x()),
    "nn.SiLU": lambda: of(nn.SiLU),
    "nn.SiLU()": lambda: of(nn.SiLU(), x()),
    "nn.Softplus": lambda: of(nn.Softplus),
    "nn.Softplus()": lambda: of(nn.Softplus(), x()),
    "nn.LeakyReLU": lambda: of(nn.LeakyReLU),
    "nn.LeakyReLU()": lambda: of(nn.LeakyReLU(), x()),
    "nn.ELU": lambda: of(nn.ELU),
    "nn.ELU()": lambda: of(nn.ELU(), x()),
    "nn.Softmax": lambda: of(nn.Softmax),
    "nn.Softmax()": lambda: of(nn.Softmax(), x()),
    "nn.Linear": lambda: of(nn.Linear, 3, 2),
    "nn.Linear()": lambda: of(nn.Linear(3, 2), x()),
    "nn.Embedding": lambda: of(nn.Embedding, 3, 2, 1),
    "nn.Embedding()": lambda: of(nn.Embedding(3, 2), ids()),
    "nn.LayerNorm": lambda: of(nn.LayerNorm, 3),
    "nn.LayerNorm()": lambda: of(nn.LayerNorm(3), x()),
    "nn.RMSNorm": lambda: of(nn.RMSNorm, 3),
    "nn.RMSNorm()": lambda: of(nn.RMSNorm(3), x()),
    "nn.BatchNorm1d": lambda: of(nn.BatchNorm1d, 3),
    "nn.BatchNorm1d()": lambda: of(nn.BatchNorm1d(3), x()),
    "nn.GroupNorm": lambda: of(nn.GroupNorm, 2, 4),
    "nn.GroupNorm()": lambda: of(nn.GroupNorm(2, 4), x(2, 4, 3)),
    "nn.InstanceNorm1d": lambda: of(nn.InstanceNorm1d, 3),
    "nn.InstanceNorm1d()": lambda: of(nn.InstanceNorm1d(3), x(2, 3, 4)),
    "nn.Dropout": lambda: of(nn.Dropout),
    "nn.Dropout()": lambda: of(nn.Dropout(), x()),
    "nn.Identity": lambda: of(nn.Identity),
    "nn.Identity()": lambda: of(nn.Identity(), x()),
    "nn.ResidualAdd": lambda: of(nn.ResidualAdd, np.tanh),
    "nn.ResidualAdd()": lambda: of(nn.ResidualAdd(np.tanh), x()),
    "nn.Sequential": lambda: of(nn.Sequential, nn.Linear(3, 2), np.tanh),
    "nn.Sequential()": lambda: of(nn.Sequential(nn.Linear(3, 2), np.tanh), x()),
    "nn.MultiHeadAttention": lambda: of(nn.MultiHeadAttention, 4, 2),
    "nn.MultiHeadAttention()": lambda: of(
        nn.MultiHeadAttention(4, 2), x(2, 3, 4), x(2, 3, 4), x(2, 3, 4), mask=mask(2, 1, 1, 3)
    ),
    "nn.SinusoidalPositionalEncoding": lambda: of(nn.SinusoidalPositionalEncoding, 3),
    "nn.SinusoidalPositionalEncoding()": lambda: of(nn.SinusoidalPositionalEncoding(3), x()),
    "nn.LearnedPositionalEncoding": lambda: of(nn.LearnedPositionalEncoding, 4, 3),
    "nn.LearnedPositionalEncoding()": lambda: of(nn.LearnedPositionalEncoding(4, 3), x()),
    "nn.Parameter": lambda: of(nn.Parameter, np.ones(3, np.float32)),
    "nn.Module": lambda: of(nn.Module),
    "nn.Module.train": lambda: of(nn.Linear(3, 2).train),
    "nn.Module.requires_grad_": lambda: of(nn.Linear(3, 2).requires_grad_),
    "nn.Module.load_state_dict": lambda: of(nn.Linear(3, 2).load_state_dict, nn.Linear(3, 2).state_dict()),
    "nn.init.constant_": lambda: of(nn.init.constant_, mg.zeros(2, 3), 0.5),
    "nn.init.uniform_": lambda: of(nn.init.uniform_, mg.zeros(2, 3)),
    "nn.init.normal_": lambda: of(nn.init.normal_, mg.zeros(2, 3)),
    "nn.init.xavier_uniform_": lambda: of(nn.init.xavier_uniform_, mg.zeros(2, 3)),
    "nn.init.xavier_normal_": lambda: of(nn.init.xavier_normal_, mg.zeros(2, 3)),
    "nn.init.kaiming_uniform_": lambda: of(nn.init.kaiming_uniform_, mg.zeros(2, 3)),
    "nn.init.kaiming_normal_": lambda: of(nn.init.kaiming_normal_, mg.zeros(2, 3)),
    # training
    "optim.Optimizer": lambda: of(optim.Optimizer, [trained()], {"lr": 0.1, "weight_decay": 0.0}),
    "optim.SGD": lambda: of(optim.SGD, [trained()], momentum=0.5),
    "optim.RMSprop": lambda: of(optim.RMSprop, [trained()]),
    "optim.Adam": lambda: of(optim.Adam, [trained()]),
    "optim.AdamW": lambda: of(optim.AdamW, [trained()]),
    "optim.Adam.load_state_dict": lambda: of(
        optim.Adam([trained()]).load_state_dict, optim.Adam([trained()]).state_dict()
    ),
    "optim.Schedule": lambda: of(type("Flat", (optim.Schedule,), {"factor": lambda self, step: 1.0}), sgd()),
    "optim.LinearWarmup": lambda: of(optim.LinearWarmup, sgd(), 3),
    "optim.WarmupCosine": lambda: of(optim.WarmupCosine, sgd(), 1, 3),
    "optim.StepLR": lambda: of(optim.StepLR, sgd(), 2),
    "optim.OneCycleLR": lambda: of(optim.OneCycleLR, sgd(), 10),
    "optim.StepLR.load_state_dict": lambda: of(optim.StepLR(sgd(), 2).load_state_dict, {"steps": 1, "rate.0": 0.1}),
    "optim.clip_grad_norm_": lambda: of(optim.clip_grad_norm_, [trained()], 1.0),
    "optim.clip_grad_value_": lambda: of(optim.clip_grad_value_, [trained()], 1.0),
    "data.DataLoader": lambda: of(mg.data.DataLoader, np.ones((4, 2)), np.arange(4), batch_size=2),
    "minigrad.save": lambda: of(mg.save, "state.npz", {"epoch": 3}),
    "minigrad.load": lambda: of(mg.load, "there.npz"),
    # testing
    "testing.check_gradients": lambda: of(mg.testing.check_gradients, np.tanh, np.ones((2, 3))),
    "testing.check_layer": lambda: of(mg.testing.check_layer, nn.Linear(3, 2), np.ones((2, 3))),
    "strategies.shapes": lambda: of(mg.testing.strategies.shapes),
    "strategies.arrays": lambda: of(mg.testing.strategies.arrays, (2, 3)),
    "strategies.layouts": lambda: of(mg.testing.strategies.layouts, np.ones((2, 3))),
    "strategies.broadcastable": lambda: of(mg.testing.strategies.broadcastable, (2, 3)),
    "strategies.axes": lambda: of(mg.testing.strategies.axes, 2),
    # models
    "models.MLP": lambda: of(models.MLP, 3, 4, 2),
    "models.MLP()": lambda: of(models.MLP(3, 4, 2), x()),
    "models.FeedForward": lambda: of(models.FeedForward, 4, 8),
    "models.FeedForward()": lambda: of(models.FeedForward(4, 8), x(2, 3, 4)),
    "models.EncoderLayer": lambda: of(models.EncoderLayer, 4, 2, 8),
    "models.EncoderLayer()": lambda: of(models.EncoderLayer(4, 2, 8), x(2, 3, 4), mask(2, 1, 1, 3)),
    "models.Encoder": lambda: of(models.Encoder, **TINY, dropout=0.1, norm="batch"),
    "models.Encoder()": lambda: of(models.Encoder(**TINY), x(2, 3, 4), mask(2, 1, 1, 3)),
    "models.SequenceClassifier": lambda: of(models.SequenceClassifier, 3, 2, 5, **TINY, norm_first=False),
    "models.SequenceClassifier()": lambda: of(models.SequenceClassifier(3, 2, 5, **TINY), x(2, 5, 3), mask(2, 5)),
}


def sgd():
    return optim.SGD([trained()])


# Take what their callers have checked.
INNER = {"functional.batch_standardise", "functional.attention", "functional.self_attention"}


def public():
    """The names of all that a user may call, found in the packages themselves."""
    for module in (mg, F, nn, nn.init, optim, mg.data, mg.testing, mg.testing.strategies, models):
        inside = module in (mg, nn, optim, models)  # which re-export all that they have
        for name, value in vars(module).items():
            own = (
                getattr(value, "__module__", "").startswith("minigrad")
                if inside
                else getattr(value, "__module__", "").startswith(module.__name__)
            )
            if name[0] == "_" or not callable(value) or isinstance(value, types.ModuleType) or not own:
                continue
            full = f"{module.__name__.removeprefix('minigrad.')}.{name}"
            yield full
            if isinstance(value, type) and issubclass(value, nn.Module) and value is not nn.Module:
                yield f"{full}()"


def signature(function):
    if isinstance(function, nn.Module):
        return inspect.signature(function.forward)
    return inspect.signature(function)


def arguments(call):
    """Of a valid call each argument: its name, annotation and value, and how to call with another in its place."""
    function, args, kwargs = call()
    bound = signature(function).bind(*args, **kwargs)
    bound.apply_defaults()
    for name, parameter in bound.signature.parameters.items():
        if parameter.kind is parameter.VAR_POSITIONAL:
            places = [(f"{name}[{i}]", i) for i in range(len(bound.arguments[name]))]
        elif parameter.kind is parameter.VAR_KEYWORD:
            places = [(key, key) for key in bound.arguments[name]]
        else:
            places = [(name, None)]
        for label, at in places:
            annotation = str(parameter.annotation)
            if isinstance(at, str):  # an option handed on: as its value
                annotation = type(bound.arguments[name][at]).__name__
            annotation += " | None" * (parameter.default is None)
            yield label, annotation, name, at


def called(call, name, at, bad):
    function, args, kwargs = call()
    bound = signature(function).bind(*args, **kwargs)
    bound.apply_defaults()
    if at is None:
        bound.arguments[name] = bad
    elif isinstance(at, int):
        given = list(bound.arguments[name])
        given[at] = bad
        bound.arguments[name] = tuple(given)
    else:
        bound.arguments[name] = bound.arguments[name] | {at: bad}
    return function(*bound.args, **bound.kwargs)


# ---- what may be accepted --------------------------------------------------------------------------------------------

SIGNED = {
    "axis",
    "ignore_index",
    "argnums",
    "negative_slope",
    "alpha",
    "scale",
    "value",
    "fill",
    "a",
    "b",
    "mean",
    "low",
    "high",
}
SIGNED |= {"start", "stop", "step", "args"}
POSITIVE = {"eps", "delta", "max_norm", "clip_value", "rtol", "gamma", "pct_start", "div_factor", "final_div_factor"}
POSITIVE |= {"in_features", "out_features", "batch_size", "num_classes", "num_layers", "sizes", "order"}
SHARES = {"p", "dropout", "dropout_p", "label_smoothing", "momentum", "betas", "gamma", "pct_start"}
UNBOUNDED = {"n", "batch_size", "ignore_index", "argnums", "step"}  # a seed; more than there is; no target's number

# Handed on as they are: whatever the function, layer or file that they are meant for takes, and says.
ANYTHING = {
    ("nn.Identity()", "x"),
    ("nn.ResidualAdd()", "x"),
    ("minigrad.checkpoint", "inputs"),
    ("data.DataLoader", "arrays"),
    ("strategies.layouts", "x"),
    ("minigrad.save", "state"),
}
HANDED_ON = ANYTHING | {(f"minigrad.{name}()", "x") for name in ("grad", "value_and_grad", "jacobian", "hessian")}
HANDED_ON |= {("minigrad.vjp", "primals"), ("testing.check_layer", "inputs"), ("optim.Optimizer", "options")}
HANDED_ON |= {(f"minigrad.index_{name}", what) for name in ("add", "update") for what in ("x", "index", "values")}
KINDS = {
    "ids": "iu",
    "target": "fiub",
    "mask": "b",
    "condition": "b",
    "attn_mask": "b",
    "padding_mask": "b",
    "primals": "f",
    "inputs": "f",
}
NUMBERS = {
    "data",
    "fill_value",
    "values",
    "index",
    "gradient",
    "grad_outputs",
    "cotangent",
    "tangents",
    "primals",
    "ids",
    "target",
}
LIKE = {"minigrad.zeros_like", "minigrad.ones_like", "minigrad.index_add", "minigrad.index_update"}

# Take integers and give floats, as NumPy's own np.exp does: see "integers become floats" in test_edge_cases.py.
LIKE_NUMPY = {"functional.erf", "functional.erfc", "functional.logsumexp"}


def whole(bad):
    return isinstance(bad, int | np.integer) and not isinstance(bad, bool)


def allowed(key, name, annotation, bad):
    """Whether this argument may take this value, by its annotation."""
    short = name.split("[")[0]
    if (key, short) in ANYTHING or (bad is None and "None" in annotation):
        return True
    if short == "path":
        return isinstance(bad, str)
    if short == "dtype":
        return bad is None or bad is float or hasattr(bad, "dtype")  # as NumPy's own functions
    if "Generator" in annotation or annotation.startswith("Rng"):
        return isinstance(bad, np.random.Generator)
    if annotation in ("Module", "Optimizer"):
        return isinstance(bad, nn.Module)
    if annotation == "bool":
        return isinstance(bad, bool | np.bool_)
    if "Callable" in annotation or annotation == "Pullback":
        return callable(bad)
    if short in ("argnums", "normalized_shape", "shape") and isinstance(bad, tuple | list):
        return all(whole(n) and (n >= 0 or short == "argnums") for n in bad)
    if annotation.startswith("int") or short == "shape":
        if not whole(bad):
            return False
        return (short in SIGNED or bad >= (short in POSITIVE)) and (bad < 2**41 or short in UNBOUNDED)
    if annotation.startswith("float") or short == "args":
        if not (whole(bad) or isinstance(bad, float)) or not abs(bad) <= sys.float_info.max:
            return False
        least = -math.inf if short in SIGNED else math.ulp(0.0) if short in POSITIVE else 0.0
        return least <= bad <= (1.0 if short in SHARES else math.inf)
    if short in ("parameters", "inputs", "outputs", "argnums", "index") and not isinstance(bad, str) and _empty(bad):
        return True  # of nothing, nothing
    try:
        kind = mg.Tensor(detached(bad)).dtype.kind
    except REFUSALS:
        return short == "index" and (bad is None or isinstance(bad, slice))
    if key.startswith("minigrad.") and key.endswith("()") and short == "x":
        return kind == "f"
    if key in LIKE_NUMPY:
        return kind in "fiub"
    if short in KINDS:
        return kind in KINDS[short] or (short in ("ids", "target") and np.size(detached(bad)) == 0)
    if short in NUMBERS or key in LIKE:
        return True
    return isinstance(bad, np.ndarray | Tensor) and kind == "f"


def _empty(bad):
    return bad.size == 0 if isinstance(bad, np.ndarray) else isinstance(bad, list | dict) and not bad


# ---- the test --------------------------------------------------------------------------------------------------------


@pytest.fixture
def bounded(tmp_path, monkeypatch):
    """In a folder of its own, with little memory and little time."""
    monkeypatch.chdir(tmp_path)
    mg.save("there.npz", {"epoch": 3})
    if sys.platform != "linux":
        yield
        return
    import resource
    import signal

    def late(*_):
        raise TimeoutError(f"more than {SECONDS} s")

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        held = int(file.read().split()[0]) * resource.getpagesize()
    handler = signal.signal(signal.SIGALRM, late)
    resource.setrlimit(resource.RLIMIT_AS, (held + ROOM, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, handler)


def started():
    if sys.platform == "linux":
        import signal

        signal.setitimer(signal.ITIMER_REAL, 3 * SECONDS)  # a hang ends; what is merely too slow is told by the clock
    return time.process_time()


def lacks(said, names, bad):
    """What a refusal does not say: an argument that it is about or what was met, and what was expected instead."""
    if re.search(SAYS_WHAT_WAS_MET, said):
        return None
    if not any(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", said) for word in (*names, *descriptions(bad))):
        return "what it is about"
    return None if re.search(SAYS_WHAT_WAS_EXPECTED, said) else "what was expected"


def names_of(function, label):
    """What the arguments of a callable are called in its messages: one may not fit another, so any of them will do."""
    own = {"arange": ("start", "stop", "step"), "eye": ("shape",)}.get(getattr(function, "__name__", ""), ())
    return {label, *signature(function).parameters, *getattr(function, "inputs", ()), *own}


def descriptions(bad):
    """How a message may show what it met: by its kind, itself, or by shape or dtype."""
    array = detached(bad)
    shown = [type(bad).__name__, str(bad)[:20], repr(bad)[:20]]
    return shown + ([str(array.shape), array.dtype.name] if isinstance(array, np.ndarray) else [])


def problem(key, call, argument, what):
    """What is wrong with how this call takes this bad input, or None."""
    label, annotation, name, at = argument
    bad = BAD[what]()
    refusals = (*REFUSALS, *(OSError,) * (name == "path"), *(AssertionError,) * key.startswith("testing."))
    start = started()
    try:
        called(call, name, at, bad)
    except refusals as error:
        handed_on = name == "dtype" or (key, name) in HANDED_ON or ("Callable" in annotation and callable(bad))
        missing = None if handed_on else lacks(str(error), names_of(call()[0], label), BAD[what]())
        fault = missing and f"does not say {missing}: {type(error).__name__}: {str(error)[:90]}"
    except Exception as error:
        fault = f"{type(error).__name__}: {str(error)[:90]}"
    else:
        return None if allowed(key, label, annotation, BAD[what]()) else "is accepted"
    seconds = time.process_time() - start
    return f"takes {seconds:.1f} s" if seconds > SECONDS else fault


@pytest.mark.parametrize("key", CALLS)
@pytest.mark.usefixtures("bounded")
def test_each_bad_argument_is_refused_by_its_name(key):
    function, args, kwargs = CALLS[key]()
    function(*args, **kwargs)  # is a valid call indeed
    faults = []
    for argument in arguments(CALLS[key]):
        found = [(what, problem(key, CALLS[key], argument, what)) for what in BAD]
        faults += [f"{argument[0]}={what}: {fault}" for what, fault in found if fault]
    assert not faults, f"{key}:\n" + "\n".join(faults)


@pytest.mark.parametrize("key", CALLS)
def test_a_message_that_says_only_who_refuses_would_be_found(key):
    who = key.removesuffix("()").split(".")[-1]
    for label, *_ in arguments(CALLS[key]):
        for what in BAD:
            assert lacks(f"{who}: that cannot be", names_of(CALLS[key]()[0], label), BAD[what]()) is not None, (
                label,
                what,
            )


def test_every_callable_has_a_call():
    assert set(public()) - set(CALLS) - INNER == set()
