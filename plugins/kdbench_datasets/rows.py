"""Tables of encoded images -> decoded rows: what the sources that keep Parquet or Arrow files share."""

import hashlib
import io
import re
from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeAlias, final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Int, UInt8
from PIL import Image

from kdbench.api import DataSet, Rows
from kdbench.errors import DataError

Split: TypeAlias = Literal["train", "test"]

CHANNELS = {"1": 1, "L": 1, "LA": 1, "P": 3, "RGB": 3, "RGBA": 3}
"""Channels that an image of each of Pillow's modes has here; transparency is dropped, other modes are refused."""

_SHARD = re.compile(r"-(\d+)-of-(\d+)$")
_BROKEN = (pa.ArrowException, OSError)


def shards(folder: Path, split: str) -> tuple[Path, ...]:
    """The Parquet files of one split, in order: `<split>*.parquet` in `folder`, none if there is none.

    Raises:
        DataError: The names count shards (`-00000-of-00002`) and one is missing.
    """
    files = tuple(sorted(folder.glob(f"{split}*.parquet")))
    counted = [match for file in files if (match := _SHARD.search(file.stem))]
    if counted and (
        len(counted) != len(files) or {int(match[2]) for match in counted} != {len(files)}
    ):
        raise DataError(
            f"{folder.name}: the {split} split has {len(files)} of its {int(counted[0][2])} Parquet files",
            "the number of files differs from the number in their names",
            f"fetch the missing files into {folder}, or remove the surplus ones",
        )
    return files


def content(files: Iterable[Path]) -> str:
    """SHA-256 over the bytes of these files, in order, hex; names and places do not count."""
    digests = (
        _file_digest(str(file), (stat := file.stat()).st_size, stat.st_mtime_ns) for file in files
    )
    return hashlib.sha256("".join(digests).encode()).hexdigest()


@lru_cache(maxsize=1024)
def _file_digest(path: str, size: int, changed: int) -> str:
    """SHA-256 of one file; `size` and `changed` make the cache forget a file that was rewritten."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def open_table(file: Path) -> pq.ParquetFile:
    """An opened Parquet file, its columns not yet read.

    Raises:
        DataError: The file is truncated or no Parquet.
    """
    try:
        return pq.ParquetFile(file, memory_map=True)
    except _BROKEN as error:
        raise _damaged(file, error) from error


def _damaged(file: Path, error: Exception) -> DataError:
    reason = str(error).strip().split("\n")[0]
    what = f"{file.parent.name}/{file.name} cannot be read"
    return DataError(what, f"truncated or no Parquet: {reason}", "fetch it again")


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
        strict: Whether an image with other channels is an error; else gray and color are converted to `shape`'s.
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
        self.name, self.labels, self.digest, self.shape, self.strict = (
            name,
            labels,
            digest,
            shape,
            strict,
        )

    @abstractmethod
    def encoded(self, rows: Sequence[int]) -> Iterator[bytes | None]:
        """The image file of each of these rows."""

    def images(self, rows: Sequence[int]) -> UInt8[np.ndarray, "rows height width channels"]:
        """Decoded pixels of these rows.

        Raises:
            DataError: A row has no image, a broken one, or one of another size or kind; the message names the row.
        """
        channels, height, width = self.shape
        out = np.empty((len(rows), height, width, channels), np.uint8)
        for slot, row, data in zip(out, rows, self.encoded(rows), strict=True):
            with decoded(data, f"{self.name}: row {row}") as image:
                if image.size != (width, height) or (
                    self.strict and CHANNELS[image.mode] != channels
                ):
                    found = (CHANNELS[image.mode], image.height, image.width)
                    raise DataError(
                        f"{self.name}: row {row} has shape {found} instead of {self.shape} (channels, height, width)",
                        "all images of a data set must have one shape",
                        "resize or convert the images when making the Parquet files",
                    )
                slot[...] = np.asarray(image.convert("L" if channels == 1 else "RGB")).reshape(
                    slot.shape
                )
        return out


def decoded(data: bytes | None, what: str) -> Image.Image:
    """The image in `data`, its pixels read.

    Raises:
        DataError: There is none, it is broken, or it is not 8-bit gray or color.
    """
    if not data:
        raise DataError(
            f"{what} has no image",
            "its bytes are empty",
            "embed the image files in the Parquet files",
        )
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{what} cannot be decoded", str(error), "replace that image") from error
    if image.mode not in CHANNELS:
        expected = f"expected one of {', '.join(CHANNELS)}"
        raise DataError(
            f"{what} has Pillow mode {image.mode}", expected, "convert it to 8-bit RGB or gray"
        )
    return image


@final
class ParquetRows(ImageRows):
    """Rows of Parquet files; only the row groups that hold the asked-for rows are read, the last one is kept.

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
            integers(self._read(i, None, label), f"{name}, column {label}")
            for i in range(len(files))
        ]
        super().__init__(name, np.concatenate(labels), content(files), shape, strict=strict)

    def _read(self, i: int, group: int | None, column: str) -> pa.ChunkedArray:
        table = self._tables[i]
        try:
            return (
                table.read([column]) if group is None else table.read_row_group(group, [column])
            ).column(column)
        except _BROKEN as error:
            raise _damaged(self._files[i], error) from error

    def encoded(self, rows: Sequence[int]) -> Iterator[bytes | None]:
        """The image file of each of these rows."""
        for row in rows:
            at = bisect_right(self._starts, row) - 1
            if self._kept is None or self._kept[0] != at:
                self._kept = None  # before reading, so that no two row groups are held
                self._kept = at, file_bytes(self._read(*self._groups[at], self._image))
            yield self._kept[1][row - self._starts[at]].as_py()


@final
class ArrowRows(ImageRows):
    """Rows of a table that is already in memory or memory-mapped, as Hugging Face `datasets` caches it."""

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
    """The bytes of an image column: of the hub's struct of bytes and path, or binary as it stands."""
    return pc.struct_field(column, "bytes") if pa.types.is_struct(column.type) else column
