"""What a method may hand to the loop, its losses and its state; and which maps it may have."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kdbench.api import Losses, Maps, Setup, Stage
from kdbench.errors import ContractError, Unsupported


def tensors_of(state: Any) -> tuple[list[nn.Module], list[Tensor], list[torch.optim.Optimizer]]:  # noqa: ANN401 - anything
    """The modules, bare tensors and optimizers in a method's state.

    Raises:
        ContractError: The state holds anything else; it could not be checkpointed.
    """
    if state is None:
        return [], [], []
    if isinstance(state, nn.Module):
        return [state], [], []
    if isinstance(state, Tensor):
        return [], [state], []
    if isinstance(state, torch.optim.Optimizer):
        return [], [], [state]
    if isinstance(state, Mapping):
        state = list(state.values())
    if isinstance(state, (list, tuple)):
        modules, tensors, optimizers = [], [], []
        for part in map(tensors_of, state):
            modules += part[0]
            tensors += part[1]
            optimizers += part[2]
        return modules, tensors, optimizers
    raise ContractError(
        f"the method's state holds a {type(state).__name__}",
        "state is None, Modules, tensors, optimizers, or lists, tuples and dicts of them",
        "make it a tensor or a Module, so that it can be checkpointed",
    )


def check_losses(losses: Losses) -> None:
    """Nothing, if these are losses.

    Raises:
        ContractError: Not a mapping of names to scalar tensors.
    """
    if not isinstance(losses, Mapping) or not losses:
        raise ContractError(
            f"the losses are a {type(losses).__name__}",
            "expected {name: scalar tensor}",
            "return a dict of weighted terms",
        )
    for name, term in losses.items():
        if not isinstance(term, Tensor) or term.ndim:
            kind = f"shape {tuple(term.shape)}" if isinstance(term, Tensor) else type(term).__name__
            raise ContractError(
                f"the loss term {name!r} has {kind}",
                "each term is a scalar tensor",
                "take its mean or sum",
            )


def total_loss(losses: Losses) -> Tensor:
    """The sum that is descended.

    Raises:
        ContractError: Not a mapping of names to scalar tensors.
    """
    check_losses(losses)
    terms = list(losses.values())
    return torch.stack(terms).sum() if len(terms) > 1 else terms[0]


def check_maps(maps: Maps, setup: Setup) -> None:
    """Nothing, if the pair has the maps that a method learns from.

    Raises:
        Unsupported: It has not.
    """
    if (maps.hints or maps.preacts) and not (setup.student.hints and setup.teacher.hints):
        raise Unsupported(
            "this pair has no hints",
            "the method learns from them, and an ensemble has none",
            "name a single teacher",
        )
    if maps.class_maps and not (setup.student.class_map and setup.teacher.class_map):
        raise Unsupported(
            "this pair has no class maps",
            "they are the classifier at every place of a map whose mean it reads",
            "name networks with global average pooling and one linear layer",
        )


def check_stages(stages: Sequence[Stage]) -> list[float]:
    """The shares of the budget.

    Raises:
        ContractError: They are not the whole of it.
    """
    shares = [stage.share for stage in stages]
    if not shares or min(shares) <= 0 or not math.isclose(sum(shares), 1, abs_tol=1e-6):
        raise ContractError(
            "the shares of stages() do not sum to 1",
            f"got {shares}",
            "give each stage a share above 0",
        )
    return shares
