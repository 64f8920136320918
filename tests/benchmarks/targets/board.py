"""Whole boards: kdbench from cold start to rendered board, and the host's share of it."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean, median
from typing import Any

import timm
import torch
from rounds import Block, Side, Team, take_turns, working
from training import METHODS

from kdbench import engine
from kdbench.cli.selection import choose
from kdbench.cli.work import planned
from kdbench.record import Pair, Record, Store
from kdbench.testing.bench import register

BATCH, TRAIN_ROWS, USUAL_ROWS = 64, 12_800, 50_000
"""Of a step; of the board's transfer set; of an epoch as a block of the usual loop has it."""
_SUITE = """
name = "short"

[axes]
datasets = ["cifar100"]
pairs = ["{pair}"]
methods = {methods}
seeds = {seeds}

[train]
epochs = {epochs}
batch_size = {batch}
rows = {rows}
shift = 4
flip = true
learning_rate = 0.05
weight_decay = 5e-4

[scoring]
baselines = ["kd"]
"""
SEEDS, COHORTS = 3, 20
_DIGITS = "resnet8:resnet8[width=0.5]"
_OWN = ("schema_version", "status", "question", "fingerprints", "suite", "origin", "settings",
        "created", "attempt", "environment")  # fmt: skip
"""What a trial itself says of a record."""


def board(pair: str, epochs: int, usual: Team) -> dict[str, Any]:
    """One round: a board of real CIFAR-100 in `KDBENCH_DATA`, and as many usual runs as it has.

    The transfer set is part of CIFAR-100, so that a few epochs are soon over. The teacher is given,
    to both: its weights lie in a file. kdbench starts with nothing in its cache; its time is that
    of the command, with all that it measures beyond the usual loop: fidelity on the transfer set,
    and the pass that says what a step costs. The usual runs' time is computed from blocks before
    and after it: steps, and the test set at the end of every epoch.
    """
    with working({"usual": usual}) as sides, _folders() as (root, environment):
        given = _given(pair, root)
        before = take_turns(sides, 2, foreign=float("inf"))
        suite = root / "short.toml"
        suite.write_text(_SUITE.format(
            pair=given, methods=json.dumps(METHODS), seeds=SEEDS, epochs=epochs, batch=BATCH,
            rows=TRAIN_ROWS,
        ))  # fmt: skip
        start = time.perf_counter()
        _kdbench(environment, "run", str(suite), "--store", str(root / "store"))
        spent = time.perf_counter() - start
        after = take_turns(sides, 2, foreign=float("inf"))
        trials = _ok(root / "store", SEEDS * len(METHODS))
    blocks = [one["blocks"]["usual"] for one in (*before["rounds"], *after["rounds"])]
    runs = [usual_seconds(one, epochs) for one in blocks]
    ours = {"work": len(trials), "seconds": spent}
    theirs = {"work": 1, "seconds": median(runs)}
    return {
        "rounds": [{"blocks": {"kdbench": ours, "usual": theirs}}],
        "discarded": [], "usual": [*before["rounds"], *after["rounds"]],
        "phases": [record.seconds for record in trials],
    }  # fmt: skip


def usual_seconds(block: Block, epochs: int) -> float:
    """What a run of the usual loop takes, from a block of it, whose evaluation has its share."""
    step = block["train_seconds"] / (block["work"] / BATCH)
    share = block["work"] / USUAL_ROWS
    evaluation = (block["seconds"] - block["train_seconds"]) / share
    return epochs * (TRAIN_ROWS / BATCH * step + evaluation)


def host(rounds: int, foreign: float) -> dict[str, Any]:
    """Planning, listing and rendering a board of 20 cohorts of 8 methods, beside its run.

    The suite is `digits`, the shortest that ships. One cohort is run; the others' records are its
    own with other seeds. The run's length is that of a trial of it, times trials, over cores.
    """
    with _folders() as (root, environment):
        store, all_seeds = root / "store", ("--seeds", str(COHORTS))
        asked = ("digits", *_flags("-m", METHODS), "--pair", _DIGITS, "--store", str(store))
        _kdbench(environment, "run", *asked, "--seeds", "1")
        done = _ok(store, len(METHODS))
        _fill(store, done)
        # finds nothing to train, and notes down what the board is to show
        _kdbench(environment, "run", *asked, *all_seeds)
        trials = _ok(store, COHORTS * len(METHODS))
        length = len(trials) * fmean(one.seconds["trial"] for one in done) / engine.cores()

        def commands() -> Block:
            start = time.perf_counter()
            _kdbench(environment, "plan", *asked, *all_seeds)
            _kdbench(environment, "list", "methods")
            _kdbench(environment, "leaderboard", str(store))
            return {"work": 1, "seconds": time.perf_counter() - start}

        sides: dict[str, Side] = {"host": commands}
        found = take_turns(sides, rounds, foreign=foreign)
    for one in (*found["rounds"], *found["discarded"]):
        one["blocks"]["run"] = {"work": 1, "seconds": length, "cpu": length * engine.cores()}
    return found


def _fill(store: Path, done: Sequence[Record]) -> None:
    """Records of all other seeds."""
    known = {record.question.method: record for record in done}
    asked = choose("digits", store, list(METHODS), [_DIGITS], chosen=range(COHORTS))
    for trial in planned(asked, done).trials:
        if trial.state == "open":
            like, seed = known[trial.question.method], trial.question.seed
            fields = {n: getattr(like, n) for n in Record.model_fields if n not in _OWN}
            fields["quality"] = {n: v * (1 + seed / 1e3) for n, v in like.quality.items()}
            asked.store.add(trial.record("digits", "ok", like.environment, **fields))


def _ok(store: Path, count: int) -> list[Record]:
    """The store's records, all of them ok."""
    found = [record for record in Store(store).records() if record.status == "ok"]
    if len(found) != count:
        raise RuntimeError(f"{len(found)} of {count} trials are ok")
    return found


def _given(pair: str, root: Path) -> str:
    """The pair with its teacher's weights in a file; they are untrained, which costs the same."""
    asked = Pair.parse(pair)
    register(asked.teacher.network)
    torch.save(timm.create_model(str(asked.teacher.network), num_classes=100).state_dict(),
               root / "teacher.pth")  # fmt: skip
    return f"{asked.teacher.network}[checkpoint={root / 'teacher.pth'}]:{asked.student}"


@contextmanager
def _folders() -> Iterator[tuple[Path, dict[str, str]]]:
    """An empty folder, and an environment whose cache lies in it."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name), os.environ | {"KDBENCH_CACHE": str(Path(name) / "cache")}


def _flags(flag: str, values: Sequence[str]) -> list[str]:
    return [word for value in values for word in (flag, value)]


def _kdbench(environment: dict[str, str], *words: str) -> None:
    command = [sys.executable, "-m", "kdbench", *words]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
