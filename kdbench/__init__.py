"""kdbench: a plugin-based benchmark suite for knowledge distillation.

How data flows, each step a module of the same name:

    plugins -> registry -> suite -> plan -> teacher -> cohort (train in lockstep -> measure)
    -> record -> leaderboard -> cli

Plugins yield methods, data sets and networks; the registry finds them without importing torch. A
suite (TOML) asks questions; the plan crosses its axes into cohorts: trials that differ only in
method and share one stream of batches, one teacher and the same initial student. A worker trains a
cohort in lockstep, measures each student's fidelity, accuracy and cost, and gives one immutable
record a trial. Leaderboards are made from records alone.

Plugin authors import `kdbench.api` and `kdbench.functional`, nothing else.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdbench.api import Method

    __version__: str

__all__ = ["__version__", "method"]


def method(spec: str) -> "Method":
    """The method that `spec` writes, a frozen dataclass; imports its plugin, and torch with it.

    Args:
        spec: A name with options in brackets.

    Raises:
        UsageError: Unknown name or option, or an impossible value.
        PluginError: Its plugin is broken.

    Example:
        `kdbench.method("kd[temperature=2]").loss(student, teacher, batch, None)`
    """
    from kdbench.record import Spec
    from kdbench.registry import build, load, scan

    asked = Spec.parse(spec)
    source = scan().entry("method", asked.name).source
    found: Any = load(source)["method", asked.name]
    built: Method = build(found, asked)
    return built


def __getattr__(name: str) -> Any:  # noqa: ANN401 - what a module holds
    if (
        name == "__version__"
    ):  # read only when asked for: reading metadata costs more than all else here
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("kdbench")
        except PackageNotFoundError:
            return "0+checkout"
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
