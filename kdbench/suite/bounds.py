"""How much a suite may ask: what a file of a few lines crosses is bounded before it is crossed."""

import math
from collections.abc import Iterable
from typing import Final

from kdbench.errors import UsageError
from kdbench.suite.parts import Axes, Variant

MOST_PAIRS: Final = 10_000
MOST_TRIALS: Final = 100_000

_CROSSED = ("datasets", "pairs", "methods")


def check_size(axes: Axes, variants: Iterable[Variant], origin: str) -> None:
    """Refuse to cross axes to more than any board can hold.

    Raises:
        UsageError: As said.
    """
    pairs = trials = 0
    for one in tuple(variants) or (Variant(),):
        sizes = [len(getattr(one, axis) or getattr(axes, axis)) for axis in _CROSSED]
        pairs += sizes[0] * sizes[1]
        trials += math.prod(sizes) * len(axes.seeds)
    if pairs > MOST_PAIRS or trials > MOST_TRIALS:
        what = f"{origin} asks {trials:,} trials of {pairs:,} pairs"
        why = f"at most {MOST_TRIALS:,} of {MOST_PAIRS:,} can be planned"
        raise UsageError(what, why, "split the suite, or shorten its axes")
