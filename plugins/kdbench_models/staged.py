"""A network in stages, a stem before and a classifier after them, with timm's conventions."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, cast

import torch.nn.functional as F
from timm.layers import calculate_drop_path_rates, create_classifier
from timm.models import build_model_with_cfg, register_model
from timm.models._features import feature_take_indices
from torch import Tensor, nn


class Staged(nn.Module, ABC):
    """Logits of images, and the maps on the way: of the stem, then of each stage.

    Args:
        names: Of the module that gives the stem's map, then of each stage's.
        channels: Channels of these maps.
        strides: Input pixels a pixel of these maps.
        num_classes: Number of classes; 0 for no classifier.
        drop_rate: Share of the classifier's inputs dropped in training.
        pooled: Channels of the map that is pooled; None for those of the last stage's.
    """

    classifier_name: ClassVar[str] = "fc"

    def __init__(
        self,
        *,
        names: Sequence[str],
        channels: Sequence[int],
        strides: Sequence[int],
        num_classes: int,
        drop_rate: float,
        pooled: int | None = None,
    ) -> None:
        super().__init__()
        self.stage_names = tuple(names[1:])
        self.num_classes = num_classes
        self.drop_rate = drop_rate
        self.num_features = self.head_hidden_size = pooled or channels[-1]
        self.feature_info = [
            {"num_chs": chs, "reduction": stride, "module": name}
            for chs, stride, name in zip(channels, strides, names, strict=True)
        ]

    def add_stages(
        self, block: Callable[[int, int, int, float], nn.Module], rates: Sequence[Sequence[float]]
    ) -> None:
        """Every stage as a sequence of blocks, the first of which changes channels and size.

        Args:
            block: A block of this many channels before and after, stride and chance to be skipped.
            rates: Chance to be skipped of each block in each stage.
        """
        maps = self.feature_info
        for name, last, this, drops in zip(self.stage_names, maps, maps[1:], rates, strict=False):
            before, after = cast(int, last["num_chs"]), cast(int, this["num_chs"])
            stride = cast(int, this["reduction"]) // cast(int, last["reduction"])
            first = block(before, after, stride, drops[0])
            setattr(
                self, name, nn.Sequential(first, *(block(after, after, 1, d) for d in drops[1:]))
            )

    @abstractmethod
    def stem(self, x: Tensor) -> Tensor:
        """The map that the first stage reads."""

    def between(self, x: Tensor, stage: int) -> Tensor:
        """What stage number `stage` reads, of the map before it."""
        return x

    def tail(self, x: Tensor) -> Tensor:
        """What is pooled, of the last stage's map."""
        return x

    def forward_features(self, x: Tensor) -> Tensor:
        """The map that is pooled."""
        x = self.stem(x)
        for number, name in enumerate(self.stage_names):
            x = self.get_submodule(name)(self.between(x, number))
        return self.tail(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits of the map that is pooled, or with `pre_logits` the classifier's input."""
        x = self.global_pool(x)
        x = F.dropout(x, self.drop_rate, self.training) if self.drop_rate else x
        return x if pre_logits else cast(Tensor, self.get_classifier()(x))

    def forward(self, x: Tensor) -> Tensor:
        """Logits of normalised images."""
        return self.forward_head(self.forward_features(x))

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """The map that is pooled, and the maps of the stem (index 0) and the stages.

        Args:
            x: Normalised images.
            indices: Which maps: the last so many, these, or all.
            norm: Apply what follows the last stage to its map, too.
            stop_early: Leave out the stages after the last map asked for.
            output_fmt: Only "NCHW".
            intermediates_only: Give back the maps alone.
        """
        if output_fmt != "NCHW":
            raise ValueError(f"output_fmt is NCHW here, not {output_fmt!r}")
        take, last = feature_take_indices(len(self.feature_info), indices)
        maps = []
        x = self.stem(x)
        if 0 in take:
            maps.append(x)
        for number, name in enumerate(self.stage_names[:last] if stop_early else self.stage_names):
            x = self.get_submodule(name)(self.between(x, number))
            final = number + 1 == len(self.stage_names)
            if number + 1 in take:
                maps.append(self.tail(x) if norm and final else x)
        return maps if intermediates_only else (self.tail(x), maps)

    def get_classifier(self) -> nn.Module:
        """The module from pooled to logits."""
        return self.get_submodule(self.classifier_name)

    def reset_classifier(self, num_classes: int, global_pool: str = "avg") -> None:
        """A fresh classifier for `num_classes` classes; 0 for none."""
        self.num_classes = num_classes
        self.global_pool, classifier = create_classifier(
            self.num_features, num_classes, pool_type=global_pool
        )
        setattr(self, self.classifier_name, classifier)


def widened(channels: Sequence[int], width: float, multiple: int = 1) -> list[int]:
    """Channels times `width`, rounded to a multiple of `multiple`, at least that many each."""
    if not 0 < width < float("inf"):
        raise ValueError(f"width is a factor above 0, not {width}")
    return [multiple * max(1, round(count * width / multiple)) for count in channels]


def drop_paths(rate: float, blocks: Sequence[int]) -> list[list[float]]:
    """Chance to be skipped of each of so many blocks a stage, rising linearly from 0 to `rate`."""
    return cast(list[list[float]], calculate_drop_path_rates(rate, list(blocks), stagewise=True))


def start_fan_out(network: nn.Module) -> None:
    """Draw all convolutions from Kaiming's normal distribution by fan-out, biases 0.

    Reference:
        Kaiming He, Xiangyu Zhang, Shaoqing Ren & Jian Sun, "Delving Deep into Rectifiers", 2015,
        arXiv:1502.01852, section 2.2.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def pretrained_cfg(first_conv: str, classifier: str) -> dict[str, Any]:
    """What timm wants to know of a network of 32 x 32 images that has no published weights."""
    return {
        "url": "", "num_classes": 10, "input_size": (3, 32, 32), "pool_size": None, "crop_pct": 1.0,
        "interpolation": "bilinear", "mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25),
        "first_conv": first_conv, "classifier": classifier, "license": "mit",
    }  # fmt: skip


def registered(
    family: type[Staged],
    name: str,
    module: str,
    stages: int = 3,
    **shape: bool | float | str | tuple[int, ...],
) -> Callable[..., Staged]:
    """The entry function of one network of a family, known to timm as `name` from now on.

    Args:
        family: The network's class.
        name: What `timm.create_model` calls it.
        module: Name of the family's module, which holds its `default_cfgs`.
        stages: Number of its stages, whose maps `features_only` gives.
        shape: What tells this network from the others of its family.
    """

    def build(pretrained: bool = False, **options: Any) -> Staged:  # noqa: ANN401 - any of timm's
        features = {"feature_cls": "getter", "out_indices": tuple(range(1, stages + 1))}
        all_options: dict[str, Any] = shape | options
        return build_model_with_cfg(family, name, pretrained, feature_cfg=features, **all_options)

    build.__name__ = build.__qualname__ = name
    build.__module__ = module
    build.__doc__ = f"`{name}` of this family; options are those of `{family.__name__}`."
    return register_model(build)
