"""A plan's transfer policies -> their plugins' objects, asked batch by batch and proved."""

import traceback
from collections.abc import Sequence

import torch
from torch.nn import functional as F

from kdbench.api import Draw, Seen, Transfer
from kdbench.data.split import Split
from kdbench.errors import ContractError, KDBenchError, PluginError
from kdbench.plan import Policy
from kdbench.registry import build, load

_LUMINANCE = (0.299, 0.587, 0.114)
_CHUNK = 1024


def transfers(policy: Policy) -> dict[str, Transfer]:
    """The plugins' objects by name, in order; imports the plugins."""
    found = {}
    for member in policy.members:
        plugged = load(member.source)["transfer", member.spec.name]
        assert isinstance(plugged, Transfer)
        found[member.spec.name] = build(plugged, member.spec)
    return found


def shown(name: str, policy: Transfer, seen: Seen, draw: Draw) -> Seen:
    """The rows as this policy shows them; without labels where it says that none fits.

    Raises:
        PluginError: It raised.
        ContractError: It gave something else than it should, or drew from torch's generator.
    """
    before = _generators(seen.images.device)
    try:
        found = policy.see(seen, draw)
    except KDBenchError:
        raise
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        raise PluginError(
            f"the transfer policy {name!r} failed at {frame.filename}:{frame.lineno}",
            f"{type(error).__name__}: {error}",
            "mend it, or leave it out of `transfer`",
        ) from error
    after = _generators(seen.images.device)
    if not all(map(torch.equal, before, after)):
        raise ContractError(
            f"the transfer policy {name!r} moved torch's generator",
            "what it draws from there depends on what ran before",
            "take numbers or seeds from `draw`, and fork torch's generator",
        )
    for part in ("images", "labelled", "index"):
        was, now = getattr(seen, part), getattr(found, part)
        if (now.shape, now.dtype, now.device) != (was.shape, was.dtype, was.device):
            raise ContractError(
                f"the transfer policy {name!r} gave {part} as {now.dtype} {tuple(now.shape)}",
                f"expected {was.dtype} {tuple(was.shape)} on {was.device}",
                "correct see()",
            )
    mixes, hides = policy.mixes, policy.mixes or policy.hides
    return Seen(
        images=found.images.contiguous(memory_format=torch.channels_last),
        labelled=torch.zeros_like(found.labelled) if hides else found.labelled,
        index=torch.full_like(found.index, -1) if mixes else found.index,
    )


def _generators(device: torch.device) -> list[torch.Tensor]:
    """The states of torch's default generators, both kept on the host."""
    cuda = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    return [torch.get_rng_state(), *cuda]


def joined(split: Split, rows: int, added: Sequence[Split]) -> Split:
    """The first so many rows and, after them, the added ones in the same shape, of target 0."""
    own = split.head(rows)
    channels, height, width = own.images.shape[1:]
    more = [_fitted(one, (channels, height, width)) for one in added]
    images = torch.cat([own.images, *more]).contiguous(memory_format=torch.channels_last)
    labels = own.labels.new_zeros(len(images))
    labels[:rows] = own.labels
    return Split(images, labels, own.digest)


def _fitted(split: Split, shape: tuple[int, int, int]) -> torch.Tensor:
    """The images with so many channels, of this height and width, uint8."""
    channels, *size = shape
    found = []
    for images in split.images.split(_CHUNK):
        if images.shape[1] == channels and list(images.shape[2:]) == size:
            found.append(images)
            continue
        pixels = images.float()
        if images.shape[1] == 3 and channels == 1:
            weights = pixels.new_tensor(_LUMINANCE).view(1, 3, 1, 1)
            pixels = (pixels * weights).sum(1, keepdim=True)
        pixels = pixels.expand(-1, channels, -1, -1)
        if list(images.shape[2:]) != size:
            pixels = F.interpolate(pixels, size, mode="bilinear", antialias=True)
        found.append(pixels.round().clamp(0, 255).to(torch.uint8))
    return torch.cat(found)
