"""What is measured together, and the rows of the table that come of it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from board import BATCH, board, host
from figures import Row
from rounds import ALONE, Team, take_turns, working
from steps import contrasts, meta_steps, selectivity
from training import METHODS, SETTINGS, bare, best_usual, ours, peak, rig

from kdbench import engine

SMALL, LARGE = "resnet56:resnet20", "resnet32x4:resnet8x4"
OVERHEAD = ("resnet20:resnet8", SMALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Of what size everything is.

    Attributes:
        rounds: That are to count.
        steps: Of a block.
        batch: Rows a step.
        rows: Of kdbench's transfer set.
        board_epochs: Of each student of a board.
        foreign: Cores that others may use in a round that counts.
        settings: Workers and threads among which the usual loop's best is looked for.
    """

    rounds: int = 8
    steps: int = 4
    batch: int = 64
    rows: int = 50_000
    board_epochs: int = 2
    foreign: float = 0.3
    settings: tuple[tuple[int, int], ...] = SETTINGS


def run(pair: str, asked: Asked) -> dict[str, Any]:
    """The usual loop at its best, beside kdbench's runs and cohorts."""
    best, tried = best_usual(pair, asked.batch, asked.steps, asked.settings, asked.foreign)
    shared = {"pair": pair, "batch": asked.batch, "rows": asked.rows}
    one, few = shared | {"steps": asked.steps}, shared | {"steps": max(1, asked.steps // 4)}
    made = {
        "usual": best,
        "run": Team(ours, one | {"methods": METHODS[:1]}, engine.cores()),
        "cohort": Team(ours, few | {"methods": METHODS}, engine.cores()),
        "cold": Team(ours, one | {"methods": METHODS[:1], "answers": "cold"}, engine.cores()),
        "warm": Team(ours, one | {"methods": METHODS[:1], "answers": "warm"}, engine.cores()),
    }
    calibrated = peak(rig(pair, 2, 4).build().eval(), asked.batch)
    with working(made) as sides:
        found = take_turns(sides | {"peak": calibrated}, asked.rounds, foreign=asked.foreign)
    return found | {"settings": tried, "usual": _setting(best)}


def boards(pair: str, asked: Asked) -> dict[str, Any]:
    """A whole board, one a call, in batches of the suite's size."""
    best, tried = best_usual(pair, BATCH, asked.steps, asked.settings, asked.foreign)
    found = board(pair, asked.board_epochs, best)
    return found | {"settings": tried, "usual_setting": _setting(best)}


def overhead(pair: str, asked: Asked) -> dict[str, Any]:
    """kdbench's loop beside a bare one, in this process."""
    size = {"pair": pair, "batch": asked.batch, "steps": asked.steps, "rows": asked.rows}
    sides = {"loop": ours(**size, methods=METHODS[:1]), "bare": bare(**size)}
    return take_turns(sides, asked.rounds, foreign=asked.foreign)


def meta(asked: Asked) -> dict[str, Any]:
    """MetaDistil's step."""
    sides = meta_steps(SMALL, asked.batch, max(1, asked.steps // 2))
    return take_turns(sides, asked.rounds, foreign=asked.foreign)


def losses(sides: Callable[[], Any], asked: Asked) -> dict[str, Any]:
    """A loss and its gradient."""
    return take_turns(sides(), asked.rounds, foreign=asked.foreign)


def _setting(best: Team) -> dict[str, int]:
    return {name: best.options[name] for name in ("workers", "threads")}


GROUPS: dict[str, Callable[[Asked], dict[str, Any]]] = {
    SMALL: partial(run, SMALL),
    LARGE: partial(run, LARGE),
    **{f"board {pair}": partial(boards, pair) for pair in (SMALL, LARGE)},
    "metadistil": meta,
    "nst": partial(losses, selectivity),
    "crd": partial(losses, contrasts),
    **{f"overhead {pair}": partial(overhead, pair) for pair in OVERHEAD},
    "host": lambda asked: host(asked.rounds, asked.foreign),
}


def _training(pair: str, run: float, cohort: float, warm: float) -> list[Row]:
    usual, cores = "the usual loop", f"{engine.cores()} side by side"
    return [
        Row(f"one KD run, live teacher, {pair}, {cores}", usual, pair, "run", "usual", run),
        Row("the same, evaluation not charged", usual, pair, "run", "usual", None, "train_seconds"),
        Row("the same, one process of one thread", usual, pair, "run" + ALONE, "usual"),
        Row(f"cohort of 8 methods, {pair}, method-images, {cores}", f"8 runs of {usual}", pair,
            "cohort", "usual", cohort),
        Row("the same, one process of one thread", f"8 runs of {usual}", pair, "cohort" + ALONE,
            "usual"),
        Row(f"KD, the teacher's answers kept, cold, {pair}, {cores}", usual, pair, "cold", "usual"),
        Row("the same, warm", usual, pair, "warm", "usual", warm),
        Row("the same, one process of one thread", usual, pair, "warm" + ALONE, "usual"),
        Row("the same, its student's operations", "a core's convolution peak", pair, "warm" + ALONE,
            "peak", 0.6 if pair == LARGE else None),
    ]  # fmt: skip


ROWS = [
    *_training(SMALL, 1.4, 2.5, 2.5),
    *_training(LARGE, 1.25, 3.0, 3.5),
    *(Row(f"board of 8 methods x 3 seeds, {pair}, cold start to rendered board",
          "24 runs of the usual loop", f"board {pair}", "kdbench", "usual", 3.0)
      for pair in (SMALL, LARGE)),
    Row(f"MetaDistil step, {SMALL}", "`create_graph`", "metadistil", "forward mode",
        "create_graph", 1.5),
    Row("NST loss and gradient, batch 16, 64 maps of 32 x 32", "broadcast", "nst", "products",
        "broadcast", 20.0),
    Row("CRD loss and gradient, batch 64, 16384 negatives of 50,000 rows", "gather", "crd",
        "products", "gather", 10.0),
    *(Row(f"KD in our loop, {pair}", "a bare loop with the same kernels", f"overhead {pair}",
          "loop", "bare", 1 / 1.03) for pair in OVERHEAD),
    Row("length of a run of 20 cohorts x 8 methods of digits", "planning, listing, rendering it",
        "host", "host", "run", 100.0),
]  # fmt: skip


def machine() -> dict[str, Any]:
    """What times depend on; no host."""
    return {
        "torch": torch.__version__, "cores": engine.cores(),
        "capability": torch.backends.cpu.get_cpu_capability(),
    }  # fmt: skip
