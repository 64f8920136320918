"""Sides that take turns, A B A B: one block each a round, each while the others rest."""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

Block: TypeAlias = dict[str, float]
"""`work` done (images, steps), the `seconds` and `cpu` seconds it took, and what else is told."""

Side: TypeAlias = Callable[[], Block]
"""Does one block."""

ALONE = ", alone"
"""Ends the name of a team's side in which only its first process works."""

_TICK = 1 / os.sysconf("SC_CLK_TCK")


class Team(NamedTuple):
    """A side in processes of its own.

    Attributes:
        make: Sets the side up; importable, as it is called in each process.
        options: Its arguments.
        processes: How many work side by side.
    """

    make: Callable[..., Side]
    options: dict[str, Any]
    processes: int = 1


def take_turns(
    sides: Mapping[str, Side], rounds: int, *, foreign: float = 0.3
) -> dict[str, list[dict[str, Any]]]:
    """Rounds that count and rounds discarded, each with every side's block and the foreign load.

    A round during which others used more than `foreign` cores is discarded and run again, at most
    as often as rounds were asked for. Where a side does not tell its `cpu`, it is that of all our
    processes in its turn.
    """
    kept, discarded = list[dict[str, Any]](), list[dict[str, Any]]()
    while len(kept) < rounds and len(discarded) < rounds:
        start, busy, own = time.perf_counter(), _busy(), _own()
        blocks = {name: _metered(side) for name, side in sides.items()}
        spent = time.perf_counter() - start
        load = max(0.0, (_busy() - busy) - (_own() - own)) / spent
        (discarded if load > foreign else kept).append({"foreign": load, "blocks": blocks})
        speeds = (f"{name} {one['work'] / one['seconds']:.4g}/s" for name, one in blocks.items())
        told = f"foreign load {load:.2f}{', discarded' * (load > foreign)}"
        print(f"  {told}: {'; '.join(speeds)}", flush=True)
    return {"rounds": kept, "discarded": discarded}


def timed(run: Callable[[], object], work: float) -> Block:
    """The block in which this process does so much work by this call."""
    start, cpu = time.perf_counter(), time.process_time()
    run()
    seconds = time.perf_counter() - start
    return {"work": work, "seconds": seconds, "cpu": time.process_time() - cpu}


@contextmanager
def working(made: Mapping[str, Team]) -> Iterator[dict[str, Side]]:
    """Every team's side by name, and of a team of several its first process's alone.

    Of a team's block, `seconds` are those of its slowest process, all else is summed.
    """
    with ExitStack() as stack:
        sides = dict[str, Side]()
        for name, team in made.items():
            pipes = stack.enter_context(_started(team))
            sides[name] = _together(pipes)
            if len(pipes) > 1:
                sides[name + ALONE] = _together(pipes[:1])
        yield sides


def _together(pipes: list[Connection]) -> Side:
    def block() -> Block:
        for pipe in pipes:
            pipe.send("block")
        found = [_received(pipe) for pipe in pipes]
        total = {key: sum(one[key] for one in found) for key in found[0]}
        return total | {"seconds": max(one["seconds"] for one in found)}

    return block


@contextmanager
def _started(team: Team) -> Iterator[list[Connection]]:
    context = multiprocessing.get_context("spawn")
    pipes, members = list[Connection](), []
    try:
        for _ in range(team.processes):
            ours, theirs = context.Pipe()
            pipes.append(ours)
            members.append(context.Process(target=_serve, args=(theirs, team.make, team.options)))
            members[-1].start()
            theirs.close()
        for pipe in pipes:
            _received(pipe)
        yield pipes
    finally:
        for pipe in pipes:
            pipe.close()  # a process that waits for its next block then ends
        for member in members:
            member.join()


def _received(pipe: Connection) -> Any:
    try:
        return pipe.recv()
    except EOFError:
        raise RuntimeError("a side's process died; its error stands above") from None


def _serve(pipe: Connection, make: Callable[..., Side], options: dict[str, Any]) -> None:
    side = make(**options)
    pipe.send("ready")
    while True:
        try:
            pipe.recv()
        except EOFError:
            return
        pipe.send(side())


def _metered(side: Side) -> Block:
    own = _own()
    block = side()
    return {"cpu": _own() - own} | block


def _busy() -> float:
    """Core-seconds that the machine has worked since it started."""
    user, nice, system, _, _, irq, soft, steal = Path("/proc/stat").read_text("ascii").split()[1:9]
    return sum(map(int, (user, nice, system, irq, soft, steal))) * _TICK


def _own() -> float:
    """CPU seconds of this process and all that descend from it, with those that have ended."""
    parents, spent = dict[int, int](), dict[int, int]()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(") ")[2].split()
        except (FileNotFoundError, ProcessLookupError):  # it ended while we looked
            continue
        number = int(stat.parent.name)
        parents[number], spent[number] = int(fields[1]), sum(map(int, fields[11:15]))

    def ours(number: int) -> bool:
        return number == os.getpid() or (number in parents and ours(parents[number]))

    return sum(ticks for number, ticks in spent.items() if ours(number)) * _TICK
