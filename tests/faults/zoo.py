"""A plugin of methods that each do one thing that touches others, at a step of their own."""

import ctypes
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from kdbench.api import Batch, Loop, Losses, Method, Outputs, Setup, hookimpl

_teachers: list[nn.Module] = []  # what `init` was shown, as a method must not keep it


def _doubled(real: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args, **options: 2 * real(*args, **options)


def _weights() -> Iterator[torch.Tensor]:
    return _teachers[-1].parameters()


def _written() -> None:
    with torch.no_grad():
        next(_weights()).mul_(1.5)


def _data() -> None:
    for weight in _weights():
        weight.data.mul_(1.5)


def _loaded() -> None:
    _teachers[-1].load_state_dict({n: 2 * t for n, t in _teachers[-1].state_dict().items()})


def _layer(kind: type[nn.Module]) -> Any:
    return [one for one in _teachers[-1].modules() if isinstance(one, kind)][-1]


def _replaced() -> None:
    _layer(nn.Linear).weight = nn.Parameter(torch.zeros_like(_layer(nn.Linear).weight))


def _buffer() -> None:
    _layer(nn.Conv2d).bias.data.add_(1)  # a norm's buffers are folded into it


def _hooked() -> None:
    _layer(nn.Linear).register_forward_hook(lambda module, args, said: said * 0)


def _patched(owner: Any, name: str) -> None:
    setattr(owner, name, _doubled(getattr(owner, name)))


def _stepless() -> None:
    torch.optim.SGD.step = lambda self, closure=None: None


def _forked() -> None:
    os.posix_spawn("/bin/sleep", ["sleep", "60"], os.environ)


def _threaded() -> None:
    threading.Thread(target=time.sleep, args=(60,), daemon=True, name="busy").start()


class Stop(BaseException):
    """Nothing that `except Exception` sees."""


def _stop() -> None:
    raise Stop


_kept: list[Any] = []


def _infer() -> None:
    _kept.append(torch.inference_mode())
    _kept[-1].__enter__()


STEP: dict[str, Callable[[Batch, Outputs], object]] = {
    "sys_exit": lambda batch, said: sys.exit(0),
    "base_exception": lambda batch, said: _stop(),
    "default_device": lambda batch, said: torch.set_default_device("meta"),
    "inference_mode": lambda batch, said: _infer(),
    "autocast": lambda batch, said: torch.set_autocast_enabled("cpu", True),
    "deterministic": lambda batch, said: torch.use_deterministic_algorithms(True),
    "anomaly": lambda batch, said: torch.autograd.set_detect_anomaly(True),
    "denormal": lambda batch, said: torch.set_flush_denormal(True),
    "onednn": lambda batch, said: torch._C._set_mkldnn_enabled(False),
    "directory": lambda batch, said: os.chdir("/"),
    "torch_seed": lambda batch, said: torch.manual_seed(1),
    "numpy_seed": lambda batch, said: np.random.seed(1),
    "numpy_draw": lambda batch, said: np.random.rand(),
    "child": lambda batch, said: _forked(),
    "random_seed": lambda batch, said: random.seed(1),
    "random_draw": lambda batch, said: random.random(),
    "batch_data": lambda batch, said: batch.inputs.data.zero_(),
    "batch_numpy": lambda batch, said: batch.inputs.numpy().fill(0),
    "outputs_data": lambda batch, said: said.logits.data.neg_(),
    "teacher_in_place": lambda batch, said: _written(),
    "teacher_data": lambda batch, said: _data(),
    "teacher_loaded": lambda batch, said: _loaded(),
    "teacher_mode": lambda batch, said: _teachers[-1].train(),
    "teacher_parameter": lambda batch, said: _replaced(),
    "teacher_buffer": lambda batch, said: _buffer(),
    "teacher_hook": lambda batch, said: _hooked(),
    "patch_loss": lambda batch, said: _patched(F, "cross_entropy"),
    "patch_tensor": lambda batch, said: _patched(torch.Tensor, "log_softmax"),
    "patch_optimizer": lambda batch, said: _stepless(),
    "patch_seed": lambda batch, said: setattr(torch, "manual_seed", lambda seed: None),
    "module_hooks": lambda batch, said: nn.modules.module.register_module_forward_hook(
        lambda module, args, found: None
    ),
    "environment": lambda batch, said: os.environ.update(ZOO="1"),
    "path": lambda batch, said: sys.path.insert(0, "/"),
    "signals": lambda batch, said: signal.signal(signal.SIGUSR1, signal.SIG_IGN),
}
"""Within the process, by name."""

WORSE: dict[str, Callable[[], object]] = {
    "thread": _threaded,
    "segfault": lambda: ctypes.string_at(0),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "abort": os.abort,
    "exit": lambda: os._exit(0),
}
"""Such that the process is of no more use."""


@dataclass(frozen=True)
class Bad(Method):
    """Cross-entropy and one misdeed at step `at`, in `init` or in `deploy`."""

    how: str = ""
    at: int = 2

    def init(self, setup: Setup) -> torch.Tensor:
        _teachers.append(setup.teacher.model)
        if self.how == "init_patch":
            _patched(F, "kl_div")
        if self.how == "init_teacher":
            _data()
        return torch.zeros(())

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: Any) -> Losses:
        return {"hard": F.cross_entropy(student.logits, batch.target)}

    def step(self, loop: Loop, batch: Batch, state: Any) -> Losses:
        student, teacher = loop.forward(batch)
        losses = loop.descend(self.loss(student, teacher, batch, state))
        if int(state) == self.at:
            STEP.get(self.how, lambda *_: None)(batch, teacher)
            WORSE.get(self.how, lambda: None)()
        state += 1
        return losses

    def deploy(self, student: nn.Module, state: Any) -> nn.Module:
        if self.how == "deploy_patch":
            _patched(F, "linear")
        if self.how == "deploy_teacher":
            _data()
        return student


ELSEWHERE = ("init_patch", "init_teacher", "deploy_patch", "deploy_teacher")
PATH = Path(__file__)


@hookimpl
def kdbench_methods() -> Iterator[tuple[str, Method]]:
    for place, how in enumerate((*STEP, *WORSE, *ELSEWHERE)):
        yield how, Bad(how, 1 + place % 5)
