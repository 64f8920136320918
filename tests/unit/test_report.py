import json
import random
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from kdbench.cli import main
from kdbench.leaderboard import Board, BoardSpec, build, write_spec
from kdbench.leaderboard.claims import Answered, answered
from kdbench.leaderboard.spec import Variation
from kdbench.page import report as page
from kdbench.record import Card, Record, Store, TeacherProtocol
from kdbench.suite import Claim, Point, Report, Series, Term, Where

HOSTILE = "</td><script>alert(1)</script><img src=x onerror=alert(2)>\"'{{ 7*7 }} | `x` \u202e"
SEEDS = range(5)
LEVELS = {
    ("hard", "scratch"): 0.80, ("hard", "kd"): 0.84, ("hard", "dkd"): 0.842, ("hard", "at"): 0.79,
    ("smooth", "kd"): 0.82, ("smooth", "dkd"): 0.85,
}  # fmt: skip
TEACHERS = {"hard": 0.90, "smooth": 0.805}
DATASETS = ("digits", "mnist")


def term(where: str, method: str, weight: float = 1.0, **changes: Any) -> Term:
    asked = {"measure": "accuracy", **changes}
    return Term(variant=where, method=method, weight=weight, **asked)


def claim(key: str, *terms: Term, direction: Any = "greater", **changes: Any) -> Claim:
    said = {"says": f"It is claimed that {key}.", "source": "Table 1", "effect": 0.005}
    return Claim(key=key, direction=direction, terms=terms, **said | changes)


KD, SCRATCH = term("hard", "kd"), term("hard", "scratch", -1)
CLAIMS = (
    claim("better", KD, SCRATCH, says="A student that learns from the teacher is more accurate than "
          "one that learns from the labels alone.", published="+2.1 points on CIFAR-100"),
    claim("smooth-teacher", KD, term("smooth", "kd", -1),
          says="A teacher trained with label smoothing teaches worse.", published="72.3 against 71.5 %"),
    claim("attention", term("hard", "at"), SCRATCH, says="Attention maps alone help.",
          published="+0.8 points"),
    claim("alike", term("hard", "dkd"), term("hard", "kd", -1), direction="equal", effect=0.02,
          says="Decoupling changes nothing beyond 2 points."),
    claim("no-harm", term("hard", "dkd"), term("hard", "kd", -1), direction="not less",
          effect=0.001, says="Decoupling does not harm."),
    claim("divergence", term("hard", "kd", measure="kl"), term("hard", "dkd", -1, measure="kl"),
          direction="less", unit="nats", effect=0.001, says="Matching logits ends nearer to the "
          "teacher than decoupling does."),
    Claim(key="order", says="Students that agree more with their teacher are more accurate.",
          source="Figure 3", direction="greater", effect=0.1, unit="correlation", x="agreement",
          y="accuracy", along=tuple(Where(variant=v, method=m) for v, m in LEVELS)),
    claim("lost", term("smooth", "at"), SCRATCH, says="Attention maps help under label smoothing."),
)  # fmt: skip
REPORT = Report(
    question="Does a student learn more from the soft answers of a teacher than from the labels "
    "alone, and does it matter how that teacher was trained?",
    setting="The paper trained ResNet-110 and ResNet-32 on CIFAR-100 for 240 epochs; this suite "
    "trains networks a hundredth of that size on 8 by 8 digits for 60 epochs.",
    papers=("A. Author and B. Author: A Paper With A Title, NeurIPS 2019 (arXiv:1906.02629).",),
    series=(
        Series(title="Accuracy of the student", source="Table 2", measure="accuracy", points=(
            Point(label="from the labels", variant="hard", method="scratch", published=79.3),
            Point(label="from a teacher", variant="hard", method="kd", published=81.4),
            Point(label="from a smoothed teacher", variant="smooth", method="kd"),
            Point(label="attention, smoothed", variant="smooth", method="at", published=80.2),
        )),
        Series(title="Calibration error of the student", source="Figure 4", measure="ece", unit="",
               points=(
            Point(label="from the labels", variant="hard", method="scratch", published=0.14),
            Point(label="from a teacher", variant="hard", method="kd", published=0.051),
        )),
    ),
)  # fmt: skip


@pytest.fixture
def kdbench_trials(kdbench_record: Callable[..., Record]) -> list[Record]:
    """Of both variants, methods and data sets, five seeds each."""
    draw, found = random.Random(0), []
    first = kdbench_record().question
    luck = {seed: draw.gauss(0, 0.01) for seed in SEEDS}
    for (variant, method), level in LEVELS.items():
        rows = 500 if variant == "smooth" else None
        recipe = TeacherProtocol.model_validate(first.protocol.model_dump() | {"rows": rows})
        for dataset in DATASETS:
            for seed in SEEDS:
                asked = {"method": method, "dataset": dataset, "seed": seed}
                question = first.model_copy(update={**asked, "teacher_protocol": recipe})
                accuracy = round(level + luck[seed] + draw.gauss(0, 0.004), 4)
                quality = {"accuracy": accuracy, "ece": 0.05 + draw.gauss(0, 0.002)}
                test = {"agreement": accuracy + draw.gauss(0, 0.004), "kl": draw.gauss(0.1, 0.01)}
                found.append(
                    kdbench_record(
                        question=question, rows=200, quality=quality, fidelity={"test": test},
                        teacher=Card(
                            weights=variant, parameters=9, multiply_adds=9,
                            quality={"accuracy": TEACHERS[variant]},
                        ),
                    )
                )  # fmt: skip
    return found


@pytest.fixture
def kdbench_spec(kdbench_trials: list[Record]) -> BoardSpec:
    """What the suite says, claims included."""
    variants: dict[str, dict[str, str]] = {variant: {} for variant in TEACHERS}
    for table in build(kdbench_trials).tables:
        assert table.question.teacher_protocol
        variant = "smooth" if table.question.teacher_protocol.rows else "hard"
        variants[variant][f"{table.question.dataset} {table.pair}"] = table.key
    return BoardSpec(
        suite="toy", title="Does smoothing the teacher harm?", baselines=("scratch", "kd"),
        seeds=tuple(SEEDS), claims=CLAIMS, report=REPORT,
        variants={name: Variation(tables=tables) for name, tables in variants.items()},
    )  # fmt: skip


@pytest.fixture
def kdbench_board(kdbench_trials: list[Record], kdbench_spec: BoardSpec) -> Board:
    return build(kdbench_trials, kdbench_spec)


@pytest.fixture
def kdbench_answered(kdbench_board: Board) -> Answered:
    return answered(kdbench_board)


@pytest.fixture
def kdbench_folder(
    kdbench_trials: list[Record], kdbench_spec: BoardSpec, tmp_path: Path
) -> Path:
    """A store of these records."""
    store = Store(tmp_path / "toy")
    for record in kdbench_trials:
        store.add(record)
    write_spec(kdbench_spec, tmp_path / "toy")
    return tmp_path / "toy"


def test_every_verdict_is_there_and_counted(kdbench_answered: Answered) -> None:
    verdicts = {one.claim.key: one.verdict for one in kdbench_answered.findings}
    print(verdicts)


def test_out(kdbench_folder):
    main(["report", str(kdbench_folder)])
    main(["report", str(kdbench_folder), "--check"])
    shutil.copytree(kdbench_folder, "/tmp/rep", dirs_exist_ok=True)
