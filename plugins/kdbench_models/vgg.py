"""Plain networks for small images (Simonyan & Zisserman 2015, arXiv:1409.1556).

Five stages of 3 x 3 convolutions with batch normalisation, max-pooling after each of the first
three, global average pooling and one linear layer, as in the distillation literature. timm's
`vgg13` is the paper's own network, so the small one is `vgg13_cifar` here; `vgg11_cifar`,
`vgg16_cifar` and `vgg19_cifar` likewise.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import cast

import torch.nn.functional as F
from timm.models import generate_default_cfgs
from torch import Tensor, nn

from kdbench.api import hookimpl
from kdbench_models.staged import Staged, pretrained_cfg, registered, start_fan_out, widened


class VGG(Staged):
    """Logits of small images, of at least 8 x 8 pixels.

    Args:
        convolutions: Number of convolutions in each of the five stages.
        width: Factor on all channels.
        num_classes: Number of classes; 0 for no classifier.
        in_chans: Channels of the images.
        global_pool: timm's name of the pooling.
        drop_rate: Share of the classifier's inputs dropped in training.
    """

    classifier_name = "classifier"

    def __init__(
        self,
        convolutions: Sequence[int],
        width: float = 1.0,
        num_classes: int = 10,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
    ) -> None:
        if len(convolutions) != 5 or min(convolutions) < 1:
            raise ValueError(f"convolutions are five counts of at least 1, not {convolutions}")
        chs = widened((64, 128, 256, 512, 512), width)
        names = tuple(f"block{number}" for number in range(5))
        super().__init__(
            names=names,
            channels=chs,
            strides=(1, 2, 4, 8, 8),
            num_classes=num_classes,
            drop_rate=drop_rate,
        )
        for name, count, before, after in zip(
            names, convolutions, (in_chans, *chs), chs, strict=False
        ):
            layers: list[nn.Module] = []
            for number in range(count):
                layers += [
                    nn.Conv2d(after if number else before, after, 3, 1, 1),
                    nn.BatchNorm2d(after),
                    nn.ReLU(),
                ]
            setattr(self, name, nn.Sequential(*layers))
        self.reset_classifier(num_classes, global_pool)
        start_fan_out(self)

    def stem(self, x: Tensor) -> Tensor:
        """The first stage's map."""
        return cast(Tensor, self.get_submodule("block0")(x))

    def between(self, x: Tensor, stage: int) -> Tensor:
        """Half the size, but for the last stage."""
        return F.max_pool2d(x, 2) if stage < 3 else x


_SHAPES = {
    "vgg8": (1, 1, 1, 1, 1),
    "vgg11_cifar": (1, 1, 2, 2, 2),
    "vgg13_cifar": (2, 2, 2, 2, 2),
    "vgg16_cifar": (2, 2, 3, 3, 3),
    "vgg19_cifar": (2, 2, 4, 4, 4),
}

default_cfgs = generate_default_cfgs(
    {name: pretrained_cfg("block0.0", "classifier") for name in _SHAPES}
)
ENTRIES = {
    name: registered(VGG, name, __name__, stages=4, convolutions=counts)
    for name, counts in _SHAPES.items()
}


@hookimpl
def kdbench_models() -> Iterator[tuple[str, Callable[..., nn.Module]]]:
    """Networks of this family, by the names that timm now has them under."""
    yield from ENTRIES.items()
