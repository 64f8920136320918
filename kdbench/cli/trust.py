"""What a stranger's record would have this machine read, fetch or run, and the leave to do so."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from kdbench.cli.output import is_terminal, warn
from kdbench.errors import UsageError
from kdbench.leaderboard.text import plain
from kdbench.record import Origin, Pair, Record, Spec, Value

if TYPE_CHECKING:
    from kdbench.registry import Registry

__all__ = ["concerns", "of_student", "permit"]

_HUB = ("hf-hub:", "hf_hub:")
_LOCAL = "local-dir:"


def concerns(record: Record, registry: "Registry", checkpoint: Path | None) -> list[str]:
    """Each path, hub name and plugin of another origin that the record's question leads to, a line.

    Plugins are code, and run; of those that are here, only ones of the recorded distribution and
    version are taken for the same.

    Args:
        checkpoint: The file that the user gives in place of the teacher's weights.

    Raises:
        UsageError: The question is none that could be asked.
    """
    question = record.question
    pair = Pair.parse(f"{question.teacher}:{question.student}")
    found: list[str] = []
    for link in pair.teacher.chain:
        network = link.network
        given = checkpoint is not None and link is pair.teacher
        found += _network(network.without("checkpoint") if given else network)
    found += _network(pair.student)
    found += _paths("data set", Spec.parse(question.dataset))
    try:
        method = Spec.of(question.method, question.hyperparameters)
    except ValueError as error:
        raise UsageError(
            f"the record of {question.method!r} has impossible hyperparameters",
            plain(str(error)),
            "it was not written by kdbench",
        ) from error
    found += _paths("method", method)
    found += _plugins(method, record.origin, registry)
    said = [("transfer policy", question.protocol.transfer)]
    if asked := question.teacher_protocol:
        said += [("method", asked.method), ("method", asked.alone)]
        said += [("transfer policy", asked.transfer)]
    for what, text in said:
        found += _paths(what, Spec.parse(text)) if text else []
    return [plain(line, 1000) for line in dict.fromkeys(found)]


def of_student(record: Record) -> list[str]:
    """Each path and hub name that the record's student leads to, a line.

    Raises:
        UsageError: It is none that could be asked.
    """
    student = Spec.parse(record.question.student).without("checkpoint")
    return [plain(line, 1000) for line in _network(student)]


def permit(found: list[str], file: Path | str, yes: bool) -> None:
    """Say what the record leads to, and go on only with leave.

    Raises:
        UsageError: There is none: nobody can be asked, or says no.
    """
    for line in found:
        warn(f"the record would use {line}")
    if not found or yes:
        return
    one = f"{found[0]}" + (f", and {len(found) - 1} more" if len(found) > 1 else "")
    if not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
        raise UsageError(
            f"{file} is not used without leave",
            f"it would use {one}",
            "if you trust whoever made it, give --yes",
        )
    if not typer.confirm("Use them?", err=True):
        raise UsageError(f"{file} is not used", "you said no", "nothing was used")


def _network(network: Spec) -> Iterator[str]:
    if network.name.startswith(_HUB):
        yield f"the network {network.name}, from the Hugging Face hub"
    elif network.name.startswith(_LOCAL):
        yield f"the folder {network.name.removeprefix(_LOCAL)}, as a network"
    if dict(network.options).get("pretrained") not in (None, False):
        yield f"the published weights of {network.name} (pretrained), from a hub"
    yield from _paths("network", network)


def _paths(what: str, spec: Spec) -> Iterator[str]:
    """Options that are paths, or are read as files."""
    for key, value in spec.options:
        for text in _texts(value):
            reads = key == "checkpoint" and Path(text).exists()
            if reads or any(mark in text for mark in ("/", "\\", "~")):
                yield f"the path {text!r} ({key} of the {what} {spec.name})"


def _texts(value: Value) -> Iterator[str]:
    if isinstance(value, tuple):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str):
        yield value


def _plugins(method: Spec, origin: Origin, registry: "Registry") -> Iterator[str]:
    """The method's plugin, of a sum the first's, where it is not from where the record says."""
    first, *_ = method.members
    source = next(
        (e.source for e in registry.entries if (e.kind, e.name) == ("method", first.name)), None
    )
    then = f"{origin.distribution} {origin.version}"
    if source is None:
        yield f"the method {first.name} of {then}, which is not installed"
    elif (now := f"{source.distribution} {source.version}") != then:
        yield f"the method {first.name} of {now}; the record's was of {then}"
