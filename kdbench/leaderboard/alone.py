"""The section of a board that says what steps cost, measured alone: Markdown and JSON."""

from collections.abc import Sequence
from typing import Any

from tabulate import tabulate

from kdbench.leaderboard.speed import Figure, Step, steps
from kdbench.leaderboard.text import MISSING, figures, fixed, markdown
from kdbench.record import SpeedRecord

PHASES = ("data", "teacher", "student", "loss", "backward", "update")
"""Of a step, in order."""

HEADER = (
    "Method", "Step ms", "Ratio", "CPU ratio", *(f"{phase.capitalize()} %" for phase in PHASES),
    "Unaccounted %", "Peak MiB", "Images/s", "Of peak %", "Teacher passes", "Discarded", "n",
)  # fmt: skip
"""Of the table of figures."""

_HOW = (
    "Measured by `kdbench speed` on noise, with untrained networks and a live teacher: blocks of "
    "steps of each method in turns with the reference's, on one device that does nothing else. "
    "Medians over n rounds with their 95 % interval; ratios are to the reference in the same "
    "round, by the clock and in processor time."
)


def section(records: Sequence[SpeedRecord]) -> list[str]:
    """Blocks of Markdown; none without records."""
    if not records:
        return []
    blocks = ["## Cost of a step, measured alone", _HOW]
    for record in records:
        blocks.append(f"### {markdown(record.pair)}, batch {record.batch_size}")
        blocks.append("\n".join(f"- {markdown(line, 1000)}" for line in facts(record)))
        rows = [[markdown(step.speed.method), *cells(step)] for step in steps(record)]
        align = ["left", *["right"] * (len(HEADER) - 1)]
        blocks.append(
            tabulate(rows, HEADER, tablefmt="pipe", disable_numparse=True, colalign=align)
        )
        if notes := remarks(record):
            blocks.append("\n".join(f"- {markdown(note)}." for note in notes))
    return blocks


def cells(step: Step) -> list[str]:
    """One row under `HEADER`, but for the method's name."""
    speed = step.speed
    return [
        interval(step.step_ms),
        interval(step.ratio, 3),
        interval(step.cpu_ratio, 3),
        *(fixed(100 * step.shares.get(phase, 0.0), 1) for phase in PHASES),
        fixed(100 * speed.unaccounted, 1),
        figures(speed.peak_memory_mb),
        figures(step.images_per_second),
        MISSING if speed.utilisation is None else fixed(100 * speed.utilisation, 0),
        f"{speed.teacher_passes:g}",
        str(speed.discarded),
        str(len(speed.step_ms)),
    ]


def interval(figure: Figure, digits: int | None = None) -> str:
    """Median [low, high], with three significant figures or so many digits after the point."""

    def text(value: float) -> str:
        return figures(value) if digits is None else fixed(value, digits)

    if figure.interval is None:
        return text(figure.value)
    low, high = figure.interval
    return f"{text(figure.value)} [{text(low)}, {text(high)}]"


def facts(record: SpeedRecord) -> list[str]:
    """What a table is of, a line each: hardware, set-up, what the pair takes, and peaks."""
    channels, height, width = record.image_shape
    lines = [
        f"Hardware: {record.environment.hardware}.",
        f"{channels} x {height} x {width} pixels, {record.classes} classes, {record.rows} rows; "
        f"reference {record.reference}; kdbench {record.environment.kdbench}, "
        f"timm {record.environment.timm}.",
    ]
    if record.pair_ms:
        told = (f"{name} {figures(spent)} ms" for name, spent in record.pair_ms.items())
        lines.append(f"The pair: {', '.join(told)}.")
    if record.peaks_gflops:
        told = (f"{name} {figures(rate)}" for name, rate in record.peaks_gflops.items())
        lines.append(f"Peaks, GFLOPS: {', '.join(told)}.")
    return lines


def remarks(record: SpeedRecord) -> list[str]:
    """What a reader should know of methods: not quiet, not possible, failed."""
    loud = [one.method for one in record.methods if not one.quiet]
    told = [
        f"others used the machine, so the figures come from all rounds: {', '.join(loud)}"
        for _ in loud[:1]
    ]
    told += [f"{name}: unsupported, {why}" for name, why in sorted(record.unsupported.items())]
    return told + [f"{name}: failed, {why}" for name, why in sorted(record.failed.items())]


def as_json(record: SpeedRecord) -> dict[str, Any]:
    """The record, and the figures that the table shows."""
    shown = {
        step.speed.method: {
            "step_ms": _figure(step.step_ms),
            "ratio": _figure(step.ratio),
            "cpu_ratio": _figure(step.cpu_ratio),
            "shares": dict(step.shares),
            "images_per_second": step.images_per_second,
        }
        for step in steps(record)
    }
    return {"record": record.model_dump(mode="json"), "figures": shown}


def _figure(figure: Figure) -> dict[str, Any]:
    return {"median": figure.value, "interval": figure.interval}
