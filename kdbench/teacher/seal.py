"""What tells that a frozen teacher is as it was born: quickly by counters, wholly by content."""

from types import FunctionType, MethodType
from typing import Any, final

import torch
from torch import Tensor, nn

from kdbench.teacher.frozen import Teacher, digest
from kdbench.train import Thing
from kdbench.train.stream import bits


@final
class Seal(Thing):
    """On a teacher that nobody has touched yet.

    Args:
        teacher: With the copies that answer.
    """

    def __init__(self, teacher: Teacher) -> None:
        self._teacher, self._modules = teacher, list(teacher.modules())
        self._tensors = [
            (place, name, tensor, tensor._version)
            for module in self._modules
            for place in (module._parameters, module._buffers)
            for name, tensor in place.items()
            if tensor is not None
        ]
        self._own = [_parts(module) for module in self._modules]
        self._places = [
            (place, dict(place))
            for module in self._modules
            for place in (module._parameters, module._buffers)
        ]
        self._copies = list[Tensor]()

    def glance(self) -> str:
        """What has moved, by identities and version counters."""
        for place, name, tensor, version in self._tensors:
            if place.get(name) is not tensor:
                return f"the teacher's {name}, which is another tensor now"
            if tensor._version != version or tensor.requires_grad:
                return f"the teacher's {name}"
        if any(module.training for module in self._modules):
            return "the teacher's mode to training"
        return ""

    def moved(self) -> str:
        """What has moved, by content; by that of the copies, where there are some."""
        if found := self.glance() or self._structure():
            return found
        pairs = zip(self._tensors, self._copies, strict=False)
        same = (
            all(torch.equal(bits(now[2]), bits(copy)) for now, copy in pairs)
            if self._copies
            else digest(self._teacher) == self._teacher.born
        )
        return "" if same else "the teacher's weights"

    def suspect(self) -> None:
        """Keep a copy of every tensor."""
        self._copies = [tensor.detach().clone() for _, _, tensor, _ in self._tensors]

    def put_back(self) -> None:
        """Undo all that has moved, tensor by tensor."""
        for module, kept in zip(self._modules, self._own, strict=True):
            own = vars(module)
            for name in _parts(module).keys() - kept:
                del own[name]
            for name, one in kept.items():
                if isinstance(one, dict):
                    own[name].clear()
                    own[name].update(one)
                else:
                    own[name] = one
        for place, kept in self._places:
            place.clear()
            place.update(kept)  # type: ignore[arg-type]  # as it was
        for (_, _, tensor, _), copy in zip(self._tensors, self._copies, strict=True):
            tensor.data = copy.clone()
            tensor.requires_grad_(False)
        self._tensors = [(place, name, one, one._version) for place, name, one, _ in self._tensors]

    def _structure(self) -> str:
        """What has moved of the modules themselves: their parts, hooks and plain attributes."""
        for module, kept in zip(self._modules, self._own, strict=True):
            if _parts(module) != kept:
                return f"an attribute, a part or a hook of the teacher's {type(module).__name__}"
        return ""


def _parts(module: nn.Module) -> dict[str, Any]:
    """A module's parts, hooks, numbers, and functions of its own; copies of what can be changed."""
    return {
        name: dict(one) if isinstance(one, dict) else one
        for name, one in vars(module).items()
        if name == "_modules"
        or name.endswith("_hooks")
        or isinstance(one, (bool, int, float, FunctionType, MethodType))
    }
