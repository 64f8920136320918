"""How large a network is, and how much memory a call takes."""

import gc
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile
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


def peak_memory_mb(call: Callable[[], object], device: torch.device) -> float:
    """MiB that tensors take at most during `call`, on top of what they took before it.

    Counted by torch's allocators, so that neither their caches nor what ran before in this process
    show; scratch space inside of a library's kernels does not either. The same every time, on the
    CPU to the byte.
    """
    collecting = gc.isenabled()
    gc.disable()  # when it runs depends on what ran before: what it would free stays until after
    try:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
            torch.cuda.reset_peak_memory_stats(device)
            before = torch.cuda.memory_allocated(device)
            call()
            return (torch.cuda.max_memory_allocated(device) - before) / 2**20
        with _muted(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
            call()
    finally:
        if collecting:
            gc.enable()
    assert seen.profiler is not None
    events = seen.profiler.kineto_results.events()
    moves = sorted((one.start_ns(), one.nbytes()) for one in events if one.name() == "[memory]")
    return float(max(accumulate((size for _, size in moves), initial=0))) / 2**20


@contextmanager
def _muted() -> Iterator[None]:
    """What torch's profiler writes to stderr at every use, below Python, goes nowhere."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
