"""A board's files: written, and compared byte for byte with what the records give."""

from pathlib import Path

from kdbench.leaderboard.board import Board
from kdbench.record import write_atomically

_BAD = 0.05
_ROUNDING = 1e-12


def files(board: Board) -> dict[str, bytes]:
    """Content of each file by name, UTF-8."""
    texts = {
        "README.md": board.markdown(),
        "leaderboard.csv": board.csv(),
        "leaderboard.json": board.json(),
    }
    return {name: text.encode() for name, text in texts.items()}


def write(board: Board, folder: Path) -> list[Path]:
    """Write the board's files into `folder`; their paths.

    Raises:
        StoreError: The file system refuses.
    """
    paths = []
    for name, content in files(board).items():
        write_atomically(folder / name, content)
        paths.append(folder / name)
    return paths


def check(board: Board, folder: Path) -> list[str]:
    """What is wrong with the files in `folder`, a line each; empty where they are what the records give."""
    wrong = []
    for name, content in files(board).items():
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
    return wrong + unexplained(board)


def unexplained(board: Board) -> list[str]:
    """Rows of the full board more than 5 points below the first baseline that no note explains, a line each."""
    lines = []
    for table in board.tables:
        for row in table.rows:
            gain = row.gains.get(board.spec.baselines[0]) if board.spec.baselines else None
            if gain and gain.mean < -_BAD - _ROUNDING and not row.note.strip():
                below = f"{-100 * gain.mean:.2f} points below {board.spec.baselines[0]}"
                lines.append(f"{row.name} is {below} ({table.heading}) and no note explains it")
    return lines
