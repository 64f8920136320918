"""How the trials of a cohort begin: their plugins are imported, and each gets a student."""

from kdbench.cohort.outcome import Attempt
from kdbench.cohort.replay import Replay, forget
from kdbench.cohort.rig import Rig
from kdbench.cohort.workbench import Workbench, method
from kdbench.errors import ContractError, PluginError
from kdbench.train import Runner, compile_student


def imported(replay: Replay, attempts: dict[str, Attempt], bench: Workbench) -> set[float]:
    """Import the methods' plugins; gives the anchors that they teach from."""
    anchors = set[float]()
    for name, attempt in attempts.items():
        bench.watch(name, -1)
        try:
            with replay.guard.call("import"):
                attempt.method = method(attempt.trial)
                anchors |= {stage.anchor for stage in attempt.method.stages()}
            replay.imported(attempt)
        except PluginError:  # it was edited since the plan was made: nothing to record
            raise
        except Exception as error:  # noqa: BLE001 - whatever a plugin raises costs its own trial only
            replay.fail(name, error, "import")
            if isinstance(error, ContractError):
                forget(attempt.trial.method.sources)  # so that the next cohort finds it out as well
    replay.clean()
    return anchors


def built(rig: Rig, attempts: dict[str, Attempt], replay: Replay) -> None:
    """A student for every method, ready for its first step."""
    for name, attempt in attempts.items():
        if attempt.method is None or attempt.failure:
            continue
        rig.bench.watch(name, -1)
        try:
            with rig.guard.call("init()"):
                runner = rig.runner(attempt.method)
            if rig.cohort.protocol.compile == "on":
                rig.guard.check()
                compile_student(runner, rig.views)
                replay.surroundings.take()  # the compiler brings libraries in
            attempt.runner = runner
        except Exception as error:  # noqa: BLE001 - whatever a plugin raises costs its own trial only
            replay.fail(name, error, "init")


def alive(attempts: dict[str, Attempt]) -> list[tuple[str, Attempt, Runner]]:
    """Name, attempt and student of every trial that has not failed."""
    found = ((name, attempt, attempt.runner) for name, attempt in attempts.items())
    return [(name, one, runner) for name, one, runner in found if runner and not one.failure]
