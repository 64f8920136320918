"""Residual networks for small images (He, Zhang, Ren & Sun 2016, arXiv:1512.03385, section 4.2).

Three stages of post-activation basic blocks behind a 3 x 3 stem. Shortcuts that change shape are a
1 x 1 convolution with batch normalisation, as in the distillation literature (the paper's are free
of parameters). `resnet8x4` and `resnet32x4` have twice the channels in the stem and four times in
the stages.

`gkd_wrn_28_1` and `gkd_wrn_28_05` are what Lassance, Bontonou, Boukli Hacene, Gripon, Tang & Ortega
2020 (arXiv:1911.03080) call wide residual networks of depth 28: these same blocks, four a stage,
behind a stem of 16 channels at either width. Their count of layers has the shortcuts in it; ours,
26, has not. Their convolutions start as torch has it.
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


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut around them."""

    def __init__(self, before: int, after: int, stride: int, drop_path: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.act1 = nn.ReLU()
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()
        self.downsample = (
            nn.Identity()
            if (before, stride) == (after, 1)
            else nn.Sequential(
                nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
            )
        )
        self.act2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """The block's map, after its activation."""
        shortcut = self.downsample(x)  # first, so that bn2 is the last norm before the activation
        residual = self.bn2(self.conv2(self.act1(self.bn1(self.conv1(x)))))
        return cast(Tensor, self.act2(self.drop_path(residual) + shortcut))


class ResNet(Staged):
    """Logits of small images, from 6 n + 2 layers in three stages of n blocks.

    Args:
        depth: Number of layers, 6 n + 2.
        channels: Of the stem and of the three stages, at width 1.
        width: Factor on all channels.
        num_classes: Number of classes; 0 for no classifier.
        in_chans: Channels of the images.
        global_pool: timm's name of the pooling.
        drop_rate: Share of the classifier's inputs dropped in training.
        drop_path_rate: Chance that the last block is skipped in training, a sample; rises linearly
            from 0.
        fan_out: Whether convolutions start from Kaiming's distribution by fan-out; if not, as torch
            has it.
    """

    def __init__(
        self,
        depth: int,
        channels: Sequence[int] = (16, 16, 32, 64),
        width: float = 1.0,
        num_classes: int = 10,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        fan_out: bool = True,
    ) -> None:
        blocks, rest = divmod(depth - 2, 6)
        if rest or blocks < 1:
            raise ValueError(f"depth is 6 n + 2, not {depth}")
        chs = widened(channels, width)
        super().__init__(
            names=("act1", "layer1", "layer2", "layer3"),
            channels=chs,
            strides=(1, 1, 2, 4),
            num_classes=num_classes,
            drop_rate=drop_rate,
        )
        self.conv1 = nn.Conv2d(in_chans, chs[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(chs[0])
        self.act1 = nn.ReLU()
        self.add_stages(BasicBlock, drop_paths(drop_path_rate, [blocks] * 3))
        self.reset_classifier(num_classes, global_pool)
        if fan_out:
            start_fan_out(self)

    def stem(self, x: Tensor) -> Tensor:
        """The map that the first stage reads."""
        return cast(Tensor, self.act1(self.bn1(self.conv1(x))))


_SMALL, _LARGE = (16, 16, 32, 64), (32, 64, 128, 256)
_SHAPES: dict[str, tuple[int, tuple[int, ...], bool]] = {
    f"resnet{depth}": (depth, _SMALL, True) for depth in (8, 14, 20, 32, 44, 56, 110)
}
_SHAPES |= {f"resnet{depth}x4": (depth, _LARGE, True) for depth in (8, 32)}
_SHAPES |= {
    "gkd_wrn_28_1": (26, _SMALL, False),
    "gkd_wrn_28_05": (26, (16, 8, 16, 32), False),
}

default_cfgs = generate_default_cfgs({name: pretrained_cfg("conv1", "fc") for name in _SHAPES})
ENTRIES = {
    name: registered(ResNet, name, __name__, depth=depth, channels=channels, fan_out=fan_out)
    for name, (depth, channels, fan_out) in _SHAPES.items()
}


@hookimpl
def kdbench_models() -> Iterator[tuple[str, Callable[..., nn.Module]]]:
    """Networks of this family, by the names that timm now has them under."""
    yield from ENTRIES.items()
