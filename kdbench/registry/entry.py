"""What is known of plugins and of what they yield, without importing them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from kdbench.record import Spec

__all__ = [
    "DataFacts", "Entry", "FieldInfo", "Kind", "MethodFacts", "Plugin", "Source", "TransferFacts",
]  # fmt: skip

SLOW = 5.0
"""Seconds from which on an import is told to be slow."""

Kind: TypeAlias = Literal["method", "dataset", "model", "metric", "transfer"]


@dataclass(frozen=True)
class Source:
    """Where a plugin comes from; enough for a worker to import it.

    Attributes:
        name: Of the entry point, or the stem of the file.
        module: What is imported; for a file a made-up name that moves with its content.
        path: Of the module's file; "" where there is none.
        distribution: Its name; for a file the file's name.
        version: Of the distribution; for a file the start of `digest`.
        digest: SHA-256 over the bytes of the module and of all that it reaches in its own package.
        first_party: Whether it ships with kdbench.
    """

    name: str
    kind: Literal["distribution", "file"]
    module: str
    path: str
    distribution: str
    version: str
    digest: str
    first_party: bool = False

    @property
    def origin(self) -> str:
        """The plugin as messages name it."""
        return (
            self.path
            if self.kind == "file"
            else f"{self.distribution} {self.version} ({self.module})"
        )


@dataclass(frozen=True)
class Plugin:
    """One plugin and how it fares.

    Attributes:
        error: Why it is broken, or which of its names clash; file and line where known.
        yields: Names, each with its kind: "method kd".
        seconds: That its import and hooks took when it was last read.
    """

    source: Source
    state: Literal["ok", "broken", "blocked"]
    error: str = ""
    yields: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def slow(self) -> bool:
        """Whether every worker waits for it noticeably."""
        return self.seconds > SLOW


@dataclass(frozen=True)
class FieldInfo:
    """One option in brackets: its default as JSON, its type as text, and what it says."""

    default: Any
    type: str
    doc: str = ""


@dataclass(frozen=True)
class Entry:
    """One method, data set, network, metric or transfer policy that a plugin yields.

    Attributes:
        summary: First line of the docstring of the class, or else of the module.
        doc: That docstring, whole.
        family: What a method matches, see `kdbench.api.Method`; "" where none is named.
        paper: Fields of a method's `kdbench.api.Paper`, its key and its reference, or {}.
        bibtex: That paper's BibTeX entry, or "".
        extra: Weights that a method trains and throws away, in words, or "".
        fields: The options in brackets.
        code: Fingerprint of the code, see `kdbench.registry.syntax`.
    """

    kind: Kind
    name: str
    summary: str
    doc: str
    family: str
    paper: Mapping[str, Any]
    bibtex: str
    extra: str
    fields: Mapping[str, FieldInfo]
    source: Source
    code: str


@dataclass(frozen=True)
class MethodFacts:
    """What a plan must know of a method with these options.

    Attributes:
        spec: Canonical: only the options that are not at their defaults.
        hyperparameters: All of them, as JSON.
        needs: Fields of `kdbench.api.Needs`.
        stages: Fields of each `kdbench.api.Stage`.
        overrides: Which optional rungs of `kdbench.api.Method` it takes over.
        code: Fingerprint of the code.
        sources: The plugin that yields it; of a sum, each member's.
    """

    spec: Spec
    hyperparameters: Mapping[str, Any]
    needs: Mapping[str, Any]
    stages: tuple[Mapping[str, Any], ...]
    overrides: tuple[str, ...]
    code: str
    sources: tuple[Source, ...]

    @property
    def passes(self) -> dict[str, int]:
        """Forward passes of student and teacher that the host makes for one step."""
        second = int(self.needs["second"])
        teacher = 0 if self.needs["teacher"] == "none" else 1 + second
        return {"student": 1 + second, "teacher": teacher}


@dataclass(frozen=True)
class DataFacts:
    """What a plan must know of a data set with these options.

    Attributes:
        spec: Canonical: only the options that are not at their defaults; may hold a path.
        name: For questions: a user's own data by name and content hash, never by path.
        image_shape: Channels, height, width.
        sizes: Rows of each split.
        mean, std: Of the training pixels in [0, 1], a channel each.
        flips: Whether a mirrored image keeps its class.
        has_tree: Whether classes have coarse labels.
        licence, origin: Terms of use and where the data come from.
        source: The plugin that yields it.
        code: Fingerprint of the code.
    """

    spec: Spec
    name: str
    num_classes: int
    image_shape: tuple[int, int, int]
    sizes: Mapping[str, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    flips: bool
    class_names: tuple[str, ...] = field(repr=False)
    has_tree: bool
    licence: str
    origin: str
    source: Source
    code: str


@dataclass(frozen=True)
class TransferFacts:
    """What a plan must know of a transfer policy with these options.

    Attributes:
        spec: Canonical: only the options that are not at their defaults; may hold a path.
        options: All of them, as JSON.
        mixes, hides: As in `kdbench.api.Transfer`.
        adds: Fields of `kdbench.api.Added`, or None.
        source: The plugin that yields it.
        code: Fingerprint of the code.
    """

    spec: Spec
    options: Mapping[str, Any]
    mixes: bool
    hides: bool
    adds: Mapping[str, Any] | None
    source: Source
    code: str
