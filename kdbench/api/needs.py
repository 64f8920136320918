"""What a method asks of the host, as data that the planner reads before anything is trained."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a method asks of the host; the planner reads it before anything is trained.

    Attributes:
        hints: Feature maps of both networks.
        teacher: "shared" is frozen and paid once for all methods of a cohort; "private" is a
            trainable copy for this trial alone; "none" leaves the teacher out.
        quiz: Share of the transfer set held out as the quiz split, in [0, 1); it changes the stream
            of batches.
    """

    hints: bool = False
    teacher: Literal["shared", "private", "none"] = "shared"
    quiz: float = 0.0


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
