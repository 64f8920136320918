"""A frozen network, faster: its batch norms folded into the convolutions before them."""

import copy
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, cast

import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.overrides import TorchFunctionMode

from kdbench.api import Maps
from kdbench.models import Network

_NORMS = (nn.BatchNorm2d, BatchNormAct2d)
TOLERANCE = 1e-4
"""Of the largest value: a copy that says anything farther from its network is not used."""


@torch.no_grad()
def folded(network: Network) -> Network:
    """A copy of a frozen network that says the same up to rounding, with fewer passes over memory.

    A batch norm whose input is what a convolution gave is folded into its weights, and what is left
    of it stands in its place, so that names and hooks stay. A network that would say anything else
    then (because somebody reads the map in between) is copied as it is. That is found out on the
    CPU, where float32 is what it says.
    """
    device = network.mean.device
    network = copy.deepcopy(network).cpu()
    images = torch.rand(
        (4, *network.reading.image_shape), generator=torch.Generator().manual_seed(0)
    )
    images = images.to(memory_format=torch.channels_last)
    found = copy.deepcopy(network)
    for convolution, norm in _pairs(found, images):
        conv, bn = found.get_submodule(convolution), found.get_submodule(norm)
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(bn, nn.BatchNorm2d)
        found.set_submodule(convolution, fuse_conv_bn_eval(conv, bn))
        found.set_submodule(norm, _Rest(bn) if isinstance(bn, BatchNormAct2d) else nn.Identity())
    maps = Maps(hints=True)
    ours, theirs = found(images, maps).tensors(), network(images, maps).tensors()
    same = all(_close(a, b) for a, b in zip(ours, theirs, strict=True))
    return (found if same else network).eval().to(memory_format=torch.channels_last).to(device)


class _Rest(nn.Module):
    """What a norm with an activation does beside normalising."""

    def __init__(self, norm: BatchNormAct2d) -> None:
        super().__init__()
        self.drop, self.act = norm.drop, norm.act

    def forward(self, x: Tensor) -> Tensor:
        """The activation."""
        return cast(Tensor, self.act(self.drop(x)))


def _pairs(network: Network, images: Tensor) -> list[tuple[str, str]]:
    """Names of the convolutions and batch norms that can be folded.

    The norm reads what the convolution gave, nobody else does, and both are called once.
    """
    gave: dict[int, tuple[str, Tensor]] = {}  # by identity; a tensor that is held keeps its own
    calls = Counter[str]()
    found: list[tuple[str, str, int]] = []

    def convolved(name: str, said: Tensor) -> None:
        calls[name] += 1
        gave[id(said)] = (name, said)

    def normed(name: str, read: Tensor) -> None:
        calls[name] += 1
        if id(read) in gave:
            found.append((gave[id(read)][0], name, id(read)))

    with _Uses() as uses, ExitStack() as watched:
        for name, module in network.named_modules():
            if isinstance(module, nn.Conv2d):
                handle = module.register_forward_hook(
                    lambda _, __, said, n=name: convolved(n, said)
                )
            elif type(module) in _NORMS and module.track_running_stats:
                handle = module.register_forward_pre_hook(
                    lambda _, args, n=name: normed(n, args[0])
                )
            else:
                continue
            watched.callback(handle.remove)
        network(images)
    return [
        (convolution, norm)
        for convolution, norm, read in found
        if uses.count[read] == calls[convolution] == calls[norm] == 1
    ]


class _Uses(TorchFunctionMode):
    """How many of torch's functions read each tensor to make another, by identity."""

    def __init__(self) -> None:
        super().__init__()
        self.count, self._held = Counter[int](), list[Tensor]()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - torch's
        """Whatever the function gives."""
        said = func(*args, **(kwargs or {}))
        if isinstance(said, Tensor):
            self._held.append(said)  # so that no other tensor gets its identity
            self.count.update(id(one) for one in args if isinstance(one, Tensor))
        return said


def _close(ours: Tensor, theirs: Tensor) -> bool:
    return bool((ours - theirs).abs().max() <= TOLERANCE * theirs.abs().max())
