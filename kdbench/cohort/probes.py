"""What is measured of a student only where the question asks for it, and its teacher's part of it.

Each probe is absent where it means nothing for a pair: no number stands in for it.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from kdbench.api import Batch, Maps
from kdbench.measure import (
    Sweep,
    class_cosine,
    depths,
    fidelity,
    kinship,
    linear_cka,
    rescaling,
    swept,
)
from kdbench.models import Network
from kdbench.teacher import Teacher, open_teacher
from kdbench.train import Runner, Step, last_epoch, stream

if TYPE_CHECKING:
    from kdbench.cohort.rig import Rig

Values: TypeAlias = dict[str, float]

ROWS = 10_000
"""Views of the last epoch and feature maps are compared on the first rows, so many at most."""


@dataclass(frozen=True, slots=True)
class Found:
    """What the probes of one student found.

    Attributes:
        quality: Of the student alone, on the measured split.
        close: To the teacher, on the measured split.
        elsewhere: On other views, or to another teacher, by name.
    """

    quality: Values = field(default_factory=dict)
    close: Values = field(default_factory=dict)
    elsewhere: dict[str, Values] = field(default_factory=dict)


@final
class Probes:
    """The probes of one cohort, with what its teacher says kept for all of its students.

    Args:
        rig: The cohort's shared parts.
    """

    def __init__(self, rig: "Rig") -> None:
        self._rig, self.asked = rig, rig.cohort.evaluation.probes

    @property
    def compare(self) -> float:
        """Step from which on students are compared with their teacher as they train."""
        return self._last if "seen" in self.asked else torch.inf

    def prepare(self) -> None:
        """Have all that teachers say, before the first student is measured."""
        with self._phase:
            if "seen" in self.asked:
                _ = self._views_taught
            if "control" in self.asked:
                _ = self._control
            if "hints" in self.asked:
                _ = self._taught_depths

    def student(self, runner: Runner, deployed: nn.Module, said: Sweep) -> Found:
        """What is found of a trained student.

        Args:
            runner: Its training, which is over.
            deployed: What is shipped of it.
            said: By that of the measured split.
        """
        with self._phase:
            return self._student(runner, deployed, said)

    def teacher(self) -> Values:
        """What is found of the teacher alone, for its card."""
        network = _single(self._rig.teacher)
        return self._kinship(network) if network and "classes" in self.asked else {}

    @property
    def _phase(self) -> AbstractContextManager[None]:
        """Told to the clock only where something is asked for."""
        return self._rig.bench.clock.phase("probes") if self.asked else nullcontext()

    def _student(self, runner: Runner, deployed: nn.Module, said: Sweep) -> Found:
        found, target = Found(), self._rig.tested.labels
        if "seen" in self.asked:
            found.elsewhere["seen"] = self._seen(deployed)
            if runner.heard is not None:
                same, divergence, rows = runner.heard.tolist()
                found.elsewhere["online"] = {"agreement": same / rows, "kl": divergence / rows}
        if "control" in self.asked:
            other, apart = self._control
            found.elsewhere["control"] = fidelity(
                said.logits, other.logits, target, said.pooled, other.pooled
            )
            found.elsewhere["control_teacher"] = apart
        if "hints" in self.asked and isinstance(deployed, Network):
            found.close.update(self._depths(deployed))
        if "classes" in self.asked and isinstance(deployed, Network):
            found.quality.update(self._kinship(deployed))
            ours, theirs = _weights(deployed), self._taught_weights
            if ours is not None and theirs is not None:
                alike = class_cosine(ours, theirs)
                found.close.update({} if alike is None else {"class_cosine": alike})
        return found

    # The views of the last epoch -----------------------------------------------------------------

    @property
    def _last(self) -> int:
        rig = self._rig
        return last_epoch(len(rig.views), rig.cohort.protocol, rig.total)

    def _batches(self) -> Iterator[Batch]:
        """The batches of the last epoch, as they were trained on."""
        rig, left = self._rig, ROWS
        teach = rig.teach(Maps())
        for epoch, number, rows in stream(rig.views, rig.cohort.protocol, rig.total, self._last):
            if left > 0:
                yield Step(rig.views, rows[:left], epoch, number / rig.total, teach).batch
                left -= len(rows)

    @cached_property
    def _views_taught(self) -> tuple[Sweep, Tensor, Bool[Tensor, " rows"]]:
        """What the converged teacher says of these views, their classes, and which have one."""
        classes, known = list[Tensor](), list[Tensor]()

        def images() -> Iterator[Tensor]:
            for batch in self._batches():
                classes.append(batch.target.cpu())
                known.append(batch.labelled.cpu())
                yield batch.inputs

        said = swept(self._rig.teacher, images())
        return said, torch.cat(classes), torch.cat(known)

    def _seen(self, deployed: nn.Module) -> Values:
        """Fidelity on the views of the last epoch after training, and the rows' rescaling."""
        theirs, target, labelled = self._views_taught
        ours = swept(deployed, (batch.inputs for batch in self._batches()))
        known = target.where(labelled, 0)
        found = fidelity(ours.logits, theirs.logits, known, ours.pooled, theirs.pooled)
        if not labelled.all():  # whether the teacher errs is not known of all rows
            found.pop("agreement_teacher_wrong", None)
        return found | rescaling(ours.logits, theirs.logits, known, labelled)

    # An independent teacher ----------------------------------------------------------------------

    @cached_property
    def _control(self) -> tuple[Sweep, Values]:
        """What an independent teacher says of the measured split, and how like ours it is.

        The published control distils a second student s' from an independent teacher t' and
        compares s' with t. Teachers of other seeds are exchangeable, so (s', t) and (s, t') have
        the same distribution, and the student that is there serves: over seeds the means are those
        of the published control, without training s'.

        Reference:
            S. Stanton et al., Does Knowledge Distillation Really Work?, 2021, arXiv:2106.05945.
        """
        rig = self._rig
        other = open_teacher(rig.cohort.control, set(), rig.bench.cache, rig.device)
        said = rig.reference(rig.cohort.evaluation.split, other)
        ours = rig.reference(rig.cohort.evaluation.split)
        apart = fidelity(said.logits, ours.logits, rig.tested.labels)
        return said, {name: apart[name] for name in ("agreement", "kl")}

    # Feature maps --------------------------------------------------------------------------------

    @cached_property
    def _taught_depths(self) -> tuple[Float[Tensor, "rows channels"], ...]:
        rig = self._rig
        if not rig.teacher.hints:
            return ()
        return depths(rig.teacher, rig.tested.images[:ROWS], device=rig.device)

    def _depths(self, deployed: Network) -> Values:
        """Similarity of student and teacher at each aligned hint, shallow to deep."""
        theirs = self._taught_depths
        if not theirs or len(deployed.port().hints) != len(theirs):
            return {}
        ours = depths(deployed, self._rig.tested.images[:ROWS], device=self._rig.device)
        pairs = enumerate(zip(ours, theirs, strict=True), start=1)
        found = {f"cka_hint_{place}": linear_cka(*pair) for place, pair in pairs}
        return {name: value for name, value in found.items() if value is not None}

    # Class weights -------------------------------------------------------------------------------

    @property
    def _taught_weights(self) -> Tensor | None:
        network = _single(self._rig.teacher)
        return _weights(network) if network else None

    def _kinship(self, network: Network) -> Values:
        tree, weights = self._rig.splits.dataset.class_tree, _weights(network)
        return {} if tree is None or weights is None else kinship(weights, tree)


def _single(teacher: Teacher) -> Network | None:
    """The teacher's one network, or None of an ensemble."""
    return teacher.converged[0] if len(teacher.converged) == 1 else None


def _weights(network: Network) -> Float[Tensor, "classes dim"] | None:
    """Rows of the network's one linear classifier; None where it has none or several."""
    layer = network.port().classifier
    return layer.weight.detach() if isinstance(layer, nn.Linear) else None
