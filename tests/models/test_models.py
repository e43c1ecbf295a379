import numpy as np
import pytest

import minigrad as mg
from minigrad.testing import check_layer
from models import MLP, Encoder, EncoderLayer, FeedForward, SequenceClassifier


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
            r"layers\.0\.attention\.sublayer\.norm \(LayerNorm\(.*expected x of shape \(\.\.\., 4\), got \(2, 3, 5\)",
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
    np.testing.assert_allclose(model(x, there).data, y, rtol=1e-4)
