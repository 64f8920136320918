"""How often the students of two methods say the same class: from the logits that a store keeps.

Boards are committed without logits. What was computed where they lie is kept beside the records in
one small file, found again by the hashes of the logits that it came from.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self, TypeAlias

import numpy as np
from pydantic import Field, model_validator
from safetensors import SafetensorError
from safetensors.numpy import load

from kdbench.leaderboard.board import Board, Row, Table
from kdbench.record import Frozen, Store, fingerprint, inside, parsed, write_atomically

FILE = "agreements.json"

Classes: TypeAlias = np.ndarray[tuple[int], np.dtype[np.int64]]
Matrix: TypeAlias = np.ndarray[tuple[int, int], np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of a table's rows with each other.

    Attributes:
        names: Of the rows, in the table's order.
        values: Share of the measured rows on which two students of the same seed say the same
            class, mean over seeds; symmetric, in [0, 1].
    """

    names: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class Agreements:
    """Of a board.

    Attributes:
        tables: In the order of the board's tables; None where `missing` says why.
        missing: By the table's place, why it has none.
    """

    tables: tuple[Agreement | None, ...]
    missing: Mapping[int, str]


class _Kept(Frozen):
    """One table in the file: digests of its rows' logits, and the triangle below the diagonal."""

    rows: tuple[str, ...]
    values: tuple[tuple[Annotated[float, Field(ge=0, le=1)], ...], ...]

    @model_validator(mode="after")
    def _triangle(self) -> Self:
        if [len(line) for line in self.values] != list(range(len(self.rows))):
            raise ValueError("every row must have a value for each one before it")
        return self


class _File(Frozen):
    schema_version: Literal[1] = 1
    tables: tuple[_Kept, ...] = ()


def agreements(board: Board, folder: Path) -> Agreements | None:
    """Of each table, from the logits in the folder's store, or else from the file beside them.

    None where the folder has neither.

    Raises:
        StoreError: The file is not one of these.
    """
    kept, store = _read(inside(folder, FILE)), Store(folder)
    if kept is None and not (folder / "artifacts").is_dir():
        return None
    found: list[Agreement | None] = []
    missing = {}
    for place, table in enumerate(board.tables):
        one = _computed(table, store)
        if isinstance(one, str):
            known = _known(table, kept)
            one = known if isinstance(known, Agreement) else f"{one}, and {known}"
        if isinstance(one, str):
            missing[place] = one
        found.append(one if isinstance(one, Agreement) else None)
    return Agreements(tuple(found), missing)


def keep(board: Board, found: Agreements, folder: Path) -> Path:
    """Write the file; its path. What it says of rows that the board has no more is dropped."""
    tables = [
        {
            "rows": [digest(row) for row in table.rows],
            "values": [list(line[:i]) for i, line in enumerate(one.values)],
        }
        for table, one in zip(board.tables, found.tables, strict=True)
        if one is not None
    ]
    text = json.dumps({"schema_version": 1, "tables": tables}, separators=(",", ":"))
    write_atomically(folder / FILE, text.encode() + b"\n")
    return folder / FILE


def digest(row: Row) -> str:
    """SHA-256 over the hashes of a row's logits by seed: what the file finds it by."""
    return fingerprint([[record.question.seed, record.logits] for record in row.records])


def _read(path: Path) -> _File | None:
    if not path.exists():
        return None
    what, then = f"{path} does not say agreements", "remove it: where logits are, it is made"
    return parsed(_File, path, what, then)


def _known(table: Table, kept: _File | None) -> Agreement | str:
    """What the file says of these rows, or why it does not."""
    if kept is None:
        return f"there is no {FILE}"
    rows = [digest(row) for row in table.rows]
    for one in kept.tables:
        place = {row: i for i, row in enumerate(one.rows)}
        if not place.keys() >= {*rows}:
            continue
        where = [place[row] for row in rows]
        values = tuple(
            tuple(1.0 if a == b else one.values[max(a, b)][min(a, b)] for b in where) for a in where
        )
        return Agreement(tuple(row.name for row in table.rows), values)
    return f"{FILE} is of other students"


def _computed(table: Table, store: Store) -> Agreement | str:
    """From the logits, or why not."""
    if len(table.rows) < 2:
        return "it takes two methods"
    matrices = list[Matrix]()
    for place, seed in enumerate(table.seeds):
        said = list[Classes]()
        for row in table.rows:
            one = _said(row.records[place].logits, store)
            if isinstance(one, str):
                return f"{row.name}, seed {seed}: {one}"
            said.append(one)
        if len({len(one) for one in said}) > 1:
            return f"seed {seed}: the students were measured on different rows"
        matrices.append(_same(said))
    mean = np.mean(matrices, axis=0)
    values = tuple(tuple(round(float(value), 6) for value in line) for line in mean)
    return Agreement(tuple(row.name for row in table.rows), values)


def _said(logits: str, store: Store) -> Classes | str:
    """The class that each row got, or why that is not known."""
    path = store.artifact(logits)
    if not logits or not path.is_file():
        return "its logits are not here"
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != logits:
        return "its logits are not those of the record"
    try:
        said = load(content)["logits"]
    except (SafetensorError, KeyError, TypeError):  # of a type that numpy does not have, too
        return "its logits cannot be read"
    if said.ndim != 2 or not said.size:
        return "its logits cannot be read"
    found: Classes = np.argmax(said, axis=1)
    return found


def _same(said: Sequence[Classes]) -> Matrix:
    """Share of the rows on which two say the same class."""
    whole = np.stack(said)
    return np.stack([(whole == one).mean(axis=1) for one in whole])
