"""ShuffleNet for small images, its first and its second version.

`shufflenetv1_cifar`: Zhang, Zhou, Lin & Sun 2018 (arXiv:1707.01083), with three groups.
`shufflenetv2_cifar`: Ma, Zhang, Zheng & Sun 2018 (arXiv:1807.11164), at factor 1.

As in the distillation literature the stem is a 1 x 1 convolution of stride 1 without max-pooling,
so that strides are a quarter of the papers'; the first version activates the 3 x 3 convolution,
too, and where a block adds channels, it has a quarter of those within, not of all. Convolutions
start as torch has it.

The second version activates each block's map as a whole, after its shuffle: the part of it that
passes by is activated already, so this gives the map of an activation before the shuffle.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import cast

import torch
import torch.nn.functional as F
from timm.models import generate_default_cfgs
from torch import Tensor, nn

from kdbench.api import hookimpl
from kdbench_models.staged import Staged, pretrained_cfg, registered, widened


def shuffled(x: Tensor, groups: int) -> Tensor:
    """The map with its channels dealt out: the first of each group, then the second of each."""
    return cast(Tensor, x.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2))


class ShuffleBlock(nn.Module):
    """Version 1: a 3 x 3 convolution a channel between two grouped 1 x 1, and a shortcut.

    Args:
        before, after: Channels of its input and its map.
        stride: 1, or 2 to put the result beside the pooled input.
        groups: Of the 1 x 1 convolutions.
        first: Whether it is the first block, whose first convolution is in one group.
    """

    def __init__(self, before: int, after: int, stride: int, groups: int, first: bool) -> None:
        super().__init__()
        added = after - before if stride == 2 else after
        within = added // 4
        self.groups = 1 if first else groups
        self.conv1 = nn.Conv2d(before, within, 1, groups=self.groups, bias=False)
        self.bn1 = nn.BatchNorm2d(within)
        self.act1 = nn.ReLU()
        self.conv2 = nn.Conv2d(within, within, 3, stride, 1, groups=within, bias=False)
        self.bn2 = nn.BatchNorm2d(within)
        self.act2 = nn.ReLU()
        self.conv3 = nn.Conv2d(within, added, 1, groups=groups, bias=False)
        self.bn3 = nn.BatchNorm2d(added)
        self.act3 = nn.ReLU()
        self.halves = stride == 2

    def forward(self, x: Tensor) -> Tensor:
        """The block's map, after its activation."""
        residual = shuffled(self.act1(self.bn1(self.conv1(x))), self.groups)
        residual = self.act2(self.bn2(self.conv2(residual)))
        residual = self.bn3(self.conv3(residual))
        if self.halves:
            return cast(Tensor, self.act3(torch.cat([residual, F.avg_pool2d(x, 3, 2, 1)], 1)))
        return cast(Tensor, self.act3(residual + x))


class ShuffleBlockV2(nn.Module):
    """Version 2: half of the channels pass by a 3 x 3 convolution a channel between two 1 x 1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv1 = nn.Conv2d(half, half, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(half)
        self.act1 = nn.ReLU()
        self.conv2 = nn.Conv2d(half, half, 3, 1, 1, groups=half, bias=False)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = nn.Conv2d(half, half, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(half)
        self.act2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """The block's map, after its activation."""
        passing, other = x.chunk(2, 1)
        other = self.bn2(self.conv2(self.act1(self.bn1(self.conv1(other)))))
        other = self.bn3(self.conv3(other))
        return cast(Tensor, self.act2(shuffled(torch.cat([passing, other], 1), 2)))


class ShuffleDownV2(nn.Module):
    """Version 2: two branches of stride 2 beside each other."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        half = after // 2
        self.conv1 = nn.Conv2d(before, before, 3, 2, 1, groups=before, bias=False)
        self.bn1 = nn.BatchNorm2d(before)
        self.conv2 = nn.Conv2d(before, half, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = nn.Conv2d(before, half, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(half)
        self.act1 = nn.ReLU()
        self.conv4 = nn.Conv2d(half, half, 3, 2, 1, groups=half, bias=False)
        self.bn4 = nn.BatchNorm2d(half)
        self.conv5 = nn.Conv2d(half, half, 1, bias=False)
        self.bn5 = nn.BatchNorm2d(half)
        self.act2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """The block's map, after its activation."""
        left = self.bn2(self.conv2(self.bn1(self.conv1(x))))
        right = self.bn4(self.conv4(self.act1(self.bn3(self.conv3(x)))))
        right = self.bn5(self.conv5(right))
        return cast(Tensor, self.act2(shuffled(torch.cat([left, right], 1), 2)))


class ShuffleNet(Staged):
    """Logits of small images, by the first version.

    Args:
        width: Factor on all channels.
        num_classes: Number of classes; 0 for no classifier.
        in_chans: Channels of the images.
        global_pool: timm's name of the pooling.
        drop_rate: Share of the classifier's inputs dropped in training.
    """

    def __init__(
        self,
        width: float = 1.0,
        num_classes: int = 10,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
    ) -> None:
        groups, multiple = 3, 12
        wanted = widened((24, 240, 480, 960), width, multiple)
        # every stage adds channels to those before it
        chs = list(accumulate(wanted, lambda before, after: max(after, before + multiple)))
        names = ("layer1", "layer2", "layer3")
        super().__init__(
            names=("act1", *names),
            channels=chs,
            strides=(1, 2, 4, 8),
            num_classes=num_classes,
            drop_rate=drop_rate,
        )
        self.conv1 = nn.Conv2d(in_chans, chs[0], 1, bias=False)
        self.bn1 = nn.BatchNorm2d(chs[0])
        self.act1 = nn.ReLU()
        for name, number, before, after in zip(names, (4, 8, 4), chs, chs[1:], strict=False):
            first = ShuffleBlock(before, after, 2, groups, first=name == names[0])
            blocks = [ShuffleBlock(after, after, 1, groups, first=False) for _ in range(number - 1)]
            setattr(self, name, nn.Sequential(first, *blocks))
        self.reset_classifier(num_classes, global_pool)

    def stem(self, x: Tensor) -> Tensor:
        """The map that the first stage reads."""
        return cast(Tensor, self.act1(self.bn1(self.conv1(x))))


class ShuffleNetV2(Staged):
    """Logits of small images, by the second version.

    Args:
        channels: Of the stem, of the three stages and of the map that is pooled, at width 1.
        width: Factor on all channels.
        num_classes: Number of classes; 0 for no classifier.
        in_chans: Channels of the images.
        global_pool: timm's name of the pooling.
        drop_rate: Share of the classifier's inputs dropped in training.
    """

    def __init__(
        self,
        channels: Sequence[int] = (24, 116, 232, 464, 1024),
        width: float = 1.0,
        num_classes: int = 10,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
    ) -> None:
        *chs, pooled = widened(channels, width, multiple=2)
        names = ("layer1", "layer2", "layer3")
        super().__init__(
            names=("act1", *names),
            channels=chs,
            strides=(1, 2, 4, 8),
            num_classes=num_classes,
            drop_rate=drop_rate,
            pooled=pooled,
        )
        self.conv1 = nn.Conv2d(in_chans, chs[0], 1, bias=False)
        self.bn1 = nn.BatchNorm2d(chs[0])
        self.act1 = nn.ReLU()
        for name, number, before, after in zip(names, (3, 7, 3), chs, chs[1:], strict=False):
            blocks = [ShuffleBlockV2(after) for _ in range(number)]
            setattr(self, name, nn.Sequential(ShuffleDownV2(before, after), *blocks))
        self.conv2 = nn.Conv2d(chs[-1], pooled, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(pooled)
        self.act2 = nn.ReLU()
        self.reset_classifier(num_classes, global_pool)

    def stem(self, x: Tensor) -> Tensor:
        """The map that the first stage reads."""
        return cast(Tensor, self.act1(self.bn1(self.conv1(x))))

    def tail(self, x: Tensor) -> Tensor:
        """The last stage's map in many more channels."""
        return cast(Tensor, self.act2(self.bn2(self.conv2(x))))


_FAMILIES: dict[str, type[Staged]] = {
    "shufflenetv1_cifar": ShuffleNet,
    "shufflenetv2_cifar": ShuffleNetV2,
}

default_cfgs = generate_default_cfgs({name: pretrained_cfg("conv1", "fc") for name in _FAMILIES})
ENTRIES = {name: registered(family, name, __name__) for name, family in _FAMILIES.items()}


@hookimpl
def kdbench_models() -> Iterator[tuple[str, Callable[..., nn.Module]]]:
    """Networks of this family, by the names that timm now has them under."""
    yield from ENTRIES.items()
