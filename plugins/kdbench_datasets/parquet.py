"""A user's own Parquet files, as Hugging Face `datasets` writes them: `parquet[path=FOLDER]`.

The folder holds `train*.parquet` and `test*.parquet`, each with one column of images (of one size)
and one of integer labels. Facts are read from the files: classes from the ClassLabel's names or
else the largest label, shape from the first image, mean and standard deviation from the pixels.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np
import pyarrow as pa

from kdbench.api import DataSet, Rows, hookimpl
from kdbench.errors import DataError
from kdbench_datasets.files import content, open_table, shards
from kdbench_datasets.image import CHANNELS, decoded
from kdbench_datasets.rows import ParquetRows, Split, checked

SAMPLE = 10_000
"""At most so many training rows, evenly spaced, give mean and standard deviation."""


@final
@dataclass(frozen=True)
class Parquet(DataSet):
    """Images and labels from a folder of Parquet files.

    Attributes:
        path: The folder; a relative one starts at the working directory.
        image, label: Names of the columns; may be left out where only one qualifies.
        flips: Whether a mirrored image keeps its class; only the owner of the data knows.
    """

    path: str = ""
    image: str = ""
    label: str = ""
    flips: bool = False

    licence = "of the folder's owner"
    class_tree = None

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self._folder.name

    @cached_property
    def source(self) -> str:  # type: ignore[override]  # a fact of the folder
        """Name of the folder and SHA-256 over its files; never its path."""
        return self.identity

    @cached_property
    def identity(self) -> str:
        """What these data are, wherever they lie: name of the folder, @, SHA-256 over its files."""
        return f"{self.name}@{content([*self._files('train'), *self._files('test')])}"

    @cached_property
    def class_names(self) -> tuple[str, ...]:  # type: ignore[override]  # a fact of the folder
        """The ClassLabel's names, or the labels as text."""
        return self._label_names or tuple(str(label) for label in range(self.num_classes))

    @cached_property
    def num_classes(self) -> int:  # type: ignore[override]  # a fact of the folder
        """Number of the ClassLabel's names, or the largest training label plus 1."""
        return (
            len(self._label_names) or int(self._rows("train", (1, 1, 1)).labels.max(initial=0)) + 1
        )

    @cached_property
    def sizes(self) -> Mapping[str, int]:  # type: ignore[override]  # a fact of the folder
        """Rows of each split."""
        tables = {split: map(open_table, self._files(split)) for split in ("train", "test")}
        return {split: sum(table.metadata.num_rows for table in tables[split]) for split in tables}

    @cached_property
    def image_shape(self) -> tuple[int, int, int]:  # type: ignore[override]  # a fact of the folder
        """Channels, height, width of the first training image."""
        rows = self._rows("train", (1, 1, 1))
        if not len(rows):
            raise DataError(
                f"{self.name} has no training rows", "its train split is empty", "add rows"
            )
        with decoded(next(rows.encoded([0])), f"{self.name}: row 0") as image:
            return CHANNELS[image.mode], image.height, image.width

    @cached_property
    def mean(self) -> tuple[float, ...]:  # type: ignore[override]  # a fact of the folder
        """Mean of the training pixels in [0, 1], a channel each."""
        return self._statistics[0]

    @cached_property
    def std(self) -> tuple[float, ...]:  # type: ignore[override]  # a fact of the folder
        """Standard deviation of the training pixels in [0, 1], a channel each."""
        return self._statistics[1]

    def load(self, root: str, split: Split) -> Rows:
        """The rows of one split; `root` is not used.

        Raises:
            DataError: The folder, a split or a column is missing, a file is truncated, or a label
                out of range.
        """
        return checked(self._rows(split, self.image_shape), self, split, self.name)

    @property
    def _folder(self) -> Path:
        if not self.path:
            raise DataError(
                "parquet has no folder", "its option path is empty", "write parquet[path=FOLDER]"
            )
        folder = Path(self.path).expanduser()
        if not folder.is_dir():
            raise DataError(
                f"{self.path} is no folder",
                "train*.parquet is looked for in it",
                "correct the path",
            )
        return folder.resolve()

    def _files(self, split: str) -> tuple[Path, ...]:
        if files := shards(self._folder, split):
            return files
        raise DataError(
            f"{self.name} has no {split} split",
            f"no file {split}*.parquet in {self.path}",
            "write one, for example with datasets.Dataset.to_parquet",
        )

    def _rows(self, split: Split, shape: tuple[int, int, int]) -> ParquetRows:
        image, label = self._columns
        return ParquetRows(self.name, self._files(split), image, label, shape, strict=True)

    @cached_property
    def _schema(self) -> pa.Schema:
        return open_table(self._files("train")[0]).schema_arrow

    @cached_property
    def _features(self) -> Mapping[str, Any]:
        """The columns as `datasets` describes them in the file; empty if others wrote it."""
        stored = (self._schema.metadata or {}).get(b"huggingface", b"{}")
        features = json.loads(stored).get("info", {}).get("features", {})
        return {name: feature for name, feature in features.items() if isinstance(feature, dict)}

    @cached_property
    def _label_names(self) -> tuple[str, ...]:
        return tuple(self._features.get(self._columns[1], {}).get("names", ()))

    @cached_property
    def _columns(self) -> tuple[str, str]:
        """Names of the image and of the label column."""
        types = {field.name: field.type for field in self._schema}
        images = [name for name, kind in types.items() if _holds_images(kind)]
        integers = [name for name, kind in types.items() if pa.types.is_integer(kind)]
        classes = [
            name for name in integers if self._features.get(name, {}).get("_type") == "ClassLabel"
        ]
        return self._only("image", images), self._only("label", classes or integers)

    def _only(self, role: str, fit: list[str]) -> str:
        asked: str = getattr(self, role)
        if asked in self._schema.names:
            return asked
        if not asked and len(fit) == 1:
            return fit[0]
        columns = ", ".join(f"{field.name} ({field.type})" for field in self._schema)
        raise DataError(
            f"{self.name} has no column {asked!r}"
            if asked
            else f"{self.name}: {len(fit)} columns could be the {role}",
            f"its columns are {columns}",
            f"name it: parquet[path=...,{role}=COLUMN]",
        )

    @cached_property
    def _statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        rows, size = self._rows("train", self.image_shape), self.sizes["train"]
        chosen = np.unique(np.linspace(0, size - 1, min(size, SAMPLE)).astype(np.int64)).tolist()
        # integer sums: the same to the last bit whatever the chunks
        total = squares = np.zeros(self.image_shape[0], np.int64)
        for start in range(0, len(chosen), 256):
            pixels = rows.images(chosen[start : start + 256]).astype(np.int64)
            total, squares = total + pixels.sum((0, 1, 2)), squares + (pixels**2).sum((0, 1, 2))
        count = len(chosen) * self.image_shape[1] * self.image_shape[2]
        mean = total / count
        std = np.sqrt(squares / count - mean**2)
        if not std.all():
            raise DataError(
                f"{self.name}: channel {std.argmin()} is constant", "it carries nothing", "drop it"
            )
        return tuple((mean / 255).tolist()), tuple((std / 255).tolist())


def _holds_images(kind: pa.DataType) -> bool:
    """Whether an Arrow type is the struct of bytes and path of an image, or plain binary."""
    if pa.types.is_struct(kind):
        return int(kind.get_field_index("bytes")) >= 0
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


@hookimpl
def kdbench_datasets() -> Iterator[tuple[str, DataSet]]:
    """The source by name; its folder comes as an option."""
    yield "parquet", Parquet()
