"""How fast this device can be, and how many operations a step takes."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

CONVOLUTIONS = {"64 channels": (64, 64, 16), "256 channels": (32, 256, 8)}
"""Images, channels and side of 3 x 3 convolutions in channels_last, by name."""

SIDE = 1024
"""Of the square matrices that are multiplied."""


def convolution(name: str, device: torch.device) -> tuple[Callable[[], Tensor], int]:
    """A convolution of that name, and its operations (a multiply-add is two)."""
    images, channels, side = CONVOLUTIONS[name]
    x = torch.rand(images, channels, side, side, device=device)
    weight = torch.rand(channels, channels, 3, 3, device=device)
    x, weight = (each.contiguous(memory_format=torch.channels_last) for each in (x, weight))
    operations = 2 * images * channels**2 * 9 * side**2
    return lambda: F.conv2d(x, weight, padding=1), operations


def product(device: torch.device) -> tuple[Callable[[], Tensor], int]:
    """A product of two square matrices, and its operations."""
    a, b = torch.rand(2, SIDE, SIDE, device=device)
    return lambda: a @ b, 2 * SIDE**3


class Operations(TorchDispatchMode):
    """Counts the operations of convolutions, products and attention while it is open.

    torch's own `FlopCounterMode` counts by the same formulas; it also follows which module is
    running, by hooks that a second backward pass inside of a step does not survive.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's
        self.total = 0

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401 - torch's operator
        types: Any,  # noqa: ANN401 - not read
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - what the operator gives
        out = func(*args, **(kwargs or {}))
        if count := flop_registry.get(func.overloadpacket):
            self.total += count(*args, **(kwargs or {}), out_val=out)
        return out
