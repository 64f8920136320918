"""How many hostile inputs are refused in three short lines, and that none does anything else.

    python tests/faults/fuzz.py --examples 20000 --seed 1

Prints a Markdown table, a line a target. An input is refused by an error that a user can mend, or
accepted; anything else is printed with the input and ends with 1: another exception, a long or
broken message, an answer after more than a minute, a change of anything outside of the folder
that the target may write.
"""

import argparse
import hashlib
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

sys.path.append(str(Path(__file__).resolve().parent))

from kdbench.errors import ExitCode, KDBenchError

LONGEST = 1000
"""Characters of a line of a message; paths are in it."""

SECONDS = 60.0
"""No answer takes longer, on a busy machine that reads the plugins for the first time."""

CODES = {ExitCode.USAGE, ExitCode.ENVIRONMENT, ExitCode.NOTHING_SELECTED}


@dataclass(frozen=True)
class Target:
    """Something that reads what others wrote.

    Attributes:
        inputs: What is put in.
        read: Puts an input into a folder of its own and has it read.
        share: Of the asked-for number of inputs; a costly target tries fewer.
    """

    inputs: SearchStrategy[Any]
    read: Callable[[Any, Path], object]
    share: float = 1.0


@dataclass
class Counts:
    """What came of a target's inputs; `others` is what should not be."""

    tried: int = 0
    refused: int = 0
    accepted: int = 0
    slowest: float = 0.0
    others: list[str] = field(default_factory=list)


def tried(target: Target, examples: int, chance: int, *, first: bool = True) -> Counts:
    """So many inputs of a target.

    Args:
        examples: How many.
        chance: From which they derive.
        first: Whether to stop at the first that does what it should not, and raise.
    """
    counts = Counts()
    with tempfile.TemporaryDirectory() as place:
        around = sentinel(Path(place))
        before = snapshot(around)

        @seed(chance)
        @settings(
            max_examples=max(8, round(examples * target.share)), database=None, deadline=None,
            phases=(Phase.generate,), suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(target.inputs)
        def one(value: Any) -> None:
            counts.tried += 1
            start = time.perf_counter()
            with tempfile.TemporaryDirectory(dir=around) as own, warnings.catch_warnings():
                warnings.simplefilter("error")
                try:
                    target.read(value, Path(own))
                    counts.accepted += 1
                except KDBenchError as error:
                    said(error)
                    counts.refused += 1
                except Exception as error:
                    if first:
                        raise
                    counts.others.append(f"{type(error).__name__}: {error}; {value!r:.300}")
            spent = time.perf_counter() - start
            counts.slowest = max(counts.slowest, spent)
            assert spent < SECONDS, f"{spent:.1f} s"

        one()
        assert snapshot(around) == before
    return counts


def said(error: KDBenchError) -> None:
    """Refuse a message that is not three short lines, or has a wrong exit code."""
    assert error.exit_code in CODES, error.exit_code
    assert error.what and error.why and error.next, error.args
    for line in (error.what, error.why, error.next):
        assert len(line) <= LONGEST, (len(line), line[:200])


def sentinel(root: Path) -> Path:
    """A folder to work in, with files around it that nobody may touch; its path."""
    for name in ("secret.json", "a/secret.json", "a/b/x.safetensors", "a/b/store/x"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("untouched")
    return root / "a" / "b"


def snapshot(around: Path) -> dict[str, str]:
    """Digests of all files in and around the folder."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(around.parent.parent.rglob("*"))
        if path.is_file()
    }


def targets() -> dict[str, Target]:
    """All, by name."""
    import hostile_data
    import hostile_records
    import hostile_suites
    import hostile_weights

    modules = (hostile_records, hostile_suites, hostile_weights, hostile_data)
    return {name: Target(*parts) for module in modules for name, parts in module.TARGETS.items()}


def main() -> int:
    """Try all targets at length; 1 if any input did what it should not."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--examples", type=int, default=1000, help="inputs of a cheap target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", action="append", help="only these; repeat")
    asked = parser.parse_args()
    print("| target | inputs tried | refused | accepted | other | slowest |")
    print("|---|---:|---:|---:|---:|---:|", flush=True)
    total, others = Counts(), []
    for name, target in targets().items():
        if asked.target and name not in asked.target:
            continue
        found = tried(target, asked.examples, asked.seed, first=False)
        others += [f"{name}: {other}" for other in found.others]
        print(
            f"| {name} | {found.tried:,} | {found.refused:,} | {found.accepted:,} "
            f"| {len(found.others)} | {found.slowest:.2f} s |", flush=True,
        )  # fmt: skip
        total.tried, total.refused = total.tried + found.tried, total.refused + found.refused
        total.accepted += found.accepted
    print(f"| all | {total.tried:,} | {total.refused:,} | {total.accepted:,} | {len(others)} | |")
    for other in others:
        print(other, file=sys.stderr)
    return int(bool(others))


if __name__ == "__main__":
    sys.exit(main())
