"""Suite files: TOML in, a validated `Suite` out; every unknown key is an error with a suggestion.

A suite is data: it never names a file of code, and `extends` is its only composition.
"""

from kdbench.suite.files import load, names
from kdbench.suite.tables import Axes, Limits, MethodSettings, Scoring, Suite

__all__ = ["Axes", "Limits", "MethodSettings", "Scoring", "Suite", "load", "names"]
