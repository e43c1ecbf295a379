"""Functions of the encoder, each a few lines of NumPy that read like its formula; fast kernels stand below some.

Arrays in, arrays out; with a Tensor among the inputs, a Tensor comes out. One family a file; what the inputs must be
stands in validation.py, and how a definition, its validator and its kernel hang together in definition.py.
"""

from minigrad.functional.activations import elu as elu
from minigrad.functional.activations import gelu as gelu
from minigrad.functional.activations import leaky_relu as leaky_relu
from minigrad.functional.activations import relu as relu
from minigrad.functional.activations import sigmoid as sigmoid
from minigrad.functional.activations import silu as silu
from minigrad.functional.activations import softplus as softplus
from minigrad.functional.attention import attention as attention
from minigrad.functional.attention import scaled_dot_product_attention as scaled_dot_product_attention
from minigrad.functional.attention import self_attention as self_attention
from minigrad.functional.dropout import dropout as dropout
from minigrad.functional.linear import embedding as embedding
from minigrad.functional.linear import linear as linear
from minigrad.functional.linear import one_hot as one_hot
from minigrad.functional.losses import binary_cross_entropy_with_logits as binary_cross_entropy_with_logits
from minigrad.functional.losses import cross_entropy as cross_entropy
from minigrad.functional.losses import huber_loss as huber_loss
from minigrad.functional.losses import l1_loss as l1_loss
from minigrad.functional.losses import mse_loss as mse_loss
from minigrad.functional.losses import nll_loss as nll_loss
from minigrad.functional.normalization import batch_norm as batch_norm
from minigrad.functional.normalization import batch_standardise as batch_standardise
from minigrad.functional.normalization import group_norm as group_norm
from minigrad.functional.normalization import instance_norm as instance_norm
from minigrad.functional.normalization import layer_norm as layer_norm
from minigrad.functional.normalization import rms_norm as rms_norm
from minigrad.functional.safe_where import safe_where as safe_where
from minigrad.functional.softmax import log_softmax as log_softmax
from minigrad.functional.softmax import masked_softmax as masked_softmax
from minigrad.functional.softmax import softmax as softmax
from minigrad.rules.elementwise import erf as erf
from minigrad.rules.elementwise import erfc as erfc
from minigrad.rules.reductions import logsumexp as logsumexp
