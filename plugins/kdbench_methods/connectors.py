"""Small trainable networks between a student's feature maps and a teacher's."""

from torch import Tensor, nn
from torch.nn import functional as F

from kdbench.api import Hint


class Resize(nn.Module):
    """A map at another size: average-pooled where it is larger, interpolated where smaller."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.size = (height, width)

    def forward(self, x: Tensor) -> Tensor:
        """The map at the size asked for."""
        if x.shape[-2] >= self.size[0] and x.shape[-1] >= self.size[1]:
            return x if x.shape[-2:] == self.size else F.adaptive_avg_pool2d(x, self.size)
        return F.interpolate(x, self.size, mode="bilinear", align_corners=False)


def connector(student: Hint, teacher: Hint) -> nn.Sequential:
    """From the student's channels and size to the teacher's: 1x1 convolution, batch norm, no ReLU.

    The convolution has no bias and starts as He et al. (arXiv:1502.01852) have it, fan out.
    """
    alike = (student.height, student.width) == (teacher.height, teacher.width)
    resize = () if alike else (Resize(teacher.height, teacher.width),)
    return nn.Sequential(*resize, *projector(student.channels, teacher.channels))


def projector(channels: int, wanted: int) -> nn.Sequential:
    """A `connector` that keeps the map's size: from `channels` to `wanted` channels."""
    convolution = nn.Conv2d(channels, wanted, 1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(convolution, nn.BatchNorm2d(wanted))


def fitted(student: Hint, teacher: Hint) -> nn.Module:
    """A `projector` to the teacher's channels; nothing where they are the student's."""
    if student.channels == teacher.channels:
        return nn.Identity()
    return projector(student.channels, teacher.channels)


def bottleneck(channels: int, middle: int, wanted: int) -> nn.Sequential:
    """1x1, 3x3 and 1x1 convolution without bias; batch norm and ReLU after the first two."""
    return nn.Sequential(
        nn.Conv2d(channels, middle, 1, bias=False), nn.BatchNorm2d(middle), nn.ReLU(),
        nn.Conv2d(middle, middle, 3, padding=1, bias=False), nn.BatchNorm2d(middle), nn.ReLU(),
        nn.Conv2d(middle, wanted, 1, bias=False),
    )  # fmt: skip
