"""How two measures go together over rows."""

import statistics
from collections.abc import Sequence


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Spearman's rank correlation, in [-1, 1], ties sharing the mean of their ranks.

    Returns:
        None where all of x, or all of y, is the same: then there is no order to compare.

    Raises:
        ValueError: They are not of one length, or have fewer than two values.

    Example:
        >>> rank_correlation([1, 2, 3, 4], [10, 30, 20, 40]), rank_correlation([1, 1], [1, 2])
        (0.8, None)
    """
    from scipy.stats import rankdata

    if len(x) != len(y) or len(x) < 2:
        raise ValueError(f"{len(x)} and {len(y)} values have no correlation")
    if len(set(x)) == 1 or len(set(y)) == 1:
        return None
    return statistics.correlation(rankdata(x).tolist(), rankdata(y).tolist())
