"""Tables of encoded images -> decoded rows: what sources of Parquet or Arrow files share."""

from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int, UInt8

from kdbench.api import DataSet, Rows
from kdbench.errors import DataError
from kdbench_datasets.files import content, open_table, read_column
from kdbench_datasets.image import CHANNELS, decoded

Split: TypeAlias = Literal["train", "test"]


def integers(column: pa.ChunkedArray, what: str) -> Int[np.ndarray, " rows"]:
    """The labels in an Arrow column, int64.

    Raises:
        DataError: The column has no integers, or a row without one.
    """
    if not pa.types.is_integer(column.type):
        raise DataError(
            f"{what}: labels are {column.type}",
            "expected integers",
            "give the column with label=NAME",
        )
    if column.null_count:
        raise DataError(
            f"{what}: {column.null_count} rows have no label",
            "every row needs one",
            "remove those rows",
        )
    return np.ascontiguousarray(column.to_numpy(), dtype=np.int64)


def checked(rows: Rows, data: DataSet, split: Split, name: str) -> Rows:
    """`rows`, after their number and labels were held against the facts of `data`.

    Raises:
        DataError: Wrong number of rows, a label out of range, or a class without a training row.
    """
    if len(rows) != data.sizes[split]:
        raise DataError(
            f"{name}: the {split} split has {len(rows)} rows instead of {data.sizes[split]}",
            "its files are incomplete, or belong to another data set",
            "fetch them again",
        )
    if (wrong := np.flatnonzero((rows.labels < 0) | (rows.labels >= data.num_classes))).size:
        raise DataError(
            f"{name}: row {wrong[0]} of the {split} split has label {rows.labels[wrong[0]]}",
            f"labels must be in 0 ... {data.num_classes - 1}",
            "correct or remove these rows",
        )
    if split == "train" and (absent := np.setdiff1d(np.arange(data.num_classes), rows.labels)).size:
        raise DataError(
            f"{name}: class {absent[0]} has no row in the train split",
            f"all of its {data.num_classes} classes must occur there",
            "add rows of that class, or number the classes without gaps",
        )
    return rows


class ImageRows(Rows):
    """Rows whose images lie encoded (PNG, WebP, JPEG) in a table; each is decoded when asked for.

    Args:
        name: Of the data set, for messages.
        labels: Class of every row.
        digest: Hash of the content, hex.
        shape: Channels, height, width that every image has.
        strict: Whether an image with other channels is an error; else gray and color are converted
            to `shape`'s.
    """

    def __init__(
        self,
        name: str,
        labels: Int[np.ndarray, " rows"],
        digest: str,
        shape: tuple[int, int, int],
        *,
        strict: bool,
    ) -> None:
        self.name, self.labels, self.digest = name, labels, digest
        self.shape, self.strict = shape, strict

    @abstractmethod
    def encoded(self, rows: Sequence[int]) -> Iterator[bytes | None]:
        """The image file of each of these rows."""

    def images(self, rows: Sequence[int]) -> UInt8[np.ndarray, "rows height width channels"]:
        """Decoded pixels of these rows.

        Raises:
            DataError: A row has no image, a broken one, or one of another size or kind; the message
                names the row.
        """
        channels, height, width = self.shape
        out = np.empty((len(rows), height, width, channels), np.uint8)
        for slot, row, data in zip(out, rows, self.encoded(rows), strict=True):
            with decoded(data, f"{self.name}: row {row}") as image:
                own = CHANNELS[image.mode]
                if image.size != (width, height) or (self.strict and own != channels):
                    found = (own, image.height, image.width)
                    raise DataError(
                        f"{self.name}: row {row} has shape {found} instead of {self.shape} "
                        "(channels, height, width)",
                        "all images of a data set must have one shape",
                        "resize or convert the images when making the Parquet files",
                    )
                pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"))
                slot[...] = pixels.reshape(slot.shape)
        return out


@final
class ParquetRows(ImageRows):
    """Rows of Parquet files; only the row groups that hold them are read, the last is kept.

    Args:
        name, shape, strict: As for `ImageRows`.
        files: The split's files, in order.
        image, label: Names of the two columns.
    """

    def __init__(
        self,
        name: str,
        files: Sequence[Path],
        image: str,
        label: str,
        shape: tuple[int, int, int],
        *,
        strict: bool,
    ) -> None:
        self._files, self._image = files, image
        self._tables = [open_table(file) for file in files]
        self._groups = [
            (i, group)
            for i, table in enumerate(self._tables)
            for group in range(table.num_row_groups)
        ]
        lengths = [self._tables[i].metadata.row_group(group).num_rows for i, group in self._groups]
        self._starts = np.cumsum([0, *lengths]).tolist()
        self._kept: tuple[int, pa.ChunkedArray] | None = None
        for file, table in zip(files, self._tables, strict=True):
            if absent := {image, label} - set(table.schema_arrow.names):
                raise DataError(
                    f"{file.parent.name}/{file.name} has no column {min(absent)}",
                    f"its columns are {', '.join(table.schema_arrow.names)}",
                    "fetch it again, or name its columns as expected",
                )
        labels = [
            integers(read_column(table, file, label, None), f"{name}, column {label}")
            for file, table in zip(files, self._tables, strict=True)
        ]
        super().__init__(name, np.concatenate(labels), content(files), shape, strict=strict)

    def encoded(self, rows: Sequence[int]) -> Iterator[bytes | None]:
        """The image file of each of these rows."""
        for row in rows:
            at = bisect_right(self._starts, row) - 1
            if self._kept is None or self._kept[0] != at:
                self._kept = None  # before reading, so that no two row groups are held
                i, group = self._groups[at]
                self._kept = (
                    at,
                    file_bytes(read_column(self._tables[i], self._files[i], self._image, group)),
                )
            yield self._kept[1][row - self._starts[at]].as_py()


@final
class ArrowRows(ImageRows):
    """Rows of a table in memory or memory-mapped, as Hugging Face `datasets` caches it."""

    def __init__(
        self,
        name: str,
        table: pa.Table,
        image: str,
        label: str,
        digest: str,
        shape: tuple[int, int, int],
    ) -> None:
        labels = integers(table.column(label), f"{name}, column {label}")
        super().__init__(name, labels, digest, shape, strict=False)
        self._bytes = file_bytes(table.column(image))

    def encoded(self, rows: Sequence[int]) -> Iterator[bytes | None]:
        """The image file of each of these rows."""
        return (self._bytes[row].as_py() for row in rows)


def file_bytes(column: pa.ChunkedArray) -> Any:  # noqa: ANN401 - pyarrow ships no types
    """The bytes of an image column: the hub's struct of bytes and path, or plain binary."""
    return pc.struct_field(column, "bytes") if pa.types.is_struct(column.type) else column
