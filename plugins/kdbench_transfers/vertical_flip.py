"""Vertical flip: every image upside down, or not."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import final

from kdbench.api import Draw, Seen, Transfer, hookimpl


@final
@dataclass(frozen=True)
class VerticalFlip(Transfer):
    """Images upside down with this probability.

    Attributes:
        probability: In [0, 1].

    Reference:
        Stanton, Izmailov, Kirichenko, Alemi, Wilson. Does Knowledge Distillation Really Work? 2021,
        arXiv:2106.05945.

    *Differs from the reference:* nothing known.
    """

    probability: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ValueError("probability lies in [0, 1]")

    def see(self, seen: Seen, draw: Draw) -> Seen:
        down = draw.rows("down") < self.probability
        return replace(
            seen, images=seen.images.flip(2).where(down[:, None, None, None], seen.images)
        )


@hookimpl
def kdbench_transfers() -> Iterator[tuple[str, Transfer]]:
    yield "vertical_flip", VerticalFlip()
