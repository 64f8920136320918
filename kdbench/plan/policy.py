"""`transfer` of a protocol, as typed -> the policies it names, all options spelled out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kdbench.errors import UsageError
from kdbench.plan.datasets import dataset_spec
from kdbench.record import Spec
from kdbench.registry import DataFacts, Registry, TransferFacts


@dataclass(frozen=True, slots=True)
class Policy:
    """What is done to the rows that are learnt from, beyond crop and flip.

    Attributes:
        text: As questions write it.
        members: In the order in which each sees what the last one made; none for crop and flip.
        added: Data sets of which so many first training rows join, without labels.
    """

    text: str = ""
    members: tuple[TransferFacts, ...] = ()
    added: tuple[tuple[DataFacts, int], ...] = ()

    @property
    def rows(self) -> int:
        """Rows that join."""
        return sum(rows for _, rows in self.added)

    @property
    def codes(self) -> tuple[str, ...]:
        """Code of the policies, and of the data sets of which rows join."""
        return (*(one.code for one in self.members), *(facts.code for facts, _ in self.added))


NO_POLICY = Policy()


def policy(text: str, registry: Registry, dataset: DataFacts, root: str) -> Policy:
    """The policies that `text` writes, for this data set; files of others lie under `root`.

    Raises:
        UsageError: Unknown names or options, or rows that cannot join; PluginError: a broken plugin
        was asked for.
    """
    members, written = _members(text, registry), list[Spec]()
    added: list[tuple[DataFacts, int]] = []
    for member in members:
        options = dict(member.options)
        if member.adds:
            asked, rows = str(member.adds["dataset"]), int(member.adds["rows"])
            facts = registry.dataset(dataset_spec(asked, registry), root)
            _check(member, facts, rows, dataset)
            added.append((facts, rows))
            # by content, never by path
            options = {k: facts.name if v == asked else v for k, v in options.items()}
        written.append(Spec.of(member.spec.name, options))
    return Policy(_text(written), members, tuple(added))


def teacher_policy(text: str, registry: Registry) -> Policy:
    """The policies of a teacher's own training, which must leave rows their labels.

    Raises:
        UsageError: As for `policy`, or one of them leaves no label that fits.
    """
    members = _members(text, registry)
    for member in members:
        if member.mixes or member.hides or member.adds:
            raise UsageError(
                f"[teacher] transfer = {text!r} leaves rows without a label",
                f"{member.spec.name} mixes rows, hides labels, or adds rows that have none",
                "set it in [train], where students learn from the teacher",
            )
    return Policy(_text([Spec.of(one.spec.name, one.options) for one in members]), members)


def _members(text: str, registry: Registry) -> tuple[TransferFacts, ...]:
    return registry.transfers(Spec.parse(text).members) if text else ()


def _text(written: Sequence[Spec]) -> str:
    return str(Spec.total(written)) if len(written) > 1 else "".join(map(str, written))


def _check(member: TransferFacts, facts: DataFacts, rows: int, dataset: DataFacts) -> None:
    """Refuse rows that are not there, or that have no such channels."""
    have: Any = facts.sizes["train"]
    if not 0 < rows <= have:
        raise UsageError(
            f"[train] transfer adds {rows} rows of {facts.name}",
            f"its training split has {have}",
            f"set rows of {member.spec.name} to 1 ... {have}",
        )
    theirs, ours = facts.image_shape[0], dataset.image_shape[0]
    if theirs != ours and {theirs, ours} != {1, 3}:
        raise UsageError(
            f"[train] transfer adds {facts.name} to {dataset.name}",
            f"images with {theirs} channels have no counterpart with {ours}",
            "name a data set of grey or colour images",
        )
