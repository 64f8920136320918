"""Functions of logits."""

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
