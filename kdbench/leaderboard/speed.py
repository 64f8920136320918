"""What steps cost, measured alone: figures of a speed record, and those of a board's folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from kdbench.leaderboard.text import stored
from kdbench.record import SpeedRecord, StepSpeed, inside, parsed, safe_name, write_atomically
from kdbench.statistics import median_interval

FOLDER = "speed"
"""Beside the records."""

_FIGURES = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A median over rounds, in their unit, with its 95 % interval; None below six rounds."""

    value: float
    interval: tuple[float, float] | None

    @classmethod
    def of(cls, values: Sequence[float]) -> "Figure":
        """The figure of these rounds; the same on every platform."""
        interval = median_interval(values)
        return cls(
            value=stored(median(values)),
            interval=interval and (stored(interval[0]), stored(interval[1])),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One method's figures.

    Attributes:
        ratio, cpu_ratio: To the reference, of wall-clock and of processor time.
        shares: Of a step's time by phase.
        speed: What was measured.
    """

    step_ms: Figure
    ratio: Figure
    cpu_ratio: Figure
    shares: Mapping[str, float]
    images_per_second: float
    speed: StepSpeed


def steps(record: SpeedRecord) -> tuple[Step, ...]:
    """Figures of all methods, the cheapest first."""
    found = (
        Step(
            step_ms=Figure.of(one.step_ms),
            ratio=Figure.of(one.ratios),
            cpu_ratio=Figure.of(one.cpu_ratios),
            shares={part: spent / median(one.step_ms) for part, spent in one.parts_ms.items()},
            images_per_second=1000 * record.batch_size / median(one.step_ms),
            speed=one,
        )
        for one in record.methods
    )
    return tuple(sorted(found, key=lambda step: (step.ratio.value, step.speed.method)))


def read_speeds(folder: Path) -> tuple[SpeedRecord, ...]:
    """The speed records of a board's folder, in the order of their names; none without any.

    Raises:
        StoreError: A file is none.
    """
    then = "move the file away, or measure again: kdbench speed --board"
    return tuple(
        parsed(SpeedRecord, path, f"{path} is not a readable speed record", then)
        for path in sorted(inside(folder, FOLDER).glob("*.json"))
    )


def write_speed(record: SpeedRecord, folder: Path) -> Path:
    """Put the record beside the records in `folder`, in place of an earlier one; its path."""
    path = inside(folder, FOLDER) / f"{name_of(record.pair, record.batch_size)}.json"
    if record.environment.device != "cpu":
        path = path.with_stem(f"{path.stem}-{record.environment.device}")
    write_atomically(path, rounded(record).model_dump_json(indent=1).encode() + b"\n")
    return path


def name_of(pair: str, batch: int) -> str:
    """Pair and batch size as a file's name.

    Example:
        >>> name_of("resnet56:resnet8[width=0.5]", 64)
        'resnet56_resnet8_width=0.5_-b64'
    """
    return f"{safe_name(pair)}-b{batch}"


def rounded(record: SpeedRecord) -> SpeedRecord:
    """The record with six significant figures: more than any clock knows."""

    def short(value: object) -> object:
        if isinstance(value, float):
            return float(f"{value:.{_FIGURES}g}")
        if isinstance(value, dict):
            return {key: short(one) for key, one in value.items()}
        if isinstance(value, (list, tuple)):
            return [short(one) for one in value]
        return value

    return SpeedRecord.model_validate(short(record.model_dump()))
