"""What all trials of a cohort share: rows, views, teacher; how students are built and measured."""

from dataclasses import asdict
from functools import cached_property, partial
from typing import Any

from safetensors.torch import save
from torch import Tensor, nn

from kdbench.api import Maps, Method
from kdbench.cohort.outcome import environment
from kdbench.cohort.probes import Probes
from kdbench.cohort.workbench import Workbench
from kdbench.data import Split, Views, derive_seed, joined, transfer_rows, transfers
from kdbench.measure import (
    Sweep,
    deployed_speed,
    fidelity,
    per_class,
    quality,
    size,
    sweep,
)
from kdbench.models import Network, arguments
from kdbench.plan import Cohort
from kdbench.record import Card, Deployed
from kdbench.teacher import Recall, Teacher, begin, build, opened, pupil
from kdbench.train import (
    Diverged,
    Guard,
    Runner,
    Teach,
    seed_torch,
)

TRANSFER_ROWS = 10_000
"""Fidelity on the transfer set is measured on its first rows, so many at most."""


class Rig:
    """One cohort's shared parts.

    Args:
        cohort: What was asked.
        bench: The worker's.
        teacher: Frozen, with every anchor that a method of the cohort teaches from.
        guard: Of what belongs to all.
    """

    def __init__(
        self, cohort: Cohort, bench: Workbench, teacher: Teacher, guard: Guard | None = None
    ) -> None:
        self.guard = guard or Guard()
        self.cohort, self.bench, self.teacher, self.device = cohort, bench, teacher, bench.device
        protocol, splits = cohort.protocol, bench.data(cohort, cohort.root)
        self.splits = splits
        stream, quiz = transfer_rows(len(splits.train), protocol.rows, cohort.quiz)
        seed = derive_seed(cohort.seed, "views")
        view = partial(Views, device=self.device, seed=seed)
        self.transfer = splits.train.head(min(len(stream), TRANSFER_ROWS))
        rows, own = splits.train, None
        if more := bench.added(cohort):
            rows, own = joined(splits.train, len(stream), more), len(stream)
            stream = range(len(rows))
        self.views = view(
            rows, stream, shift=protocol.shift, flip=protocol.flip,
            policy=transfers(cohort.policy), own=own,
        )  # fmt: skip
        self.quiz = view(splits.train, quiz, shift=0, flip=False) if len(quiz) else None
        self.total = protocol.total_steps(len(self.views))
        self.tested = self.split(cohort.evaluation.split)
        self.probes = Probes(self)
        self._place = "", -1
        self._start = self._started() if protocol.start else None

    def build(self) -> Network:
        """The student before its first step, from the cohort's seed: the same for every method."""
        seed_torch(self.device, self.cohort.seed, "init")
        student = self._fresh()
        if self._start is not None:
            student.load_state_dict(self._start)
        return student

    def _started(self) -> dict[str, Tensor]:
        """Weights and buffers that every student starts from."""
        seed_torch(self.device, self.cohort.seed, "init")
        student, protocol = self._fresh(), self.cohort.protocol
        assert protocol.start is not None
        begin(
            student, protocol.start, self.teacher, self.cohort.teachers[0], self.views, protocol,
            self._beat,
        )  # fmt: skip
        return student.state_dict()

    def _fresh(self) -> Network:
        return build(self.cohort.pair.student, self.cohort.dataset, self.device)

    def runner(self, chosen: Method) -> Runner:
        """A student of this method, ready for its first step."""
        cohort = self.cohort
        runner = pupil(
            chosen, self.build(), self.teacher, self.views, cohort.protocol,
            num_classes=cohort.dataset.num_classes, class_tree=self.splits.dataset.class_tree,
            build=self._fresh, seed=cohort.seed, total=self.total, quiz=self.quiz,
        )  # fmt: skip
        runner.clock = self.bench.clock
        return runner

    def teach(self, maps: Maps) -> Teach:
        """The shared teacher, with these maps, asked at every step."""
        return self.teacher.answering(maps, self.cohort.protocol)

    @cached_property
    def recall(self) -> Recall | None:
        """The shared teacher by its kept answers, where the plan has them kept."""
        cohort, network = self.cohort, self.teacher.converged[0]
        if cohort.answers == "live":
            return None
        self.watch("", -1)  # what the teacher says is no method's to answer for
        card = {
            # the spec too: how images are resized is no part of the weights
            "teacher": str(cohort.pair.teacher), "weights": self.teacher.weights,
            "mean": network.mean.flatten().tolist(), "std": network.std.flatten().tolist(),
            "rows": self.splits.train.digest, "environment": environment(self.device).group,
        }  # fmt: skip
        return opened(
            self.bench.cache, self.teach(Maps()), self.views, cohort.protocol, self.total,
            card=card, classes=cohort.dataset.num_classes, pooled=self.teacher.port().pooled_dim,
            second=any(trial.method.needs["second"] for trial in cohort.trials),
            most_bytes=int(cohort.answers_gb * 1e9), beat=self._beat, sure=self.guard.check,
        )  # fmt: skip

    @property
    def answers(self) -> dict[str, float]:
        """How the teacher answered, for the record."""
        if self.recall:
            return asdict(self.recall.tally) | {"kept": 1.0}
        return {"live": 1.0, "unsteady": 1.0} if self.cohort.answers == "kept" else {"live": 1.0}

    def watch(self, name: str, step: int) -> None:
        """The worker's; said again while the teacher works, which is no method's time."""
        self._place = name, step
        self.bench.watch(name, step)

    def _beat(self) -> None:
        self.bench.watch(*self._place)

    def deployed(self, runner: Runner) -> nn.Module:
        """What is measured and shipped.

        Raises:
            Diverged: A weight or a statistic of the student is not finite.
        """
        if not all(value.isfinite().all() for value in runner.student.state_dict().values()):
            raise Diverged(f"the student's weights are not finite after step {runner.done}")
        return runner.method.deploy(runner.student, runner.state)

    def measure(self, runner: Runner) -> dict[str, Any]:
        """The measured fields of a trained student's record."""
        store, cohort = self.bench.store, self.cohort
        deployed = self.deployed(runner)
        said, reference = self.sweep(deployed, self.tested), self.reference(cohort.evaluation.split)
        target = self.tested.labels
        clean, clean_reference = self.sweep(deployed, self.transfer), self.reference("transfer")
        close = fidelity(said.logits, reference.logits, target, said.pooled, reference.pooled)
        everywhere = fidelity(
            clean.logits, clean_reference.logits, self.transfer.labels, clean.pooled,
            clean_reference.pooled,
        )  # fmt: skip
        probed = self.probes.student(runner, deployed, said)
        parameters, multiply_adds = size(deployed, cohort.dataset.image_shape)
        speed = deployed_speed(deployed, cohort.dataset.image_shape, self.device, seconds=0.08)
        bare = deployed.model if isinstance(deployed, Network) else deployed
        weights = {
            name: tensor.detach().cpu().contiguous() for name, tensor in bare.state_dict().items()
        }
        return {
            "quality": quality(said.logits, target) | probed.quality,
            "per_class": per_class(said.logits, target, cohort.dataset.num_classes),
            "fidelity": {
                cohort.evaluation.split: close | probed.close, "transfer": everywhere,
                **probed.elsewhere,
            },
            "teacher": self.card,
            "logits": store.put(save({"logits": said.logits.contiguous()}), ".safetensors"),
            "deployed": Deployed(
                network=cohort.pair.student.name,
                options=arguments(
                    cohort.pair.student, cohort.dataset.num_classes, cohort.dataset.image_shape
                ),
                weights=store.put(save(weights), ".safetensors"), parameters=parameters,
                multiply_adds=multiply_adds, latency_ms=speed.latency_ms,
                throughput=speed.throughput,
            ),
        }  # fmt: skip

    def curve(self, runner: Runner) -> dict[str, float]:
        """A point of the learning curve, on the validation rows."""
        said = self.sweep(self.deployed(runner), self.split("validation"))
        reference = self.reference("validation")
        found = quality(said.logits, self.split("validation").labels)
        close = fidelity(said.logits, reference.logits, self.split("validation").labels)
        return {
            "accuracy": found["accuracy"],
            "nll": found["nll"],
            "agreement": close["agreement"],
            "kl": close["kl"],
        }

    def prepare(self) -> None:
        """Have all that the teacher says, before the first student is measured."""
        self.reference("transfer")
        _ = self.card
        self.probes.prepare()

    @cached_property
    def card(self) -> Card:
        """The teacher's card."""
        sizes = [size(member, self.cohort.dataset.image_shape) for member in self.teacher.converged]
        said = self.reference(self.cohort.evaluation.split)
        return Card(
            weights=self.teacher.weights,
            parameters=sum(parameters for parameters, _ in sizes),
            multiply_adds=sum(multiply_adds for _, multiply_adds in sizes),
            quality=quality(said.logits, self.tested.labels) | self.probes.teacher(),
            logits=self.bench.store.put(save({"logits": said.logits.contiguous()}), ".safetensors"),
        )

    def reference(self, split: str, teacher: Teacher | None = None) -> Sweep:
        """What the converged teacher, ours or one like it, says of a whole split.

        It is kept for the worker's next cohorts.
        """
        rows, asked = self.split(split), teacher or self.teacher
        # the spec too: how images are resized is no part of the weights
        key = (str(self.cohort.pair.teacher), asked.weights, rows.digest)
        return self.bench.sweeps.get(key, lambda: self.sweep(asked, rows))

    def split(self, name: str) -> Split:
        """The test split, the validation rows, or the transfer set without augmentation."""
        if name == "transfer":
            return self.transfer
        found = self.splits.test if name == "test" else self.splits.validation
        assert found is not None, "Evaluation asks for validation rows wherever they are read"
        return found

    def sweep(self, network: nn.Module, split: Split) -> Sweep:
        """Logits and pooled features of a network on a whole split."""
        return sweep(network, split.images, device=self.device)
