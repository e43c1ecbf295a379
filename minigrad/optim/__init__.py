"""Optimisers, learning rates over time, and clipping of gradients."""

from minigrad.optim.clipping import clip_grad_norm_ as clip_grad_norm_
from minigrad.optim.optimizers import SGD as SGD
from minigrad.optim.optimizers import Adam as Adam
from minigrad.optim.optimizers import AdamW as AdamW
from minigrad.optim.optimizers import Optimizer as Optimizer
from minigrad.optim.schedules import WarmupCosine as WarmupCosine
