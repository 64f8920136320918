"""Suite files: TOML in, a validated `Suite` out; every unknown key is an error with a suggestion.

A suite is data: it never names a file of code, and `extends` is its only composition.
"""

from kdbench.suite.claims import Claim, Direction, Point, Report, Series, Term, Where
from kdbench.suite.files import load, names
from kdbench.suite.parts import Axes, Limits, MethodSettings, Scoring, Variant
from kdbench.suite.tables import Suite

__all__ = [
    "Axes", "Claim", "Direction", "Limits", "MethodSettings", "Point", "Report", "Scoring",
    "Series", "Suite", "Term", "Variant", "Where", "load", "names",
]  # fmt: skip
