"""A runner between two steps as tensors and plain values, and back, to the bit.

Randomness is drawn by counter, so no generator's state belongs to it.
"""

import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from kdbench.record import Standing, told
from kdbench.train.runner import Runner

Plain: TypeAlias = Any  # what JSON can hold
_PLAIN = (bool, int, float, str, type(None))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that the rest of a runner's training depends on.

    Attributes:
        tensors: By number, on the CPU, none of which shares memory with another.
        plain: Everything else, as JSON can hold it; names its tensors by number.
    """

    tensors: dict[str, Tensor]
    plain: Plain


def snapshot(runner: Runner) -> Snapshot:
    """The runner as it is now, between two steps.

    Raises:
        TypeError: An optimizer holds what is neither a tensor nor plain.
    """
    pack = _Pack()
    plain = {
        "student": pack.module(runner.student),
        "state": pack.state(runner.state),
        "private": pack.state(runner.private),
        "optimizers": [pack.value(one.state_dict()) for one in _optimizers(runner)],
        "sums": pack.value(runner.sums),
        "heard": pack.value(runner.heard),
        "counts": {name: getattr(runner, name) for name in _COUNTS},
        "notes": runner.notes,
        "seconds": runner.seconds,
    }
    return Snapshot(pack.tensors, plain)


def restore(runner: Runner, taken: Snapshot) -> None:
    """Bring a runner that has made no step to where another one was.

    Raises:
        ValueError: The snapshot is of another kind of runner; this one is no longer of use.
    """
    unpack, plain = _Unpack(taken.tensors, runner.device), taken.plain
    try:
        unpack.module(runner.student, plain["student"])
        unpack.state(runner.state, plain["state"])
        unpack.state(runner.private, plain["private"])
        for optimizer, kept in zip(_optimizers(runner), plain["optimizers"], strict=True):
            optimizer.load_state_dict(unpack.value(kept))
        runner.sums = unpack.value(plain["sums"])
        runner.heard = unpack.value(plain.get("heard"))  # older ones do not tell
        runner.notes, runner.seconds = list(plain["notes"]), plain.get("seconds", 0.0)
        for name in _COUNTS:
            setattr(runner, name, plain["counts"][name])
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise ValueError(f"another kind of runner: {error}") from error


def packed(taken: Snapshot, where: Standing, **beside: Plain) -> bytes:
    """A snapshot as a safetensors file, with where it stands and what else is to be known."""
    entries = {"runner": taken.plain, "standing": asdict(where), **beside}
    return save(taken.tensors, {name: json.dumps(plain) for name, plain in entries.items()})


def unpacked(content: bytes) -> tuple[Snapshot, dict[str, Plain]]:
    """The snapshot in such a file, and what was said beside it.

    Raises:
        ValueError: It is no such file.
    """
    try:
        beside = told(io.BytesIO(content))
        return Snapshot(load(content), beside.pop("runner")), beside
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"no checkpoint: {error}") from error


_COUNTS = ("done", "quizzed", "updates", "restarts")


def _optimizers(runner: Runner) -> list[torch.optim.Optimizer]:
    """The host's; those in the method's state are kept with it."""
    return [runner.optimizer, *([runner.teacher_optimizer] if runner.private is not None else [])]


@dataclass(frozen=True, slots=True)
class _Pack:
    """Values -> plain ones, with their tensors collected beside them."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    _numbers: dict[int, tuple[str, Tensor]] = field(default_factory=dict)

    def state(self, state: Any) -> Plain:  # noqa: ANN401 - what the contract allows
        """A method's state; see `tensors_of`."""
        if isinstance(state, nn.Module):
            return {"module": self.module(state)}
        if isinstance(state, torch.optim.Optimizer):
            return {"optimizer": self.value(state.state_dict())}
        if isinstance(state, Mapping):
            return {"dict": [[key, self.state(part)] for key, part in state.items()]}
        if isinstance(state, (list, tuple)):
            return {"list": [self.state(part) for part in state]}
        return self.value(state)

    def module(self, module: nn.Module) -> Plain:
        """Weights and buffers, and the plain attributes of every module in it, its mode too."""
        return {
            "weights": {name: self.value(one) for name, one in module.named_parameters()},
            "parts": {
                name: {
                    "buffers": {key: self.value(one) for key, one in part._buffers.items()},
                    "plain": {k: v for k, v in vars(part).items() if type(v) in _PLAIN},
                }
                for name, part in module.named_modules()
            },
        }

    def value(self, value: Any) -> Plain:  # noqa: ANN401 - anything
        """A tensor, a plain value, or lists, tuples and dicts of them."""
        if isinstance(value, Tensor):
            return self._tensor(value)
        if isinstance(value, Mapping):
            return {"dict": [[key, self.value(part)] for key, part in value.items()]}
        if isinstance(value, tuple):
            return {"tuple": [self.value(part) for part in value]}
        if isinstance(value, list):
            return {"list": [self.value(part) for part in value]}
        if type(value) in _PLAIN:
            return value
        raise TypeError(f"a {type(value).__name__} cannot be put away")

    def _tensor(self, tensor: Tensor) -> Plain:
        name, _ = self._numbers.setdefault(id(tensor), (str(len(self._numbers)), tensor))
        if name not in self.tensors:
            self.tensors[name] = tensor.detach().to("cpu", copy=True).contiguous()
        return {
            "tensor": name, "stride": _layout(tensor), "device": tensor.device.type,
            "trained": tensor.requires_grad,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Unpack:
    """What `_Pack` made -> values; in place where there is something."""

    tensors: Mapping[str, Tensor]
    device: torch.device

    def state(self, state: Any, plain: Plain) -> Any:  # noqa: ANN401 - what the contract allows
        """The state with what was packed: the same object, or a tensor in its place."""
        if isinstance(state, nn.Module):
            self.module(state, plain["module"])
        elif isinstance(state, torch.optim.Optimizer):
            state.load_state_dict(self.value(plain["optimizer"]))
        elif isinstance(state, (Mapping, list, tuple)):
            self._parts(state, plain)
        elif isinstance(state, Tensor):
            return self._filled(state, plain)
        else:
            return self.value(plain)
        return state

    def _parts(self, state: Any, plain: Plain) -> None:  # noqa: ANN401 - as above
        named = isinstance(state, Mapping)
        known = dict(state) if named else dict(enumerate(state))
        parts = plain["dict"] if named else enumerate(plain["list"])
        found = {key: self.state(known.get(key), packed) for key, packed in parts}
        if all(known.get(key) is one for key, one in found.items()) and len(known) == len(found):
            return
        if isinstance(state, dict):
            state.clear()
            state.update(found)
        elif isinstance(state, list):
            state[:] = found.values()
        else:
            raise ValueError(f"a {type(state).__name__} holds another tensor")

    def module(self, module: nn.Module, plain: Plain) -> None:
        """Put everything back into a module of the same kind."""
        weights, parts = dict(module.named_parameters()), dict(module.named_modules())
        if weights.keys() != plain["weights"].keys() or parts.keys() != plain["parts"].keys():
            raise ValueError(f"a {type(module).__name__} has other parts")
        if any(self._filled(w, plain["weights"][n]) is not w for n, w in weights.items()):
            raise ValueError(f"a {type(module).__name__} has weights of another shape")
        for name, part in parts.items():
            kept = plain["parts"][name]
            if any(type(vars(part).get(key)) not in _PLAIN for key in kept["plain"]):
                raise ValueError(f"{name} has other attributes")
            part.__dict__.update(kept["plain"])
            for key, buffer in kept["buffers"].items():
                old = part._buffers.get(key)
                found = self.value(buffer) if old is None else self._filled(old, buffer)
                part._buffers[key] = found

    def value(self, plain: Plain) -> Any:  # noqa: ANN401 - anything
        """The value that was packed."""
        if not isinstance(plain, dict):
            return plain
        if "tensor" in plain:
            return self._tensor(plain)
        if "dict" in plain:
            return {key: self.value(part) for key, part in plain["dict"]}
        if "tuple" in plain:
            return tuple(self.value(part) for part in plain["tuple"])
        return [self.value(part) for part in plain["list"]]

    @torch.no_grad()
    def _filled(self, old: Tensor, plain: Plain) -> Tensor | None:
        """`old` with what was packed, or another tensor if that does not fit in."""
        new: Tensor | None = self.value(plain)
        if new is None or _form(new) != _form(old):
            return new
        old.copy_(new)
        return old.requires_grad_(plain["trained"]) if old.is_leaf else old

    def _tensor(self, plain: Plain) -> Tensor:
        kept = self.tensors[plain["tensor"]]
        device = self.device if plain["device"] != "cpu" else kept.device
        made = torch.empty_strided(kept.shape, plain["stride"], dtype=kept.dtype, device=device)
        return made.copy_(kept).requires_grad_(plain["trained"])


def _form(tensor: Tensor) -> tuple[object, ...]:
    return tensor.shape, tensor.dtype, _layout(tensor)


def _layout(tensor: Tensor) -> list[int]:
    """Strides; a sum in another order has other bits. Without holes, where there are any."""
    return list(torch.empty_like(tensor, device="meta").stride())
