"""CutMix: a box of every image from another (Yun et al. 2019, arXiv:1905.04899), without labels."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kdbench.api import Draw, Seen, Transfer, hookimpl


def within(side: int, share: Float[Tensor, ""], centre: Float[Tensor, ""]) -> Bool[Tensor, " side"]:
    """Which places of a side lie in a window of this share of it, cut off at its ends."""
    half, middle = (side * share).floor() // 2, (side * centre).floor()
    places = torch.arange(side, device=share.device)
    return (middle - half <= places) & (places < middle + half)


@final
@dataclass(frozen=True)
class CutMix(Transfer):
    """Images in which one box, the same in all of the batch, shows another of the batch.

    The box has sqrt(1 - share) of each side, and lies anywhere, cut off at the border; the share is
    uniform. The teacher says what the whole is: it has no label.

    Reference:
        Yun, Han, Oh, Chun, Choe, Yoo. CutMix: Regularization Strategy to Train Strong Classifiers
        with Localizable Features. 2019, arXiv:1905.04899.

    *Differs from the reference:* every batch is mixed, and its labels are left out, not mixed.
    """

    mixes: ClassVar[bool] = True

    def see(self, seen: Seen, draw: Draw) -> Seen:
        height, width = seen.images.shape[-2:]
        side = (1 - draw.batch("share")).sqrt()
        rows, columns = (
            within(height, side, draw.batch("row")), within(width, side, draw.batch("column")),
        )  # fmt: skip
        others = seen.images[draw.permutation("others")]
        return replace(seen, images=others.where(rows[:, None] & columns, seen.images))


@hookimpl
def kdbench_transfers() -> Iterator[tuple[str, Transfer]]:
    yield "cutmix", CutMix()
