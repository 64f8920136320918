"""Weights of a bare timm network, from a file."""

from collections.abc import Sequence
from pathlib import Path

from timm.models import load_state_dict
from torch import Tensor, nn

from kdbench.errors import DataError


def load(model: nn.Module, path: str | Path) -> None:
    """Put a file's weights into a bare timm network; every name and shape must be right.

    Args:
        model: The bare network.
        path: A safetensors file, or a torch file of tensors alone, which is read without running
            code.

    Raises:
        DataError: The file is missing, unreadable, or of another network.
    """
    try:
        found = load_state_dict(str(path), use_ema=False, device="cpu", weights_only=True)
        if not all(isinstance(n, str) and isinstance(t, Tensor) for n, t in found.items()):
            raise ValueError("it holds something else than tensors by name")
    except Exception as error:  # a torn file makes the unpickler raise anything
        why = str(error).strip().partition("\n")[0] or type(error).__name__
        next_step = "give a safetensors file or a torch state_dict"
        raise DataError(f"{path} cannot be read as weights", why, next_step) from error
    wanted = model.state_dict()
    wrong = {
        "missing": [name for name in wanted if name not in found],
        "unknown": [name for name in found if name not in wanted],
        "of another shape": [
            name for name in wanted if name in found and found[name].shape != wanted[name].shape
        ],
    }
    if any(wrong.values()):
        why = "; ".join(f"{kind}: {_few(names)}" for kind, names in wrong.items() if names)
        next_step = "check the network's name, its options and the number of classes"
        raise DataError(f"{path} holds the weights of another network", why, next_step)
    try:
        model.load_state_dict(found, strict=True)
    except RuntimeError as error:  # a sparse or a quantized tensor, say
        why, next_step = str(error).partition("\n")[0], "give dense tensors of numbers"
        raise DataError(f"{path} holds weights of another kind", why, next_step) from error


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
