"""Contracts on a whole training: what moves, what stays, what is kept."""

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kdbench.api import ContractError, Method
from kdbench.record import Standing
from kdbench.teacher import digest
from kdbench.testing.bench import Bench
from kdbench.testing.contracts.losses import LONG
from kdbench.train import make_batch
from kdbench.train.contract import tensors_of
from kdbench.train.snapshot import packed, restore, snapshot, unpacked


def training_goes_through(method: Method) -> None:
    """Eight steps go through: allowed state and losses, one update a step, nothing shared moves."""
    Bench(method).train()


def ragged_last_batch_goes_through(method: Method) -> None:
    """Trainings go through whose epochs end in a smaller batch, or are one batch of all rows."""
    for rows, batch_size in ((40, 16), (23, 8), (20, 32)):
        Bench(method, rows=rows, batch_size=batch_size, ragged=True).train()


def state_is_the_method_s_own(method: Method) -> None:
    """State is Modules, tensors and optimizers, and nothing in it is the student's or teacher's."""
    bench = Bench(method)
    modules, tensors, _ = tensors_of(bench.runner.state)
    networks = [bench.runner.student, bench.teacher, *filter(None, [bench.runner.private])]
    theirs = {id(one) for network in networks for one in _parts(network)}
    own = [*tensors, *(part for module in modules for part in _parts(module))]
    if shared := [one for one in own if id(one) in theirs]:
        raise ContractError(
            f"the state holds a {type(shared[0]).__name__} of the student or the teacher",
            "it would be trained, or put in training mode, as the method's own",
            "copy.deepcopy what the method needs, and requires_grad_(False)",
        )


def _parts(module: nn.Module) -> Iterator[object]:
    yield from module.modules()
    yield from module.parameters()
    yield from module.buffers()


def teacher_and_batch_stay_as_they_were(method: Method) -> None:
    """Teacher and batch are the same to the bit, before and after."""
    bench = Bench(method, steps=LONG)
    rows = torch.arange(16)
    for stage in bench.stages:
        seen = bench.step(16, stage).batch
        fresh = make_batch(
            bench.rig.views, rows, bench.rig.views.batch(rows, 0), bench.runner.progress
        )
        for name in ("inputs", "target", "labelled", "index", "progress"):
            found = getattr(seen, name)
            if found.requires_grad or not torch.equal(found, getattr(fresh, name)):
                raise ContractError(
                    f"a step wrote into batch.{name}",
                    "it belongs to all methods",
                    "clone before writing",
                )
    trained = Bench(method)
    trained.train()
    for one in (bench, trained):
        if digest(one.teacher) != one.teacher.born:
            raise ContractError(
                "the teacher's weights or buffers moved",
                "it is frozen and shared",
                'copy.deepcopy it in init(), or return Needs(teacher="private")',
            )


def global_state_stays_as_it_was(method: Method) -> None:
    """Default dtype, grad mode, threads and the generators of numpy and random do not move."""
    before = _globals()
    bench = Bench(method, steps=LONG)
    for stage in bench.stages:
        bench.step(16, stage)
    bench.deployed()
    moved = [name for name, value in _globals().items() if value != before[name]]
    if moved:
        raise ContractError(
            f"the method changed {', '.join(moved)}",
            "it belongs to all methods; the host seeds torch's generator before every call",
            "draw from torch alone, and restore what must be changed",
        )


def _globals() -> dict[str, Any]:
    numpy: Any = np.random.get_state(legacy=False)
    return {
        "the default dtype": torch.get_default_dtype(),
        "grad mode": torch.is_grad_enabled(),
        "the number of threads": torch.get_num_threads(),
        "matmul precision": torch.get_float32_matmul_precision(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "cudnn.benchmark": torch.backends.cudnn.benchmark,
        "numpy's generator": repr((numpy["state"]["pos"], numpy["state"]["key"].tobytes())),
        "random's generator": random.getstate(),
    }


def two_runs_have_the_same_bits(method: Method) -> None:
    """Two trainings from one seed end in the same bits, one put away on the way; weights move."""
    students = []
    for drawn, last in ((99, None), (7, 3)):
        bench = Bench(method)
        before = [weight.detach().clone() for weight in bench.runner.student_weights]
        torch.default_generator.manual_seed(drawn)
        losses = bench.train(last)
        if last:
            away = packed(snapshot(bench.runner), Standing(last, bench.rig.total, "", ""))
            bench = Bench(method)
            restore(bench.runner, unpacked(away)[0])
            losses = bench.train()
        if all(map(torch.equal, before, bench.runner.student_weights)):
            raise ContractError(
                "the student has learnt nothing",
                "not one of its weights has moved",
                "let a loss depend on them, and give optimizer() all weights",
            )
        students.append((digest(bench.runner.student), losses))
    if students[0] != students[1]:
        raise ContractError(
            "two trainings from the same seed differ",
            f"their last losses are {students[0][1]} and, taken up again, {students[1][1]}",
            "let nothing but state be kept between calls, and draw from torch's generators",
        )


def deployed_says_finite_logits(method: Method) -> None:
    """What is deployed says finite logits of every class, the same ones when asked again."""
    bench = Bench(method)
    bench.train()
    deployed = bench.deployed().eval()
    images = bench.rig.views.plain(torch.arange(5))
    with torch.no_grad():
        one, two = (getattr(said, "logits", said) for said in map(deployed, (images, images)))
    wrong = (
        f"a {type(one).__name__}"
        if not isinstance(one, Tensor)
        else f"shape {tuple(one.shape)} for 5 images of 10 classes"
        if one.shape != (5, 10)
        else "logits that are not finite"
        if not one.isfinite().all()
        else "other logits when asked again"
        if not torch.equal(one, two)
        else ""
    )
    if wrong:
        raise ContractError(
            f"what is deployed says {wrong}",
            "it takes images in [0, 1] and gives logits or Outputs",
            "correct deploy()",
        )
