"""A plugin's module -> what it yields. Imports the plugin: for workers and the child alone."""

import dataclasses
import difflib
import importlib
import importlib.util
import inspect
import re
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, TypeVar

import pluggy
from pydantic import ConfigDict, TypeAdapter, ValidationError

from kdbench import hookspecs
from kdbench.errors import PluginError, UsageError
from kdbench.record import Spec
from kdbench.registry.entry import Source
from kdbench.registry.syntax import reach

__all__ = ["build", "load", "options"]

# in run order
_HOOKS = {f"kdbench_{kind}s": kind for kind in ("model", "dataset", "transfer", "method", "metric")}
_NAMES = {"model": re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")}
_NAME = re.compile(r"[a-z][a-z0-9_]*")
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
    _check_hooks(module, source)
    manager.register(module)
    found: dict[tuple[str, str], object] = {}
    for hook, kind in _HOOKS.items():
        for implementation in getattr(manager.hook, hook).get_hookimpls():
            where = f"{source.path}:{implementation.function.__code__.co_firstlineno}: {hook}()"
            for name, plugged in _pairs(implementation.function(), where):
                _check(kind, name, plugged, where)
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


def _check_hooks(module: ModuleType, source: Source) -> None:
    """Refuse functions that look like hooks and are none: typos, missing marks, extra arguments."""
    for name, function in list(vars(module).items()):
        if not isinstance(function, FunctionType):
            continue
        marked = hasattr(function, "kdbench_impl")
        named = name.startswith("kdbench_") and function.__module__ == module.__name__
        if not marked and not named:
            continue
        where = f"{source.path}:{function.__code__.co_firstlineno}: {name}()"
        if name not in _HOOKS:
            close = difflib.get_close_matches(name, _HOOKS, 1, 0.5)
            hint = f"did you mean {close[0]!r}?" if close else f"hooks are {', '.join(_HOOKS)}"
            raise PluginError(f"{where} is not a hook", hint, "rename it")
        if not marked:
            raise PluginError(
                f"{where} is not marked",
                "the host calls only marked hooks",
                "put @hookimpl above it",
            )
        extra = [
            p.name
            for p in inspect.signature(function).parameters.values()
            if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        ]
        if extra:
            raise PluginError(
                f"{where} takes {', '.join(extra)}", "this hook takes no arguments", "remove them"
            )


def _pairs(results: object, where: str) -> Iterator[tuple[str, object]]:
    """The hook's results, each proved to be a name and an object."""
    if not hasattr(results, "__iter__"):
        raise PluginError(
            f"{where} gives {results!r}",
            "expected (name, object) pairs",
            'write yield "name", object',
        )
    for item in results:
        if not (isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str)):
            raise PluginError(
                f"{where} yields {item!r}",
                "expected a (name, object) pair",
                'write yield "name", object',
            )
        yield item


def _check(kind: str, name: str, plugged: object, where: str) -> None:
    """Refuse a bad name, or an object of another type than the hook's."""
    pattern = _NAMES.get(kind, _NAME)
    if not pattern.fullmatch(name):
        raise PluginError(
            f"{where} yields the name {name!r}", f"names match {pattern.pattern}", "rename it"
        )
    if kind == "model":
        # by name: this module is on a floor that does without torch
        timm = importlib.import_module("timm")
        if not callable(plugged) or not timm.is_model(name):
            raise PluginError(
                f"{where} yields {name!r}, which timm does not know",
                "networks are registered with timm",
                "put @timm.models.register_model above its entry function",
            )
        return
    if kind == "metric":
        _check_metric(name, plugged, where)
        return
    api = importlib.import_module("kdbench.api")
    expected = {"method": api.Method, "dataset": api.DataSet, "transfer": api.Transfer}[kind]
    if not isinstance(plugged, expected):
        made, hint = f"a {type(plugged).__name__}", f"derive its class from {expected.__name__}"
        if isinstance(plugged, type):
            made, hint = f"the class {plugged.__name__}", "call it: yield an instance"
        raise PluginError(
            f"{where} yields {made} for {name!r}", f"expected a {expected.__name__}", hint
        )
    parameters = getattr(plugged, "__dataclass_params__", None)
    if (
        parameters is None
        or not parameters.frozen
        or "__dataclass_fields__" not in vars(type(plugged))
    ):
        raise PluginError(
            f"{where}: {type(plugged).__name__} of {name!r} is not a frozen dataclass",
            "it is shared by trials",
            "put @dataclass(frozen=True) above the class",
        )


def _check_metric(name: str, plugged: object, where: str) -> None:
    """Refuse what is no function of three values."""
    try:
        if not inspect.isfunction(plugged):
            raise TypeError("it is no function")
        inspect.signature(plugged).bind(None, None, None)
    except TypeError as error:
        raise PluginError(
            f"{where} yields {plugged!r} for {name!r}",
            f"a metric is a function of (logits, teacher, labels): {error}",
            "yield such a function",
        ) from None


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
