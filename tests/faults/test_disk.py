"""No room, no right to write, folders that vanish, odd paths: an error that helps, nothing lost.

The full form, of every kind of file in a run and of file systems that are really full, is
full_disk.py.
"""

import errno
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from kdbench import engine
from kdbench.cli import main
from kdbench.cohort import Workbench
from kdbench.engine.resident import _answer
from kdbench.errors import DataError, ExitCode, StoreError
from kdbench.record import Record, Store

SCRIPT = Path(__file__).parent / "full_disk.py"
TIMED = dict.fromkeys(("created", "seconds", "cost", "attempt", "answers"), True)
ODD = "a 'store' of 100% \"café\" $HOME"
SUITE = """
name = "tiny"
[axes]
datasets = ["digits"]
pairs = ["resnet8[width=0.25]:resnet8[width=0.25]"]
methods = ["scratch", "kd"]
seeds = 1
[train]
epochs = 1
batch_size = 32
learning_rate = 0.05
rows = 64
flip = false
[teacher]
epochs = 1
rows = 64
[scoring]
baselines = ["scratch", "kd"]
[[claims]]
key = "soft"
says = "Soft targets teach better."
source = "here"
direction = "greater"
effect = 0.01
terms = [
    { method = "kd", measure = "accuracy" },
    { method = "scratch", measure = "accuracy", weight = -1.0 },
]
"""
WRITES = {
    "a teacher's lock": ("open", "teachers/.*/lock"),
    "pixels: the lock": ("open", r"pixels/.*\.lock"),
    "pixels: the folder": ("tempfile.mkdtemp", "pixels/"),
    "pixels: the file": ("open", "pixels/.*npy"),
    "a teacher's anchor": ("tempfile.mkstemp", "teachers/"),
    "a teacher's card": ("os.rename", r"teachers/.*/card\.json"),
    "kept answers: the folder": ("os.mkdir", "answers/"),
    "kept answers: the index": ("open", "answers/.*/index"),
    "kept answers: whose turn": ("open", "answers/.*/stretch"),
    "kept answers: the rows": ("open", "answers/.*/rows"),
    "logits and weights": ("os.rename", "artifacts/"),
}
"""In the order in which a worker comes to them."""
_refused: list[tuple[str, str]] = []
_hooked: list[bool] = []


def _hook(event: str, details: tuple[Any, ...]) -> None:
    for name, path in _refused:
        if event != name or (event == "open" and not (details[2] or 0) & 3):
            continue
        place = details[1 if event == "os.rename" else 0]
        if isinstance(place, str | Path) and re.search(path, str(place)):
            raise OSError(errno.ENOSPC, "No space left on device", str(place))


@contextmanager
def full(event: str, path: str) -> Iterator[None]:
    """While open, such writes are refused, as by a full disk."""
    if not _hooked:
        sys.addaudithook(_hook)  # there is no way to take it away again
        _hooked.append(True)
    _refused.append((event, path))
    try:
        yield
    finally:
        _refused.clear()


def bits(records: list[Record]) -> list[dict[str, Any]]:
    timed = TIMED | {"deployed": {"latency_ms", "throughput"}}
    assert all(record.status == "ok" for record in records), records
    return [record.model_dump(exclude=timed) for record in records]


@pytest.fixture
def work(tmp_path: Path, kdbench_plan: Any, kdbench_answer: Any) -> Callable[..., Any]:
    """`work(watch)`: a worker's answer to a cohort whose teacher is not there yet."""
    (cohort,) = kdbench_plan(
        methods=["kd"], pairs=["resnet8[width=0.25]:resnet8[width=0.25]"]
    ).cohorts
    place = tmp_path / ODD

    def answer(watch: Callable[[str, int], None] = lambda name, step: None) -> Any:
        bench = Workbench(place / "cache", Store(place / "store"), torch.device("cpu"))
        turn = SimpleNamespace(watch=lambda trials: watch)
        for job in cohort.awaited:
            if (said := _answer((job, cohort.root), bench, turn)) is not None:
                return said
        return _answer((cohort,), bench, turn)

    return answer


def test_wherever_a_worker_finds_the_disk_full_it_says_so_and_goes_on_when_there_is_room(
    work: Callable[..., Any], tmp_path: Path
) -> None:
    expected = bits(work())
    shutil.rmtree(tmp_path / ODD)
    for name, (event, path) in WRITES.items():  # each goes on from what the last one left
        with full(event, path):
            error = work()
        assert isinstance(error, StoreError), (name, error)
        assert "No space left" in error.why, name
        assert re.match("free space there, or choose (an)?other place", error.next), name
        assert not [*tmp_path.rglob("*.part"), *tmp_path.rglob(".part-*")], name
    assert bits(work()) == expected


def test_a_cache_that_is_removed_in_a_run_is_an_error_that_says_so_and_is_made_anew(
    work: Callable[..., Any], tmp_path: Path
) -> None:
    cache = tmp_path / ODD / "cache"

    def removing(part: Path, when: int) -> Callable[[str, int], None]:
        return lambda _, step: shutil.rmtree(part, ignore_errors=True) if step == when else None

    error = work(removing(cache / "teachers", -1))  # the teacher is ready, and its cohort begins
    assert isinstance(error, DataError)
    assert error.what.endswith("card.json is not there")
    assert error.next == "run again: the teacher is trained anew"
    error = work(removing(cache, 3))
    assert isinstance(error, StoreError)
    assert error.what.endswith("was removed while it was used")
    assert error.next == "run again: it is made anew"
    expected = bits(work())
    assert bits(work(removing(cache / "pixels", 3))) == expected  # what is open stays open


def test_a_store_that_vanishes_in_a_run_is_made_again_and_the_next_run_completes_it(
    tmp_path: Path, kdbench_registry: Any, kdbench_suite: Any, kdbench_silence: Any
) -> None:
    suite = kdbench_suite(methods=["kd"], pairs=["resnet8:resnet8[width=0.25]"], seeds=[0, 1])
    store, told = Store(tmp_path / ODD), kdbench_silence.record

    def record(one: Record) -> None:
        told(one)
        if len(kdbench_silence.records) == 1:
            shutil.rmtree(store.root)

    kdbench_silence.record = record
    engine.run(suite, kdbench_registry, store, kdbench_silence, workers=1)
    assert [one.question.seed for one in store.records()] == [1]
    engine.run(suite, kdbench_registry, store, kdbench_silence, workers=1)
    assert sorted(one.question.seed for one in store.records()) == [0, 1]


def test_a_store_that_cannot_be_written_ends_the_run_before_anything_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    code = main(["run", "-m", "kd", "--steps", "4", "--store", str(tmp_path / "file" / "below")])
    assert code == ExitCode.ENVIRONMENT
    what, why, then = capsys.readouterr().err.splitlines()
    assert what.startswith("error: cannot write")
    assert "Not a directory" in why
    assert then == "  free space there, or choose another place with --store"


def test_a_path_with_spaces_quotes_and_other_letters_is_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / ODD
    place.mkdir()
    monkeypatch.setenv("KDBENCH_CACHE", str(place / "cache"))
    suite, store = place / "my suite.toml", place / "store"
    suite.write_text(SUITE)
    assert main(["run", str(suite), "--store", str(store), "--workers", "1"]) == 0
    out = capsys.readouterr().out
    (then,) = re.findall(r"^next: (.*)$", out, re.MULTILINE)
    assert shlex.split(then) == ["kdbench", "report", str(store)]
    assert main(shlex.split(then)[1:]) == 0
    assert main(["leaderboard", str(store)]) == 0
    assert main(["leaderboard", str(store), "--check"]) == 0
    for name in ("README.md", "index.html", "report.html", "leaderboard.csv"):
        assert (store / name).stat().st_size > 0
        # a path of this machine stays on it
        assert "caf\u00e9" not in (store / name).read_text("utf-8")
    assert len(Store(store).records()) == 2


def test_a_record_that_finds_no_room_is_asked_again_and_comes_out_the_same() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--only", "a record: whole"],
        capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].endswith("| 0 | nothing |")
