"""From a name with options to a network; what timm cannot build is said in plain words."""

import difflib
import inspect
import json
import re
import warnings
from collections.abc import Iterator, Sequence
from functools import lru_cache
from statistics import fmean
from typing import Any, NamedTuple, cast

import timm
import torch
from timm.layers import to_2tuple
from torch import nn

from kdbench.errors import DataError, Unsupported, UsageError
from kdbench.models.network import Network, Reading
from kdbench.models.survey import Misfit, check_covered, surveyed
from kdbench.models.weights import load
from kdbench.record import Spec

_OURS = ("pretrained", "checkpoint", "img_size")
_HOSTS = (
    "num_classes",
    "in_chans",
    "features_only",
    "checkpoint_path",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
)
_UNEXPECTED = re.compile(r"unexpected keyword argument '(\w+)'")


def create(
    network: Spec,
    *,
    num_classes: int,
    image_shape: tuple[int, int, int],
    mean: Sequence[float],
    std: Sequence[float],
) -> Network:
    """A network for one data set, initialised from torch's generator exactly as timm does it.

    Options are timm's own, and three more: `pretrained=true` for the weights that timm publishes,
    `checkpoint=PATH` for weights in a file, and `img_size=N` for the side in pixels that images are
    resized to.

    Images are taken as they are where the network can; if not, they are resized to its own size
    (or, where its size is free, to the first that is large enough among the doublings of the
    image). Published weights get images of the size, mean and standard deviation that they were
    made with; all others are normalised by the data set's.

    Args:
        network: Name in timm (or `hf-hub:` or `local-dir:` name) and options.
        num_classes: Number of classes.
        image_shape: Channels, height, width of the images.
        mean, std: Of the data set's images in [0, 1], a channel each.

    Raises:
        UsageError: Unknown name or option.
        DataError: The weights cannot be had, or are of another network.
        Unsupported: The network cannot be read, or not at this size.
    """
    _check(network)
    weights = dict(network.options)
    sized, reading = _sized(network.without("checkpoint"), num_classes, image_shape)
    pretrained = bool(weights.get("pretrained"))
    model = _built(network, num_classes, image_shape[0], sized, pretrained)
    if pretrained:
        mean, std = _published_statistics(model, image_shape[0])
    if weights.get("checkpoint") is not None:
        load(model, str(weights["checkpoint"]))
    return Network(model, mean=mean, std=std, reading=reading)


def arguments(network: Spec, num_classes: int, image_shape: tuple[int, int, int]) -> dict[str, Any]:
    """Keyword arguments, as JSON, with which `timm.create_model` builds the bare network again.

    Args:
        network, num_classes, image_shape: As for `create`.
    """
    sized, _ = _sized(network.without("checkpoint"), num_classes, image_shape)
    own = dict(network.without(*_OURS).options) | ({"img_size": sized} if sized else {})
    found: dict[str, Any] = {"num_classes": num_classes, "in_chans": image_shape[0]}
    return found | dict(json.loads(json.dumps(own)))


def _check(network: Spec) -> None:
    """Raise where the name is unknown or an option is not the user's to give."""
    options = dict(network.options)
    if ":" not in network.name and not timm.is_model(network.name):
        close = difflib.get_close_matches(network.name, timm.list_models(), n=3)
        why = f"did you mean {', '.join(close)}?" if close else "timm has none of that name"
        raise UsageError(f"no network {network.name!r}", why, "see kdbench list models")
    for option in _HOSTS:
        if option in options:
            raise UsageError(
                f"{network.name} takes no option {option!r}", "the host decides it", "leave it out"
            )
    pretrained = options.get("pretrained", False)
    if not isinstance(pretrained, bool):
        raise UsageError(
            f"bad option pretrained={pretrained!r}", "expected true or false", "see kdbench show"
        )
    size = options.get("img_size", 1)
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise UsageError(
            f"bad option img_size={size!r}", "expected a side in pixels", "see kdbench show"
        )


class _Facts(NamedTuple):
    """A network's own height and width, and whether they are built into it."""

    size: tuple[int, int] | None
    fixed: bool


@lru_cache(maxsize=256)
def _sized(
    network: Spec, num_classes: int, image_shape: tuple[int, int, int]
) -> tuple[tuple[int, int] | None, Reading]:
    """The `img_size` to build with, if any, and the reading, of the first size that fits."""
    channels, *sides = image_shape
    image_size = (sides[0], sides[1])
    error: Exception | None = None
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of sizes that are tried in vain
        facts = _facts(network, num_classes, channels)
        model = None if facts.fixed else _built(network, num_classes, channels, None)
        for size in _sizes(network, image_size, facts):
            try:
                sized = size if facts.fixed else None
                candidate = model or _built(network, num_classes, channels, sized)
                reading = surveyed(candidate, image_shape, None if size == image_size else size)
                if (
                    facts.fixed
                ):  # where the size is free, the network is asked to take what the image has
                    check_covered(candidate, channels, size)
                return sized, reading
            except (Misfit, UsageError) as caught:
                error = caught
    if isinstance(error, UsageError):
        raise error
    what = f"{network} cannot take images of {image_size[0]} x {image_size[1]} pixels"
    raise Unsupported(what, f"{error}", "name another network, or give img_size=N") from error


def _facts(network: Spec, num_classes: int, channels: int) -> _Facts:
    if ":" in network.name:
        facts = cast(dict[str, Any], _built(network, num_classes, channels, None).pretrained_cfg)
    else:
        try:
            found = timm.get_pretrained_cfg(network.name)
        except RuntimeError as error:
            raise UsageError(
                f"no network {network.name!r}", str(error), "see kdbench list models"
            ) from error
        facts = found.to_dict() if found else {}
    shape = facts.get("input_size")
    return _Facts((shape[1], shape[2]) if shape else None, bool(facts.get("fixed_input_size")))


def _sizes(network: Spec, image_size: tuple[int, int], facts: _Facts) -> Iterator[tuple[int, int]]:
    """Input sizes to try, in order."""
    options, own = dict(network.options), facts.size or image_size
    if "img_size" in options:
        yield to_2tuple(options["img_size"])
        return
    if options.get("pretrained"):
        yield own
        return
    yield image_size
    size = (2 * image_size[0], 2 * image_size[1])
    while not facts.fixed and size[0] < own[0] and size[1] < own[1]:
        yield size
        size = (2 * size[0], 2 * size[1])
    if own != image_size:
        yield own


def _built(
    network: Spec, num_classes: int, channels: int, img_size: object, pretrained: bool = False
) -> nn.Module:
    """The bare network."""
    options: dict[str, Any] = dict(network.without(*_OURS).options)
    options |= {} if img_size is None else {"img_size": img_size}
    try:
        return timm.create_model(
            network.name, pretrained, num_classes=num_classes, in_chans=channels, **options
        )
    except Exception as error:  # whatever a network's code raises is reported, with the reason
        why = str(error).strip().partition("\n")[0] or type(error).__name__
        if pretrained or ":" in network.name:
            source = _source(network)
            next_step = f"fetch {source} once where there is a network, or give checkpoint=PATH"
            raise DataError(
                f"the published weights of {network.name} cannot be had", why, next_step
            ) from error
        unexpected = _UNEXPECTED.search(str(error))
        if isinstance(error, TypeError) and unexpected:
            why = _did_you_mean(network.name, unexpected[1])
            raise UsageError(
                f"{network.name} takes no option {unexpected[1]!r}", why, "see kdbench show"
            ) from error
        raise UsageError(
            f"{network} cannot be built", why, "see its options with kdbench show"
        ) from error


def _did_you_mean(name: str, option: str) -> str:
    known = [*_OURS, *inspect.signature(type(timm.create_model(name)).__init__).parameters]
    close = difflib.get_close_matches(option, known, n=3)
    return (
        f"did you mean {', '.join(close)}?"
        if close
        else f"it takes {', '.join(sorted(set(known) - {'self'}))}"
    )


def _source(network: Spec) -> str:
    if ":" in network.name:
        return network.name
    found = timm.get_pretrained_cfg(network.name)
    return str((found and (found.hf_hub_id or found.url)) or network.name)


def _published_statistics(model: nn.Module, channels: int) -> tuple[list[float], list[float]]:
    """Mean and std that published weights expect; averaged where timm summed their channels."""
    facts = cast(dict[str, Sequence[float]], model.pretrained_cfg)
    mean, std = list(facts["mean"]), list(facts["std"])
    if len(mean) != channels:
        mean, std = [fmean(mean)] * channels, [fmean(std)] * channels
    return mean, std
