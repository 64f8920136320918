"""Torch's default generators, set by counter."""

import torch

from kdbench.data import derive_seed

_given: int | None = None


def seed_torch(device: torch.device, seed: int, *names: str | int) -> None:
    """Seed the default generators of the CPU and of `device` for the purpose that `names` say.

    `torch.manual_seed` would also queue a call for every GPU that is not in use, with a stack
    trace, at every step.
    """
    global _given
    _given = derived = derive_seed(seed, *names)
    torch.default_generator.manual_seed(derived)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(derived)


def reseeded(before: int) -> bool:
    """Whether somebody else has seeded torch's generator, which had this seed before."""
    return torch.default_generator.initial_seed() not in {before, _given}
