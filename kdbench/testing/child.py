"""The child process that checks methods: one contract a question, so that a crash costs only it."""

from dataclasses import asdict
from typing import Any, cast

from kdbench.api import Method
from kdbench.registry import Source, build, load
from kdbench.registry.child import answer_all, spec_of
from kdbench.testing.examination import PROMISES, observe


def main() -> None:
    """Answer until the parent closes the line."""
    answer_all({"promises": lambda question: PROMISES, "check": _check})


def _check(question: dict[str, Any]) -> dict[str, Any]:
    """What is found of one contract, as JSON."""
    import torch

    torch.set_num_threads(1)
    source, spec = Source(**question["source"]), spec_of(question["spec"])
    method = cast(Method, build(load(source)["method", spec.name], spec))
    return asdict(observe(method, question["contract"]))
