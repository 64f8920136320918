"""`run`, `plan`, `prepare`, `export`, `reproduce` and the Python functions, as a user runs them."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file

import kdbench
from kdbench.cli import main
from kdbench.record import Record, Store
from kdbench_datasets.digits import Digits

METHODS = ("scratch", "kd", "fitnet", "at", "rco", "metadistil")
SMALL = ("--pair", "resnet8:resnet8[width=0.25]", "--steps", "4")
KD = '''
"""A method of a test."""
from dataclasses import dataclass
from kdbench.api import Method, hookimpl
from kdbench.functional import softened_kl

@dataclass(frozen=True)
class Mine(Method):
    """Softened classes alone."""

    def loss(self, student, teacher, batch, state):
        BODY
        return {"soft": softened_kl(student.logits, teacher.logits, 2.0)}

@hookimpl
def kdbench_methods():
    yield "mine", Mine()
'''
ALONE = """
import sys
from kdbench.cli import main
code = main(sys.argv[1:])
heavy = {"torch", "timm", "pandas", "datasets"} & set(sys.modules)
sys.exit(f"imported {heavy}" if heavy else code)
"""


class Ran:
    """What a command line gave."""

    def __init__(
        self, *arguments: str, cwd: Path | None = None, program: tuple[str, ...] = ("-m", "kdbench")
    ) -> None:
        environment = {k: v for k, v in os.environ.items() if k != "KDBENCH_STORE"}
        done = subprocess.run(
            [sys.executable, *program, *map(str, arguments)],
            env=environment,
            cwd=cwd,
            capture_output=True,
            timeout=900,
            check=False,
        )
        self.code, self.out, self.err = done.returncode, done.stdout.decode(), done.stderr.decode()
        self.lines = self.out.splitlines()


def records(store: Path) -> dict[str, Record]:
    return {f"{r.question.method} {r.question.quiz}": r for r in Store(store).records()}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cli") / "store"


@pytest.fixture(scope="module")
def ran(store: Path) -> Ran:
    """One seed of every first-party method, four steps each."""
    chosen = [part for name in METHODS for part in ("-m", name)]
    return Ran("run", *chosen, *SMALL, "--seeds", "1", "--store", str(store))


def test_run_says_what_it_does_and_names_every_record_as_it_is_written(
    ran: Ran, store: Path
) -> None:
    assert (ran.code, ran.err) == (0, "")
    assert "\x1b" not in ran.out
    assert "\r" not in ran.out
    assert ran.lines[1:3] == [
        "8 trials: 8 open",
        "not the full protocol, 4 steps: kept off the full board",
    ]
    assert ran.lines[3].startswith("2 cohorts, 1 teacher, ")
    assert sum(line.startswith("teacher resnet8 on digits is ready") for line in ran.lines) == 1
    (card,) = [line for line in ran.lines if "weights" in line]
    taught = records(store)["kd 0.0"].teacher
    assert taught
    assert card.endswith(f"{taught.parameters:,} parameters  weights {taught.weights[:12]}")
    told = [line for line in ran.lines if line.startswith("[")]
    assert [line[:9] for line in told] == [f"[{i}/8] ok " for i in range(1, 9)]
    assert sum(bool(re.search(r"metadistil \(\d+ rows\) s0  accuracy ", one)) for one in told) == 1
    assert all("  agreement " in line for line in told)
    # a time that others disturbed is not shown
    fair = [one for one in records(store).values() if one.cost and one.cost.valid]
    assert sum("  x" in line for line in told) == len(fair)
    assert "8 ok" in ran.lines
    assert "digits: resnet8 teaches resnet8[width=0.25] - not the full protocol, 4 steps" in ran.out
    assert ran.lines[-4:] == [
        f"records: {store / 'records'}",
        f"board: {store / 'README.md'}",
        f"page: {store / 'index.html'}",
        "next: the same command without --budget and --steps",
    ]
    assert "only 4 steps" in (store / "index.html").read_text("utf-8")


def test_a_second_run_trains_nothing_and_shows_the_board(ran: Ran, store: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in store.glob("records/*/*/*.json")}
    again = Ran("run", "-m", "kd", "-m", "scratch", *SMALL, "--seeds", "0,", "--store", str(store))
    assert (again.code, again.err) == (0, "")
    assert again.lines[1] == "2 trials: 2 answered"
    assert "nothing is open: nothing to train" in again.lines
    assert "2 ok" in again.lines
    board = again.out[again.out.index("digits: resnet8 teaches") :]
    assert "scratch *" in board
    assert "fitnet" not in board  # not selected
    assert before == {path: path.stat().st_mtime_ns for path in store.glob("records/*/*/*.json")}


def test_a_selection_is_shown_beside_the_baselines_it_is_compared_with(
    ran: Ran, store: Path
) -> None:
    again = Ran("run", "-m", "rco", *SMALL, "--seeds", "1", "--store", str(store), "--json")
    assert again.code == 0
    told = json.loads(again.out)["data"]
    assert (told["suite"], told["full"], told["trials"]) == ("digits", False, {"ok": 1})
    assert (told["records"], told["failed"], told["store"]) == ([], [], str(store))
    assert "nothing is open: nothing to train" in again.err
    rows = told["board"]["partial"][0]["rows"]
    assert {row["name"] for row in rows} == {"rco", "kd", "scratch"}


def test_the_store_describes_the_whole_suite_and_takes_no_other(ran: Ran, store: Path) -> None:
    described = json.loads((store / "suite.json").read_text())
    assert (described["suite"], described["baselines"]) == ("digits", ["scratch", "kd"])
    assert described["seeds"] == [0, 1, 2]
    assert "resnet8:resnet8[width=0.5]" in described["pairs"]  # not of the selection
    other = Ran("run", "digits-tune", "-m", "kd", *SMALL, "--seeds", "1", "--store", str(store))
    assert other.code == 2
    assert other.err.splitlines() == [
        f"error: {store} holds records of suite 'digits'",
        "  suite 'digits-tune' would be mixed into its board",
        "  choose another place with --store",
    ]
    assert len(Store(store).records()) == 8


def test_plan_counts_states_and_teachers_and_never_imports_torch(ran: Ran, store: Path) -> None:
    asked = ("-m", "kd", "-m", "scratch", *SMALL, "--store", str(store))
    told = Ran("plan", *asked, "--seeds", "2", program=("-c", ALONE))
    assert (told.code, told.err) == (0, "")
    assert "4 trials: 2 answered, 2 open" in told.lines
    (second,) = [line for line in told.lines if line.startswith("digits") and "seed 1" in line]
    assert second.split()[-3:] == ["scratch,", "kd", "2"] or second.split()[-1] == "2"
    facts = json.loads(Ran("plan", *asked, "--seeds", "2", "--json").out)["data"]
    assert facts["trials"] == {"open": 2, "answered": 2, "stale": 0, "failed": 0}
    assert [cohort["open"] for cohort in facts["cohorts"]] == [0, 2]
    assert [teacher["trained"] for teacher in facts["teachers"]] == ["in the cache"]
    assert facts["minutes"] > 0  # from the records of the first run


def test_a_broken_method_costs_its_own_trial_alone_and_is_asked_again_with_retry(
    tmp_path: Path,
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(KD.replace("BODY", "raise RuntimeError('over there')"))
    asked = ("run", "-m", str(file), "-m", "kd", *SMALL, "--seeds", "1", "--store", str(tmp_path))
    first = Ran(*asked)
    assert first.code == 1
    assert "1 ok, 1 failed" in first.lines
    (line,) = [line for line in first.lines if line.startswith("  failed")]
    assert line.endswith("mine s0: mine (mine.py, line 12): RuntimeError: over there (step 0)")
    assert first.lines[-1] == "next: mend what failed, then the same command with --retry"
    again = Ran(*asked)
    assert again.code == 1
    assert "what failed stays so: --retry asks again" in again.lines
    assert len(Store(tmp_path).records()) == 2
    assert Ran(*asked, "--retry").code == 1
    attempts = [r.attempt for r in Store(tmp_path).records() if r.question.method == "mine"]
    assert sorted(attempts) == [1, 2]
    file.write_text(KD.replace("BODY", "pass"))
    mended = Ran(*asked)
    assert mended.code == 0
    assert "2 trials: 1 answered, 1 stale" in mended.lines
    assert "2 ok" in mended.lines


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_an_interruption_keeps_the_records_and_leaves_no_process(
    number: signal.Signals, code: int, word: str, tmp_path: Path
) -> None:
    asked = ("run", "-m", "kd", *SMALL, "--seeds", "200", "--store", str(tmp_path))
    process = subprocess.Popen(
        [sys.executable, "-m", "kdbench", *asked],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout
    assert process.stderr
    for line in process.stdout:
        if line.startswith("[  2/200]"):
            break
    os.killpg(process.pid, number)  # as a terminal does
    process.stdout.read()
    error = process.stderr.read()
    process.stderr.close()
    process.stdout.close()
    assert process.wait(30) == code
    count = len(Store(tmp_path).records())
    assert 2 <= count < 200
    assert error.startswith(f"{word}: {count} records saved in {tmp_path / 'records'}; ")
    assert len(error.splitlines()) == 1
    deadline = time.monotonic() + 20
    while alive(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not alive(process.pid)


def alive(session: int) -> list[str]:
    """Processes of the session that still run; those that only wait to be reaped do not."""
    listed = subprocess.run(["ps", "-eo", "sess=,stat=,args="], capture_output=True, text=True)
    rows = [line.split(maxsplit=2) for line in listed.stdout.splitlines()]
    return [row[2] for row in rows if row[0] == str(session) and not row[1].startswith("Z")]


def test_a_sum_of_methods_is_taught_by_a_teacher_that_was_itself_taught(tmp_path: Path) -> None:
    pair = "2*resnet8>resnet8[width=0.5]:resnet8[width=0.25]"
    line = ("run", "-m", "at[weight=10]+kd", "--pair", pair, "--steps", "4", "--seeds", "1")
    done = Ran(*line, "--store", str(tmp_path))
    assert (done.code, done.err) == (0, "")
    assert "1 cohort, 3 teachers, 1 worker" in done.lines[3]
    found = records(tmp_path)["at+kd 0.0"]
    assert found.question.teacher == "2*resnet8>resnet8[width=0.5]"
    assert found.question.teacher_protocol
    assert found.question.teacher_protocol.method == "kd[alpha=0.9,temperature=4.0]"
    assert found.question.hyperparameters == {
        "at.weight": 10, "at.power": 2, "kd.temperature": 4.0, "kd.alpha": 0.9,
    }  # fmt: skip
    assert list(found.losses) == ["at.attention", "hard", "kd.soft"]
    again = Ran("reproduce", str(Store(tmp_path).path(found)), "--store", str(tmp_path / "again"))
    assert again.code == 0, again.err


def test_without_a_store_records_lie_in_the_working_directory_and_out_of_git(
    tmp_path: Path,
) -> None:
    made = Ran("run", "-m", "scratch", *SMALL, "--seeds", "1", cwd=tmp_path)
    assert (made.code, made.err) == (0, "")
    assert made.lines[-1] == "next: the same command without --budget and --steps"
    assert (tmp_path / "kdbench-runs/.gitignore").read_text() == "*\n"
    assert len(Store(tmp_path / "kdbench-runs/digits").records()) == 1
    checked = Ran("leaderboard", "digits", "--check", cwd=tmp_path)
    assert (checked.code, checked.err) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "code", "what"),
    [
        (("--seeds", "x"), 2, "'x' does not say which seeds"),
        (("--seeds", "5-2"), 2, "'5-2' does not say which seeds"),
        (("--steps", "4", "--budget", "0.5"), 2, "--budget 0.5 and --steps 4 contradict each"),
        (("--budget", "2"), 2, "bad value for 'train.budget' in the command line"),
        (("-m", "kdd"), 2, "unknown method 'kdd'"),
        (("--dataset", "parquet:./nowhere"), 4, ""),
        (("--device", "tpu", "--steps", "4", "-m", "kd"), 2, "no device 'tpu'"),
        (("--device", "cuda:99", "--steps", "4", "-m", "kd"), 4, "no CUDA device is available"),
    ],
)
def test_what_cannot_be_run_is_said_in_three_lines(
    arguments: tuple[str, ...], code: int, what: str, tmp_path: Path
) -> None:
    if "cuda:99" in arguments and torch.cuda.is_available():
        what = ""
    made = Ran("run", *arguments, "--store", str(tmp_path / "s"))
    assert made.code == code
    lines = made.err.splitlines()
    assert lines[0].startswith(f"error: {what}")
    assert len(lines) == 3
    assert not list(tmp_path.glob("s/records/*"))


@pytest.fixture(scope="module")
def own_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty and ten gray images of two classes, as a user has them."""
    folder = tmp_path_factory.mktemp("secret-place") / "mydata"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (30, 8, 8), np.uint8)
    for split, rows in (("train", range(20)), ("test", range(20, 30))):
        files = []
        for row in rows:
            file = io.BytesIO()
            Image.fromarray(pixels[row]).save(file, "PNG")
            files.append({"bytes": file.getvalue(), "path": None})
        columns = {"image": files, "label": [row % 2 for row in rows]}
        pq.write_table(pa.table(columns), folder / f"{split}.parquet")
    return folder


def test_own_data_are_named_by_content_and_their_path_is_written_nowhere(
    own_data: Path, tmp_path: Path
) -> None:
    prepared = Ran("prepare", f"parquet:{own_data}")
    assert (prepared.code, prepared.err) == (0, "")
    name = prepared.out.partition(":")[0]
    assert name.startswith("parquet[data=mydata@")
    (shown,) = json.loads(Ran("show", f"parquet:{own_data}", "--json").out)["data"]
    assert shown["facts"]["name"] == name
    (tmp_path / "own.toml").write_text(
        f"""
        extends = "digits"
        name = "own"
        [axes]
        datasets = ["parquet:{own_data.name}"]
        [train]
        rows = 20
        [teacher]
        rows = 20
        """
    )
    asked = ("-m", "kd", *SMALL, "--seeds", "1", "--store", str(tmp_path / "s"))
    made = Ran("run", str(tmp_path / "own.toml"), *asked, cwd=own_data.parent)
    assert (made.code, made.err) == (0, "")
    (record,) = Store(tmp_path / "s").records()
    assert record.question.dataset == name
    written = b"".join(path.read_bytes() for path in (tmp_path / "s").rglob("*") if path.is_file())
    assert b"secret-place" not in written
    file = str(Store(tmp_path / "s").path(record))
    lost = Ran("export", file, "-o", str(tmp_path / "out"))
    assert lost.code == 2
    assert lost.err.splitlines()[-1] == "  say where: --dataset parquet:FOLDER"
    found = Ran("export", file, "-o", str(tmp_path / "out"), "--dataset", f"parquet:{own_data}")
    assert (found.code, found.err) == (0, "")


def test_prepare_says_what_is_there(tmp_path: Path) -> None:
    told = Ran("prepare", "digits", "--json")
    assert (told.code, told.err) == (0, "")
    (facts,) = json.loads(told.out)["data"]
    assert (facts["name"], facts["image_shape"], facts["licence"]) == (
        "digits",
        [1, 8, 8],
        "CC BY 4.0",
    )
    assert {name: split["rows"] for name, split in facts["splits"].items()} == Digits.sizes
    assert all(len(split["digest"]) == 64 for split in facts["splits"].values())


@pytest.fixture(scope="module")
def test_rows() -> torch.Tensor:
    images = Digits().load("", "test").images(range(897))
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


@pytest.mark.parametrize("method", METHODS)
def test_an_exported_student_is_the_one_that_was_measured(
    method: str,
    ran: Ran,
    store: Path,
    test_rows: torch.Tensor,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = ["export", method, "--store", str(store), "-o", str(tmp_path), "--json"]
    assert main(asked) == 0
    told = json.loads(capsys.readouterr().out)["data"]
    assert told["snippet"].startswith("import timm, kdbench_models.resnet\n")
    scope: dict[str, Any] = {}
    exec(told["snippet"], scope)  # what a user is told to write
    model = scope["model"].eval()
    by_folder = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    quiz = 0.1 if method == "metadistil" else 0.0
    record = records(store)[f"{method} {quiz}"]
    logits = load_file(Store(store).artifact(record.logits))["logits"]
    images = (test_rows - told["mean"][0]) / told["std"][0]
    with torch.no_grad():
        assert torch.allclose(model(images), logits, atol=1e-5)
        assert torch.equal(by_folder(images), model(images))
    assert sum(weight.numel() for weight in model.parameters()) == record.deployed.parameters


def test_export_as_a_command_prints_lines_that_load_the_student(
    ran: Ran, store: Path, tmp_path: Path
) -> None:
    file = Store(store).path(records(store)["kd 0.0"])
    made = Ran("export", str(file), cwd=tmp_path)
    assert (made.code, made.err) == (0, "")
    start = made.lines.index("import timm, kdbench_models.resnet")
    code = "\n".join([*made.lines[start : start + 2], "print(model.fc)"])
    loaded = Ran(cwd=tmp_path, program=("-c", code))
    assert (loaded.code, loaded.err) == (0, "")
    assert "out_features=10" in loaded.out


@pytest.mark.parametrize(
    ("change", "code", "what"),
    [
        (lambda store, file: file.unlink(), 4, "the weights of this record are not in"),
        (lambda store, file: file.write_bytes(b"torn"), 4, ""),
    ],
)
def test_weights_that_are_gone_or_torn_are_not_exported(
    change: Callable[..., None], code: int, what: str, ran: Ran, store: Path, tmp_path: Path
) -> None:
    copied = tmp_path / "store"
    subprocess.run(["cp", "-r", str(store), str(copied)], check=True)
    record = records(copied)["at 0.0"]
    assert record.deployed
    change(copied, Store(copied).artifact(record.deployed.weights))
    made = Ran("export", "at", "--store", str(copied), "-o", str(tmp_path / "out"))
    assert made.code == code
    assert made.err.startswith(f"error: {what}")
    assert not (tmp_path / "out").exists()


def test_a_record_is_reproduced_to_the_bit(ran: Ran, store: Path) -> None:
    for name in ("metadistil 0.1", "kd 0.1"):  # the latter is asked beside a quiz split alone
        made = Ran("reproduce", str(Store(store).path(records(store)[name])))
        assert (made.code, made.err) == (0, "")
        assert made.lines[-1] == "reproduced: identical to the bit"
    assert len(Store(store).records()) == 8


def test_a_record_that_says_something_else_is_not_reproduced(
    ran: Ran, store: Path, tmp_path: Path
) -> None:
    true = records(store)["at 0.0"]
    false = true.model_copy(update={"quality": {**true.quality, "accuracy": 0.99}})
    made = Ran("reproduce", str(Store(tmp_path / "s").add(false)), "--json")
    assert made.code == 6
    assert made.err.splitlines()[-3:] == [
        "error: the record of at is not reproduced",
        "  the environment is the same, so every bit should be",
        "  see which figures differ above",
    ]
    assert json.loads(made.out)["data"]["differ"] == ["accuracy"]
    other = true.question.model_copy(update={"hyperparameters": {"weight": 1.0, "no_such": 2}})
    asked = Ran(
        "reproduce", str(Store(tmp_path / "s").add(true.model_copy(update={"question": other})))
    )
    assert asked.code == 2


def test_the_python_functions_mirror_the_commands(ran: Ran, store: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"  # without a guard: workers must not run it again
    script.write_text(
        f"""
import kdbench
import kdbench.leaderboard
print("once")
board = kdbench.run("digits", methods=["kd"], pairs=["resnet8:resnet8[width=0.25]"], seeds=[1],
                    steps=4, store={str(tmp_path / "s")!r}, progress=False)
print([row.name for row in board.partial[0].rows])
print(kdbench.leaderboard({str(tmp_path / "s")!r}).partial[0].seeds)
"""
    )
    made = Ran(program=(str(script),))
    assert (made.code, made.err) == (0, "")
    assert made.lines == ["once", "['kd']", "(1,)"]
    frame = kdbench.load_records(store)
    assert len(frame) == 8
    assert set(frame["question.method"]) == set(METHODS)
    assert frame["quality.accuracy"].between(0, 1).all()
    assert kdbench.leaderboard(store).partial[0].rows


@pytest.fixture(autouse=True, scope="module")
def no_store_of_the_session() -> Iterator[None]:
    """Commands that run in this process see no KDBENCH_STORE either."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("KDBENCH_STORE", raising=False)
        yield
