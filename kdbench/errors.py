"""What can go wrong, and with which exit code: one exception a kind, three short lines each.

Every message answers what happened, why, and what to do next; a traceback is for our own bugs only.
"""

from enum import IntEnum
from typing import ClassVar, Final, final


@final
class ExitCode(IntEnum):
    """Exit codes of the command line; part of the public interface."""

    OK = 0
    TRIALS_NOT_OK = 1
    USAGE = 2
    BUG = 3
    ENVIRONMENT = 4
    NOTHING_SELECTED = 5
    CHECK_FAILED = 6
    INTERRUPTED = 130
    TERMINATED = 143


LONGEST: Final = 1000
"""Characters of a line; what is quoted may come from anyone and have any length."""


class KDBenchError(Exception):
    """Base of all errors a user can mend.

    Args:
        what: What happened, with file and line where known.
        why: The cause.
        next: What to do next.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.BUG

    def __init__(self, what: str, why: str = "", next: str = "") -> None:  # noqa: A002 - the word fits
        lines = (what, why, next)
        cut = [line if len(line) <= LONGEST else line[: LONGEST - 1] + "…" for line in lines]
        super().__init__(*cut)
        self.what, self.why, self.next = cut

    def __str__(self) -> str:
        return "\n  ".join(line for line in (self.what, self.why, self.next) if line)


class UsageError(KDBenchError):
    """Unknown name, malformed spec, bad option or bad suite: nothing ran."""

    exit_code = ExitCode.USAGE


class PluginError(KDBenchError):
    """A plugin that was asked for cannot be used; the message names plugin, file and line."""

    exit_code = ExitCode.ENVIRONMENT


class DataError(KDBenchError):
    """Data or weights are missing, truncated or not what they claim to be."""

    exit_code = ExitCode.ENVIRONMENT


class DeviceError(KDBenchError):
    """The asked-for device or precision is not there."""

    exit_code = ExitCode.ENVIRONMENT


class MissingExtra(KDBenchError):
    """A package of one of kdbench's extras is needed and not installed."""

    exit_code = ExitCode.ENVIRONMENT


class StoreError(KDBenchError):
    """The store or the cache cannot be read or written."""

    exit_code = ExitCode.ENVIRONMENT


class NothingSelected(KDBenchError):
    """The selection is empty."""

    exit_code = ExitCode.NOTHING_SELECTED


class CheckFailed(KDBenchError):
    """A check or a comparison failed."""

    exit_code = ExitCode.CHECK_FAILED


class Unsupported(KDBenchError):
    """Raised by a method that cannot do this pair or data set; its trial gets `unsupported`."""

    exit_code = ExitCode.TRIALS_NOT_OK


class ContractError(KDBenchError):
    """A plugin broke its contract (undeclared need, non-scalar loss); its trial gets `failed`."""

    exit_code = ExitCode.TRIALS_NOT_OK
