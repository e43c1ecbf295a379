"""minigrad: tensors that remember how they were made, and what is built on them."""

from minigrad.memory import keep_memory as keep_memory

from minigrad import rules as rules
from minigrad import autograd as autograd
from minigrad.autograd import enable_grad as enable_grad
from minigrad.autograd import implements as implements
from minigrad.autograd import is_grad_enabled as is_grad_enabled
from minigrad.autograd import no_grad as no_grad
from minigrad.autograd import rule as rule
from minigrad.autograd import shared as shared
from minigrad.checkpoint import checkpoint as checkpoint
from minigrad.creation import *
from minigrad.rules.indexing import index_add, index_update
from minigrad.tensor import Tensor as Tensor
from minigrad import functional as functional
from minigrad import kernels as kernels
from minigrad.transforms import grad, hessian, hvp, jacobian, jvp, value_and_grad, vjp
from minigrad import nn as nn, optim as optim, data as data
from minigrad.serialization import save, load
from minigrad import testing as testing
