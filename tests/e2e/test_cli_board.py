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
FILES = ("README.md", "leaderboard.csv", "leaderboard.json", "leaderboard.tex")
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


SHUFFLED = """
import pathlib, random, sys
glob, stream = pathlib.Path.glob, random.Random(int(sys.argv[1]))
def shuffled(self, pattern):
    found = sorted(glob(self, pattern))
    stream.shuffle(found)
    return iter(found)
pathlib.Path.glob = shuffled
from kdbench.cli import main
sys.exit(main(sys.argv[2:]))
"""


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
        f"wrote {folder / name}" for name in (*FILES, PAGE, "gains-1.svg", "gains-1.png")
    ]
    checked = Ran(folder, "--check")
    assert (checked.code, checked.err) == (0, "")
    first = contents(folder)
    assert len(first) == 4
    assert Ran(folder).code == 0
    assert contents(folder) == first


@pytest.mark.parametrize(
    ("locale", "zone", "seed"),
    [("C", "Asia/Kathmandu", "1"), ("tr_TR.UTF-8", "America/St_Johns", "2"), ("C.UTF-8", "", "3")],
)
def test_the_bytes_do_not_depend_on_locale_time_zone_hashes_or_the_order_of_files(
    folder: Path, tmp_path: Path, locale: str, zone: str, seed: str
) -> None:
    Ran(folder)
    places = {"LC_ALL": locale, "LANG": locale, "TZ": zone, "PYTHONHASHSEED": seed}
    line = ["leaderboard", folder, "--output", tmp_path / "other"]
    done = subprocess.run(
        [sys.executable, "-c", SHUFFLED, seed, *map(str, line)],
        env=os.environ | places,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(contents(folder)) == len(FILES)
    assert contents(tmp_path / "other") == contents(folder)


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
    assert checked.out.splitlines()[4] == "index.html differs from what the records give"
    assert len(checked.out.splitlines()) == 5


def test_a_page_that_says_something_else_fails_the_check(folder: Path) -> None:
    Ran(folder)
    page = (folder / PAGE).read_text("utf-8")
    assert "87.00" in page
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
        "warning: index.html and its pictures were not written: plots need jinja2; "
        "pip install 'kdbench[page]'"
    ]
    assert len(contents(folder)) == 4 and not (folder / PAGE).exists()
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
    assert "\n\\begin{table*}\n" in Ran(folder, "--tex").out
    assert contents(folder) == {}
    assert Ran(folder, "--json", "--csv").code == 2


def test_a_part_of_a_board_is_printed_in_every_form_and_never_written(folder: Path) -> None:
    part = ("--where", "method=mine", "--columns", "row,accuracy", "--sort", "-accuracy")
    assert Ran(folder, *part, "--csv").out == "row,accuracy\nmine,0.87\n"
    rows = json.loads(Ran(folder, *part, "--json").out)["data"]["tables"][0]["rows"]
    assert rows == [{"row": "mine", "accuracy": 0.87}]
    assert "mine & 0.87 \\\\" in Ran(folder, *part, "--tex").out
    assert "| mine  |       0.87 |" in Ran(folder, *part, "--markdown").out
    console = Ran(folder, *part)
    assert (console.code, console.err) == (0, "")
    assert "Shown: rows with method = mine; by accuracy, descending." in console.out
    assert "wrote" not in console.out
    assert "scratch" not in console.out
    assert contents(folder) == {}


def test_rows_are_sorted_as_asked(folder: Path) -> None:
    for sort, first in (("accuracy", "scratch"), ("-accuracy", "mine"), ("row", "mine")):
        told = Ran(folder, "--csv", "--sort", sort, "--columns", "row").out.splitlines()
        assert told[1] == first


def test_rows_of_too_few_seeds_are_named_on_standard_error_beside_a_csv(folder: Path) -> None:
    made = Ran(folder, "--csv", "--seeds-at-least", 4, "--columns", "row,n")
    assert (made.code, made.out) == (0, "row,n\n")
    assert "left out, with 3 seeds, of the 4 asked for: mine, scratch" in made.err
    assert "left out, with 3 seeds" in Ran(folder, "--seeds-at-least", 4).out
    kept = Ran(folder, "--csv", "--seeds-at-least", 3, "--columns", "row,n")
    assert (kept.out, kept.err) == ("row,n\nmine,3\nscratch,3\n", "")


@pytest.mark.parametrize(
    ("arguments", "code", "what", "why"),
    [
        (["--columns", "row,acuracy"], 2, "no column is named 'acuracy'", "did you mean accuracy"),
        (["--sort", "-acuracy"], 2, "no column is named 'acuracy'", "did you mean accuracy"),
        (["--where", "acuracy>1"], 2, "no column is named 'acuracy'", "did you mean accuracy"),
        (["--where", "accuracy"], 2, "'accuracy' is no condition", "a condition is COLUMN OP"),
        (["--where", "method>a"], 2, "'method>a' cannot be told", "method holds words"),
        (["--where", "accuracy>90"], 5, "no row is left", "none has accuracy > 90"),
        (["--check", "--where", "n>1"], 2, "--check takes no part of a board", "files hold"),
        (["--output", "x", "--sort", "n"], 2, "--output takes no part of a board", "files hold"),
        (["--tex", "--csv"], 2, "--check, --json, --csv, --markdown and --tex", "each is"),
    ],
)
def test_a_part_that_there_is_not_is_refused_with_what_would_be_one(
    folder: Path, arguments: list[str], code: int, what: str, why: str
) -> None:
    made = Ran(folder, *arguments)
    assert (made.code, made.out) == (code, "")
    said = made.err.splitlines()
    assert len(said) == 3
    assert said[0].startswith(f"error: {what}")
    assert said[1].startswith(f"  {why}")
    assert contents(folder) == {}


def test_another_folder_takes_the_files_and_is_checked(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    assert Ran(folder, "--output", other).code == 0
    assert contents(folder) == {}
    assert len(contents(other)) == 4
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
    assert len(contents(folder)) == 4


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
