"""A method that breaks its contract, dies or hangs costs its own trial and nothing else."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from kdbench.record import Record
from kdbench.registry import Registry, scan

ZOO = '''
"""Methods that go wrong, each in its own way, at step `at`."""
import os
import time
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from kdbench.api import Method, Unsupported, hookimpl

HOWS = """raise_error text nothing vector number detached nan infinite_weights write_inputs
write_target write_index write_logits want_gradients dtype grad_mode threads precision twice never
memory foreign_hints quiz other_batch exit sleep init_raises init_unsupported init_state init_dtype
init_exits deploy_raises deploy_nan deploy_dtype cost_raises""".split()


@dataclass(frozen=True)
class Bad(Method):
    """Cross-entropy until step `at`."""

    how: str = ""
    at: int = 2

    def init(self, setup):
        if self.how == "init_raises":
            raise RuntimeError("no such file: /home/somebody/secret/weights.bin")
        if self.how == "init_unsupported":
            raise Unsupported("not this pair", "it is too small", "name another")
        if self.how == "init_state":
            return {"weights": [object()]}
        if self.how == "init_dtype":
            torch.set_default_dtype(torch.float64)
        if self.how == "init_exits":
            os._exit(3)
        return torch.zeros(())

    def loss(self, student, teacher, batch, state):  # LOSS
        return {"hard": F.cross_entropy(student.logits, batch.target)}

    def step(self, loop, batch, state):
        done = int(state)
        state += 1
        student, teacher = loop.forward(batch)
        losses = self.loss(student, teacher, batch, state)
        if self.how == "cost_raises" and done == 8:
            raise RuntimeError("tired of /home/somebody/data")
        if done == self.at:
            losses = self.fault(loop, batch, student, teacher, losses)
            if self.how == "never" or self.how.startswith("write"):
                return losses
        return loop.descend(losses)

    def fault(self, loop, batch, student, teacher, losses):
        if self.how.startswith("write"):
            loop.descend(losses)
        match self.how:
            case "raise_error":
                raise ValueError("here")  # RAISED
            case "text":
                return "0.5"
            case "nothing":
                return None
            case "vector":
                return {"hard": F.cross_entropy(student.logits, batch.target, reduction="none")}
            case "number":
                return {"hard": 0.5}
            case "detached":
                return {"hard": losses["hard"].detach()}
            case "nan":
                return {"hard": losses["hard"] * float("nan")}
            case "infinite_weights":
                student.logits.register_hook(lambda gradient: gradient * float("inf"))
            case "write_inputs":
                batch.inputs.mul_(0.5)
            case "write_target":
                batch.target.zero_()
            case "write_index":
                batch.index.zero_()
            case "write_logits":
                teacher.logits.detach().neg_()
            case "want_gradients":
                batch.inputs.requires_grad_()
            case "dtype":
                torch.set_default_dtype(torch.float64)
            case "grad_mode":
                torch.set_grad_enabled(False)
            case "threads":
                torch.set_num_threads(2)
            case "precision":
                torch.set_float32_matmul_precision("medium")
            case "twice":
                loop.update(loop.gradients(self.loss(*loop.forward(batch), batch, None)))
            case "memory":
                raise MemoryError("16 EiB")
            case "foreign_hints":
                return {"hard": losses["hard"] + teacher.hints[0].mean()}
            case "quiz":
                loop.quiz_batch()
            case "other_batch":
                import dataclasses
                loop.forward(dataclasses.replace(batch, inputs=batch.inputs.flip(3)))
            case "exit":
                os._exit(7)
            case "sleep":
                time.sleep(120)
        return losses

    def deploy(self, student, state):
        if self.how == "deploy_raises":
            raise RuntimeError("cannot ship")
        if self.how == "deploy_nan":
            return Broken()
        if self.how == "deploy_dtype":
            torch.set_default_dtype(torch.float64)
        return student


class Broken(torch.nn.Module):
    def forward(self, images):
        return torch.full((len(images), 10), float("nan"))


@hookimpl
def kdbench_methods():
    for place, how in enumerate(HOWS):
        yield how, Bad(how, 7 if how == "infinite_weights" else place % 6)
'''
LINES = ZOO.splitlines()
LOSS = next(i for i, line in enumerate(LINES, 1) if "# LOSS" in line)
RAISED = next(i for i, line in enumerate(LINES, 1) if "# RAISED" in line)

BROKEN = {
    "raise_error": ("failed", "ValueError: here"),
    "text": ("failed", "the losses are a str"),
    "nothing": ("failed", "the losses are a NoneType"),
    "vector": ("failed", "the loss term 'hard' has shape (32,)"),
    "number": ("failed", "the loss term 'hard' has float"),
    "detached": ("failed", "does not require grad"),
    "nan": ("diverged", "the term 'hard' is nan"),
    "infinite_weights": ("diverged", "the student's weights are not finite after step 8"),
    "write_inputs": ("failed", "wrote into the shared batch"),
    "write_target": ("failed", "wrote into the shared batch"),
    "write_index": ("failed", "wrote into the shared batch"),
    "write_logits": ("failed", "wrote into the shared batch or teacher outputs"),
    "want_gradients": ("failed", "wrote into the shared batch"),
    "dtype": ("failed", "step() changed global state"),
    "grad_mode": ("failed", ""),  # torch itself may be the first to complain
    "threads": ("failed", "step() changed global state"),
    "precision": ("failed", "step() changed global state"),
    "twice": ("failed", "updated the student 2 times"),
    "never": ("failed", "updated the student 0 times"),
    "memory": ("oom", "MemoryError: 16 EiB"),
    "foreign_hints": ("failed", "reads maps that it did not declare"),
    "quiz": ("failed", "no quiz split was asked for"),
    "other_batch": ("failed", "forward() was given another batch"),
    "init_raises": ("failed", "RuntimeError"),
    "init_unsupported": ("unsupported", "not this pair"),
    "init_state": ("failed", "the method's state holds a object"),
    "init_dtype": ("failed", "init() changed global state"),
    "deploy_raises": ("failed", "cannot ship"),
    "deploy_nan": ("failed", "not finite"),
    "deploy_dtype": ("failed", "deploy() changed global state"),
}
GOOD = ["kd", "fitnet", "rco"]


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    file = tmp_path_factory.mktemp("zoo") / "zoo.py"
    file.write_text(ZOO)
    return scan(files=[file])


def bits(record: Record) -> tuple[Any, ...]:
    assert record.status == "ok", record.failure
    assert record.deployed
    measured = record.quality, record.fidelity, record.losses, record.curve, record.per_class
    return record.deployed.weights, record.logits, *measured


def test_whatever_a_method_does_costs_its_own_trial_alone_and_the_record_says_whose_fault_it_is(
    zoo: Registry, kdbench_plan: Callable[..., Any], kdbench_answer: Callable[..., Any]
) -> None:
    measured = {"evaluation": {"validation_rows": 100, "curve": 2}, "teacher": {"rows": 800}}
    (undisturbed,) = kdbench_plan(methods=GOOD, **measured).cohorts
    expected = {name: bits(record) for name, record in kdbench_answer(undisturbed).items()}
    mixed = ["kd", *[*BROKEN][:15], "fitnet", *[*BROKEN][15:], "rco"]
    (cohort,) = kdbench_plan(methods=mixed, registry=zoo, **measured).cohorts
    found = kdbench_answer(cohort)
    assert [*found] == mixed
    for name in GOOD:
        assert bits(found[name]) == expected[name], name
    for name, (status, said) in BROKEN.items():
        record = found[name]
        assert record.failure
        message = record.failure.message
        assert (record.status, said in message) == (status, True), (name, record.failure)
        assert message.startswith("zoo (zoo.py, line ")
        assert "/" not in record.model_dump_json(include={"failure"})
        assert record.deployed is None
        assert record.cost is None
        assert not record.quality
        assert not record.logits
    assert f"line {RAISED})" in found["raise_error"].failure.message
    assert "step 0" in found["raise_error"].failure.where
    assert found["raise_error"].curve == ()  # of a trial that has left nothing more is asked
    assert len(found["deploy_nan"].curve) == 0 < len(found["kd"].curve)
    assert f"line {LOSS})" in found["nan"].failure.message  # the host's finding: where its loss is
    assert found["init_raises"].failure.where == "init"
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()
    assert torch.get_num_threads() == 1
    assert torch.get_float32_matmul_precision() == "highest"


def test_a_method_that_fails_in_the_cost_pass_alone_keeps_its_quality_and_the_others_their_cost(
    zoo: Registry, kdbench_plan: Callable[..., Any], kdbench_answer: Callable[..., Any]
) -> None:
    (cohort,) = kdbench_plan(methods=["kd", "cost_raises", "fitnet"], registry=zoo).cohorts
    found = kdbench_answer(cohort)
    tired = found["cost_raises"]
    assert (tired.status, tired.cost) == ("ok", None)
    assert tired.quality
    assert tired.failure.where == "cost pass"
    assert "zoo.py" in tired.failure.message
    assert "/" not in tired.failure.message
    assert found["kd"].cost.overhead > 0
    assert found["fitnet"].cost.overhead > 0
