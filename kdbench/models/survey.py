"""How an architecture is read, found out on a twin; what cannot be read truly is refused."""

import copy
import math
from dataclasses import replace
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from kdbench.api import Hint, Maps, Unsupported
from kdbench.models import preacts
from kdbench.models.hints import chosen
from kdbench.models.network import Network, Reading, Unheard, called, classifiers, overheard

__all__ = ["Misfit", "Reading", "check_covered", "surveyed"]

_FAILURES = (
    RuntimeError, ValueError, TypeError, AssertionError, LookupError, ArithmeticError,
    AttributeError, Unheard,
)  # fmt: skip
"""What networks raise on inputs that they cannot take."""


class Misfit(Exception):
    """The network's own forward pass fails on images of this size."""


def surveyed(
    model: nn.Module, image_shape: tuple[int, int, int], input_size: tuple[int, int] | None = None
) -> Reading:
    """How this network is read, true to its own forward pass; it is left as it is.

    A twin with other weights is tried, so that nothing rests on weights that happen to start at
    zero.

    Args:
        model: A timm network, on the CPU.
        image_shape: Channels, height, width of the images.
        input_size: Height and width that images are resized to, or None for as they are.

    Raises:
        Misfit: It cannot take images of this size.
        Unsupported: Its logits, pooled features or maps cannot be had truly; the message says why.
    """
    name = _name(model)
    for part in ("forward_features", "forward_intermediates", "forward_head", "get_classifier"):
        if not hasattr(model, part):
            raise Unsupported(f"{name} cannot be read", f"it has no {part}", "name another network")
    # One kernel for attention throughout: kernels differ in the last bits, and not every one is
    # counted everywhere.
    with torch.no_grad(), torch.random.fork_rng(devices=[]), sdpa_kernel(SDPBackend.MATH):
        twin = _stirred(copy.deepcopy(model)).eval().requires_grad_(False)
        images = _pattern(2, *image_shape)
        reading = Reading(
            image_shape=image_shape, input_size=input_size, taps=(), hints=(), pooled_dims=()
        )
        x = _reader(twin, reading).prepared(images)
        with FlopCounterMode(display=False) as counter:
            own, inputs = _own(twin, x, name)
        taps, hints = _maps(twin, x, name)
        reading = replace(
            reading,
            taps=taps,
            hints=hints,
            pooled_dims=tuple(part.shape[1] for part in inputs),
            preacts=_preacts(twin, x, taps, name),
            shared=all(torch.equal(part, inputs[0]) for part in inputs),
            multiply_adds=counter.get_total_flops() // 2 // len(images),
        )
        reasons = []
        for direct in (True, False):
            candidate = replace(reading, direct=direct)
            reason = _disagreement(_reader(twin, candidate), images, own, inputs)
            if not reason:
                return replace(candidate, class_map=_class_map(twin, x, inputs))
            reasons.append(reason)
    raise Unsupported(f"{name} cannot be read", reasons[-1], "name another network")


def check_covered(model: nn.Module, channels: int, size: tuple[int, int]) -> None:
    """Raise where the last row or column says nothing: patches do not cover it.

    Raises:
        Misfit: The network does not see the whole image.
    """
    images = _pattern(1, channels, *size).repeat(3, 1, 1, 1)
    images[1, :, -1] += 1
    images[2, :, :, -1] += 1
    twin = _stirred(copy.deepcopy(model)).eval()
    with torch.no_grad():
        features = tree_leaves(called(twin, "forward_features")(images))
    if not all(any(not torch.equal(part[0], part[place]) for part in features) for place in (1, 2)):
        raise Misfit(f"its patches do not cover {size[0]} x {size[1]} pixels")


def _own(twin: nn.Module, x: Tensor, name: str) -> tuple[Tensor, list[Tensor]]:
    """Logits by the network's own forward pass, and its classifiers' inputs."""
    heads = classifiers(twin)
    if any(isinstance(head, nn.Identity) for head in heads):
        raise Unsupported(f"{name} cannot be read", "it has no classifier", "name another network")
    try:
        logits, inputs = overheard(heads, lambda: twin(x))
    except Unheard as error:
        raise Unsupported(f"{name} cannot be read", str(error), "name another network") from error
    except _FAILURES as error:
        raise Misfit(str(error).partition("\n")[0] or type(error).__name__) from error
    if not isinstance(logits, Tensor) or logits.ndim != 2 or not logits.isfinite().all():
        why = "it does not give finite logits, a row an image"
        raise Unsupported(f"{name} cannot be read", why, "name another network")
    return logits, inputs


def _maps(twin: nn.Module, x: Tensor, name: str) -> tuple[tuple[int, ...], tuple[Hint, ...]]:
    """The reading's taps and hints."""
    try:
        end, maps = called(twin, "forward_intermediates")(x, output_fmt="NCHW")
    except _FAILURES as error:
        why = f"forward_intermediates fails: {error}"
        raise Unsupported(f"{name} has no hints", why, "name another network") from error
    if not maps or any(hint.ndim != 4 or not hint.numel() for hint in maps):
        raise Unsupported(
            f"{name} has no hints", "its intermediates are not spatial maps", "name another network"
        )
    taps = chosen([(hint.shape[2], hint.shape[3]) for hint in maps])
    tokens = isinstance(end, Tensor) and end.ndim == 3
    hints = tuple(
        Hint(
            channels=maps[tap].shape[1],
            height=maps[tap].shape[2],
            width=maps[tap].shape[3],
            stride=max(1, round(x.shape[2] / maps[tap].shape[2])),
            kind="tokens" if tokens else "map",
        )
        for tap in taps
    )
    return taps, hints


def _preacts(
    twin: nn.Module, x: Tensor, taps: tuple[int, ...], name: str
) -> tuple[preacts.Preact, ...]:
    """The reading's preacts, proved by another pass."""
    run = partial(called(twin, "forward_intermediates"), x, output_fmt="NCHW")
    places = preacts.found(twin, run, taps)
    (_, maps), before = preacts.caught(twin, places, run)
    for tap, map_ in zip(taps, before, strict=True):
        if map_ is not None and map_.shape != maps[tap].shape:
            why = f"the preact of map {tap} is not found twice at the same place"
            raise Unsupported(f"{name} cannot be read", why, "name another network")
    return places


def _class_map(twin: nn.Module, x: Tensor, inputs: list[Tensor]) -> Hint | None:
    """Shape of the map whose mean over places is all that the one classifier reads, or None."""
    end, heads = called(twin, "forward_features")(x), classifiers(twin)
    linear = len(heads) == 1 and isinstance(heads[0], (nn.Linear, nn.Conv2d))
    if not linear or not isinstance(end, Tensor) or end.ndim != 4:
        return None
    if not _close(end.mean((2, 3)), inputs[0]):
        return None
    _, channels, height, width = end.shape
    stride = max(1, round(x.shape[2] / height))
    return Hint(channels=channels, height=height, width=width, stride=stride)


def _disagreement(network: Network, images: Tensor, own: Tensor, inputs: list[Tensor]) -> str:
    """Why what `network` says is not true to the network's own forward pass, or nothing."""
    pooled = inputs[0] if network.reading.shared else torch.cat(inputs, 1)
    try:
        for hints in (False, True):
            said = network(images, Maps(hints=hints))
            if not _close(said.logits, own):
                return "its own forward pass is not forward_head of forward_features"
            if not _close(said.pooled, pooled):
                return "its classifier's input cannot be had"
        if not _close(network.classify(pooled), own):
            return "its logits are not what its classifier makes of the pooled features"
    except _FAILURES as error:
        return f"reading it fails: {error}"
    return ""


def _close(ours: Tensor, own: Tensor) -> bool:
    return ours.shape == own.shape and torch.allclose(ours, own, rtol=1e-5, atol=1e-6)


def _reader(model: nn.Module, reading: Reading) -> Network:
    channels = reading.image_shape[0]
    return Network(model, mean=[0.5] * channels, std=[0.5] * channels, reading=reading)


def _stirred(model: nn.Module) -> nn.Module:
    """The same network, every weight moved a little, without randomness."""
    for number, weight in enumerate(model.parameters()):
        places = torch.arange(weight.numel(), dtype=torch.float32).view_as(weight)
        weight.data += 0.02 * torch.sin(math.sqrt(2) * places + number).to(weight.dtype)
    return model


def _pattern(*shape: int) -> Tensor:
    """Images in [0, 1) without randomness, no two alike."""
    places = torch.arange(math.prod(shape), dtype=torch.float64).view(shape)
    return torch.frac(math.sqrt(5) / 2 * places).float()


def _name(model: nn.Module) -> str:
    return cast(str, getattr(model, "pretrained_cfg", {}).get("architecture", type(model).__name__))
