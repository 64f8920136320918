"""What a suite is made of: axes, variants, settings of methods, scoring, limits."""

from typing import Any, Final

from pydantic import Field, field_validator, model_validator

from kdbench.record import Count, Frozen, frozen

MOST_SEEDS: Final = 10_000


class Axes(Frozen):
    """What is crossed: every data set with every pair, method and seed.

    Attributes:
        variants: Which of the suite's are asked; none for all. Claims and published figures about
            others are not this suite's.
    """

    datasets: tuple[str, ...] = Field(min_length=1)
    pairs: tuple[str, ...] = Field(min_length=1)
    methods: tuple[str, ...] = Field(min_length=1)
    seeds: tuple[Count, ...] = Field(min_length=1, max_length=MOST_SEEDS)
    variants: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _count(cls, value: Any) -> Any:  # noqa: ANN401 - raw TOML
        if isinstance(value, dict) and type(count := value.get("seeds")) is int:
            return {**value, "seeds": tuple(range(min(count, MOST_SEEDS + 1)))}
        return value


class MethodSettings(Frozen):
    """What a suite sets for one method, and how that was found.

    Attributes:
        set: Hyperparameters that replace the paper's.
        tries: Settings that were tried on the tuning seeds before these were chosen.
        note: Printed under the board; says why where a method does badly.
    """

    set: dict[str, Any] = {}
    tries: int = Field(0, ge=0)
    note: str = ""

    @field_validator("set")
    @classmethod
    def _options(cls, value: dict[str, Any]) -> dict[str, Any]:
        for one in value.values():
            frozen(one)
        return value

    @property
    def settings(self) -> str:
        """The words on the board."""
        return f"tuned, {self.tries} tries" if self.set else "paper"


class Scoring(Frozen):
    """Against which methods the boards compare; the first is the one that costs are relative to."""

    baselines: tuple[str, ...] = ()


class Limits(Frozen):
    """Bounds of a run, enforced from outside of the workers; no result depends on them.

    Attributes:
        step_seconds: A single step, or a method's `init`, that takes longer ends its trial as
            `timeout`.
        trial_seconds: So does a trial whose own calls take longer in all, the shared teacher's
            answers left out; None for no bound.
        memory_gb: What a worker and the processes that it started may take, in 10^9 bytes; beyond,
            the trial it is at ends as `oom`. None for an equal share of 80 % of the machine's.
        checkpoint_seconds: What is in training is put away so often, but for 2 % of the time at
            most.
        answers_gb: What a teacher's kept answers may take on disk, in 10^9 bytes, for each kind of
            view; 0 keeps none.
    """

    step_seconds: float = Field(600.0, gt=0)
    trial_seconds: float | None = Field(None, gt=0)
    memory_gb: float | None = Field(None, gt=0)
    checkpoint_seconds: float = Field(60.0, gt=0)
    answers_gb: float = Field(8.0, ge=0)


class Variant(Frozen):
    """A change of the suite that is asked beside its like; boards have a table for each.

    Attributes:
        about: What it changes, a line.
        train, teacher, evaluation: Keys that replace those of the suite's tables. What is set for
            some students ([train.by_student]) goes before, and a teacher has of `train` what the
            suite's own table says.
        datasets, pairs, methods: In place of the axes; none for the suite's own.
    """

    about: str = ""
    train: dict[str, Any] = {}
    teacher: dict[str, Any] = {}
    evaluation: dict[str, Any] = {}
    datasets: tuple[str, ...] = ()
    pairs: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
