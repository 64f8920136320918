"""Pre-activation residual networks (He, Zhang, Ren & Sun 2016, arXiv:1603.05027) for small images.

As Stanton, Izmailov, Kirichenko, Alemi & Wilson 2021 (arXiv:2106.05945) have them: three stages of
16, 32 and 64 channels behind a 3 x 3 stem, of basic blocks where depth is below 44, of bottleneck
blocks with four times the channels from there on. So `preresnet56` is another network than
`resnet56`, with fewer weights and wider maps. Shortcuts that change shape are a bare 1 x 1
convolution of the block's input, which is not activated, unlike a wide residual network's. The maps
of the stages are taken before the next activation.

In `preresnet20_ln` and `preresnet56_ln` layer normalisation, over channels, rows and columns with a
scale and a shift a channel, takes the place of every batch normalisation, so that equal weights
mean equal functions. The paper does not say over what it normalises.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal, cast

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

Norm = Literal["batch", "layer"]
_BOTTLENECK_FROM = 44


def normalised(norm: Norm, channels: int) -> nn.Module:
    """A norm of this many channels."""
    return nn.BatchNorm2d(channels) if norm == "batch" else nn.GroupNorm(1, channels)


class PreBlock(nn.Module):
    """Two or three normalised and activated convolutions, and a shortcut around them.

    Args:
        before, after: Channels of its input and its map.
        stride: Of its one 3 x 3 convolution, or the first of two.
        drop_path: Chance to be skipped.
        bottleneck: Whether a 3 x 3 convolution of a quarter of the channels between two of 1 x 1
            takes the place of two of 3 x 3.
        norm: Which normalisation.
    """

    def __init__(
        self,
        before: int,
        after: int,
        stride: int,
        drop_path: float,
        bottleneck: bool,
        norm: Norm,
    ) -> None:
        super().__init__()
        within = after // 4 if bottleneck else after
        layers = (
            [(before, within, 1, 1), (within, within, 3, stride), (within, after, 1, 1)]
            if bottleneck
            else [(before, within, 3, stride), (within, after, 3, 1)]
        )
        parts: list[nn.Module] = []
        for ins, outs, kernel, step in layers:
            conv = nn.Conv2d(ins, outs, kernel, step, kernel // 2, bias=False)
            parts += [normalised(norm, ins), nn.ReLU(), conv]
        self.residual = nn.Sequential(*parts)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()
        self.downsample = (
            nn.Identity()
            if (before, stride) == (after, 1)
            else nn.Conv2d(before, after, 1, stride, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        """The block's map, not activated."""
        return cast(Tensor, self.drop_path(self.residual(x)) + self.downsample(x))


class PreResNet(Staged):
    """Logits of small images, from 6 n + 2 layers, or from 44 on 9 n + 2, in three stages.

    Args:
        depth: Number of layers.
        norm: "batch", or "layer" for one of each sample alone.
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
        depth: int,
        norm: Norm = "batch",
        width: float = 1.0,
        num_classes: int = 10,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        bottleneck = depth >= _BOTTLENECK_FROM
        blocks, rest = divmod(depth - 2, 9 if bottleneck else 6)
        if rest or blocks < 1:
            rule = "9 n + 2" if bottleneck else "6 n + 2"
            raise ValueError(f"depth is {rule} here, not {depth}")
        if norm not in ("batch", "layer"):
            raise ValueError(f"norm is 'batch' or 'layer', not {norm!r}")
        first, *planes = widened((16, 16, 32, 64), width)
        chs = [first, *(count * (4 if bottleneck else 1) for count in planes)]
        super().__init__(
            names=("conv1", "layer1", "layer2", "layer3"),
            channels=chs,
            strides=(1, 1, 2, 4),
            num_classes=num_classes,
            drop_rate=drop_rate,
        )
        self.conv1 = nn.Conv2d(in_chans, chs[0], 3, 1, 1, bias=False)
        block = partial(PreBlock, bottleneck=bottleneck, norm=norm)
        self.add_stages(block, drop_paths(drop_path_rate, [blocks] * 3))
        self.bn1 = normalised(norm, chs[-1])
        self.act1 = nn.ReLU()
        self.reset_classifier(num_classes, global_pool)
        start_fan_out(self)

    def stem(self, x: Tensor) -> Tensor:
        """The map that the first stage reads."""
        return cast(Tensor, self.conv1(x))

    def tail(self, x: Tensor) -> Tensor:
        """The last stage's map, normalised and activated at last."""
        return cast(Tensor, self.act1(self.bn1(x)))


_SHAPES: dict[str, tuple[int, Norm]] = {
    f"preresnet{depth}": (depth, "batch") for depth in (20, 56, 110)
}
_SHAPES |= {f"preresnet{depth}_ln": (depth, "layer") for depth in (20, 56)}

default_cfgs = generate_default_cfgs({name: pretrained_cfg("conv1", "fc") for name in _SHAPES})
ENTRIES = {
    name: registered(PreResNet, name, __name__, depth=depth, norm=norm)
    for name, (depth, norm) in _SHAPES.items()
}


@hookimpl
def kdbench_models() -> Iterator[tuple[str, Callable[..., nn.Module]]]:
    """Networks of this family, by the names that timm now has them under."""
    yield from ENTRIES.items()
