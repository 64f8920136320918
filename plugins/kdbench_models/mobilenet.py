"""MobileNetV2 for small images (Sandler, Howard, Zhu, Zhmoginov & Chen 2018, arXiv:1801.04381).

At half its channels, but for the 1,280 before the classifier, and of stride 16 instead of 32: the
network that the distillation literature took over from Jin, Peng, Wu, Liu, Liu, Liang, Yan & Hu
2019 (arXiv:1904.09149). The blocks of 12 channels have stride 1, the paper's 2;
activations are plain ReLU, where the paper's are cut off at 6; and the first block, too, has a
1 x 1 convolution before its 3 x 3. The maps of the stages are those that linear bottlenecks leave:
normalised and not activated. timm's `mobilenetv2_050` is the network of large images.
"""

from collections.abc import Callable, Iterator
from typing import cast

from timm.models import generate_default_cfgs
from torch import Tensor, nn

from kdbench.api import hookimpl
from kdbench_models.staged import Staged, pretrained_cfg, registered, start_fan_out, widened

_STEM, _HEAD = 16, 1280
_STAGES = (
    ((8, 1, 1, False), (12, 2, 1, True)),
    ((16, 3, 2, True),),
    ((32, 4, 2, True), (48, 3, 1, True)),
    ((80, 3, 2, True), (160, 1, 1, True)),
)
"""Of each stage's runs of blocks: channels, number, first one's stride, whether they expand."""


class InvertedResidual(nn.Module):
    """A 3 x 3 convolution a channel between two 1 x 1, and where shapes allow a shortcut."""

    def __init__(self, before: int, after: int, stride: int, expansion: int) -> None:
        super().__init__()
        within = before * expansion
        self.conv1 = nn.Conv2d(before, within, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(within)
        self.act1 = nn.ReLU()
        self.conv2 = nn.Conv2d(within, within, 3, stride, 1, groups=within, bias=False)
        self.bn2 = nn.BatchNorm2d(within)
        self.act2 = nn.ReLU()
        self.conv3 = nn.Conv2d(within, after, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(after)
        self.shortcut = (before, stride) == (after, 1)

    def forward(self, x: Tensor) -> Tensor:
        """The block's map, not activated."""
        residual = self.act1(self.bn1(self.conv1(x)))
        residual = self.act2(self.bn2(self.conv2(residual)))
        residual = self.bn3(self.conv3(residual))
        return cast(Tensor, x + residual if self.shortcut else residual)


class MobileNetV2(Staged):
    """Logits of small images.

    Args:
        expansion: Channels within a block over those before it, but for the first block's, 1.
        width: Factor on all channels.
        num_classes: Number of classes; 0 for no classifier.
        in_chans: Channels of the images.
        global_pool: timm's name of the pooling.
        drop_rate: Share of the classifier's inputs dropped in training.
    """

    def __init__(
        self,
        expansion: int = 6,
        width: float = 1.0,
        num_classes: int = 10,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
    ) -> None:
        chs = widened((_STEM, *(runs[-1][0] for runs in _STAGES)), width)
        (pooled,) = widened((_HEAD,), width)
        names = ("layer1", "layer2", "layer3", "layer4")
        super().__init__(
            names=("act1", *names),
            channels=chs,
            strides=(2, 2, 4, 8, 16),
            num_classes=num_classes,
            drop_rate=drop_rate,
            pooled=pooled,
        )
        self.conv1 = nn.Conv2d(in_chans, chs[0], 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(chs[0])
        self.act1 = nn.ReLU()
        before = chs[0]
        for name, runs in zip(names, _STAGES, strict=True):
            blocks = []
            for channels, number, stride, expands in runs:
                (after,) = widened((channels,), width)
                factor = expansion if expands else 1
                for step in (stride, *[1] * (number - 1)):
                    blocks.append(InvertedResidual(before, after, step, factor))
                    before = after
            setattr(self, name, nn.Sequential(*blocks))
        self.conv2 = nn.Conv2d(before, pooled, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(pooled)
        self.act2 = nn.ReLU()
        self.reset_classifier(num_classes, global_pool)
        start_fan_out(self)
        if isinstance(self.fc, nn.Linear):
            nn.init.normal_(self.fc.weight, 0, 0.01)
            nn.init.zeros_(self.fc.bias)

    def stem(self, x: Tensor) -> Tensor:
        """The map that the first stage reads."""
        return cast(Tensor, self.act1(self.bn1(self.conv1(x))))

    def tail(self, x: Tensor) -> Tensor:
        """The last stage's map in many more channels."""
        return cast(Tensor, self.act2(self.bn2(self.conv2(x))))


_NAME = "mobilenetv2_cifar"

default_cfgs = generate_default_cfgs({_NAME: pretrained_cfg("conv1", "fc")})
ENTRIES = {_NAME: registered(MobileNetV2, _NAME, __name__, stages=4)}


@hookimpl
def kdbench_models() -> Iterator[tuple[str, Callable[..., nn.Module]]]:
    """Networks of this family, by the names that timm now has them under."""
    yield from ENTRIES.items()
