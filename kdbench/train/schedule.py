"""Learning rate of every update, and the protocol's optimizer."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kdbench.record import TrainingProtocol


def learning_rate(protocol: TrainingProtocol, step: int, total: int) -> float:
    """Learning rate of one update.

    Args:
        protocol: The schedule and its peak.
        step: Updates made so far, from 0.
        total: Updates of the whole schedule.
    """
    warm = round(protocol.warmup * total)
    if step < warm:
        return protocol.learning_rate * (step + 1) / warm
    if protocol.schedule == "cosine":
        angle = math.pi * (step - warm) / max(total - warm, 1)
        return protocol.learning_rate * 0.5 * (1 + math.cos(angle))
    return protocol.learning_rate * protocol.gamma ** sum(
        step >= round(share * total) for share in protocol.milestones
    )


def make_optimizer(
    parameters: Sequence[nn.Parameter], protocol: TrainingProtocol
) -> torch.optim.Optimizer:
    """The protocol's optimizer over these weights."""
    if protocol.optimizer == "adamw":
        betas = (protocol.momentum, 0.999)
        return torch.optim.AdamW(
            parameters,
            protocol.learning_rate,
            betas=betas,
            weight_decay=protocol.weight_decay,
            fused=True,
        )
    optimizer = torch.optim.SGD(
        parameters, protocol.learning_rate, protocol.momentum, weight_decay=protocol.weight_decay,
        nesterov=protocol.nesterov, fused=True,
    )  # fmt: skip
    reset(optimizer)
    return optimizer


def reset(optimizer: torch.optim.Optimizer) -> None:
    """Bring an optimizer back to where it is before its first step.

    Momentum then starts at 0, which makes the same first step as none. torch's fused SGD needs it
    for all weights or for none of them, but a stage may leave out some that a later stage trains.
    """
    optimizer.state.clear()
    for group in optimizer.param_groups if isinstance(optimizer, torch.optim.SGD) else ():
        for weight in group["params"] if group["momentum"] else ():
            optimizer.state[weight]["momentum_buffer"] = torch.zeros_like(weight)


def assign(weights: Sequence[nn.Parameter], gradients: Sequence[Tensor | None]) -> None:
    """Give each weight its gradient in the weight's own memory layout.

    `torch.autograd.grad` hands out whatever layout the kernel made (channels_last for a convolution
    of such images), and a fused optimizer walks both by address.
    """
    for weight, gradient in zip(weights, gradients, strict=True):
        if gradient is not None and gradient.stride() != weight.stride():
            gradient = torch.empty_like(weight).copy_(gradient)
        weight.grad = gradient
