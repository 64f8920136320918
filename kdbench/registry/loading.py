"""A plugin's module -> what it yields. Imports the plugin: for workers and the child alone."""

import dataclasses
import difflib
import importlib
import importlib.util
import sys
import typing
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import pluggy
from pydantic import ConfigDict, TypeAdapter, ValidationError

from kdbench import hookspecs
from kdbench.errors import PluginError, UsageError
from kdbench.record import Spec
from kdbench.registry.entry import Source
from kdbench.registry.hooks import HOOKS, check, check_hooks, check_version, pairs
from kdbench.registry.syntax import reach

__all__ = ["build", "load", "options"]

_SCALARS = (bool, int, float, str)
Plugged = TypeVar("Plugged")


def load(source: Source) -> dict[tuple[str, str], object]:
    """What the plugin yields, by (kind, name), in the order of its hooks.

    Raises:
        PluginError: It breaks the contract of the hooks; what the plugin raises passes through.
    """
    module = _module(source)
    manager = pluggy.PluginManager("kdbench")
    manager.add_hookspecs(hookspecs)
    check_version(module, source)
    check_hooks(module, source)
    manager.register(module)
    found: dict[tuple[str, str], object] = {}
    for hook, kind in HOOKS.items():
        for implementation in getattr(manager.hook, hook).get_hookimpls():
            where = f"{source.path}:{implementation.function.__code__.co_firstlineno}: {hook}()"
            for name, plugged in pairs(implementation.function(), where):
                check(kind, name, plugged, where)
                if (kind, name) in found:
                    raise PluginError(
                        f"{where} yields {kind} {name!r} twice",
                        "a name means one thing",
                        "rename one",
                    )
                found[kind, name] = plugged
    return found


def _module(source: Source) -> ModuleType:
    """The plugin's module, imported once; a file's stays in `sys.modules` for pickles."""
    if source.module in sys.modules:
        return sys.modules[source.module]
    _check_unchanged(source)
    if source.kind == "distribution":
        return importlib.import_module(source.module)
    spec = importlib.util.spec_from_file_location(source.module, source.path)
    if spec is None or spec.loader is None:
        raise PluginError(
            f"{source.path} cannot be imported",
            "it is no Python file",
            "give a file that ends in .py",
        )
    module = sys.modules[source.module] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[source.module]
        raise
    return module


def _check_unchanged(source: Source) -> None:
    """Refuse files that are not those fingerprinted: a record would name the wrong code."""
    if not source.digest:
        return
    path, file = Path(source.path), source.kind == "file"
    found = reach(path.stem if file else source.module, path, {}, file=file)
    if found.digest != source.digest:
        why = "it, or a module it imports, was edited after the plan was made"
        raise PluginError(f"plugin {source.origin} has changed", why, "run again")


def options(plugged: object) -> dict[str, Any]:
    """The options that brackets replace and their types, in the order of the class."""
    if not dataclasses.is_dataclass(plugged):
        return {}
    types = typing.get_type_hints(type(plugged))
    return {
        field.name: types.get(field.name, Any)
        for field in dataclasses.fields(plugged)
        if field.init
    }


def build(obj: Plugged, spec: Spec) -> Plugged:
    """The object with the options of `spec` in place of its fields, each of the field's type.

    Raises:
        UsageError: It has no such option, or the value is not of its type or not allowed.
    """
    types, values = options(obj), {}
    for key, value in spec.options:
        if key not in types:
            close = difflib.get_close_matches(key, types, 1, 0.5)
            known = f"its options are {', '.join(types)}" if types else "it has no options"
            raise UsageError(
                f"{spec.name} has no option {key!r}",
                f"did you mean {close[0]!r}? {known}" if close else known,
                f"see kdbench show {spec.name}",
            )
        # Strictly where a lax reading takes true for 1 or "4" for 4; a path is text: not always.
        strict = isinstance(value, bool) or types[key] in _SCALARS
        try:
            adapter = TypeAdapter(
                types[key], config=ConfigDict(allow_inf_nan=False, arbitrary_types_allowed=True)
            )
            values[key] = adapter.validate_python(value, strict=strict)
        except ValidationError as error:
            detail = error.errors()[0]["msg"].removeprefix("Input should be ")
            raise UsageError(
                f"{spec.name}[{key}={value}] is not possible",
                f"{key} must be {detail}",
                f"see kdbench show {spec.name}",
            ) from error
    try:
        return dataclasses.replace(obj, **values) if values else obj  # type: ignore[type-var]  # has fields, so is a dataclass
    except ValueError as error:
        raise UsageError(
            f"{spec} is not possible", str(error), f"see kdbench show {spec.name}"
        ) from error
