"""How large a network is, and how much memory the worker took."""

import resource
import sys
from collections.abc import Sequence

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def size(network: nn.Module, image_shape: Sequence[int]) -> tuple[int, int]:
    """Number of weights, and multiply-adds (convolution, linear, attention) of one image.

    Args:
        network: Takes images in [0, 1]; its mode is restored.
        image_shape: Channels, height, width.
    """
    modes = [(module, module.training) for module in network.modules()]
    weight = next(network.parameters())
    network.eval()
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(torch.zeros((1, *image_shape), device=weight.device))
    finally:
        for module, mode in modes:
            module.training = mode
    return sum(one.numel() for one in network.parameters()), counter.get_total_flops() // 2


def peak_memory_mb(device: torch.device) -> float:
    """High-water mark in MiB: of the GPU's memory there, of this process on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
