"""Functions of feature maps."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from kdbench.functional.logits import widened


def pooled_alike(
    first: Float[Tensor, "batch channels height width"],
    second: Float[Tensor, "batch others tall wide"],
) -> tuple[Tensor, Tensor]:
    """Both feature maps at the smaller height and the smaller width, the larger one average-pooled.

    Gradients reach both maps.

    Example:
        >>> import torch
        >>> maps = pooled_alike(torch.ones(2, 3, 8, 8), torch.ones(2, 5, 4, 4))
        >>> [tuple(one.shape) for one in maps]
        [(2, 3, 4, 4), (2, 5, 4, 4)]
    """
    height, width = (min(sides) for sides in zip(first.shape[-2:], second.shape[-2:], strict=True))
    small = [
        map_ if map_.shape[-2:] == (height, width) else F.adaptive_avg_pool2d(map_, (height, width))
        for map_ in (widened(first), widened(second))
    ]
    return small[0], small[1]


def attention(
    hint: Float[Tensor, "batch channels height width"], power: int = 2
) -> Float[Tensor, "batch places"]:
    """Where a feature map is strong: channel mean of |f|^power, flat, at unit L2 norm (0 stays 0).

    Example:
        >>> import torch
        >>> attention(torch.tensor([[[[3.0, 0.0]], [[0.0, 3.0]]]]))
        tensor([[0.7071, 0.7071]])

    Reference:
        Zagoruyko, Komodakis. Paying More Attention to Attention. 2017, arXiv:1612.03928, section
        3.1.
    """
    return F.normalize(widened(hint).abs().pow(power).mean(1).flatten(1))
