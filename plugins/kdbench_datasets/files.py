"""Parquet files of one split -> their columns, and what identifies their content."""

import hashlib
import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from kdbench.errors import DataError

_SHARD = re.compile(r"-(\d+)-of-(\d+)$")
_BROKEN = (pa.ArrowException, OSError)


def shards(folder: Path, split: str) -> tuple[Path, ...]:
    """The Parquet files of one split, in order: `<split>*.parquet` in `folder`, maybe none.

    Raises:
        DataError: The names count shards (`-00000-of-00002`) and one is missing.
    """
    files = tuple(sorted(folder.glob(f"{split}*.parquet")))
    counted = [match for file in files if (match := _SHARD.search(file.stem))]
    if counted and (
        len(counted) != len(files) or {int(match[2]) for match in counted} != {len(files)}
    ):
        raise DataError(
            f"{folder.name}: the {split} split has {len(files)} of its {int(counted[0][2])} "
            "Parquet files",
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


def read_column(table: pq.ParquetFile, file: Path, name: str, group: int | None) -> pa.ChunkedArray:
    """One column of an opened Parquet file, whole or of one row group.

    Raises:
        DataError: The file is damaged.
    """
    try:
        read = table.read([name]) if group is None else table.read_row_group(group, [name])
    except _BROKEN as error:
        raise _damaged(file, error) from error
    return read.column(name)


def _damaged(file: Path, error: Exception) -> DataError:
    reason = str(error).strip().split("\n")[0]
    what = f"{file.parent.name}/{file.name} cannot be read"
    return DataError(what, f"truncated or no Parquet: {reason}", "fetch it again")
