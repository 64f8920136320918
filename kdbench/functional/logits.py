"""Functions of logits."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor


def widened(tensor: Tensor) -> Tensor:
    """The same values in float32 at least: float16 and bfloat16 are widened, wider ones kept.

    Example:
        >>> import torch
        >>> [widened(torch.ones(2, dtype=kind)).dtype for kind in (torch.bfloat16, torch.float64)]
        [torch.float32, torch.float64]
    """
    return tensor.float() if tensor.itemsize < 4 else tensor


def cross_entropy(
    logits: Float[Tensor, "batch classes"],
    target: Int[Tensor, " batch"],
    labelled: Bool[Tensor, " batch"],
) -> Float[Tensor, ""]:
    """Cross-entropy with the labels, nats: the mean over labelled rows, 0 where there is none.

    Args:
        logits: Unnormalised class scores; receive the gradient.
        target: Class of each row; read only where the row is labelled.
        labelled: Which rows have a label.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[0.0, 0.0], [0.0, 9.0]])
        >>> labels, labelled = torch.tensor([0, 0]), torch.tensor([True, False])
        >>> round(cross_entropy(logits, labels, labelled).item(), 4)
        0.6931
    """
    target = target.masked_fill(~labelled, -100)  # torch's mark of a row to leave out
    return F.cross_entropy(widened(logits), target, reduction="sum") / labelled.sum().clamp(min=1)


def softened_kl(
    student_logits: Float[Tensor, "batch classes"],
    teacher_logits: Float[Tensor, "batch classes"],
    temperature: float | Tensor,
) -> Float[Tensor, ""]:
    """T² · KL(teacher || student) of softened classes, nats: sum over classes, mean over rows.

    Computed from log-softmaxes, so that saturated logits stay finite. The factor T² keeps the size
    of the gradient about the same at every temperature T.

    Args:
        student_logits, teacher_logits: Unnormalised class scores; both receive the gradient.
        temperature: What the logits are divided by, above 0; a tensor (one value, or one a row:
            batch x 1) works too.

    Example:
        >>> import torch
        >>> student, teacher = torch.tensor([[0.0, 0.0]]), torch.tensor([[4.0, 0.0]])
        >>> round(softened_kl(student, teacher, 4.0).item(), 4)
        1.7751
        >>> softened_kl(teacher, teacher, 4.0).item()
        0.0

    Reference:
        Hinton, Vinyals, Dean. Distilling the Knowledge in a Neural Network. 2015, arXiv:1503.02531,
        section 2.
    """
    student = F.log_softmax(widened(student_logits) / temperature, dim=-1)
    teacher = F.log_softmax(widened(teacher_logits) / temperature, dim=-1)
    return ((teacher.exp() * (teacher - student)).sum(-1, keepdim=True) * temperature**2).mean()


def divergence(
    student_logits: Float[Tensor, "batch classes"],
    target: Float[Tensor, "batch classes"],
    temperature: float = 1.0,
) -> Float[Tensor, " batch"]:
    """KL(target || student at this temperature) of each row, nats; no factor for the temperature.

    Args:
        student_logits: Unnormalised class scores; receive the gradient.
        target: Probabilities; one of 0 adds nothing.
        temperature: What the student's logits are divided by, above 0.

    Example:
        >>> import torch
        >>> target = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
        >>> [round(row, 4) for row in divergence(torch.zeros(2, 2), target).tolist()]
        [0.6931, 0.0]
    """
    guess = F.log_softmax(widened(student_logits) / temperature, dim=-1)
    return F.kl_div(guess, target, reduction="none").sum(-1)


def of_class(target: Int[Tensor, " batch"], classes: int) -> Bool[Tensor, "batch classes"]:
    """Which entry is that of the row's class; none in a row whose target is no class.

    Args:
        target: Class of each row.
        classes: Number of classes.

    Example:
        >>> import torch
        >>> of_class(torch.tensor([1, -1]), 3).int().tolist()
        [[0, 1, 0], [0, 0, 0]]
    """
    return torch.arange(classes, device=target.device) == target.unsqueeze(-1)


def rest_log_softmax(
    logits: Float[Tensor, "batch classes"], true: Bool[Tensor, "batch classes"]
) -> Float[Tensor, "batch classes"]:
    """Log-probabilities, nats, of all classes but the true one, as if there were only these.

    The true class's own entry is 0, without a gradient, so that it falls out of sums of products.

    Args:
        logits: Unnormalised class scores; receive the gradient.
        true: Which entry is left out, see `of_class`.

    Example:
        >>> import torch
        >>> logits, true = torch.tensor([[9.0, 0.0, 0.0]]), torch.tensor([[True, False, False]])
        >>> rest_log_softmax(logits, true).exp().tolist()
        [[1.0, 0.5, 0.5]]
    """
    rest = widened(logits).masked_fill(true, -torch.inf)
    return F.log_softmax(rest, dim=-1).masked_fill(true, 0)


def labelled_mean(
    values: Float[Tensor, " batch"], labelled: Bool[Tensor, " batch"]
) -> Float[Tensor, ""]:
    """Mean over the labelled rows, 0 where there is none.

    Args:
        values: One a row; receive the gradient.
        labelled: Which rows count.

    Example:
        >>> import torch
        >>> labelled_mean(torch.tensor([1.0, 2.0, 9.0]), torch.tensor([True, True, False])).item()
        1.5
    """
    return values.masked_fill(~labelled, 0).sum() / labelled.sum().clamp(min=1)


def warmed_up(progress: Float[Tensor, ""], share: float) -> Float[Tensor, ""]:
    """Factor that grows linearly from 0 to 1 over the first share of the budget, then stays 1.

    Args:
        progress: Share of the budget spent, see `kdbench.api.Batch`.
        share: In [0, 1]; 0 is 1 at once.

    Example:
        >>> import torch
        >>> [warmed_up(torch.tensor(0.25), share).item() for share in (0.0, 0.2, 0.5)]
        [1.0, 1.0, 0.5]
    """
    return (progress / share).clamp(max=1) if share else torch.ones_like(progress)
