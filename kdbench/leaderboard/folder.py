"""A board's files: written, and compared byte for byte with what the records give."""

import json
from collections.abc import Mapping
from pathlib import Path

from kdbench.errors import NothingSelected
from kdbench.leaderboard.board import Board
from kdbench.leaderboard.metrics import by_record, read_metrics
from kdbench.leaderboard.spec import BoardSpec
from kdbench.leaderboard.speed import read_speeds
from kdbench.leaderboard.tables import build
from kdbench.record import Store, inside, parsed, write_atomically

SPEC = "suite.json"
"""What the suite says, beside the records."""

_BAD = 0.05
_ROUNDING = 1e-12


def read(folder: Path) -> Board:
    """The board of the records in `folder`, their later metrics, and what its `suite.json` says.

    Raises:
        NothingSelected: There is no record; StoreError: a file cannot be read.
    """
    records = Store(folder).records()
    if not records:
        raise NothingSelected(
            f"{folder} holds no record", "a board is made from records", "kdbench run writes them"
        )
    later = by_record(read_metrics(folder).values())
    return build(records, read_spec(folder), speeds=read_speeds(folder), later=later)


def read_spec(folder: Path) -> BoardSpec | None:
    """What the suite says about the board in `folder`; None where nothing does.

    Raises:
        StoreError: The file is not of this schema.
    """
    path = inside(folder, SPEC)
    if not path.exists():
        return None
    what, then = f"{path} does not describe a suite", "remove it: the next run writes it"
    return parsed(BoardSpec, path, what, then)


def write_spec(spec: BoardSpec, folder: Path) -> Path:
    """Put what the suite says beside the records; its path."""
    path = folder / SPEC
    text = json.dumps(spec.model_dump(mode="json"), indent=1, sort_keys=True, ensure_ascii=False)
    write_atomically(path, text.encode() + b"\n")
    return path


def files(board: Board) -> dict[str, bytes]:
    """Content of each file by name, UTF-8."""
    texts = {
        "README.md": board.markdown(),
        "leaderboard.csv": board.csv(),
        "leaderboard.json": board.json(),
        "leaderboard.tex": board.tex(),
    }
    return {name: text.encode() for name, text in texts.items()}


def write(board: Board, folder: Path) -> list[Path]:
    """Write the board's files into `folder`; their paths.

    Raises:
        StoreError: The file system refuses.
    """
    return put(files(board), folder)


def put(contents: Mapping[str, bytes], folder: Path) -> list[Path]:
    """Write these files into `folder`; their paths.

    Raises:
        StoreError: The file system refuses.
    """
    for name, content in contents.items():
        write_atomically(folder / name, content)
    return [folder / name for name in contents]


def check(board: Board, folder: Path) -> list[str]:
    """What is wrong with the files in `folder`, a line each; empty where the records give them."""
    return compared(files(board), folder) + unexplained(board)


def compared(contents: Mapping[str, bytes], folder: Path) -> list[str]:
    """How the files in `folder` differ from what the records give, a line each."""
    wrong = []
    for name, content in contents.items():
        path = folder / name
        if not path.is_file():
            wrong.append(f"{name} is missing")
        elif (found := path.read_bytes()) != content:
            same = zip(
                found.splitlines(keepends=True), content.splitlines(keepends=True), strict=False
            )
            line = next((i for i, (a, b) in enumerate(same, 1) if a != b), None)
            where = f"first at line {line}" if line else "one is cut short"
            wrong.append(f"{name} differs from what the records give, {where}")
    return wrong


def unexplained(board: Board) -> list[str]:
    """Rows over 5 points below the first baseline that no note explains, a line each."""
    lines = []
    for table in board.tables:
        for row in table.own:
            gain = row.gains.get(board.spec.baselines[0]) if board.spec.baselines else None
            if gain and gain.mean < -_BAD - _ROUNDING and not row.note.strip():
                below = f"{-100 * gain.mean:.2f} points below {board.spec.baselines[0]}"
                lines.append(f"{row.name} is {below} ({table.heading}) and no note explains it")
    return lines
