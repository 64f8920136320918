"""What `kdbench compare` is given: records, stores, or two methods of one store."""

import os
from dataclasses import dataclass
from pathlib import Path

from kdbench.errors import NothingSelected, UsageError
from kdbench.leaderboard import Cell, Comparison, compare, of_method, select
from kdbench.record import Store

__all__ = ["compared"]


@dataclass(frozen=True, slots=True)
class _Side:
    name: str
    cells: list[Cell]


def compared(first: str, second: str, where: str | None, store: Path | None) -> Comparison:
    """The differences between what is given.

    Args:
        first, second: Records' files, folders or names of suites; or else methods of one store.
        where: That store: a folder or a suite's name.
        store: The same, where it is not given so.

    Raises:
        UsageError: One is nothing of it, or they are of two kinds.
        NothingSelected: No trial of one has a partner in the other.
    """
    given = [_given(text) for text in (first, second)] if where is None else [None, None]
    if given[0] and given[1]:
        sides = [side for side in given if side]
    elif given[0] or given[1]:
        other = second if given[0] else first
        raise UsageError(
            f"{other!r} is neither a record nor a store",
            f"{first if given[0] else second} is one, and a method is no partner for it",
            "give two of a kind",
        )
    else:
        sides = _methods(first, second, where, store)
    return compare(sides[0].cells, sides[1].cells, (sides[0].name, sides[1].name))


def _given(text: str) -> _Side | None:
    """The side that is a record's file or a store; None where the text may be a method."""
    path = Path(text).expanduser()
    if text.endswith(".json"):
        from kdbench.cli.picking import pick_file

        return _Side(text, select([pick_file(path).record]))
    if (path / "records").is_dir() or os.sep in text:
        return _Side(text, _read(path))
    from kdbench import suite
    from kdbench.cli.board import folder_of
    from kdbench.cli.selection import store_folder

    named = text in suite.names() or path.suffix == ".toml"
    folder = folder_of(text, None) if named else store_folder(text, None)
    if named or (folder / "records").is_dir():
        return _Side(text, _read(folder))
    return None


def _methods(first: str, second: str, where: str | None, store: Path | None) -> list[_Side]:
    from kdbench.cli.board import folder_of

    if where is None and store is None:
        raise UsageError(
            f"{first} and {second} are methods of no store",
            "neither is a record's file, a folder of records or a suite's name",
            f"say where: kdbench compare {first} {second} FOLDER",
        )
    folder = folder_of(where, store)
    cells, sides = _read(folder), []
    for text in (first, second):
        found = of_method(cells, text)
        if not found:
            have = sorted({cell.question.method for cell in cells})
            raise NothingSelected(
                f"no record of {text} in {folder}", f"it has {', '.join(have)}", "name one of them"
            )
        sides.append(_Side(text, found))
    return sides


def _read(folder: Path) -> list[Cell]:
    records = Store(folder).records()
    if not records:
        raise NothingSelected(
            f"{folder} holds no record", "what is compared is records", "kdbench run writes them"
        )
    return select(records)
