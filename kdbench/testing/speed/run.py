"""A run of the suite in progress: what was asked, what is built for it and what came out."""

from functools import cached_property

import torch

from kdbench.cohort import environment
from kdbench.cohort.outcome import blame
from kdbench.errors import DeviceError, Unsupported, UsageError
from kdbench.record import Pair, Spec, SpeedRecord, StepSpeed
from kdbench.testing.bench import Bench, Case
from kdbench.testing.speed.asked import Asked, Contender
from kdbench.train import assemble

CLASSES, IMAGE_SHAPE = 100, (3, 32, 32)
"""Of CIFAR-100."""


class Run:
    """One run.

    Args:
        asked: What is measured.

    Attributes:
        steps, pair_ms, peaks_gflops, unsupported, failed: As in a `SpeedRecord`, by name.

    Raises:
        DeviceError: The device is not there.
    """

    def __init__(self, asked: Asked) -> None:
        if asked.device != "cpu" and not torch.cuda.is_available():
            raise DeviceError(
                "no CUDA device is available", "torch sees none", "leave --device out"
            )
        self.asked, self.device = asked, torch.device(asked.device)
        if asked.device == "cpu":
            torch.set_num_threads(1)  # as in a worker
        pair = Pair.parse(asked.pair)
        self.case = Case(
            teacher=str(pair.teacher.network), members=pair.teacher.size,
            student=str(pair.student), classes=CLASSES, image_shape=IMAGE_SHAPE, rows=asked.rows,
            batch_size=asked.batch,
        )  # fmt: skip
        self.steps: dict[str, StepSpeed] = {}
        self.pair_ms: dict[str, float] = {}
        self.peaks_gflops: dict[str, float] = {}
        self.unsupported: dict[str, str] = {}
        self.failed: dict[str, str] = {}

    @cached_property
    def reference(self) -> Bench:
        """The bench of the method that every round begins with.

        Raises:
            UsageError: It cannot do the pair.
        """
        try:
            return self.bench(self.asked.contender(self.asked.reference))
        except Unsupported as error:
            raise UsageError(
                f"{self.asked.reference} cannot be the reference of {self.asked.pair}",
                f"{error.what}: {error.why}",
                "name another one by --against",
            ) from error

    def bench(self, contender: Contender) -> Bench:
        """A method's student on the pair, ready for its first step.

        Raises:
            Unsupported, or whatever the method raises.
        """
        method = assemble(Spec.parse(contender.spec), contender.sources)
        return Bench(method, self.case, device=self.device)

    @property
    def convolution_gflops(self) -> float | None:
        """The better of the calibrated convolutions, or None where none was measured."""
        found = (rate for name, rate in self.peaks_gflops.items() if "convolution" in name)
        return max(found, default=None)

    def blame(self, contender: Contender, error: BaseException) -> str:
        """What went wrong with a method, with file name and line."""
        return blame(error, contender.sources)

    def record(self) -> SpeedRecord:
        """All that is known by now."""
        return SpeedRecord(
            pair=self.asked.pair, batch_size=self.asked.batch, image_shape=IMAGE_SHAPE,
            classes=CLASSES, rows=self.asked.rows, reference=self.asked.reference,
            environment=environment(self.device), methods=tuple(self.steps.values()),
            pair_ms=self.pair_ms, peaks_gflops=self.peaks_gflops, unsupported=self.unsupported,
            failed=self.failed,
        )  # fmt: skip
