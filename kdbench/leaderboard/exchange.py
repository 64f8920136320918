"""Records on their way from one store to another: as one Parquet file, or out of a folder.

What arrives may come from anyone. Everything is checked before anything is written: a record's name
is that of its content, its bytes are the ones that a store writes, and an artifact is what its hash
says. So two stores merge without losing or doubling a record.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from kdbench.errors import DataError, NothingSelected, StoreError, UsageError
from kdbench.leaderboard.folder import read_spec, write_spec
from kdbench.leaderboard.metrics import MetricValues, read_metrics, write_metric
from kdbench.leaderboard.spec import BoardSpec
from kdbench.leaderboard.text import plain
from kdbench.record import (
    MOST,
    Record,
    Store,
    content,
    inside,
    mistake,
    read_plain,
    write_atomically,
)

__all__ = ["Merged", "Parcel", "from_folder", "merge", "parcelled"]

_LONGEST = 200
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """Checked records with what belongs to them.

    Attributes:
        origin: Where they come from, for messages.
        records: Content of each file by its path in any store.
        artifacts: Files of logits and weights, by content hash.
        metrics: Values that were computed later, by the metric's name.
        spec: What the suite says about its board.
    """

    origin: str
    records: Mapping[str, bytes]
    artifacts: Mapping[str, Path]
    metrics: Mapping[str, MetricValues]
    spec: BoardSpec | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """What a merge did.

    Attributes:
        new, there: Records that were written, and that were there already.
        artifacts: How many were copied.
        kept_spec: Whether the store's suite.json says something else than the parcel's and stayed.
    """

    new: int
    there: int
    artifacts: int
    kept_spec: bool


def parcelled(files: Iterable[tuple[str, bytes]], origin: str, spec: BoardSpec | None) -> Parcel:
    """The records in these files, each checked; a file that is there twice counts once.

    Raises:
        DataError: One is no record, or not the one that its name says.
    """
    records: dict[str, bytes] = {}
    for name, found in files:
        if records.get(name) == found:
            continue
        record = _record(found, name, origin)
        path = Store(Path()).path(record).as_posix()
        if name != path:
            raise _refused(name, origin, f"its content belongs to {plain(path)}")
        if record.fingerprints.question != record.question.fingerprint:
            raise _refused(name, origin, "it names another question than it holds")
        if len(Path(path).name) > _LONGEST:
            raise _refused(name, origin, "no file can have a name so long")
        records[path] = found
    return Parcel(origin=origin, records=records, artifacts={}, metrics={}, spec=spec)


def from_folder(folder: Path) -> Parcel:
    """The records in a folder, with the artifacts they name and the metrics beside them.

    Raises:
        NothingSelected: There are none; DataError, StoreError: a file is not what it says.
    """
    paths = Store(folder).paths()
    if not paths:
        raise NothingSelected(
            f"{folder} holds no record", "a store's folder holds records/", "check the path"
        )
    parcel = parcelled(_files(paths, folder), str(folder), read_spec(folder))
    artifacts = {}
    for digest in sorted(_named(parcel.records.values())):
        path = Store(folder).artifact(digest)
        if path.is_file():
            artifacts[digest] = path
    return Parcel(
        origin=parcel.origin, records=parcel.records, artifacts=artifacts,
        metrics=read_metrics(folder), spec=parcel.spec,
    )  # fmt: skip


def _files(paths: Iterable[Path], folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in paths:
        yield path.relative_to(folder).as_posix(), _bytes(path)


def _bytes(path: Path) -> bytes:
    try:
        return read_plain(path)
    except OSError as error:
        raise StoreError(f"cannot read {path}", str(error), "move it away") from error


def merge(parcel: Parcel, store: Store) -> Merged:
    """Put what a parcel holds into a store; nothing where it does not fit.

    Raises:
        StoreError: A file of that name has another content there.
        DataError: An artifact is damaged.
        UsageError: The store is another suite's.
    """
    spec = _spec(parcel, store.root)
    new = []
    for name, found in parcel.records.items():
        path = inside(store.root, *name.split("/"))
        if not path.exists():
            new.append((path, found))
        elif _bytes(path) != found:
            raise StoreError(
                f"{path} has another content than in {parcel.origin}",
                "one of the two was changed after it was written; nothing is imported",
                "restore the one that was changed: kdbench leaderboard names it",
            )
    wanted = {digest: store.artifact(digest) for digest in parcel.artifacts}
    absent = {digest: path for digest, path in wanted.items() if not path.exists()}
    for digest in absent:
        if hashlib.sha256(parcel.artifacts[digest].read_bytes()).hexdigest() != digest:
            raise DataError(
                f"{parcel.artifacts[digest]} is damaged",
                "its content is not what its name says; nothing is imported",
                "restore the file, or move it away",
            )
    there = read_metrics(store.root)
    if spec:
        write_spec(spec, store.root)
    for digest, path in absent.items():
        write_atomically(path, parcel.artifacts[digest].read_bytes())
    for path, found in new:
        write_atomically(path, found)
    for name, values in parcel.metrics.items():
        write_metric(there[name].joined(values) if name in there else values, store.root)
    mine = read_spec(store.root)
    return Merged(
        new=len(new), there=len(parcel.records) - len(new), artifacts=len(absent),
        kept_spec=parcel.spec is not None and mine != parcel.spec and not spec,
    )  # fmt: skip


def _spec(parcel: Parcel, root: Path) -> BoardSpec | None:
    """What is to be written about the board: with the seeds of both where they say the same."""
    theirs, mine = parcel.spec, read_spec(root)
    if theirs is None or mine is None:
        return theirs
    if theirs.suite != mine.suite:
        raise UsageError(
            f"{root} holds records of suite {mine.suite!r}",
            f"suite {theirs.suite!r} would be mixed into its board",
            "choose another place with --store",
        )
    seeds = tuple(sorted({*mine.seeds, *theirs.seeds}))
    joined = mine.model_copy(update={"seeds": seeds})
    alike = joined == theirs.model_copy(update={"seeds": seeds})
    return joined if alike and joined != mine else None


def _record(found: bytes, name: str, origin: str) -> Record:
    try:
        if len(found) > MOST:
            raise ValueError(f"it has more than {MOST:,} bytes")
        record = Record.model_validate_json(found)
        if found != content(record):
            raise ValueError("its bytes are not those that a store writes")
    except ValueError as error:
        raise _refused(name, origin, mistake(error)) from error
    return record


def _refused(name: str, origin: str, why: str) -> DataError:
    return DataError(
        f"{plain(name)} in {origin} is no record of that name",
        plain(why),
        "nothing is imported: ask whoever gave it for another copy",
    )


def _named(records: Iterable[bytes]) -> set[str]:
    """Content hashes that these records name."""
    found = set()
    for one in records:
        record = Record.model_validate_json(one)
        hashes = (
            record.logits,
            record.deployed.weights if record.deployed else "",
            record.teacher.logits if record.teacher else "",
        )
        found |= {digest for digest in hashes if _HASH.fullmatch(digest)}
    return found
