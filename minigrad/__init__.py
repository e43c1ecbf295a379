"""minigrad: tensors that remember how they were made, and what is built on them.

Arrays are NumPy's, and so are the functions: `import numpy as np, minigrad as mg`, then `np.tanh(x @ w + b)` with
Tensors. The idea is in graph.py, to be read in one sitting.
"""

__version__ = "0.1.0"

from minigrad.memory import keep_memory as keep_memory  # isort: skip  (before anything large is allocated)

from minigrad import autograd as autograd
from minigrad import data as data
from minigrad import functional as functional
from minigrad import nn as nn
from minigrad import optim as optim
from minigrad import rules as rules
from minigrad import testing as testing
from minigrad.checkpoint import checkpoint as checkpoint
from minigrad.creation import arange as arange
from minigrad.creation import default_generator as default_generator
from minigrad.creation import eye as eye
from minigrad.creation import full as full
from minigrad.creation import ones as ones
from minigrad.creation import ones_like as ones_like
from minigrad.creation import rand as rand
from minigrad.creation import randn as randn
from minigrad.creation import seed as seed
from minigrad.creation import tensor as tensor
from minigrad.creation import zeros as zeros
from minigrad.creation import zeros_like as zeros_like
from minigrad.debug import debug as debug
from minigrad.explain import explain as explain
from minigrad.functional.safe_where import safe_where as safe_where
from minigrad.modes import enable_grad as enable_grad
from minigrad.modes import is_grad_enabled as is_grad_enabled
from minigrad.modes import no_grad as no_grad
from minigrad.profiler import profile as profile
from minigrad.rule import implements as implements
from minigrad.rule import rule as rule
from minigrad.rule import shared as shared
from minigrad.rules.indexing import index_add as index_add
from minigrad.rules.indexing import index_update as index_update
from minigrad.serialization import load as load
from minigrad.serialization import save as save
from minigrad.tensor import Tensor as Tensor
from minigrad.transforms import grad as grad
from minigrad.transforms import hessian as hessian
from minigrad.transforms import hvp as hvp
from minigrad.transforms import jacobian as jacobian
from minigrad.transforms import jvp as jvp
from minigrad.transforms import value_and_grad as value_and_grad
from minigrad.transforms import vjp as vjp
