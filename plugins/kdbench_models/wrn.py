"""Wide residual networks for small images (Zagoruyko & Komodakis 2016, arXiv:1605.07146).

`wrn_40_2` has 40 layers and twice the channels. Blocks are pre-activation; where one changes the
number of channels, its shortcut, too, starts from the activated input. The maps of the stages are
taken before the next activation.
"""

from collections.abc import Callable, Iterator
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


class WideBlock(nn.Module):
    """Two activated 3 x 3 convolutions and a shortcut around them."""

    def __init__(self, before: int, after: int, stride: int, drop_path: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(before)
        self.act1 = nn.ReLU()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.act2 = nn.ReLU()
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.shortcut = (
            None
            if (before, stride) == (after, 1)
            else nn.Conv2d(before, after, 1, stride, bias=False)
        )
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """The block's map, not activated."""
        active = self.act1(self.bn1(x))
        residual = self.conv2(self.act2(self.bn2(self.conv1(active))))
        shortcut = x if self.shortcut is None else self.shortcut(active)
        return cast(Tensor, self.drop_path(residual) + shortcut)


class WideResNet(Staged):
    """Logits of small images, from 6 n + 4 layers in three stages of n blocks.

    Args:
        depth: Number of layers, 6 n + 4.
        factor: Channels of the stages over those of a plain residual network.
        width: Further factor on all channels, the stem's too.
        num_classes: Number of classes; 0 for no classifier.
        in_chans: Channels of the images.
        global_pool: timm's name of the pooling.
        drop_rate: Share of the classifier's inputs dropped in training.
        drop_path_rate: Chance that the last block is skipped in training, a sample; rises linearly
            from 0.
    """

    def __init__(
        self,
        depth: int,
        factor: int,
        width: float = 1.0,
        num_classes: int = 10,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        blocks, rest = divmod(depth - 4, 6)
        if rest or blocks < 1:
            raise ValueError(f"depth is 6 n + 4, not {depth}")
        chs = widened((16, 16 * factor, 32 * factor, 64 * factor), width)
        super().__init__(
            names=("conv1", "block1", "block2", "block3"),
            channels=chs,
            strides=(1, 1, 2, 4),
            num_classes=num_classes,
            drop_rate=drop_rate,
        )
        self.conv1 = nn.Conv2d(in_chans, chs[0], 3, 1, 1, bias=False)
        self.add_stages(WideBlock, drop_paths(drop_path_rate, [blocks] * 3))
        self.bn1 = nn.BatchNorm2d(chs[-1])
        self.act1 = nn.ReLU()
        self.reset_classifier(num_classes, global_pool)
        start_fan_out(self)

    def stem(self, x: Tensor) -> Tensor:
        """The map that the first stage reads."""
        return cast(Tensor, self.conv1(x))

    def tail(self, x: Tensor) -> Tensor:
        """The last stage's map, normalised and activated at last."""
        return cast(Tensor, self.act1(self.bn1(x)))


_SHAPES = {
    f"wrn_{depth}_{factor}": (depth, factor) for depth in (16, 28, 40) for factor in (1, 2, 4)
}

default_cfgs = generate_default_cfgs({name: pretrained_cfg("conv1", "fc") for name in _SHAPES})
ENTRIES = {
    name: registered(WideResNet, name, __name__, depth=depth, factor=factor)
    for name, (depth, factor) in _SHAPES.items()
}


@hookimpl
def kdbench_models() -> Iterator[tuple[str, Callable[..., nn.Module]]]:
    """Networks of this family, by the names that timm now has them under."""
    yield from ENTRIES.items()
