"""Any timm network: images in [0, 1] to logits, pooled features and hints, in one pass."""

from kdbench.models.creation import create
from kdbench.models.description import describe
from kdbench.models.hints import align
from kdbench.models.network import Network
from kdbench.models.plan import Plan, surveyed
from kdbench.models.weights import export, load

__all__ = ["Network", "Plan", "align", "create", "describe", "export", "load", "surveyed"]
