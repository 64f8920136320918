"""CIFAR-10, CIFAR-100, MNIST and Fashion-MNIST: small images, read without a network.

`load` looks into `$KDBENCH_DATA/<name>/` (`train*.parquet`, `test*.parquet`, the hub's columns),
then into the cache of Hugging Face `datasets`. `prepare` alone may download.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, final

from kdbench.api import DataSet, Rows, hookimpl
from kdbench.errors import DataError
from kdbench_datasets.files import content, shards
from kdbench_datasets.rows import ArrowRows, ParquetRows, Split, checked

if TYPE_CHECKING:
    from datasets import Dataset

_SWITCH = Lock()


class HubImages(DataSet):
    """A data set of the hub with one image and one label column; a subclass states the facts.

    Attributes:
        name: Of the folder in `$KDBENCH_DATA`.
        hub: Name on the hub.
        image, label: Names of the columns.
    """

    name: ClassVar[str]
    hub: ClassVar[str]
    image: ClassVar[str]
    label: ClassVar[str]

    def prepare(self, root: str) -> None:
        """Download what is missing.

        It becomes Parquet in `root`/<name>; without a root it stays in the cache of `datasets`.
        """
        folder = Path(root) / self.name
        missing = [
            split
            for split in self.sizes
            if not (root and shards(folder, split)) and not self._cached(split)
        ]
        if not missing:
            return
        from datasets import load_dataset  # half a second; offline runs from Parquet do without

        for split in missing:
            try:
                table = load_dataset(self.hub, split=split)
            except (OSError, ValueError, RuntimeError) as error:
                raise DataError(
                    f"{self.name} cannot be fetched", f"{self.hub}: {error}", self._advice()
                ) from error
            if root:
                folder.mkdir(parents=True, exist_ok=True)
                whole, part = folder / f"{split}.parquet", folder / f".{split}.parquet.part"
                table.to_parquet(part)
                part.replace(whole)

    def load(self, root: str, split: Split) -> Rows:
        """The rows of one split, from local files alone.

        Raises:
            DataError: There are none, or they are not what the facts say.
        """
        folder = Path(root) / self.name
        if root and any(folder.glob("*.parquet")):
            if not (files := shards(folder, split)):
                raise DataError(
                    f"{self.name} has no {split} split",
                    f"no {split}*.parquet in {folder}",
                    self._advice(),
                )
            rows: Rows = ParquetRows(
                self.name, files, self.image, self.label, self.image_shape, strict=False
            )
        elif table := self._cached(split):
            digest = content(Path(file["filename"]) for file in table.cache_files)
            arrow = table.with_format("arrow")[:]
            rows = ArrowRows(self.name, arrow, self.image, self.label, digest, self.image_shape)
        else:
            place = folder if root else "$KDBENCH_DATA (unset)"
            raise DataError(
                f"{self.name} is not on this machine",
                f"neither in {place} nor as {self.hub} in Hugging Face's cache",
                self._advice(),
            )
        return checked(rows, self, split, self.name)

    def _advice(self) -> str:
        return (
            f"kdbench prepare {self.name} (needs a network), or put train*.parquet and "
            f"test*.parquet of {self.hub} into $KDBENCH_DATA/{self.name}/"
        )

    def _cached(self, split: str) -> "Dataset | None":
        """The split in the cache of `datasets`, or None."""
        from datasets import load_dataset  # half a second; runs from Parquet do without

        with _offline():
            try:
                return load_dataset(self.hub, split=split)
            except (OSError, ValueError):  # not cached, or only another split of it
                return None


@contextmanager
def _offline() -> Iterator[None]:
    """Hugging Face libraries without network: their switch is read once, at import."""
    import datasets
    from huggingface_hub import constants

    modules: tuple[Any, ...] = (datasets.config, constants)
    with _SWITCH:
        before = [module.HF_HUB_OFFLINE for module in modules]
        verbosity = datasets.logging.get_verbosity()
        datasets.logging.set_verbosity_error()  # that the cache is used is what was asked for
        try:
            for module in modules:
                module.HF_HUB_OFFLINE = True
            yield
        finally:
            for module, value in zip(modules, before, strict=True):
                module.HF_HUB_OFFLINE = value
            datasets.logging.set_verbosity(verbosity)


@final
@dataclass(frozen=True)
class CIFAR10(HubImages):
    """Photographs of 10 kinds, 32 x 32 (Krizhevsky 2009, Learning Multiple Layers of Features)."""

    name, hub, image, label = "cifar10", "uoft-cs/cifar10", "img", "label"
    num_classes = 10
    image_shape = (3, 32, 32)
    sizes = MappingProxyType({"train": 50_000, "test": 10_000})
    mean = (0.4914, 0.4822, 0.4465)
    std = (0.2470, 0.2435, 0.2616)
    flips = True
    class_names = (
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    )
    class_tree = None
    licence = "none stated; the authors ask for citation"
    source = "https://www.cs.toronto.edu/~kriz/cifar.html"


@final
@dataclass(frozen=True)
class CIFAR100(HubImages):
    """Photographs of 100 kinds, 32 x 32 (Krizhevsky 2009, Learning Multiple Layers of Features)."""

    name, hub, image, label = "cifar100", "uoft-cs/cifar100", "img", "fine_label"
    num_classes = 100
    image_shape = (3, 32, 32)
    sizes = MappingProxyType({"train": 50_000, "test": 10_000})
    mean = (0.5071, 0.4867, 0.4408)
    std = (0.2675, 0.2565, 0.2761)
    flips = True
    class_names = (
        "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle",
        "bottle", "bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle",
        "caterpillar", "cattle", "chair", "chimpanzee", "clock", "cloud", "cockroach", "couch",
        "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish", "forest", "fox",
        "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard", "lion",
        "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse", "mushroom",
        "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree",
        "plain", "plate", "poppy", "porcupine", "possum", "rabbit", "raccoon", "ray", "road",
        "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper", "snail", "snake",
        "spider", "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank",
        "telephone", "television", "tiger", "tractor", "train", "trout", "tulip", "turtle",
        "wardrobe", "whale", "willow_tree", "wolf", "woman", "worm",
    )  # fmt: skip
    class_tree = (
        4, 1, 14, 8, 0, 6, 7, 7, 18, 3, 3, 14, 9, 18, 7, 11, 3, 9, 7, 11, 6, 11, 5, 10, 7, 6, 13,
        15, 3, 15, 0, 11, 1, 10, 12, 14, 16, 9, 11, 5, 5, 19, 8, 8, 15, 13, 14, 17, 18, 10, 16, 4,
        17, 4, 2, 0, 17, 4, 18, 17, 10, 3, 2, 12, 12, 16, 12, 1, 9, 19, 2, 10, 0, 1, 16, 12, 9, 13,
        15, 13, 16, 19, 2, 4, 6, 19, 5, 5, 8, 19, 18, 1, 2, 15, 6, 0, 17, 8, 14, 13,
    )  # fmt: skip
    licence = "none stated; the authors ask for citation"
    source = "https://www.cs.toronto.edu/~kriz/cifar.html"


@final
@dataclass(frozen=True)
class MNIST(HubImages):
    """Handwritten digits, 28 x 28 gray (LeCun et al. 1998, doi:10.1109/5.726791)."""

    name, hub, image, label = "mnist", "ylecun/mnist", "image", "label"
    num_classes = 10
    image_shape = (1, 28, 28)
    sizes = MappingProxyType({"train": 60_000, "test": 10_000})
    mean = (0.1307,)
    std = (0.3081,)
    flips = False
    class_names = tuple("0123456789")
    class_tree = None
    licence = "MIT, as the hub states"
    source = "https://huggingface.co/datasets/ylecun/mnist"


@final
@dataclass(frozen=True)
class FashionMNIST(HubImages):
    """Articles of clothing, 28 x 28 gray (Xiao, Rasul & Vollgraf 2017, arXiv:1708.07747)."""

    name, hub, image, label = "fashion_mnist", "zalando-datasets/fashion_mnist", "image", "label"
    num_classes = 10
    image_shape = (1, 28, 28)
    sizes = MappingProxyType({"train": 60_000, "test": 10_000})
    mean = (0.2860,)
    std = (0.3530,)
    flips = True
    class_names = (
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
        "Ankle boot",
    )  # fmt: skip
    class_tree = None
    licence = "MIT"
    source = "https://github.com/zalandoresearch/fashion-mnist"


@hookimpl
def kdbench_datasets() -> Iterator[tuple[str, DataSet]]:
    """The four data sets by name."""
    yield "cifar10", CIFAR10()
    yield "cifar100", CIFAR100()
    yield "mnist", MNIST()
    yield "fashion_mnist", FashionMNIST()
