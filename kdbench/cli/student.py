"""A record's student on its own: weights and timm's description of them, written and looked at."""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdbench.errors import DataError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from kdbench.cli.picking import Picked
    from kdbench.registry import DataFacts, Registry

__all__ = ["Exported", "exported"]


@dataclass(frozen=True, slots=True)
class Exported:
    """A student on its own.

    Attributes:
        path: Its weights, safetensors.
        network: timm name; `arguments` are those of `timm.create_model`.
        imports: Modules that make the network known to timm.
        mean, std: Of images in [0, 1], a channel each.
        input_size: Channels, height, width of what the network reads.
        resized: Whether images are resized to that, bilinear and antialiased.
    """

    path: Path
    network: str
    arguments: dict[str, Any]
    imports: tuple[str, ...]
    mean: list[float]
    std: list[float]
    input_size: tuple[int, int, int]
    resized: bool

    @property
    def snippet(self) -> str:
        """Two lines of Python that load the student."""
        given = "".join(f", {key}={value!r}" for key, value in self.arguments.items())
        call = f"timm.create_model({self.network!r}, checkpoint_path={str(self.path)!r}{given})"
        return f"import {', '.join(('timm', *self.imports))}\nmodel = {call}"


def exported(
    picked: "Picked", facts: "DataFacts", registry: "Registry", output: Path | None
) -> Exported:
    """Write the student's files, and load them with timm to see that they are right.

    Raises:
        UsageError: The record has no student, or the folder holds something else.
        DataError: The weights are gone, are not what was written, or not of a timm network alone.
    """
    import timm

    from kdbench.models import arguments as built
    from kdbench.models import create
    from kdbench.models.weights import load as load_weights
    from kdbench.record import Spec, frozen, write_atomically
    from kdbench.registry import load

    ask, content, deployed = picked.record.question, _content(picked), picked.record.deployed
    assert deployed is not None
    if facts.name != ask.dataset:
        raise UsageError(
            f"{facts.name} is not the record's data set",
            f"that is {ask.dataset}",
            "correct --dataset",
        )
    student = Spec.parse(ask.student).without("checkpoint")  # it is nothing to load here
    entries = [e for e in registry.entries if (e.kind, e.name) == ("model", student.name)]
    for entry in entries:
        load(entry.source)
    says = built(student, facts.num_classes, facts.image_shape)
    if (deployed.network, deployed.options) != (student.name, says):
        raise DataError(
            f"what the record of {ask.method} deploys is not its student",
            f"{deployed.network} with {deployed.options} is not {ask.student}",
            "it was not written by kdbench",
        )
    host = create(
        student,
        num_classes=facts.num_classes,
        image_shape=facts.image_shape,
        mean=facts.mean,
        std=facts.std,
    )
    size = host.reading.input_size or facts.image_shape[1:]
    known: dict[str, Any] = dict(getattr(host.model, "pretrained_cfg", None) or {})
    arguments: dict[str, Any] = {k: frozen(v) for k, v in sorted(deployed.options.items())}
    folder = output or Path(_name(f"{ask.dataset}-{ask.student}-{ask.method}-s{ask.seed}"))
    path = folder / f"{_name(f'{ask.student}-{ask.method}-s{ask.seed}')}.safetensors"
    found = Exported(
        path=path,
        network=deployed.network,
        arguments=arguments,
        imports=tuple(entry.source.module for entry in entries),
        mean=_shortest(host.mean),
        std=_shortest(host.std),
        input_size=(facts.image_shape[0], *size),
        resized=host.reading.input_size is not None,
    )
    _check_folder(path, content)
    write_atomically(path, content)
    write_atomically(folder / "config.json", _config(found, known))
    bare = timm.create_model(found.network, **arguments)
    try:
        load_weights(bare, path)
    except DataError as error:
        raise DataError(
            f"what {ask.method} deploys is not {found.network} alone",
            error.why,
            "its weights are in the file, but timm cannot build it",
        ) from error
    return found


def _shortest(values: "Tensor") -> list[float]:
    """The shortest decimals that mean these float32 numbers."""
    return [float(str(value)) for value in values.flatten().numpy()]


def _content(picked: "Picked") -> bytes:
    """The deployed weights as they were written."""
    record, store = picked.record, picked.store
    if record.deployed is None:
        raise UsageError(
            f"the trial of {record.question.method} has no student",
            f"it is {record.status}",
            "pick an ok one",
        )
    path = store.artifact(record.deployed.weights)
    if not path.is_file():
        raise DataError(
            f"the weights of this record are not in {store.root}",
            f"{path.name} is missing in artifacts/",
            "train it again: kdbench reproduce RECORD --store DIR",
        )
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != record.deployed.weights:
        raise DataError(
            f"{path} is not what was written",
            "its content hash differs",
            "train it again: kdbench reproduce RECORD --store DIR",
        )
    return content


def _check_folder(path: Path, content: bytes) -> None:
    """Refuse a folder that holds another export: one `config.json` describes one network."""
    there = [old for old in path.parent.glob("*.safetensors") if old.name != path.name]
    if path.is_file() and path.read_bytes() != content:
        there.append(path)
    if there:
        raise UsageError(
            f"{path.parent} holds {there[0].name}",
            "nothing is overwritten",
            "choose another folder with -o",
        )


def _config(found: Exported, known: dict[str, Any]) -> bytes:
    """What timm wants to know of a folder with weights, for `local-dir:`."""
    kept = ("first_conv", "classifier", "fixed_input_size")
    described: dict[str, Any] = {
        "architecture": found.network,
        "num_classes": found.arguments["num_classes"],
        "model_args": found.arguments,
        "pretrained_cfg": {
            **{key: known[key] for key in kept if key in known},
            "num_classes": found.arguments["num_classes"],
            "input_size": found.input_size,
            "mean": found.mean,
            "std": found.std,
            "interpolation": "bilinear",
            "crop_pct": 1.0,
        },
    }
    return json.dumps(described, indent=1).encode() + b"\n"


def _name(text: str) -> str:
    """The text as one plain part of a path."""
    return re.sub(r"[^A-Za-z0-9.=+-]+", "_", text).strip("._") or "student"
