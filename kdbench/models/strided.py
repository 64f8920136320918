"""Strided 1 x 1 convolutions of few channels, said in a way that no kernel gets wrong."""

from torch import Tensor, nn

_BLOCK = 16
"""oneDNN's widest block of input channels (AVX-512); 8 on AVX2."""


class _Pick:
    """A hook: every so many rows and columns of what a convolution is given."""

    def __init__(self, stride: tuple[int, ...]) -> None:
        self.down, self.across = stride

    def __call__(self, conv: nn.Module, given: tuple[Tensor, ...]) -> Tensor:
        return given[0][..., :: self.down, :: self.across]


def subsampled(model: nn.Module) -> None:
    """Have every strided 1 x 1 convolution of fewer channels than a block pick its places first.

    The same sums over the same places. oneDNN's gradient of such weights writes past its workspace
    where images are channels_last (its issue 6035; seen with torch 2.14 on AVX2): the process dies,
    or the gradient is wrong.

    Args:
        model: Changed in place; its weights and their names stay.
    """
    for conv in model.modules():
        if (
            isinstance(conv, nn.Conv2d)
            and (conv.kernel_size, conv.padding) == ((1, 1), (0, 0))
            and max(conv.stride) > 1
            and conv.in_channels // conv.groups < _BLOCK
        ):
            conv.register_forward_pre_hook(_Pick(conv.stride))
            conv.stride = (1, 1)
