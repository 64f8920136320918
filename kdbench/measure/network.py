"""What a network says on a whole split, and how fast it says it."""

import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from kdbench.api import Maps, Outputs
from kdbench.errors import ContractError

_PIXELS = 2**17
"""Of the images that a CPU is asked about at a time: 128 of CIFAR's, whose maps fit its caches."""


class Sweep(NamedTuple):
    """A network's logits and pooled features (None if it gives none) on a split, float32, CPU."""

    logits: Float[Tensor, "rows classes"]
    pooled: Float[Tensor, "rows dim"] | None


def sweep(
    network: nn.Module,
    images: UInt8[Tensor, "rows channels height width"],
    *,
    batch_size: int | None = None,
    device: torch.device | str = "cpu",
) -> Sweep:
    """Logits and pooled features on all rows, in order, in eval mode and without a graph.

    Args:
        network: Takes images in [0, 1], gives `Outputs` or bare logits; lies on `device`. Modes are
            restored.
        images: Pixels, uint8.
        batch_size: Images at a time; None for what is fastest.

    Raises:
        ContractError: The network gives anything else, or logits that are not finite.
    """
    if images.dtype != torch.uint8 or not len(images):
        raise ValueError("images are uint8 and at least one")
    return swept(network, _parts(images, batch_size, device))


def swept(
    network: nn.Module, parts: Iterable[Float[Tensor, "rows channels height width"]]
) -> Sweep:
    """As `sweep`, of batches of images in [0, 1] on the network's device; at least one.

    Raises:
        ContractError: As `sweep`.
    """
    logits, pooled = [], []
    with _evaluating(network):
        for part in parts:
            said = network(part)
            if isinstance(said, Outputs):
                pooled.append(said.pooled.float().cpu())
            rows = said.logits if isinstance(said, Outputs) else said
            if not isinstance(rows, Tensor) or rows.ndim != 2 or len(rows) != len(part):
                shape = tuple(rows.shape) if isinstance(rows, Tensor) else type(rows).__name__
                what = f"{type(network).__name__} gave {shape} for {len(part)} images"
                raise ContractError(what, "expected logits, a row an image", "see Method.deploy")
            logits.append(rows.float().cpu())
    kept = torch.cat(logits)
    if not kept.isfinite().all():
        raise ContractError(
            f"{type(network).__name__} gave logits that are not finite", "NaN or overflow"
        )
    return Sweep(kept, torch.cat(pooled) if pooled else None)


def depths(
    network: nn.Module,
    images: UInt8[Tensor, "rows channels height width"],
    *,
    device: torch.device | str = "cpu",
) -> tuple[Float[Tensor, "rows channels"], ...]:
    """Means over places of a network's hints on all rows, shallow to deep, float32, CPU.

    Args:
        network: Gives hints where it is asked for maps; lies on `device`. Modes are restored.
        images: Pixels, uint8.
    """
    means = []
    with _evaluating(network):
        for part in _parts(images, None, device):
            hints = network(part, Maps(hints=True)).hints
            means.append([hint.float().flatten(2).mean(2).cpu() for hint in hints])
    return tuple(torch.cat(parts) for parts in zip(*means, strict=True))


def _parts(
    images: Tensor, batch_size: int | None, device: torch.device | str
) -> Iterator[Float[Tensor, "rows channels height width"]]:
    """The images in [0, 1], so many at a time."""
    for part in images.split(batch_size or _at_a_time(images, torch.device(device))):
        yield part.to(device).float() / 255


def _at_a_time(images: Tensor, device: torch.device) -> int:
    return 1000 if device.type != "cpu" else min(1000, max(32, _PIXELS // images[0, 0].numel()))


class Speed(NamedTuple):
    """Median milliseconds of a forward pass at batch 1, and median images a second at batch 256."""

    latency_ms: float
    throughput: float


def deployed_speed(
    network: nn.Module,
    image_shape: Sequence[int],
    device: torch.device | str = "cpu",
    *,
    seconds: float = 0.3,
    least: int = 3,
    batch_size: int = 256,
) -> Speed:
    """Speed of the deployed network, float32 images already on the device, in eval mode.

    Args:
        image_shape: Channels, height, width.
        seconds: About how long all of it may take; slow networks take one warm-up and `least`
            passes a batch size.
        least: Fewest windows the median is taken over.
    """
    where = torch.device(device)
    stream = torch.Generator().manual_seed(0)
    images = torch.rand((batch_size, *image_shape), generator=stream).to(where)
    settle = _settle(where)
    with _evaluating(network):
        single = _median_ms(network, images[:1], settle, seconds / 2, least)
        many = _median_ms(network, images, settle, seconds / 2, least)
    return Speed(single, 1000 * batch_size / many)


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Eval mode without gradients; afterwards every module has the mode it had."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def _settle(device: torch.device) -> Callable[[], None]:
    if device.type == "cpu":
        return lambda: None
    return lambda: torch.accelerator.synchronize(device)


def _median_ms(
    network: nn.Module, rows: Tensor, settle: Callable[[], None], seconds: float, least: int
) -> float:
    """Median milliseconds a pass, over windows of several; a quarter of the time is warm-up."""
    start, passes = time.perf_counter(), 0
    while not passes or time.perf_counter() - start < seconds / 4:
        network(rows)
        settle()
        passes += 1
    one = (time.perf_counter() - start) / passes
    window = max(1, round(seconds / 20 / one))  # some 15 windows in the rest of the time
    start, taken = time.perf_counter(), list[float]()
    while len(taken) < least or time.perf_counter() - start < seconds * 3 / 4:
        begin = time.perf_counter()
        for _ in range(window):
            network(rows)
        settle()
        taken.append((time.perf_counter() - begin) / window)
    return 1000 * statistics.median(taken)
