"""An interval against what was claimed -> a verdict, and the sentence that says why."""

from dataclasses import replace
from typing import Final, Literal, TypeAlias

from kdbench.leaderboard.claims.units import Unit
from kdbench.statistics import MOST_SEEDS, Estimate, seeds_to_settle
from kdbench.suite import Direction

Verdict: TypeAlias = Literal["reproduced", "not reproduced", "not testable", "not answered"]

VERDICTS: Final[tuple[Verdict, ...]] = (
    "reproduced", "not reproduced", "not testable", "not answered",
)  # fmt: skip

WORDS: Final[dict[Verdict, str]] = {
    "reproduced": "reproduced",
    "not reproduced": "not reproduced",
    "not testable": "not testable at this size",
    "not answered": "not answered",
}

RULES: Final[dict[str, str]] = {
    "above 0": (
        "within ±e: not reproduced, too small to matter, on whichever side of 0; else above 0: "
        "reproduced; below 0: not reproduced"
    ),
    "below 0": "the same, with the sides of 0 exchanged",
    "within ±e": "within ±e: reproduced; wholly above +e or wholly below −e: not reproduced",
    "above −e": "above −e: reproduced; below −e: not reproduced",
    "below +e": "below +e: reproduced; above +e: not reproduced",
}
"""By what is claimed: what follows from where the whole interval lies."""

_MIRRORED: Final[dict[Direction, Direction]] = {"less": "greater", "not greater": "not less"}


def judged(direction: Direction, effect: float, low: float, high: float) -> Verdict:
    """The verdict over a contrast whose 95 % interval is [low, high].

    Args:
        effect: The smallest that would matter, in the contrast's unit, 0 or more.

    Example:
        >>> judged("greater", 0.005, 0.001, 0.02), judged("greater", 0.005, 0.001, 0.004)
        ('reproduced', 'not reproduced')
    """
    if direction in _MIRRORED:
        return judged(_MIRRORED[direction], effect, -high, -low)
    within = -effect <= low and high <= effect
    if direction == "greater":
        if within or high < 0:
            return "not reproduced"
        return "reproduced" if low > 0 else "not testable"
    if direction == "equal":
        apart = low > effect or high < -effect
        return "reproduced" if within else "not reproduced" if apart else "not testable"
    if low > -effect:
        return "reproduced"
    return "not reproduced" if high < -effect else "not testable"


def sentence(direction: Direction, effect: float, low: float, high: float, unit: Unit) -> str:
    """Why the verdict is as it is, with the numbers."""
    verdict = judged(direction, effect, low, high)
    ends, size = unit.ends(low, high), unit.size(effect)
    within = -effect <= low and high <= effect
    if direction == "equal":
        if verdict == "not testable":
            return f"The interval {ends} lies neither within ±{size} nor beyond."
        return f"The whole interval {ends} lies {'within' if within else 'beyond'} ±{size}."
    up = direction in ("greater", "not less")
    if direction in ("not less", "not greater"):
        bound = unit.of(-effect if up else effect)
        if verdict == "not testable":
            return f"The interval {ends} reaches to both sides of {bound}."
        side = "above" if up == (verdict == "reproduced") else "below"
        return f"The whole interval {ends} lies {side} {bound}."
    if within:
        return f"The whole interval {ends} lies within ±{size}: too small to matter."
    if verdict == "not testable":
        beyond = f" and reaches beyond ±{size}" if effect else ""
        return f"The interval {ends} holds 0{beyond}."
    side = "above" if low > 0 else "below"
    told = f"The whole interval {ends} lies {side} 0"
    if verdict == "not reproduced":
        return f"{told}, on the other side."
    nearest = low if up else -high
    return f"{told}." if nearest > effect else f"{told}, though it may be smaller than {size}."


def settled(direction: Direction, effect: float, estimate: Estimate) -> int | None:
    """Further seeds at which a contrast as seen would get a verdict, in 4 of 5 cases.

    Returns:
        None where its variance is unknown or it takes more than 1,000 in all.
    """
    size = abs(estimate.mean)
    if direction in ("greater", "less"):  # leaves out 0, or lies within the smallest effect
        away = max(size, effect - size)
    elif direction == "equal":
        away = abs(effect - size)
    else:
        away = abs(estimate.mean + (effect if direction == "not less" else -effect))
    needed = seeds_to_settle(replace(estimate, mean=away))
    return None if needed is None else max(1, needed - estimate.n)


def more(seeds: int | None, estimate: Estimate) -> str:
    """How many seeds would settle it, a sentence."""
    if seeds is None:
        return f"More than {MOST_SEEDS:,} seeds would be needed to tell a contrast as seen."
    return (
        f"About {seeds} more seed{'s' * (seeds != 1)} ({seeds + estimate.n} in all) would settle a "
        "contrast as large and as variable as seen, in 4 of 5 cases."
    )
