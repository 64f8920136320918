"""Options that several commands share, and the plugins that they select; nothing heavy."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

if TYPE_CHECKING:
    from kdbench.registry import Registry

__all__ = ["AsJson", "Methods", "NoPlugin", "PluginsDir", "find", "select"]

_PANEL = "Plugins"

Methods: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "-m",
        "--method",
        metavar="METHOD",
        help=r"A method, as 'kd\[temperature=2]', or a plugin file; repeat.",
        rich_help_panel=_PANEL,
    ),
]
PluginsDir: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugins-dir",
        metavar="DIR",
        help="Load every plugin file in this folder; repeat.",
        rich_help_panel=_PANEL,
    ),
]
NoPlugin: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--no-plugin", metavar="NAME", help="Leave this plugin out; repeat.", rich_help_panel=_PANEL
    ),
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def is_file(text: str) -> bool:
    """Whether a method is given as a file: it ends in .py, or has a separator before a bracket."""
    head = text.partition("[")[0]
    return head.endswith(".py") or "/" in head or os.sep in head


def find(
    folders: Sequence[Path] | None = None,
    blocked: Sequence[str] | None = None,
    files: Sequence[Path] = (),
) -> "Registry":
    """The registry with these plugins; says on standard error if some are broken."""
    from kdbench.cli.output import warn
    from kdbench.registry import scan

    registry = scan(files=files, folders=folders or (), blocked=blocked or ())
    asked = {str(path.resolve()) for path in files}  # those fail by themselves
    others = (p for p in registry.plugins if p.state != "blocked" and p.source.path not in asked)
    if count := sum(bool(plugin.error) for plugin in others):
        have = "plugin has" if count == 1 else "plugins have"
        warn(f"{count} {have} errors: see kdbench plugins --errors")
    return registry


def select(
    methods: Sequence[str] | None, folders: Sequence[Path] | None, blocked: Sequence[str] | None
) -> tuple["Registry", tuple[str, ...]]:
    """The registry and the selected methods: those named, and for a file all that it yields.

    Raises:
        UsageError: No such file; PluginError: a selected file is broken.
    """
    from kdbench.errors import UsageError

    for text in methods or ():
        if is_file(text) and "[" in text:
            raise UsageError(
                f"{text!r} has options on a file",
                "options belong to a name",
                "give the file, then -m 'NAME[...]'",
            )
    registry = find(folders, blocked, [Path(text) for text in methods or () if is_file(text)])
    chosen = [
        name
        for text in methods or ()
        for name in (registry.yielded(Path(text)) if is_file(text) else (text,))
    ]
    return registry, tuple(dict.fromkeys(chosen))
