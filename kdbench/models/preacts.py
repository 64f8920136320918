"""Where in a network the map before a hint's last activation passes by, and a norm's batch mode."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

T = TypeVar("T")

_ACTIVATIONS = ("torch.nn.modules.activation", "timm.layers.activations")
"""Modules (of code) whose classes are activations."""

_NORMS = (_BatchNorm, nn.GroupNorm, nn.LayerNorm)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preact:
    """Where the preact of a hint passes by.

    Attributes:
        activation: Name of the module that reads it; None where the hint is its own preact.
        call: Which call of that module in a forward pass, from 0.
        norm: Name of the norm that makes it, or None.
    """

    activation: str | None = None
    call: int = 0
    norm: str | None = None


@dataclass(slots=True)
class _Event:
    """A call of an activation or a norm, in the order of their starts."""

    name: str
    norm: bool
    call: int
    read: Tensor
    gave: Tensor | None = None


def found(
    model: nn.Module, run: Callable[[], tuple[object, Sequence[Tensor]]], taps: Sequence[int]
) -> tuple[Preact, ...]:
    """Where the preact of each tapped map passes by, found out by watching `run`.

    A map that an activation gave has what that read as its preact, made by the last norm before it
    that read a map of this shape. A map that is not activated but that a norm reads, and an
    activation after it, has the norm's result. Every other map (and every map of a network that
    activates by function and not by module) is its own preact.

    Args:
        model: The bare network.
        run: A forward pass of it; gives anything and all intermediate maps.
        taps: Which of these maps are hints.
    """
    events: list[_Event] = []
    handles = []

    def watch(name: str, module: nn.Module, norm: bool) -> None:
        opened: list[_Event] = []

        def start(_: nn.Module, args: tuple[Any, ...]) -> None:
            count = sum(event.name == name for event in events)
            opened.append(_Event(name, norm, count, args[0]))
            events.append(opened[-1])

        def end(_: nn.Module, args: tuple[Any, ...], gave: Any) -> None:  # noqa: ANN401 - a module's
            opened.pop().gave = gave if isinstance(gave, Tensor) else None

        handles.append(module.register_forward_pre_hook(start))
        handles.append(module.register_forward_hook(end))

    for name, module in model.named_modules():
        if isinstance(module, _NORMS):
            watch(name, module, norm=True)
        elif type(module).__module__.startswith(_ACTIVATIONS):
            watch(name, module, norm=False)
    try:
        _, maps = run()
    finally:
        for handle in handles:
            handle.remove()
    return tuple(_preact(events, maps[tap]) for tap in taps)


def _preact(events: Sequence[_Event], hint: Tensor) -> Preact:
    for place, event in enumerate(events):
        if not event.norm and event.gave is not None and _same(event.gave, hint):
            before = [e for e in events[:place] if e.norm and e.read.shape == hint.shape]
            norm = before[-1].name if before else None
            return Preact(activation=event.name, call=event.call, norm=norm)
    for event, after in pairwise(events):
        if event.norm and not after.norm and _same(event.read, hint):
            inside = after.name.startswith(f"{event.name}.")  # a norm with an activation of its own
            if inside or (event.gave is not None and _same(after.read, event.gave)):
                return Preact(activation=after.name, call=after.call, norm=event.name)
    return Preact()


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one, other)


def caught(
    model: nn.Module, preacts: Sequence[Preact], run: Callable[[], T]
) -> tuple[T, list[Tensor | None]]:
    """What `run` gives, and the preacts that passed by; None for a hint that is its own."""
    read: dict[str, list[Tensor]] = {}

    def listener(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda _, args: read.setdefault(name, []).append(args[0])

    names = {one.activation for one in preacts if one.activation is not None}
    handles = [
        model.get_submodule(name).register_forward_pre_hook(listener(name))
        for name in sorted(names)
    ]
    try:
        said = run()
    finally:
        for handle in handles:
            handle.remove()
    return said, [
        None if one.activation is None else read[one.activation][one.call] for one in preacts
    ]


@contextmanager
def batch_statistics(network: nn.Module) -> Iterator[None]:
    """Let every batch norm use its batch's statistics and leave its buffers as they are."""
    norms: Mapping[_BatchNorm, tuple[bool, bool]] = {
        module: (module.training, module.track_running_stats)
        for module in network.modules()
        if isinstance(module, _BatchNorm)
    }
    try:
        for norm in norms:
            norm.training, norm.track_running_stats = True, False
        yield
    finally:
        for norm, (training, track) in norms.items():
            norm.training, norm.track_running_stats = training, track
