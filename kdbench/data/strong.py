"""The second, strongly augmented view of a row, drawn by (seed, epoch, row) like the first."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchvision.transforms import v2

from kdbench.data.seed import derive_seed
from kdbench.errors import Unsupported

_RANDAUGMENT = v2.RandAugment(num_ops=2)


def strengthened(
    images: Float[Tensor, "batch channels height width"],
    rows: Int[Tensor, " batch"],
    seed: int,
    epoch: int,
) -> Float[Tensor, "batch channels height width"]:
    """The images after RandAugment (two operations) and a grey square of half the side.

    An image's augmentation depends on (seed, epoch, row) alone, and is drawn on the host; torch's
    generator is left as it was.

    Args:
        images: In [0, 1], multiples of 1/255.
        rows: Number of each image's row in its split.
        seed: Of the trial's views.
        epoch: Which pass over the rows.

    Raises:
        Unsupported: The images have neither one nor three channels.

    Reference:
        Cubuk, Zoph, Shlens, Le. RandAugment. 2020, arXiv:1909.13719; DeVries, Taylor. Improved
        Regularization of Convolutional Neural Networks with Cutout. 2017, arXiv:1708.04552.
    """
    if images.shape[1] not in (1, 3):
        raise Unsupported(
            f"no strong view of images with {images.shape[1]} channels",
            "RandAugment is defined for grey and colour images",
            "leave out the methods that need a second view",
        )
    pixels = (images * 255).round().to(torch.uint8)
    with torch.random.fork_rng(devices=[]):
        strong = [
            _augmented(image, derive_seed(seed, "second view", epoch, row))
            for image, row in zip(pixels, rows.tolist(), strict=True)
        ]
    stacked = torch.stack(strong).to(memory_format=torch.channels_last)
    return stacked.to(images.dtype) / 255


def _augmented(image: Tensor, seed: int) -> Tensor:
    torch.default_generator.manual_seed(seed)
    image = _RANDAUGMENT(image).clone()
    height, width = image.shape[-2:]
    top, left = int(torch.randint(height, ())), int(torch.randint(width, ()))
    tall, wide = height // 2, width // 2
    rows = slice(max(top - tall // 2, 0), top - tall // 2 + tall)
    columns = slice(max(left - wide // 2, 0), left - wide // 2 + wide)
    image[..., rows, columns] = 127
    return image
