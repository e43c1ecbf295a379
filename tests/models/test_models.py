import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from minigrad.models import MLP, Encoder, EncoderLayer, FeedForward, SequenceClassifier
from minigrad.models.encoder import BatchNormTokens
from minigrad.testing import check_layer


def A(*shape):
    return np.random.default_rng(shape).standard_normal(shape)


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("norm", ["layer", "batch", "rms", "none"])
@pytest.mark.parametrize("residual", [True, False])
def test_encoder_layers(norm_first, norm, residual):
    layer = EncoderLayer(4, 2, 6, dropout=0.2, activation="gelu", norm_first=norm_first, norm=norm, residual=residual)
    mask = np.array([True, True, False])
    check_layer(layer, A(2, 3, 4), mask)


def test_the_other_models():
    check_layer(FeedForward(4, 6), A(2, 3, 4))
    check_layer(MLP(6, 4, 3), A(2, 2, 3))
    check_layer(SequenceClassifier(4, 3, 5, num_layers=1, d_model=4, nhead=2, dim_feedforward=4), A(2, 3, 4))


@pytest.mark.parametrize("norm_first", [True, False])
def test_a_layer_is_its_diagram(norm_first):
    layer, x = EncoderLayer(4, 2, 6, norm_first=norm_first), mg.randn(2, 3, 4)
    if norm_first:
        attention, feed_forward = layer.attention.sublayer, layer.feed_forward.sublayer
        h = x + attention.sublayer(attention.norm(x))
        y = h + feed_forward.sublayer(feed_forward.norm(h))
    else:
        h = layer.norm1(x + layer.attention.sublayer.sublayer(x))
        y = layer.norm2(h + layer.feed_forward.sublayer.sublayer(h))
    np.testing.assert_array_equal(layer(x).data, y.data)


def test_a_generator_decides_on_every_parameter():
    def states():
        rng = np.random.default_rng(3)
        options = {"num_layers": 1, "d_model": 4, "nhead": 2, "dim_feedforward": 4, "rng": rng}
        for model in (SequenceClassifier(4, 3, 5, **options), Encoder(**options), MLP(3, 4, 2, rng=rng)):
            yield from model.state_dict().items()

    for (name, a), (_, b) in zip(states(), states(), strict=True):
        np.testing.assert_array_equal(a, b, err_msg=name)


def test_an_encoder_ends_with_a_norm_where_its_layers_begin_with_one():
    x = mg.randn(2, 3, 4)
    np.testing.assert_allclose(Encoder(2, 4, 2, 6)(x).data.std(-1), 1, atol=1e-2)
    assert "norm.weight" not in dict(Encoder(2, 4, 2, 6, norm_first=False).named_parameters())


def test_attention_weights_of_every_layer():
    encoder = Encoder(3, 4, 2, 6, residual=False)
    weights = encoder.attention_weights(mg.randn(2, 5, 4))
    assert [w.shape for w in weights] == [(2, 2, 5, 5)] * 3
    np.testing.assert_allclose(weights[2].data.sum(-1), 1, rtol=1e-5)


def test_an_encoder_without_positions_does_not_know_the_order():
    encoder, x = Encoder(2, 4, 2, 6).eval(), mg.randn(1, 5, 4)
    np.testing.assert_allclose(encoder(x[:, ::-1]).data[:, ::-1], encoder(x).data, atol=1e-5)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: EncoderLayer(4, 2, 6, norm="group"), "norm must be one of layer, batch, rms, none, not 'group'"),
        (lambda: EncoderLayer(4, 2, 6, activation="tanh"), "activation must be one of relu, gelu, not 'tanh'"),
        (lambda: Encoder(0, 4, 2, 6), "num_layers must be at least 1, not 0"),
        (
            lambda: SequenceClassifier(4, 3, 5, 1, d_model=4, nhead=2, dim_feedforward=4)(mg.zeros(2, 4)),
            r"expected \(batch, tokens, features\), got \(2, 4\)",
        ),
        (lambda: MLP(3), "at least the sizes of its input and its output"),
        (
            lambda: SequenceClassifier(4, 3, 5, 1, d_model=4, nhead=2, dim_feedforward=4)(mg.zeros(2, 6, 4)),
            "6 tokens are more than max_tokens=5",
        ),
        (
            lambda: Encoder(2, 4, 2, 6)(mg.randn(2, 3, 5)),
            r"expected x of shape \(\.\.\., 4\), got \(2, 3, 5\)\nin layers\.0\.attention\.sublayer\.norm \(LayerNorm\(n",
        ),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_padding_does_not_count():
    model = SequenceClassifier(4, 3, 5, num_layers=2, d_model=4, nhead=2, dim_feedforward=4).eval()
    x, there = A(2, 5, 4).astype(np.float32), np.array([[True] * 3 + [False] * 2, [True] * 5])
    y = model(x, there).data
    np.testing.assert_allclose(model(x[:1, :3]).data, y[:1], rtol=1e-4)
    x[0, 3:] = 9
    np.testing.assert_array_equal(model(x, padding_mask=there).data, y)


@pytest.mark.parametrize("content", [0, 100, np.nan])
@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("norm", ["layer", "batch", "rms", "none"])
def test_what_stands_at_padding_is_of_no_influence(norm, norm_first, content):
    """Neither on what comes out nor on a gradient: of no other token, and of no parameter, nor on running statistics."""
    there = np.arange(5) < np.array([3, 5, 1])[:, None]
    options = {"num_layers": 2, "d_model": 4, "nhead": 2, "dim_feedforward": 6, "norm": norm, "norm_first": norm_first}
    tokens = A(3, 5, 4).astype(np.float32)
    results = []
    for c in (1.5, content):
        mg.seed(0)
        encoder, classifier = Encoder(**options), SequenceClassifier(4, 3, 5, **options)
        tokens[~there] = c
        x = mg.tensor(tokens, requires_grad=True)
        outputs = [encoder(x, padding_mask=there, is_causal=True)[there], classifier(x, there)]
        outputs += encoder.attention_weights(x, padding_mask=there)
        sum(np.sum(np.sin(y)) for y in outputs).backward()
        assert not x.grad.data[~there].any()
        grads = [p.grad for model in (encoder, classifier) for p in model.parameters()]
        results.append([*outputs, x.grad, *grads, *encoder.state_dict().values()])
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(*(z.data if isinstance(z, mg.Tensor) else z for z in (a, b)))
        assert np.isfinite(a.data).all()


def test_batch_norm_over_tokens_leaves_padding_out():
    norm, x, there = BatchNormTokens(4), mg.tensor(A(3, 5, 4).astype(np.float32)), np.tri(3, 5, dtype=bool)
    y = norm(x, there).data
    assert not y[~there].any()
    np.testing.assert_allclose(y[there].mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(y[there].std(0), 1, rtol=1e-4)
    np.testing.assert_allclose(norm.norm.running_mean, 0.1 * x.data[there].mean(0), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(norm.norm.running_var, 0.9 + 0.1 * x.data[there].var(0, ddof=1), rtol=1e-5)
    norm.eval()
    np.testing.assert_allclose(norm(x, there).data[there], norm(x).data[there], rtol=1e-5)


@pytest.mark.parametrize("norm_first", [True, False])
def test_every_batch_norm_of_an_encoder_leaves_padding_out(norm_first):
    """So one more token of padding changes nothing."""
    longer = mg.tensor(A(3, 6, 4).astype(np.float32))
    there = np.arange(6) < np.array([3, 5, 1])[:, None]
    found = []
    for x, mask in ((longer, there), (longer[:, :5], there[:, :5])):
        mg.seed(0)
        encoder = Encoder(2, 4, 2, 6, norm="batch", norm_first=norm_first)
        weights = encoder.attention_weights(x, padding_mask=mask)[0][..., :5, :5].data
        found.append([encoder(x, padding_mask=mask)[mask].data, weights, *encoder.state_dict().values()])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    means = found[0][0].mean(0)  # of what the last norm made
    np.testing.assert_allclose(means, 0, atol=1e-6)


@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_a_padded_layer_has_the_right_gradients(norm):
    class Padded(mg.nn.Module):
        def __init__(self):
            self.layer = EncoderLayer(4, 2, 6, activation="gelu", norm=norm)

        def forward(self, x):
            return self.layer(x, padding_mask=np.array([[True, True, False], [True, True, True]]), is_causal=True)

    check_layer(Padded(), A(2, 3, 4))


def test_attention_weights_honour_their_masks():
    encoder, x = Encoder(2, 4, 2, 6), mg.randn(2, 3, 4)
    there, mask = (
        np.array([[True, True, False], [True, True, True]]),
        np.eye(3, dtype=bool)[::-1] | np.eye(3, dtype=bool),
    )
    for masks, allowed in [
        ({"mask": mask}, mask),
        ({"padding_mask": there}, there[:, None, None]),
        ({"is_causal": True}, np.tri(3, dtype=bool)),
        ({"mask": mask, "padding_mask": there, "is_causal": True}, mask & there[:, None, None] & np.tri(3, dtype=bool)),
    ]:
        weights_of_all = encoder.attention_weights(x, **masks)
        for weights in weights_of_all:
            assert np.array_equal(weights.data > 0, np.broadcast_to(allowed, (2, 2, 3, 3)))
        y = encoder(x, **masks)
        layer = encoder.layers[0]
        np.testing.assert_array_equal(layer.attention_weights(x, **masks).data, weights_of_all[0].data)
        np.testing.assert_array_equal(encoder.norm(encoder.layers[1](layer(x, **masks), **masks)).data, y.data)


def test_what_stands_in_for_a_layer_or_a_part_need_not_know_all_masks():
    class Wrapped(mg.nn.Module):
        def __init__(self, layer):
            self.layer = layer

        def forward(self, x, mask=None):
            return self.layer(x, mask)

    encoder, x = Encoder(2, 4, 2, 6), mg.randn(2, 3, 4)
    encoder.layers = [Wrapped(layer) for layer in encoder.layers]
    encoder.layers[0].layer.feed_forward = mg.nn.Linear(4, 4)
    assert encoder(x, np.tri(3, dtype=bool)).shape == (2, 3, 4)


def test_a_causal_encoder_does_not_look_ahead():
    encoder, x = Encoder(2, 4, 2, 6), A(2, 5, 4).astype(np.float32)
    y = encoder(x, is_causal=True).data
    np.testing.assert_allclose(encoder(x, np.tri(5, dtype=bool)).data, y, rtol=1e-6)
    np.testing.assert_allclose(encoder(x[:, :3], is_causal=True).data, y[:, :3], rtol=1e-4, atol=1e-5)


def test_a_sequence_of_padding_alone_is_classified_by_the_bias():
    model = SequenceClassifier(4, 3, 5, num_layers=1, d_model=4, nhead=2, dim_feedforward=4)
    y = model(A(2, 5, 4).astype(np.float32), np.array([[False] * 5, [True] * 5]))
    np.testing.assert_array_equal(y[0].data, model.head.bias.data)


@pytest.mark.parametrize(
    "model", [EncoderLayer(4, 2, 6), Encoder(1, 4, 2, 6), SequenceClassifier(4, 3, 5, 1, d_model=4, nhead=2, dim_feedforward=4)]
)  # fmt: skip
def test_what_padding_masks_must_be(model):
    with pytest.raises(TypeError, match=r": padding_mask must be boolean, True for a real token, not int64"):
        model(mg.randn(2, 5, 4), padding_mask=np.ones((2, 5), int))
    with pytest.raises(TypeError, match=r": padding_mask must be boolean, True for a real token, not list"):
        model(mg.randn(2, 5, 4), padding_mask=[[True] * 5] * 2)
    with pytest.raises(
        ValueError, match=r": padding_mask has shape \(5,\), it must be \(2, 5\): the batch and the tokens"
    ):
        model(mg.randn(2, 5, 4), padding_mask=np.ones(5, bool))


def test_a_mask_with_two_readings_is_refused_in_a_model_too():
    with pytest.raises(ValueError, match=r" can be read two ways: padding_mask=mask if.*\nin layers\.0\.attention"):
        Encoder(1, 4, 2, 6)(mg.randn(5, 5, 4), np.tri(5, dtype=bool))


def test_a_folder_of_ones_own_that_is_called_models_is_not_in_the_way(tmp_path):
    own = tmp_path / "models"
    own.mkdir()
    (own / "__init__.py").write_text("mine = True\n")
    program = "import models, minigrad.models; print(models.mine, minigrad.models.Encoder.__module__)"
    root = str(Path(mg.__file__).parent.parent)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), root])}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("True minigrad.models.encoder\n", "")
