"""The encoder and what is built from it."""

from models.classifier import SequenceClassifier as SequenceClassifier
from models.encoder import Encoder as Encoder
from models.encoder import EncoderLayer as EncoderLayer
from models.encoder import FeedForward as FeedForward
from models.mlp import MLP as MLP
