"""Numbers as they are typed: seeds, times, sizes and parts."""

import re

from kdbench.errors import UsageError

__all__ = ["gigabytes", "seconds", "seeds", "shard"]

_MOST_SEEDS = 10_000


def seeds(text: str) -> tuple[int, ...]:
    """The seeds that `text` writes, each once.

    Raises:
        UsageError: It is no number, list or range.

    Example:
        >>> seeds("3"), seeds("0,1,5"), seeds("100-102"), seeds("7,")
        ((0, 1, 2), (0, 1, 5), (100, 101, 102), (7,))
    """
    if re.fullmatch(r"\d{1,9}", text) and 0 < int(text) <= _MOST_SEEDS:
        return tuple(range(int(text)))
    found: dict[int, None] = {}
    for part in text.removesuffix(",").split(","):
        ends = re.fullmatch(r"\s*(\d{1,9})(?:-(\d{1,9}))?\s*", part)
        first, last = (int(ends[1]), int(ends[2] or ends[1])) if ends else (0, -1)
        if not (first <= last < first + _MOST_SEEDS) or text.isdigit():
            raise UsageError(
                f"{text!r} does not say which seeds",
                "expected a count, a list or a range",
                "write --seeds 3, --seeds 0,1,5 or --seeds 100-104",
            )
        found |= dict.fromkeys(range(first, last + 1))
    return tuple(found)


def seconds(text: str, option: str = "--time-budget") -> float:
    """The seconds that `text` writes, which `option` was given.

    Raises:
        UsageError: It is no time, or none at all.

    Example:
        >>> seconds("90s"), seconds("9m"), seconds("1.5h")
        (90.0, 540.0, 5400.0)
    """
    found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,6})?)([smh])", text)
    if not found or not float(found[1]):
        raise UsageError(
            f"{option} {text!r} is no time",
            "expected a number above 0 and s, m or h",
            f"write {option} 90s, 9m or 2h",
        )
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]]


def gigabytes(text: str) -> float:
    """The 10^9 bytes that `text`, the memory limit, writes.

    Raises:
        UsageError: It is no size, or none at all.

    Example:
        >>> gigabytes("500MB"), gigabytes("1.5GB")
        (0.5, 1.5)
    """
    found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,6})?)([MG]B)", text)
    if not found or not float(found[1]):
        raise UsageError(
            f"--memory-limit {text!r} is no size",
            "expected a number above 0 and MB or GB",
            "write --memory-limit 500MB or 4GB",
        )
    return float(found[1]) / {"MB": 1e3, "GB": 1}[found[2]]


def shard(text: str) -> tuple[int, int]:
    """The number of the part that `text` writes, and of how many.

    Raises:
        UsageError: It is no such pair, or there is no such part.

    Example:
        >>> shard("2/3")
        (2, 3)
    """
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    number, count = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= number <= count:
        raise UsageError(
            f"--shard {text!r} is no part of a plan",
            "expected its number, from 1 on, and how many there are",
            "write --shard 1/4 to --shard 4/4",
        )
    return number, count
