"""A worker's life, in its own process: tasks in, answers out."""

import gc
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from kdbench.engine.bench import Answer, Bench, Crash, Hello, Note
from kdbench.engine.orphan import end_with_parent
from kdbench.engine.said import speak_into
from kdbench.engine.turn import Turn, Turns
from kdbench.errors import DeviceError, KDBenchError, StoreError
from kdbench.plan import Cohort, Spoilt, TeacherJob
from kdbench.record import PutAway, Store

if TYPE_CHECKING:
    import torch


def live(mouth: tuple[Connection, Connection], *given: Any) -> None:  # noqa: ANN401 - those of `work`
    """Work until the parent says so or is gone; what is printed meanwhile is its to pass on."""
    speak_into(mouth)
    end_with_parent()
    work(*given)


def work(pipe: Connection, crumb: Any, bench: Bench, turns: Turns, place: int) -> None:  # noqa: ANN401 - ctypes has no public array type
    """Take tasks and answer them, until there are no more."""
    import torch

    from kdbench.cohort import Workbench, environment

    torch.set_num_threads(1)
    gc.freeze()  # what is loaded stays: it need not be looked through for what may go
    hello: Hello
    here: Workbench | None
    try:
        here = Workbench(
            bench.cache, Store(bench.store), _device(bench.device), limits=bench.limits
        )
        hello = environment(here.device)
    except KDBenchError as error:
        here, hello = None, error
    except Exception as error:  # noqa: BLE001 - told to the parent, who reports it as our bug
        here, hello = None, _crash(error)
    with suppress(EOFError, OSError):  # the parent was interrupted, and is gone
        pipe.send(hello)
        if here is None:
            return
        turn = Turn(turns, place, crumb, here)
        here.workers, here.quiet, here.late = len(turns.places), turn.quiet, turns.late
        here.note = lambda text: pipe.send(Note(text))
        while (payload := pipe.recv()) is not None:
            with turn.busy():
                answer = _answer(payload, here, turn)
            pipe.send(answer)
            gc.collect()  # students and teachers hang in cycles: they would pile up


def _device(name: str) -> "torch.device":
    """The device, where torch has it."""
    import torch

    device = torch.device(name)
    if device.type != "cuda":
        return device
    if not torch.cuda.is_available():
        why, then = "torch sees none", "leave --device out to run on the CPU"
        raise DeviceError("no CUDA device is available", why, then)
    if (device.index or 0) >= (count := torch.cuda.device_count()):
        raise DeviceError(f"no CUDA device {device.index}", f"torch sees {count}", "count from 0")
    return device


def _crash(error: Exception) -> Crash:
    return Crash(type(error).__name__, str(error), "".join(traceback.format_exception(error)))


def _answer(payload: tuple[Any, ...], here: Any, turn: Turn) -> Answer:  # noqa: ANN401 - torch is loaded later
    from kdbench.cohort import run

    try:
        match payload:
            case (TeacherJob() as job, root):
                here.watch = turn.watch({})
                here.train_teacher(job, root)
                return None
            case (Cohort() as cohort,):
                here.watch = turn.watch({str(t.spec): i for i, t in enumerate(cohort.trials)})
                return run(cohort, here)
        raise AssertionError(payload)
    except (KDBenchError, PutAway, Spoilt) as error:
        return error
    except OSError as error:  # a full disk, say, where a lock is to be; plugins' are caught before
        what = f"{error.filename or 'a file'} cannot be read or written"
        then = "free space there, or choose other places with --store and KDBENCH_CACHE"
        return StoreError(what, error.strerror or str(error), then)
    except Exception as error:  # noqa: BLE001 - told to the parent, who reports it as our bug
        return _crash(error)
