"""The encoder and what is built from it."""

from minigrad.models.classifier import SequenceClassifier as SequenceClassifier
from minigrad.models.encoder import Encoder as Encoder
from minigrad.models.encoder import EncoderLayer as EncoderLayer
from minigrad.models.encoder import FeedForward as FeedForward
from minigrad.models.mlp import MLP as MLP
