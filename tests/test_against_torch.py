"""Layers, losses, optimisers and a whole encoder layer against PyTorch, where it is installed."""

import numpy as np
import pytest

import minigrad as mg
import minigrad.functional as F
from minigrad import nn, optim
from minigrad.models import EncoderLayer

torch = pytest.importorskip("torch", reason="PyTorch is not installed: nothing is compared with it")
TF = torch.nn.functional
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def A(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def same(ours, theirs, inputs, parameters=(), **tolerance):
    """Hold outputs, and gradients of inputs and of pairs of parameters, against each other."""
    xs = [mg.tensor(x, requires_grad=x.dtype == np.float32) for x in inputs]
    ts = [torch.tensor(x, requires_grad=x.dtype == np.float32) for x in inputs]
    y, t = ours(*xs), theirs(*ts)
    tolerance = CLOSE | tolerance
    np.testing.assert_allclose(y.data, t.detach().numpy(), **tolerance)
    g = A(*y.shape, seed=9)
    y.backward(g)
    t.backward(torch.tensor(g))
    for x, z in [*zip(xs, ts, strict=True), *parameters]:
        if x.requires_grad:
            np.testing.assert_allclose(x.grad.data, z.grad.numpy(), **tolerance)


def copied(layer, theirs):
    """Our parameters and theirs in pairs, after ours were written into theirs; they have the same names."""
    other = dict(theirs.named_parameters())
    with torch.no_grad():
        for name, p in layer.named_parameters():
            other[name].copy_(torch.tensor(p.data))
    assert other.keys() == {name for name, _ in layer.named_parameters()}
    return [(p, other[name]) for name, p in layer.named_parameters()]


def shaken(layer):
    """The layer with all parameters away from their ones and zeros."""
    for i, p in enumerate(layer.parameters()):
        p.data[...] = p.data + 0.3 * A(*p.shape, seed=i)
    return layer


LAYERS = [
    (lambda: nn.Linear(3, 2), lambda: torch.nn.Linear(3, 2), (4, 5, 3)),
    (lambda: nn.LayerNorm(6), lambda: torch.nn.LayerNorm(6), (4, 5, 6)),
    (lambda: nn.LayerNorm((5, 6), eps=0.1), lambda: torch.nn.LayerNorm((5, 6), eps=0.1), (4, 5, 6)),
    (lambda: nn.RMSNorm(6), lambda: torch.nn.RMSNorm(6, eps=1e-6), (4, 6)),
    (lambda: nn.BatchNorm1d(6), lambda: torch.nn.BatchNorm1d(6), (8, 6)),
    (lambda: nn.BatchNorm1d(6, momentum=None), lambda: torch.nn.BatchNorm1d(6, momentum=None), (3, 6, 4)),
    (lambda: nn.GroupNorm(2, 6), lambda: torch.nn.GroupNorm(2, 6), (3, 6, 4)),
    (lambda: nn.InstanceNorm1d(6, affine=True), lambda: torch.nn.InstanceNorm1d(6, affine=True), (3, 6, 4)),
    (lambda: nn.GELU(), lambda: torch.nn.GELU(), (3, 6)),
    (lambda: nn.GELU("tanh"), lambda: torch.nn.GELU("tanh"), (3, 6)),
]


@pytest.mark.parametrize(("ours", "theirs", "shape"), LAYERS)
def test_layers(ours, theirs, shape):
    layer, other = shaken(ours()), theirs()
    pairs = copied(layer, other)
    for seed in range(3):  # the third time in evaluation
        layer.train(seed < 2)
        other.train(seed < 2)
        same(layer, other, [A(*shape, seed=seed)], pairs)
        layer.zero_grad()
        other.zero_grad()
    buffers = dict(other.named_buffers())
    for name, value in layer.named_buffers():
        np.testing.assert_allclose(value, buffers[name].numpy(), **CLOSE)


def test_embedding():
    layer, other = nn.Embedding(5, 3, padding_idx=2), torch.nn.Embedding(5, 3, padding_idx=2)
    pairs = copied(layer, other)
    same(layer, other, [np.array([[1, 2, 2], [4, 1, 0]])], pairs)


@pytest.mark.parametrize("mask", [None, np.tri(4, dtype=bool)])
def test_multi_head_attention(mask):
    layer, other = shaken(nn.MultiHeadAttention(8, 2)), torch.nn.MultiheadAttention(8, 2, batch_first=True)
    pairs = copied(layer, other)
    blocked = None if mask is None else torch.tensor(~mask)  # their layer's masks say who may not attend
    same(
        lambda x: layer(x, mask=mask),
        lambda x: other(x, x, x, attn_mask=blocked, need_weights=False)[0],
        [A(3, 4, 8)],
        pairs,
    )
    layer.zero_grad()
    other.zero_grad()
    same(
        layer,
        lambda q, k, v: other(q, k, v, need_weights=False)[0],
        [A(3, 4, 8), A(3, 5, 8), A(3, 5, 8, seed=1)],
        pairs,
    )


@pytest.mark.parametrize("is_causal", [False, True])
def test_scaled_dot_product_attention(is_causal):
    mask = np.random.default_rng(0).random((3, 1, 4, 5)) > 0.3
    if is_causal:
        same(
            lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
            lambda q, k, v: TF.scaled_dot_product_attention(q, k, v, is_causal=True),
            [A(3, 2, 4, 6), A(3, 2, 5, 6), A(3, 2, 5, 7)],
        )
    else:
        same(
            lambda q, k, v: F.scaled_dot_product_attention(q, k, v, mask, scale=0.3),
            lambda q, k, v: TF.scaled_dot_product_attention(q, k, v, torch.tensor(mask), scale=0.3),
            [A(3, 2, 4, 6), A(3, 2, 5, 6), A(3, 2, 5, 7)],
        )


NAMES = {
    "attention.sublayer.sublayer.in_proj_weight": "self_attn.in_proj_weight",
    "attention.sublayer.sublayer.in_proj_bias": "self_attn.in_proj_bias",
    "attention.sublayer.sublayer.out_proj.weight": "self_attn.out_proj.weight",
    "attention.sublayer.sublayer.out_proj.bias": "self_attn.out_proj.bias",
    "feed_forward.sublayer.sublayer.linear1.weight": "linear1.weight",
    "feed_forward.sublayer.sublayer.linear1.bias": "linear1.bias",
    "feed_forward.sublayer.sublayer.linear2.weight": "linear2.weight",
    "feed_forward.sublayer.sublayer.linear2.bias": "linear2.bias",
    "attention.sublayer.norm.weight": "norm1.weight",
    "attention.sublayer.norm.bias": "norm1.bias",
    "feed_forward.sublayer.norm.weight": "norm2.weight",
    "feed_forward.sublayer.norm.bias": "norm2.bias",
}


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_a_whole_encoder_layer(norm_first, activation):
    layer = shaken(EncoderLayer(8, 2, 16, activation=activation, norm_first=norm_first))
    activation = "relu" if activation == "relu" else lambda x: TF.gelu(x, approximate="tanh")
    other = torch.nn.TransformerEncoderLayer(8, 2, 16, 0.0, activation, norm_first=norm_first, batch_first=True)
    theirs = dict(other.named_parameters())
    pairs = []
    with torch.no_grad():
        for name, p in layer.named_parameters():
            q = theirs.pop(NAMES.get(name, name))
            q.copy_(torch.tensor(p.data))
            pairs.append((p, q))
    assert not theirs
    same(layer, other, [A(3, 5, 8)], pairs, rtol=1e-3, atol=1e-4)


UNARY = [
    (F.relu, TF.relu), (F.leaky_relu, TF.leaky_relu), (F.elu, TF.elu), (F.silu, TF.silu), (F.sigmoid, torch.sigmoid),
    (F.softplus, TF.softplus), (F.softmax, lambda x: TF.softmax(x, -1)), (F.log_softmax, lambda x: TF.log_softmax(x, -1)),
    (F.logsumexp, lambda x: torch.logsumexp(x, (0, 1))),
]  # fmt: skip


@pytest.mark.parametrize(("ours", "theirs"), UNARY)
def test_functions(ours, theirs):
    same(ours, theirs, [A(4, 7) * 5])


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
def test_cross_entropy(reduction, label_smoothing):
    target = np.array([0, 3, -100, 2])
    settings = {"reduction": reduction, "label_smoothing": label_smoothing}
    same(
        lambda x: F.cross_entropy(x, target, **settings),
        lambda x: TF.cross_entropy(x, torch.tensor(target), **settings),
        [A(4, 5)],
    )


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "huber_loss", "binary_cross_entropy_with_logits"])
def test_losses(name, reduction):
    y = A(4, 5, seed=1) if "binary" not in name else 1 / (1 + np.exp(-A(4, 5)))
    same(
        lambda x: getattr(F, name)(x, y, reduction=reduction),
        lambda x: getattr(TF, name)(x, torch.tensor(y), reduction=reduction),
        [A(4, 5)],
    )
    same(
        lambda x: F.nll_loss(x, [0, 1, 2, 3], reduction=reduction),
        lambda x: TF.nll_loss(x, torch.tensor([0, 1, 2, 3]), reduction=reduction),
        [-np.exp(A(4, 5))],
    )


OPTIMIZERS = [
    (optim.SGD, torch.optim.SGD, {"lr": 0.1}),
    (optim.SGD, torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.05}),
    (optim.SGD, torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    (optim.RMSprop, torch.optim.RMSprop, {"lr": 0.01, "alpha": 0.9, "weight_decay": 0.1, "momentum": 0.5}),
    (optim.Adam, torch.optim.Adam, {"lr": 0.01}),
    (optim.Adam, torch.optim.Adam, {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-5, "weight_decay": 0.1}),
    (optim.AdamW, torch.optim.AdamW, {"lr": 0.01, "weight_decay": 0.1}),
]


@pytest.mark.parametrize(("ours", "theirs", "settings"), OPTIMIZERS)
def test_optimizers_over_20_steps(ours, theirs, settings):
    layer, other = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)), torch.nn.Sequential()
    other.layers = torch.nn.ModuleList([torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)])
    pairs = copied(layer, other)
    a, b = ours(layer.parameters(), **settings), theirs([q for _, q in pairs], **settings)
    target = np.array([0, 1, 2, 0, 1])
    for step in range(20):
        x = A(5, 4, seed=step)
        a.zero_grad()
        F.cross_entropy(layer(x), target).backward()
        t = torch.tensor(x)
        for part in other.layers:
            t = part(t)
        b.zero_grad()
        TF.cross_entropy(t, torch.tensor(target)).backward()
        if step == 7:  # once without one of the gradients
            pairs[1][0].grad = pairs[1][1].grad = None
        a.step()
        b.step()
    for p, q in pairs:
        np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=1e-4, atol=1e-6)


def test_one_cycle():
    ours, theirs = optim.SGD([nn.Parameter(np.ones(1))], lr=0.5), torch.optim.SGD([torch.ones(1)], lr=0.5)
    schedule = optim.OneCycleLR(ours, total_steps=20)
    other = torch.optim.lr_scheduler.OneCycleLR(theirs, max_lr=0.5, total_steps=20, cycle_momentum=False)
    for _ in range(19):
        assert ours.param_groups[0]["lr"] == pytest.approx(theirs.param_groups[0]["lr"])
        theirs.step()
        schedule.step()
        other.step()


def test_attention_with_other_widths_and_its_weights():
    layer = shaken(nn.MultiHeadAttention(8, 2, kdim=4, vdim=6))
    other = torch.nn.MultiheadAttention(8, 2, batch_first=True, kdim=4, vdim=6)
    pairs = copied(layer, other)
    inputs = [A(3, 4, 8), A(3, 5, 4), A(3, 5, 6)]
    same(layer, lambda q, k, v: other(q, k, v)[0], inputs, pairs)
    weights = other(*map(torch.tensor, inputs), average_attn_weights=False)[1]
    np.testing.assert_allclose(layer(*inputs, need_weights=True)[1].data, weights.detach().numpy(), **CLOSE)


def test_clipping():
    ps = [mg.tensor(A(3), requires_grad=True), mg.tensor(A(2, 2), requires_grad=True)]
    qs = [torch.tensor(p.data, requires_grad=True) for p in ps]
    for p, q in zip(ps, qs, strict=True):
        np.sum(p * p).backward()
        (q * q).sum().backward()
    norm = optim.clip_grad_norm_(ps, 0.5)
    assert norm == pytest.approx(torch.nn.utils.clip_grad_norm_(qs, 0.5).item())
    for p, q in zip(ps, qs, strict=True):
        np.testing.assert_allclose(p.grad.data, q.grad.numpy(), rtol=1e-5)
