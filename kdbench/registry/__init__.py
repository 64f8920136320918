"""Plugins -> names, facts and origins, without importing a plugin in the process that asks.

Plugins come from the entry points of the group `kdbench`, from files (`-m ./mykd.py`), from folders
(`--plugins-dir`) and from `KDBENCH_PLUGINS`. Their modules import torch, so a child process imports
them, once for each content of their files, and what they yield is kept as an index in
`KDBENCH_CACHE`. A plugin that raises, exits, crashes or hangs harms only its own row. This is no
defence against malice: plugins are code, and they run.

Only `load` and `build` are for workers: they import the plugin where they are called.
"""

from typing import TYPE_CHECKING, Any

from kdbench.registry.catalogue import Registry
from kdbench.registry.entry import (
    DataFacts,
    Entry,
    FieldInfo,
    Kind,
    MethodFacts,
    Plugin,
    Source,
    TransferFacts,
)
from kdbench.registry.places import cache_dir, data_dir
from kdbench.registry.scanning import scan

if TYPE_CHECKING:
    from kdbench.registry.loading import build, load

__all__ = [
    "DataFacts",
    "Entry",
    "FieldInfo",
    "Kind",
    "MethodFacts",
    "Plugin",
    "Registry",
    "Source",
    "TransferFacts",
    "build",
    "cache_dir",
    "data_dir",
    "load",
    "scan",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - what a module holds
    if name in {"build", "load"}:  # workers alone pay for pluggy and the types of options
        from kdbench.registry import loading

        return getattr(loading, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
