"""What is timed: the same training step of an encoder, written for each framework as its users would write it.

A step: token embedding, pre-norm encoder layers, a linear head over the words, mean cross entropy on every token,
backward, Adam; float32, no dropout. A function here imports its framework itself, so that a process holds no other,
and returns a function without arguments: one step.
"""

import functools
import os
from typing import NamedTuple

import numpy as np

THREADS = 2


class Size(NamedTuple):
    batch: int
    tokens: int
    width: int
    heads: int
    hidden: int
    layers: int
    words: int


SIZES = {
    "XS": Size(32, 8, 32, 4, 64, 2, 16),
    "S": Size(64, 16, 64, 4, 256, 2, 16),
    "M": Size(32, 64, 128, 4, 512, 4, 64),
    "L": Size(16, 128, 256, 8, 1024, 6, 64),
}
OPTIONS = ("post-norm", "GELU", "dropout 0.1", "mask", "batch norm")


class Work(NamedTuple):
    """What a process is to do: a training step or inference of this size, with one option or none."""

    size: Size
    option: str = ""
    inference: bool = False
    checkpoint: bool = False


def tokens(size):
    """Random words, and the words to be found for them."""
    return (np.random.default_rng(i).integers(0, size.words, (size.batch, size.tokens)) for i in (0, 1))


def allowed(size):
    """(B, T), True for a token that is there: sequences of between T / 2 and T tokens."""
    lengths = np.random.default_rng(2).integers(size.tokens // 2, size.tokens + 1, size.batch)
    return np.arange(size.tokens) < lengths[:, None]


# ---- minigrad --------------------------------------------------------------------------------------------------------


def minigrad(work):
    import minigrad as mg
    import minigrad.functional as F
    from minigrad import nn, optim
    from minigrad.models import Encoder

    class Checkpointed(nn.Module):
        def __init__(self, layer):
            self.layer = layer

        def forward(self, *inputs):
            return mg.checkpoint(self.layer, *inputs)

    class Model(nn.Module):
        def __init__(self, size, **options):
            self.embedding = nn.Embedding(size.words, size.width)
            self.encoder = Encoder(size.layers, size.width, size.heads, size.hidden, **options)
            self.head = nn.Linear(size.width, size.words)

        def forward(self, ids, mask=None):
            return self.head(self.encoder(self.embedding(ids), mask))

    options = {
        "post-norm": {"norm_first": False},
        "GELU": {"activation": "gelu"},
        "dropout 0.1": {"dropout": 0.1},
        "batch norm": {"norm": "batch"},
    }
    mg.seed(0)
    size = work.size
    model = Model(size, **options.get(work.option, {}))
    if work.checkpoint:
        model.encoder.layers = [Checkpointed(layer) for layer in model.encoder.layers]
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    ids, targets = tokens(size)
    mask = allowed(size)[:, None, None, :] if work.option == "mask" else None

    def train():
        loss = F.cross_entropy(model(ids, mask), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    @mg.no_grad()
    def infer():
        return float(model(ids, mask).data[0, 0, 0])

    model.train(not work.inference)
    return infer if work.inference else train


# ---- PyTorch ---------------------------------------------------------------------------------------------------------


def pytorch(work, fused=True, compiled=False):
    import torch

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    size, option = work.size, work.option

    class BatchNormTokens(torch.nn.Module):
        def __init__(self, width):
            super().__init__()
            self.norm = torch.nn.BatchNorm1d(width)

        def forward(self, x):
            return self.norm(x.reshape(-1, x.shape[-1])).reshape(x.shape)

    norm = BatchNormTokens if option == "batch norm" else torch.nn.LayerNorm
    post = option == "post-norm"
    activation = (
        (lambda x: torch.nn.functional.gelu(x, approximate="tanh")) if option == "GELU" else torch.nn.functional.relu
    )
    dropout = 0.1 if option == "dropout 0.1" else 0.0

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            layer = torch.nn.TransformerEncoderLayer(
                size.width, size.heads, size.hidden, dropout, activation, norm_first=not post, batch_first=True
            )
            if option == "batch norm":
                layer.norm1, layer.norm2 = norm(size.width), norm(size.width)
            self.embedding = torch.nn.Embedding(size.words, size.width)
            self.encoder = torch.nn.TransformerEncoder(
                layer, size.layers, None if post else norm(size.width), enable_nested_tensor=False
            )
            self.head = torch.nn.Linear(size.width, size.words)

        def forward(self, ids, padding):
            return self.head(self.encoder(self.embedding(ids), src_key_padding_mask=padding))

    model = Model()
    ids, targets = map(torch.from_numpy, tokens(size))
    padding = torch.from_numpy(~allowed(size)) if option == "mask" else None

    if work.inference:
        model.eval()

        def infer():
            with torch.inference_mode():
                return model(ids, padding)[0, 0, 0].item()

        return infer

    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=fused)
    called = torch.compile(model) if compiled else model

    def train():
        loss = torch.nn.functional.cross_entropy(called(ids, padding).flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return train


# ---- JAX, MyGrad and HIPS autograd: the same step written out in their NumPy -----------------------------------------


def start(size):
    """Parameters drawn as the layers of minigrad and PyTorch draw them, in the order in which they are used."""
    rng = np.random.default_rng(0)
    d, hidden = size.width, size.hidden

    def linear(n, m):
        return rng.uniform(-(n**-0.5), n**-0.5, (n, m)), np.zeros(m)

    norm = np.ones(d), np.zeros(d)
    parameters = [rng.standard_normal((size.words, d))]
    for _ in range(size.layers):
        parameters += [*norm, *linear(d, 3 * d), *linear(d, d), *norm, *linear(d, hidden), *linear(hidden, d)]
    parameters += [*norm, *linear(d, size.words)]
    return [p.astype(np.float32) for p in parameters]


def logits(np, parameters, ids, size):
    """The encoder in the functions of this module, which may be jax.numpy, autograd.numpy or mygrad."""
    n, d, e = size.batch * size.tokens, size.width, size.width // size.heads
    given = iter(parameters)

    def norm(x):
        c = x - np.mean(x, axis=-1, keepdims=True)
        return c / np.sqrt(np.mean(c * c, axis=-1, keepdims=True) + 1e-5) * next(given) + next(given)

    def linear(x):
        return np.matmul(x, next(given)) + next(given)

    def attention(x):
        parts = np.reshape(linear(x), (size.batch, size.tokens, 3, size.heads, e))
        q, k, v = (np.transpose(parts[:, :, i], (0, 2, 1, 3)) for i in range(3))
        scores = np.matmul(q, np.swapaxes(k, -1, -2)) * e**-0.5
        weights = np.exp(scores - np.max(scores, axis=-1, keepdims=True))
        weights = weights / np.sum(weights, axis=-1, keepdims=True)
        return linear(np.reshape(np.transpose(np.matmul(weights, v), (0, 2, 1, 3)), (n, d)))

    x = next(given)[ids.ravel()]
    for _ in range(size.layers):
        x = x + attention(norm(x))
        x = x + linear(np.maximum(linear(norm(x)), 0.0))
    return linear(norm(x))


def loss_of(np, parameters, ids, targets, size):
    z = logits(np, parameters, ids, size)
    z = z - np.max(z, axis=-1, keepdims=True)
    picked = z[list(range(targets.size)), targets.ravel().tolist()]
    return np.mean(np.log(np.sum(np.exp(z), axis=-1)) - picked)


def adam(parameters, gradients, means, squares, step, sqrt):
    """New parameters, means and squares."""
    means = [0.9 * m + 0.1 * g for m, g in zip(means, gradients, strict=True)]
    squares = [0.999 * v + 0.001 * g * g for v, g in zip(squares, gradients, strict=True)]
    rate = 1e-3 * (1 - 0.999**step) ** 0.5 / (1 - 0.9**step)
    new = [p - rate * m / (sqrt(v) + 1e-8) for p, m, v in zip(parameters, means, squares, strict=True)]
    return new, means, squares


def jax(work):
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    import jax
    import jax.numpy as jnp

    size = work.size
    ids, targets = map(jnp.asarray, tokens(size))
    if work.inference:
        parameters = list(map(jnp.asarray, start(size)))
        run = jax.jit(lambda parameters, ids: logits(jnp, parameters, ids, size))
        return lambda: float(run(parameters, ids)[0, 0])

    @functools.partial(jax.jit, donate_argnums=(0, 1, 2))
    def update(parameters, means, squares, step, ids, targets):
        def loss(parameters):
            z = logits(jnp, parameters, ids, size)
            return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(z), targets.reshape(-1, 1), axis=-1))

        value, gradients = jax.value_and_grad(loss)(parameters)
        return value, *adam(parameters, gradients, means, squares, step, jnp.sqrt)

    parameters = list(map(jnp.asarray, start(size)))
    state = [parameters, *([jnp.zeros_like(p) for p in parameters] for _ in range(2))]
    steps = iter(range(1, 1 << 60))

    def train():
        value, *state[:] = update(*state, float(next(steps)), ids, targets)
        return float(value)

    return train


def written_out(work, value_and_gradients):
    """A step with Adam in plain NumPy around a function that gives the loss and its gradients."""
    ids, targets = tokens(work.size)
    parameters = start(work.size)
    state = [parameters, *([np.zeros_like(p) for p in parameters] for _ in range(2))]
    steps = iter(range(1, 1 << 60))

    def train():
        value, gradients = value_and_gradients(state[0], ids, targets)
        state[:] = adam(state[0], gradients, *state[1:], next(steps), np.sqrt)
        return float(value)

    return train


def hips_autograd(work):
    import autograd
    import autograd.numpy as anp

    return written_out(work, autograd.value_and_grad(lambda p, ids, targets: loss_of(anp, p, ids, targets, work.size)))


def mygrad(work):
    import mygrad

    def value_and_gradients(parameters, ids, targets):
        tensors = list(map(mygrad.tensor, parameters))
        loss = loss_of(mygrad, tensors, ids, targets, work.size)
        loss.backward()
        return loss.item(), [tensor.grad for tensor in tensors]

    return written_out(work, value_and_gradients)


# ---- tinygrad --------------------------------------------------------------------------------------------------------


def tinygrad(work):
    os.environ.setdefault("DEV", "CPU")
    from tinygrad import Tensor, TinyJit, nn

    size = work.size
    b, t, d, h = size.batch, size.tokens, size.width, size.heads

    class Layer:
        def __init__(self):
            self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)
            self.qkv, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)
            self.linear1, self.linear2 = nn.Linear(d, size.hidden), nn.Linear(size.hidden, d)

        def __call__(self, x):
            q, k, v = self.qkv(self.norm1(x)).reshape(b, t, 3, h, d // h).permute(2, 0, 3, 1, 4)
            y = q.scaled_dot_product_attention(k, v).transpose(1, 2).reshape(b, t, d)
            x = x + self.out(y)
            return x + self.linear2(self.linear1(self.norm2(x)).relu())

    class Model:
        def __init__(self):
            self.embedding, self.norm, self.head = (
                nn.Embedding(size.words, d),
                nn.LayerNorm(d),
                nn.Linear(d, size.words),
            )
            self.layers = [Layer() for _ in range(size.layers)]

        def __call__(self, ids):
            return self.head(self.norm(self.embedding(ids).sequential(self.layers)))

    model = Model()
    optimizer = nn.optim.Adam(nn.state.get_parameters(model), lr=1e-3)
    ids, targets = (Tensor(x.astype(np.int32)).realize() for x in tokens(size))

    @TinyJit
    @Tensor.train()
    def update():
        optimizer.zero_grad()
        loss = model(ids).flatten(0, 1).sparse_categorical_crossentropy(targets.flatten()).backward()
        return loss.realize(*optimizer.schedule_step())

    return lambda: update().item()


# ---- the floor -------------------------------------------------------------------------------------------------------


def matmul_floor(work):
    """The matrix products of a step (or of inference) and nothing else, into arrays that are there already."""
    size = work.size
    n, d, e = size.batch * size.tokens, size.width, size.width // size.heads
    heads = (size.batch, size.heads)
    scores = (*heads, size.tokens, size.tokens)
    layer = [  # what is multiplied with what
        ((n, d), (d, 3 * d)),
        ((*heads, size.tokens, e), (*heads, e, size.tokens)),
        (scores, (*heads, size.tokens, e)),
        ((n, d), (d, d)),
        ((n, d), (d, size.hidden)),
        ((n, size.hidden), (size.hidden, d)),
    ]
    products = []
    for left, right in [*layer * size.layers, ((n, d), (d, size.words))]:
        x, y = np.ones(left, np.float32), np.ones(right, np.float32)
        z = x @ y
        products.append((x, y, z))
        if not work.inference:
            products += [(z, y.mT, np.empty_like(x)), (x.mT, z, np.empty_like(y))]

    def multiply():
        for x, y, z in products:
            np.matmul(x, y, out=z)

    return multiply


# ---- small operations ------------------------------------------------------------------------------------------------

COUNT = 500  # operations one after the other: forward of all, then backward of all

SMALL = {  # three numbers x become three others, with constants y of 3 and w of 3 × 3 numbers; np: NumPy or the like
    "x + y": lambda np, x, y, w: x + y,
    "x - y": lambda np, x, y, w: x - y,
    "x * y": lambda np, x, y, w: x * y,
    "x / y": lambda np, x, y, w: x / y,
    "-x": lambda np, x, y, w: -x,
    "x ** -1": lambda np, x, y, w: x**-1,
    "absolute(x)": lambda np, x, y, w: np.absolute(x),
    "tanh(x)": lambda np, x, y, w: np.tanh(x),
    "maximum(x, y)": lambda np, x, y, w: np.maximum(x, y),
    "w @ x": lambda np, x, y, w: np.matmul(w, x),
    "reshape(x, 3)": lambda np, x, y, w: np.reshape(x, (3,)),
    "x[:]": lambda np, x, y, w: x[:],
}
CONSTANTS = np.ones(3, np.float32), np.eye(3, dtype=np.float32)  # y and w


def small(name, np, y, w, backward):
    """COUNT times this operation, forward and backward; backward(f) differentiates f, which takes x to one number."""

    def chain(x):
        for _ in range(COUNT):
            x = SMALL[name](np, x, y, w)
        return x[0]

    return lambda: backward(chain)


def minigrad_small(name):
    import minigrad as mg

    x = mg.full(3, 2.0, requires_grad=True)
    return small(name, np, *map(mg.tensor, CONSTANTS), lambda f: f(x).backward())


def pytorch_small(name):
    import torch

    torch.set_num_threads(THREADS)
    x = torch.full((3,), 2.0, requires_grad=True)
    return small(name, torch, *map(torch.from_numpy, CONSTANTS), lambda f: f(x).backward())


def mygrad_small(name):
    import mygrad

    start = np.full(3, 2.0, np.float32)

    def backward(f):
        f(mygrad.tensor(start)).backward()

    return small(name, mygrad, *(mygrad.tensor(c, constant=True) for c in CONSTANTS), backward)


def hips_autograd_small(name):
    import autograd
    import autograd.numpy as anp

    x = np.full(3, 2.0, np.float32)
    return small(name, anp, *CONSTANTS, lambda f: autograd.grad(f)(x))


def minigrad_graph(nodes):
    """A graph of this many nodes made and pulled back through."""
    import minigrad as mg

    x, one = mg.ones(3, requires_grad=True), mg.ones(3)

    def run():
        y = x
        for _ in range(nodes - 1):
            y = y + one
        np.sum(y).backward()

    return run
