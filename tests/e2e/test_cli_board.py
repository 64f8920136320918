"""`leaderboard`, as a user runs it: on records alone, without plugins and torch."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import kdbench
from kdbench.leaderboard import BoardSpec, read_spec, write_spec
from kdbench.record import (
    Environment,
    Evaluation,
    Fingerprints,
    Origin,
    Question,
    Record,
    Store,
    TeacherProtocol,
    TrainingProtocol,
)

PROTOCOL = {"epochs": 60, "batch_size": 32, "learning_rate": 0.05}
HERE = {
    "python": "3.12", "torch": "2.11.0", "timm": "1.0.20", "kdbench": "0.1", "device": "cpu",
    "device_name": "a CPU", "capability": "AVX2", "threads": 1, "platform": "Linux x86_64",
}  # fmt: skip
SPEC = BoardSpec(suite="toy", title="Toy", baselines=("scratch",), notes={})
FILES = ("README.md", "leaderboard.csv", "leaderboard.json")
PAGE = "index.html"
ALONE = """
import os, sys
if os.environ.get("WITHOUT_PAGE"):
    sys.modules["jinja2"] = None
from kdbench.cli import main
code = main(sys.argv[1:])
heavy = {"torch", "timm", "pandas", "datasets", "kdbench.registry"} & set(sys.modules)
sys.exit(f"imported {heavy}" if heavy else code)
"""


def record(method: str, seed: int, accuracy: float) -> Record:
    question = Question(
        dataset="digits",
        teacher="resnet8",
        student="resnet8[width=0.5]",
        teacher_protocol=TeacherProtocol(**PROTOCOL),
        method=method,
        hyperparameters={},
        protocol=TrainingProtocol(**PROTOCOL),
        evaluation=Evaluation(),
        seed=seed,
    )
    return Record(
        status="ok",
        question=question,
        fingerprints=Fingerprints(question=question.fingerprint, code="c", environment="e"),
        suite="toy",
        origin=Origin(distribution="kdbench", version="0.1"),
        settings="paper",
        created="2026-01-01T00:00:00+00:00",
        environment=Environment(**HERE),
        rows=200,
        quality={"accuracy": accuracy},
        fidelity={"test": {"agreement": 0.9, "kl": 0.1}},
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Records of two methods, one of which does badly."""
    board = tmp_path / "board"
    for seed in range(3):
        Store(board).add(record("scratch", seed, 0.80 + seed / 100))
        Store(board).add(record("mine", seed, 0.86 + seed / 100))
    write_spec(SPEC, board)
    return board


class Ran:
    """What `kdbench leaderboard` gave, run where torch and the registry may not be imported."""

    def __init__(self, *arguments: Any, cwd: Path | None = None, **changes: str) -> None:
        kept = {k: v for k, v in os.environ.items() if k != "KDBENCH_STORE"}
        done = subprocess.run(
            [sys.executable, "-c", ALONE, "leaderboard", *map(str, arguments)],
            env=kept | changes,
            cwd=cwd,
            capture_output=True,
            timeout=120,
            check=False,
        )
        self.code, self.out, self.err = done.returncode, done.stdout.decode(), done.stderr.decode()


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES if (folder / name).exists()}


def test_the_files_are_written_and_then_pass_their_check(folder: Path) -> None:
    made = Ran(folder)
    assert (made.code, made.err) == (0, "")
    assert "mine" in made.out
    assert [line for line in made.out.splitlines() if line.startswith("wrote ")] == [
        f"wrote {folder / name}" for name in (*FILES, PAGE)
    ]
    checked = Ran(folder, "--check")
    assert (checked.code, checked.err) == (0, "")
    first = contents(folder)
    assert len(first) == 3
    assert Ran(folder).code == 0
    assert contents(folder) == first


@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte_fails_the_check_and_is_located(folder: Path, name: str) -> None:
    Ran(folder)
    lines = (folder / name).read_bytes().splitlines(keepends=True)
    place = len(lines) // 2
    lines[place] = lines[place][:-1] + b" \n"
    (folder / name).write_bytes(b"".join(lines))
    checked = Ran(folder, "--check")
    assert checked.code == 6
    what = f"{name} differs from what the records give, first at line {place + 1}"
    assert checked.out.splitlines() == [what]
    assert checked.err.splitlines() == [
        f"error: {folder} is not what the records in {folder} give",
        f"  {what}",
        f"  kdbench leaderboard {folder}",
    ]


def test_a_new_record_and_a_missing_file_fail_the_check(folder: Path) -> None:
    Ran(folder)
    Store(folder).add(record("new", 0, 0.9))
    (folder / "leaderboard.csv").unlink()
    checked = Ran(folder, "--check")
    assert checked.code == 6
    assert checked.out.splitlines()[1] == "leaderboard.csv is missing"
    assert checked.out.splitlines()[3] == "index.html differs from what the records give"
    assert len(checked.out.splitlines()) == 4


def test_a_page_that_says_something_else_fails_the_check(folder: Path) -> None:
    Ran(folder)
    page = (folder / PAGE).read_text("utf-8")
    assert page.count("87.00") == 2
    (folder / PAGE).write_text(page.replace("87.00", "97.00"), "utf-8")
    checked = Ran(folder, "--check")
    assert checked.code == 6
    assert checked.out.splitlines() == ["index.html differs from what the records give"]


def test_without_the_page_s_packages_the_other_files_are_written_and_that_is_said(
    folder: Path,
) -> None:
    made = Ran(folder, WITHOUT_PAGE="1")
    assert made.code == 0
    assert made.err.splitlines() == [
        "warning: index.html was not written: the page needs jinja2; pip install 'kdbench[page]'"
    ]
    assert len(contents(folder)) == 3 and not (folder / PAGE).exists()
    assert Ran(folder, "--check", WITHOUT_PAGE="1").code == 0  # there is no page to check
    Ran(folder)
    checked = Ran(folder, "--check", WITHOUT_PAGE="1")
    assert checked.code == 4
    assert [line.strip() for line in checked.err.splitlines()] == [
        "error: the page needs jinja2",
        "import of jinja2 halted; None in sys.modules",
        "pip install 'kdbench[page]'",
    ]


def test_a_bad_row_must_be_explained(folder: Path) -> None:
    for seed in range(3):
        Store(folder).add(record("worse", seed, 0.70 + seed / 100))
    Ran(folder)
    checked = Ran(folder, "--check")
    assert checked.code == 6
    assert "worse is 10.00 points below scratch" in checked.out
    assert checked.err.splitlines()[0] == f"error: {folder} leaves bad rows unexplained"
    write_spec(SPEC.model_copy(update={"notes": {"worse": "needs more steps"}}), folder)
    assert Ran(folder, "--check").code == 6  # the note is not on the board yet
    Ran(folder)
    assert Ran(folder, "--check").code == 0


def test_printing_writes_nothing(folder: Path) -> None:
    told = Ran(folder, "--json")
    assert json.loads(told.out)["schema"] == 1
    assert json.loads(told.out)["data"]["tables"][0]["rows"][0]["name"] == "mine"
    rows = list(csv.DictReader(io.StringIO(Ran(folder, "--csv").out)))
    assert [row["method"] for row in rows] == ["mine", "scratch"]
    assert Ran(folder, "--markdown").out.startswith("# Toy")
    assert contents(folder) == {}
    assert Ran(folder, "--json", "--csv").code == 2


def test_another_folder_takes_the_files_and_is_checked(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    assert Ran(folder, "--output", other).code == 0
    assert contents(folder) == {}
    assert len(contents(other)) == 3
    assert Ran(folder, "--check", "--output", other).code == 0
    assert Ran(folder, "--check").code == 6


def test_a_suite_s_name_means_its_store(folder: Path, tmp_path: Path) -> None:
    runs = tmp_path / "kdbench-runs"
    shutil.copytree(folder, runs / "digits")
    shutil.copytree(folder, runs / "toy")
    for arguments in ((), ("digits",), ("toy",)):
        made = Ran(*arguments, cwd=tmp_path)
        assert (made.code, made.err) == (0, "")
        assert f"wrote kdbench-runs/{(*arguments, 'digits')[0]}/README.md" in made.out
    assert Ran(cwd=tmp_path, KDBENCH_STORE=str(folder)).code == 0
    assert len(contents(folder)) == 3


def test_without_a_description_nothing_is_compared_and_that_is_said(folder: Path) -> None:
    (folder / "suite.json").unlink()
    made = Ran(folder)
    assert made.code == 0
    assert "has no suite.json: nothing is compared" in made.err
    assert "gain" not in made.out
    (folder / "suite.json").write_text('{"no": 1}')
    broken = Ran(folder)
    assert broken.code == 4
    assert broken.err.startswith(f"error: {folder / 'suite.json'} does not describe a suite")


@pytest.mark.parametrize(
    ("where", "code", "lines"),
    [
        ("digits", 5, ["no records in kdbench-runs/digits", "the folder is not there"]),
        ("./empty", 5, ["empty holds no record", "a board is made from records"]),
        ("digitz", 2, ["'digitz' is neither a folder nor a suite", "shipped suites: "]),
    ],
)
def test_where_there_is_nothing_the_next_step_is_named(
    where: str, code: int, lines: list[str], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    made = Ran(where, cwd=tmp_path)
    assert (made.code, made.out) == (code, "")
    said = made.err.splitlines()
    assert len(said) == 3
    assert said[0] == f"error: {lines[0]}"
    assert said[1].startswith(f"  {lines[1]}")
    assert "kdbench run" in said[2] or "records/" in said[2]


def test_a_torn_record_is_an_error_and_never_skipped(folder: Path) -> None:
    file = next(folder.glob("records/*/*/mine*.json"))
    file.write_bytes(file.read_bytes()[:100])
    made = Ran(folder)
    assert made.code == 4
    assert made.err.startswith(f"error: {file} is not a readable record")
    assert contents(folder) == {}


def test_python_gives_the_same_board(folder: Path) -> None:
    Ran(folder)
    board = kdbench.leaderboard(folder)
    assert board.markdown().encode() == contents(folder)["README.md"]
    assert list(board.frame()["method"]) == ["mine", "scratch"]
    assert read_spec(folder) == SPEC
