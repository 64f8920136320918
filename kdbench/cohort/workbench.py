"""What a resident worker keeps between cohorts."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar

import torch

from kdbench.api import DataSet, Method
from kdbench.cohort.outcome import environment
from kdbench.data import Split, Splits, open_split, open_splits
from kdbench.measure import Sweep
from kdbench.plan import Cohort, TeacherJob, Trial
from kdbench.record import Store
from kdbench.registry import DataFacts, Source, build, load
from kdbench.suite import Limits
from kdbench.teacher import ensure
from kdbench.train import Clock, Pace, assemble

Key = TypeVar("Key")
Value = TypeVar("Value")

Watch: TypeAlias = Callable[[str, int], None]
"""Called with a trial's name and step before every call of its plugin.

It says whom to blame if the process dies.
"""


class Recent(Generic[Key, Value]):
    """The values that were asked for last; what a worker keeps must not grow with its cohorts.

    Args:
        size: How many are kept.
    """

    def __init__(self, size: int) -> None:
        self._size, self._kept = size, dict[Key, Value]()

    def get(self, key: Key, make: Callable[[], Value]) -> Value:
        """The value of this key, made if it is not kept."""
        self._kept[key] = value = self._kept.pop(key) if key in self._kept else make()
        if len(self._kept) > self._size:
            del self._kept[next(iter(self._kept))]
        return value


@dataclass
class Workbench:
    """Open data sets, and what teachers say of whole splits.

    Attributes:
        store: Takes logits and deployed weights; records are written by the parent.
        cache: Folder of decoded data and teachers.
        limits: Of the run.
        clock: Of what the worker is at.
        workers: How many share the machine.
        quiet: While open, the others let the machine be.
        late: Whether so many more seconds are too many: what is in training is then put away.
        note: Tells the user something.
    """

    cache: Path
    store: Store
    device: torch.device
    limits: Limits = field(default_factory=Limits)
    watch: Watch = lambda name, step: None
    clock: Clock = field(default_factory=Clock)
    workers: int = 1
    quiet: Callable[[], AbstractContextManager[None]] = nullcontext
    late: Callable[[float], bool] = lambda seconds: False
    note: Callable[[str], None] = lambda text: None
    splits: Recent[tuple[str, int, int | None, int], Splits] = field(
        default_factory=lambda: Recent(4)
    )
    sweeps: Recent[tuple[str, str, str], Sweep] = field(default_factory=lambda: Recent(8))

    def data(self, job: TeacherJob | Cohort, root: str) -> Splits:
        """The splits of a data set, opened once."""
        facts = job.dataset

        def opened() -> Splits:
            return open_splits(
                _built(facts),
                facts.name,
                root=root,
                cache=self.cache,
                validation_rows=job.validation_rows,
                rows=job.rows,
                first=job.first,
            )

        return self.splits.get((facts.name, job.validation_rows, job.rows, job.first), opened)

    def added(self, cohort: Cohort) -> list[Split]:
        """The rows of other data sets that join the cohort's."""
        return [
            open_split(_built(facts), facts.name, cohort.root, self.cache, "train", range(rows))
            for facts, rows in cohort.policy.added
        ]

    def train_teacher(self, job: TeacherJob, root: str) -> None:
        """Make sure that a teacher is in the cache.

        Raises:
            PutAway: It became late.
        """
        register(one.source for one in job.lineage)
        splits, group = self.data(job, root), environment(self.device).group
        ensure(
            job, splits, self.cache, self.device, self.watch,
            late=self.late, note=self.note, group=group, pace=self.pace(),
        )  # fmt: skip

    def pace(self) -> Pace:
        """When what begins now is put away."""
        return Pace(self.limits.checkpoint_seconds)


def _built(facts: DataFacts) -> DataSet:
    dataset = build(load(facts.source)["dataset", facts.spec.name], facts.spec)
    assert isinstance(dataset, DataSet)
    return dataset


def method(trial: Trial) -> Method:
    """The plugin's object with the trial's hyperparameters."""
    return assemble(trial.spec, trial.method.sources)


def register(sources: Iterable[Source | None]) -> None:
    """Import the modules that register networks with timm."""
    for source in sources:
        if source is not None:
            load(source)
