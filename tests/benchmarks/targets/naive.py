"""Plain statements of what kdbench's methods compute in a shorter way: the same numbers, slowly."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.func import functional_call

from kdbench_methods.metadistil import Lesson, Weights


def lesson(
    student: nn.Module,
    teacher: nn.Module,
    images: Tensor,
    _: Tensor,
    objective: Callable[[Tensor, Tensor], Tensor],
    quiz_loss: Callable[[Weights], Tensor],
    pilot_rate: float,
) -> Lesson:
    """What a virtual step teaches a teacher, by a backward pass through a backward pass."""
    old, taught = (
        {name: weight.detach().requires_grad_() for name, weight in net.named_parameters()}
        for net in (student, teacher)
    )
    buffers = {name: buffer.clone() for name, buffer in student.named_buffers()}
    ours: Tensor = functional_call(student, old | buffers, (images,)).logits
    theirs: Tensor = functional_call(teacher, taught, (images,)).logits
    slopes = torch.autograd.grad(
        objective(ours, theirs), tuple(old.values()), create_graph=True, materialize_grads=True
    )
    pilot = {
        name: weight - pilot_rate * slope
        for (name, weight), slope in zip(old.items(), slopes, strict=True)
    }
    loss = quiz_loss(pilot)
    gradients = torch.autograd.grad(loss, tuple(taught.values()), allow_unused=True)
    pilot = {name: weight.detach() for name, weight in pilot.items()}
    return Lesson(gradients, loss.detach(), pilot)


def discrepancy(
    student: Float[Tensor, "batch channels places"], teacher: Float[Tensor, "batch others places"]
) -> Float[Tensor, ""]:
    """Squared maximum mean discrepancy of normalised maps, every product of two maps written out.

    As the field writes it: batch x channels x channels x places products, then their sum's square.
    """

    def kernel(first: Tensor, second: Tensor) -> Tensor:
        return (first[:, :, None] * second[:, None]).sum(-1).square().mean()

    s, t = F.normalize(student, dim=2), F.normalize(teacher, dim=2).detach()
    return kernel(t, t) + kernel(s, s) - 2 * kernel(s, t)


def contrast(
    fresh: tuple[Float[Tensor, "batch dim"], Float[Tensor, "batch dim"]],
    banks: Float[Tensor, "2 rows dim"],
    log_z: Float[Tensor, "2"],
    pairs: Int[Tensor, "batch pairs"],
    *,
    temperature: float,
    rows: int,
) -> Float[Tensor, ""]:
    """CRD's loss in both ways, every row's positive and negatives gathered from the bank.

    Args:
        fresh: Unit embeddings of the batch, student's and teacher's.
        banks: Embeddings of the whole set, student's and teacher's.
        log_z: Logarithms of the constants that scores are divided by.
        pairs: Of each row, the row of its positive, then those of its negatives.
        temperature: Of the scores.
        rows: Of the transfer set.
    """
    total, noise = fresh[0].new_zeros(()), (pairs.shape[1] - 1) / rows
    for way, anchor in enumerate(fresh):
        weight = banks[1 - way].index_select(0, pairs.view(-1)).view(*pairs.shape, -1)
        scores = (weight @ anchor[:, :, None])[..., 0].div(temperature).exp() / log_z[way].exp()
        positive = (scores[:, 0] / (scores[:, 0] + noise)).log()
        negative = (noise / (scores[:, 1:] + noise)).log()
        total = total - (positive.sum() + negative.sum()) / len(anchor)
    return total


def negatives(
    others: Sequence[Int[np.ndarray, " rows"]], count: int, draw: np.random.Generator
) -> Int[Tensor, "batch count"]:
    """Each row's negatives from those of other classes, drawn for it alone, none of them twice."""
    drawn = [draw.choice(rows, count, replace=False) for rows in others]
    return torch.from_numpy(np.stack(drawn))


def angles(rows: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch batch batch"]:
    """RKD's cosine at the first of every three rows, the product of each two ways written out.

    0 where one of the two ways has no length.
    """
    ways = rows[None] - rows[:, None]
    sizes = ways.square().sum(2)
    lengths = torch.where(sizes > 0, sizes, 1).sqrt()[:, :, None]
    unit = torch.where(sizes[:, :, None] > 0, ways / lengths, 0)
    return (unit[:, :, None] * unit[:, None]).sum(3)


def directions(
    map_: Float[Tensor, "batch channels height width"], count: int
) -> Float[Tensor, "batch count channels"]:
    """KDSVD's leading right singular vectors, from the whole decomposition of places x channels."""
    found = torch.linalg.svd(map_.flatten(2).mT, full_matrices=False).Vh[:, :count]
    largest = found.gather(2, found.abs().argmax(2, keepdim=True)).detach()
    return found * largest.sign()


def affinities(rows: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch batch"]:
    """PKT's distribution over the batch for each row, pair by pair."""
    norms = [row.square().sum().sqrt() + 1e-7 for row in rows]
    found = []
    for one, norm in zip(rows, norms, strict=True):
        near = [
            ((one @ other) / (norm * size) + 1) / 2 for other, size in zip(rows, norms, strict=True)
        ]
        found.append(torch.stack(near) / torch.stack(near).sum())
    return torch.stack(found)
