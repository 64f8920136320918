"""What a plugin's hooks may be and yield: each refusal names file and line."""

import difflib
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType

from kdbench.errors import PluginError
from kdbench.registry.entry import Source

__all__ = ["HOOKS", "check", "check_hooks", "check_version", "pairs"]

# in run order
HOOKS = {f"kdbench_{kind}s": kind for kind in ("model", "dataset", "transfer", "method", "metric")}
_NAMES = {"model": re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")}
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_LONGEST = 100
"""Characters of a name."""
_MOST = 10_000
"""Names of one hook."""


def check_version(module: ModuleType, source: Source) -> None:
    """Refuse a plugin that says it was written for another version of the interface."""
    if not hasattr(module, "KDBENCH_API"):
        return
    # by name: this module is on a floor that does without torch
    ours, theirs = importlib.import_module("kdbench.api").API, module.KDBENCH_API
    if theirs != ours:
        lines = Path(source.path).read_text("utf-8", "replace").splitlines()
        line = next((i for i, one in enumerate(lines, 1) if one.startswith("KDBENCH_API")), 1)
        raise PluginError(
            f"{source.path}:{line}: KDBENCH_API = {theirs!r}",
            f"this kdbench has version {ours} of the plugin interface",
            "bring the plugin to that version, or install the kdbench that it was written for",
        )


def check_hooks(module: ModuleType, source: Source) -> None:
    """Refuse functions that look like hooks and are none: typos, missing marks, extra arguments."""
    for name, function in list(vars(module).items()):
        if not isinstance(function, FunctionType):
            continue
        marked = hasattr(function, "kdbench_impl")
        named = name.startswith("kdbench_") and function.__module__ == module.__name__
        if not marked and not named:
            continue
        where = f"{source.path}:{function.__code__.co_firstlineno}: {name}()"
        if name not in HOOKS:
            close = difflib.get_close_matches(name, HOOKS, 1, 0.5)
            hint = f"did you mean {close[0]!r}?" if close else f"hooks are {', '.join(HOOKS)}"
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


def pairs(results: object, where: str) -> Iterator[tuple[str, object]]:
    """The hook's results, each proved to be a name and an object."""
    if not hasattr(results, "__iter__"):
        raise PluginError(
            f"{where} gives {results!r}",
            "expected (name, object) pairs",
            'write yield "name", object',
        )
    for count, item in enumerate(results, 1):
        if count > _MOST:
            raise PluginError(
                f"{where} yields more than {_MOST} names", "it may have no end", "yield fewer"
            )
        if not (isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str)):
            raise PluginError(
                f"{where} yields {item!r}",
                "expected a (name, object) pair",
                'write yield "name", object',
            )
        yield item


def check(kind: str, name: str, plugged: object, where: str) -> None:
    """Refuse a bad name, or an object of another type than the hook's."""
    pattern = _NAMES.get(kind, _NAME)
    if not pattern.fullmatch(name) or len(name) > _LONGEST:
        told = f"{name[:_LONGEST]!r}" + "..." * (len(name) > _LONGEST)
        why = f"names match {pattern.pattern}, with at most {_LONGEST} characters"
        raise PluginError(f"{where} yields the name {told}", why, "rename it")
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
