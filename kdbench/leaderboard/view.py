"""What of a board is printed and in which order: columns, a sort, conditions, least seeds."""

import difflib
import math
import operator
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kdbench.errors import UsageError

_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "!=": operator.ne, "<=": operator.le, ">=": operator.ge, "==": operator.eq,
    "=": operator.eq, "<": operator.lt, ">": operator.gt,
    "~": lambda have, asked: asked.casefold() in have.casefold(),
}  # fmt: skip
_OF_WORDS = ("=", "==", "!=", "~")
_OPERATOR = re.compile("|".join(map(re.escape, _OPERATORS)))  # the longer ones come first


@dataclass(frozen=True, slots=True)
class Condition:
    """A column, an operator and what the column's value is compared with."""

    column: str
    operator: str
    value: str | float

    @classmethod
    def parse(cls, text: str, known: Sequence[str], words: Collection[str]) -> "Condition":
        """The condition that `COLUMN OP VALUE` means.

        Args:
            text: As a user wrote it; spaces around the operator do not matter.
            known: The names of columns.
            words: Those of them that hold words; the others hold numbers.

        Raises:
            UsageError: No operator, an unknown column, or a value that is not of its kind.

        Example:
            >>> Condition.parse("n >= 5", ["n"], []).holds({"n": 8})
            True
        """
        said = text.strip()
        if not (any_sign := _OPERATOR.search(said)):
            raise UsageError(
                f"{text!r} is no condition",
                f"a condition is COLUMN OP VALUE with one of {' '.join(_OPERATORS)}",
                "--where 'accuracy >= 0.9'",
            )
        # a baseline's options put signs into a column's name, so the longest that fits counts
        for name in sorted(known, key=len, reverse=True):
            rest = said[len(name) :].lstrip()
            if said.startswith(name) and (sign := _OPERATOR.match(rest)):
                return cls(name, sign[0], _value(text, name, sign[0], rest[sign.end() :], words))
        raise unknown(said[: any_sign.start()].strip(), known)

    def holds(self, line: Mapping[str, object]) -> bool:
        """Whether the line's value meets it; one that is missing meets nothing."""
        have = line.get(self.column)
        return have is not None and _OPERATORS[self.operator](have, self.value)

    def __str__(self) -> str:
        value = f"{self.value:.10g}" if isinstance(self.value, float) else self.value
        return f"{self.column} {self.operator} {value}"


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What is printed of a board; by default all of it.

    Attributes:
        columns: Of the sheet, in this order; without any, the boards of accuracy, fidelity, cost.
        sort: The column that orders the rows of each table; "" for each board's own order.
        descending: Whether the largest come first; rows without a value come last in any case.
        where: What a row must meet, all of it.
        seeds: Rows of fewer are left out.
    """

    columns: tuple[str, ...] = ()
    sort: str = ""
    descending: bool = False
    where: tuple[Condition, ...] = ()
    seeds: int = 0

    @classmethod
    def of(
        cls, known: Sequence[str], words: Collection[str], *,
        columns: str = "", sort: str = "", where: Sequence[str] = (), seeds: int = 0,
    ) -> "View":  # fmt: skip
        """The view that options mean.

        Args:
            known, words: As for a condition.
            columns: Names with commas between them.
            sort: A name; with - before it, descending.

        Raises:
            UsageError: An unknown column, or a condition that is none.
        """
        names = tuple(dict.fromkeys(_names(columns, known)))
        column = sort.strip()
        descending = column.startswith("-") and column not in known
        column = column[descending:]
        for name in (*names, *([column] if column else [])):
            if name not in known:
                raise unknown(name, known)
        return cls(
            columns=names, sort=column, descending=descending, seeds=seeds,
            where=tuple(Condition.parse(text, known, words) for text in where),
        )  # fmt: skip

    @property
    def filtered(self) -> bool:
        """Whether rows may be missing."""
        return bool(self.where or self.seeds)

    def __str__(self) -> str:
        """In words; nothing for all of a board."""
        told = [f"rows with {' and '.join(map(str, self.where))}"] if self.where else []
        told += [f"rows of at least {self.seeds} seeds"] if self.seeds else []
        way = "descending" if self.descending else "ascending"
        told += [f"by {self.sort}, {way}"] if self.sort else []
        return "; ".join(told)


WHOLE = View()
"""All of a board."""


def unknown(name: str, known: Sequence[str]) -> UsageError:
    """What to raise for a column that there is none of."""
    close = difflib.get_close_matches(name, known, 5) or [
        one for one in known if name and name in one
    ]
    why = f"did you mean {', '.join(close[:5])}?" if close else "it is none of the CSV's columns"
    return UsageError(
        f"no column is named {name!r}",
        why,
        "kdbench leaderboard --csv prints all in its first line",
    )


def _names(text: str, known: Sequence[str]) -> list[str]:
    """The names in a list with commas; a comma in brackets belongs to a baseline's options."""
    parts = re.split(r",(?![^\[]*\])", text)
    return [part.strip() for part in parts if part.strip()]


def _value(text: str, column: str, sign: str, given: str, words: Collection[str]) -> str | float:
    value = given.strip()
    if column in words:
        if sign in _OF_WORDS:
            return value
        why, then = f"{column} holds words", "compare it with =, != or ~ (holds)"
        raise UsageError(f"{text!r} cannot be told", why, then)
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if sign == "~" or not math.isfinite(number):
        why = f"{column} holds numbers, fractions where the console says %"
        raise UsageError(f"{text!r} cannot be told", why, f"as --where '{column} >= 0.5'")
    return number
