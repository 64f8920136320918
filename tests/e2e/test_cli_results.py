"""`export-results` and `import`, as users run them: no torch, to the byte, errors said shortly."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas
import pytest

from kdbench.record import Store

ALONE = """
import sys
from kdbench.cli import main
code = main(sys.argv[1:])
heavy = {"torch", "timm", "datasets", "kdbench.registry"} & set(sys.modules)
sys.exit(f"imported {heavy}" if heavy else code)
"""


def ran(*arguments: Any, cwd: Path) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if k != "KDBENCH_STORE"}
    return subprocess.run(
        [sys.executable, "-c", ALONE, *map(str, arguments)], env=kept, cwd=cwd,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def files(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*.json")}


@pytest.fixture
def board(kdbench_root: Path) -> Path:
    return kdbench_root / "leaderboards" / "digits-self"


def test_a_board_goes_out_and_comes_back_to_the_byte(board: Path, tmp_path: Path) -> None:
    out = ran("export-results", board, "board.parquet", cwd=tmp_path)
    assert (out.returncode, out.stderr) == (0, "")
    assert out.stdout == "wrote board.parquet: 80 records\n"
    frame = pandas.read_parquet(tmp_path / "board.parquet")
    assert len(frame) == 80
    assert frame["quality.accuracy"].between(0, 1).all()
    made = ran("import", "board.parquet", "--store", "mine", cwd=tmp_path)
    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout.splitlines()[0] == "80 records imported, 0 were there"
    assert files(tmp_path / "mine/records") == files(board / "records")
    again = ran("import", board, "--store", "mine", "--json", cwd=tmp_path)
    assert json.loads(again.stdout)["data"] == {
        "store": "mine", "new": 0, "there": 80, "artifacts": 0,
    }  # fmt: skip
    assert files(tmp_path / "mine/records") == files(board / "records")
    shown = ran("leaderboard", "mine", "--csv", cwd=tmp_path)
    assert shown.returncode == 0
    assert shown.stdout == (board / "leaderboard.csv").read_text()


def test_a_selection_made_in_pandas_is_imported(board: Path, tmp_path: Path) -> None:
    ran("export-results", board, "board.parquet", cwd=tmp_path)
    frame = pandas.read_parquet(tmp_path / "board.parquet")
    frame[frame["question.method"] == "kd"].to_parquet(tmp_path / "kd.parquet")
    made = ran("import", "kd.parquet", "--store", "mine", cwd=tmp_path)
    assert (made.returncode, made.stderr) == (0, "")
    assert {r.question.method for r in Store(tmp_path / "mine").records()} == {"kd"}


@pytest.mark.parametrize(
    ("ask", "code", "what"),
    [
        (("export-results", "BOARD", "board.csv"), 2, "error: board.csv does not end in .parquet"),
        (("export-results", "empty", "b.parquet"), 5, "error: empty holds no record"),
        (("import", "BOARD"), 2, "error: import into which store?"),
        (("import", "gone.parquet", "--store", "mine"), 4, "error: cannot read gone.parquet"),
        (("import", "bad.parquet", "--store", "mine"), 4, "error: bad.parquet is no export"),
        (("import", "evil.parquet", "--store", "mine"), 4, "error: ../../x.json in evil.parquet"),
        (("import", "empty", "--store", "mine"), 5, "error: empty holds no record"),
    ],
)
def test_what_cannot_be_done_is_said_in_three_lines_and_writes_nothing(
    ask: tuple[str, ...], code: int, what: str, board: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    record = next(board.glob("records/*/*/*.json")).read_text()
    pandas.DataFrame({"a": [1]}).to_parquet(tmp_path / "bad.parquet")
    evil = pandas.DataFrame({"file": ["../../x.json"], "record": [record]})
    evil.to_parquet(tmp_path / "evil.parquet")
    made = ran(*(str(board) if one == "BOARD" else one for one in ask), cwd=tmp_path)
    assert made.returncode == code
    assert made.stderr.startswith(what)
    assert len(made.stderr.splitlines()) == 3
    assert {path.name for path in tmp_path.iterdir()} == {"empty", "bad.parquet", "evil.parquet"}
