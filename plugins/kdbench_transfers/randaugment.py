"""RandAugment: operations drawn at random for every image (Cubuk et al. 2020, arXiv:1909.13719)."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import final

import torch
from torchvision.transforms import v2

from kdbench.api import Draw, Seen, Transfer, Unsupported, hookimpl


@final
@dataclass(frozen=True)
class RandAugment(Transfer):
    """Images after so many of torchvision's fourteen operations, on pixels of 8 bits.

    Image by image, on the host: far slower than the other policies.

    Attributes:
        operations: How many, at least 1.
        magnitude: How strong, of 31 steps, in [0, 30].

    Reference:
        Cubuk, Zoph, Shlens, Le. RandAugment: Practical Automated Data Augmentation with a Reduced
        Search Space. 2020, arXiv:1909.13719.

    *Differs from the reference:* nothing known beyond torchvision's own differences.
    """

    operations: int = 2
    magnitude: int = 9

    def __post_init__(self) -> None:
        if self.operations < 1 or not 0 <= self.magnitude <= 30:
            raise ValueError("operations is at least 1, and magnitude lies in [0, 30]")

    def see(self, seen: Seen, draw: Draw) -> Seen:
        if seen.images.shape[1] not in (1, 3):
            raise Unsupported(
                f"randaugment cannot change images with {seen.images.shape[1]} channels",
                "its operations are for grey and colour images",
                "leave it out of transfer",
            )
        change = v2.RandAugment(self.operations, self.magnitude)
        pixels = (seen.images * 255).round().to(torch.uint8)
        changed = []
        with torch.random.fork_rng(devices=[]):
            for image, seed in zip(pixels, draw.seeds("operations"), strict=True):
                torch.default_generator.manual_seed(seed)
                changed.append(change(image))
        return replace(seen, images=torch.stack(changed).float() / 255)


@hookimpl
def kdbench_transfers() -> Iterator[tuple[str, Transfer]]:
    yield "randaugment", RandAugment()
