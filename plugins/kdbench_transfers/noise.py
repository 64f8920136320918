"""Noise: some images replaced by uniform pixels, which have no label."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import final

from kdbench.api import Draw, Seen, Transfer, hookimpl


@final
@dataclass(frozen=True)
class Noise(Transfer):
    """Images replaced, with this probability each, by pixels that are uniform in [0, 1).

    Attributes:
        probability: In [0, 1].

    Reference:
        Stanton, Izmailov, Kirichenko, Alemi, Wilson. Does Knowledge Distillation Really Work? 2021,
        arXiv:2106.05945: 0.2.

    *Differs from the reference:* nothing known; it is not in the released code.
    """

    probability: float = 0.2

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ValueError("probability lies in [0, 1]")

    def see(self, seen: Seen, draw: Draw) -> Seen:
        replaced = draw.rows("replaced") < self.probability
        images = seen.images.clone()
        images[replaced] = draw.noise("pixels", replaced)
        return replace(
            seen,
            images=images,
            labelled=seen.labelled & ~replaced,
            index=seen.index.masked_fill(replaced, -1),
        )


@hookimpl
def kdbench_transfers() -> Iterator[tuple[str, Transfer]]:
    yield "noise", Noise()
