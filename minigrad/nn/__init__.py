"""Layers. Parameters are found by walking attributes; only buffers are declared."""

from minigrad.nn import init as init
from minigrad.nn.activations import ELU as ELU
from minigrad.nn.activations import GELU as GELU
from minigrad.nn.activations import LeakyReLU as LeakyReLU
from minigrad.nn.activations import ReLU as ReLU
from minigrad.nn.activations import Sigmoid as Sigmoid
from minigrad.nn.activations import SiLU as SiLU
from minigrad.nn.activations import Softmax as Softmax
from minigrad.nn.activations import Softplus as Softplus
from minigrad.nn.activations import Tanh as Tanh
from minigrad.nn.attention import MultiHeadAttention as MultiHeadAttention
from minigrad.nn.containers import Dropout as Dropout
from minigrad.nn.containers import Identity as Identity
from minigrad.nn.containers import ResidualAdd as ResidualAdd
from minigrad.nn.containers import Sequential as Sequential
from minigrad.nn.linear import Embedding as Embedding
from minigrad.nn.linear import Linear as Linear
from minigrad.nn.module import Module as Module
from minigrad.nn.module import Parameter as Parameter
from minigrad.nn.normalization import BatchNorm1d as BatchNorm1d
from minigrad.nn.normalization import GroupNorm as GroupNorm
from minigrad.nn.normalization import InstanceNorm1d as InstanceNorm1d
from minigrad.nn.normalization import LayerNorm as LayerNorm
from minigrad.nn.normalization import RMSNorm as RMSNorm
from minigrad.nn.position import LearnedPositionalEncoding as LearnedPositionalEncoding
from minigrad.nn.position import SinusoidalPositionalEncoding as SinusoidalPositionalEncoding
