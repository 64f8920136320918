"""The committed boards: what the records give, what the README shows, what a run gives again."""

import importlib.util
import json
import random
import subprocess
import sys
from pathlib import Path
from statistics import stdev
from types import ModuleType
from typing import Any

import pytest

from kdbench.record import Store
from kdbench.registry import Registry

BOARDS = {"digits": (2, 5), "digits-self": (2, 5), "digits-all": (2, 5), "fashion-mini": (1, 8)}
"""Tables and seeds of each."""
WHOLE = ("digits-all", "fashion-mini")
"""Boards of every method."""


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "kdbench", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, timeout=300, check=False)


def board(root: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((root / f"leaderboards/{name}/leaderboard.json").read_text())
    return found


def row(table: dict[str, Any], method: str) -> dict[str, Any]:
    """The method's row on the whole transfer set."""
    found: dict[str, Any] = next(r for r in table["rows"] if r["name"] == method)
    return found


@pytest.fixture(scope="module")
def readme_board() -> ModuleType:
    place = Path(__file__).with_name("readme_board.py")
    spec = importlib.util.spec_from_file_location("readme_board", place)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", BOARDS)
def test_a_committed_board_is_what_its_records_give(kdbench_root: Path, name: str) -> None:
    done = command("leaderboard", kdbench_root / "leaderboards" / name, "--check")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", BOARDS)
def test_a_committed_board_has_every_method_on_all_its_seeds(kdbench_root: Path, name: str) -> None:
    found, (tables, seeds) = board(kdbench_root, name), BOARDS[name]
    assert not found["absent"]
    assert not found["partial"]
    assert len(found["tables"]) == tables
    for table in found["tables"]:
        assert not table["gaps"]
        assert len({r["method"] for r in table["rows"]}) >= 6
        assert {r["metrics"]["accuracy"]["n"] for r in table["rows"]} == {seeds}


@pytest.mark.parametrize("name", WHOLE)
def test_a_board_of_every_method_has_every_method_of_a_paper(
    kdbench_root: Path, kdbench_registry: Registry, name: str
) -> None:
    ours = {
        entry.name
        for entry in kdbench_registry.entries
        if entry.kind == "method" and entry.source.first_party
    }
    without = {method for method in ours if method.startswith("timm_")}  # others' code
    without |= {"kd_hard"}  # younger than these boards
    for table in board(kdbench_root, name)["tables"]:
        assert {r["method"] for r in table["rows"]} == ours - without
        assert len(ours - without) > 45


def test_on_digits_the_teacher_beats_kd_and_kd_beats_scratch(kdbench_root: Path) -> None:
    for table in board(kdbench_root, "digits")["tables"]:
        kd = row(table, "kd")
        teacher = table["teachers"][0]["quality"]["accuracy"]
        assert teacher - kd["metrics"]["accuracy"]["mean"] >= 0.01
        assert kd["gains"]["scratch"]["low"] > 0


def test_on_digits_self_agreement_and_accuracy_rank_differently(kdbench_root: Path) -> None:
    def ranked(table: dict[str, Any], metric: str) -> list[str]:
        rows = table["rows"]
        return [r["name"] for r in sorted(rows, key=lambda r: -r["metrics"][metric]["mean"])]

    for table in board(kdbench_root, "digits-self")["tables"]:
        assert ranked(table, "accuracy") != ranked(table, "agreement")


CONTENDERS = {"fashion-mini": (6,), "digits-all": (27, 34), "digits": (5, 5)}
"""Of the methods of each table, how many may be the best."""


@pytest.mark.parametrize("name", CONTENDERS)
def test_a_board_of_fifty_methods_says_which_may_be_the_best(kdbench_root: Path, name: str) -> None:
    text = (kdbench_root / f"leaderboards/{name}/README.md").read_text("utf-8")
    grids = [part.partition("\n### ")[0] for part in text.split("\n### Accuracy\n")[1:]]
    for table, grid, count in zip(
        board(kdbench_root, name)["tables"], grids, CONTENDERS[name], strict=True
    ):
        found = {r["name"]: r["standing"]["contender"] for r in table["rows"]}
        assert sum(found.values()) == count
        assert found[table["rows"][0]["name"]]
        lines = [
            [c.strip() for c in line.split("|")[1:-1]] for line in grid.splitlines() if "|" in line
        ]
        place = lines[0].index("Contender")
        assert {line[0].strip("*"): line[place] == "yes" for line in lines[2:]} == found


def test_committed_boards_have_too_few_cells_for_ranks_over_them_and_say_so(
    kdbench_root: Path,
) -> None:
    for name, (cells, _) in BOARDS.items():
        assert board(kdbench_root, name)["critical"] is None
        text = (kdbench_root / f"leaderboards/{name}/README.md").read_text("utf-8")
        assert "No critical-difference diagram: it takes 3 methods without holes and 6" in text
        assert f"this board has {cells}." in text


def test_the_readme_opens_with_the_board_of_digits(
    kdbench_root: Path, readme_board: ModuleType
) -> None:
    readme = (kdbench_root / "README.md").read_text("utf-8")
    shown = readme.partition(readme_board.BEGIN)[2].partition(readme_board.END)[0]
    committed = (kdbench_root / "leaderboards/digits/README.md").read_text("utf-8")
    assert shown == readme_board.excerpt(committed), "run python tests/e2e/readme_board.py"


def test_a_record_drawn_at_random_is_reproduced(kdbench_root: Path, tmp_path: Path) -> None:
    """To the bit where the environment class is equal, else within the spread of seeds."""
    store = Store(kdbench_root / "leaderboards/digits")
    drawn = random.SystemRandom().choice(store.records())
    cell = [r for r in store.records() if r.question.cell == drawn.question.cell]
    spread = 100 * stdev(r.quality["accuracy"] for r in cell)
    line = ("reproduce", store.path(drawn), "--store", tmp_path, "--tolerance", max(3 * spread, 1))
    done = command(*line)
    told = f"{store.path(drawn).name}\n{done.stdout}\n{done.stderr}"
    print(told)  # which record was drawn
    assert done.returncode == 0, told
