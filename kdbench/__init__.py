"""kdbench: a plugin-based benchmark suite for knowledge distillation.

How data flows, each step a module of the same name:

    plugins -> registry -> suite -> plan -> teacher -> cohort (train in lockstep -> measure)
    -> record -> leaderboard -> page -> cli

Plugins yield methods, data sets and networks; the registry finds them without importing torch. A
suite (TOML) asks questions; the plan crosses its axes into cohorts: trials that differ only in
method and share one stream of batches, one teacher and the same initial student. A worker trains a
cohort in lockstep, measures each student's fidelity, accuracy and cost, and gives one immutable
record a trial. Leaderboards are made from records alone.

Plugin authors import `kdbench.api` and `kdbench.functional`, nothing else.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pandas import DataFrame

    from kdbench.api import Method
    from kdbench.leaderboard import Board, Comparison
    from kdbench.leaderboard.claims import Answered

    __version__: str

__all__ = ["__version__", "compare", "leaderboard", "load_records", "method", "report", "run"]


def method(spec: str) -> "Method":
    """The method that `spec` writes, a frozen dataclass; imports its plugin, and torch with it.

    Args:
        spec: A name with options in brackets, or a sum of such.

    Raises:
        UsageError: Unknown name or option, or an impossible value.
        PluginError: Its plugin is broken.

    Example:
        `kdbench.method("kd[temperature=2]").loss(student, teacher, batch, None)`
    """
    from kdbench.record import Spec
    from kdbench.registry import scan
    from kdbench.train import assemble

    asked = Spec.parse(spec)
    (facts,) = scan().methods([asked]).values()
    return assemble(asked, facts.sources)


def run(
    suite: str = "digits",
    *,
    methods: Sequence[str] = (),
    pairs: Sequence[str] = (),
    datasets: Sequence[str] = (),
    seeds: Sequence[int] | str = (),
    variants: Sequence[str] = (),
    budget: float | None = None,
    steps: int | None = None,
    shard: str | None = None,
    store: str | Path | None = None,
    device: str = "cpu",
    workers: int | None = None,
    retry: bool = False,
    progress: bool = True,
) -> "Board":
    """The board of what was selected, after everything open of it has been answered.

    Args:
        suite: A shipped suite, or a .toml file.
        methods: In place of the suite's: specs, or plugin files with all their methods.
        pairs, datasets: In place of the suite's.
        seeds: In place of the suite's: numbers, or text as for the command line.
        variants: Of the suite's, these alone.
        budget: Share of the training to spend, in (0, 1].
        steps: Number of steps to train for instead.
        shard: The part to do, as "1/4"; the board still is of all that was selected.
        store: Folder of the records; `KDBENCH_STORE`, or `./kdbench-runs/SUITE`.
        device: "cpu", "cuda" or "cuda:N".
        workers: Processes; one a core by default.
        retry: Ask failed trials again.
        progress: Whether lines on standard error say how it goes on.

    Raises:
        KDBenchError: Names, data or weights are not there. Trials that fail raise nothing: the
            board names them.

    Example:
        `kdbench.run("digits", methods=["scratch", "kd"], seeds=[0]).frame()`
    """
    import os

    from kdbench import engine

    engine.warm_up()
    from kdbench.cli.progress import reporter
    from kdbench.cli.selection import choose
    from kdbench.cli.work import answer

    place = store if store is not None else os.environ.get("KDBENCH_STORE")
    asked = choose(
        suite, Path(place) if place else None, methods, pairs, datasets, seeds, budget, steps,
        variants=variants, part=shard,
    )  # fmt: skip
    with reporter(progress) as listener:
        done = answer(asked, listener, device, workers, retry, listener.started)
    if done.error:
        raise done.error
    return done.board


def load_records(folder: str | Path) -> "DataFrame":
    """One row a record, in the order of the files: columns are named as in the JSON, by points.

    Args:
        folder: A store or a board's folder, which holds `records/`.

    Raises:
        StoreError: A file is not a record.

    Example:
        `kdbench.load_records("kdbench-runs/digits")[["question.method", "quality.accuracy"]]`
    """
    import pandas

    from kdbench.record import Store

    rows = [record.model_dump(mode="json") for record in Store(Path(folder)).records()]
    return pandas.json_normalize(rows)


def report(folder: str | Path) -> "Answered":
    """What the records in a folder say of their suite's claims.

    Args:
        folder: A store or a board's folder, with the suite's claims in its `suite.json`.

    Raises:
        NothingSelected: There are no records, or no claims.

    Example:
        `[one.verdict for one in kdbench.report("leaderboards/tang-levels-mini").findings]`
    """
    from kdbench.leaderboard import read
    from kdbench.leaderboard.claims import answered

    return answered(read(Path(folder)))


def compare(first: str | Path, second: str | Path, store: str | Path | None = None) -> "Comparison":
    """What differs between two records, two stores, or two methods of one store; second less first.

    Args:
        first, second: Files of records, folders or names of suites; with `store`, methods.
        store: A folder with records, or a suite's name.

    Raises:
        UsageError: One is none of these; NothingSelected: no trial of one has a partner.

    Example:
        `kdbench.compare("kd", "dkd", "leaderboards/digits-all").overall.differences["accuracy"]`
    """
    from kdbench.cli.sides import compared

    return compared(str(first), str(second), None if store is None else str(store), None)


if TYPE_CHECKING:

    def leaderboard(folder: str | Path) -> "Board":
        """The board of the records in a folder, as its `suite.json` describes it."""
        ...


def __getattr__(name: str) -> Any:  # noqa: ANN401 - what a module holds
    if name == "__version__":
        # read only when asked for: reading metadata costs more than all else here
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("kdbench")
        except PackageNotFoundError:
            return "0+checkout"
    if name == "leaderboard":  # the package, which can be called: it has the same name
        import importlib

        return importlib.import_module("kdbench.leaderboard")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
