"""A student's pass compiled: a choice of the question, since it moves results within rounding.

Only what all of a cohort's students have alike decides what is compiled, so a student's compiled
code does not depend on who trains beside it.
"""

import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from kdbench.api import Maps, Method, Outputs
from kdbench.data import Views
from kdbench.errors import DeviceError
from kdbench.models import Network
from kdbench.train.runner import Runner
from kdbench.train.saved import Saved
from kdbench.train.stream import make_batch

MANY = 1 << 20
"""Compiled forms of one function; torch's own bound would leave a cohort's later students eager."""


def set_compiler(cache: Path, device: torch.device) -> None:
    """Have torch compile in this process, and keep in the cache what it makes.

    Raises:
        DeviceError: The CPU's compiler is not there.
    """
    import torch._dynamo.config  # a second or two, for those who compile
    import torch._inductor.config
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    # it warns of a missing GPU that nobody asked for
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache / "compiled"))
    torch._inductor.config.compile_threads = 1  # a worker has one core
    torch._dynamo.config.recompile_limit = MANY
    torch._dynamo.config.accumulated_recompile_limit = MANY
    try:
        if device.type == "cpu":
            get_cpp_compiler()
    except InvalidCxxCompiler as error:
        raise DeviceError(
            "students cannot be compiled here",
            "there is no C++ compiler, which torch.compile needs on a CPU",
            'install g++ or name one in CXX, or set compile = "off" in [train]',
        ) from error


def left_eager(method: Method, student: Network) -> str:
    """Why this method's student is not compiled; empty where it is."""
    needs = method.needs()
    if type(method).step is not Method.step:
        return "the method takes over the step"
    if needs.preacts or needs.class_maps:
        return "the method reads maps that are caught on their way"
    if not student.reading.direct:
        return "the network's pooled features are caught on their way"
    return ""


def compile_student(runner: Runner, views: Views) -> None:
    """Compile what the runner's student says in training, for all its batches; nothing else moves.

    Args:
        runner: Before its first step; keeps the seconds that it took, or a note why it stays eager.
        views: The stream's rows.
    """
    student = runner.student
    assert isinstance(student, Network)
    if why := left_eager(runner.method, student):
        runner.notes.append(f"the student is not compiled: {why}")
        return
    start, saved = time.perf_counter(), Saved(runner)
    tensors = torch.compile(student.tensors, dynamic=False)

    def listen(images: torch.Tensor, maps: Maps) -> Outputs:
        return student.answer(images, maps, tensors)

    runner.listen = listen
    student.train()
    devices = [runner.device] if runner.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        for rows in _sizes(runner, len(views)):
            for stage in range(len(runner.stages)):
                runner.done = runner.ends[stage - 1] if stage else 0
                picked = views.order(0)[:rows]
                batch = make_batch(views, picked, views.batch(picked, 0), 0.0)
                said = runner.ask_student(batch).logits.sum()
                if said.requires_grad:
                    torch.autograd.grad(said, runner.student_weights, allow_unused=True)
    saved.restore()
    runner.compile_seconds = time.perf_counter() - start


def _sizes(runner: Runner, rows: int) -> Iterator[int]:
    """Rows of the stream's batches, each number once."""
    whole, rest = divmod(rows, runner.protocol.batch_size)
    if whole:
        yield runner.protocol.batch_size
    if runner.protocol.steps_per_epoch(rows) > whole:
        yield rest
