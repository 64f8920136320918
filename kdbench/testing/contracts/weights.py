"""Contracts on weights: which get a gradient, and that those are trained and kept."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from kdbench.api import ContractError, Method
from kdbench.testing.bench import Bench
from kdbench.testing.contracts.losses import LONG
from kdbench.train.contract import tensors_of


def gradients_reach_what_is_trained(method: Method) -> None:
    """Over all stages a gradient reaches each weight deployed and each extra one."""
    bench = Bench(method, steps=LONG)
    runner = bench.runner
    reached: set[int] = set()
    for stage in bench.stages:
        for gradients in bench.step(16, stage).found:
            extra = range(len(runner.student_weights), len(runner.weights))
            reached |= {
                place
                for place, gradient in enumerate(gradients)
                if gradient is not None and (place in extra or gradient.any())
            }
    names = [f"student.{name}" for name, w in runner.student.named_parameters() if w.requires_grad]
    names += [f"state.{name}" for name, w in runner.modules.named_parameters() if w.requires_grad]
    idle = _idle(bench)
    missed = [
        name for place, name in enumerate(names) if place not in reached and place not in idle
    ]
    if missed:
        raise ContractError(
            f"no gradient reaches {len(missed)} weights: {', '.join(missed[:4])}",
            "they are deployed, or trained beside the student",
            "let a loss of some stage depend on them, or do not make them",
        )


def _idle(bench: Bench) -> set[int]:
    """Places of the student's weights that what is deployed does not read."""
    deployed, weights = bench.deployed().eval(), bench.runner.student_weights
    said = deployed(bench.rig.views.plain(torch.arange(8)))
    logits: Tensor = getattr(said, "logits", said)
    if not logits.requires_grad:
        return set()
    found = torch.autograd.grad(logits.square().sum(), weights, allow_unused=True)
    unread = {place for place, gradient in enumerate(found) if gradient is None}
    return unread if len(unread) < len(weights) else set()  # all: it is a copy


def teacher_gets_no_gradient(method: Method) -> None:
    """No gradient reaches the shared teacher, however the method asks it."""
    bench = Bench(method, steps=LONG)
    weights = [weight.requires_grad_() for weight in bench.teacher.parameters()]
    for stage in bench.stages:
        seen = bench.step(16, stage)
        if reached := {id(leaf) for leaf in _leaves(seen.losses.values())} & set(map(id, weights)):
            raise ContractError(
                f"a gradient reaches {len(reached)} weights of the teacher",
                "it is frozen and shared",
                "detach what it says, or call it under torch.no_grad()",
            )


def extra_weights_are_trained_and_kept(method: Method) -> None:
    """Each extra weight is in the optimizer, moves, and is in the state that is checkpointed."""
    bench = Bench(method, steps=LONG)
    known = {id(weight) for weight in bench.runner.weights}
    known |= {id(weight) for weight in (bench.runner.private or nn.Module()).parameters()}
    known |= {id(weight) for weight in bench.teacher.parameters()}
    for stage in bench.stages:
        lost = [
            leaf
            for leaf in _leaves(bench.step(16, stage).losses.values())
            if isinstance(leaf, nn.Parameter) and id(leaf) not in known
        ]
        if lost:
            raise ContractError(
                f"{len(lost)} parameters get a gradient, but nobody trains them",
                f"shapes {', '.join(str(tuple(leaf.shape)) for leaf in lost[:4])}; the host sees "
                "only what is registered in the state's Modules",
                "put them into nn.ParameterList, nn.ModuleList or an attribute of their own",
            )
    _check_kept(Bench(method))


def _check_kept(bench: Bench) -> None:
    runner = bench.runner
    _, bare, _ = tensors_of(runner.state)
    if any(tensor.requires_grad for tensor in bare):
        raise ContractError(
            "the state holds a bare tensor that requires a gradient",
            "bare tensors are buffers, which no optimizer sees",
            "make it an nn.Parameter of a Module",
        )
    extra = {name: w for name, w in runner.modules.named_parameters() if w.requires_grad}
    held = {id(w) for group in runner.optimizer.param_groups for w in group["params"]}
    kept = {id(w) for w in runner.modules.state_dict(keep_vars=True).values()}
    before = {name: weight.detach().clone() for name, weight in extra.items()}
    bench.train()
    for name, weight in extra.items():
        wrong = (
            "is in no group of the optimizer"
            if id(weight) not in held
            else "is not in the state dict"
            if id(weight) not in kept
            else "did not move"
            if torch.equal(weight, before[name])
            else ""
        )
        if wrong:
            raise ContractError(
                f"the extra weight {name} {wrong}",
                "what is trained beside the student is trained like it and checkpointed",
                "give optimizer() all weights, and let a loss depend on each",
            )


def _leaves(terms: Iterable[Tensor]) -> Iterator[Tensor]:
    """The leaves that a gradient of these terms reaches."""
    todo = [term.grad_fn for term in terms if term.grad_fn is not None]
    seen = set(todo)
    while todo:
        node: Any = todo.pop()
        if (leaf := getattr(node, "variable", None)) is not None:
            yield leaf
        for parent, _ in node.next_functions:
            if parent is not None and parent not in seen:
                seen.add(parent)
                todo.append(parent)
