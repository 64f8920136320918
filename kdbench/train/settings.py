"""The settings of a process that every plugin call could leave changed, read and put back cheaply.

They are compared around every call, so what is here costs a microsecond at most.
"""

import ctypes
import os
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch

Values: TypeAlias = tuple[Any, ...]
"""Of all settings, in their order."""

_TWISTER = np.random.get_bit_generator().ctypes.state_address, 625 * 4  # type: ignore[attr-defined]  # numpy lacks it in its types
"""Where numpy's global Mersenne twister lies: 624 words and a position."""
_SMALLEST = 1e-310
_modes: list[torch.inference_mode] = []  # an inference mode ends with its object


def settings() -> Values:
    """What they are now."""
    return tuple(read() for read in _READ)


def put_back(before: Values, after: Values) -> None:
    """Have them be `before` where they are `after`."""
    for put, old, new in zip(_PUT, before, after, strict=True):
        if old != new:
            put(old)


def moved(before: Values, after: Values) -> str:
    """Which ones differ, and how; one line."""
    return ", ".join(
        f"{name} was {old}, is {new}" if isinstance(old, _TOLD) else f"{name} moved"
        for name, old, new in zip(_NAMES, before, after, strict=True)
        if old != new
    )


def _directory() -> str:
    try:
        return os.getcwd()  # noqa: PTH109 - called around every step, and a Path takes longer
    except OSError:  # it was removed
        return ""


def _drawn() -> bytes:
    return ctypes.string_at(*_TWISTER)


def _undrawn(state: bytes) -> None:
    ctypes.memmove(_TWISTER[0], state, len(state))


def _flushing() -> bool:
    return _SMALLEST * 0.5 == 0


def _infer(mode: bool) -> None:
    _modes.append(torch.inference_mode(mode))
    _modes[-1].__enter__()


def _unstack(depth: int) -> None:
    torch.set_default_device(None)
    while torch._C._len_torch_function_stack() > depth:
        torch._C._pop_torch_function_stack()


_TOLD = (bool, int, str, torch.dtype)
_SETTINGS: dict[str, tuple[Callable[[], Any], Callable[[Any], object]]] = {
    "the working directory": (_directory, os.chdir),
    "the default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "the number of threads": (torch.get_num_threads, torch.set_num_threads),
    "the matmul precision": (
        torch.get_float32_matmul_precision, torch.set_float32_matmul_precision,
    ),
    "inference mode": (torch.is_inference_mode_enabled, _infer),
    "grad mode": (torch.is_grad_enabled, torch.set_grad_enabled),  # which inference mode sets too
    "anomaly mode": (torch.is_anomaly_enabled, torch.set_anomaly_enabled),
    "autocast on the CPU": (
        partial(torch.is_autocast_enabled, "cpu"), partial(torch.set_autocast_enabled, "cpu"),
    ),
    "autocast on the GPU": (
        partial(torch.is_autocast_enabled, "cuda"), partial(torch.set_autocast_enabled, "cuda"),
    ),
    "the number of torch's modes (a default device is one)": (
        torch._C._len_torch_function_stack, _unstack,
    ),
    "deterministic mode": (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
    "flushing of denormal numbers": (_flushing, torch.set_flush_denormal),
    "oneDNN": (torch._C._get_mkldnn_enabled, torch._C._set_mkldnn_enabled),
    "cuDNN": (torch._C._get_cudnn_enabled, torch._C._set_cudnn_enabled),
    "cuDNN's benchmark": (torch._C._get_cudnn_benchmark, torch._C._set_cudnn_benchmark),
    "cuDNN's determinism": (torch._C._get_cudnn_deterministic, torch._C._set_cudnn_deterministic),
    "cuDNN's TF32": (torch._C._get_cudnn_allow_tf32, torch._C._set_cudnn_allow_tf32),
    "numpy's generator": (_drawn, _undrawn),
}  # fmt: skip
_NAMES = tuple(_SETTINGS)
_READ = tuple(read for read, _ in _SETTINGS.values())
_PUT = tuple(put for _, put in _SETTINGS.values())
