"""Correlation of two columns of numbers, in [-1, 1]; None where one of them is constant."""

import torch
from jaxtyping import Float
from torch import Tensor


def pearson(ours: Float[Tensor, " rows"], theirs: Float[Tensor, " rows"]) -> float | None:
    """Of the values, in float64.

    Example:
        >>> import torch
        >>> round(pearson(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 2.0, 4.0])), 4)
        0.982
    """
    both = torch.stack([ours.double(), theirs.double()])
    if bool((both == both[:, :1]).all(1).any()):
        return None
    return float(torch.corrcoef(both)[0, 1])


def spearman(ours: Float[Tensor, " rows"], theirs: Float[Tensor, " rows"]) -> float | None:
    """Of the ranks; equal values share the mean of their places.

    Example:
        >>> import torch
        >>> spearman(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 2.0, 400.0]))
        1.0
    """
    return pearson(_ranks(ours), _ranks(theirs))


def _ranks(values: Float[Tensor, " rows"]) -> Float[Tensor, " rows"]:
    _, group, counts = torch.unique(values, return_inverse=True, return_counts=True)
    places: Tensor = counts.cumsum(0) - (counts - 1) / 2
    return places[group]
