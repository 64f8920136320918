"""A method and the contracts -> findings, in this process."""

import inspect
import time
import traceback
from pathlib import Path

from kdbench.api import Method
from kdbench.errors import KDBenchError, Unsupported
from kdbench.testing.contracts import CONTRACTS, Contract
from kdbench.testing.contracts.facts import members
from kdbench.testing.finding import Finding, State, findings


def named(contract: Contract) -> str:
    """The contract's name, in words."""
    return contract.__name__.replace("_s_own", "'s own").replace("_", " ")


BY_NAME = {named(contract): contract for contract in CONTRACTS}
PROMISES = {
    name: inspect.cleandoc(contract.__doc__ or "").partition("\n")[0]
    for name, contract in BY_NAME.items()
}
"""The first line of each contract's docstring."""


def examine(method: Method) -> list[Finding]:
    """All findings of a method."""
    return list(findings(PROMISES, lambda name: observe(method, name)))


def observe(method: Method, name: str) -> Finding:
    """What is found of the contract of that name."""
    start = time.perf_counter()
    state: State = "ok"
    why, then, where = "", "", ""
    try:
        BY_NAME[name](method)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a method may raise anything
        state = "unsupported" if isinstance(error, Unsupported) else "fails"
        why, where = f"{type(error).__name__}: {error}", place(error, method)
        if isinstance(error, KDBenchError):
            why, then = "; ".join(filter(None, (error.what, error.why))), error.next
    return Finding(
        contract=name, promise=PROMISES[name], state=state, why=" ".join(why.split()),
        next=" ".join(then.split()), where=where, seconds=round(time.perf_counter() - start, 2),
    )  # fmt: skip


def place(error: BaseException, method: Method) -> str:
    """File and line: of the innermost frame beside the method's module, or else of its `loss`."""
    homes = {Path(inspect.getfile(type(member))).parent for member in members(method)}
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).parent in homes]
    if own:
        return f"{own[-1].filename}:{own[-1].lineno}"
    code = type(members(method)[0]).loss.__code__
    return f"{code.co_filename}:{code.co_firstlineno}"
