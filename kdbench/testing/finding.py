"""What is found of a method, one finding a contract; without torch, for the process that asks."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["FIRST", "Finding", "State", "findings"]

State: TypeAlias = Literal["ok", "fails", "unsupported", "unchecked"]
"""unsupported: the method declines every pair that contracts are checked on; unchecked: an earlier
contract is broken, so that this one would say nothing new."""

FIRST = "training goes through"
"""The contract that all others but the docstring's rest on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found of one contract.

    Attributes:
        contract: Its name, in words.
        promise: What a method keeps by it.
        why: What happened and why, if it is not ok.
        next: What to do.
        where: File and line.
        seconds: What it took.
    """

    contract: str
    promise: str
    state: State
    why: str = ""
    next: str = ""
    where: str = ""
    seconds: float = 0.0


def findings(promises: Mapping[str, str], ask: Callable[[str], Finding]) -> Iterator[Finding]:
    """The finding of each contract as `ask` makes it; after a broken first one no others.

    Args:
        promises: By the names of contracts, in order.
        ask: Checks the contract of that name.
    """
    skip = False
    for name, promise in promises.items():
        if skip:
            why = f"it rests on {FIRST!r}, see above"
            yield Finding(contract=name, promise=promise, state="unchecked", why=why)
            continue
        found = ask(name)
        skip = name == FIRST and found.state != "ok"
        yield found
