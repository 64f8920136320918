"""Ranges of hyperparameters: a wrong value is a usage error where a method is made."""

import math

from kdbench.errors import UsageError


def check_ranges(method: object, **ranges: str) -> None:
    """Nothing, if all named hyperparameters lie in range; where the default is an int, an int.

    Args:
        method: A dataclass of hyperparameters with defaults.
        ranges: An interval for each field, as mathematics writes it: "(0, inf)" leaves the ends
            out, "[0, 1]" has them.

    Raises:
        UsageError: Names the field, its value and the interval.
    """
    for field, interval in ranges.items():
        value, default = getattr(method, field), getattr(type(method), field)
        kind = "an integer" if isinstance(default, int) else "a number"
        if not isinstance(value, int if isinstance(default, int) else (int, float)) or isinstance(
            value, bool
        ):
            inside = False
        else:
            low, high = (float(end) for end in interval[1:-1].split(","))
            above = value >= low if interval[0] == "[" else value > low
            below = value <= high if interval[-1] == "]" else value < high
            inside = above and below and math.isfinite(value)
        if not inside:
            raise UsageError(
                f"{type(method).__name__}: {field} = {value!r} is out of range",
                f"{field} is {kind} in {interval}",
                f"the default is {field}={default}",
            )
