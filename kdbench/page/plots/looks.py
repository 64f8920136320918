"""What kind a method is of, and the colour and shape of each kind."""

from collections.abc import Iterable, Sequence

from kdbench.leaderboard import BoardSpec, Row
from kdbench.page.lettering import fitted
from kdbench.page.palette import CATEGORIES, GREY, INK, Colour

BASELINE, OTHER = "baseline", "other"

_NAME = 90
"""Pixels of a kind's name in a legend."""

_SHAPES = ("circle", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right")


def kind(row: Row, spec: BoardSpec) -> str:
    """Baseline, or the family that the suite's plugins say, of a sum that of all its members."""
    if row.baseline:
        return BASELINE
    method = row.question.method
    names = [method] if method in spec.described else method.split("+")
    families = {spec.described[name].family for name in names if name in spec.described}
    (family,) = families if len(families) == 1 else (OTHER,)
    return fitted(family, _NAME) or OTHER


def looks(kinds: Iterable[str], baselines: Sequence[str] = ()) -> dict[str, tuple[Colour, str]]:
    """Colour and shape of each kind: baselines in ink, what is unknown grey, families in colours.

    Args:
        baselines: Kinds that are baselines by their own names.
    """
    asked = {*kinds}
    first = [one for one in (BASELINE, *baselines) if one in asked]
    found = {one: (INK, ("square", *_SHAPES)[i % 7]) for i, one in enumerate(first)}
    families = sorted(asked - {*first, OTHER})
    found |= {
        one: (CATEGORIES[i % len(CATEGORIES)], _SHAPES[(i + i // len(CATEGORIES)) % len(_SHAPES)])
        for i, one in enumerate(families)
    }
    return found | ({OTHER: (GREY, "triangle-left")} if OTHER in asked else {})
