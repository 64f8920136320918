"""All that a step of a runner may change, kept to be put back in place."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from kdbench.train.contract import tensors_of
from kdbench.train.runner import Runner

Holder: TypeAlias = "dict[Any, Any] | list[Any]"


class Saved:
    """A runner's tensors and what its modules, optimizers and state hold, as they are now.

    Args:
        runner: Between two steps.

    Attributes:
        weights: All tensors that a step moves, but for the optimizers'.
    """

    def __init__(self, runner: Runner) -> None:
        modules, bare, optimizers = tensors_of(runner.state)
        roots = [runner.student, *modules, *([runner.private] if runner.private else [])]
        optimizers = [runner.optimizer, *optimizers]
        if runner.private is not None:
            optimizers.append(runner.teacher_optimizer)
        self._runner = runner
        self.weights = list(_unique([t for m in roots for t in _tensors(m)] + bare))
        others = [v for o in optimizers for s in o.state.values() for v in s.values()]
        others += runner.sums.values()
        self._tensors = list(_unique(self.weights + [v for v in others if isinstance(v, Tensor)]))
        self._values = [tensor.detach().clone() for tensor in self._tensors]
        holders = [h for root in roots for module in root.modules() for h in _holders(module)]
        holders += [h for o in optimizers for h in (o.state, *o.state.values())]
        holders += list(_containers(runner.state))
        self._held = [(h, h.copy()) for h in holders]
        self._counts = runner.done, runner.updates, runner.quizzed

    @property
    def replaced(self) -> str:
        """What is another object or number now than it was: a tensor, a counter; empty for none."""
        for holder, before in self._held:
            now, then = _items(holder), _items(before)
            for name in now.keys() | then.keys():
                if name not in now or name not in then or not _same(now[name], then[name]):
                    return repr(name) if isinstance(name, (str, int)) else "an optimizer's buffers"
        return ""

    def restore(self) -> None:
        """Put everything back."""
        for holder, before in self._held:
            if isinstance(holder, list):
                holder[:] = before
            else:
                holder.clear()
                holder.update(before)
        with torch.no_grad():
            for tensor, value in zip(self._tensors, self._values, strict=True):
                tensor.copy_(value)
        self._runner.done, self._runner.updates, self._runner.quizzed = self._counts


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()


def _unique(tensors: list[Tensor]) -> Iterator[Tensor]:
    return iter({id(tensor): tensor for tensor in tensors}.values())


def _holders(module: nn.Module) -> Iterator[Holder]:
    yield vars(module)
    yield module._parameters
    yield module._buffers


def _containers(state: Any) -> Iterator[Holder]:  # noqa: ANN401 - anything
    """The dicts and lists in a method's state, in which it may put other tensors."""
    if isinstance(state, (dict, list)):
        yield state
    parts = state.values() if isinstance(state, Mapping) else state
    if isinstance(state, (Mapping, list, tuple)):
        for part in parts:
            yield from _containers(part)


def _items(holder: Holder) -> dict[Any, Any]:
    return dict(enumerate(holder)) if isinstance(holder, list) else dict(holder)


def _same(one: object, other: object) -> bool:
    numbers = isinstance(one, (int, float, str)) and type(one) is type(other)
    return one is other or (numbers and one == other)
