"""Which of a network's maps are its hints, and which hints of two networks belong together."""

from collections.abc import Sequence

from kdbench.api import Hint

DEPTHS = 4
"""Hints of a network whose maps are all of one size."""


def chosen(sizes: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """Places of the hints among a network's maps, shallow to deep.

    The last map of each size, which is the last at each stride as long as the image is large enough
    for the strides to differ. Where all maps are of one size (ViT, MLP-Mixer): four at equal
    relative depths, or fewer if there are fewer.

    Args:
        sizes: Height and width of each map, shallow to deep.

    Example:
        >>> chosen([(32, 32), (32, 32), (16, 16), (8, 8)])
        (1, 2, 3)
        >>> chosen([(14, 14)] * 12)
        (2, 5, 8, 11)
    """
    last = {size: place for place, size in enumerate(sizes)}
    if len(last) > 1:
        return tuple(sorted(last.values()))
    return equidistant(len(sizes), min(DEPTHS, len(sizes)))


def equidistant(many: int, few: int) -> tuple[int, ...]:
    """`few` of `many` places at equal relative depths, always with the last.

    Example:
        >>> equidistant(5, 3)
        (1, 2, 4)
    """
    return tuple((2 * many * (place + 1) + few) // (2 * few) - 1 for place in range(few))


def align(
    student: Sequence[Hint], teacher: Sequence[Hint]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Places of the hints to keep of both: equally many, at equal relative depths, always the last.

    Example:
        >>> hints = [Hint(channels=8, height=8, width=8, stride=1)] * 6
        >>> align(hints[:3], hints)
        ((0, 1, 2), (1, 3, 5))
    """
    few = min(len(student), len(teacher))
    return equidistant(len(student), few), equidistant(len(teacher), few)
