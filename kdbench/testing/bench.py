"""A tiny transfer set, a teacher and a student, set up by the very code that sets up a trial's."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, cast

import timm
import torch
from torch import nn

from kdbench.api import Batch, Method, Outputs, Unsupported
from kdbench.cohort import Workbench
from kdbench.cohort.rig import Rig
from kdbench.data import Split, Splits
from kdbench.models import Network, create
from kdbench.plan import Cohort, TeacherJob
from kdbench.record import Evaluation, Pair, Spec, Store, TrainingProtocol
from kdbench.registry import DataFacts, Source, load, scan
from kdbench.teacher import Teacher
from kdbench.testing.watched import Watched
from kdbench.train import Step, guarded, lockstep, seed_torch

CPU = torch.device("cpu")
_NOBODY = Source("bench", "file", "", "", "", "", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What a method is tried on.

    Attributes:
        teacher, student: Networks, as on the command line.
        members: Networks of the teacher; an ensemble if there are more than one.
        classes: Number of classes; rows have them in turns.
        tree: Whether classes have coarse labels (two of them).
        image_shape: Channels, height, width.
        rows: Of the transfer set, its quiz split included.
        batch_size: Rows a step.
        ragged: Whether the last batch of an epoch is kept where it is smaller.
        steps: Updates of the whole budget.
        precision: Of forward and backward pass.
    """

    teacher: str = "resnet8[width=0.5]"
    student: str = "resnet8[width=0.25]"
    members: int = 1
    classes: int = 10
    tree: bool = True
    image_shape: tuple[int, int, int] = (3, 8, 8)
    rows: int = 40
    batch_size: int = 16
    ragged: bool = False
    steps: int = 8
    precision: Literal["float32", "bfloat16"] = "float32"


PAIRS = (
    Case(),
    Case(student="test_vit[patch_size=8]", image_shape=(3, 32, 32)),
    Case(
        student="deit_tiny_distilled_patch16_224[depth=2,embed_dim=32,num_heads=2,patch_size=8]",
        image_shape=(3, 32, 32),
    ),
)
"""A convolutional student, one with tokens, one with a token of its own for the teacher."""


def home(method: Method) -> Case:
    """The first case of `PAIRS` that the method does not decline; if it declines all, the first."""
    for case in PAIRS:
        try:
            Bench(method, case)
        except Unsupported:
            continue
        except Exception:  # noqa: BLE001 - whoever builds this bench next sees it again
            break
        return case
    return PAIRS[0]


class Bench:
    """One method's student on one case, ready for its first step.

    Args:
        method: The plugin's object.
        case: What it is tried on; by default the first of `PAIRS` that it does not decline.
        device: Where.
        changes: Fields of the case to replace.

    Attributes:
        rig: What a cohort's trials share; here it has one.
        runner: The student, the method's state and their optimizer.

    Raises:
        Unsupported, ContractError, or whatever the method raises.
    """

    def __init__(
        self,
        method: Method,
        case: Case | None = None,
        *,
        device: torch.device = CPU,
        **changes: Any,  # noqa: ANN401 - fields of Case
    ) -> None:
        case = replace(case or home(method), **changes)
        self.method, self.case = method, case
        pair = Pair.parse(f"{case.teacher}:{case.student}")
        register(pair.teacher.network, pair.student)
        protocol = TrainingProtocol(
            epochs=1, steps=case.steps, batch_size=case.batch_size, learning_rate=0.05,
            weight_decay=5e-4, shift=1, last_batch="keep" if case.ragged else "drop",
            precision=case.precision,
        )  # fmt: skip
        channels = case.image_shape[0]
        facts = DataFacts(
            spec=Spec("noise"), name="noise", num_classes=case.classes,
            image_shape=case.image_shape, sizes={"train": case.rows, "test": case.rows},
            mean=(0.5,) * channels, std=(0.25,) * channels, flips=False, class_names=(),
            has_tree=case.tree, licence="", origin="", source=_NOBODY, code="",
        )  # fmt: skip
        cohort = Cohort(
            suite="bench", dataset=facts, root="", pair=pair, teachers=(), student_source=None,
            protocol=protocol, evaluation=Evaluation(), quiz=method.needs().quiz, seed=5,
            trials=(), yardstick=None,
        )  # fmt: skip
        self.teacher = _teacher(pair.teacher.network, facts, method, case.members).to(device)
        self.rig = Rig(cohort, _Noise(case, device), self.teacher)
        with guarded("init()"):
            self.runner = self.rig.runner(method)

    def train(self, last: int | None = None) -> dict[str, float]:
        """Mean weighted terms of the last epoch, after the rest of the budget or step `last`.

        Raises:
            Whatever made the trial leave the loop.
        """
        teach = self.rig.teach(self.runner.needs.maps)
        losses, failures = lockstep(
            {"": self.runner}, self.rig.views, self.rig.cohort.protocol, self.rig.total, teach,
            start=self.runner.done, stop=lambda _: self.runner.done == last,
        )  # fmt: skip
        if failures:
            raise failures[""]
        return losses.get("", {})

    def step(
        self,
        rows: int = 16,
        stage: int = 0,
        *,
        batch: Callable[[Batch], Batch] = lambda batch: batch,
        outputs: Callable[[Outputs], Outputs] = lambda outputs: outputs,
        teacher: Callable[[Outputs], Outputs] = lambda outputs: outputs,
    ) -> Watched:
        """What the method did in one step on the first rows, in the middle of this stage.

        Args:
            rows: How many.
            stage: Index into the method's `stages()`.
            batch: Changes the batch that the step gets.
            outputs, teacher: Change what student and teacher are heard to say.
        """
        runner = self.runner
        start = runner.ends[stage - 1] if stage else 0
        runner.done = (start + runner.ends[stage]) // 2
        teach = self.rig.teach(runner.needs.maps)
        shared = Step(self.rig.views, torch.arange(rows), 0, runner.progress, teach)
        shared.batch = batch(shared.batch)
        runner.current = shared
        runner.student.train()
        runner.modules.train()
        seed_torch(CPU, runner.seed, "step", runner.done)
        watched = Watched(self.runner, shared.seen(stage, runner.needs.second), outputs, teacher)
        with guarded("step()"):
            watched.returned = self.method.step(watched, watched.batch, runner.state)
        return watched

    def deployed(self) -> nn.Module:
        """What would be measured and exported."""
        with guarded("deploy()"):
            return self.method.deploy(self.runner.student, self.runner.state)

    @property
    def stages(self) -> range:
        """Indices of the method's stages."""
        return range(len(self.runner.stages))


def register(*networks: Spec) -> None:
    """Have timm know these networks, if an installed plugin has them."""
    if missing := {network.name for network in networks if not timm.is_model(network.name)}:
        for entry in scan().entries:
            if entry.kind == "model" and entry.name in missing:
                load(entry.source)


def _teacher(network: Spec, facts: DataFacts, method: Method, members: int) -> Teacher:
    """Untrained, with the anchors that the method asks for, each of other weights."""
    anchors = sorted({stage.anchor for stage in method.stages()} | {1.0})

    def built(seed: int) -> Network:
        torch.default_generator.manual_seed(seed)
        return create(
            network, num_classes=facts.num_classes, image_shape=facts.image_shape,
            mean=facts.mean, std=facts.std,
        )  # fmt: skip

    return Teacher([
        {share: built(1000 * member + place) for place, share in enumerate(anchors)}
        for member in range(members)
    ])  # fmt: skip


class _Noise(Workbench):
    """A workbench whose data set is noise; it keeps nothing on disk."""

    def __init__(self, case: Case, device: torch.device) -> None:
        super().__init__(Path(), cast(Store, None), device)
        draw = torch.Generator().manual_seed(0)
        shape = (case.rows, *case.image_shape)
        pixels = torch.randint(0, 256, shape, generator=draw, dtype=torch.uint8)
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        rows = Split(pixels, torch.arange(case.rows) % case.classes, "")
        tree = tuple(label % 2 for label in range(case.classes)) if case.tree else None
        self._splits = SimpleNamespace(
            train=rows, test=rows, validation=None, dataset=SimpleNamespace(class_tree=tree)
        )

    def data(self, job: TeacherJob | Cohort, root: str) -> Splits:
        """The noise, whatever is asked for."""
        return cast(Splits, self._splits)
