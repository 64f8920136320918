"""Functions of pairs of rows."""

import torch
from jaxtyping import Float
from torch import Tensor

from kdbench.functional.logits import widened


def unit_rows(rows: Float[Tensor, "... dim"]) -> Float[Tensor, "... dim"]:
    """The rows at unit L2 norm; a row of zeros stays one, and its gradient stays finite.

    Example:
        >>> unit_rows(torch.tensor([[3.0, 4.0], [0.0, 0.0]])).tolist()
        [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    rows = widened(rows)
    norms = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
    return rows.div(norms.masked_fill(norms == 0, 1))


def cosines(rows: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch batch"]:
    """Cosine of every pair of rows, in [-1, 1] up to rounding; 0 with a row of zeros.

    Example:
        >>> cosines(torch.tensor([[2.0, 0.0], [0.0, 3.0]])).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    unit = unit_rows(rows)
    return unit @ unit.T


def squared_distances(rows: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch batch"]:
    """Squared Euclidean distance of every pair of rows; exactly 0 with itself, never negative.

    From the Gram matrix of the rows less their mean, which changes no distance and keeps digits.

    Example:
        >>> squared_distances(torch.tensor([[0.0, 0.0], [3.0, 4.0]])).tolist()
        [[0.0, 25.0], [25.0, 0.0]]
    """
    rows = widened(rows)
    rows = rows - rows.detach().mean(0)
    gram = rows @ rows.T
    squares = gram.diagonal()
    found = (squares[:, None] + squares[None, :] - 2 * gram).clamp(min=0)
    return found.masked_fill(torch.eye(len(rows), dtype=torch.bool, device=rows.device), 0)
