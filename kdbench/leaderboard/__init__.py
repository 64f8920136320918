"""Records -> tables: Markdown, CSV, JSON and a short text, from the records and nothing else; no torch.

The same records give the same bytes, whatever the order of files, the locale or the clock. `spec` is what a suite says
about its board, `cells` chooses the records that count, `tables` and `rows`
compute what `board` holds, the other modules write it.
"""

from kdbench.leaderboard.board import Board, Expense, Gap, Row, Table
from kdbench.leaderboard.cells import record_id
from kdbench.leaderboard.folder import check, files, unexplained, write
from kdbench.leaderboard.spec import BoardSpec
from kdbench.leaderboard.tables import build

__all__ = [
    "Board", "BoardSpec", "Expense", "Gap", "Row", "Table", "build", "check", "files", "record_id", "unexplained",
    "write",
]  # fmt: skip
