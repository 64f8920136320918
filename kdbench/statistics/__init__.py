"""Means, differences and rankings of a few seeds, and how sure they are; no torch.

Every function is independent of the order of its input. What n values cannot support is None, never
a number: one value has no interval, and a median has none below six values.
"""

from kdbench.statistics.contrasts import MOST_SEEDS, Contrast, contrasts, seeds_to_settle
from kdbench.statistics.correlations import rank_correlation
from kdbench.statistics.critical import (
    LEAST_METHODS,
    Critical,
    average_ranks,
    critical,
    critical_difference,
)
from kdbench.statistics.estimates import (
    LEAST_FOR_MEDIAN,
    LEVEL,
    Estimate,
    mean,
    median_interval,
    medians_ratio,
    paired,
    ratio,
)
from kdbench.statistics.standings import LEAST_CELLS, Cells, Standing, standings

__all__ = [
    "LEAST_CELLS", "LEAST_FOR_MEDIAN", "LEAST_METHODS", "LEVEL", "MOST_SEEDS", "Cells", "Contrast",
    "Critical", "Estimate", "Standing", "average_ranks", "contrasts", "critical",
    "critical_difference", "mean", "median_interval", "medians_ratio", "paired", "rank_correlation",
    "ratio", "seeds_to_settle", "standings",
]  # fmt: skip
