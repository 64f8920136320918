"""`kdbench new`: a file to start from, which runs as it is."""

import re
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")

_IMPORTED = {"Batch", "ClassVar", "Family", "Iterator", "Losses", "Method", "Outputs", "Paper"}
_TEMPLATE = '''"""NAME: say in one line what it does (authors, year, arXiv number)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from kdbench.api import Batch, Family, Losses, Method, Outputs, Paper, hookimpl
from kdbench.functional import cross_entropy, softened_kl


@dataclass(frozen=True)
class CLASS(Method):
    """(1 - alpha) * cross-entropy + alpha * T^2 * KL(teacher || student) at temperature T.

    Attributes:
        temperature: What both networks' logits are divided by, above 0.
        alpha: Weight of the soft term, in [0, 1].

    *Differs from the reference:* nothing known.
    """

    family: ClassVar[Family] = "logits"
    paper: ClassVar[Paper] = Paper(
        authors="Geoffrey Hinton and Oriol Vinyals and Jeff Dean",
        title="Distilling the Knowledge in a Neural Network",
        year=2015,
        arxiv="1503.02531",
    )
    temperature: float = 4.0
    alpha: float = 0.9

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: None) -> Losses:
        """Weighted scalar terms of one batch; their sum is descended."""
        hard = cross_entropy(student.logits, batch.target, batch.labelled)
        soft = softened_kl(student.logits, teacher.logits, self.temperature)
        return {"hard": (1 - self.alpha) * hard, "soft": self.alpha * soft}


@hookimpl
def kdbench_methods() -> Iterator[tuple[str, Method]]:
    """What this file adds to kdbench: a name and its method."""
    yield "NAME", CLASS()
'''


@app.callback()
def new() -> None:
    """Write a file to start from."""


@app.command()
def method(
    name: Annotated[
        str, typer.Argument(help="What the method is called: lower case, digits and underscores.")
    ],
) -> None:
    """Write NAME.py, a method that runs as it is."""
    from kdbench.cli.options import find
    from kdbench.cli.output import say
    from kdbench.errors import UsageError
    from kdbench.record import write_atomically

    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise UsageError(
            f"{name!r} is no name for a method",
            "names are lower case letters, digits and underscores",
            "kdbench new method my_method",
        )
    path = Path(f"{name}.py")
    if path.exists():
        raise UsageError(
            f"{path} is already there",
            "nothing is overwritten",
            "choose another name, or move it away",
        )
    for entry in find().entries:
        if (entry.kind, entry.name) == ("method", name):
            raise UsageError(
                f"there is already a method {name!r}",
                f"it comes from {entry.source.origin}",
                "choose another name",
            )
    camel = "".join(part.capitalize() for part in name.split("_"))
    camel += "Method" if camel in _IMPORTED else ""
    write_atomically(path, _TEMPLATE.replace("NAME", name).replace("CLASS", camel).encode())
    say(f"wrote {path}")
    say(f"look at it:  kdbench show ./{path}")
    say(f"run it:      kdbench run digits -m ./{path} -m kd")
