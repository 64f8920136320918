"""What steps cost, measured alone on noise: one record a pair, batch size and device."""

from typing import Annotated, Final, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from kdbench.record.canonical import Count, Frozen, Number
from kdbench.record.environment import Environment
from kdbench.record.schema import Origin

QUIET: Final = 6
"""Fewest rounds without foreign load that a figure is taken from: as many as an interval needs."""

Took: TypeAlias = Annotated[float, Field(ge=1e-9, le=1e12)]
"""Milliseconds that a clock can tell, up to 30 years."""

_LEAST = 1e-9

Computed: TypeAlias = Annotated[float, Field(ge=0, le=1e12)]
"""The same in processor time, which coarse clocks give as 0."""


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
    step_ms: tuple[Took, ...] = Field(min_length=1)
    reference_ms: tuple[Took, ...]
    cpu_ms: tuple[Computed, ...]
    reference_cpu_ms: tuple[Computed, ...]
    parts_ms: dict[str, Number]
    unaccounted: Number
    discarded: Count
    quiet: bool
    peak_memory_mb: Number
    teacher_passes: Number
    multiply_adds: Count
    utilisation: Number | None
    warmup_seconds: Number

    @model_validator(mode="after")
    def _paired(self) -> Self:
        both = (self.step_ms, self.reference_ms), (self.cpu_ms, self.reference_cpu_ms)
        if any(len(ours) != len(theirs) for ours, theirs in both):
            raise ValueError("a step and its reference have the same rounds")
        if not self.cpu_ratios:
            raise ValueError("no round has processor time of its reference")
        return self

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
    batch_size: Count
    image_shape: tuple[int, int, int]
    classes: Count
    rows: Count
    reference: str
    environment: Environment
    methods: tuple[StepSpeed, ...]
    pair_ms: dict[str, Number]
    peaks_gflops: dict[str, Number]
    unsupported: dict[str, str] = {}
    failed: dict[str, str] = {}

    @property
    def hardware(self) -> str:
        """What times depend on: two records that differ here are never compared in time."""
        return self.environment.hardware


def _over(ours: tuple[float, ...], theirs: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(own / other for own, other in zip(ours, theirs, strict=True) if other > _LEAST)
