"""CAT-KD: transfer class activation maps (Guo et al. 2023, arXiv:2304.12777)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import torch.nn.functional as F
from torch import Tensor

from kdbench.api import Batch, Family, Losses, Method, Needs, Outputs, Paper, hookimpl
from kdbench.functional import cross_entropy, widened
from kdbench_methods.ranges import check_ranges


@final
@dataclass(frozen=True)
class CATKD(Method):
    """Cross-entropy + weight · mean squared difference of pooled class activation maps.

    Attributes:
        weight: Weight of the map term, in [0, inf).
        resolution: Side that maps are average-pooled to, in places, an integer in [1, inf).
        normalize: Whether each class's map has unit L2 norm (0 stays 0), as the authors have it for
            pairs of different architectures.

    Reference:
        Guo, Yan, Li, Lin. Class Attention Transfer Based Knowledge Distillation. 2023,
        arXiv:2304.12777, section 3. Weight and resolution are the authors' for resnet32x4 and
        resnet8x4; they set both for every pair, the weight from 0.7 to 600.

    *Differs from the reference:* the option to transfer the maps of some classes alone, for
    ablations, is left out.
    """

    family: ClassVar[Family] = "features"
    paper: ClassVar[Paper] = Paper(
        authors="Ziyao Guo and Haonan Yan and Hui Li and Xiaodong Lin",
        title="Class Attention Transfer Based Knowledge Distillation",
        year=2023,
        venue="CVPR",
        arxiv="2304.12777",
    )
    weight: float = 15.0
    resolution: int = 2
    normalize: bool = False

    def __post_init__(self) -> None:
        check_ranges(self, weight="[0, inf)", resolution="[1, inf)")

    def needs(self) -> Needs:
        return Needs(class_maps=True)

    def _attention(self, outputs: Outputs) -> Tensor:
        """Where each class is seen, pooled: batch x classes x places."""
        maps = F.adaptive_avg_pool2d(widened(outputs.class_maps[0]), self.resolution).flatten(2)
        return F.normalize(maps, dim=2) if self.normalize else maps

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: None) -> Losses:
        hard = cross_entropy(student.logits, batch.target, batch.labelled)
        gap = F.mse_loss(self._attention(student), self._attention(teacher).detach())
        return {"hard": hard, "maps": self.weight * gap}


@hookimpl
def kdbench_methods() -> Iterator[tuple[str, Method]]:
    yield "cat_kd", CATKD()
