"""Plugged objects -> what the index holds of them, as JSON; runs in the child."""

import dataclasses
import enum
import importlib
import inspect
import math
import re
import sys
import typing
from collections.abc import Mapping
from typing import Any

from kdbench.errors import DataError, PluginError
from kdbench.record import Spec
from kdbench.registry.loading import build, options

__all__ = ["canonical_spec", "data_facts", "describe", "method_facts", "transfer_facts"]

_CLASSES, _VALUES = 1_000_000, 2**21
_RUNGS = ("stages", "init", "step", "optimizer", "deploy")
_LONG_HASH = re.compile(r"([0-9a-f]{16})[0-9a-f]{48}")


def plain(value: Any) -> Any:  # noqa: ANN401 - any value, any JSON
    """The value as JSON: tuples and sets become lists, and what has no JSON its text."""
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((plain(item) for item in value), key=repr)
    return plain(dataclasses.asdict(value)) if _is_instance(value) else str(value)


def _is_instance(value: object) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def describe(kind: str, name: str, plugged: object) -> dict[str, Any]:
    """The fields of an `Entry`, but for source and code.

    Raises:
        PluginError: A method's family, paper or extra weights are not what they should be.
    """
    doc = _doc(plugged if inspect.isroutine(plugged) else type(plugged))
    attributes = _attributes(doc)
    fields = {
        key: {
            "default": plain(getattr(plugged, key)),
            "type": _type(hint),
            "doc": attributes.get(key, ""),
        }
        for key, hint in options(plugged).items()
    }
    about = {"family": "", "paper": {}, "bibtex": "", "extra": ""}
    if kind == "method":
        about = _about(name, plugged)
    summary = doc.partition("\n")[0]
    return {"kind": kind, "name": name, "summary": summary, "doc": doc, "fields": fields} | about


def _about(name: str, plugged: Any) -> dict[str, Any]:  # noqa: ANN401 - a Method; kdbench.api is not imported here
    """Family, paper and extra weights of a method, as JSON."""
    api = importlib.import_module("kdbench.api")
    family, paper, extra = plugged.family, plugged.paper, plugged.extra
    known = typing.get_args(api.Family)
    if family is not None and family not in known:
        raise PluginError(
            f"method {name!r} has the family {family!r}",
            f"families are {', '.join(known)}",
            "write one of them, or leave `family` out",
        )
    if not isinstance(extra, str):
        raise PluginError(
            f"method {name!r} has the extra weights {extra!r}",
            "`extra` says in words what is trained and thrown away",
            "write a str",
        )
    cited, bibtex = {}, ""
    if paper is not None:
        try:
            if not isinstance(paper, api.Paper):
                raise TypeError
            cited = dataclasses.asdict(paper) | {"key": paper.key, "reference": paper.reference}
            bibtex = paper.bibtex()
        except (TypeError, ValueError, AttributeError, IndexError):
            raise PluginError(
                f"method {name!r} has the paper {paper!r}",
                "`paper` is a kdbench.api.Paper, or None",
                "write Paper(authors=..., title=..., year=..., venue=..., arxiv=...)",
            ) from None
    return {"family": family or "", "paper": plain(cited), "bibtex": bibtex, "extra": extra}


def _doc(thing: Any) -> str:  # noqa: ANN401 - a class or a function
    """Its docstring, or its module's where it has none but the signature of a dataclass."""
    own = vars(thing).get("__doc__") if isinstance(thing, type) else thing.__doc__
    if not own or (isinstance(thing, type) and own.startswith(f"{thing.__name__}(")):
        own = getattr(sys.modules.get(thing.__module__), "__doc__", None)
    return inspect.cleandoc(own or "")


def _type(hint: object) -> str:
    if isinstance(hint, type) and not hasattr(hint, "__args__"):
        return hint.__name__
    return str(hint).replace("typing.", "")


def _attributes(doc: str) -> dict[str, str]:
    """What the docstring's section "Attributes:" or "Args:" says of each name."""
    found: dict[str, str] = {}
    inside, names = False, list[str]()
    for line in doc.splitlines():
        if re.fullmatch(r"(Attributes|Args):", line):
            inside = True
        elif line and not line.startswith(" "):
            inside = False
        elif inside and (match := re.match(r" {2,4}([a-z_A-Z][\w, ]*):\s+(.*)", line)):
            names = match[1].split(", ")
            found |= dict.fromkeys(names, match[2])
        elif inside and line.strip():
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
    return found


def canonical_spec(name: str, default: object, built: object) -> dict[str, Any]:
    """Name and options of the spec of `built`, with only those that are not `default`'s."""
    changed = {
        key: getattr(built, key)
        for key in options(built)
        if getattr(built, key) != getattr(default, key)
    }
    return {"name": name, "options": {key: plain(value) for key, value in sorted(changed.items())}}


def method_facts(plugged: Any, spec: Spec) -> dict[str, Any]:  # noqa: ANN401 - a Method; kdbench.api is not imported here
    """The fields of `MethodFacts`, but for the code.

    Raises:
        UsageError: An option is not possible.
        PluginError: `needs` or `stages` give something else than they should.
    """
    built = build(plugged, spec)
    needs, stages = built.needs(), built.stages()
    if not (isinstance(stages, tuple) and stages and all(map(_is_instance, [needs, *stages]))):
        raise PluginError(
            f"method {spec} has needs {needs!r} and stages {stages!r}",
            "expected a Needs and a tuple of Stage",
            "correct needs() and stages()",
        )
    return {
        "spec": canonical_spec(spec.name, plugged, built),
        "hyperparameters": {key: plain(getattr(built, key)) for key in options(built)},
        "needs": plain(needs),
        "stages": [plain(stage) for stage in stages],
        "overrides": [rung for rung in _RUNGS if _overrides(built, rung)],
    }


def _overrides(built: object, rung: str) -> bool:
    """Whether the method's class, or one it derives from, has a rung of its own."""
    classes = (cls for cls in type(built).__mro__ if cls.__module__ != "kdbench.api.method")
    return any(rung in vars(cls) for cls in classes)


def data_facts(plugged: Any, spec: Spec) -> dict[str, Any]:  # noqa: ANN401 - a DataSet
    """The fields of `DataFacts`, but for source and code.

    One that has an `identity` (name and content hash) is named by that, not by its path.

    Raises:
        DataError: It has more classes or larger images than can be worked with.
    """
    built = build(plugged, spec)
    canonical = canonical_spec(spec.name, plugged, built)
    asked = dict(canonical["options"])
    if identity := getattr(built, "identity", ""):
        asked = {key: value for key, value in asked.items() if key != "path"}
        asked["data"] = _LONG_HASH.sub(r"\1", str(identity))
    # before all that takes memory for each class and each pixel: files may come from anyone
    classes, values = int(built.num_classes), math.prod(built.image_shape)
    if classes > _CLASSES or values > _VALUES:
        raise DataError(
            f"{spec.name} has {classes:,} classes and images of {values:,} values",
            f"at most {_CLASSES:,} and {_VALUES:,} can be worked with",
            "number the classes from 0, and make the images smaller",
        )
    return {
        "spec": canonical,
        "name": str(Spec.of(spec.name, asked)),
        "num_classes": classes,
        "image_shape": [int(size) for size in built.image_shape],
        "sizes": {split: int(rows) for split, rows in built.sizes.items()},
        "mean": [float(value) for value in built.mean],
        "std": [float(value) for value in built.std],
        "flips": bool(built.flips),
        "class_names": [str(name) for name in built.class_names],
        "has_tree": built.class_tree is not None,
        "licence": str(built.licence),
        "origin": str(built.source),
        "cacheable": not identity,
    }


def transfer_facts(plugged: Any, spec: Spec) -> dict[str, Any]:  # noqa: ANN401 - a Transfer
    """The fields of `TransferFacts`, but for source and code.

    Raises:
        UsageError: An option is not possible.
        PluginError: What it says of itself is not what it should be.
    """
    api = importlib.import_module("kdbench.api")
    built = build(plugged, spec)
    adds, switches = built.adds(), (built.mixes, built.hides)
    if not (adds is None or isinstance(adds, api.Added)) or set(map(type, switches)) != {bool}:
        raise PluginError(
            f"transfer policy {spec} has mixes, hides {switches!r} and adds {adds!r}",
            "expected two bools, and an Added or None",
            "correct mixes, hides or adds()",
        )
    return {
        "spec": canonical_spec(spec.name, plugged, built),
        "options": {key: plain(getattr(built, key)) for key in options(built)},
        "mixes": built.mixes,
        "hides": built.hides,
        "adds": plain(adds),
    }
