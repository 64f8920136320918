"""How the classes lie to each other in a network's logit layer."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kdbench.measure.correlation import pearson


def class_cosine(
    student: Float[Tensor, "classes dim"], teacher: Float[Tensor, "classes other"]
) -> float | None:
    """How alike two layers see the classes, in [-1, 1]: correlation over all pairs of classes.

    Pearson's, of the cosines between two classes' weights; widths may differ. None where all pairs
    of one of the two have the same cosine (as with two classes).

    Reference:
        J. Tang et al., Understanding and Improving Knowledge Distillation, 2020, arXiv:2002.03532:
        the teacher as a prior on the geometry of the student's logit layer.
    """
    pairs = torch.ones(len(student), len(student), dtype=torch.bool).triu(1)
    return pearson(_cosines(student)[pairs], _cosines(teacher)[pairs])


def kinship(weights: Float[Tensor, "classes dim"], class_tree: Sequence[int]) -> dict[str, float]:
    """Mean cosine between weights of two classes: of one coarse label, and of two.

    `sibling_cosine` and `stranger_cosine`, in [-1, 1]; absent where there are no such pairs.

    Args:
        weights: Rows of the logit layer.
        class_tree: Coarse label of each class.
    """
    coarse = torch.tensor(class_tree)
    siblings: Bool[Tensor, "classes classes"] = coarse[:, None] == coarse
    pairs = torch.ones_like(siblings).triu(1)
    cosines = _cosines(weights)
    kinds = {"sibling_cosine": siblings & pairs, "stranger_cosine": ~siblings & pairs}
    return {name: float(cosines[kind].mean()) for name, kind in kinds.items() if kind.any()}


def _cosines(weights: Float[Tensor, "classes dim"]) -> Float[Tensor, "classes classes"]:
    rows = torch.nn.functional.normalize(weights.detach().cpu().double(), dim=1)
    return rows @ rows.T
