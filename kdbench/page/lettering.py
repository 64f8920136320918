"""Texts that fit: how wide they are, how they are cut, and where they stand without overlap."""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TypeAlias

from kdbench.leaderboard.text import plain

Place: TypeAlias = tuple[float, float]
"""In pixels, from left and top."""

_NARROW, _WIDE = frozenset("fijlrtI.,:;|!'()[] "), frozenset("mwMW%@")

_SPOTS = ((1, 0), (-1, 0), (1, -1), (1, 1), (-1, -1), (-1, 1), (0, -1), (0, 1))
_STEPS = (9, 18, 32, 50, 72, 100)


def width(text: str, size: float = 11) -> float:
    """About how many pixels `text` takes in a sans serif of `size` pixels, rather too many."""
    return size * sum(map(_advance, text))


def fitted(text: str, pixels: float, size: float = 11) -> str:
    """`text` on one line without control characters, cut with an ellipsis to so many pixels.

    Example:
        >>> fitted("a_method_with_a_name_that_does_not_end", 100)
        'a_method_with_…'
    """
    line = plain(text)
    if width(line, size) <= pixels:
        return line
    while line and width(line + "…", size) > pixels:
        line = line[:-1]
    return line + "…"


def minus(number: str) -> str:
    """A number as print has it, with a minus as wide as a plus."""
    return number.replace("-", "\u2212")


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: "Box") -> bool:
        """Whether they overlap."""
        return (
            self.left < other.right and other.left < self.right
            and self.top < other.bottom and other.top < self.bottom
        )  # fmt: skip

    def holds(self, x: float, y: float, slack: float = 0) -> bool:
        """Whether a point lies in it, or nearer to it than `slack`."""
        return (
            self.left - slack < x < self.right + slack
            and self.top - slack < y < self.bottom + slack
        )


@dataclass(frozen=True, slots=True)
class Label:
    """A text with the point that it names, in pixels; it begins at `left` and is centred on `y`.

    Attributes:
        leader: Whether it is so far from its point that a line must lead there.
        end: Where on the text's edge that line ends.
    """

    text: str
    point: Place
    left: float
    y: float
    leader: bool
    end: Place


def placed(
    named: Iterable[tuple[str, Place]], others: Sequence[Place], lines: Sequence[Place],
    frame: Box, size: float = 11,
) -> list[Label]:  # fmt: skip
    """Labels of points, the first ones nearest to theirs; none overlaps another.

    Args:
        named: Texts with their points.
        others: All points, which are covered as little as can be.
        lines: Places on lines, which are covered rather than points.
        frame: Where labels may stand. What finds no room in it is left out.
    """
    named = list(named)
    taken, found = list[Box](), list[Label]()
    for text, (x, y) in named:
        wide, best = width(text, size), None
        for step, (across, down) in product(_STEPS, _SPOTS):
            reach = step if across == 0 or down == 0 else 0.75 * step
            left = x + across * reach - (0 if across > 0 else wide if across < 0 else wide / 2)
            middle = y + down * (reach + size / 2 * (across == 0))
            box = Box(left - 2, middle - size / 2 - 2, left + wide + 2, middle + size / 2 + 2)
            inside = frame.holds(box.left, box.top) and frame.holds(box.right, box.bottom)
            if not inside or any(box.meets(one) for one in taken):
                continue
            hidden = sum(box.holds(*point, slack=3) for point in others if point != (x, y))
            crossed = 3 * sum(box.holds(*point, slack=4) for _, point in named if point != (x, y))
            over = sum(box.holds(*place) for place in lines)
            cost = step + 14 * (hidden + crossed) + 3 * over
            if best is None or cost < best[0]:
                end = (min(max(x, left - 1), left + wide + 1), min(max(y, box.top), box.bottom))
                best = cost, box, Label(text, (x, y), left, middle, step > 12, end)
        if best:
            taken.append(best[1])
            found.append(best[2])
    return found


def spread(wanted: Sequence[float], least: float, low: float, high: float) -> list[float]:
    """Heights for a column of labels, near those wanted, `least` apart and within low to high.

    Example:
        >>> spread([10.0, 12.0, 40.0], 10, 0, 50)
        [10.0, 20.0, 40.0]
    """
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    found, floor = dict[int, float](), low
    for i in order:
        found[i] = floor = max(wanted[i], floor)
        floor += least
    ceiling = high
    for i in reversed(order):
        found[i] = ceiling = min(found[i], ceiling)
        ceiling -= least
    return [found[i] for i in range(len(wanted))]


def _advance(letter: str) -> float:
    """In units of the size."""
    if unicodedata.east_asian_width(letter) in "WF":
        return 1.0
    if letter in _NARROW:
        return 0.36
    return 0.9 if letter in _WIDE else 0.66 if letter.isupper() else 0.58
