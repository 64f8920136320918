"""Rotation: every image turned about its centre by an angle of its own."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import final

import torch
import torch.nn.functional as F

from kdbench.api import Draw, Seen, Transfer, hookimpl


@final
@dataclass(frozen=True)
class Rotation(Transfer):
    """Images turned by an angle in [-degrees, degrees], bilinear, black where nothing was.

    Attributes:
        degrees: Largest angle, in [0, 180].

    Reference:
        Stanton, Izmailov, Kirichenko, Alemi, Wilson. Does Knowledge Distillation Really Work? 2021,
        arXiv:2106.05945: 20 degrees.

    *Differs from the reference:* its code's default is 90 degrees.
    """

    degrees: float = 20.0

    def __post_init__(self) -> None:
        if not 0 <= self.degrees <= 180:
            raise ValueError("degrees lies in [0, 180]")

    def see(self, seen: Seen, draw: Draw) -> Seen:
        height, width = seen.images.shape[-2:]
        angle = (2 * draw.rows("angle") - 1) * math.radians(self.degrees)
        cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
        # where each pixel comes from, in pixels from the centre
        y = torch.arange(height, device=angle.device)[:, None] - (height - 1) / 2
        x = torch.arange(width, device=angle.device) - (width - 1) / 2
        sources = [(cos * x - sin * y) * 2 / width, (sin * x + cos * y) * 2 / height]
        grid = torch.stack(sources, -1)
        turned = F.grid_sample(seen.images, grid, align_corners=False)
        return replace(seen, images=turned.clamp(0, 1))  # rounding alone leaves [0, 1]


@hookimpl
def kdbench_transfers() -> Iterator[tuple[str, Transfer]]:
    yield "rotation", Rotation()
