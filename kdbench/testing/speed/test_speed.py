"""The speed suite: a step of each method in turns with the reference's, and what a pair takes."""

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch

from kdbench.api import Maps, Unsupported
from kdbench.measure import fidelity, quality, sweep
from kdbench.testing.speed.duel import Duel
from kdbench.testing.speed.peak import CONVOLUTIONS, SIDE, convolution, product
from kdbench.testing.speed.run import Run
from kdbench.train import Asked

EVALUATED = 1000
"""Rows of the evaluation sweep."""

_LEAST, _MOST = 3, 50
_SHARE = 0.25  # of a method's seconds: what belongs to a pair is measured once a run


@pytest.mark.benchmark(group="peak")
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolution(benchmark: Any, speed: Run, name: str) -> None:  # noqa: ANN401 - untyped fixture
    """3 x 3, forward: what utilisation is measured against."""
    task, operations = convolution(name, speed.device)
    fastest = _timed(benchmark, speed, task).min
    speed.peaks_gflops[f"convolution, {name}"] = operations / fastest / 1e9


@pytest.mark.benchmark(group="peak")
def test_product(benchmark: Any, speed: Run) -> None:  # noqa: ANN401 - as above
    """A product of square matrices."""
    task, operations = product(speed.device)
    fastest = _timed(benchmark, speed, task).min
    speed.peaks_gflops[f"product, {SIDE} x {SIDE}"] = operations / fastest / 1e9


@pytest.mark.benchmark(group="pair")
def test_data(benchmark: Any, speed: Run) -> None:  # noqa: ANN401 - as above
    """One batch of views."""
    views, rows = speed.reference.rig.views, torch.arange(speed.asked.batch)
    views.batch(rows, 0)  # those of an epoch are drawn once
    speed.pair_ms["data"] = 1e3 * _timed(benchmark, speed, lambda: views.batch(rows, 0)).median


@pytest.mark.benchmark(group="pair")
def test_teacher(benchmark: Any, speed: Run) -> None:  # noqa: ANN401 - as above
    """A batch's teacher pass, logits and pooled features."""
    rig = speed.reference.rig
    teach, rows = rig.teach(Maps()), torch.arange(speed.asked.batch)
    asked = Asked(1.0, "running", rig.views.batch(rows, 0), rows, 0, second=False)
    task = lambda: teach(asked)  # noqa: E731 - timed as it stands
    speed.pair_ms["teacher pass"] = 1e3 * _timed(benchmark, speed, task).median


@pytest.mark.benchmark(group="pair")
def test_student(benchmark: Any, speed: Run) -> None:  # noqa: ANN401 - as above
    """A batch's forward pass of the student in training, with its graph."""
    rig = speed.reference.rig
    student, images = rig.build().train(), rig.views.batch(torch.arange(speed.asked.batch), 0)
    speed.pair_ms["student forward"] = (
        1e3 * _timed(benchmark, speed, lambda: student(images)).median
    )


@pytest.mark.benchmark(group="pair")
def test_evaluation(benchmark: Any, speed: Run) -> None:  # noqa: ANN401 - as above
    """All metrics of the student on so many rows; the teacher's answers are known by then."""
    rig = speed.reference.rig
    rows, student = rig.splits.train.head(EVALUATED), rig.build()
    said = sweep(rig.teacher, rows.images, device=speed.device)

    def task() -> None:
        found = sweep(student, rows.images, device=speed.device)
        quality(found.logits, rows.labels)
        fidelity(found.logits, said.logits, rows.labels, found.pooled, said.pooled)

    name = f"evaluation, {EVALUATED} rows"
    speed.pair_ms[name] = 1e3 * _timed(benchmark, speed, task).median


@pytest.mark.benchmark(group="pair")
@pytest.mark.parametrize("batch", [1, 256])
def test_inference(benchmark: Any, speed: Run, batch: int) -> None:  # noqa: ANN401 - as above
    """A forward pass of the student as it is deployed."""
    student = speed.reference.rig.build().eval()
    images = torch.rand(batch, *speed.case.image_shape, device=speed.device)

    def task() -> None:
        with torch.no_grad():
            student(images)

    speed.pair_ms[f"inference, batch {batch}"] = 1e3 * _timed(benchmark, speed, task).median


@pytest.mark.benchmark(group="step")
def test_step(benchmark: Any, speed: Run, method: str) -> None:  # noqa: ANN401 - as above
    """A step of one method; before each round, outside of its time, a block of the reference."""
    contender, theirs = speed.asked.contender(method), speed.reference
    try:
        duel = Duel(speed.bench(contender), theirs, speed.asked.seconds)
    except Unsupported as error:
        speed.unsupported[method] = f"{error.what}: {error.why}"
        pytest.skip(speed.unsupported[method])
    benchmark.pedantic(duel.ours, setup=duel.theirs, rounds=duel.rounds)
    timings = benchmark.stats.stats.data
    speed.steps[method] = duel.summary(timings, contender, speed.convolution_gflops)
    benchmark.extra_info |= speed.steps[method].model_dump(mode="json")


def _timed(benchmark: Any, speed: Run, task: Callable[[], object]) -> Any:  # noqa: ANN401 - as above
    """pytest-benchmark's statistics of a task, in seconds."""

    def whole() -> None:
        task()
        if speed.device.type == "cuda":
            torch.cuda.synchronize()

    whole()  # what is lazy is made
    start = time.perf_counter()
    whole()
    rounds = int(_SHARE * speed.asked.seconds / (time.perf_counter() - start))
    benchmark.pedantic(whole, rounds=max(_LEAST, min(_MOST, rounds)))
    return benchmark.stats.stats
