"""What steps cost, measured alone on noise: one record a pair, batch size and device."""

from typing import Final, Literal

from kdbench.record.canonical import Frozen
from kdbench.record.environment import Environment
from kdbench.record.schema import Origin

QUIET: Final = 6
"""Fewest rounds without foreign load that a figure is taken from: as many as an interval needs."""


class StepSpeed(Frozen):
    """One method's step, from rounds in which the reference's block came right before its own.

    Attributes:
        method: Spec, as typed.
        step_ms: Milliseconds a step, one value a round.
        reference_ms: The reference's in the same rounds.
        cpu_ms, reference_cpu_ms: The same in processor time of the process.
        parts_ms: Medians by phase: data, teacher, student, loss, backward, update.
        unaccounted: Share of a step's time that no phase has, median.
        discarded: Rounds left out because others used the machine.
        quiet: Whether enough rounds were left; where not, the figures come from all rounds.
        peak_memory_mb: MiB that a step takes on top of what lay there before it, at its peak.
        teacher_passes: Teacher forward passes an image.
        multiply_adds: Of one step with all its passes, for the whole batch.
        utilisation: Its operations over the time as a share of the calibrated peak of a
            convolution, or None where that was not measured.
        warmup_seconds: Spent on set-up and first steps, compilation included; in no other figure.
    """

    method: str
    origin: Origin
    step_ms: tuple[float, ...]
    reference_ms: tuple[float, ...]
    cpu_ms: tuple[float, ...]
    reference_cpu_ms: tuple[float, ...]
    parts_ms: dict[str, float]
    unaccounted: float
    discarded: int
    quiet: bool
    peak_memory_mb: float
    teacher_passes: float
    multiply_adds: int
    utilisation: float | None
    warmup_seconds: float

    @property
    def ratios(self) -> tuple[float, ...]:
        """This step over the reference's, round by round."""
        return _over(self.step_ms, self.reference_ms)

    @property
    def cpu_ratios(self) -> tuple[float, ...]:
        """The same in processor time."""
        return _over(self.cpu_ms, self.reference_cpu_ms)


class SpeedRecord(Frozen):
    """One run of the speed suite; no host, no user, no path.

    Attributes:
        reference: The method that the others are paired with.
        rows: Of the transfer set of noise, which the size of memory banks follows.
        pair_ms: Medians of what belongs to the pair and to no method, by name, in milliseconds.
        peaks_gflops: Calibrated in the same run, by name.
        unsupported: Methods that decline the pair, with the reason.
        failed: Methods that raised, with file name, line and reason.
    """

    schema_version: Literal[1] = 1
    pair: str
    batch_size: int
    image_shape: tuple[int, int, int]
    classes: int
    rows: int
    reference: str
    environment: Environment
    methods: tuple[StepSpeed, ...]
    pair_ms: dict[str, float]
    peaks_gflops: dict[str, float]
    unsupported: dict[str, str] = {}
    failed: dict[str, str] = {}

    @property
    def hardware(self) -> str:
        """What times depend on: two records that differ here are never compared in time."""
        return self.environment.hardware


def _over(ours: tuple[float, ...], theirs: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(own / other for own, other in zip(ours, theirs, strict=True) if other)
