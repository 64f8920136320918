"""How many times as fast as a plain statement are the losses that kdbench computes in a short way?

    python tests/benchmarks/losses.py --only rkd --rounds 5 --json losses.json --markdown losses.md

Both sides take turns, A B A B; a row is the median of its rounds' ratios. `crd draw` has no
gradient; `meta-gradient` is MetaDistil's step without what the step of KD has too. A side's block
repeats a short form until it is long enough for the clock; its figures tell how often.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.append(str(Path(__file__).resolve().parent / "targets"))
import naive
from figures import Row, table
from rounds import Block, Side, take_turns, timed
from steps import contrast, contrasts, descended, meta_steps, selectivity

import kdbench
from kdbench.functional import softened_kl
from kdbench.testing import Bench, Case
from kdbench_methods import kdsvd, metadistil
from kdbench_methods.pkt import affinities
from kdbench_methods.rkd import angles

SMALL, LARGE = "resnet20:resnet8", "resnet56:resnet20"
MAPS = ((64, 64, 32, 32), (64, 128, 16, 16), (64, 256, 8, 8))


def draws() -> dict[str, Side]:
    """CRD's negatives of a batch; which rows are of other classes is known beforehand."""
    case, draw = contrast(), np.random.default_rng(0)
    state, target = case.state, case.state.classes[case.index]
    others = [np.flatnonzero(state.classes.numpy() != own) for own in target.tolist()]

    def several(times: int, drawn: Callable[[], object]) -> Side:
        return lambda: timed(lambda: [drawn() for _ in range(times)], times)

    return {
        "short": several(20, lambda: state.draw(target)),
        "plain": several(1, lambda: naive.negatives(others, state.count, draw)),
    }


def triples(batch: int = 64, dim: int = 64) -> dict[str, Side]:
    """RKD's angles of all triples, and their gradient."""
    ours, theirs = torch.randn(2, batch, dim)
    ours.requires_grad_()

    def term(cosines: Callable[[Tensor], Tensor]) -> Tensor:
        return F.smooth_l1_loss(cosines(ours), cosines(theirs))

    return {
        "short": descended(lambda: term(angles), ours, 20),
        "plain": descended(lambda: term(naive.angles), ours, 1),
    }


def spectra() -> dict[str, Side]:
    """KDSVD's directions of three hints, student's and teacher's, and the student's gradient."""
    ours = [torch.randn(shape).relu_().requires_grad_() for shape in MAPS]
    theirs = [torch.randn(shape).relu_() for shape in MAPS]

    def term(directions: Callable[[Tensor, int], Tensor]) -> Tensor:
        shipped, kdsvd.directions = kdsvd.directions, directions
        try:
            found = [kdsvd.matched(s, t, 1, 3) for s, t in zip(ours, theirs, strict=True)]
        finally:
            kdsvd.directions = shipped
        return torch.stack([F.mse_loss(s, t) for s, t in found]).sum()

    short = kdsvd.directions
    return {
        "short": descended(lambda: term(short), ours, 1),
        "plain": descended(lambda: term(naive.directions), ours, 1),
    }


def neighbours(batch: int = 64, dim: int = 64) -> dict[str, Side]:
    """PKT's affinities and their gradient."""
    rows, weigh = torch.randn(batch, dim).requires_grad_(), torch.randn(batch, batch)
    return {
        "short": descended(lambda: (weigh * affinities(rows)).sum(), rows, 500),
        "plain": descended(lambda: (weigh * naive.affinities(rows)).sum(), rows, 1),
    }


def lessons(pair: str, batch: int = 64) -> dict[str, Side]:
    """MetaDistil's meta-gradient alone, without the student's real step and its teacher's pass."""
    teacher, _, student = pair.partition(":")
    case = Case(
        teacher=teacher, student=student, classes=100, tree=False, image_shape=(3, 32, 32),
        rows=20 * batch, batch_size=batch, steps=1000,
    )  # fmt: skip
    runner = Bench(kdbench.method("metadistil"), case).runner
    data, quiz = runner.quiz_batch(), runner.quiz_batch()

    def objective(ours: Tensor, theirs: Tensor) -> Tensor:
        hard = F.cross_entropy(ours, data.target)
        return 0.1 * hard + 0.9 * softened_kl(ours, theirs, 4.0)

    def quiz_loss(weights: metadistil.Weights) -> Tensor:
        logits = metadistil.answer(runner.student, weights, quiz.inputs)
        return F.cross_entropy(logits, quiz.target)

    def side(way: Callable[..., metadistil.Lesson]) -> Side:
        networks = runner.student, runner.teacher

        def block() -> Block:
            return timed(lambda: way(*networks, data.inputs, objective, quiz_loss, 0.02), 1)

        block()
        return block

    return {"forward mode": side(metadistil.meta_gradient), "create_graph": side(naive.lesson)}


GROUPS: dict[str, Callable[[], dict[str, Side]]] = {
    "nst": selectivity,
    "crd": contrasts,
    "crd draw": draws,
    "rkd": triples,
    "kdsvd": spectra,
    "pkt": neighbours,
    "meta-gradient": lambda: lessons(LARGE),
    "metadistil": lambda: meta_steps(LARGE, 64, 1),
    "meta-gradient, small": lambda: lessons(SMALL),
    "metadistil, small": lambda: meta_steps(SMALL, 64, 1),
}
"""What takes turns; a group's sides are the row's names."""

ROWS = [
    Row("NST, batch 16, 64 maps of 32 x 32", "broadcast", "nst", "products", "broadcast", 20.0),
    Row("CRD, batch 64, 16384 negatives of 50,000 rows, drawing ours included", "gather", "crd",
        "products", "gather", 10.0),
    Row("CRD's drawing, batch 64", "numpy's choice a row", "crd draw", "short", "plain"),
    Row("RKD's angles, batch 64, 64 wide", "batch³ x dim", "rkd", "short", "plain"),
    Row("KDSVD's directions, batch 64, three hints", "whole decomposition", "kdsvd", "short",
        "plain"),
    Row("PKT's affinities, batch 64", "loop over pairs", "pkt", "short", "plain"),
    *(Row(f"{work}, {pair}, batch 64", "`create_graph`", group + small, "forward mode",
          "create_graph", least if pair == LARGE else None)
      for pair, small in ((LARGE, ""), (SMALL, ", small"))
      for work, group, least in (("MetaDistil's meta-gradient", "meta-gradient", None),
                                 ("MetaDistil's whole step", "metadistil", 1.5))),
]  # fmt: skip


def rows(rounds: int, only: list[str], foreign: float) -> dict[str, Any]:
    """Raw rounds of each group, the form that `figures.table` reads."""
    found = {}
    for name in only:
        print(name, flush=True)
        found[name] = take_turns(GROUPS[name](), rounds, foreign=foreign)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", action="append", choices=GROUPS, metavar="GROUP",
                        help=f"what to measure; repeat: {', '.join(GROUPS)}")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--foreign", type=float, default=0.3, help="cores that others may use")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    found = rows(given.rounds, given.only or list(GROUPS), given.foreign)
    print(table(ROWS, found))
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    if given.markdown:
        given.markdown.write_text(table(ROWS, found), "utf-8")


if __name__ == "__main__":
    main()
