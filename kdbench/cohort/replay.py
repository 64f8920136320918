"""What becomes of a cohort whose trials may have disturbed each other: it is trained again.

It starts from where all was clean, with suspicion: everything is compared after every call of a
plugin, so that it is plain whose it is. Suspicion ends where all is found clean, and is kept.
"""

import sys
from collections.abc import Iterable
from dataclasses import replace
from typing import final

from kdbench.cohort.outcome import Attempt
from kdbench.errors import ContractError
from kdbench.plan import Cohort
from kdbench.registry import Source
from kdbench.train import Caught, Functions, Guard, Lingering, Surroundings, Thing, Violation


@final
class Replay:
    """The attempts of a cohort, and who of them has disturbed the others.

    Args:
        cohort: Whose trials are attempted.
        attempts: By name.

    Attributes:
        guard: Of what belongs to the process, and to the cohort where there is a teacher.
    """

    def __init__(self, cohort: Cohort, attempts: dict[str, Attempt]) -> None:
        self._cohort, self._attempts = cohort, attempts
        self.functions, self.surroundings = Functions(), Surroundings()
        self.guard = Guard((self.functions, self.surroundings))
        self._suspicious = False
        self._over, self._culprits, self._spoilt = set[str](), list[str](), list[str]()
        self._moved = ""

    @property
    def why(self) -> str:
        """Why the cohort's costs do not count; empty where they do."""
        if self._culprits:
            return f"trained again because of {', '.join(self._culprits)}"
        return self._cohort.again or (
            f"trained again because {self._moved} moved" if self._moved else ""
        )

    def guarding(self, *things: Thing) -> Guard:
        """A guard of the process and of these."""
        self.guard = Guard(
            (self.functions, self.surroundings, *things), suspicious=self._suspicious
        )
        return self.guard

    def put_back(self) -> None:
        """Undo what has moved of the process."""
        for thing in (self.functions, self.surroundings):
            if thing.moved():
                thing.put_back()

    def imported(self, attempt: Attempt) -> None:
        """Take what an import may add, and raise for what it may not change; it is put back.

        Raises:
            ContractError: It has changed that.
        """
        self.surroundings.learn()
        for thing in (self.functions, self.surroundings):
            if found := thing.moved():
                thing.put_back()
                raise ContractError(
                    f"its import changed {found}",
                    "it belongs to all methods",
                    "call it by another name",
                )
        self.functions.learn(*(source.module for source in attempt.trial.method.sources))

    def fail(self, name: str, error: Exception, where: str) -> None:
        """Take a trial out."""
        self._attempts[name].fail(error, where)
        self.blame(name, error)

    def blame(self, name: str, error: Exception) -> None:
        """Remember whose fault it is that others are trained again."""
        if isinstance(error, (Caught, Lingering)) and name not in self._culprits:
            self._culprits.append(name)
        if isinstance(error, Lingering):
            self._spoilt.append(name)

    @property
    def spoilt(self) -> bool:
        """Whether something runs in this process that nobody can end."""
        return bool(self._spoilt)

    def clean(self) -> None:
        """All was found clean, and is kept: who has failed until now has failed for good."""
        self._over = {name for name, one in self._attempts.items() if one.failure}
        self._suspicious = self.guard.suspicious = False

    def again(self, violation: Violation) -> tuple[Cohort, ...]:
        """Make ready to train again; gives parts for other processes, where this one is at a loss.

        Args:
            violation: What has moved; it is put back, a teacher aside.
        """
        self.put_back()
        self._moved = self._moved or violation.what
        left = [name for name in self._attempts if name not in self._over]
        for name in left:
            self._attempts[name].reset()
        assert left, f"{violation.what} moved, and nobody is left to have done it"
        if len(left) == 1:
            error = ContractError(f"it changed {violation.what}", "it belongs to all methods", "")
            self.fail(left[0], error, "training")
            self._over.add(left[0])
        elif self._suspicious:
            half = len(left) // 2
            return tuple(self._part(part) for part in (left[:half], left[half:]))
        self._suspicious = True
        return ()

    def rest(self) -> tuple[Cohort, ...]:
        """What another process is to train again, after this one is spoilt."""
        self._over.update(self._spoilt)
        left = [name for name in self._attempts if name not in self._over]
        return (self._part(left),) if left else ()

    @property
    def over(self) -> list[Attempt]:
        """The attempts that have failed for good."""
        return [self._attempts[name] for name in self._attempts if name in self._over]

    def _part(self, names: Iterable[str]) -> Cohort:
        trials = tuple(self._attempts[name].trial for name in names)
        return replace(self._cohort, trials=trials, again=self.why)


def forget(sources: Iterable[Source]) -> None:
    """Have plugins be imported anew when they are next asked for."""
    for source in sources:
        for name in [
            one
            for one in sys.modules
            if one == source.module or one.startswith(f"{source.module}.")
        ]:
            del sys.modules[name]
