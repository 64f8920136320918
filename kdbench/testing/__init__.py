"""Contracts that every method keeps, shipped for plugin authors; `kdbench check` runs them.

In a plugin's own tests: `assert not kdbench.testing.broken(MyMethod())`. No network, no GPU, no
data: a student of 5,000 weights learns from noise, in seconds.
"""

from typing import TYPE_CHECKING, Any

from kdbench.testing.finding import Finding

if TYPE_CHECKING:
    from kdbench.api import Method
    from kdbench.testing.bench import Bench, Case
    from kdbench.testing.contracts import CONTRACTS
    from kdbench.testing.examination import examine

__all__ = ["CONTRACTS", "Bench", "Case", "Finding", "broken", "examine"]

_WHERE = {"Bench": "bench", "Case": "bench", "CONTRACTS": "contracts", "examine": "examination"}


def broken(method: "Method") -> "list[Finding]":
    """The findings of a method that are not ok; none for one that keeps every contract."""
    from kdbench.testing.examination import examine

    return [finding for finding in examine(method) if finding.state != "ok"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - what a module holds
    if name in _WHERE:  # the command that asks a child does without torch
        import importlib

        return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
