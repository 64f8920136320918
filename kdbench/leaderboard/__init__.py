"""Records -> tables: Markdown, CSV, JSON and a short text, from nothing else; no torch.

The same records give the same bytes, whatever the order of files, the locale or the clock. `spec`
is what a suite says about its board, `cells` chooses the records that count, `tables` and `rows`
compute what `board` holds, the other modules write it.

The package is a function too: `kdbench.leaderboard(folder)` is the board of the records there.
"""

import sys
from pathlib import Path
from types import ModuleType

from kdbench.leaderboard.board import Board, Expense, Gap, Overall, Row, Table
from kdbench.leaderboard.cells import Cell, record_id, select
from kdbench.leaderboard.differences import Comparison, compare
from kdbench.leaderboard.folder import check, files, read, read_spec, unexplained, write, write_spec
from kdbench.leaderboard.limit import Limit
from kdbench.leaderboard.metrics import by_record, read_metrics
from kdbench.leaderboard.pairing import of_method
from kdbench.leaderboard.selection import left_out, selected, view_of
from kdbench.leaderboard.spec import About, BoardSpec, Variation
from kdbench.leaderboard.speed import Figure, Step, name_of, read_speeds, steps, write_speed
from kdbench.leaderboard.tables import build
from kdbench.leaderboard.view import WHOLE, View

__all__ = [
    "WHOLE",
    "About",
    "Board",
    "BoardSpec",
    "Cell",
    "Comparison",
    "Expense",
    "Figure",
    "Gap",
    "Limit",
    "Overall",
    "Row",
    "Step",
    "Table",
    "Variation",
    "View",
    "build",
    "by_record",
    "check",
    "compare",
    "files",
    "left_out",
    "name_of",
    "of_method",
    "read",
    "read_metrics",
    "read_spec",
    "read_speeds",
    "record_id",
    "select",
    "selected",
    "steps",
    "unexplained",
    "view_of",
    "write",
    "write_spec",
    "write_speed",
]  # fmt: skip


class _Callable(ModuleType):
    """Callable, as it hides the function of this name in `kdbench` once it is imported."""

    def __call__(self, folder: str | Path) -> Board:
        return read(Path(folder))


sys.modules[__name__].__class__ = _Callable
