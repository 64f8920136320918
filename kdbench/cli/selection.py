"""What `run` and `plan` are asked: a suite, parts of its axes, plugins and a store."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from kdbench.errors import UsageError

if TYPE_CHECKING:
    from kdbench.record import Store
    from kdbench.registry import Registry
    from kdbench.suite import Suite

__all__ = [
    "RUNS", "Budget", "Datasets", "Pairs", "Seeds", "Selection", "Steps", "StoreDir", "SuiteName",
    "TimeBudget", "Variants", "Workers", "choose", "seconds", "seeds", "store_folder",
]  # fmt: skip

RUNS = Path("kdbench-runs")
"""Where stores lie that were not named."""

_PANEL = "Selection"
_MOST_SEEDS = 10_000

SuiteName: TypeAlias = Annotated[str, typer.Argument(help="A shipped suite, or a .toml file.")]
Pairs: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--pair", metavar="T:S", help="Teacher and student; repeat.", rich_help_panel=_PANEL
    ),
]
Datasets: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--dataset", metavar="DATASET", help="A data set; repeat.", rich_help_panel=_PANEL
    ),
]
Seeds: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--seeds",
        metavar="SEEDS",
        help="'3' for 0, 1, 2; '0,1,5'; '100-104'.",
        rich_help_panel=_PANEL,
    ),
]
Variants: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--variant", metavar="NAME", help="A variant of the suite; repeat.", rich_help_panel=_PANEL
    ),
]
Budget: TypeAlias = Annotated[
    float | None,
    typer.Option(
        metavar="F",
        help="Spend this share of the training, above 0 and at most 1; kept off the full board.",
        rich_help_panel=_PANEL,
    ),
]
Steps: TypeAlias = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Train for so many steps alone; kept off the full board.",
        rich_help_panel=_PANEL,
    ),
]
StoreDir: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--store",
        metavar="DIR",
        envvar="KDBENCH_STORE",
        help="Where records lie; ./kdbench-runs/SUITE by default.",
    ),
]
Workers: TypeAlias = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Processes; one a core by default.")
]
TimeBudget: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="Be back after so long, as 90s, 9m or 2h; the same command goes on from there.",
    ),
]


@dataclass(frozen=True, slots=True)
class Selection:
    """What was asked.

    Attributes:
        name: Of the suite, as given.
        whole: The suite before anything was selected.
        suite: The suite with what was selected.
        registry: What is installed, and the plugin files that were given.
        store: Where the records lie.
    """

    name: str
    whole: "Suite"
    suite: "Suite"
    registry: "Registry"
    store: "Store"


def choose(
    name: str,
    store: Path | None,
    methods: Sequence[str] | None = None,
    pairs: Sequence[str] | None = None,
    datasets: Sequence[str] | None = None,
    chosen: str | Sequence[int] | None = None,
    budget: float | None = None,
    steps: int | None = None,
    folders: Sequence[Path] | None = None,
    blocked: Sequence[str] | None = None,
    variants: Sequence[str] | None = None,
) -> Selection:
    """The selection that these options mean; `chosen` are the seeds, as text or as numbers.

    Raises:
        UsageError: No such suite, file or name, or a value out of range.
        PluginError: A selected file is broken.
    """
    from kdbench import suite as suites
    from kdbench.cli.options import select
    from kdbench.record import Store

    if budget is not None and steps is not None:
        raise UsageError(
            f"--budget {budget:g} and --steps {steps} contradict each other",
            "both say how long to train",
            "leave one out",
        )
    whole = suites.load(name)
    numbers = seeds(chosen) if isinstance(chosen, str) else tuple(chosen or ())
    registry, named = select(methods, folders, blocked)
    suite = whole.select(
        methods=named,
        pairs=tuple(dict.fromkeys(pairs or ())),
        datasets=tuple(dict.fromkeys(datasets or ())),
        seeds=numbers,
        variants=tuple(dict.fromkeys(variants or ())),
        budget=budget,
        steps=steps,
    )
    return Selection(name, whole, suite, registry, Store(store_folder(whole.name, store)))


def seeds(text: str) -> tuple[int, ...]:
    """The seeds that `text` writes, each once.

    Raises:
        UsageError: It is no number, list or range.

    Example:
        >>> seeds("3"), seeds("0,1,5"), seeds("100-102"), seeds("7,")
        ((0, 1, 2), (0, 1, 5), (100, 101, 102), (7,))
    """
    if re.fullmatch(r"\d{1,9}", text) and 0 < int(text) <= _MOST_SEEDS:
        return tuple(range(int(text)))
    found: dict[int, None] = {}
    for part in text.removesuffix(",").split(","):
        ends = re.fullmatch(r"\s*(\d{1,9})(?:-(\d{1,9}))?\s*", part)
        first, last = (int(ends[1]), int(ends[2] or ends[1])) if ends else (0, -1)
        if not (first <= last < first + _MOST_SEEDS) or text.isdigit():
            raise UsageError(
                f"{text!r} does not say which seeds",
                "expected a count, a list or a range",
                "write --seeds 3, --seeds 0,1,5 or --seeds 100-104",
            )
        found |= dict.fromkeys(range(first, last + 1))
    return tuple(found)


def seconds(text: str) -> float:
    """The seconds that `text` writes.

    Raises:
        UsageError: It is no time, or none at all.

    Example:
        >>> seconds("90s"), seconds("9m"), seconds("1.5h")
        (90.0, 540.0, 5400.0)
    """
    found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,6})?)([smh])", text)
    if not found or not float(found[1]):
        raise UsageError(
            f"--time-budget {text!r} is no time",
            "expected a number above 0 and s, m or h",
            "write --time-budget 90s, 9m or 2h",
        )
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]]


def store_folder(suite: str, given: Path | None) -> Path:
    """The folder of a suite's records: the given one, or the suite's in `./kdbench-runs`."""
    return RUNS / suite if given is None else given
