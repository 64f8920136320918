"""A board's records as one Parquet file: flat columns to read, and each record's whole file."""

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kdbench.errors import DataError, NothingSelected, StoreError
from kdbench.leaderboard.cells import record_id
from kdbench.leaderboard.exchange import Parcel, parcelled
from kdbench.leaderboard.folder import read_spec
from kdbench.leaderboard.metrics import read_metrics
from kdbench.leaderboard.spec import BoardSpec
from kdbench.leaderboard.text import plain
from kdbench.record import MOST, Store, canonical, content, mistake, write_atomically

__all__ = ["read_parquet", "write_parquet"]

FILE: Final = "file"
"""Column of a record's path in any store."""

RECORD: Final = "record"
"""Column of a record's whole file."""

_SPEC = b"kdbench.suite"
_WHOLE = ("question.hyperparameters", "deployed.options")
_INT64 = 2**63
_AT_ONCE = 16  # rows: one that is stored once and meant often takes its size each time
_ROWS = 1_000_000
_TEXT = ("string", "large_string", "string_view")  # as pandas writes what it has filtered


def write_parquet(folder: Path, file: Path) -> int:
    """Write the records in `folder` as one file, in the order of their names; how many they are.

    Columns are named as in the JSON, by points; lists are in the whole record alone, and open
    tables of hyperparameters are JSON text. Metrics that were computed later are `later.NAME`.

    Raises:
        NothingSelected: There is no record; StoreError: one cannot be read, or `file` not written.
    """
    store = Store(folder)
    records = store.records()
    if not records:
        raise NothingSelected(
            f"{folder} holds no record", "a board is made from records", "kdbench run writes them"
        )
    later = read_metrics(folder)
    rows = []
    for record in records:
        identity = record_id(record)
        values = {f"later.{n}": m.shown[identity] for n, m in later.items() if identity in m.shown}
        rows.append({
            FILE: store.path(record).relative_to(folder).as_posix(),
            **_flat(record.model_dump(mode="json")), **values, RECORD: content(record).decode(),
        })  # fmt: skip
    names = [FILE, *sorted({key for row in rows for key in row} - {FILE, RECORD}), RECORD]
    table = pa.table({name: _array([row.get(name) for row in rows]) for name in names})
    if spec := read_spec(folder):
        table = table.replace_schema_metadata({_SPEC: spec.model_dump_json().encode()})
    target = io.BytesIO()
    pq.write_table(table, target, compression="zstd")
    write_atomically(file, target.getvalue())
    return len(records)


def read_parquet(file: Path) -> Parcel:
    """The records in a file that `write_parquet` wrote, each checked.

    Raises:
        StoreError: It cannot be read; DataError: it is no such file, or a record is not what it
            says.
    """
    try:
        with pq.ParquetFile(file) as opened:
            schema, metadata = opened.schema_arrow, opened.schema_arrow.metadata or {}
            for name in (FILE, RECORD):
                kinds = [str(field.type) for field in schema if field.name == name]
                if len(kinds) != 1 or kinds[0] not in _TEXT:
                    raise _no_export(file, f"it has no column {name!r} of text")
            if opened.metadata.num_rows > _ROWS:
                raise _no_export(file, f"it has more than {_ROWS:,} rows")
            spec = _spec(metadata, file)
            return parcelled(_rows(opened, file), str(file), spec)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise _no_export(file, plain(str(error).partition("\n")[0])) from error
    except OSError as error:
        raise StoreError(f"cannot read {file}", plain(str(error)), "check the path") from error


def _rows(opened: pq.ParquetFile, file: Path) -> Iterator[tuple[str, bytes]]:
    for batch in opened.iter_batches(batch_size=_AT_ONCE, columns=[FILE, RECORD]):
        sizes = [pc.binary_length(column) for column in batch.columns]
        if any((pc.max(one).as_py() or 0) > MOST for one in sizes):
            raise _no_export(file, f"a row has more than {MOST:,} bytes")
        found = batch.to_pydict()
        for name, text in zip(found[FILE], found[RECORD], strict=True):
            if name is None or text is None:
                raise _no_export(file, "a row has no record")
            yield name, text.encode()


def _spec(metadata: Mapping[bytes, bytes], file: Path) -> BoardSpec | None:
    if _SPEC not in metadata:
        return None
    try:
        if len(metadata[_SPEC]) > MOST:
            raise ValueError(f"more than {MOST:,} bytes")
        return BoardSpec.model_validate_json(metadata[_SPEC])
    except ValueError as error:
        why = f"what it says about its suite cannot be read: {plain(mistake(error))}"
        raise _no_export(file, why) from error


def _no_export(file: Path, why: str) -> DataError:
    return DataError(
        f"{file} is no export of records", why, "kdbench export-results writes such files"
    )


def _flat(values: Mapping[str, Any], place: str = "") -> dict[str, Any]:
    """Scalars by the path to them."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{place}{key}"
        if name in _WHOLE:
            found[name] = canonical(value)
        elif isinstance(value, dict):
            found |= _flat(value, f"{name}.")
        elif value is not None and not isinstance(value, list):
            found[name] = value
    return found


def _array(values: Sequence[Any]) -> pa.Array:
    """A column of one type: truth, whole numbers, numbers, or else text."""
    known = [value for value in values if value is not None]
    if all(isinstance(value, bool) for value in known):
        return pa.array(values, pa.bool_())
    if all(type(value) is int and -_INT64 <= value < _INT64 for value in known):
        return pa.array(values, pa.int64())
    if all(type(value) in (int, float) for value in known):
        return pa.array([None if v is None else float(v) for v in values], pa.float64())
    return pa.array([None if v is None else str(v) for v in values], pa.string())
