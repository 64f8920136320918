"""A deep residual network for small images (He, Zhang, Ren & Sun 2016, arXiv:1512.03385).

Four stages of post-activation bottleneck blocks, the paper's ResNet-50, but as in the distillation
literature behind a 3 x 3 stem of stride 1 and without max-pooling: its maps are four times as wide
and high. The 3 x 3 convolution of a block has the stride, where the paper's first has it. timm's
`resnet50` is the network of large images, so the small one is `resnet50_cifar` here.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import cast

from timm.layers import DropPath
from timm.models import generate_default_cfgs
from torch import Tensor, nn

from kdbench.api import hookimpl
from kdbench_models.staged import (
    Staged,
    drop_paths,
    pretrained_cfg,
    registered,
    start_fan_out,
    widened,
)


class BottleneckBlock(nn.Module):
    """A 3 x 3 convolution of a quarter of the channels between two 1 x 1, and a shortcut."""

    def __init__(self, before: int, after: int, stride: int, drop_path: float) -> None:
        super().__init__()
        within = after // 4
        self.conv1 = nn.Conv2d(before, within, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(within)
        self.act1 = nn.ReLU()
        self.conv2 = nn.Conv2d(within, within, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(within)
        self.act2 = nn.ReLU()
        self.conv3 = nn.Conv2d(within, after, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(after)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()
        self.downsample = (
            nn.Identity()
            if (before, stride) == (after, 1)
            else nn.Sequential(
                nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
            )
        )
        self.act3 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """The block's map, after its activation."""
        shortcut = self.downsample(x)  # first, so that bn3 is the last norm before the activation
        residual = self.act1(self.bn1(self.conv1(x)))
        residual = self.act2(self.bn2(self.conv2(residual)))
        residual = self.bn3(self.conv3(residual))
        return cast(Tensor, self.act3(self.drop_path(residual) + shortcut))


class ResNet50(Staged):
    """Logits of small images, from four stages of bottleneck blocks.

    Args:
        blocks: Number of blocks in each of the four stages.
        width: Factor on all channels.
        num_classes: Number of classes; 0 for no classifier.
        in_chans: Channels of the images.
        global_pool: timm's name of the pooling.
        drop_rate: Share of the classifier's inputs dropped in training.
        drop_path_rate: Chance that the last block is skipped in training, a sample; rises linearly
            from 0.
    """

    def __init__(
        self,
        blocks: Sequence[int] = (3, 4, 6, 3),
        width: float = 1.0,
        num_classes: int = 10,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        if len(blocks) != 4 or min(blocks) < 1:
            raise ValueError(f"blocks are four counts of at least 1, not {blocks}")
        chs = widened((64, 256, 512, 1024, 2048), width, multiple=4)
        super().__init__(
            names=("act1", "layer1", "layer2", "layer3", "layer4"),
            channels=chs,
            strides=(1, 1, 2, 4, 8),
            num_classes=num_classes,
            drop_rate=drop_rate,
        )
        self.conv1 = nn.Conv2d(in_chans, chs[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(chs[0])
        self.act1 = nn.ReLU()
        self.add_stages(BottleneckBlock, drop_paths(drop_path_rate, blocks))
        self.reset_classifier(num_classes, global_pool)
        start_fan_out(self)

    def stem(self, x: Tensor) -> Tensor:
        """The map that the first stage reads."""
        return cast(Tensor, self.act1(self.bn1(self.conv1(x))))


_NAME = "resnet50_cifar"

default_cfgs = generate_default_cfgs({_NAME: pretrained_cfg("conv1", "fc")})
ENTRIES = {_NAME: registered(ResNet50, _NAME, __name__, stages=4)}


@hookimpl
def kdbench_models() -> Iterator[tuple[str, Callable[..., nn.Module]]]:
    """Networks of this family, by the names that timm now has them under."""
    yield from ENTRIES.items()
