"""What a method asks of the host, as data that the planner reads before anything is trained."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a method asks of the host; the planner reads it before anything is trained.

    Attributes:
        hints: Feature maps of both networks.
        preacts: These maps before their last activation.
        class_maps: The classifier's answer at every place of the map that is pooled.
        second: A second view of every image, strongly augmented, and what both networks say of it.
        teacher: "shared" is frozen and paid once for all methods of a cohort; "private" is a
            trainable copy for this trial alone; "none" leaves the teacher out.
        statistics: Whose statistics the shared teacher's batch norms use: "running" as in
            evaluation, or those of the "batch"; its buffers stay as they are.
        quiz: Share of the transfer set held out as the quiz split, in [0, 1); it changes the stream
            of batches.
    """

    hints: bool = False
    preacts: bool = False
    class_maps: bool = False
    second: bool = False
    teacher: Literal["shared", "private", "none"] = "shared"
    statistics: Literal["running", "batch"] = "running"
    quiz: float = 0.0

    @property
    def maps(self) -> "Maps":
        """The maps asked for."""
        return Maps(hints=self.hints, preacts=self.preacts, class_maps=self.class_maps)

    @property
    def teacher_passes(self) -> float:
        """Forward passes of the teacher for each image of a batch, those in `step` apart."""
        return 0.0 if self.teacher == "none" else 1.0 + self.second


@dataclass(frozen=True, slots=True, kw_only=True)
class Maps:
    """Which maps a network is to say beside its logits and pooled features.

    Attributes:
        hints, preacts, class_maps: As in `Needs`.
    """

    hints: bool = False
    preacts: bool = False
    class_maps: bool = False

    def __or__(self, other: "Maps") -> "Maps":
        """The maps that either asks for."""
        return Maps(
            hints=self.hints or other.hints,
            preacts=self.preacts or other.preacts,
            class_maps=self.class_maps or other.class_maps,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A share of the budget and the teacher anchor that teaches in it.

    Attributes:
        share: Part of the budget, in (0, 1]; the shares of a method sum to 1.
        anchor: Which checkpoint of the teacher teaches, as a share of the teacher's own training,
            in (0, 1].
        loss: Name of the method's function that gives this stage's losses.
        trains: "all", or "state" for the method's extra weights alone.
        schedule: "continue" the learning-rate schedule, or "restart" it (and the momentum) for this
            stage.
    """

    share: float = 1.0
    anchor: float = 1.0
    loss: str = "loss"
    trains: Literal["all", "state"] = "all"
    schedule: Literal["continue", "restart"] = "continue"
