"""What papers claim against what records say: verdicts with reasons, computed and never typed.

`lookup` finds the rows that a claim speaks of, `findings` computes contrasts, `verdicts` judges
them, `teachers` and `runs` say what they rest on; `report` holds all of it, and the other modules
write it. The same records give the same bytes.
"""

from kdbench.leaderboard.claims.findings import Figure, Finding, Shown, finding, shown
from kdbench.leaderboard.claims.folder import check, files, write
from kdbench.leaderboard.claims.report import Answered, answered
from kdbench.leaderboard.claims.units import CONTRASTS, FIGURES, Unit
from kdbench.leaderboard.claims.verdicts import WORDS, Verdict, judged

__all__ = [
    "CONTRASTS", "FIGURES", "WORDS", "Answered", "Figure", "Finding", "Shown", "Unit", "Verdict",
    "answered", "check", "files", "finding", "judged", "shown", "write",
]  # fmt: skip
