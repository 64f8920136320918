"""Residual networks for small images with layer normalisation in place of batch normalisation.

`resnet20_ln` is `resnet20` but for its norms: each is over channels, rows and columns of one sample
(a group norm of one group), with a scale and a shift a channel. A sample's logits are then its own,
in training too, and equal weights are equal functions: Stanton, Izmailov, Kirichenko, Alemi &
Wilson 2021 (arXiv:2106.05945, section 6.2) so start a student near its teacher. The paper does not
say over what it normalises; `preresnet20_ln` is its kind of network in the same way.
"""

from collections.abc import Callable, Iterator

from timm.models import generate_default_cfgs
from torch import nn

from kdbench.api import hookimpl
from kdbench_models.resnet import ResNet
from kdbench_models.staged import pretrained_cfg, registered


class LayerNormResNet(ResNet):
    """Logits of small images, from 6 n + 2 layers in three stages of n blocks, norms by sample.

    From one seed it has the convolutions and the classifier of the network with batch norms.

    Args:
        depth: Number of layers, 6 n + 2.
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
        width: float = 1.0,
        num_classes: int = 10,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__(
            depth,
            width=width,
            num_classes=num_classes,
            in_chans=in_chans,
            global_pool=global_pool,
            drop_rate=drop_rate,
            drop_path_rate=drop_path_rate,
        )
        for name, module in list(self.named_modules()):
            if isinstance(module, nn.BatchNorm2d):
                self.set_submodule(name, nn.GroupNorm(1, module.num_features))


_DEPTHS = {f"resnet{depth}_ln": depth for depth in (8, 14, 20, 32, 44, 56, 110)}

default_cfgs = generate_default_cfgs({name: pretrained_cfg("conv1", "fc") for name in _DEPTHS})
ENTRIES = {
    name: registered(LayerNormResNet, name, __name__, depth=depth)
    for name, depth in _DEPTHS.items()
}


@hookimpl
def kdbench_models() -> Iterator[tuple[str, Callable[..., nn.Module]]]:
    """Networks of this family, by the names that timm now has them under."""
    yield from ENTRIES.items()
