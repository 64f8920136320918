"""`kdbench speed`: what a step of each method costs, measured alone."""

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kdbench.cli.interruption import terminable
from kdbench.cli.options import AsJson, Methods, NoPlugin, PluginsDir, select
from kdbench.cli.output import heading, json_out, say, table
from kdbench.errors import CheckFailed, ExitCode, StoreError, UsageError

if TYPE_CHECKING:
    from kdbench.leaderboard import Limit
    from kdbench.record import SpeedRecord
    from kdbench.testing.speed.asked import Asked
    from kdbench.testing.speed.earlier import Change


def speed(
    methods: Methods = None,
    pair: Annotated[
        str, typer.Option(metavar="T:S", help="Teacher and student.")
    ] = "resnet20:resnet8",
    batch: Annotated[int, typer.Option(metavar="N", help="Rows a step.")] = 64,
    seconds: Annotated[
        float, typer.Option(metavar="S", help="About how long a method's rounds take.")
    ] = 2.0,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="pytest-benchmark's JSON; ./speed-PAIR-bN.json."),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|METHOD", help="An earlier file to compare with, or the reference."
        ),
    ] = None,
    fail_if: Annotated[
        list[str] | None,
        typer.Option(
            metavar="EXPR",
            help="Exit code 6 if so: 'ratio > 1.1', 'kd: step_ms > 30'; repeat.",
        ),
    ] = None,
    board: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Put the figures beside this board's records."),
    ] = None,
    as_json: AsJson = False,
    plugins_dir: PluginsDir = None,
    no_plugin: NoPlugin = None,
) -> int:
    """Measure what a step of each method costs, in turns with a reference's, on noise."""
    from kdbench.leaderboard import alone, name_of, write_speed
    from kdbench.record import SpeedRecord
    from kdbench.testing.speed import earlier
    from kdbench.testing.speed.launch import launch
    from kdbench.testing.speed.limit import broken, parse

    limits = [parse(text) for text in fail_if or ()]
    if device not in ("cpu", "cuda"):
        raise UsageError(f"no device {device!r}", "steps are timed on cpu or cuda", "leave it out")
    then, reference = None, against
    if against and is_record(against):
        then, reference = earlier.read(Path(against)), None
    asked = _ask(methods, reference, then, pair, batch, seconds, device, plugins_dir, no_plugin)
    _check_limits(limits, asked, then)
    file = out or Path(f"speed-{name_of(asked.pair, batch)}.json")
    _check_writable(file, board)
    if then and against:
        earlier.check(asked.question, then, against)
        if file.resolve() == Path(against).resolve():
            raise UsageError(
                f"{file} would be replaced", "it is what is compared with", "name another --out"
            )
    with terminable():
        data = launch(asked, _progress(asked))
    record = SpeedRecord.model_validate(data["kdbench"])
    lines = [_write(data, file)]
    if board:
        lines.append(f"wrote {write_speed(record, board)}: kdbench leaderboard {board} shows it")
    if then and against:
        earlier.check({"hardware": record.hardware}, then, against)
    changed = earlier.changes(record, then) if then else {}
    wrong = broken(limits, record, changed)
    if as_json:
        plain = {name: asdict(change) for name, change in changed.items()}
        told = {"file": str(file), "changes": plain, "broken": wrong}
        json_out(alone.as_json(record) | told)
    else:
        _print(record, changed)
        for line in [*lines, *(f"broken: {line}" for line in wrong)]:
            say(line)
    if wrong:
        many = f"{len(wrong)} limit{'s are' if len(wrong) > 1 else ' is'} broken"
        raise CheckFailed(many, wrong[0], f"see {file}")
    return int(ExitCode.TRIALS_NOT_OK if record.failed else ExitCode.OK)


def is_record(text: str) -> bool:
    """Whether `--against` names a file of an earlier run, and no method and no plugin file."""
    return text.endswith(".json") or (not text.endswith(".py") and Path(text).is_file())


def _ask(
    methods: list[str] | None, reference: str | None, then: "SpeedRecord | None", pair: str,
    batch: int, seconds: float, device: str, folders: list[Path] | None, blocked: list[str] | None,
) -> "Asked":  # fmt: skip
    """What is measured: the methods that are named, or all; an earlier run brings its reference."""
    from kdbench.testing.speed.asked import ask

    named = [reference] if reference else []
    registry, names = select([*named, *(methods or ())], folders, blocked)
    first = names[0] if named else then.reference if then else None
    return ask(
        registry, names if methods else (), reference=first, pair=pair, batch=batch,
        seconds=seconds, device=device,
    )  # fmt: skip


def _check_limits(limits: "Sequence[Limit]", asked: "Asked", then: "SpeedRecord | None") -> None:
    """Raise where a limit could not be told to be kept."""
    from kdbench.testing.speed.limit import CHANGES

    for limit in limits:
        if limit.field in CHANGES and not then:
            raise UsageError(
                f"{limit.text!r} needs an earlier run", "a change is from something",
                "give its file by --against",
            )  # fmt: skip
        if limit.method and limit.method not in {one.spec for one in asked.methods}:
            raise UsageError(
                f"{limit.text!r} is on a method that is not measured",
                f"it is none of {', '.join(one.spec for one in asked.methods)}",
                "name it as -m does",
            )


def _check_writable(file: Path, board: Path | None) -> None:
    """Raise before anything is measured where the result could not be kept."""
    folder = file.resolve().parent
    if file.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        why = "it is a folder" if file.is_dir() else f"{folder} is not there or not writable"
        raise StoreError(f"cannot write {file}", why, "choose another place with --out")
    if board and not (board / "records").is_dir():
        raise UsageError(
            f"{board} is no board", "it holds no records/", "give a store or a committed board"
        )


def _progress(asked: "Asked") -> Callable[[str], None]:
    """Says on standard error what is measured, a line a method."""
    names = [one.spec for one in asked.methods]

    def watch(benchmark: str) -> None:
        name = benchmark.partition("[")[2].removesuffix("]")
        place = f" ({names.index(name) + 1} of {len(names)})" if name in names else ""
        print(f"measuring {name if place else benchmark}{place}", file=sys.stderr)

    return watch


def _write(data: dict[str, Any], file: Path) -> str:
    """Keep pytest-benchmark's JSON, whole or not at all; what was done, in words."""
    from kdbench.record import write_atomically

    done = "replaced" if file.exists() else "wrote"
    write_atomically(file, json.dumps(data, indent=1).encode() + b"\n")
    return f"{done} {file}"


def _print(record: "SpeedRecord", changed: "Mapping[str, Change]") -> None:
    """The table of one run and what it is of."""
    from kdbench.leaderboard import alone, steps

    heading(f"{record.pair}, batch {record.batch_size}")
    columns = [*alone.HEADER, *(("Change", "Wall change") if changed else ())]
    rows = []
    for step in steps(record):
        row = [step.speed.method, *alone.cells(step)]
        if changed:
            one = changed.get(step.speed.method)
            row += [alone.interval(f, 3) for f in (one.ratio, one.wall)] if one else ["-", "-"]
        rows.append(row)
    table(columns, rows)
    say()
    for line in [*alone.facts(record), *alone.remarks(record)]:
        say(line)
