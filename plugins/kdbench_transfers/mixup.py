"""MixUp: every image a mixture of two (Zhang et al. 2018, arXiv:1710.09412), labels left out."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, final

from kdbench.api import Draw, Seen, Transfer, hookimpl


@final
@dataclass(frozen=True)
class MixUp(Transfer):
    """share · image + (1 - share) · another of the batch; the share is uniform, one a batch.

    The teacher says what a mixture is: it has no label.

    Reference:
        Zhang, Cisse, Dauphin, Lopez-Paz. mixup: Beyond Empirical Risk Minimization. 2018,
        arXiv:1710.09412. For distillation: Stanton, Izmailov, Kirichenko, Alemi, Wilson. Does
        Knowledge Distillation Really Work? 2021, arXiv:2106.05945.

    *Differs from the reference:* from that of distillation in nothing known; Zhang et al. mix the
    labels too.
    """

    mixes: ClassVar[bool] = True

    def see(self, seen: Seen, draw: Draw) -> Seen:
        share, others = draw.batch("share"), seen.images[draw.permutation("others")]
        mixed = share * seen.images + (1 - share) * others
        return replace(seen, images=mixed.clamp(0, 1))  # rounding alone leaves [0, 1]


@hookimpl
def kdbench_transfers() -> Iterator[tuple[str, Transfer]]:
    yield "mixup", MixUp()
