"""What a run of the speed suite is asked; no torch."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from kdbench.errors import UsageError
from kdbench.record import Origin, Pair, Spec
from kdbench.registry import MethodFacts, Registry, Source

__all__ = ["PAIR", "Asked", "Contender", "ask"]

PAIR = "resnet20:resnet8"
ROWS = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One method that is measured.

    Attributes:
        spec: As typed.
        sources: Its plugin; of a sum, each member's.
        teacher_passes: Teacher forward passes an image that the host makes.
    """

    spec: str
    sources: tuple[Source, ...]
    teacher_passes: int

    @property
    def origin(self) -> Origin:
        """Where it came from; of a sum, the first member."""
        source = self.sources[0]
        return Origin(distribution=source.distribution, version=source.version)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One run of the suite: one pair, one batch size.

    Attributes:
        pair: Teacher and student.
        batch: Rows a step.
        seconds: About how long a method's rounds take, after warm-up.
        device: "cpu" or "cuda".
        rows: Of the transfer set.
        reference: Spec of the method that each round begins with; one of `methods`.
    """

    pair: str
    batch: int = 64
    seconds: float = 2.0
    device: str = "cpu"
    rows: int = ROWS
    reference: str
    methods: tuple[Contender, ...]

    def json(self) -> str:
        """As a child process reads it."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, text: str) -> "Asked":
        """What `json` wrote."""
        data = json.loads(text)
        methods = (
            Contender(**one | {"sources": tuple(Source(**source) for source in one["sources"])})
            for one in data["methods"]
        )
        return cls(**data | {"methods": tuple(methods)})

    @property
    def question(self) -> dict[str, Any]:
        """Fields of the `SpeedRecord` that are known before anything is measured."""
        return {
            "pair": self.pair, "batch_size": self.batch, "rows": self.rows,
            "reference": self.reference,
        }  # fmt: skip

    def contender(self, spec: str) -> Contender:
        """The method of this spec."""
        return next(one for one in self.methods if one.spec == spec)

    def without(self, spec: str) -> "Asked":
        """The same, less one method."""
        return replace(self, methods=tuple(one for one in self.methods if one.spec != spec))


def ask(
    registry: Registry,
    names: Sequence[str] = (),
    *,
    reference: str | None = None,
    pair: str = PAIR,
    batch: int = 64,
    seconds: float = 2.0,
    device: str = "cpu",
) -> Asked:
    """The run over these methods, or over all that are installed; the reference runs too.

    Without one that is named, the reference is the first of the methods that needs no teacher; if
    none was named that needs none, the installed one that has the fewest options.

    Raises:
        UsageError: Unknown name or option, no pair, no such batch size; PluginError: a broken
            plugin was asked for.
    """
    parsed = Pair.parse(pair)
    for link in parsed.teacher.chain:
        registry.network_code(link.network.name)
    registry.network_code(parsed.student.name)
    if batch < 2:
        raise UsageError(
            f"a batch of {batch} cannot be measured", "batch norm needs two rows", "try --batch 64"
        )
    if not 0 < seconds < float("inf"):
        raise UsageError(
            f"{seconds:g} seconds cannot be measured", "rounds take time", "try --seconds 2"
        )
    installed = [entry.name for entry in registry.entries if entry.kind == "method"]
    if not (names or installed):
        raise UsageError("no method is installed", "no plugin yields one", "see kdbench plugins")
    chosen = registry.methods([Spec.parse(name) for name in names or installed])
    if reference is None:
        spec, facts = _free(chosen) if names else _plainest(chosen)
        if spec is None:
            spec, facts = _plainest(registry.methods([Spec(name) for name in installed]))
        if spec is None:
            spec, facts = next(iter(chosen.items()))
    else:
        spec = Spec.parse(reference)
        facts = registry.methods([spec])[spec]
    assert facts is not None
    found = {str(spec): facts} | {str(one): its for one, its in chosen.items()}
    contenders = (
        Contender(spec=name, sources=its.sources, teacher_passes=its.passes["teacher"])
        for name, its in found.items()
    )
    return Asked(
        pair=str(parsed), batch=batch, seconds=seconds, device=device,
        rows=max(ROWS, 4 * batch), reference=str(spec), methods=tuple(contenders),
    )  # fmt: skip


_Choice = tuple[Spec, MethodFacts] | tuple[None, None]


def _free(methods: dict[Spec, MethodFacts]) -> _Choice:
    """The first that needs no teacher."""
    return next(((s, f) for s, f in methods.items() if f.needs["teacher"] == "none"), (None, None))


def _plainest(methods: dict[Spec, MethodFacts]) -> _Choice:
    """Of those that need no teacher, the one with the fewest options."""
    ordered = sorted(methods.items(), key=lambda item: len(item[1].hyperparameters))
    return _free(dict(ordered))
