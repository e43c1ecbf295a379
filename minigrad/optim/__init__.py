"""Optimisers, learning rates over time, and clipping of gradients."""

from minigrad.optim.clipping import clip_grad_norm_ as clip_grad_norm_
from minigrad.optim.clipping import clip_grad_value_ as clip_grad_value_
from minigrad.optim.optimizers import SGD as SGD
from minigrad.optim.optimizers import Adam as Adam
from minigrad.optim.optimizers import AdamW as AdamW
from minigrad.optim.optimizers import Optimizer as Optimizer
from minigrad.optim.optimizers import RMSprop as RMSprop
from minigrad.optim.schedules import LinearWarmup as LinearWarmup
from minigrad.optim.schedules import OneCycleLR as OneCycleLR
from minigrad.optim.schedules import Schedule as Schedule
from minigrad.optim.schedules import StepLR as StepLR
from minigrad.optim.schedules import WarmupCosine as WarmupCosine
