"""Colour jitter: brightness, contrast, saturation and hue of every image changed at random."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from kdbench.api import Draw, Seen, Transfer, hookimpl

LUMINANCE = (0.299, 0.587, 0.114)


def grey(images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch 1 h w"]:
    """How light each pixel is; of grey images themselves."""
    if images.shape[1] != 3:
        return images
    weights = images.new_tensor(LUMINANCE).view(1, 3, 1, 1)
    return (images * weights).sum(1, keepdim=True)


def turned(
    images: Float[Tensor, "batch 3 height width"], share: Float[Tensor, "batch 1 1 1"]
) -> Float[Tensor, "batch 3 height width"]:
    """The images with their hues moved by this share of the colour circle."""
    most, least = images.amax(1, keepdim=True), images.amin(1, keepdim=True)
    red, green, blue = images.split(1, 1)
    chroma = most - least
    by = chroma.where(chroma > 0, 1)
    sixth = torch.where(
        most == red, (green - blue) / by,
        torch.where(most == green, 2 + (blue - red) / by, 4 + (red - green) / by),
    )  # fmt: skip
    place = torch.tensor([5.0, 3.0, 1.0], device=images.device).view(1, 3, 1, 1)
    k = (place + sixth + 6 * share) % 6
    return most - chroma * torch.minimum(k, 4 - k).clamp(0, 1)


@final
@dataclass(frozen=True)
class Jitter(Transfer):
    """Images with brightness, contrast, saturation and hue changed, in this order.

    The first three are multiplied by a factor in [1 - x, 1 + x], and the hue is moved by a share of
    the colour circle in [-x, x]. Grey images have neither saturation nor hue.

    Attributes:
        brightness, contrast, saturation: Their x, in [0, 1].
        hue: Its x, in [0, 0.5].

    Reference:
        Stanton, Izmailov, Kirichenko, Alemi, Wilson. Does Knowledge Distillation Really Work? 2021,
        arXiv:2106.05945: 0.2 for all.

    *Differs from the reference:* the four come in a fixed order, not in a random one.
    """

    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    hue: float = 0.2

    def __post_init__(self) -> None:
        for field in fields(self):
            most = 0.5 if field.name == "hue" else 1.0
            if not 0 <= getattr(self, field.name) <= most:
                raise ValueError(f"{field.name} lies in [0, {most:g}]")

    def see(self, seen: Seen, draw: Draw) -> Seen:
        change = (2 * draw.rows("change", 4) - 1)[:, :, None, None, None]
        images = (seen.images * (1 + self.brightness * change[:, 0])).clamp(0, 1)
        # the sum's order may follow the batch's size: in double it leaves no trace in float32
        mean = grey(images).double().mean((1, 2, 3), keepdim=True).float()
        images = (mean + (images - mean) * (1 + self.contrast * change[:, 1])).clamp(0, 1)
        if images.shape[1] == 3:
            light = grey(images)
            images = (light + (images - light) * (1 + self.saturation * change[:, 2])).clamp(0, 1)
            images = turned(images, self.hue * change[:, 3]).clamp(0, 1)
        return replace(seen, images=images)


@hookimpl
def kdbench_transfers() -> Iterator[tuple[str, Transfer]]:
    yield "jitter", Jitter()
