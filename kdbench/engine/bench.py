"""Where a worker works, and what it answers."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from kdbench.errors import ExitCode, KDBenchError, UsageError
from kdbench.plan import Spoilt
from kdbench.record import Environment, PutAway, Record
from kdbench.suite import Limits


@dataclass(frozen=True, slots=True)
class Bench:
    """Where a worker works, and within which bounds; picklable.

    Raises:
        UsageError: The device is none that kdbench knows.
    """

    cache: Path
    store: Path
    device: str
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"cpu|cuda(:\d{1,3})?", self.device):
            raise UsageError(
                f"no device {self.device!r}",
                "expected cpu, cuda or cuda:N",
                "leave --device out to run on the CPU",
            )


@dataclass(frozen=True, slots=True)
class Crash:
    """An exception of the worker's own code, told as text."""

    kind: str
    message: str
    trace: str


@dataclass(frozen=True, slots=True)
class Note:
    """Something the user should know; the worker goes on."""

    text: str


class Bug(KDBenchError):
    """An exception of our own code in a worker; the trace is in `trace`."""

    exit_code = ExitCode.BUG

    def __init__(self, crash: Crash) -> None:
        super().__init__(
            f"{crash.kind}: {crash.message}",
            "this is a bug of kdbench",
            "please report it with the traceback",
        )
        self.trace = crash.trace

    def __reduce__(self) -> tuple[object, ...]:
        return KDBenchError, (self.what, self.why, self.next)


Hello: TypeAlias = Environment | KDBenchError | Crash
Answer: TypeAlias = list[Record] | None | PutAway | Spoilt | KDBenchError | Crash | Note
