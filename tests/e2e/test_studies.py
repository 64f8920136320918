"""The committed studies: boards and reports as their records give them, the suites' own claims."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import kdbench
from kdbench import suite as suites
from kdbench.leaderboard import read, read_spec
from kdbench.leaderboard.claims import answered

STUDIES = (
    "stanton-fidelity", "stanton-data", "stanton-optimisation", "tang-levels", "capacity-gap",
    "patient-teacher",
)  # fmt: skip


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "kdbench", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, timeout=300, check=False)


def folder(root: Path, name: str) -> Path:
    return root / "leaderboards" / f"{name}-mini"


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_s_board_and_report_are_what_its_records_give(
    kdbench_root: Path, name: str
) -> None:
    for verb in ("leaderboard", "report"):
        done = command(verb, folder(kdbench_root, name), "--check")
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_was_run_whole_on_five_fresh_seeds(kdbench_root: Path, name: str) -> None:
    board = read(folder(kdbench_root, name))
    assert not board.absent
    assert not board.partial
    for table in board.tables:
        assert table.seeds == (0, 1, 2, 3, 4)
        assert not table.gaps
    whole = suites.load(f"{name}-mini")
    asked: dict[str, set[str]] = {variant: set() for variant in whole.variants}
    for table in board.tables:
        for variant in table.variant.split(", "):
            asked[variant] |= {row.question.method for row in table.rows}
    assert all(asked.values())


@pytest.mark.parametrize("name", STUDIES)
def test_every_claim_of_a_study_is_the_suite_s_and_has_an_answer(
    kdbench_root: Path, name: str
) -> None:
    place, whole = folder(kdbench_root, name), suites.load(f"{name}-mini")
    spec = read_spec(place)
    assert spec
    assert spec.claims == whole.claims
    assert spec.report == whole.report
    found = kdbench.report(place)
    assert len(found.findings) == len(whole.claims) >= 6
    assert {one.verdict for one in found.findings} <= {
        "reproduced", "not reproduced", "not testable"
    }  # fmt: skip
    assert all(one.estimate and one.estimate.n == 5 for one in found.findings)


@pytest.mark.parametrize("name", STUDIES)
def test_a_mini_asks_the_claims_of_the_whole_study(name: str) -> None:
    whole, mini = suites.load(name), suites.load(f"{name}-mini")
    assert mini.claims == whole.claims
    assert len(mini.axes.seeds) >= 5
    assert set(mini.variants) <= set(whole.variants)
    assert set(mini.asked("datasets")) <= {"fashion_mnist", "mnist", "cifar100_groups"}


def verdicts(report: Any) -> list[str]:
    return [claim["verdict"] for claim in report["claims"]]


@pytest.mark.parametrize("name", STUDIES)
def test_verdicts_are_computed(kdbench_root: Path, tmp_path: Path, name: str) -> None:
    """Of claims turned round, not all verdicts stay as they are."""
    place = folder(kdbench_root, name)
    report = json.loads((place / "report.json").read_text())
    assert report == json.loads(answered(read(place)).json())
    if "reproduced" in verdicts(report):
        spec = json.loads((place / "suite.json").read_text())
        turned = {"greater": "less", "less": "greater", "not less": "less", "equal": "greater"}
        turned |= {"not greater": "greater"}
        for claim in spec["claims"]:
            claim["direction"] = turned[claim["direction"]]
        shutil.copytree(place / "records", tmp_path / "records")
        (tmp_path / "suite.json").write_text(json.dumps(spec))
        assert verdicts(json.loads(answered(read(tmp_path)).json())) != verdicts(report)


@pytest.mark.parametrize("name", STUDIES)
def test_the_page_on_studies_counts_the_verdicts_of_the_reports(
    kdbench_root: Path, name: str
) -> None:
    report = json.loads((folder(kdbench_root, name) / "report.json").read_text())
    found = [verdicts(report).count(v) for v in ("reproduced", "not reproduced", "not testable")]
    text = (kdbench_root / "docs/studies.md").read_text()
    line = next(line for line in text.splitlines() if line.startswith(f"| [{name}-mini]"))
    assert [int(cell) for cell in line.split("|")[2:5]] == found
