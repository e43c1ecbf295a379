"""What comes out at every edge: kinks, ties, infinities, empty inputs, wrong ones; one table, tested and published.

Each row is text that is run here as it stands in edge_cases.md, so the two cannot differ. After a change of the rows

    python tests/test_edge_cases.py

writes that page anew.
"""

import math
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import minigrad as mg
import minigrad.functional as F
from minigrad.functional.definition import DEFINITIONS

PAGE = Path(__file__).with_name("edge_cases.md")
NAMES = {"np": np, "math": math, "mg": mg, "F": F, "nn": mg.nn, "inf": math.inf, "nan": math.nan}
RTOL = {"float64": 1e-7, "float32": 1e-5, "float16": 2e-3}


class Row(NamedTuple):
    """What an expression of a leaf x gives, and the gradient of its sum in x; all of it Python."""

    case: str
    expression: str  # of x; what stands before the last semicolon is run first
    x: str
    value: str = ""
    gradient: str = ""  # none is asked for where this is empty
    dtype: str = "float64"  # of x, and so of its gradient
    error: str = ""  # its type and words that are in its message, instead of a value
    warning: str = ""  # the same, beside a value


TABLE = {
    "Softmax and logsumexp": [
        Row("huge logits", "F.softmax(x)[0]", "[1e4, -1e4]", "1", "[0, 0]"),
        Row("huge logits in float16", "F.softmax(x)[0]", "[6e4, -6e4]", "1", "[0, 0]", "float16"),
        Row("the largest float32", "F.log_softmax(x)[1]", "[3e38, -3e38]", "-inf", "[-1, 1]", "float32"),
        Row("some −∞", "F.softmax(x)[1]", "[-inf, 0, 0]", "0.5", "[0, 0.25, -0.25]"),
        Row("some −∞", "F.log_softmax(x)[1]", "[-inf, 0, 0]", "-np.log(2)", "[0, 0.5, -0.5]"),
        Row("−∞ alone", "F.softmax(x)[0]", "[-inf, -inf]", "nan", "[nan, nan]"),
        Row("+∞", "F.softmax(x)[1]", "[inf, 0]", "nan", "[nan, nan]"),
        Row("nothing but masked elements", "F.masked_softmax(x, np.zeros(2, bool))", "[1, 2]", "[0, 0]", "[0, 0]"),
        Row("−∞ alone is left by the mask", "F.masked_softmax(x, np.array([True, False]))", "[-inf, 2]", "[0, 0]", "[0, 0]"),
        Row("what is masked may be NaN", "F.masked_softmax(x, np.array([True, False]))", "[1, nan]", "[1, 0]", "[0, 0]"),
        Row("a sum beyond float16", "F.masked_softmax(x, np.ones(70000, bool))[0]", "np.zeros(70000)", "1 / 70000", dtype="float16"),
        Row("logits of −10⁹ are no mask", "F.masked_softmax(x, np.array([True, True, False]))[0]", "[-1e9, -1e9, 0]", "0.5", "[0.25, -0.25, 0]"),
        Row("−∞ alone", "F.logsumexp(x)", "[-inf, -inf]", "-inf", "[0, 0]"),
        Row("+∞", "F.logsumexp(x)", "[inf, 1]", "inf", "[1, 0]"),
        Row("two +∞", "F.logsumexp(x)", "[inf, inf]", "inf", "[0.5, 0.5]"),
        Row("huge values", "F.logsumexp(x)", "[1e4, 1e4]", "1e4 + np.log(2)", "[0.5, 0.5]"),
        Row("integers become floats", "F.logsumexp(x)", "[1, 2]", "np.log(np.exp(1) + np.exp(2))", dtype="int64"),
        Row("nothing", "F.logsumexp(x)", "[]", "-inf", "[]"),
        Row("both −∞", "np.logaddexp(x[0], x[1])", "[-inf, -inf]", "-inf", "[0.5, 0.5]"),
        Row("a size of 0", "F.softmax(x)", "np.zeros((2, 0))", "np.zeros((2, 0))", "np.zeros((2, 0))"),
        Row("a single number", "F.softmax(x)", "3", "1", "0"),
        Row("a single number", "F.log_softmax(x)", "3", "0", "0"),
        Row("a class that is sure", "F.log_softmax(x)[0]", "[20, 0]", "-math.exp(-20)", "[math.exp(-20), -math.exp(-20)]", "float32"),
        Row("integers", "F.softmax(x)", "[1, 2]", dtype="int64", error="TypeError: softmax: x must be floating-point, not int64"),
        Row("the sum over the axis", "np.sum(F.softmax(x))", "[1, 2, 3]", "1", "[0, 0, 0]"),
    ],
    "Cross entropy": [
        Row("huge logits", "F.cross_entropy(x, 1)", "[1e4, 0]", "1e4", "[1, -1]"),
        Row("every target ignored", "F.cross_entropy(x, [-100])", "[[1, 2]]", "0", "[[0, 0]]", warning="RuntimeWarning: no target is left"),
        Row("an empty batch", "F.cross_entropy(x, np.zeros(0, int))", "np.zeros((0, 2))", "0", "np.zeros((0, 2))", warning="RuntimeWarning: no target is left"),
        Row("an ignored row may hold anything", "F.cross_entropy(x, [-100, 0])", "[[nan, inf], [0, 0]]", "np.log(2)", "[[0, 0], [-0.5, 0.5]]"),
        Row("a sum beyond float16", "F.nll_loss(x, np.zeros(40000, int))", "np.full((40000, 2), -2.0)", "2", dtype="float16"),
        Row("a square beyond float16", "F.mse_loss(x, np.zeros(100, np.float16))", "[300] + [0] * 99", "900", dtype="float16"),
        Row("a target too large", "F.cross_entropy(x, [0, 3])", "np.ones((2, 3))", error="IndexError: target[1] is 3, but there are only 0 to 2"),
        Row("a negative target", "F.cross_entropy(x, [0, -1])", "np.ones((2, 3))", error="IndexError: target[1] is -1, but there are only 0 to 2"),
        Row("−∞ beside the target", "F.cross_entropy(x, 0)", "[0, -inf]", "0", "[0, 0]"),
        Row("−∞ beside the target, smoothed", "F.cross_entropy(x, 0, label_smoothing=0.5)", "[0, -inf]", "inf", "[0.25, -0.25]"),
        Row("−∞ at the target", "F.cross_entropy(x, 1)", "[0, -inf]", "inf", "[1, -1]"),
        Row("targets of another integer dtype", "F.cross_entropy(x, np.array([1], np.int32))", "[[0, 0]]", "np.log(2)", "[[0.5, -0.5]]"),
        Row("floats as targets", "F.cross_entropy(x, [1.0])", "[[0, 0]]", error="TypeError: target must be integers, not float64"),
        Row("more targets than rows", "F.cross_entropy(x, [0, 1, 2])", "np.ones((2, 3))", error="ValueError: expected (..., V) and (...): the class axis is the last one"),
        Row("the class axis is the last", "F.cross_entropy(x, np.zeros((2, 5), int))", "np.ones((2, 3, 5))", error="ValueError: expected (..., V) and (...): the class axis is the last one"),
        Row("binary, a certain error", "F.binary_cross_entropy_with_logits(x, np.array([1.0]))", "[-1000]", "1000", "[-1]"),
        Row("binary, a certain error", "F.binary_cross_entropy_with_logits(x, np.array([0.0]))", "[1000]", "1000", "[1]"),
        Row("binary, surely right", "F.binary_cross_entropy_with_logits(x, np.ones(1, np.float32))", "[20]", "math.exp(-20)", "[-math.exp(-20)]", "float32"),
        Row("a class that is surely right", "F.cross_entropy(x, 0)", "[20, 0]", "math.exp(-20)", "[-math.exp(-20), math.exp(-20)]", "float32"),
        Row("binary, a target above 1", "F.binary_cross_entropy_with_logits(x, np.array([2.0]))", "[0]", error="ValueError: target must be from 0 to 1, not 2"),
        Row("no log-probabilities", "F.nll_loss(x, 0)", "[1, -1]", error="ValueError: nll_loss: input must be log-probabilities, never above 0, not 1"),
        Row("losses never broadcast", "F.mse_loss(x, np.ones((2, 1)))", "[1, 2]", error="ValueError: they must be equal, for broadcasting would average the wrong pairs"),
    ],
    "Layer, group, instance and RMS normalisation": [
        Row("a large mean", "F.layer_norm(x, 4)", "1e6 + np.arange(4)", "[-1.341636, -0.447212, 0.447212, 1.341636]", dtype="float32"),
        Row("a large mean", "F.group_norm(x[None], 1)[0]", "1e6 + np.arange(4)", "[-1.341636, -0.447212, 0.447212, 1.341636]", dtype="float32"),
        Row("a large mean", "F.instance_norm(x[None, None])[0, 0]", "1e6 + np.arange(4)", "[-1.341636, -0.447212, 0.447212, 1.341636]", dtype="float32"),
        Row("a constant row", "F.layer_norm(x, 3)[0]", "[7, 7, 7]", "0", "np.array([2, -1, -1]) / 3 / np.sqrt(1e-5)"),
        Row("a constant row", "F.group_norm(x[None], 1)[0, 0]", "[7, 7, 7]", "0", "np.array([2, -1, -1]) / 3 / np.sqrt(1e-5)"),
        Row("a constant row", "F.instance_norm(x[None, None])[0, 0, 0]", "[7, 7, 7]", "0", "np.array([2, -1, -1]) / 3 / np.sqrt(1e-5)"),
        Row("a constant that rounds", "np.max(np.abs(F.layer_norm(x, 100).data)) < 1e-6", "np.full(100, 0.1)", "True", dtype="float32"),
        Row("zeros", "F.rms_norm(x, 3)[0]", "[0, 0, 0]", "0", "[1000, 0, 0]"),
        Row("no eps", "F.layer_norm(x, 2, eps=0.0)", "[1, 1]", error="ValueError: eps must be a positive number, not 0.0"),
        Row("one feature", "F.layer_norm(x, 1)", "[7]", "[0]", "[0]"),
        Row("a layer of one feature", "nn.LayerNorm(1)(x)", "[7]", "[0]", "[0]", "float32", warning="RuntimeWarning: LayerNorm over one feature gives its bias, whatever the input"),
        Row("the largest float16", "F.layer_norm(x, 2)", "[6e4, -6e4]", "[1, -1]", "[0, 0]", "float16"),
        Row("the largest float16", "F.rms_norm(x, 2)", "[6e4, -6e4]", "[1, -1]", "[1 / 6e4, 1 / 6e4]", "float16"),
        Row("squares beyond float32", "F.layer_norm(x, 2)", "[1e20, -1e20]", "[1, -1]", "[0, 0]", "float32"),
        Row("squares beyond float32", "F.rms_norm(x, 2)", "[1e20, -1e20]", "[1, -1]", "[1e-20, 1e-20]", "float32"),
        Row("no rows", "F.layer_norm(x, 3)", "np.zeros((0, 3))", "np.zeros((0, 3))", "np.zeros((0, 3))"),
        Row("no features", "F.layer_norm(x, 0)", "np.zeros((3, 0))", "np.zeros((3, 0))", "np.zeros((3, 0))"),
        Row("a shape that does not fit", "F.layer_norm(x, 5)", "np.ones((2, 4))", error="ValueError: layer_norm: expected x of shape (..., 5), got (2, 4)"),
        Row("a shape that does not fit, in a model", "nn.Sequential(nn.Tanh(), nn.LayerNorm(5))(x)", "np.ones((2, 4))", dtype="float32", error="ValueError: layer_norm: expected x of shape (..., 5), got (2, 4), with the note: in layers.1 (LayerNorm(normalized_shape=(5,), eps=1e-05))"),
        Row("groups of unequal size", "nn.GroupNorm(3, 4)", "0", error="ValueError: num_channels=4 cannot be cut into num_groups=3 equal groups"),
        Row("one value per group", "F.group_norm(x, 3)", "np.ones((2, 3))", error="ValueError: group_norm: one value per group"),
        Row("one value per channel", "F.instance_norm(x)", "np.ones((2, 3, 1))", error="ValueError: instance_norm: one value per channel"),
    ],
    "Batch normalisation": [
        Row("a batch of one in training", "nn.BatchNorm1d(3)(x)", "np.ones((1, 3))", dtype="float32", error="ValueError: has no variance in training: leave out a last batch of one (drop_last=True), call eval(), or use LayerNorm"),
        Row("a batch of one, but of some length", "F.batch_norm(x, training=True)[0, 0, 1]", "[[[0, 2]]]", "1 / np.sqrt(1 + 1e-5)", "np.array([[[-1, 1]]]) / 2 * (1 - 1 / (1 + 1e-5)) / np.sqrt(1 + 1e-5)"),
        Row("the batch's variance is biased", "F.batch_norm(x, training=True)[1, 0]", "[[0], [2]]", "1 / np.sqrt(1 + 1e-5)"),
        Row("the running one is not", "norm = nn.BatchNorm1d(1); norm(x); norm.running_var", "[[0], [2]]", "[0.9 * 1 + 0.1 * 2]", dtype="float32"),
        Row("momentum is the share of what is new", "norm = nn.BatchNorm1d(1, momentum=0.1); norm(x); norm.running_mean", "[[0], [2]]", "[0.1]", dtype="float32"),
        Row("momentum=None takes the mean of all batches", "norm = nn.BatchNorm1d(1, momentum=None); norm(x); norm(x + 2); norm.running_mean", "[[0], [2]]", "[2]", dtype="float32"),
        Row("evaluation of a fresh layer", "nn.BatchNorm1d(1).eval()(x)", "[[3]]", "[[3 / np.sqrt(1 + 1e-5)]]", "[[1 / np.sqrt(1 + 1e-5)]]", "float32"),
        Row("NaN in a sample stays out of the running statistics", "norm = nn.BatchNorm1d(1); norm(x); norm.running_mean", "[[0], [nan]]", "[0]", dtype="float32"),
        Row("evaluation counts nothing", "norm = nn.BatchNorm1d(1).eval(); norm(x); int(norm.num_batches_tracked)", "[[3]]", "0", dtype="float32"),
        Row("evaluation without running statistics", "nn.BatchNorm1d(1, track_running_stats=False).eval()(x)[1, 0]", "[[0], [2]]", "1 / np.sqrt(1 + 1e-5)", dtype="float32"),
        Row("the same of a batch of one", "nn.BatchNorm1d(1, track_running_stats=False).eval()(x)", "[[3]]", dtype="float32", error="ValueError: batch_norm: one value per channel"),
        Row("a large mean", "F.batch_norm(x, training=True)", "1e6 + np.arange(3)[:, None]", "[[-1.224736], [0], [1.224736]]", dtype="float32"),
        Row("a constant channel", "F.batch_norm(x, training=True)[0, 0]", "[[5], [5], [5]]", "0", "np.array([[2], [-1], [-1]]) / 3 / np.sqrt(1e-5)", "float32"),
        Row("in training under no_grad, statistics move", "norm = nn.BatchNorm1d(1); mg.no_grad()(norm)(x); norm.running_mean", "[[0], [2]]", "[0.1]", dtype="float32"),
        Row("another number of channels", "nn.BatchNorm1d(3)(x)", "np.ones((4, 5))", dtype="float32", error="ValueError: expected C=3 at axis 1 of (N, C) or (N, C, L), got (4, 5)"),
        Row("one axis", "nn.BatchNorm1d(3)(x)", "np.ones(3)", dtype="float32", error="ValueError: expected C=3 at axis 1 of (N, C) or (N, C, L), got (3,)"),
        Row("four axes", "nn.BatchNorm1d(3)(x)", "np.ones((2, 3, 4, 4))", dtype="float32", error="ValueError: expected C=3 at axis 1 of (N, C) or (N, C, L), got (2, 3, 4, 4)"),
        Row("an empty batch", "nn.BatchNorm1d(3)(x)", "np.zeros((0, 3))", "np.zeros((0, 3))", "np.zeros((0, 3))", "float32"),
        Row("an empty batch leaves the statistics", "norm = nn.BatchNorm1d(1); norm(x); (norm.running_mean[0], norm.running_var[0], int(norm.num_batches_tracked))", "np.zeros((0, 1))", "(0, 1, 0)", dtype="float32"),
    ],
    "Attention": [
        Row("a query that may attend to nothing", "F.scaled_dot_product_attention(x, x, x, np.array([[False, False], [True, False]]))", "[[1], [2]]", "[[0], [1]]", "[[1], [0]]"),
        Row("the same in a layer, which then gives its bias", "layer = nn.MultiHeadAttention(2, 1); layer(x, mask=np.zeros((1, 1, 1, 1), bool)) - layer.out_proj.bias", "[[[1, 2]]]", "[[[0, 0]]]", "[[[0, 0]]]", "float32"),
        Row("the same with its weights", "layer = nn.MultiHeadAttention(2, 1); layer(x, mask=np.zeros((1, 1, 1, 1), bool), need_weights=True)[1]", "[[[1, 2]]]", "[[[[0]]]]", "[[[0, 0]]]", "float32"),
        Row("a masked key may be infinite", "F.scaled_dot_product_attention(np.ones((1, 1)), x, np.eye(2), np.array([[False, True]]))", "[[inf], [1]]", "[[0, 1]]", "[[0], [0]]"),
        Row("a masked value may not: 0 · NaN is NaN", "F.scaled_dot_product_attention(np.ones((1, 1)), np.ones((2, 1)), x, np.array([[False, True]]))", "[[nan], [1]]", "[[nan]]", "[[0], [1]]"),
        Row("a single key has the weight 1, exactly", "F.scaled_dot_product_attention(x, x * 3, np.ones((1, 1), np.float32)) - 1", "[[0.3]]", "[[0]]", "[[0]]", "float32"),
        Row("is_causal begins at the top left", "F.scaled_dot_product_attention(np.ones((2, 1)), np.ones((3, 1)), x, is_causal=True)", "[[2], [4], [9]]", "[[2], [3]]", "[[1.5], [0.5], [0]]"),
        Row("True means: may attend", "F.scaled_dot_product_attention(np.ones((1, 1)), np.ones((2, 1)), x, np.array([[True, False]]))", "[[2], [4]]", "[[2]]", "[[1], [0]]"),
        Row("a mask of numbers", "F.scaled_dot_product_attention(x, x, x, np.zeros((2, 2)))", "[[1], [2]]", error="TypeError: a mask must be boolean, True where attention is allowed, not float64"),
        Row("a mask of another shape", "F.scaled_dot_product_attention(x, x, x, np.ones((3, 3), bool))", "[[1], [2]]", error="ValueError: a mask of shape (3, 3) does not broadcast to the scores' shape (2, 2)"),
        Row("heads that do not divide the width", "nn.MultiHeadAttention(6, 4)", "0", error="ValueError: embed_dim=6 cannot be cut into num_heads=4 equal parts"),
        Row("the scale keeps float32", "F.scaled_dot_product_attention(x, x, x).dtype.name", "[[1, 2, 3]]", "'float32'", dtype="float32"),
        Row("float16 is computed in float32", "F.scaled_dot_product_attention(x, np.array([[4], [3]], np.float16), np.array([[1], [2]], np.float16))", "[[10], [0.1]]", "[[1], [1.475]]", dtype="float16"),
        Row("scores beyond what exp can hold", "F.scaled_dot_product_attention(x, np.ones((2, 1)), np.array([[1.0], [3.0]]))", "[[1e4]]", "[[2]]", "[[0]]"),
    ],
    "Embedding and indexing": [
        Row("repeated ids", "F.embedding([0, 0], x)", "[[1], [2]]", "[[1], [1]]", "[[2], [0]]"),
        Row("padding_idx", "F.embedding([0, 1], x, padding_idx=0)", "[[1], [2]]", "[[1], [2]]", "[[0], [1]]"),
        Row("an id too large", "F.embedding([5], x)", "[[1], [2]]", error="IndexError: ids[0] is 5, but there are only 0 to 1"),
        Row("a negative id", "F.embedding([[0, -1]], x)", "[[1], [2]]", error="IndexError: ids[0, 1] is -1, but there are only 0 to 1"),
        Row("floats as ids", "F.embedding([0.0], x)", "[[1], [2]]", error="TypeError: ids must be integers, not float64"),
        Row("no ids", "F.embedding([], x)", "[[1], [2]]", "np.zeros((0, 1))", "[[0], [0]]"),
        Row("repeated indices", "x[[0, 0, 1]]", "[1, 2, 3]", "[1, 1, 2]", "[2, 1, 0]"),
        Row("no element selected", "x[np.zeros(2, bool)]", "[1, 2]", "[]", "[0, 0]"),
        Row("an index out of range", "x[2]", "[1, 2]", error="IndexError: out of bounds"),
        Row("two values for one element: the last one lasts", "mg.index_update(np.zeros(1), [0, 0], x)", "[1, 2]", "[2]", "[0, 1]"),
        Row("added, both count", "mg.index_add(np.zeros(1), [0, 0], x)", "[1, 2]", "[3]", "[1, 1]"),
        Row("writing into a tensor", "x[0] = 1.0; x", "[1, 2]", error="TypeError: x = mg.index_update(x, index, values) gives a new tensor"),
        Row("adding in place", "x += 1.0; x", "[1, 2]", error="TypeError: write x = x + y for a new tensor, or x.data += ..."),
    ],
    "Kinks, ties, powers and roots": [
        Row("equals", "np.maximum(x[0], x[1])", "[2, 2]", "2", "[0.5, 0.5]"),
        Row("itself", "np.maximum(x, x)", "2", "2", "1"),
        Row("equals", "np.minimum(x[0], x[1])", "[2, 2]", "2", "[0.5, 0.5]"),
        Row("NaN and a number", "np.maximum(x[0], x[1])", "[nan, 2]", "nan", "[1, 0]"),
        Row("a number and NaN", "np.minimum(x[0], x[1])", "[2, nan]", "nan", "[0, 1]"),
        Row("NaN twice", "np.maximum(x[0], x[1])", "[nan, nan]", "nan", "[0.5, 0.5]"),
        Row("NaN passed over", "np.fmax(x[0], x[1])", "[nan, 2]", "2", "[0, 1]"),
        Row("equals", "np.max(x)", "[1, 3, 3]", "3", "[0, 0.5, 0.5]"),
        Row("equals along an axis", "np.max(x, axis=1)", "[[2, 2]]", "[2]", "[[0.5, 0.5]]"),
        Row("equals", "np.min(x)", "[1, 1, 3]", "1", "[0.5, 0.5, 0]"),
        Row("NaN", "np.max(x)", "[1, nan]", "nan", "[0, 1]"),
        Row("NaN", "np.median(x)", "[1, nan, 2]", "nan", "[0, 1, 0]"),
        Row("nothing", "np.max(x, axis=1)", "np.zeros((2, 0))", error="ValueError: max of no elements: axis 1 of shape (2, 0)"),
        Row("0", "F.relu(x)", "0", "0", "0"),
        Row("NaN", "F.relu(x)", "nan", "nan", "1"),
        Row("−∞", "F.relu(x)", "-inf", "0", "0"),
        Row("0", "np.maximum(x, 0.0)", "0", "0", "0.5"),
        Row("at the bounds", "np.clip(x, 0.0, 1.0)", "[0, 0.5, 1]", "[0, 0.5, 1]", "[0, 1, 0]"),
        Row("0", "np.abs(x)", "0", "0", "0"),
        Row("0", "np.fabs(x)", "[-1, 0, 2]", "[1, 0, 2]", "[-1, 0, 1]"),
        Row("0", "np.sign(x)", "0", "0", "0"),
        Row("0", "x**0", "0", "1", "0"),
        Row("0", "x**0.0", "0", "1", "0"),
        Row("0, exponents in an array", "x ** np.zeros(1)", "[0]", "[1]", "[0]"),
        Row("0", "x**2", "0", "0", "0"),
        Row("0, second and third derivative", "mg.grad(mg.grad(lambda z: z**2))(x)", "0", "2", "0"),
        Row("0, second and third derivative", "mg.grad(mg.grad(lambda z: z**2.0))(x)", "0", "2", "0"),
        Row("0: the limit", "x**0.5", "0", "0", "inf"),
        Row("0: the limit", "np.sqrt(x)", "0", "0", "inf"),
        Row("0", "x**-1", "0", "inf", "-inf"),
        Row("0 to the 0", "np.power(x[0], x[1])", "[0, 0]", "1", "[0, 0]"),
        Row("a negative base has no derivative in the exponent", "np.power(x[0], x[1])", "[-2, 2]", "4", "[-4, nan]"),
        Row("integers become floats", "x**-1", "[2, 4]", "[0.5, 0.25]", dtype="int64"),
        Row("0", "np.linalg.norm(x)", "[0, 0]", "0", "[0, 0]"),
        Row("0", "np.linalg.norm(x, 3)", "[0, 0]", "0", "[0, 0]"),
        Row("0: use norm", "np.sqrt(np.sum(x * x))", "[0, 0]", "0", "[nan, nan]"),
        Row("0, bounded by hand", "(x / np.maximum(np.linalg.norm(x), 1e-8))[0]", "[0, 0]", "0", "[1e8, 0]"),
        Row("a constant", "np.std(x)", "[3, 3]", "0", "[0, 0]"),
        Row("a constant that rounds", "np.std(x)", "[0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]", "0", "[0, 0, 0, 0, 0, 0, 0]"),
        Row("a large mean", "np.var(x)", "1e6 + np.arange(3)", "2 / 3", "[-2 / 3, 0, 2 / 3]", "float32"),
        Row("a large mean", "np.std(x)", "1e6 + np.arange(3)", "np.sqrt(2 / 3)", "[-1 / np.sqrt(6), 0, 1 / np.sqrt(6)]", "float32"),
        Row("squares beyond float32", "np.std(x)", "[1e30, -1e30]", "1e30", "[0.5, -0.5]", "float32"),
        Row("squares beyond float32", "np.linalg.norm(x)", "[3e30, 4e30]", "5e30", "[0.6, 0.8]", "float32"),
        Row("squares below float32", "np.linalg.norm(x)", "[3e-30, 4e-30]", "5e-30", "[0.6, 0.8]", "float32"),
        Row("one element", "np.var(x, ddof=1)", "[3]", error="ValueError: var with ddof=1 needs more than 1 elements along axis None, got 1"),
        Row("integers have the spread that NumPy gives", "np.std(x)", "[1, 1, 2]", "np.sqrt(2) / 3", dtype="int64"),
        Row("one zero", "np.prod(x)", "[0, 2, 3]", "0", "[6, 0, 0]"),
        Row("two zeros", "np.prod(x)", "[0, 0, 3]", "0", "[0, 0, 0]"),
        Row("a zero", "np.cumprod(x)", "[2, 0, 3]", "[2, 0, 0]", "[1, 8, 0]"),
        Row("nothing", "np.prod(x)", "[]", "1", "[]"),
        Row("the origin", "np.arctan2(x[0], x[1])", "[0, 0]", "0", "[0, 0]"),
        Row("the origin", "np.hypot(x[0], x[1])", "[0, 0]", "0", "[0, 0]"),
        Row("the origin: no second derivative exists, 0 stands for it", "mg.hessian(np.linalg.norm)(x)", "[0, 0]", "[[0, 0], [0, 0]]"),
        Row("the origin: no second derivative exists, 0 stands for it", "mg.hessian(lambda z: np.hypot(z[0], z[1]))(x)", "[0, 0]", "[[0, 0], [0, 0]]"),
        Row("the origin: no second derivative exists, 0 stands for it", "mg.hessian(lambda z: np.arctan2(z[0], z[1]))(x)", "[0, 0]", "[[0, 0], [0, 0]]"),
        Row("0 to the 0, second derivatives", "mg.hessian(lambda z: np.power(z[0], z[1]))(x)", "[0, 0]", "[[0, 0], [0, 0]]"),
        Row("2 to the 0, second derivatives", "mg.hessian(lambda z: np.power(z[0], z[1]))(x)", "[2, 0]", "[[0, 0.5], [0.5, np.log(2) ** 2]]"),
        Row("0 squared, second derivatives", "mg.hessian(lambda z: np.power(z[0], z[1]))(x)", "[0, 2]", "[[2, 0], [0, 0]]"),
        Row("0 to the 1: the logarithm of 0 in the mixed derivative is left out", "mg.hessian(lambda z: np.power(z[0], z[1]))(x)", "[0, 1]", "[[0, 1], [0, 0]]"),
        Row("an element that is 0, of order below 1", "np.linalg.norm(x, 0.5)", "[0, 4]", "4", "[0, 1]"),
        Row("an element that is 0, of negative order", "np.linalg.norm(x, -1)", "[0, 1]", "0", "[0, 0]"),
        Row("0, of negative order", "np.linalg.norm(x, -2)", "[0, 0]", "0", "[0, 0]"),
        Row("0, of order below 1", "np.linalg.norm(x, 0.5)", "[0, 0]", "0", "[0, 0]"),
        Row("a singular matrix", "np.linalg.det(x)", "[[1, 2], [2, 4]]", "0", "[[4, -2], [-2, 1]]"),
        Row("large numbers: nothing is squared", "x[0] / x[1]", "[1e25, 1e25]", "1", "[1e-25, -1e-25]", "float32"),
        Row("small numbers: nothing is squared", "x[0] / x[1]", "[1e-25, 1e-25]", "1", "[1e25, -1e25]", "float32"),
        Row("large numbers: nothing is squared", "np.arctan2(x[0], x[1])", "[1e25, 1e25]", "np.pi / 4", "[5e-26, -5e-26]", "float32"),
        Row("small numbers: nothing is squared", "np.arctan2(x[0], x[1])", "[1e-25, 1e-25]", "np.pi / 4", "[5e24, -5e24]", "float32"),
    ],
    "where, empty arrays and dtypes": [
        Row("infinite on the branch not taken: mend the input, too", "np.where(x > 0, np.sqrt(x), 0.0)", "[-1, 0, 4]", "[0, 0, 2]", "[nan, nan, 0.25]"),
        Row("the same with safe_where", "mg.safe_where(x > 0, np.sqrt, x, 0.0)", "[-1, 0, 4]", "[0, 0, 2]", "[0, 0, 0.25]"),
        Row("safe_where that nowhere holds", "mg.safe_where(x > 9, np.log, x, 3.0)", "[-1, 0]", "[3, 3]", "[0, 0]"),
        Row("where, doubled", "np.where(x > 0, np.sqrt(np.where(x > 0, x, 1.0)), 0.0)", "[-1, 0, 4]", "[0, 0, 2]", "[0, 0, 0.25]"),
        Row("nan_to_num has its own gradient 0, log has not", "np.nan_to_num(np.log(x), neginf=0.0)", "[0, 1]", "[0, 0]", "[nan, 1]"),
        Row("a product is no mask: 0 · ∞ is NaN", "np.sqrt(x) * (x > 0)", "[0, 4]", "[0, 2]", "[nan, 0.25]"),
        Row("nothing", "np.sum(x)", "[]", "0", "[]"),
        Row("nothing", "np.mean(x)", "[]", "nan", "[]", warning="RuntimeWarning: Mean of empty slice"),
        Row("(3, 1) with (1, 0)", "x + np.zeros((1, 0))", "[[1], [2], [3]]", "np.zeros((3, 0))", "[[0], [0], [0]]"),
        Row("(2, 0) with (0, 3)", "x @ np.zeros((0, 3))", "np.zeros((2, 0))", "np.zeros((2, 3))", "np.zeros((2, 0))"),
        Row("shape () stays an array", "np.sum(x * np.ones(3)).backward(); type(x.grad.data) is np.ndarray and x.grad.shape", "2", "()"),
        Row("integers have no gradient", "mg.tensor([1], requires_grad=True)", "0", error="TypeError: only floating-point tensors have gradients, not int64"),
        Row("a gradient has the dtype of its leaf", "np.sum(x * mg.ones(2)).backward(); x.grad.dtype.name", "[1, 2]", "'float16'", dtype="float16"),
        Row("the result has the wider dtype", "(x * mg.ones(2)).dtype.name", "[1, 2]", "'float32'", dtype="float16"),
        Row("a Python float", "(x * 2.0).dtype.name", "[1]", "'float32'", dtype="float32"),
        Row("a NumPy scalar counts as a Python float", "(x * np.float64(2)).dtype.name", "[1]", "'float32'", dtype="float32"),
        Row("float32 @ float64", "(x @ np.ones((1, 1))).dtype.name", "[[1]]", "'float64'", dtype="float32"),
        Row("the same in a function of a layer", "F.linear(x, np.ones((1, 1)))", "[[1]]", dtype="float32", error="TypeError: x is float32, weight is float64, they must be of one dtype: use x.astype(np.float64)"),
        Row("70,000 ones in float16", "np.mean(x)", "np.ones(70000)", "1", dtype="float16"),
        Row("4,097 ones down an axis in float16", "np.sum(x, axis=0)", "np.ones((4097, 2))", "[4096, 4096]", "np.ones((4097, 2))", "float16"),
        Row("and back, 4,097 ones into one", "np.sum(x + np.zeros(4097, np.float16)).backward(); x.grad", "0", "4096", dtype="float16"),
        Row("large numbers in float16", "np.std(x)", "[6e4, -6e4]", "6e4", "[0.5, -0.5]", "float16"),
        Row("many classes in float16", "F.log_softmax(x)[0]", "np.zeros(70000)", "-np.log(70000)", dtype="float16"),
        Row("a million rows in float32", "np.sum((x + np.zeros((10**6, 2), np.float32)) * 0.1).backward(); x.grad", "[0, 0]", "[1e5, 1e5]", dtype="float32"),
        Row("a million rows in float32", "np.sum(x, axis=0)", "np.full((10**6, 2), 0.1)", "[1e5, 1e5]", dtype="float32"),
        Row("a million rows in float32", "np.mean(x, axis=0)", "np.full((10**6, 2), 0.1)", "[0.1, 0.1]", dtype="float32"),
        Row("an ndarray on the left", "np.ones(2) * x", "[1, 2]", "[1, 2]", "[1, 1]"),
        Row("what is not used", "(x[0] * 1.0).backward(); unused = mg.ones(1, requires_grad=True); unused.grad", "[1]", "None"),
    ],
}  # fmt: skip

ROWS = [pytest.param(row, id=f"{row.case}: {row.expression}"[:100]) for rows in TABLE.values() for row in rows]
KINDS = {kind.__name__: kind for kind in (IndexError, RuntimeWarning, TypeError, ValueError)}


def evaluated(text):
    return eval(text, dict(NAMES))


def run(row):
    """The leaf, and what the last part of the row's expression gives."""
    array = np.array(evaluated(row.x), row.dtype)
    leaf = mg.tensor(array, requires_grad=array.dtype.kind == "f")
    *before, last = row.expression.split("; ")
    names = {**NAMES, "x": leaf}
    exec("\n".join(before), names)
    return leaf, eval(last, names)


def check(found, right, row):
    if isinstance(found, mg.Tensor):
        np.testing.assert_allclose(found.data, right, rtol=RTOL.get(row.dtype, 1e-7), atol=1e-12)
        assert found.shape == np.shape(right)
        assert found.dtype == row.dtype or row.dtype == "int64"
    elif isinstance(found, np.ndarray):
        np.testing.assert_allclose(found, right, rtol=RTOL[row.dtype])
    else:
        assert found == right


@pytest.mark.parametrize("row", ROWS)
def test_values_and_gradients_at_the_edges(row):
    with np.errstate(all="ignore"):
        if row.error or row.warning:
            kind, words = (row.error or row.warning).split(": ", 1)
            words = words.replace(", with the note: ", "\n")  # as pytest puts the notes of an exception
            with (pytest.raises if row.error else pytest.warns)(KINDS[kind], match=re.escape(words)):
                leaf, y = run(row)
        else:
            leaf, y = run(row)
        if row.error:
            return
        check(y, evaluated(row.value), row)
        if row.gradient:
            np.sum(y).backward()
            check(leaf.grad, evaluated(row.gradient), row)


@pytest.mark.parametrize("row", ROWS)
def test_the_definitions_of_fast_functions_have_the_same_edges(row, monkeypatch):
    for definition in DEFINITIONS:
        monkeypatch.setattr(definition, "kernel", None)
    test_values_and_gradients_at_the_edges(row)


def page():
    """The table in Markdown."""
    lines = [
        "# What comes out at the edges",
        "",
        "Where a derivative does not exist, where a limit is taken, where nothing is left or something is wrong, this",
        "holds. Each row is run as it stands by [test_edge_cases.py](test_edge_cases.py), from whose rows this page is",
        "made (`python tests/test_edge_cases.py`). The gradient is that of the sum of the value, with respect to `x`,",
        "which is float64 unless another dtype is named.",
    ]
    for section, rows in TABLE.items():
        lines += ["", f"## {section}", "", "| at | of | x | value | gradient |", "|---|---|---|---|---|"]
        for row in rows:
            x = code(row.x) + (f", {row.dtype}" if row.dtype != "float64" else "")
            value = row.error or code(row.value) + (f", and a {row.warning}" if row.warning else "")
            cells = (row.case, code(row.expression), x, value, code(row.gradient))
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def code(text):
    return text and f"`{text}`"


def test_the_page_shows_these_rows():
    assert PAGE.read_text(encoding="utf-8") == page(), "write it anew: python tests/test_edge_cases.py"


def test_a_row_that_is_wrong_is_found():
    right = TABLE["Kinks, ties, powers and roots"][0]
    for wrong in (
        right._replace(value="1"),
        right._replace(value="[2]"),
        right._replace(gradient="[1, 0]"),
        right._replace(warning="RuntimeWarning: none"),
        right._replace(error="ValueError: none"),
    ):
        with pytest.raises((AssertionError, pytest.fail.Exception)):
            test_values_and_gradients_at_the_edges(wrong)


def test_an_empty_mean_or_batch_warns_where_the_user_called():
    with pytest.warns(RuntimeWarning) as seen:
        F.cross_entropy(mg.zeros(0, 2), [])
    assert [Path(w.filename).name for w in seen] == [Path(__file__).name]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
