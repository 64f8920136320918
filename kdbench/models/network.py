"""A timm network that normalises for itself and says logits, pooled features and hints at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kdbench.api import Hint, Maps, Outputs, Port, Unsupported
from kdbench.models.preacts import Preact, caught
from kdbench.models.strided import subsampled

T = TypeVar("T")
Said: TypeAlias = tuple[Tensor, Tensor, tuple[Tensor, ...], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How one architecture is read at one image size; says nothing of its weights.

    Attributes:
        image_shape: Channels, height, width of the images.
        input_size: Height and width that images are resized to, or None where they are taken as
            they are.
        taps: Which of timm's intermediate maps are the hints.
        hints: Shapes of these maps.
        preacts: Where the map before each one's last activation passes by.
        pooled_dims: Width of each classifier's input; a network distilled by a token of its own has
            two classifiers.
        shared: Whether all classifiers read the same input.
        direct: Whether timm gives the classifier's input itself; where not, it is caught on its
            way.
        class_map: Shape of the map whose mean over places the one linear classifier reads, or None
            where it reads anything else.
        multiply_adds: Of convolutions, linear layers and attention, for one image.
    """

    image_shape: tuple[int, int, int]
    input_size: tuple[int, int] | None = None
    taps: tuple[int, ...]
    hints: tuple[Hint, ...]
    preacts: tuple[Preact, ...] = ()
    pooled_dims: tuple[int, ...]
    shared: bool = True
    direct: bool = True
    class_map: Hint | None = None
    multiply_adds: int = 0


class Network(nn.Module):
    """A timm network as the host and all methods see it.

    Its `state_dict` is that of the bare network, each name behind `model.`: the statistics are not
    stored.

    Args:
        model: A timm network. Its activations no longer work in place, so that they leave captured
            maps alone.
        mean: Of the images in [0, 1], subtracted, a channel each.
        std: Of the images in [0, 1], divided by, a channel each.
        reading: How this architecture is read; see `surveyed`.

    Attributes:
        model: The bare network, whose `state_dict` is exported.
    """

    if TYPE_CHECKING:
        mean: Tensor
        std: Tensor

    def __init__(
        self, model: nn.Module, *, mean: Sequence[float], std: Sequence[float], reading: Reading
    ) -> None:
        super().__init__()
        if not len(mean) == len(std) == reading.image_shape[0] or min(std) <= 0:
            raise ValueError(
                f"mean {mean} and std {std} are not those of {reading.image_shape[0]} channels"
            )
        self.model = model
        self.reading = reading
        self.picked = tuple(range(len(reading.taps)))
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)
        for module in model.modules():
            if hasattr(module, "inplace"):
                setattr(module, "inplace", False)  # noqa: B010 - not every module has it
        subsampled(model)

    def forward(
        self,
        images: Float[Tensor, "batch channels height width"],
        maps: Maps = Maps(),  # noqa: B008 - frozen
    ) -> Outputs:
        """Logits, pooled features and the maps asked for; the logits are the same either way.

        Args:
            images: In [0, 1], of the data set's size.
            maps: Which maps are asked for; not a bit of the rest depends on it.

        Raises:
            Unsupported: Class maps are asked for, and there are none.
        """
        if not maps.preacts:
            return self.answer(images, maps, self.tensors)
        places = [self.reading.preacts[place] for place in self.picked]
        run = partial(self.answer, images, maps, self.tensors)
        said, before = caught(self.model, places, run)
        preacts = [
            hint if map_ is None else map_ for map_, hint in zip(before, said.hints, strict=True)
        ]
        return replace(said, preacts=tuple(preacts)).only(maps)

    def answer(
        self, images: Tensor, maps: Maps, tensors: Callable[[Tensor, bool], Said]
    ) -> Outputs:
        """As `forward` but for preacts, by this form of `tensors`."""
        logits, pooled, hints, end = tensors(images, maps.hints or maps.preacts)
        said = Outputs(logits=logits, pooled=pooled)
        if maps.hints or maps.preacts:
            said = replace(said, hints=hints)
        return replace(said, class_maps=(self._class_map(end),)) if maps.class_maps else said

    def tensors(
        self, images: Float[Tensor, "batch channels height width"], hints: bool = False
    ) -> Said:
        """Logits, pooled, maps and the last features, bare, so that `torch.compile` takes it."""
        x = self.prepared(images)
        maps: list[Tensor] = []
        if hints:
            taps = [self.reading.taps[place] for place in self.picked]
            x, maps = called(self.model, "forward_intermediates")(
                x, indices=taps, output_fmt="NCHW"
            )
        else:
            x = called(self.model, "forward_features")(x)
        head = called(self.model, "forward_head")
        if self.reading.direct:
            pooled = head(x, pre_logits=True).flatten(1)
            return self.classify(pooled), pooled, tuple(maps), x
        logits, inputs = overheard(classifiers(self.model), lambda: head(x))
        return logits, inputs[0] if self.reading.shared else torch.cat(inputs, 1), tuple(maps), x

    def _class_map(self, end: Tensor) -> Tensor:
        """The classifier at every place of the map that is pooled."""
        if self.reading.class_map is None:
            raise Unsupported(
                "the network has no class maps",
                "its classifier does not read the mean over a map's places",
                "name a network with global average pooling and one linear layer",
            )
        places = end.movedim(1, -1).flatten(0, -2)
        return self.classify(places).view(len(end), *end.shape[2:], -1).movedim(-1, 1)

    def prepared(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels h w"]:
        """What the bare network reads: resized if need be (bilinear, antialias), normalised."""
        if self.reading.input_size:
            images = F.interpolate(
                images,
                self.reading.input_size,
                mode="bilinear",
                align_corners=False,
                antialias=True,
            )
        return (images - self.mean) / self.std

    def classify(self, pooled: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch classes"]:
        """Logits of pooled features, by this network's own classifier (the mean, if it has two)."""
        heads, dims = classifiers(self.model), self.reading.pooled_dims
        parts = [pooled] * len(heads) if self.reading.shared else pooled.split(dims, 1)
        said = [
            head(part[..., None, None] if isinstance(head, nn.Conv2d) else part).flatten(1)
            for head, part in zip(heads, parts, strict=True)
        ]
        return said[0] if len(said) == 1 else torch.stack(said).mean(0)

    def pick(self, places: Sequence[int]) -> None:
        """Keep only these of the reading's hints, from now on; see `align`."""
        if not set(places) <= set(range(len(self.reading.hints))) or list(places) != sorted(
            set(places)
        ):
            raise ValueError(
                f"{places} are not rising places among {len(self.reading.hints)} hints"
            )
        self.picked = tuple(places)

    def port(self) -> Port:
        """This network as a method's `init` sees it: itself, and the shapes of what it says."""
        reading, heads = self.reading, classifiers(self.model)
        norms = [reading.preacts[place].norm for place in self.picked]
        return Port(
            model=self,
            pooled_dim=reading.pooled_dims[0] if reading.shared else sum(reading.pooled_dims),
            hints=tuple(reading.hints[place] for place in self.picked),
            norms=tuple(None if n is None else self.model.get_submodule(n) for n in norms),
            classifier=heads[0] if len(heads) == 1 and isinstance(heads[0], nn.Linear) else None,
            class_map=reading.class_map,
        )


class Unheard(Exception):
    """A classifier took no part in a forward pass."""


def called(model: nn.Module, name: str) -> Callable[..., Any]:
    """A part of a timm network, by the name of timm's convention."""
    return cast(Callable[..., Any], getattr(model, name))


def classifiers(model: nn.Module) -> tuple[nn.Module, ...]:
    """A timm network's last layers: one, or one a distillation token or a branch."""
    found = called(model, "get_classifier")()
    leaves: list[nn.Module] = []
    for item in found if isinstance(found, (tuple, list)) else [found]:
        leaves += item if isinstance(item, nn.ModuleList) else [item]
    return tuple(
        getattr(leaf, "fc", leaf) for leaf in leaves
    )  # some give the whole head, with its pooling


def overheard(heads: Sequence[nn.Module], run: Callable[[], T]) -> tuple[T, list[Tensor]]:
    """What `run` gives, and what each of `heads` was called with on the way, flat.

    Raises:
        Unheard: One of them was not called.
    """
    inputs: dict[nn.Module, Tensor] = {}

    def hear(head: nn.Module, args: tuple[Tensor, ...]) -> None:
        inputs[head] = args[0].flatten(1)

    handles = [head.register_forward_pre_hook(hear) for head in heads]
    try:
        said = run()
    finally:
        for handle in handles:
            handle.remove()
    if set(heads) - set(inputs):
        raise Unheard("a classifier is not called")
    return said, [inputs[head] for head in heads]
