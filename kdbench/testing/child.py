"""The child process that checks methods: one contract a question, so that a crash costs only it."""

from dataclasses import asdict
from typing import Any

from kdbench.record import Spec
from kdbench.registry import Source
from kdbench.registry.child import answer_all
from kdbench.testing.examination import PROMISES, observe
from kdbench.train import assemble


def main() -> None:
    """Answer until the parent closes the line."""
    answer_all({"promises": lambda question: PROMISES, "check": _check})


def _check(question: dict[str, Any]) -> dict[str, Any]:
    """What is found of one contract, as JSON."""
    import torch

    torch.set_num_threads(1)
    sources = [Source(**source) for source in question["sources"]]
    method = assemble(Spec.parse(question["spec"]), sources)
    return asdict(observe(method, question["contract"]))
