"""The page's text: markup filled with a board's data, and the digest of that data."""

import base64
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kdbench.errors import MissingExtra
from kdbench.leaderboard import Board, alone
from kdbench.leaderboard.speed import steps
from kdbench.page import palette
from kdbench.page.across import across
from kdbench.page.bundle import datatables
from kdbench.page.plot import Plot
from kdbench.page.trials import shared
from kdbench.page.view import island, options, sections

if TYPE_CHECKING:
    from jinja2 import Environment

FOLDER = Path(__file__).parent / "template"
_UNCOUNTED = re.compile(r"<!--uncounted-->.*?<!--/uncounted-->", re.DOTALL)
DIGEST = "0" * 64


def render(board: Board, plots: Sequence[Plot] = ()) -> str:
    """One HTML file without any reference to another; ends in one newline.

    Raises:
        MissingExtra: A package of the extra `page` is not installed.
    """
    tables = (*board.tables, *board.partial)
    every = shared([row for table in tables for row in table.rows])
    library, script = datatables(), (FOLDER / "page.js").read_text("utf-8")
    found = sections(board, every)
    text = environment().get_template("page.html").render(
        title=board.spec.title or board.spec.suite or "Leaderboard",
        spec=board.spec,
        board=board,
        full=found[: len(board.tables)],
        partial=found[len(board.tables) :],
        across=across(board),
        quiz=any(row.question.quiz for table in board.tables for row in table.rows),
        plots=plots,
        every=every,
        island=island(board, every),
        alone=[(record, steps(record)) for record in board.speeds],
        measured=alone,
        library=library,
        script=script,
        style=palette.style() + (FOLDER / "page.css").read_text("utf-8"),
        hashes=[_hash(library), _hash(script)],
        digest=DIGEST,
    )  # fmt: skip
    return sealed(text)


def sealed(page: str) -> str:
    """The page with the digest of its data in the place that `DIGEST` keeps for it."""
    return page.replace(DIGEST, digest(page), 1)


def digest(page: str) -> str:
    """SHA-256 of a page's data: of all but its pictures, scripts, styles and this digest, hex."""
    return hashlib.sha256(_UNCOUNTED.sub("", page).encode()).hexdigest()


def environment() -> "Environment":
    """Where the templates lie; all that they print is escaped."""
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError as error:
        raise MissingExtra(
            "the page needs jinja2", str(error), "pip install 'kdbench[page]'"
        ) from error
    made = Environment(
        loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, finalize=_shown,
    )  # fmt: skip
    made.policies["json.dumps_kwargs"] = {
        "sort_keys": True, "separators": (",", ":"), "allow_nan": False,
    }  # fmt: skip
    made.filters["options"] = options
    return made


def _shown(value: object) -> object:
    """Text from plugins and records without characters that control a screen or turn its order."""
    if type(value) is not str:  # markup is of another type
        return value
    return "".join(char if char.isprintable() else " " for char in value)


def _hash(script: str) -> str:
    """What the page's policy allows to run."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"
