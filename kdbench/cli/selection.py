"""What `run` and `plan` are asked: a suite, parts of its axes, plugins and a store."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from kdbench.cli.amounts import seeds, shard
from kdbench.errors import UsageError

if TYPE_CHECKING:
    from kdbench.record import Store
    from kdbench.registry import Registry
    from kdbench.suite import Suite

__all__ = [
    "RUNS",
    "Budget",
    "Datasets",
    "MemoryLimit",
    "Pairs",
    "Seeds",
    "Selection",
    "Shard",
    "Steps",
    "StoreDir",
    "SuiteName",
    "TimeBudget",
    "TrialTimeout",
    "Variants",
    "Workers",
    "choose",
    "store_folder",
]  # fmt: skip

RUNS = Path("kdbench-runs")
"""Where stores lie that were not named."""

_PANEL = "Selection"

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
Shard: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="Do the I-th of N parts alone, each on a machine of its own.",
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
TrialTimeout: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="End a trial whose own work takes longer, as 90s, 9m or 2h."),
]
MemoryLimit: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        help="End a trial whose worker takes more, as 500MB or 4GB; by default, an equal share of "
        "80 % of the machine's.",
    ),
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
        shard: The number of the part of its plan that is asked, and of how many; None for all.
    """

    name: str
    whole: "Suite"
    suite: "Suite"
    registry: "Registry"
    store: "Store"
    shard: tuple[int, int] | None = None


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
    part: str | None = None,
) -> Selection:
    """The selection that these options mean; `chosen` are the seeds, as text or as numbers.

    Args:
        part: The shard, as text.

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
    one_of = None if part is None else shard(part)
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
    place = Store(store_folder(whole.name, store))
    return Selection(name, whole, suite, registry, place, one_of)


def store_folder(suite: str, given: Path | None) -> Path:
    """The folder of a suite's records: the given one, or the suite's in `./kdbench-runs`."""
    return RUNS / suite if given is None else given
