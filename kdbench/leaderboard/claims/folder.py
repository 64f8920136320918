"""A report's files: written, and compared byte for byte with what the records give."""

from pathlib import Path

from kdbench.leaderboard.claims.report import Answered
from kdbench.leaderboard.folder import compared, put


def files(report: Answered) -> dict[str, bytes]:
    """Content of each file by name, UTF-8."""
    return {"REPORT.md": report.markdown().encode(), "report.json": report.json().encode()}


def write(report: Answered, folder: Path) -> list[Path]:
    """Write the report's files into `folder`; their paths.

    Raises:
        StoreError: The file system refuses.
    """
    return put(files(report), folder)


def check(report: Answered, folder: Path) -> list[str]:
    """What is wrong with the files in `folder`, a line each; empty where the records give them."""
    return compared(files(report), folder)
