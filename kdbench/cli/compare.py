"""`kdbench compare`: what differs between two methods, stores or records, and how sure that is."""

from typing import TYPE_CHECKING, Annotated

import typer

from kdbench.cli.options import AsJson
from kdbench.cli.output import heading, json_out, say, table
from kdbench.cli.selection import StoreDir
from kdbench.errors import CheckFailed

if TYPE_CHECKING:
    from kdbench.leaderboard import Comparison
    from kdbench.leaderboard.differences import Line
    from kdbench.statistics import Estimate

_SHOWN = 10
_TITLES = {
    "accuracy": "accuracy", "agreement": "agreement", "kl": "KL", "time": "step time x",
    "cpu": "step CPU x",
}  # fmt: skip


def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="A record, a store, or a method.")],
    second: Annotated[str, typer.Argument(metavar="B", help="Another.")],
    where: Annotated[
        str | None,
        typer.Argument(metavar="[FOLDER|SUITE]", help="Of two methods: the store they are in."),
    ] = None,
    fail_if: Annotated[
        list[str] | None,
        typer.Option(
            metavar="EXPR",
            help="Exit code 6 if so of the mean over all pairs: 'accuracy < -0.3', 'time > 1.1'; "
            "repeat.",
        ),
    ] = None,
    store: StoreDir = None,
    as_json: AsJson = False,
) -> None:
    """Print paired differences, B less A: accuracy, fidelity and time, with 95 % intervals."""
    from kdbench.cli.sides import compared
    from kdbench.leaderboard.differences import limit

    limits = [limit(text) for text in fail_if or ()]
    found = compared(first, second, where, store)
    wrong = found.broken(limits)
    if as_json:
        json_out(found.plain() | {"broken": wrong})
    else:
        _print(found)
        for line in wrong:
            say(f"broken: {line}")
    if wrong:
        many = f"{len(wrong)} limit{'s are' if len(wrong) > 1 else ' is'} broken"
        raise CheckFailed(many, wrong[0], "limits are on the mean over all pairs")


def _print(found: "Comparison") -> None:
    """A table a place, the second side less the first; then what a reader must know of it."""
    places = dict.fromkeys(line.place for line in found.lines)
    tables = {place: [line for line in found.lines if line.place == place] for place in places}
    tables |= {"all places": [found.overall]} if len(places) > 1 else {}
    fields = [f for f in _TITLES if any(f in line.differences for line in found.lines)]
    say(f"{found.second} less {found.first}; times over those of {found.first}")
    for place, lines in tables.items():
        say()
        heading(place)
        rows = [[_who(line), _n(line), *(_cell(line, field) for field in fields)] for line in lines]
        table(["", "n", *(_TITLES[field] for field in fields)], rows)
    say()
    say("mean [95 % interval] over n pairs of place and seed; accuracy and agreement in points")
    if "time" not in fields:
        say("no step time can be compared")
    if found.differing:
        say(f"what differs by design: {', '.join(found.differing)}")
    say(f"{found.same} of {found.overall.trials} pairs of trials are the same to the bit")
    for line in found.remarks:
        say(line)
    for line in found.unpaired[:_SHOWN]:
        say(f"not compared: {line}")
    if len(found.unpaired) > _SHOWN:
        say(f"and {len(found.unpaired) - _SHOWN} more that are not compared; --json has them all")


def _who(line: "Line") -> str:
    return line.name or f"{line.trials} pair{'s' * (line.trials != 1)} of trials"


def _n(line: "Line") -> str:
    """Of most fields; a cell says where it has another."""
    return str(max((one.n for one in line.differences.values()), default=0))


def _cell(line: "Line", field: str) -> str:
    from kdbench.leaderboard.conditions import RATIOS

    one = line.differences.get(field)
    if one is None:
        return "-"
    other = f", n {one.n}" if str(one.n) != _n(line) else ""
    return _told(one, field in RATIOS, 3 if field == "kl" else 2) + other


def _told(one: "Estimate", ratio: bool, digits: int) -> str:
    from kdbench.leaderboard.text import fixed

    def text(value: float) -> str:
        return fixed(value, digits, sign=not ratio)

    if one.identical:
        return f"{text(one.mean)} identical"
    if one.low is None or one.high is None:
        return text(one.mean)
    return f"{text(one.mean)} [{text(one.low)}, {text(one.high)}]"
