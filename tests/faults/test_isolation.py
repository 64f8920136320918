"""What a method does to the process that it shares costs its own trial, and no other a bit."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdbench import engine
from kdbench.record import Record, Store
from kdbench.registry import Registry, scan
from tests.faults import zoo as bad

GOOD = ["kd", "fitnet", "rco"]
SAID = {
    "sys_exit": "step() called sys.exit(0)",
    "base_exception": "step() raised Stop",
    "torch_seed": "step() seeded torch's generator",
    "child": "step() left child processes running",
    "directory": "the working directory was",
    "default_device": "(a default device is one) was 0, is 1",
    "inference_mode": "inference mode was False, is True",
    "autocast": "autocast on the CPU was False, is True",
    "deterministic": "deterministic mode was 0, is 2",
    "anomaly": "anomaly mode was False, is True",
    "denormal": "flushing of denormal numbers was False, is True",
    "onednn": "oneDNN was True, is False",
    "numpy_seed": "numpy's generator moved",
    "numpy_draw": "numpy's generator moved",
    "random_seed": "step() changed the state of random",
    "random_draw": "step() changed the state of random",
    "batch_data": "step() wrote into the shared batch",
    "batch_numpy": "step() wrote into the shared batch",
    "outputs_data": "step() wrote into the shared batch",
    "teacher_in_place": "step() changed the teacher's weight",
    "teacher_data": "step() changed the teacher's weights",
    "teacher_loaded": "step() changed the teacher's weight",
    "teacher_mode": "step() changed the teacher's mode to training",
    "teacher_parameter": "step() changed the teacher's weight",
    "teacher_buffer": "step() changed the teacher's weights",
    "teacher_hook": "step() changed an attribute, a part or a hook of the teacher's Linear",
    "patch_loss": "step() changed torch.nn.functional.cross_entropy (now zoo.py, line ",
    "patch_tensor": "step() changed torch.Tensor.log_softmax (now zoo.py, line ",
    "patch_optimizer": "step() changed torch.optim.sgd.SGD.step (now zoo.py, line ",
    "patch_seed": "step() changed torch.manual_seed (now zoo.py, line ",
    "module_hooks": "step() changed the hooks of all modules or optimizers",
    "environment": "step() changed environment variables",
    "path": "step() changed sys.path",
    "signals": "step() changed what signals do",
    "init_patch": "init() changed torch.nn.functional.kl_div",
    "init_teacher": "init() changed the teacher's weights",
    "deploy_patch": "deploy() changed torch.nn.functional.linear",
    "deploy_teacher": "deploy() changed the teacher's weights",
}
AT_IMPORT = """
import torch.nn.functional as F
from kdbench.api import Method, hookimpl
from dataclasses import dataclass

real = F.cross_entropy
F.cross_entropy = lambda *args, **options: 2 * real(*args, **options)

@dataclass(frozen=True)
class Patches(Method):
    def loss(self, student, teacher, batch, state):
        return {"hard": F.cross_entropy(student.logits, batch.target)}

@hookimpl
def kdbench_methods():
    yield "patches", Patches()
"""


def bits(record: Record) -> tuple[Any, ...]:
    assert record.status == "ok", record.failure
    assert record.deployed
    measured = record.quality, record.fidelity, record.losses, record.curve, record.per_class
    return record.deployed.weights, record.logits, *measured


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    file = tmp_path_factory.mktemp("zoo") / "patches.py"
    file.write_text(AT_IMPORT)
    return scan(files=[bad.PATH, file])


def test_whatever_a_method_does_to_its_process_costs_its_own_trial_alone(
    zoo: Registry, kdbench_plan: Callable[..., Any], kdbench_answer: Callable[..., Any]
) -> None:
    measured = {"evaluation": {"validation_rows": 100, "curve": 2}, "teacher": {"rows": 800}}
    (undisturbed,) = kdbench_plan(methods=GOOD, **measured).cohorts
    expected = {name: bits(record) for name, record in kdbench_answer(undisturbed).items()}
    mixed = ["kd", *[*SAID][:20], "patches", "fitnet", *[*SAID][20:], "rco"]
    (cohort,) = kdbench_plan(methods=mixed, registry=zoo, **measured).cohorts
    found = kdbench_answer(cohort)
    rows = []
    for name, said in (
        SAID | {"patches": "its import changed torch.nn.functional.cross_entropy"}
    ).items():
        record = found[name]
        assert record.failure, name
        message = record.failure.message
        rows.append(f"| {name} | {record.status} | {message.splitlines()[0]} |")
        assert (record.status, said in message) == ("failed", True), (name, record.failure)
        where = "patches (patches.py" if name == "patches" else "zoo (zoo.py, line "
        assert message.startswith(where), message
        assert record.cost is None
        assert record.deployed is None
    print("| misdeed | status | message |\n|---|---|---|", *rows, sep="\n")
    for name in GOOD:
        assert bits(found[name]) == expected[name], name
        assert not found[name].cost.valid
        assert re.match("trained again because of .*teacher_data", found[name].cost.why_not)


def test_a_process_that_is_of_no_more_use_is_left_and_the_others_go_on_in_another(
    tmp_path: Path, zoo: Registry, kdbench_suite: Any, kdbench_plan: Callable[..., Any],
    kdbench_answer: Callable[..., Any], kdbench_silence: Any,
) -> None:  # fmt: skip
    expected = bits(kdbench_answer(*kdbench_plan(methods=["kd"]).cohorts)["kd"])
    suite = kdbench_suite(methods=["kd", *bad.WORSE])
    run = engine.run(suite, zoo, Store(tmp_path / "store"), kdbench_silence, workers=1)
    found = {record.question.method: record for record in run.records}
    assert bits(found["kd"]) == expected
    assert "step() left a thread running\n  busy" in found["thread"].failure.message
    assert found["thread"].status == "failed"
    for name in bad.WORSE:
        assert found[name].status == ("failed" if name == "thread" else "crashed"), name
        assert found[name].failure.message.startswith("zoo (zoo.py"), name
    assert "thread" in found["kd"].cost.why_not
