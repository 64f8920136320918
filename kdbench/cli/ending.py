"""The end of `kdbench run`: what came out, what is left, and what to do next."""

import shlex
import shutil
from typing import TYPE_CHECKING

from kdbench.cli.output import is_terminal, say
from kdbench.cli.selection import RUNS, Selection

if TYPE_CHECKING:
    from kdbench.cli.outcome import Outcome
    from kdbench.cli.work import Done

WIDTH = 110
_FAILURES = 20


def tell(asked: Selection, done: "Done", more: str) -> None:
    """The end of a run, for people: what came out, what failed, the board, what to do next.

    Args:
        asked: What was selected.
        done: What came of it.
        more: Options to go on with, if the time was over before all was done.
    """
    from kdbench import page
    from kdbench.cli.outcome import counts

    say()
    found = counts(done.found).items()
    say(", ".join(f"{number} {status}" for status, number in found) or "nothing is in this shard")
    if done.late:
        say(_unfinished(done))
    if done.claimed:
        say(f"{counted(done.claimed, 'trial')} left to another run that is at them")
    bad = [one for one in done.found if done.bad(one)]
    for one in bad[:_FAILURES]:
        ask, failure = one.trial.question, one.record.failure if one.record else None
        trial = f"{ask.dataset} {ask.teacher}:{ask.student} {one.name} s{ask.seed}"
        why = f": {failure.message} ({failure.where})" if failure else ""
        say(f"  {one.status}  {trial}{why}")
    if len(bad) > _FAILURES:
        say(f"  and {len(bad) - _FAILURES} more")
    say()
    width = shutil.get_terminal_size((WIDTH, 24)).columns if is_terminal() else WIDTH
    say(done.board.console(max(80, width)))
    say(f"records: {asked.store.root / 'records'}")
    say(f"board: {done.files[0]}")
    say(done.why_not or f"page: {done.files[0].with_name(page.NAME)}")
    say(f"next: {following(asked, done, more)}")


def _unfinished(done: "Done") -> str:
    """What the time did not suffice for, in one line."""
    shares = sorted(one.share for one in done.found if one.share)
    ends = dict.fromkeys(f"{100 * share:.0f}" for share in (*shares[:1], *shares[-1:]))
    away = f"{len(shares)} put away at {' to '.join(ends)} %, " if shares else ""
    rest = sum(one.status == "open" for one in done.found) - len(shares)
    finished = len(done.found) - len(shares) - rest
    return f"the time is over: {finished} done, {away}{rest} not begun; nothing is lost"


def following(asked: Selection, done: "Done", more: str) -> str:
    """The command that fits what came out."""
    root, name = asked.store.root, shlex.quote(asked.name)
    elsewhere = root != RUNS / asked.whole.name
    where = f" --store {shlex.quote(str(root))}" if elsewhere else ""
    here, all_of_it = asked.suite, asked.whole
    whole = (here.axes, here.variants) == (all_of_it.axes, all_of_it.variants)
    part = " --shard {}/{}".format(*asked.shard) if asked.shard else ""
    again = f"kdbench run {name}{part}{where}" if whole else "the same command"
    if done.late:
        return f"{again}{more}" if asked.suite == asked.whole else "the same command"
    if any(one.status not in {"ok", "open"} for one in done.found):
        return f"mend what failed, then {again} {'--retry' if whole else 'with --retry'}"
    if any(one.status == "open" for one in done.found):
        return again
    if done.found and not done.found[0].trial.question.full:
        return f"{again}, the full protocol" if whole else f"{again} without --budget and --steps"
    told = "report" if all_of_it.report or all_of_it.claims else "leaderboard"
    others = "the other shards, then " if asked.shard else ""
    return f"{others}kdbench {told} {shlex.quote(str(root)) if elsewhere else name}"


def summary(asked: Selection, done: "Done", more: str) -> dict[str, object]:
    """The end of a run, as JSON; `more` as for `tell`."""
    import json

    from kdbench.cli.outcome import counts

    failed = [
        {
            **_named(one),
            "status": one.status,
            "failure": one.record.failure.model_dump()
            if one.record and one.record.failure
            else None,
        }
        for one in done.found
        if done.bad(one)
    ]
    return {
        "suite": asked.whole.name,
        "full": all(one.trial.question.full for one in done.found),
        "trials": counts(done.found),
        "claimed": done.claimed,
        "records": [str(asked.store.path(record)) for record in done.records],
        "failed": failed,
        "unfinished": _open(done) if done.late else None,
        "next": following(asked, done, more),
        "store": str(asked.store.root),
        "board": json.loads(done.board.json()),
    }


def _named(one: "Outcome") -> dict[str, object]:
    ask = one.trial.question
    return {
        "dataset": ask.dataset, "teacher": ask.teacher, "student": ask.student,
        "method": one.name, "seed": ask.seed,
    }  # fmt: skip


def _open(done: "Done") -> list[dict[str, object]]:
    """The trials that the time did not suffice for, each with the share that is put away."""
    return [{**_named(one), "share": one.share} for one in done.found if one.status == "open"]


def counted(number: int, noun: str) -> str:
    """A number of things, in words."""
    return f"{number} {noun}{'s' * (number != 1)}"
