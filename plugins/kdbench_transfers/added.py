"""Added data: images of another data set beside the own ones, without labels."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

from kdbench.api import Added as Rows
from kdbench.api import Draw, Seen, Transfer, hookimpl


@final
@dataclass(frozen=True)
class Added(Transfer):
    """The transfer set and, after it, the first training rows of another data set.

    They are brought to the own channels and size, take part in every epoch's order, and are cropped
    and flipped like the others.

    Attributes:
        dataset: Which, as suites name it: "fashion_mnist", or "parquet:FOLDER".
        rows: How many, at least 1.

    Reference:
        Stanton, Izmailov, Kirichenko, Alemi, Wilson. Does Knowledge Distillation Really Work? 2021,
        arXiv:2106.05945: out-of-distribution images, 10,000 of SVHN in the code.

    *Differs from the reference:* nothing known, with SVHN; it does not ship with kdbench.
    """

    dataset: str = "fashion_mnist"
    rows: int = 10_000

    def __post_init__(self) -> None:
        if self.rows < 1:
            raise ValueError("rows is at least 1")

    def adds(self) -> Rows:
        return Rows(dataset=self.dataset, rows=self.rows)

    def see(self, seen: Seen, draw: Draw) -> Seen:
        return seen


@hookimpl
def kdbench_transfers() -> Iterator[tuple[str, Transfer]]:
    yield "added", Added()
