"""Any timm network: images in [0, 1] to logits, pooled features and hints, in one pass."""

from kdbench.models.creation import arguments, create
from kdbench.models.description import describe
from kdbench.models.hints import align
from kdbench.models.network import Network
from kdbench.models.preacts import batch_statistics
from kdbench.models.survey import Reading, surveyed
from kdbench.models.weights import load

__all__ = [
    "Network", "Reading", "align", "arguments", "batch_statistics", "create", "describe", "load",
    "surveyed",
]  # fmt: skip
