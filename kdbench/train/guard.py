"""What belongs to all, watched around every call of a plugin.

Three depths. After every call, what is cheap to read and can be put back at once: settings, torch's
seed, threads, child processes, version counters of the shared batch. Once a step, after all calls:
the batch's content, and a glance at the rest. Once a segment of the training: everything. What was
found moved at the second or third depth may have reached other trials, so these are trained again
from where all was clean, now with suspicion: everything is compared after every call.
"""

import signal
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NoReturn

import torch

from kdbench.errors import ContractError
from kdbench.train import offspring
from kdbench.train.seeding import reseeded
from kdbench.train.settings import moved, put_back, settings
from kdbench.train.stream import Step

BATCH: Final = "the shared batch or teacher outputs"
_ADVICE = "it belongs to all methods: leave it, or work on a copy"


class Thing(ABC):
    """Something that belongs to all; what has moved of it is told as text, or nothing."""

    def glance(self) -> str:
        """What has moved, as far as it is quickly told."""
        return ""

    @abstractmethod
    def moved(self) -> str:
        """What has moved."""

    def suspect(self) -> None:
        """Be ready to be put back."""

    @abstractmethod
    def put_back(self) -> None:
        """Undo all that has moved."""


class Violation(BaseException):
    """Something that belongs to all has moved, nobody knows by whom.

    No `Exception`: a plugin could take that for its own.

    Attributes:
        what: Has moved.
    """

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class Caught(ContractError):
    """Of this call it is plain that it has moved what belongs to all."""


class Lingering(ContractError):
    """A call has left a thread running, which nothing can end but its process."""


class Guard:
    """Watches things that belong to all.

    Args:
        things: Of the process and of the cohort.
        suspicious: Whether all of them are compared after every call.
    """

    def __init__(self, things: Sequence[Thing] = (), *, suspicious: bool = False) -> None:
        self._things, self.suspicious = tuple(things), suspicious
        self._inside, self._moved = "", list[torch.Tensor]()
        for thing in self._things if suspicious else ():
            thing.suspect()

    @contextmanager
    def call(self, call: str, shared: Step | None = None) -> Iterator[None]:
        """A plugin's call, after which what is cheap to read is compared; all, if suspicious.

        Raises:
            ContractError: The call has moved it; it is put back.
        """
        self._inside = call
        try:
            with guarded(call):
                yield
        except Exception:
            self._caught()
            raise
        finally:
            self._inside = ""
        if found := self._caught():
            _blame(call, found)
        if shared is None:
            return
        if shared.written or (self.suspicious and bool(shared.differs())):
            raise ContractError(
                f"{call} wrote into {BATCH}", "they belong to all methods", "clone before writing"
            )

    def step(self, shared: Step, *, last: bool) -> None:
        """Compare what is quickly told, after the calls of a step.

        Args:
            shared: The step's batch.
            last: Whether the host waits for the device now anyway.

        Raises:
            Violation: It has moved.
        """
        for thing in self._things:
            if found := thing.glance():
                raise Violation(found)
        self._moved.append(shared.differs())
        if last or shared.batch.inputs.device.type == "cpu":
            self._settle()

    def check(self) -> None:
        """Compare everything.

        Raises:
            Violation: It has moved; ContractError: within a call, where it was not before it.
        """
        self._settle()
        if self._inside and (found := self._caught()):
            _blame(self._inside, found)
        for thing in self._things:
            if found := thing.moved():
                raise Violation(found)

    def _caught(self) -> str:
        """What has moved, if that is looked at after every call; it is put back."""
        for thing in self._things if self.suspicious else ():
            if found := thing.moved():
                thing.put_back()
                return found
        return ""

    def _settle(self) -> None:
        """Read what was compared on the device."""
        found, self._moved = self._moved, []
        if found and bool(torch.stack(found).any()):
            raise Violation(BATCH)


@contextmanager
def guarded(call: str) -> Iterator[None]:
    """Put what belongs to all back as it was before this plugin call.

    Raises:
        ContractError: The call had changed it, left something running, or asked for the process's
            end.
    """
    threads, children = tuple(threading._active), offspring.there()  # type: ignore[attr-defined]
    seed, before = torch.default_generator.initial_seed(), settings()
    try:
        yield
    except (Exception, Violation):
        raise
    except BaseException as error:  # noqa: BLE001 - a plugin's that would end the process
        _ended(call, error)
    finally:
        if (after := settings()) != before:
            put_back(before, after)
        orphans = offspring.ended(children)
    if tuple(threading._active) != threads and (left := _left(threads)):  # type: ignore[attr-defined]
        raise Lingering(
            f"{call} left a thread running", ", ".join(left), "join it before returning"
        )
    if orphans:
        raise ContractError(
            f"{call} left child processes running", f"{orphans} of them, ended now", "wait for them"
        )
    if after != before:
        what, why = f"{call} changed global state", moved(before, after)
        raise ContractError(what, why, "restore it")
    if reseeded(seed):
        raise ContractError(
            f"{call} seeded torch's generator",
            "the host seeds it before every call, alike for all methods",
            "draw from it as it is, or from a torch.Generator of your own",
        )


def _ended(call: str, error: BaseException) -> NoReturn:
    """Raise what a trial is to fail with that asked for more than its own end."""
    if isinstance(error, KeyboardInterrupt) and not _deaf():
        raise error
    code = f"sys.exit({error.code!r})" if isinstance(error, SystemExit) else type(error).__name__
    verb = "called" if isinstance(error, SystemExit) else "raised"
    found = ContractError(
        f"{call} {verb} {code}", "the process is everybody's", "raise an exception instead"
    )
    raise found.with_traceback(error.__traceback__) from None


def _deaf() -> bool:
    """Whether Ctrl-C does not reach this process, as it does not reach workers."""
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def _left(before: Sequence[int]) -> list[str]:
    """Names of threads that were not there before; not those that torch started, for which Python
    keeps a stand-in.
    """
    return [
        thread.name
        for thread in threading.enumerate()
        if thread.ident not in before and not isinstance(thread, threading._DummyThread)
    ]


def _blame(call: str, found: str) -> NoReturn:
    raise Caught(f"{call} changed {found}", _ADVICE)
