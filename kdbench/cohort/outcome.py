"""From what happened to a trial to its record."""

import platform
import re
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from types import CodeType
from typing import Any

import torch

from kdbench.api import Method
from kdbench.errors import KDBenchError, Unsupported
from kdbench.plan import Cohort, Trial
from kdbench.record import Environment, Failure, Record, Status
from kdbench.registry import Source
from kdbench.train import Diverged, Overtime, Runner

KERNELS = 2
"""The teacher answers with its batch norms folded."""


@dataclass
class Attempt:
    """A trial on its way to a record: what is known of it so far.

    Attributes:
        method: The plugin's object, once it is imported.
        runner: Its student in training, once there is one.
        fields: Measured fields of the record.
        earlier: Seconds by phase, spent before it was put away.
    """

    trial: Trial
    method: Method | None = None
    runner: Runner | None = None
    status: Status = "ok"
    failure: Failure | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    curve: list[tuple[float, dict[str, float]]] = field(default_factory=list)
    earlier: dict[str, float] = field(default_factory=dict)

    def fail(self, error: Exception, where: str) -> None:
        """Take the trial out, with the status that fits the error."""
        self.status = status_of(error)
        self.failure = self.fault(error, where)

    def fault(self, error: Exception, where: str) -> Failure:
        """What went wrong, where, and whose it is."""
        message = blame(error, self.trial.method.sources, self._codes(error, where))
        return Failure(kind=type(error).__name__, message=message, where=where)

    def reset(self) -> None:
        """Be as before the first student was built."""
        self.runner, self.status, self.failure = None, "ok", None
        self.fields, self.curve, self.earlier = {}, [], {}

    def _codes(self, error: Exception, where: str) -> list[CodeType]:
        """Whose fault it is where the host found it: of the loss, or of the call itself."""
        call = {"init": "init", "measure": "deploy", "curve": "deploy"}.get(
            where.split(",")[0], "step"
        )
        names = ("loss",) if isinstance(error, Diverged) else ("loss", call)
        found = (getattr(getattr(self.method, name, None), "__code__", None) for name in names)
        return [code for code in found if code]

    def spent(self, seconds: Mapping[str, float]) -> dict[str, float]:
        """Seconds by phase, with those of earlier runs."""
        names = self.earlier.keys() | seconds.keys()
        both = {name: seconds.get(name, 0.0) + self.earlier.get(name, 0.0) for name in names}
        return {name: round(value, 4) for name, value in sorted(both.items())}

    def record(self, cohort: Cohort, where: Environment, **shared: Any) -> Record:  # noqa: ANN401 - of Record
        """The record of this attempt, with what all of its cohort share."""
        notes = tuple(strip_paths(note) for note in (self.runner.notes if self.runner else ()))
        return self.trial.record(
            cohort.suite, self.status, where, curve=tuple(self.curve), failure=self.failure,
            notes=notes, **shared, **self.fields,
        )  # fmt: skip


def status_of(error: BaseException) -> Status:
    """The status that an exception gives a trial."""
    if isinstance(error, Unsupported):
        return "unsupported"
    if isinstance(error, Diverged):
        return "diverged"
    if isinstance(error, Overtime):
        return "timeout"
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return "oom"
    if isinstance(error, RuntimeError) and "DefaultCPUAllocator: can't allocate" in str(error):
        return "oom"  # torch has no exception of its own for the CPU's memory
    return "failed"


def blame(error: BaseException, sources: Sequence[Source], codes: Sequence[CodeType] = ()) -> str:
    """What went wrong, with the plugin's name, file and line, and no path of this machine.

    The line is the last of these plugins' in the traceback; where the host found fault with what it
    was given, the last of `codes`. Without a line of theirs, the first plugin is named.
    """
    said = str(error) if isinstance(error, KDBenchError) else f"{type(error).__name__}: {error}"
    frames = [(f.filename, f.lineno) for f in traceback.extract_tb(error.__traceback__)]
    frames[:0] = [(code.co_filename, code.co_firstlineno) for code in codes]
    files = {Path(source.path).resolve(): source for source in sources}
    places = [(Path(file).resolve(), line) for file, line in frames]
    own = [(files[file], f", line {line}") for file, line in places if file in files]
    source, line = own[-1] if own else (sources[0], "")
    return f"{source.name} ({Path(source.path).name}{line}): {strip_paths(said)}"


def strip_paths(text: str) -> str:
    """The text with absolute paths cut to their last part."""
    return re.sub(r"(?<![\w.])/(?:[^/\s'\":]+/)+([^/\s'\":]+)", r"\1", text)


def environment(device: torch.device) -> Environment:
    """Where this process runs."""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        name, capability = properties.name, f"{properties.major}.{properties.minor}"
    else:
        name, capability = _processor(), torch.backends.cpu.get_cpu_capability()
    return Environment(
        python=platform.python_version(), torch=torch.__version__, timm=version("timm"),
        kdbench=version("kdbench"), device=device.type, device_name=name, capability=capability,
        threads=torch.get_num_threads(),
        platform=f"{platform.system()} {platform.machine()}", kernels=KERNELS,
        tf32=narrowed() if device.type == "cuda" else "",
        varies=varying() if device.type == "cuda" else "",
    )  # fmt: skip


def narrowed() -> str:
    """What a GPU does in TF32 where float32 is asked for."""
    matmul = torch.get_float32_matmul_precision() != "highest"
    parts = {"convolutions": torch.backends.cudnn.allow_tf32, "matrix products": matmul}
    return " and ".join(part for part, narrow in parts.items() if narrow)


def varying() -> str:
    """What a GPU may compute with other bits from one run to the next."""
    if torch.are_deterministic_algorithms_enabled():
        return ""
    parts = {
        "sums in any order": True,  # of scattered gradients, for example
        "convolutions": not torch.backends.cudnn.deterministic,
        "choice of kernels by time": torch.backends.cudnn.benchmark,
    }
    return ", ".join(part for part, varies in parts.items() if varies)


def _processor() -> str:
    """The processor's model name."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
