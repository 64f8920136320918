"""`compare`, as a user runs it: on the committed boards, in JSON, with limits, and from Python."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import kdbench

ALONE = """
import sys
from kdbench.cli import main
code = main(sys.argv[1:])
heavy = {"torch", "timm", "pandas", "datasets", "kdbench.registry"} & set(sys.modules)
sys.exit(f"imported {heavy}" if heavy else code)
"""


class Ran:
    """What `kdbench compare` gave, run where torch and the registry may not be imported."""

    def __init__(self, *arguments: Any, cwd: Path) -> None:
        kept = {k: v for k, v in os.environ.items() if k != "KDBENCH_STORE"}
        done = subprocess.run(
            [sys.executable, "-c", ALONE, "compare", *map(str, arguments)],
            env=kept, cwd=cwd, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr

    @property
    def data(self) -> Any:
        return json.loads(self.out)["data"]


@pytest.mark.parametrize("ask", [("kd", "fitnet", "leaderboards/digits"),
                                 ("kd", "fitnet", "--store", "leaderboards/digits")])  # fmt: skip
def test_two_methods_differ_as_the_committed_board_says(
    ask: tuple[str, ...], kdbench_root: Path
) -> None:
    made = Ran(*ask, "--json", cwd=kdbench_root)
    assert (made.code, made.err) == (0, "")
    board = kdbench.leaderboard(kdbench_root / "leaderboards/digits")
    for table in board.tables:
        (row,) = (row for row in table.rows if row.name == "fitnet")
        (line,) = (line for line in made.data["lines"] if line["place"] == table.heading)
        said = line["differences"]["accuracy"]
        assert said["mean"] == pytest.approx(100 * row.gains["kd"].mean)
        assert said["low"] == pytest.approx(100 * (row.gains["kd"].low or 0))
        assert said["n"] == len(table.seeds)


def test_a_board_and_its_copy_are_the_same_to_the_bit(kdbench_root: Path, tmp_path: Path) -> None:
    shutil.copytree(kdbench_root / "leaderboards/digits/records", tmp_path / "records")
    made = Ran("leaderboards/digits", tmp_path, cwd=kdbench_root)
    assert (made.code, made.err) == (0, "")
    assert "80 of 80 pairs of trials are the same to the bit" in made.out
    assert "80 pairs of trials  10  +0.00 identical" in made.out


def test_two_machines_are_compared_in_what_is_comparable(kdbench_root: Path) -> None:
    made = Ran("leaderboards/digits", "leaderboards/digits-all", cwd=kdbench_root)
    assert (made.code, made.err) == (0, "")
    assert "80 pairs of trials  10" in made.out
    assert (
        "step times of 80 of 80 pairs of trials are not compared: the hardware differs" in made.out
    )
    assert "80 of 80 pairs come from two classes of environment (device_name" in made.out
    assert "80 of 80 pairs had teachers of other weights" in made.out
    assert "not compared: digits: resnet8 teaches" in made.out


def test_a_limit_that_the_mean_breaks_ends_with_code_6(kdbench_root: Path) -> None:
    ask = ("kd", "scratch", "leaderboards/digits", "--fail-if")
    broken = Ran(*ask, "accuracy < -0.3", cwd=kdbench_root)
    assert broken.code == 6
    assert broken.err.startswith("error: 1 limit is broken\n  accuracy -")
    assert Ran(*ask, "accuracy < -30", "--fail-if", "time > 2", cwd=kdbench_root).code == 0
    assert Ran(*ask, "speed > 1", cwd=kdbench_root).code == 2


def test_two_records_are_compared_without_an_interval(kdbench_root: Path) -> None:
    folder = kdbench_root / "leaderboards/digits/records/digits/resnet8--resnet8_width=0.5_"
    first, second = (next(folder.glob(f"{name}-s0-*.json")) for name in ("at", "fitnet"))
    made = Ran(first, second, "--json", cwd=kdbench_root)
    assert made.code == 0, made.err
    said = made.data["overall"]["differences"]["accuracy"]
    assert (said["n"], said["low"]) == (1, None)
    assert made.data["differing"] == ["method", "hyperparameters"]
    other_seed = next(folder.glob("fitnet-s1-*.json"))
    assert Ran(first, other_seed, cwd=kdbench_root).code == 5


@pytest.mark.parametrize(
    ("ask", "code", "what"),
    [
        (("kd", "dkd"), 2, "error: kd and dkd are methods of no store"),
        (("leaderboards/digits", "kd"), 2, "error: 'kd' is neither a record nor a store"),
        (("kd", "nothing", "leaderboards/digits"), 5, "error: no record of nothing in"),
        (("no/such", "leaderboards/digits"), 5, "error: no/such holds no record"),
        (("no.json", "leaderboards/digits"), 2, "error: no record no.json"),
    ],
)
def test_what_cannot_be_compared_is_said_in_three_lines(
    ask: tuple[str, ...], code: int, what: str, kdbench_root: Path
) -> None:
    made = Ran(*ask, cwd=kdbench_root)
    assert made.code == code
    assert made.err.startswith(what)
    assert len(made.err.splitlines()) == 3


def test_python_gives_what_the_command_prints(kdbench_root: Path) -> None:
    store = kdbench_root / "leaderboards/digits"
    made = Ran("kd", "fitnet", store, "--json", cwd=kdbench_root)
    assert kdbench.compare("kd", "fitnet", store).plain() | {"broken": []} == made.data
