"""The child process that imports plugins: answers one JSON line for each JSON line it is asked.

What a plugin prints goes to the child's standard error, which the parent keeps apart, so that it
cannot garble an answer. A plugin that raises, or exits by `sys.exit`, is answered for; if it takes
the process down, the parent sees that and starts another child for the rest.
"""

import faulthandler
import importlib
import json
import os
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from kdbench.errors import DataError, KDBenchError, PluginError
from kdbench.record import Spec
from kdbench.registry.entry import Source
from kdbench.registry.facts import data_facts, describe, method_facts, transfer_facts
from kdbench.registry.loading import load

__all__ = ["answer_all", "main", "spec_of"]


def main() -> None:
    """Answer what the registry asks."""
    answer_all(_ASK)


def answer_all(ask: Mapping[str, Callable[[dict[str, Any]], Any]]) -> None:
    """Answer questions by what they are to `do`, until the parent closes the line."""
    questions = os.fdopen(os.dup(0), encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)
    faulthandler.enable()  # a plugin that crashes or hangs leaves file and line
    print(json.dumps({"ok": "ready"}), file=answers, flush=True)
    for line in questions:
        question = json.loads(line)
        print(json.dumps(_answer(question, ask)), file=answers, flush=True)
    os._exit(0)  # threads and exit handlers of plugins are not waited for


def _answer(
    question: dict[str, Any], ask: Mapping[str, Callable[[dict[str, Any]], Any]]
) -> dict[str, Any]:
    source = Source(**question["source"]) if "source" in question else None
    try:
        return {"ok": ask[question["do"]](question)}
    except KeyboardInterrupt:
        raise
    except KDBenchError as error:
        return {"error": type(error).__name__, "parts": [error.what, error.why, error.next]}
    except BaseException as error:  # noqa: BLE001 - a plugin may raise anything, SystemExit too
        where = f"{_place(error, source)}: " if source else ""
        kind = (
            "SystemExit, so it wants to end the host"
            if isinstance(error, SystemExit)
            else type(error).__name__
        )
        text = str(error.msg if isinstance(error, SyntaxError) else error).strip()
        return {
            "error": "Exception",
            "parts": [f"{where}{kind}" + (f": {text}" if text else ""), "", ""],
        }


def _place(error: BaseException, source: Source) -> str:
    """File and line of the error: of the innermost frame in the plugin's package, or of all."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return f"{error.filename}:{error.lineno}"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<")
    ]
    folder = os.path.dirname(source.path) if source.kind == "distribution" else source.path  # noqa: PTH120 - of text
    own = [frame for frame in frames if frame.filename.startswith(folder)] or [
        f for f in frames if f.filename != __file__
    ]
    return (
        f"{own[-1].filename}:{own[-1].lineno}"
        if own and _is_plugin(own[-1].filename)
        else source.path
    )


def _is_plugin(filename: str) -> bool:
    return not filename.startswith(os.path.dirname(__file__))  # noqa: PTH120 - of text


def _load(question: dict[str, Any]) -> dict[str, Any]:
    source, found = Source(**question["source"]), []
    if Path(source.path).is_file() and b"kdbench" in Path(source.path).read_bytes():
        importlib.import_module("kdbench.api")  # so that the time for torch is nobody's
    start = time.monotonic()
    yielded = load(source)
    seconds = round(time.monotonic() - start, 1)
    for (kind, name), plugged in yielded.items():
        facts: dict[str, Any] = {}
        if kind in _PURE:
            facts = _PURE[kind](plugged, Spec(name))
        elif kind == "dataset":
            with suppress(DataError):  # a user's own data need a folder first
                facts = data_facts(plugged, Spec(name))
        found.append(
            describe(kind, name, plugged) | {"facts": facts if facts.pop("cacheable", True) else {}}
        )
    return {"seconds": seconds, "found": found}


def _facts(question: dict[str, Any]) -> dict[str, Any]:
    source, spec, kind = Source(**question["source"]), spec_of(question["spec"]), question["kind"]
    plugged = load(source).get((kind, spec.name))
    if plugged is None:
        raise PluginError(
            f"{source.origin} no longer yields {kind} {spec.name!r}",
            "it does at other times",
            "make it constant",
        )
    return _PURE.get(kind, data_facts)(plugged, spec)


def _timm(question: dict[str, Any]) -> list[str]:
    return list(importlib.import_module("timm").list_models())


def spec_of(value: dict[str, Any]) -> Spec:
    """The spec that a JSON object of name and options holds."""
    return Spec.of(value["name"], value["options"])


_PURE = {"method": method_facts, "transfer": transfer_facts}
"""Facts that follow from the options alone, by kind."""
_ASK = {"load": _load, "facts": _facts, "timm": _timm}

if __name__ == "__main__":
    main()
