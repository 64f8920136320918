"""One immutable record a trial, failures included: all that tables and pages are made from."""

from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import Field, JsonValue, SerializerFunctionWrapHandler, model_serializer

from kdbench.record.canonical import Count, Frozen, Number
from kdbench.record.environment import Environment
from kdbench.record.question import Question

SCHEMA: Final = 1

Status: TypeAlias = Literal[
    "ok", "diverged", "failed", "oom", "timeout", "crashed", "interrupted", "unsupported"
]  # fmt: skip
"""Only ok feeds means; all feed coverage."""

RETRIED: frozenset[str] = frozenset({"timeout", "crashed", "interrupted"})
"""Statuses that say nothing final about the question: the next run asks again."""


Hash: TypeAlias = Annotated[str, Field(pattern=r"^[0-9a-f]{1,64}$")]
"""Parts of it are parts of paths."""


class Fingerprints(Frozen):
    """SHA-256 of the question, of the code that answered it, and of its environment's class."""

    question: Hash
    code: Hash
    environment: str


class Origin(Frozen):
    """The distribution (or file name) a plugin came from, and its version."""

    distribution: str
    version: str


class Card(Frozen):
    """What the teacher is: its weights by content hash and how good it is on the measured split.

    Attributes:
        quality, logits: As a student's; older records have no logits.
    """

    weights: str
    parameters: Count
    multiply_adds: Count
    quality: dict[str, Number]
    logits: str = ""

    @model_serializer(mode="wrap")
    def _plain(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Nothing is said of what older records did not say: they keep their bytes."""
        return {k: v for k, v in dump(self).items() if v or k != "logits"}


class Deployed(Frozen):
    """The network that is shipped.

    Attributes:
        network: timm name; `options` are the keyword arguments of `timm.create_model`.
        weights: Content hash of the safetensors file in the store's `artifacts`.
        latency_ms: Median of one forward pass at batch 1.
        throughput: Images a second at batch 256.
    """

    network: str
    options: dict[str, JsonValue]
    weights: str
    parameters: Count
    multiply_adds: Count
    latency_ms: Number
    throughput: Number


class Cost(Frozen):
    """What a training step costs, from an interleaved pass of its own after training.

    Attributes:
        step_ms: Median milliseconds a step, with the whole of a live teacher's pass.
        parts_ms: The same by phase: data, teacher, student, loss, backward, update.
        images_per_second: Batch size over the median step.
        overhead: Median over rounds of this method's step over the first baseline's in the same
            round, or None.
        overhead_interval: 95 % interval of that median, by bootstrap over rounds.
        rounds: Interleaved rounds that the figures come from, after warm-up.
        teacher_passes: Teacher forward passes an image.
        training_parameters: Weights that are trained and not shipped.
        peak_memory_mb: MiB that tensors take at most during a step, on top of what they took before
            it. Records without `cpu_ms` have the high-water mark of the worker since it started
            instead, which all trials that it ran share.
        compile_seconds: Spent compiling, outside of all other figures.
        valid: Whether the times may be compared; `why_not` says why not.
        cpu_ms: Median milliseconds a step that this process computed.
        cpu_overhead: `overhead` in these; others who use the machine hardly move it.
        unaccounted: Share of a step's time that no phase has, median, in [0, 1].
        discarded: Rounds left out because others used more than 0.3 of a core meanwhile.
        foreign_load: Cores that others used during the rounds that count, median; None where the
            system does not tell.
        warm_ms: A step where the teacher's kept answer is read; None where answers were not kept.
        amortised_ms: A step where the time that the cohort's teacher took in training, first
            answers included, is paid in equal parts by the methods that asked it.
        cells: How many methods these were.
    """

    step_ms: Number
    parts_ms: dict[str, Number]
    images_per_second: Number
    overhead: Number | None
    overhead_interval: tuple[Number, Number] | None
    rounds: Count
    teacher_passes: Number
    training_parameters: Count
    peak_memory_mb: Number
    compile_seconds: Number = 0.0
    valid: bool = True
    why_not: str = ""
    cpu_ms: Number | None = None
    cpu_overhead: Number | None = None
    unaccounted: Number | None = None
    discarded: Count | None = None
    foreign_load: Number | None = None
    warm_ms: Number | None = None
    amortised_ms: Number | None = None
    cells: Count | None = None

    @model_serializer(mode="wrap")
    def _plain(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Nothing is said of what older records did not say: they keep their bytes."""
        found: dict[str, Any] = dump(self)
        old = {"overhead", "overhead_interval"}
        return {k: v for k, v in found.items() if v is not None or k in old}


class Failure(Frozen):
    """Why a trial is not ok.

    Attributes:
        where: Phase, and step where there is one; plugin, file and line in `message`.
    """

    kind: str
    message: str
    where: str


class Record(Frozen):
    """One attempt at one question.

    Attributes:
        suite: Name of the suite that asked.
        rows: Rows of the transfer set that the stream holds.
        settings: "paper", or "tuned, k tries", for this method's hyperparameters in this suite.
        quality: accuracy, top5, nll, brier, ece, ece_adaptive, ... on the measured split.
        per_class: Accuracy of each class.
        fidelity: agreement, kl, ... to a teacher, by split or probe; see docs/fidelity.md.
        losses: Mean of each weighted term over the last epoch.
        curve: Points (share of the budget, metrics) on the validation rows.
        answers: How the cohort's teacher answered: "kept" or "live" (1 where it is so; "unsteady"
            where its answers to a row depend on the rows beside it, so that they are not kept), and
            of kept ones the rows read, asked and passed by for want of room, and the seconds that
            asking and reading took.
        notes: What the host did otherwise than asked for the trial's speed, and why.
        logits: Content hash of the measured split's logits in the store's `artifacts`.
        seconds: Wall seconds of the cohort by phase, each exclusive of the others, of the whole
            (`wall`), of what no phase has (`unaccounted`), and `wall` by trials (`trial`);
            diagnostics, not cost. Where training is on a GPU, its phases are the host's.
    """

    schema_version: Literal[1] = SCHEMA
    status: Status
    question: Question
    fingerprints: Fingerprints
    suite: str
    origin: Origin
    settings: str
    created: str
    attempt: int = Field(1, ge=1, lt=2**63)
    environment: Environment
    rows: Count = 0
    quality: dict[str, Number] = {}
    per_class: tuple[Number, ...] = ()
    fidelity: dict[str, dict[str, Number]] = {}
    losses: dict[str, Number] = {}
    curve: tuple[tuple[Number, dict[str, Number]], ...] = ()
    teacher: Card | None = None
    deployed: Deployed | None = None
    cost: Cost | None = None
    answers: dict[str, Number] = {}
    notes: tuple[str, ...] = ()
    logits: str = ""
    seconds: dict[str, Number] = {}
    failure: Failure | None = None

    @model_serializer(mode="wrap")
    def _plain(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Nothing is said of what older records did not say: they keep their bytes."""
        found: dict[str, Any] = dump(self)
        return {k: v for k, v in found.items() if v or k not in ("answers", "notes")}

    @property
    def label(self) -> str:
        """The method as boards name it: with its transfer rows where a quiz split was left out."""
        return self.question.method + f" ({self.rows} rows)" * bool(self.question.quiz)
