"""The functions and classes that all methods call, and what a plugin put in their place."""

import sys
from collections.abc import Mapping
from pathlib import Path
from types import FunctionType
from typing import Any, TypeAlias, final

import torch
from torch.optim import Optimizer

from kdbench.train.guard import Thing

Owner: TypeAlias = Any
"""A module or a class."""

_ALONE = frozenset({
    "builtins", "itertools", "json", "math", "operator", "os", "random", "time", "numpy",
    "numpy.random", "torch", "torch.autograd", "torch.autograd.function",
    "torch.autograd.grad_mode", "torch.cuda", "torch.cuda.random", "torch.fft", "torch.linalg",
    "torch.nn", "torch.nn.functional", "torch.nn.init", "torch.random", "torch.special",
    "torch._tensor", "torch._jit_internal",
})  # fmt: skip
_BELOW = ("kdbench", "timm.", "torch.nn.modules.", "torch.nn.parameter.", "torch.optim.")
_COMPILER = Path(torch.__file__).parent / "_dynamo"
_HOOKS: tuple[dict[int, Any], ...] = tuple(
    hooks
    for module in map(sys.modules.__getitem__, ("torch.nn.modules.module", "torch.optim.optimizer"))
    for name, hooks in vars(module).items()
    if name.endswith("_hooks") and isinstance(hooks, dict)
)
"""What torch calls for every module and every optimizer."""


@final
class Functions(Thing):
    """Those of the libraries and the host, by where they were looked up.

    A name that is added moves nothing. One that was a function, a class or a method, and is another
    object now or none, has moved.
    """

    def __init__(self) -> None:
        for kind in vars(torch.optim).values():
            if isinstance(kind, type) and issubclass(kind, Optimizer):
                # torch replaces the `step` of a class when its first object is made: made now
                kind._patch_step_function(kind.__new__(kind))
        self._kept = dict[int, tuple[Owner, dict[str, Any]]]()
        self._moved = list[tuple[Owner, str, Any]]()
        self._seen = set[str]()
        self._hooks = [dict(hooks) for hooks in _HOOKS]
        self.learn()

    def learn(self, *more: str) -> None:
        """Watch the modules that came since, and those of these names."""
        new = sys.modules.keys() - self._seen
        self._seen |= new
        for name, module in list(sys.modules.items()):
            asked = name in more or (name in new and _is_watched(name))
            if not asked or id(module) in self._kept:
                continue
            self._kept[id(module)] = module, dict(vars(module))
            for kind in list(vars(module).values()):
                if isinstance(kind, type) and (
                    kind.__module__ in more or _is_watched(kind.__module__)
                ):
                    self._kept.setdefault(id(kind), (kind, dict(vars(kind))))

    def moved(self) -> str:
        """What has moved, and what is there now."""
        self._moved = [
            (owner, name, old)
            for owner, kept in self._kept.values()
            if not _alike(kept, vars(owner))
            for name, old in (kept | _hidden(owner, kept)).items()
            if vars(owner).get(name) is not old
            and _is_called(old)
            and not _is_compiler_s(vars(owner).get(name))
        ]
        names = [f"{_called(o)}.{name}{_place(vars(o).get(name))}" for o, name, _ in self._moved]
        same = all(map(dict.__eq__, _HOOKS, self._hooks))
        return ", ".join(names[:3]) or ("" if same else "the hooks of all modules or optimizers")

    def put_back(self) -> None:
        """Undo what was found moved."""
        for owner, name, old in self._moved:
            if name in self._kept[id(owner)][1]:
                setattr(owner, name, old)
            else:
                delattr(owner, name)
        for hooks, kept in zip(_HOOKS, self._hooks, strict=True):
            hooks.clear()
            hooks.update(kept)


def _is_watched(name: str) -> bool:
    return name in _ALONE or f"{name}.".startswith(_BELOW)


def _hidden(owner: Owner, kept: Mapping[str, Any]) -> dict[str, Any]:
    """What a class inherits under names that it has now of its own, and had not."""
    if not isinstance(owner, type):
        return {}
    above = owner.__mro__[1:]
    return {
        name: next(vars(one)[name] for one in above if name in vars(one))
        for name in vars(owner).keys() - kept.keys()
        if any(name in vars(one) for one in above)
    }


def _is_called(one: object) -> bool:
    return callable(one) or isinstance(one, (property, staticmethod, classmethod))


def _is_compiler_s(new: object) -> bool:
    """Whether torch's compiler has put that there, which it does when it is first used."""
    return isinstance(new, FunctionType) and _COMPILER in Path(new.__code__.co_filename).parents


def _alike(kept: dict[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether these hold the same objects, quickly; False where they might not."""
    try:
        return bool(kept == now)
    except Exception:  # noqa: BLE001 - two values that cannot be compared are two
        return False


def _called(owner: Owner) -> str:
    return f"{owner.__module__}.{owner.__qualname__}" if isinstance(owner, type) else owner.__name__


def _place(new: Any) -> str:  # noqa: ANN401 - anything
    """Where the code of what stands there now is, if it tells."""
    if not isinstance(new, FunctionType):
        return ""
    return f" (now {Path(new.__code__.co_filename).name}, line {new.__code__.co_firstlineno})"
