"""What a network is, in numbers that do not depend on its weights."""

import hashlib
from typing import TypedDict

from kdbench.models.network import Network
from kdbench.record import canonical


class Description(TypedDict):
    """A network's size.

    Attributes:
        params: Number of trainable weights of the bare network.
        multiply_adds: Of convolutions, linear layers and attention, for one image.
        fingerprint: SHA-256, hex, of the names and shapes of all weights and buffers and of the
            multiply-adds.
    """

    params: int
    multiply_adds: int
    fingerprint: str


def describe(network: Network) -> Description:
    """Size and fingerprint of a network at its data set's image size.

    Example:
        >>> from kdbench.record import Spec
        >>> from kdbench.models import create
        >>> gray = {"image_shape": (1, 8, 8), "mean": [0.3], "std": [0.4]}
        >>> network = create(Spec("test_resnet"), num_classes=10, **gray)
        >>> describe(network)["params"]
        373370
    """
    model = network.model
    shapes = sorted(
        (name, list(tensor.shape))
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]
    )
    asked = canonical([shapes, network.reading.multiply_adds])
    return Description(
        params=sum(weight.numel() for weight in model.parameters()),
        multiply_adds=network.reading.multiply_adds,
        fingerprint=hashlib.sha256(asked.encode()).hexdigest(),
    )
